"""One node's whole mind: the machines, and the facts that `Peer` carries between them.

    peer = Peer(...)                      what was persisted goes in as `Restored`
    effects = peer.step(event, now)       perform them in order
    peer.deadline()                       send TimerFired then; one timer is enough

`step` is a function of its arguments and of the steps before: same inputs, same effects, byte for
byte. Within a step, facts go round until none is left; then gossip goes out, and the turn's three
parts become effects in the order that `effects.py` promises.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

from protocol import codec
from protocol.announcing import Announcing
from protocol.blobs import Blobs
from protocol.clocks import Nanoseconds
from protocol.config import Config
from protocol.consensus import PROPOSE_HOPS, Consensus, Say
from protocol.despatch import Despatch
from protocol.effects import Effect, Reply, Restored
from protocol.entries import FAMILIES, Entries
from protocol.errors import RemoteProtocolError
from protocol.events import (
    AgentFailed,
    Announced,
    Answered,
    AnswerMade,
    BlobAsked,
    BlobDropped,
    BlobPut,
    CallAsked,
    CallSettled,
    CancelAsked,
    Commanded,
    Completed,
    EntryWritten,
    Event,
    ForgetAsked,
    FoundOut,
    JoinAsked,
    Leaving,
    LinkFault,
    Noted,
    PartRead,
    Persisted,
    Progressed,
    Queried,
    RateLimited,
    ReadAsked,
    Received,
    Rescued,
    Stopping,
    Submitted,
    Tagged,
    TimerFired,
    Transferred,
    Undeliverable,
    WrittenSoFar,
)
from protocol.facts import Fact, RequestRefused
from protocol.facts.agreement import ImpairmentEnded, StateReplaced
from protocol.facts.membership import MemberFailed, MemberJoined, MemberLeft
from protocol.facts.sharing import BatchMerged
from protocol.farewell import Farewell
from protocol.gossip import Gossip
from protocol.identity import Identity, NodeId
from protocol.membership import Membership
from protocol.messages import Message
from protocol.messages.agreement import Agreement, Relay
from protocol.messages.membership import (
    MemberRecord,
    MemberSync,
    Probe,
    ProbeAck,
    ProbeNack,
    ProbeRequest,
    ViewSummary,
)
from protocol.messages.sharing import (
    BlobMissing,
    BlobPart,
    BlobRequest,
    Delta,
    Digest,
    DigestSums,
    Forked,
    Holdings,
    HoldingsAsked,
    PartDigest,
    Push,
    QueryAnswer,
    Summary,
)
from protocol.outlook import IMPAIRED, JOURNAL, Outlook
from protocol.raft import RaftStatus
from protocol.relaying import Relaying
from protocol.silence import Silence
from protocol.store import Store
from protocol.team import Team, View
from protocol.turn import Turn

INTRODUCTIONS_MAX = 64


@dataclass(frozen=True, slots=True)
class PeerSettings:
    """What a host decides for a peer at its start. `epoch` counts the starts; `found` makes this
    node the first of a new cluster unless it already is in one; `seed` feeds all randomness."""

    cluster: str
    name: str
    endpoints: tuple[str, ...]
    seeds: tuple[str, ...] = ()
    epoch: int = 1
    found: bool = False
    expected: int = 1
    seed: str = ""
    metadata: tuple[tuple[str, str], ...] = ()
    wall_offset: Nanoseconds = 0


class Peer:
    """See the module's text. The machines are public for reading: status pages and checkers."""

    def __init__(
        self,
        identity: Identity,
        settings: PeerSettings,
        config: Config,
        restored: Restored,
        now: Nanoseconds,
    ) -> None:
        self.node = identity.node
        self.settings = settings
        self.config = config
        self.store = Store(
            identity,
            settings.cluster,
            config.gossip.entries_per_author_max,
            config.gossip.size_per_author_max,
            FAMILIES,
        )
        self.store.restore(restored.batches, restored.collected, restored.proofs)
        self.gossip = Gossip(self.store, config.gossip, self._random("gossip"), now, restored.late)
        nonce = settings.epoch.to_bytes(8, "big")
        self.consensus = Consensus(
            self.node, config, restored, settings.expected, nonce, self._random("raft"), now
        )
        self.raft = self.consensus.raft
        self.ledger = self.consensus.replicated.ledger
        self.registers = self.consensus.replicated.registers
        record = MemberRecord(
            identity.public_key,
            settings.name,
            settings.endpoints,
            settings.epoch,
            0,
            False,
            (*settings.metadata, *(((JOURNAL, IMPAIRED),) if restored.impaired else ())),
            b"",
        )
        self.membership = Membership(
            identity,
            settings.cluster,
            record,
            settings.seeds,
            restored.members,
            config.membership,
            self._random("membership"),
            now,
        )
        self.relaying = Relaying(
            identity, settings.cluster, settings.epoch, config.raft.relay_after_ns
        )
        self.announcing = Announcing(self.node, self.gossip)
        self.entries = Entries(self.node, self.gossip)
        self.blobs = Blobs(restored.blobs, self._random("blobs"))
        self.silence = Silence(self.raft, self.relaying, self.membership, config.raft, now)
        self.team = Team(self.node, config.team, self.ledger, self.store, self._random("team"))
        self.team.restore(now)
        self._found = settings.found and not self.raft.log.last_index
        self.outlook = Outlook(config, self.store, self.membership, self.consensus, self.relaying)
        self.farewell = Farewell(self.membership, self.consensus, self.team, config.raft)
        self._despatch = Despatch(self.membership, self.relaying, self.raft)

    def __repr__(self) -> str:
        return f"<Peer {self.settings.name} {self.raft!r} {self.ledger!r}>"

    def _random(self, machine: str) -> Random:
        """Each machine has its own, so that one machine's draws do not shift another's."""
        return Random(f"{self.settings.seed}/{self.node}/{self.settings.epoch}/{machine}")

    def step(self, event: Event, now: Nanoseconds) -> list[Effect]:
        """Take one event; `now` never goes back. Once it `is_over`, nothing comes of any: the
        process may have to wait for its disk, and shall neither promise nor lead meanwhile."""
        if self.is_over:
            return []
        turn = Turn(now, now + self.settings.wall_offset, self._despatch.next_sequence)
        if self._found:
            self._found = False
            self.raft.found(turn)
        self._take(turn, event)
        self._settle(turn)
        self.membership.flush(turn)
        if self.gossip.has_news:
            self.gossip.flush(turn, self.membership.near(turn.now), self._summary())
        return self._despatch.effects(turn)

    def deadline(self) -> Nanoseconds | None:
        """When to send TimerFired. None only when it `is_over`."""
        if self.is_over:
            return None
        due = min(self.membership.deadline(), self.gossip.deadline())
        for other in (
            self.consensus.deadline(),
            self.silence.deadline(),
            self.team.deadline(),
            self.announcing.deadline(),
            self.blobs.deadline(),
            self.farewell.deadline(),
        ):
            if other is not None and other < due:
                due = other
        return due

    @property
    def has_left(self) -> bool:
        """Whether the goodbye has been said: nothing more will come."""
        return self.farewell.is_said

    @property
    def is_over(self) -> bool:
        """Whether it has left, or has let go of all that it had in hand because it is to stop."""
        return self.farewell.is_over

    def status(self) -> RaftStatus:
        """The agreement's state as this node sees it."""
        return self.raft.status()

    # -- one step ----------------------------------------------------------------------------------

    def _take(self, turn: Turn, event: Event) -> None:
        match event:
            case Received():
                self.relaying.heard(event.sender, turn.now)
                self.membership.heard(event.sender, turn.now)
                try:
                    self._receive(turn, event.sender, event.message)
                except RemoteProtocolError as fault:
                    turn.report(RequestRefused(f"message of {event.sender}: {fault}"))
            case TimerFired():
                self._tick(turn)
            case Persisted():
                self._despatch.persisted(event.sequence)
                self.consensus.persisted(turn, event.sequence)
            case Commanded():
                self.consensus.command(turn, event)
            case ReadAsked():
                self.consensus.read(turn, event)
            case Submitted():
                self.team.submit(turn, self.view(), event.request, event.job)
            case Progressed():
                self.team.progressed(turn, event)
            case WrittenSoFar():
                self.team.written_so_far(turn, event)
            case AnswerMade():
                self.team.answer_made(turn, event)
            case FoundOut():
                self.team.found_out(turn, event)
            case Noted():
                self.team.noted(turn, event)
            case CancelAsked():
                self.team.cancel(turn, event)
            case CallAsked():
                self.team.call_asked(turn, event)
            case CallSettled():
                self.team.call_settled(turn, event)
            case RateLimited():
                self.team.rate_limited(turn, event)
            case Completed():
                self.team.completed(turn, event)
            case AgentFailed():
                self.team.agent_failed(turn, event)
            case Undeliverable():
                self._undeliverable(turn, event)
            case Announced():
                self.announcing.announce(turn, event)
            case Queried():
                self.announcing.query(turn, event, self.membership.alive())
            case Answered():
                self.announcing.answered(turn, event)
            case EntryWritten():
                self.entries.write(turn, event)
            case BlobPut():
                self.blobs.put(turn, event)
            case BlobAsked():
                self.blobs.ask(turn, event, self.membership.alive())
            case BlobDropped():
                self.blobs.drop(turn, event)
            case PartRead():
                self.blobs.read(turn, event)
            case JoinAsked():
                self.membership.join(turn, event.endpoints)
                turn.perform(Reply(event.request, "", ""))
            case Tagged():
                self._tag(turn, event)
            case ForgetAsked():
                self._forget(turn, event)
            case Transferred():
                self.consensus.transfer(turn, event.request, event.to)
            case Rescued():
                self.consensus.rescue(turn, event.request)
                self._introduce(turn, self.membership.alive())
            case Leaving():
                self.farewell.leave(turn)
            case Stopping():
                self.farewell.stop(turn)

    def _tick(self, turn: Turn) -> None:
        if self.membership.deadline() <= turn.now:
            self.membership.tick(turn)
        self.announcing.tick(turn)
        self.blobs.tick(turn, self.membership.alive())
        self.raft.reach = self.outlook.reach(turn.now)
        self.consensus.tick(turn)
        if self._is_due(self.silence.deadline(), turn.now):
            self.silence.tick(turn)
        if self.gossip.deadline() <= turn.now:
            self.gossip.keep_pace(turn)
            self.gossip.collect(turn, self.outlook.awaited(turn.now))
            partner = self.gossip.summary_due(turn, self.membership.near(turn.now))
            if partner is not None:
                turn.send_durable(partner, self._summary())

    def _tag(self, turn: Turn, event: Tagged) -> None:
        fault = self.membership.tag(dict(event.tags))
        turn.perform(Reply(event.request, "InvalidTag" if fault else "", fault))

    def _forget(self, turn: Turn, event: ForgetAsked) -> None:
        if self.membership.forget_for_all(turn, event.node):
            turn.perform(Reply(event.request, "", ""))
        else:
            detail = "only a node that has failed or left is forgotten"
            turn.perform(Reply(event.request, "NotPossible", detail))

    def _undeliverable(self, turn: Turn, event: Undeliverable) -> None:
        self.membership.undeliverable(
            turn, event.destination, event.endpoint, event.fault, event.detail
        )
        if event.fault is LinkFault.REFUSED:
            self.raft.unreachable(turn, event.destination)
        elif event.fault is LinkFault.OVERFLOW:
            self.gossip.overflowed()
        elif event.fault is LinkFault.RESET:
            self.raft.elections.lose_leader(turn, event.destination)

    def _receive(self, turn: Turn, sender: NodeId, message: Message) -> None:
        match message:
            case Probe() | ProbeAck() | ProbeRequest() | ProbeNack() | MemberSync() | ViewSummary():
                self.membership.receive(turn, sender, message)
            case Push() | Digest() | DigestSums() | PartDigest() | Delta():
                self.gossip.receive(turn, sender, message)
            case HoldingsAsked() | Forked():
                self.gossip.receive(turn, sender, message)
            case Holdings():
                self.gossip.reconcile(turn, sender, message, self.outlook.awaited(turn.now))
            case Summary():
                self.gossip.receive(turn, sender, message)
                self._say(turn, self.consensus.compare(turn, sender, message), sender)
            case BlobRequest():
                self.blobs.requested(turn, sender, message)
            case BlobPart():
                self.blobs.arrived(turn, sender, message, self.membership.alive())
            case BlobMissing():
                self.blobs.missing(turn, sender, message, self.membership.alive())
            case QueryAnswer():
                self.announcing.take_answer(turn, sender, message)
            case Agreement():
                self._receive_of_log(turn, sender, message)
            case Relay():
                self._receive_relay(turn, sender, message)
            case _:  # of an overlay: this node knows every member, and needs none
                raise RemoteProtocolError("this team has no overlay")

    def _receive_of_log(self, turn: Turn, sender: NodeId, message: Agreement) -> None:
        if not self.consensus.receive(turn, sender, message.log, message.message):
            turn.send_durable(sender, self._summary())  # one of the two should give way

    def _receive_relay(self, turn: Turn, sender: NodeId, message: Relay) -> None:
        if self.relaying.may_pass_on(sender, message):
            turn.send(message.destination, message)
            return
        key = self.membership.key_of(message.origin)
        frame = self.relaying.unwrap(sender, message, key, turn.now)
        if frame is not None:
            inner = codec.decode(frame)
            if isinstance(inner, QueryAnswer):
                self.announcing.take_answer(turn, message.origin, inner)
            elif isinstance(inner, Agreement):
                self._receive_of_log(turn, message.origin, inner)
            else:
                raise RemoteProtocolError("only answers and what concerns the log are relayed")

    # -- whose log ---------------------------------------------------------------------------------

    def _summary(self) -> Summary:
        return self.consensus.summary(self.store.fingerprint())

    def _say(self, turn: Turn, whom: Say, sender: NodeId) -> None:
        if whom is Say.SENDER:
            turn.send_durable(sender, self._summary())
        elif whom is Say.EVERYBODY:
            self._introduce(turn, self.membership.alive())

    def _introduce(self, turn: Turn, nodes: Sequence[NodeId]) -> None:
        """Tell at once which log this node follows: a leader chooses no voter whose log it does not
        know. In a large team most hear of it by and by."""
        for node in nodes[:INTRODUCTIONS_MAX]:
            turn.send_durable(node, self._summary())

    def _is_acquainted(self, turn: Turn, newcomer: NodeId) -> bool:
        """Whether it has to hear from this node at once: because it has just called here, or this
        node leads. A word of everybody to everybody would need a connection for each, and a team
        that starts would be busy with nothing else."""
        leads = self.raft.leadership is not None
        return leads or self.membership.reach.heard_at(newcomer) == turn.now

    # -- what follows within a step ----------------------------------------------------------------

    def _settle(self, turn: Turn) -> None:
        """Carry facts, committed entries, writes and proposals until nothing is left to do."""
        carried = 0
        consensus = self.consensus
        while True:
            if carried < len(turn.facts):
                fact = turn.facts[carried]
                carried += 1
                self._carry(turn, fact)
            elif turn.committed:
                committed, turn.committed = turn.committed, []
                consensus.apply(turn, committed)
                self.gossip.wake_up(turn.now)  # a summary tells who has missed it
            elif turn.writes:
                writes, turn.writes = turn.writes, []
                self.gossip.write(turn, writes)
            elif turn.proposals:
                proposals, turn.proposals = turn.proposals, []
                alive = self.membership.alive()
                for kind, data in proposals:
                    consensus.propose(turn, kind, data, PROPOSE_HOPS, alive)
            elif turn.reads or turn.read_requests:
                consensus.settle_reads(turn)
            elif self.team.dirty or self._is_due(self.team.deadline(), turn.now):
                self.team.decide(turn, self.view())
            elif self._is_due(consensus.council.due_at, turn.now):
                consensus.decide(turn, self.outlook.standings)
            elif self.farewell.end_if_due(turn):
                pass
            else:
                break
        if self._is_due(consensus.spreading.due_at, turn.now):
            consensus.spreading.flush(turn, self.membership.alive(), self.membership.in_touch())

    @staticmethod
    def _is_due(deadline: Nanoseconds | None, now: Nanoseconds) -> bool:
        return deadline is not None and deadline <= now

    def _carry(self, turn: Turn, fact: Fact) -> None:
        self.team.learn(turn, fact)
        self.consensus.carry(turn, fact)
        if isinstance(fact, MemberJoined):
            if self._is_acquainted(turn, fact.node):
                self._introduce(turn, (fact.node,))
        elif isinstance(fact, BatchMerged):
            self.announcing.learn(turn, fact)
        elif isinstance(fact, MemberFailed | MemberLeft):
            self.announcing.gone(turn, fact.node)
        elif isinstance(fact, ImpairmentEnded):
            self.membership.describe(**{JOURNAL: ""})
        elif isinstance(fact, StateReplaced):
            self.team.relearn(turn)

    def view(self) -> View:
        """Whom this node takes for alive, for gone, and for the leader."""
        return self.outlook.view()
