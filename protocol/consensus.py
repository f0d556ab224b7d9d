"""All that one node has to do with the agreement: Raft, the state machine that it feeds, the clerk
of the local clients, the council, and which log this node follows at all.

    proposals  ──▶ leader's log ──▶ committed ──▶ Replicated ──▶ facts, and answers by the clerk

Invariants: entries are applied once, in order, or a snapshot in their place; what concerns another
log is not looked at. Which of two logs gives way is said in `protocol.raft.another_log`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from enum import Enum
from random import Random

from protocol.clerk import Clerk
from protocol.clocks import Nanoseconds
from protocol.codec import ENTRY_SIZE_MAX
from protocol.config import Config
from protocol.configuration import Configuration
from protocol.council import Council, Standing
from protocol.effects import Reply, Restored, Snapshot
from protocol.errors import Busy, RemoteProtocolError
from protocol.events import Commanded, ReadAsked
from protocol.facts import Fact
from protocol.facts.agreement import (
    BatchOutOfOrder,
    LeaderElected,
    LogGivenUp,
    LogRescued,
    LogsDiffer,
    RoleChanged,
    SessionOpened,
    StateReplaced,
)
from protocol.facts.membership import MemberFailed, MemberLeft, MemberSuspected
from protocol.gathering import Gathering
from protocol.identity import NodeId
from protocol.ledger import encode_leader
from protocol.messages.agreement import (
    SETTLED_FROM,
    EntryKind,
    HandedOver,
    HandOver,
    LearnRequest,
    LogEntry,
    OfLog,
    Propose,
    ReadReply,
    ReadRequest,
)
from protocol.messages.sharing import Summary
from protocol.raft import Raft
from protocol.raft.another_log import (
    Outcome,
    are_rivals,
    give_up_log,
    outcome_of_meeting,
    rescue_log,
)
from protocol.readmission import Readmission
from protocol.replicated import Replicated
from protocol.spreading import Spreading
from protocol.transfers import Transfers
from protocol.turn import Turn

PROPOSE_HOPS = 2  # a node that is no voter -> any voter -> the leader
MET_MAX = 1_000  # nodes of other logs that are remembered as reported


class Say(Enum):
    """Whom to tell which log this node follows."""

    NOBODY = "nobody"
    SENDER = "sender"
    EVERYBODY = "everybody"


class Consensus:
    """See the module's text."""

    def __init__(
        self,
        node: NodeId,
        config: Config,
        restored: Restored,
        expected: int,
        nonce: bytes,
        random: Random,
        now: Nanoseconds,
    ) -> None:
        self.node = node
        self.config = config.raft
        self._random = random
        self.replicated = Replicated()
        opening = encode_leader(node)
        self.raft = Raft(node, config.raft, random, restored, now, self.replicated.check, opening)
        if restored.snapshot is not None:
            self.replicated.restore(restored.snapshot)
        self.clerk = Clerk(node, nonce, config.clerk, self.replicated.registers)
        self.readmission = Readmission(self.raft, nonce, config.clerk.retry_ns, now)
        self.transfers = Transfers(node, self.raft, config.clerk.timeout_ns)
        self.council = Council(config.raft, expected, now)
        self.spreading = Spreading(self.raft, config.raft, random)
        self.gathering = Gathering(self.raft, config.raft)
        self._logs: dict[NodeId, bytes] = {}  # which log the others follow, as far as known
        self.summaries: dict[NodeId, tuple[Nanoseconds, Summary]] = {}  # the latest, and its time
        self._met: set[tuple[NodeId, bytes]] = set()  # of other logs, and reported
        self._epoch = self.raft.log.configuration_at(self.raft.commit)[1].epoch

    def deadline(self) -> Nanoseconds | None:
        """The earliest of the machines' deadlines."""
        earliest = self.raft.deadline()
        for due in (  # no generator: this is asked after every step
            self.council.due_at,
            self.clerk.deadline(),
            self.readmission.deadline(),
            self.transfers.deadline(),
            self.spreading.due_at,
            self.gathering.due_at,
            self.raft.following.lesson_due_at(),
        ):
            if due is not None and (earliest is None or due < earliest):
                earliest = due
        return earliest

    # -- inputs ----------------------------------------------------------------------------------

    def tick(self, turn: Turn) -> None:
        """Serve what is due."""
        due = self.raft.deadline()
        if due is not None and due <= turn.now:
            self.raft.tick(turn)
        due = self.clerk.deadline()
        if due is not None and due <= turn.now:
            self.clerk.tick(turn)
        self.gathering.flush(turn)
        self.readmission.tick(turn)
        self.transfers.tick(turn)
        due = self.raft.following.lesson_due_at()
        if due is not None and due <= turn.now:
            self._seek_lesson(turn)

    def _seek_lesson(self, turn: Turn) -> None:
        """Ask anybody who has more to go on with the snapshot that is half here."""
        own = self.raft.log.identity  # empty where the snapshot is the first that is learnt
        knowing = [
            node
            for node, (_, summary) in self.summaries.items()
            if summary.committed > self.raft.commit and (not own or summary.log == own)
        ]
        if knowing:
            self.raft.following.ask(turn, self._random.choice(knowing))
        else:
            self.raft.following.forget()

    def receive(self, turn: Turn, sender: NodeId, log: bytes, message: OfLog) -> bool:
        """Take what concerns a log; False if that is another one than this node's."""
        if not self._is_same_log(turn.now, sender, log):
            return False
        match message:
            case Propose():
                if len(message.data) > ENTRY_SIZE_MAX:
                    raise RemoteProtocolError(f"a command of {len(message.data)} bytes")
                self.propose(turn, message.kind, message.data, message.hops, ())
            case ReadRequest():
                self._read(turn, sender, message)
            case ReadReply():
                self.clerk.read_confirmed(turn, message, self.replicated.applied)
                self.readmission.confirmed(turn, message)
            case HandOver():
                self.transfers.receive_wish(turn, sender, message)
            case HandedOver():
                self.transfers.receive_answer(turn, sender, message)
            case _:
                self.raft.step(turn, sender, message)
        return True

    def command(self, turn: Turn, event: Commanded) -> None:
        """Local clients write."""
        self.clerk.command(turn, event.first, event.commands)

    def read(self, turn: Turn, event: ReadAsked) -> None:
        """A local client reads."""
        self.clerk.read(turn, event.request, event.key, event.consistency)

    def persisted(self, turn: Turn, sequence: int) -> None:
        """Everything up to this sequence is durable."""
        self.raft.persisted(turn, sequence)

    def transfer(self, turn: Turn, request: int, to: NodeId) -> None:
        """The operator wants another leader."""
        self.transfers.ask(turn, request, to)

    def rescue(self, turn: Turn, request: int) -> None:
        """The operator declares the majority lost."""
        if not self.raft.log.last_index:
            detail = "this node has no log: rescue the team from a node that has one"
            turn.perform(Reply(request, "NotPossible", detail))
            return
        if self.raft.leadership is not None:
            if not self._has_rival():
                detail = "this node leads a majority: there is nothing to rescue"
                turn.perform(Reply(request, "NotPossible", detail))
                return
        elif self.raft.elections.hears_leader(turn.now):
            detail = f"{self.raft.leader} leads, and this node hears it: there is nothing to rescue"
            turn.perform(Reply(request, "NotPossible", detail))
            return
        rescue_log(self.raft, turn)
        found = self.raft.configuration
        turn.report(LogRescued(found.epoch, self.raft.log.configuration_index))
        turn.answer_durable(Reply(request, "", str(found.epoch)))

    def _has_rival(self) -> bool:
        """Whether somebody follows an epoch of this log that was begun apart from this one's."""
        own = self.raft.log.identity
        return any(are_rivals(own, other) for other in self._logs.values())

    def leave(self, turn: Turn) -> None:
        """This node will leave: another shall vote instead, and lead if it does."""
        self.council.leaves = True
        self.council.look_again(turn.now)
        self.hand_over(turn)

    def hand_over(self, turn: Turn) -> None:
        """This node will go: if it leads, somebody else shall."""
        leadership = self.raft.leadership
        successor = self.transfers.successor()
        if leadership is not None and not leadership.transferee and successor:
            self.raft.transfer(turn, successor)

    # -- what follows within a step --------------------------------------------------------------

    def carry(self, turn: Turn, fact: Fact) -> None:
        """A fact of this step."""
        self.council.learn(turn, fact)
        self.transfers.learn(turn, fact)
        match fact:
            case MemberSuspected():
                self._lose_leader_if_missed(turn, fact.node)
            case MemberFailed():
                self._lose_leader_if_missed(turn, fact.node)
                self._forget(fact.node)
            case MemberLeft():
                self.raft.elections.lose_leader(turn, fact.node)
                self._forget(fact.node)
            case RoleChanged():
                self.gathering.forget()
            case LeaderElected():
                self.clerk.leader_changed(turn, fact.leader)
            case BatchOutOfOrder():
                self.clerk.out_of_order(turn, fact.session)
            case SessionOpened():
                self.clerk.session_opened(turn, fact.node, fact.nonce, fact.number)
            case _:
                pass

    def _lose_leader_if_missed(self, turn: Turn, node: NodeId) -> None:
        if self.raft.elections.misses_leader(turn.now):
            self.raft.elections.lose_leader(turn, node)

    def _forget(self, node: NodeId) -> None:
        self._logs.pop(node, None)
        self.summaries.pop(node, None)

    def apply(self, turn: Turn, committed: Sequence[LogEntry | Snapshot]) -> None:
        """Feed the state machine what has just been committed."""
        for item in committed:
            if isinstance(item, Snapshot):
                self.replicated.restore(item)
                turn.report(StateReplaced(item.index))
                self.clerk.look_for_session(turn)
                self.spreading.committed(turn.now, item.index + 1)
                if self._is_later_epoch(item.configuration):
                    self.council.begin_epoch(turn.now)
            else:
                self._apply_entry(turn, item)
        self.raft.impairment.check(turn)
        self.clerk.applied(turn)
        self.clerk.answer_reads(turn, self.replicated.applied)

    def _apply_entry(self, turn: Turn, entry: LogEntry) -> None:
        """Apply an entry, and take a snapshot if it is time for one. That follows from the log
        alone, so that all nodes take the same ones, and parts of one may come from several."""
        self.gathering.committed(entry)
        state, config = self.replicated, self.config
        facts = state.apply(entry)
        if facts:
            turn.facts += facts
        self.spreading.committed(turn.now, entry.index)
        if entry.kind is EntryKind.VOTERS and self._is_later_epoch(
            self.raft.log.configuration_at(entry.index)[1]
        ):
            # An operator has rescued the team. Nothing before shall be taken over entry by entry:
            # whoever had the beginning only would be a node of the epoch before, and could vote
            # with others like it.
            self.council.begin_epoch(turn.now)
            self.raft.snapshots.compact(turn, entry.index, state.image(), trailing=0)
        elif state.entries_since >= config.compact_entries or (
            state.size_since >= max(config.compact_size, state.image_size)
        ):
            self.raft.snapshots.compact(turn, entry.index, state.image())

    def _is_later_epoch(self, configuration: Configuration) -> bool:
        is_later = configuration.epoch > self._epoch
        self._epoch = max(self._epoch, configuration.epoch)
        return is_later

    def settle_reads(self, turn: Turn) -> None:
        """Reads that the leader has confirmed in this step, and questions to it."""
        reads, turn.reads = turn.reads, []
        for context, index in reads:
            assert isinstance(context, tuple)
            node, number = context
            reply = ReadReply(number, index)
            if node == self.node:
                self.clerk.read_confirmed(turn, reply, self.replicated.applied)
            else:
                turn.send(node, reply)
        requests, turn.read_requests = turn.read_requests, []
        for request in requests:
            if self.raft.leadership is not None:
                self._read(turn, self.node, request)
            elif self.raft.leader:
                turn.send(self.raft.leader, request)

    def _read(self, turn: Turn, sender: NodeId, message: ReadRequest) -> None:
        is_settled = self.raft.log.configuration_index <= self.raft.commit
        if self.raft.leadership is None or (message.read >= SETTLED_FROM and not is_settled):
            return  # it will ask again
        try:
            self.raft.read_index(turn, (sender, message.read), message.lease)
        except Busy:
            return

    def propose(
        self, turn: Turn, kind: EntryKind, data: bytes, hops: int, alive: Sequence[NodeId]
    ) -> None:
        """Append something here, or pass it on towards the leader; it may be lost."""
        if kind in (EntryKind.NOOP, EntryKind.VOTERS):
            raise RemoteProtocolError(f"nobody proposes a {kind.name}")
        if self.raft.leadership is not None:
            if kind is not EntryKind.BATCH:
                self.gathering.add(turn, kind, data)
                return
            with suppress(Busy):
                self.raft.propose(turn, data, kind)
            return
        target = self.raft.leader
        if not target:  # any living voter knows better
            voters = [node for node in self.raft.configuration.members if node in alive]
            if not voters or self.raft.is_voter:
                return
            target = voters[turn.sequence % len(voters)]
        if hops > 0:
            turn.send(target, Propose(kind, data, hops - 1))

    def decide(self, turn: Turn, team: Callable[[], Mapping[NodeId, Standing]]) -> None:
        """Let the council decide: only that of a leader has to know the team."""
        leads = self.raft.leadership is not None
        self.council.decide(turn, self.raft, team() if leads else {})

    # -- whose log ---------------------------------------------------------------------------------

    def follows(self, node: NodeId) -> bool:
        """Whether the node is known to follow this log, or none."""
        return self._logs.get(node) in (b"", self.raft.log.identity)

    def log_of(self, node: NodeId) -> bytes | None:
        """Which log the node follows, empty if none; None if that is not known."""
        return self._logs.get(node)

    def _is_same_log(self, now: Nanoseconds, node: NodeId, log: bytes) -> bool:
        """Take note of which log the node follows: whether that is this node's, or either has none
        yet."""
        own = self.raft.log.identity
        if self._logs.get(node) != log:
            self._logs[node] = log
            self.council.look_again(now)
        return not own or not log or own == log

    def compare(self, turn: Turn, sender: NodeId, message: Summary) -> Say:
        """A node that no leader sends anything to asks for what it lacks. Where somebody follows
        another log, one of the two gives way if nothing is lost with it. The answer is to whom this
        node should say now what it follows."""
        self.summaries[sender] = (turn.now, message)
        if not self._is_same_log(turn.now, sender, message.log):
            return self._meet(turn, sender, message)
        # Who takes itself for a voter and hears of no leader may have been voted out meanwhile.
        is_led = self.raft.is_voter and self.raft.elections.hears_leader(turn.now)
        if message.log and not is_led:
            self.raft.elections.hear_of_leader(turn, message.term, message.leader)
            if message.committed > self.raft.commit:
                self.raft.following.want(turn, sender)
        return Say.NOBODY

    def _meet(self, turn: Turn, sender: NodeId, message: Summary) -> Say:
        own, other = self.raft.log.identity, message.log
        match outcome_of_meeting(self.raft.log, other, message.settled):
            case Outcome.BOTH_STAY:
                if (sender, other) not in self._met and len(self._met) < MET_MAX:
                    self._met.add((sender, other))
                    turn.report(LogsDiffer(sender, own.hex(), other.hex()))
                return Say.NOBODY
            case Outcome.THEIRS_GIVES_WAY:
                return Say.SENDER
            case Outcome.OURS_GIVES_WAY:
                pass
        turn.report(LogGivenUp(own.hex(), other.hex()))
        give_up_log(self.raft, turn)
        self.replicated.restart()
        self._epoch = 0
        self.gathering.forget()
        turn.report(StateReplaced(0))
        self.clerk.log_changed(turn)
        self.readmission.log_changed()
        turn.send(sender, LearnRequest(1, 0, 0))
        return Say.EVERYBODY

    def summary(self, fingerprint: bytes) -> Summary:
        """What this node follows, and how far."""
        raft, log = self.raft, self.raft.log
        return Summary(
            fingerprint, log.identity, log.is_settled, raft.commit, raft.term, raft.leader
        )
