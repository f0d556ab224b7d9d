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

from protocol.choice import View
from protocol.claims import score
from protocol.clocks import Nanoseconds
from protocol.config import Config
from protocol.council import Council
from protocol.effects import Effect, Persist, Report, Restored, Send
from protocol.errors import RemoteProtocolError
from protocol.events import (
    AgentFailed,
    Completed,
    Event,
    Leaving,
    LinkFault,
    Persisted,
    Progressed,
    Received,
    Submitted,
    TimerFired,
    Undeliverable,
)
from protocol.facts import (
    Fact,
    LogGivenUp,
    LogsDiffer,
    MemberFailed,
    MemberJoined,
    MemberLeft,
    RequestRefused,
    RoleChanged,
)
from protocol.gossip import Gossip
from protocol.identity import NOBODY, Identity, NodeId
from protocol.ledger import Ledger
from protocol.membership import Membership
from protocol.messages import (
    Agreement,
    Delta,
    Digest,
    LearnRequest,
    MemberRecord,
    MemberSync,
    Message,
    OfLog,
    Probe,
    ProbeAck,
    ProbeNack,
    ProbeRequest,
    Propose,
    Push,
    Summary,
)
from protocol.raft import Raft, RaftStatus, Role
from protocol.raft_log import ENTRY_SIZE_MAX
from protocol.store import Store
from protocol.team import Team
from protocol.turn import Turn

INTRODUCTIONS_MAX = 64
PROPOSE_HOPS = 2  # a node that is no voter -> any voter -> the leader


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
        self.ledger = Ledger()
        self.store = Store(identity, settings.cluster, config.gossip.entries_per_author_max)
        self.store.restore(restored.batches)
        self.gossip = Gossip(self.store, config.gossip, self._random("gossip"), now)
        self.raft = Raft(self.node, config.raft, self._random("raft"), restored, now)
        self.council = Council(config.raft, settings.expected, now)
        record = MemberRecord(
            identity.public_key,
            settings.name,
            settings.endpoints,
            settings.epoch,
            0,
            False,
            settings.metadata,
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
        self.team = Team(self.node, config.team, self.ledger, self.store)
        self.team.restore(now)
        self._uncommitted: set[bytes] = set()  # commands that this leader has in its log already
        self._logs: dict[NodeId, bytes] = {}  # which log the others follow, as far as known
        self._met: set[tuple[NodeId, bytes]] = set()  # of other logs, and reported
        self._wake_council = False
        self._found = settings.found and not restored.entries
        self._persist_sequence = 0
        self._persisted = 0
        self._left = False

    def __repr__(self) -> str:
        return f"<Peer {self.settings.name} {self.raft!r} {self.ledger!r}>"

    def _random(self, machine: str) -> Random:
        """Each machine has its own, so that one machine's draws do not shift another's."""
        return Random(f"{self.settings.seed}/{self.node}/{self.settings.epoch}/{machine}")

    def step(self, event: Event, now: Nanoseconds) -> list[Effect]:
        """Take one event; `now` never goes back."""
        turn = Turn(now, now + self.settings.wall_offset, self._persist_sequence + 1)
        if self._found:
            self._found = False
            self.raft.found(turn)
        self._take(turn, event)
        self._settle(turn)
        self.membership.flush(turn)
        if self.gossip.has_news:
            self.gossip.flush(turn, self.membership.alive())
        return self._effects(turn)

    def deadline(self) -> Nanoseconds | None:
        """When to send TimerFired. None only after leaving."""
        if self._left:
            return None
        earliest = min(self.membership.deadline(), self.gossip.deadline())
        for deadline in (self.raft.deadline(), self.council.deadline(), self.team.deadline()):
            if deadline is not None and deadline < earliest:
                earliest = deadline
        return earliest

    def status(self) -> RaftStatus:
        """The agreement's state as this node sees it."""
        return self.raft.status()

    # -- one step ----------------------------------------------------------------------------------

    def _take(self, turn: Turn, event: Event) -> None:
        match event:
            case Received():
                try:
                    self._receive(turn, event.sender, event.message)
                except RemoteProtocolError as fault:
                    turn.report(RequestRefused(f"message of {event.sender}: {fault}"))
            case TimerFired():
                self.membership.tick(turn)
                self.raft.tick(turn)
                self._compare(turn)
            case Persisted():
                self._persisted = event.sequence
                self.raft.persisted(turn, event.sequence)
            case Submitted():
                self.team.submit(turn, self._view(), event.request, event.job)
            case Progressed():
                self.team.progressed(turn, event)
            case Completed():
                self.team.completed(turn, event)
            case AgentFailed():
                self.team.agent_failed(turn, event)
            case Undeliverable():
                self.membership.undeliverable(
                    turn, event.destination, event.endpoint, event.fault, event.detail
                )
                if event.fault is LinkFault.REFUSED:
                    self.raft.lose_leader(turn, event.destination)
            case Leaving():
                self.membership.leave(turn)
                self._left = True

    def _compare(self, turn: Turn) -> None:
        """When it is time, show one random member what this node has."""
        partner = self.gossip.summary_due(turn, self.membership.alive())
        if partner is not None:
            turn.send(partner, self._summary())

    def _summary(self) -> Summary:
        raft, log = self.raft, self.raft.log
        fingerprint = self.store.fingerprint()
        return Summary(fingerprint, log.origin, log.is_settled, raft.commit, raft.term, raft.leader)

    def _receive(self, turn: Turn, sender: NodeId, message: Message) -> None:
        match message:
            case Probe() | ProbeAck() | ProbeRequest() | ProbeNack() | MemberSync():
                self.membership.receive(turn, sender, message)
            case Push() | Digest() | Delta():
                self.gossip.receive(turn, sender, message)
            case Summary():
                self.gossip.receive(turn, sender, message)
                self._compare_logs(turn, sender, message)
            case Agreement():
                if self._is_same_log(sender, message.log):
                    self._receive_of_log(turn, sender, message.message)

    def _receive_of_log(self, turn: Turn, sender: NodeId, message: OfLog) -> None:
        if isinstance(message, Propose):
            if len(message.command) > ENTRY_SIZE_MAX:
                raise RemoteProtocolError(f"a command of {len(message.command)} bytes")
            self._propose(turn, message.command, message.hops)
        else:
            self.raft.receive(turn, sender, message)

    # -- whose log ---------------------------------------------------------------------------------

    def _is_same_log(self, node: NodeId, log: bytes) -> bool:
        """Take note of which log the node follows: whether that is this node's, or either has none
        yet."""
        own = self.raft.log.origin
        if self._logs.get(node) != log:
            self._logs[node] = log
            self._wake_council = True
        return not own or not log or own == log

    def _compare_logs(self, turn: Turn, sender: NodeId, message: Summary) -> None:
        """A node beyond the council asks for what it lacks. Where somebody has founded another log,
        one of the two gives way if nothing is lost with it."""
        if not self._is_same_log(sender, message.log):
            self._meet(turn, sender, message)
        elif message.log and not self.raft.is_voter:
            self.raft.hear_of_leader(turn, message.term, message.leader)
            if message.committed > self.raft.commit:
                turn.send(sender, LearnRequest(self.raft.commit + 1))

    def _meet(self, turn: Turn, sender: NodeId, message: Summary) -> None:
        own = self.raft.log.origin
        if self.raft.log.is_settled:
            if message.settled and (sender, message.log) not in self._met:
                self._met.add((sender, message.log))
                turn.report(LogsDiffer(sender, own.hex(), message.log.hex()))
            elif not message.settled:
                turn.send(sender, self._summary())  # it will give way
        elif message.settled or own < message.log:
            turn.report(LogGivenUp(own.hex(), message.log.hex()))
            self.raft.give_up_log(turn)
            self.ledger.restart()
            turn.send(sender, LearnRequest(1))
            self._introduce(turn, self.membership.alive())

    def _introduce(self, turn: Turn, nodes: Sequence[NodeId]) -> None:
        """Tell at once which log this node follows: a leader chooses no voter whose log it does not
        know. In a large team most hear of it by and by."""
        for node in nodes[:INTRODUCTIONS_MAX]:
            turn.send(node, self._summary())

    def _candidates(self) -> list[NodeId]:
        """Who may become a voter: nobody suspects it, and it follows this log or none."""
        own = self.raft.log.origin
        return [node for node in self.membership.healthy() if self._logs.get(node) in (b"", own)]

    def _settle(self, turn: Turn) -> None:
        """Carry facts, committed entries, writes and proposals until nothing is left to do."""
        carried = 0
        applied = 0
        while True:
            if carried < len(turn.facts):
                fact = turn.facts[carried]
                carried += 1
                self._carry(turn, fact)
            elif applied < len(turn.committed):
                self._uncommitted.discard(turn.committed[applied].data)
                for fact in self.ledger.apply(turn.committed[applied]):
                    turn.report(fact)
                applied += 1
            elif turn.writes:
                writes, turn.writes = turn.writes, []
                self.gossip.write(turn, writes)
            elif turn.proposals:
                proposals, turn.proposals = turn.proposals, []
                for command in proposals:
                    self._propose(turn, command, PROPOSE_HOPS)
            elif self.team.dirty or self._is_due(self.team.deadline(), turn.now):
                self.team.decide(turn, self._view())
            elif self._wake_council:
                self._wake_council = False
                self.council.look_again(turn.now)
            elif self._is_due(self.council.deadline(), turn.now):
                self.council.decide(turn, self.raft, self._candidates())
            else:
                break
        if turn.committed:
            self._teach(turn, turn.committed[0].index)

    @staticmethod
    def _is_due(deadline: Nanoseconds | None, now: Nanoseconds) -> bool:
        return deadline is not None and deadline <= now

    def _carry(self, turn: Turn, fact: Fact) -> None:
        self.team.learn(turn, fact)
        self.council.learn(turn, fact)
        if isinstance(fact, MemberFailed | MemberLeft):
            self.raft.lose_leader(turn, fact.node)
        elif isinstance(fact, RoleChanged):
            self._uncommitted.clear()
        elif isinstance(fact, MemberJoined):
            self._introduce(turn, (fact.node,))

    def _view(self) -> View:
        alive = frozenset({self.node, *self.membership.alive()})
        return View(alive, frozenset(self.membership.gone()), self.raft.leader)

    def _propose(self, turn: Turn, command: bytes, hops: int) -> None:
        """Append the command here, or pass it on towards the leader; it may be lost."""
        if self.raft.role is Role.LEADER:
            if command not in self._uncommitted and self.raft.propose(turn, command) is not None:
                self._uncommitted.add(command)
            return
        alive = set(self.membership.alive())
        target = self.raft.leader
        if not target:  # any living voter knows better
            voters = [node for node in self.raft.log.configuration.members if node in alive]
            if not voters or self.raft.is_voter:
                return
            target = voters[self._persist_sequence % len(voters)]
        if hops > 0:
            turn.send(target, Propose(command, hops - 1))

    def _teach(self, turn: Turn, first: int) -> None:
        """Each node beyond the council is taught by one voter that does not lead, so that the
        leader's work does not grow with the team."""
        if not self.raft.is_voter:
            return
        voters = self.raft.log.configuration.members
        teachers = [node for node in voters if node != self.raft.leader] or list(voters)
        for node in self.membership.alive():
            if node in voters:
                continue
            teacher = max(teachers, key=lambda teacher: score(("teach", node, 0), teacher))
            if teacher == self.node:
                self.raft.teach(turn, node, first)

    # -- effects -----------------------------------------------------------------------------------

    def _effects(self, turn: Turn) -> list[Effect]:
        effects: list[Effect] = [
            self._send(*item) if isinstance(item, tuple) else item for item in turn.before
        ]
        uncertain = self._persist_sequence > self._persisted
        if turn.records or (turn.after and uncertain):
            self._persist_sequence = turn.sequence
            effects.append(Persist(turn.sequence, tuple(turn.records)))
        effects += [self._send(*item) for item in turn.after]
        effects += map(Report, turn.facts)
        return effects

    def _send(self, destination: NodeId, endpoint: str, message: Message | OfLog) -> Send:
        if isinstance(message, OfLog):
            message = Agreement(self.raft.log.origin, message)
        if destination == NOBODY:
            return Send(NOBODY, (endpoint,), message)
        return Send(destination, self.membership.endpoints_of(destination), message)
