"""The loop around a peer: events in, `peer.step`, effects out, one timer.

Invariants: only this loop calls `step`, one event at a time; the effects of a step are performed
in order, and what follows a `Persist` waits for the journal while later steps go on. A step that
raises stops the node at once: what was persisted is all that a restart needs.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from itertools import count
from typing import Protocol

from node.telemetry import Telemetry
from protocol.clocks import SECOND
from protocol.effects import (
    Abort,
    Assignment,
    Effect,
    Invoke,
    Persist,
    Record,
    Reply,
    Report,
    Send,
)
from protocol.errors import Busy, InvalidJob, TimedOut
from protocol.events import Event, Leaving, Persisted, Received, Submitted, TimerFired
from protocol.identity import NodeId
from protocol.jobs import Job
from protocol.messages import Message
from protocol.peer import Peer

INBOX_MAX = 20_000  # events waiting; beyond it peers' messages are dropped (they repeat them)
BATCH_MAX = 256  # events taken before other tasks get their turn
REQUESTS_MAX = 1_000  # clients waiting for an answer
REPLY_TIMEOUT_S = 30.0
LEAVE_TIMEOUT_S = 1.0  # for the disk, before a goodbye goes out
TIMER_RESOLUTION_S = 0.001

_ERRORS = {"InvalidJob": InvalidJob, "Busy": Busy, "TimedOut": TimedOut}


class Sender(Protocol):
    """What the runtime needs of a transport."""

    def send(self, destination: NodeId, endpoints: tuple[str, ...], message: Message) -> None: ...


class Writer(Protocol):
    """What the runtime needs of a journal."""

    def write(
        self, sequence: int, records: tuple[Record, ...], done: Callable[[int], None]
    ) -> None: ...


class Workers(Protocol):
    """What the runtime needs of the agents."""

    def start(self, invocation: int, assignment: Assignment) -> None: ...
    def abort(self, invocation: int, reason: str) -> None: ...


class Runtime:
    """See the module's text. `stopped` is done when the node has failed or was told to stop."""

    def __init__(
        self, peer: Peer, transport: Sender, journal: Writer, workers: Workers, telemetry: Telemetry
    ) -> None:
        self.peer = peer
        self.telemetry = telemetry
        self.steps = 0
        self.dropped = 0
        self.stopped: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._transport = transport
        self._journal = journal
        self._workers = workers
        self._loop = asyncio.get_running_loop()
        self._inbox: deque[Event] = deque()
        self._scheduled = False
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = 0
        self._leaving = False
        self._unwritten: deque[tuple[int, list[Effect]]] = deque()
        self._requests: dict[int, asyncio.Future[str]] = {}
        self._request_numbers = count(1)

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
        for waiting in self._requests.values():
            if not waiting.done():
                waiting.set_exception(
                    TimedOut("the node is stopping; the request may have happened")
                )

    def _fail(self, fault: Exception) -> None:
        self.stop(fault)
        self.telemetry.say(f"! stopped by {fault!r}")

    def deliver(self, event: Event) -> None:
        """Hand in an event, from this loop's thread. Takes its turn soon."""
        if len(self._inbox) >= INBOX_MAX and isinstance(event, Received):
            self.dropped += 1
            return
        self._inbox.append(event)
        if not self._scheduled:
            self._scheduled = True
            self._loop.call_soon(self._drain)

    async def submit(self, job: Job) -> str:
        """A client's job: its id once a majority keeps it. InvalidJob and Busy mean that it did not
        happen; TimedOut that it may have."""
        if len(self._requests) >= REQUESTS_MAX:
            raise Busy(f"{REQUESTS_MAX} requests wait here already; try again")
        number = next(self._request_numbers)
        answer: asyncio.Future[str] = self._loop.create_future()
        self._requests[number] = answer
        self.deliver(Submitted(number, job))
        try:
            async with asyncio.timeout(REPLY_TIMEOUT_S):
                return await answer
        except TimeoutError:
            raise TimedOut("no answer in time; the job may have been taken") from None
        finally:
            del self._requests[number]

    def leave(self) -> None:
        """Say goodbye to the team, then stop."""
        self.deliver(Leaving())
        self._loop.call_later(LEAVE_TIMEOUT_S, self.stop)

    # -- the loop ----------------------------------------------------------------------------------

    def _drain(self) -> None:
        self._scheduled = False
        try:
            for _ in range(min(BATCH_MAX, len(self._inbox))):
                self._step(self._inbox.popleft())
        except Exception as fault:  # a bug: better no node than a wrong one
            self._fail(fault)
            return
        if self._inbox and not self._scheduled:
            self._scheduled = True
            self._loop.call_soon(self._drain)
        self._arm()

    def _step(self, event: Event) -> None:
        if self.stopped.done():
            return
        self.steps += 1
        self._perform(self.peer.step(event, time.monotonic_ns()))
        if isinstance(event, Leaving):
            self._leaving = True
            self._end_if_gone()

    def _end_if_gone(self) -> None:
        """Stop once everything that the goodbye consists of has been performed."""
        if self._leaving and not self._unwritten:
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

    def _perform(self, effects: list[Effect]) -> None:
        for at, effect in enumerate(effects):
            match effect:
                case Send():
                    self._transport.send(effect.destination, effect.endpoints, effect.message)
                case Persist():
                    self._unwritten.append((effect.sequence, effects[at + 1 :]))
                    self._journal.write(effect.sequence, effect.records, self._written)
                    return
                case Report():
                    self.telemetry.report(effect.fact)
                case Invoke():
                    self._workers.start(effect.invocation, effect.assignment)
                case Abort():
                    self._workers.abort(effect.invocation, effect.reason)
                case Reply():
                    self._reply(effect)

    def _written(self, sequence: int) -> None:
        """The journal has everything up to `sequence`: perform what waited for it, in order."""
        try:
            while self._unwritten and self._unwritten[0][0] <= sequence:
                _, effects = self._unwritten.popleft()
                if not self.stopped.done():
                    self._perform(effects)
        except Exception as fault:
            self._fail(fault)
            return
        self.deliver(Persisted(sequence))
        self._end_if_gone()

    def _reply(self, effect: Reply) -> None:
        waiting = self._requests.get(effect.request)
        if waiting is None or waiting.done():
            return  # the client has gone
        if effect.error:
            waiting.set_exception(_ERRORS[effect.error](effect.detail))
        else:
            waiting.set_result(effect.detail)
