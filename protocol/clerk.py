"""The clients of this node at the registers: their commands in a session, their reads in rounds.

    Commanded ──▶ numbered, batched ──▶ to the leader ──▶ log ──▶ applied here ──▶ Results
    ReadAsked ──▶ one ReadRequest for all that wait ──▶ index ──▶ applied here ──▶ ReadAnswered

Invariants: a command that was sent is sent again, under the same number, until the session in the
state machine has passed it, so it happens exactly once whoever leads; it is answered from what was
applied here, by an entry or by a snapshot, so no answer is lost or doubled. One that its client
has given up on keeps its number, and does nothing if it can still be helped.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from protocol.clocks import Nanoseconds
from protocol.config import ClerkConfig
from protocol.effects import ReadAnswered, Refused, Results
from protocol.events import Consistency
from protocol.identity import NodeId
from protocol.messages.agreement import EntryKind, ReadReply, ReadRequest
from protocol.registers import (
    BATCH_COMMANDS_MAX,
    Command,
    Registers,
    Verb,
    encode_batch,
    encode_opening,
)
from protocol.turn import Turn

NOTHING = Command(Verb.NOTHING, "")
COMMAND_OVERHEAD = 16  # bytes of a command on the wire beside key and values
READ_BITS = 32  # of a read's number; above them is what tells one life of a node from another
LATER: Nanoseconds = 2**62


def size_of(command: Command) -> int:
    """About how many bytes it takes in a log entry."""
    size = len(command.key) + len(command.value) + COMMAND_OVERHEAD
    return size + len(command.expected) if command.expected else size


@dataclass(slots=True)
class _Batch:
    """Consecutive commands. `first` is the session's number of the first, 0 before it has one;
    `done` of them are answered."""

    request: int
    commands: tuple[Command, ...]
    asked_at: Nanoseconds
    first: int = 0
    done: int = 0
    given_up: bool = False


@dataclass(slots=True)
class _Round:
    """Reads that one question to the leader serves; `index` is its answer."""

    lease: bool
    asked_at: Nanoseconds
    reads: list[tuple[int, str]] = field(default_factory=list)
    number: int = 0
    sent_at: Nanoseconds = 0
    index: int | None = None


class Clerk:
    """See the module's text. `nonce` tells this life of the node from its other ones."""

    def __init__(
        self, node: NodeId, nonce: bytes, config: ClerkConfig, registers: Registers
    ) -> None:
        self.node = node
        self.config = config
        self.registers = registers
        self.session = 0
        self._nonce = nonce
        self._sessions_lost = 0
        self._last = 0  # number given to a command
        self._known = 0  # number of the last command that is answered
        self._unsent: deque[_Batch] = deque()
        self._sent: deque[_Batch] = deque()
        self._waiting = 0  # commands and reads that are not answered
        self._opened_at: Nanoseconds = -LATER
        self._progress_at: Nanoseconds = 0
        self._rounds: dict[bool, deque[_Round]] = {False: deque(), True: deque()}
        # Answers to an earlier life's reads may be on their way still: no two share a number.
        self._read_number = (int.from_bytes(nonce, "big") << READ_BITS) % 2**62

    def __repr__(self) -> str:
        return f"<Clerk session={self.session} sent={len(self._sent)} waiting={self._waiting}>"

    def deadline(self) -> Nanoseconds | None:
        """When `tick` is due."""
        if not self._waiting:
            return None
        due = LATER
        if self._sent or self._unsent:
            base = self._progress_at if self.session else self._opened_at
            due = base + self.config.retry_ns
            due = min(due, self._oldest() + self.config.timeout_ns)
        for rounds in self._rounds.values():
            if rounds:
                due = min(due, rounds[0].asked_at + self.config.timeout_ns)
                if rounds[0].index is None:
                    due = min(due, rounds[0].sent_at + self.config.retry_ns)
        return due

    def _oldest(self) -> Nanoseconds:
        """When the oldest command that is not given up was asked for."""
        for batch in self._sent:
            if not batch.given_up:
                return batch.asked_at
        return self._unsent[0].asked_at if self._unsent else LATER

    # -- commands --------------------------------------------------------------------------------

    def command(self, turn: Turn, first: int, commands: Sequence[Command]) -> None:
        """Take commands of local clients."""
        room = self.config.requests_max - self._waiting
        if room < len(commands):
            taken = max(room, 0)
            detail = f"{self._waiting} requests wait at this node; try again"
            turn.perform(Refused(first + taken, len(commands) - taken, "Busy", detail, True))
            commands = commands[:taken]
        at = 0
        while at < len(commands):
            some = self._cut(commands, at)
            self._unsent.append(_Batch(first + at, some, turn.now))
            at += len(some)
        self._waiting += len(commands)
        self._send(turn)

    def _cut(self, commands: Sequence[Command], at: int) -> tuple[Command, ...]:
        """As many as make one log entry."""
        if len(commands) == 1:
            return tuple(commands)
        size = 0
        end = at
        for command in commands[at : at + BATCH_COMMANDS_MAX]:
            size += size_of(command)
            if size > self.config.batch_size_max and end > at:
                break
            end += 1
        return tuple(commands[at:end])

    def _send(self, turn: Turn) -> None:
        """Number and send what the window has room for."""
        if not self._unsent:
            return
        if self.session and self.session not in self.registers.sessions:
            self._lose_session(turn)  # before anything more goes under it
        if not self.session:
            self._open_session(turn)
            return
        while self._unsent and self._last - self._known < self.config.window_max:
            batch = self._unsent.popleft()
            batch.first = self._last + 1
            self._last += len(batch.commands)
            if not self._sent:
                self._progress_at = turn.now
            self._sent.append(batch)
            self._propose(turn, batch.first, batch.commands)

    def _propose(self, turn: Turn, first: int, commands: Sequence[Command]) -> None:
        data = encode_batch(self.session, first, self._known + 1, commands)
        turn.propose(data, EntryKind.BATCH)

    def _open_session(self, turn: Turn) -> None:
        if turn.now < self._opened_at + self.config.retry_ns:
            return
        self._opened_at = turn.now
        turn.propose(encode_opening(self.node, self._own_nonce()), EntryKind.SESSION)

    def _own_nonce(self) -> bytes:
        return self._nonce + self._sessions_lost.to_bytes(4, "big")

    def session_opened(self, turn: Turn, node: NodeId, nonce: str, number: int) -> None:
        """Somebody's session is in the log: perhaps the one that was asked for."""
        if node == self.node and nonce == self._own_nonce().hex() and not self.session:
            self.session = number
            self._last = self._known = 0
            self._send(turn)

    def applied(self, turn: Turn) -> None:
        """More of the log is applied: answer what it answers."""
        if self.session and self._sent:
            results = self.registers.results_after(self.session, self._known)
            if results is None or len(results) > self._last - self._known:
                self._lose_session(turn)  # or somebody else writes in it
            elif results:
                self._answer(turn, results)
                self._progress_at = turn.now
        if self._unsent:
            self._send(turn)

    def _answer(self, turn: Turn, results: list[int]) -> None:
        self._known += len(results)
        at = 0
        while at < len(results):
            batch = self._sent[0]
            count = min(len(batch.commands) - batch.done, len(results) - at)
            if not batch.given_up:
                first = batch.request + batch.done
                turn.perform(Results(first, tuple(results[at : at + count])))
                self._waiting -= count
            batch.done += count
            at += count
            if batch.done == len(batch.commands):
                self._sent.popleft()

    def look_for_session(self, turn: Turn) -> None:
        """A snapshot took the place of log entries: the session may have been opened in them."""
        if self.session:
            return
        for number, each in self.registers.sessions.items():
            if (each.node, each.nonce) == (self.node, self._own_nonce()):
                self.session_opened(turn, each.node, each.nonce.hex(), number)
                return

    def log_changed(self, turn: Turn) -> None:
        """Another log is followed from now on. A session of the old one means nothing in it, and an
        index neither; this node's nonce may be in both, with commands behind it already."""
        self._lose_session(turn)
        for rounds in self._rounds.values():
            for each in rounds:
                each.number, each.index, each.sent_at = 0, None, 0

    def _lose_session(self, turn: Turn) -> None:
        """The state machine has forgotten the session: whether the commands happened cannot be
        known any more."""
        while self._sent:
            detail = "the session was forgotten; it may have happened"
            self._give_up(turn, self._sent.popleft(), "TimedOut", detail)
        self.session = 0
        self._sessions_lost += 1
        self._opened_at = -LATER

    def _give_up(self, turn: Turn, batch: _Batch, error: str, detail: str) -> None:
        if not batch.given_up:
            count = len(batch.commands) - batch.done
            turn.perform(Refused(batch.request + batch.done, count, error, detail, True))
            self._waiting -= count
            batch.given_up = True

    # -- time and leaders ------------------------------------------------------------------------

    def leader_changed(self, turn: Turn, leader: NodeId) -> None:
        """Somebody leads: what the one before was sent may be lost, so it is sent again."""
        if leader:
            self._opened_at = -LATER
            self._repeat(turn)
            self._ask_again(turn)

    def tick(self, turn: Turn) -> None:
        """Serve what is due."""
        self._expire(turn)
        if self._sent and turn.now >= self._progress_at + self.config.retry_ns:
            self._repeat(turn)
        if self._unsent:
            self._send(turn)
        for rounds in self._rounds.values():
            waits = bool(rounds) and rounds[0].index is None
            if waits and turn.now >= rounds[0].sent_at + self.config.retry_ns:
                self._ask(turn, rounds[0])

    def _repeat(self, turn: Turn) -> None:
        """Send what is not answered again, as few entries: were they many, and the links did not
        keep their order, only the first would count."""
        self._progress_at = turn.now
        first = 0
        pending: list[Command] = []
        size = 0
        for batch in self._sent:
            commands = [NOTHING] * len(batch.commands) if batch.given_up else batch.commands
            first = first or batch.first
            for command in commands:
                own_size = size_of(command)
                full = len(pending) >= BATCH_COMMANDS_MAX
                if full or (pending and size + own_size > self.config.batch_size_max):
                    self._propose(turn, first, pending)
                    first += len(pending)
                    pending, size = [], 0
                pending.append(command)
                size += own_size
        if pending:
            self._propose(turn, first, pending)
        self._send(turn)

    def out_of_order(self, turn: Turn, session: int) -> None:
        """A batch of a session came before an earlier one, which is lost or late."""
        late = turn.now >= self._progress_at + self.config.reorder_ns
        if session == self.session and self._sent and late:
            self._repeat(turn)

    def _expire(self, turn: Turn) -> None:
        oldest = turn.now - self.config.timeout_ns
        for batch in self._sent:
            if batch.asked_at > oldest:
                break
            self._give_up(turn, batch, "TimedOut", "no answer in time; it may have happened")
        while self._unsent and self._unsent[0].asked_at <= oldest:
            detail = "nobody led for too long; it did not happen"
            self._give_up(turn, self._unsent.popleft(), "NoLeader", detail)
        for rounds in self._rounds.values():
            while rounds and rounds[0].asked_at <= oldest:
                for request, _ in rounds.popleft().reads:
                    detail = "nobody led for too long; nothing was read"
                    turn.perform(Refused(request, 1, "NoLeader", detail, False))
                    self._waiting -= 1

    # -- reads -----------------------------------------------------------------------------------

    def read(self, turn: Turn, request: int, key: str, consistency: Consistency) -> None:
        """Take a read of a local client."""
        if consistency is Consistency.LOCAL:
            turn.perform(ReadAnswered(request, self.registers.get(key)))
            return
        if self._waiting >= self.config.requests_max:
            detail = f"{self._waiting} requests wait at this node; try again"
            turn.perform(Refused(request, 1, "Busy", detail, False))
            return
        self._waiting += 1
        rounds = self._rounds[consistency is Consistency.LEASE]
        if rounds and not rounds[-1].number:
            rounds[-1].reads.append((request, key))
            return
        fresh = _Round(consistency is Consistency.LEASE, turn.now, [(request, key)])
        rounds.append(fresh)
        if not any(each.number and each.index is None for each in rounds):
            self._ask(turn, fresh)

    def _ask(self, turn: Turn, asked: _Round) -> None:
        self._read_number += 1
        asked.number, asked.sent_at = self._read_number, turn.now
        turn.read_requests.append(ReadRequest(asked.number, asked.lease))

    def _ask_again(self, turn: Turn) -> None:
        for rounds in self._rounds.values():
            for each in rounds:
                if each.index is None:
                    self._ask(turn, each)
                    break

    def read_confirmed(self, turn: Turn, reply: ReadReply, applied: int) -> None:
        """The leader's answer to a round."""
        for rounds in self._rounds.values():
            for at, each in enumerate(rounds):
                if each.number == reply.read and each.index is None:
                    each.index = reply.index
                    following = rounds[at + 1] if at + 1 < len(rounds) else None
                    if following is not None and following.index is None:
                        self._ask(turn, following)
                    self.answer_reads(turn, applied)
                    return

    def answer_reads(self, turn: Turn, applied: int) -> None:
        """Answer the reads whose index is applied here."""
        for rounds in self._rounds.values():
            while rounds and (index := rounds[0].index) is not None and index <= applied:
                for request, key in rounds.popleft().reads:
                    turn.perform(ReadAnswered(request, self.registers.get(key)))
                    self._waiting -= 1
