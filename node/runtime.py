"""The loop around a peer: events in, `peer.step`, effects out, one timer.

Invariants: only this loop calls `step`, one event at a time; the effects of a step are performed
in order, and what follows a `Persist` waits for the journal while later steps go on. A step that
raises stops the node at once: what was persisted is all that a restart needs.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from node.queries import answer_to
from node.requests import Requests
from node.telemetry import Telemetry
from protocol.clocks import SECOND, Nanoseconds
from protocol.diagnosis import why_no_leader
from protocol.effects import (
    Abort,
    Asked,
    Assignment,
    CallDenied,
    CallGranted,
    Effect,
    Gathered,
    Invoke,
    Persist,
    ReadAnswered,
    ReadPart,
    Record,
    Refused,
    Reply,
    Report,
    Results,
    Send,
)
from protocol.errors import (
    Busy,
    NoLeader,
    NotPossible,
    QuorateError,
    TimedOut,
)
from protocol.events import (
    Announced,
    Answered,
    BlobAsked,
    BlobDropped,
    BlobPut,
    CancelAsked,
    Consistency,
    EntryWritten,
    Event,
    ForgetAsked,
    JoinAsked,
    Leaving,
    Noted,
    PartRead,
    Persisted,
    Queried,
    ReadAsked,
    Received,
    Rescued,
    Stopping,
    Submitted,
    Tagged,
    TimerFired,
    Transferred,
)
from protocol.identity import NodeId
from protocol.jobs import Job
from protocol.messages import Message
from protocol.messages.agreement import Agreement, Relay
from protocol.messages.sharing import Delta, Push
from protocol.peer import Peer
from protocol.registers import Command, Versioned, fault_of

INBOX_MAX = 20_000  # events waiting; beyond it peers' messages are dropped (they repeat them)
BATCH_MAX = 256  # events taken before other tasks get their turn
REPLY_TIMEOUT_S = 30.0
RETIRE_TIMEOUT_S = 4.0  # for its agents to end and another to lead, and for its disk
LEAVE_TIMEOUT_S = 6.0  # for the others to do without this node, and for its disk
TIMER_RESOLUTION_S = 0.001


class Sender(Protocol):
    """What the runtime needs of a transport."""

    def send(self, destination: NodeId, endpoints: tuple[str, ...], message: Message) -> None: ...


class Writer(Protocol):
    """What the runtime needs of a journal. While it `is_full` nothing new is taken on that would
    have to be written."""

    @property
    def is_full(self) -> bool: ...

    def read_part(self, blob: str, part: int) -> bytes | None: ...

    def write(
        self, sequence: int, records: tuple[Record, ...], done: Callable[[int], None]
    ) -> None: ...


class Workers(Protocol):
    """What the runtime needs of the agents."""

    def start(self, invocation: int, assignment: Assignment) -> None: ...
    def abort(self, invocation: int, reason: str) -> None: ...
    def answer(self, answer: CallGranted | CallDenied) -> None: ...


class Programs(Protocol):
    """What the runtime needs of programs that answer queries."""

    def know(self, name: str) -> bool: ...
    def start(self, asked: Asked) -> None: ...


class Runtime:
    """See the module's text. `stopped` is done when the node has failed or was told to stop."""

    def __init__(
        self,
        peer: Peer,
        transport: Sender,
        journal: Writer,
        workers: Workers,
        telemetry: Telemetry,
        programs: Programs | None = None,
    ) -> None:
        self.peer = peer
        self.telemetry = telemetry
        self.steps = 0
        self.dropped = 0
        self.stopped: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._transport = transport
        self._journal = journal
        self._workers = workers
        self._programs = programs
        self._loop = asyncio.get_running_loop()
        self._inbox: deque[Event] = deque()
        self._scheduled = False
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = 0
        self._going = False
        self._unwritten: deque[tuple[int, list[Effect], Nanoseconds]] = deque()
        self._requests = Requests(self._loop)

    def start(self) -> None:
        """Take the first step."""
        self.deliver(TimerFired())

    def stop(self, fault: BaseException | None = None) -> None:
        """Take no more steps. `fault` is raised by `stopped`."""
        if self._timer:
            self._timer.cancel()
        if not self.stopped.done():
            if fault is None:
                self.stopped.set_result(None)
            else:
                self.stopped.set_exception(fault)
        self._requests.give_up()

    def _fail(self, fault: Exception) -> None:
        self.stop(fault)
        self.telemetry.say(f"! stopped by {fault!r}")

    def deliver(self, event: Event) -> None:
        """Hand in an event, from this loop's thread. Takes its turn soon."""
        if len(self._inbox) >= INBOX_MAX and isinstance(event, Received):
            self.dropped += 1
            return
        self._inbox.append(event)
        self._schedule()

    def _schedule(self) -> None:
        if not self._scheduled:
            self._scheduled = True
            self._loop.call_soon(self._drain)

    async def submit(self, job: Job) -> str:
        """A client's job: its id once a majority keeps it. InvalidJob and Busy mean that it did not
        happen; TimedOut that it may have."""
        self._check_room()
        answer: str = await self._ask(lambda number: Submitted(number, job))
        return answer

    def read(self, key: str, consistency: Consistency) -> asyncio.Future[Versioned | None]:
        """A register as it is, or was if LOCAL. Busy, NoLeader; TimedOut if this node ends."""
        number, answer = self._new_request()
        answer.add_done_callback(lambda _: self._requests.close(number))
        self.deliver(ReadAsked(number, key, consistency))
        return answer

    async def transfer(self, to: NodeId) -> NodeId:
        """Let another voter lead, `to` or whoever is furthest: who leads then. ChangeRefused, with
        the leader's reason; NotLeader if nobody is known to lead; TimedOut."""
        leader: str = await self._ask(lambda number: Transferred(number, to))
        return NodeId(leader)

    async def announce(self, name: str, payload: str) -> None:
        """Tell every member something; done when it is on its way. InvalidEvent."""
        await self._ask(lambda number: Announced(number, name, payload))

    async def note(self, job: str, scope: str, about: str, text: str, lifetime_s: float) -> None:
        """Say something that the agents of a job may need. NotPossible, with the reason."""
        lifetime_ns = int(lifetime_s * SECOND)
        await self._ask(lambda number: Noted(number, job, scope, about, text, lifetime_ns))

    async def cancel(self, job: str, reason: str) -> None:
        """Let a job end, with what is accepted of it; done when that is on its way. NotPossible."""
        await self._ask(lambda number: CancelAsked(number, job, reason))

    async def query(self, name: str, payload: str, timeout_s: float) -> Gathered:
        """Ask every member something, and gather what they answer in time. Busy, InvalidEvent."""
        timeout_ns = int(timeout_s * SECOND)
        answer: Gathered = await self._ask(
            lambda number: Queried(number, name, payload, timeout_ns), timeout_s + REPLY_TIMEOUT_S
        )
        return answer

    async def write_entry(self, key: str, value: bytes | None) -> None:
        """Write a value that nodes share by gossip, or delete it; done when it is on this node's
        disk. Busy, InvalidEntry."""
        self._check_room()
        await self._ask(lambda number: EntryWritten(number, key, value))

    async def put_blob(self, content: bytes) -> str:
        """Keep a content on this node: its id, once it is on the disk. Busy."""
        self._check_room()
        blob: str = await self._ask(lambda number: BlobPut(number, content))
        return blob

    async def want_blob(self, blob: str, timeout_s: float) -> None:
        """See to it that a blob is here. Busy, TimedOut."""
        timeout_ns = int(timeout_s * SECOND)
        await self._ask(
            lambda number: BlobAsked(number, blob, timeout_ns), timeout_s + REPLY_TIMEOUT_S
        )

    async def drop_blob(self, blob: str) -> None:
        """Do without a blob on this node. NotPossible if it is not there."""
        await self._ask(lambda number: BlobDropped(number, blob))

    def read_part(self, blob: str, part: int) -> asyncio.Future[bytes | None]:
        """A part of a blob from the disk; None if it is gone or damaged."""
        return self._loop.run_in_executor(None, self._journal.read_part, blob, part)

    async def join(self, endpoints: tuple[str, ...]) -> None:
        """Call these addresses now, and for ever."""
        await self._ask(lambda number: JoinAsked(number, endpoints))

    async def tag(self, tags: Mapping[str, str]) -> None:
        """Say something of this node to all members. InvalidTag."""
        await self._ask(lambda number: Tagged(number, tuple(tags.items())))

    async def forget(self, node: NodeId) -> None:
        """Hear no more of a node that has failed or left. NotPossible."""
        await self._ask(lambda number: ForgetAsked(number, node))

    async def rescue(self) -> str:
        """The operator's word that the majority is lost for good: the new epoch. NotPossible."""
        answer: str = await self._ask(Rescued)
        return answer

    def _new_request(self) -> tuple[int, asyncio.Future[Any]]:
        self._check_running()
        return self._requests.open()

    def _check_room(self) -> None:
        if self._journal.is_full:
            raise Busy("too much waits for this node's disk; try again, or ask another node")

    def _check_running(self) -> None:
        if self.stopped.done() or self._going:
            raise Busy("this node is stopping; ask another one")

    async def _ask(self, event: Callable[[int], Event], timeout_s: float = REPLY_TIMEOUT_S) -> Any:
        number, answer = self._new_request()
        self.deliver(event(number))
        try:
            async with asyncio.timeout(timeout_s):
                return await answer
        except TimeoutError:
            raise TimedOut("no answer in time; it may have happened") from None
        finally:
            self._requests.close(number)

    def command(self, command: Command) -> asyncio.Future[int]:
        """Do something to a register, in the order of the calls: the future has the revision of the
        write, or one of `protocol.registers.Refusal`; or Busy and NoLeader (it did not happen), or
        TimedOut (it may have). Calls of one turn of the loop travel together."""
        self._check(command)
        self._schedule()
        return self._requests.command(command)

    def commands(self, commands: Sequence[Command]) -> asyncio.Future[list[int | QuorateError]]:
        """The same for many: for each what its own future would have had."""
        for command in commands:
            self._check(command)
        self._schedule()
        return self._requests.commands(commands)

    def _check(self, command: Command) -> None:
        self._check_running()
        self._check_room()
        fault = fault_of(command)
        if fault:
            raise NotPossible(fault)

    def leave(self) -> None:
        """Say goodbye to the team, then stop."""
        self.deliver(Leaving())
        self._loop.call_later(LEAVE_TIMEOUT_S, self.stop)

    def retire(self) -> None:
        """Let others have what this node has in hand, then stop."""
        self.deliver(Stopping())
        self._loop.call_later(RETIRE_TIMEOUT_S, self.stop)

    # -- the loop ----------------------------------------------------------------------------------

    def _drain(self) -> None:
        self._scheduled = False
        try:
            commands = self._requests.take_commands()
            if commands is not None:
                self._step(commands)
            for _ in range(min(BATCH_MAX, len(self._inbox))):
                event = self._inbox.popleft()
                if self._journal.is_full and _would_write(event):
                    self.dropped += 1
                else:
                    self._step(event)
        except Exception as fault:  # a bug: better no node than a wrong one
            self._fail(fault)
            return
        if self._inbox:
            self._schedule()
        self._arm()

    def _step(self, event: Event) -> None:
        if self.stopped.done():
            return
        self.steps += 1
        now = time.monotonic_ns()
        self._perform(self.peer.step(event, now), now)
        if self.peer.is_over and not self._going:
            self._going = True
            self._end_if_gone()

    def _end_if_gone(self) -> None:
        """Stop once everything that this node has said last has been performed."""
        if self._going and not self._unwritten:
            self.stop()

    def _arm(self) -> None:
        deadline = self.peer.deadline()
        if self.stopped.done() or deadline is None or deadline == self._timer_at:
            return
        if self._timer:
            self._timer.cancel()
        self._timer_at = deadline
        # The loop counts milliseconds: a timer a little early would find nothing due, and fire
        # again and again until the time has come.
        wait_s = max(0, deadline - time.monotonic_ns()) / SECOND + TIMER_RESOLUTION_S
        self._timer = self._loop.call_later(wait_s, self._fire)

    def _fire(self) -> None:
        self._timer_at = 0
        self.deliver(TimerFired())

    # -- effects -----------------------------------------------------------------------------------

    def _perform(self, effects: list[Effect], now: Nanoseconds) -> None:
        """Those of the step that was taken then."""
        for at, effect in enumerate(effects):
            match effect:
                case Send():
                    self._transport.send(effect.destination, effect.endpoints, effect.message)
                case Persist():
                    self._unwritten.append((effect.sequence, effects[at + 1 :], now))
                    self._journal.write(effect.sequence, effect.records, self._written)
                    return
                case Report():
                    happened = now + self.peer.settings.wall_offset
                    self.telemetry.report(effect.fact, happened / SECOND)
                case Invoke():
                    self._workers.start(effect.invocation, effect.assignment)
                case Abort():
                    self._workers.abort(effect.invocation, effect.reason)
                case CallGranted() | CallDenied():
                    self._workers.answer(effect)
                case Reply():
                    self._requests.reply(effect.request, effect.error, effect.detail, effect.detail)
                case Asked():
                    self._answer_query(effect)
                case ReadPart():
                    self._read_for_another(effect)
                case Gathered():
                    self._requests.reply(effect.request, "", "", effect)
                case ReadAnswered():
                    self._requests.reply(effect.request, "", "", effect.value)
                case Results():
                    self._requests.done(effect.first, effect.results)
                case Refused():
                    self._refuse(effect)

    def _read_for_another(self, wanted: ReadPart) -> None:
        """Read a part off the loop."""

        def done(reading: asyncio.Future[bytes | None]) -> None:
            if not self.stopped.done() and not reading.cancelled():
                data = None if reading.exception() else reading.result()
                self.deliver(PartRead(wanted.blob, wanted.part, wanted.destination, data))

        self.read_part(wanted.blob, wanted.part).add_done_callback(done)

    def _answer_query(self, asked: Asked) -> None:
        if self._programs is not None and self._programs.know(asked.name):
            self._programs.start(asked)
        else:
            answer = answer_to(self.peer, asked.name)
            self.deliver(Answered(asked.origin, asked.number, answer))

    def _written(self, sequence: int) -> None:
        """The journal has everything up to `sequence`: perform what waited for it, in order."""
        try:
            while self._unwritten and self._unwritten[0][0] <= sequence:
                _, effects, taken_at = self._unwritten.popleft()
                if not self.stopped.done():
                    self._perform(effects, taken_at)
        except Exception as fault:
            self._fail(fault)
            return
        self.deliver(Persisted(sequence))
        self._end_if_gone()

    def _refuse(self, effect: Refused) -> None:
        """Commands or reads that were not done. Where nobody leads, what this node knows of it."""
        detail = effect.detail
        if effect.error == NoLeader.__name__:
            reasons = why_no_leader(self.peer, time.monotonic_ns())
            detail = ": ".join((detail, "; ".join(reasons))) if reasons else detail
        self._requests.refuse(effect, detail)


def _would_write(event: Event) -> bool:
    """Whether it is a message of a peer that mostly leads to a write. It may be lost like any: the
    sender repeats it, and has a window of what is not answered. Probes and summaries go on, and
    what this node does of its own accord, which is little and slow."""
    return isinstance(event, Received) and isinstance(
        event.message, Agreement | Relay | Push | Delta
    )
