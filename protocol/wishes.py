"""Commands on their way into the log: proposed, and proposed again until their effect shows.

A proposal may get lost on any hop, and nobody answers it. Instead the proposer looks at the ledger
and repeats; every command is idempotent, so repeating does no harm. Only a client's submission
gives up after a while: the client is told that it may still happen.

Invariant: for each kind and subject there is at most one wish at a time.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from protocol.clocks import Alarm, Nanoseconds
from protocol.config import TeamConfig
from protocol.effects import Reply
from protocol.identity import NodeId
from protocol.ledger import (
    AbandonTask,
    AcceptResult,
    ClaimTask,
    Command,
    FenceTask,
    JobState,
    Ledger,
    SubmitJob,
    TaskState,
    Unit,
    encode_command,
)
from protocol.turn import Turn


@dataclass(slots=True)
class _Wish:
    command: Command
    encoded: bytes
    again_at: Nanoseconds
    request: int | None = None  # a client waits for it
    gives_up_at: Nanoseconds | None = None


class Wishes:
    """What this node wants in the log."""

    def __init__(self, config: TeamConfig, ledger: Ledger, alarm: Alarm) -> None:
        self.config = config
        self.ledger = ledger
        self._alarm = alarm
        self._wishes: dict[tuple[object, ...], _Wish] = {}

    def __len__(self) -> int:
        return len(self._wishes)

    @property
    def are_too_many(self) -> bool:
        """Whether no further request of a client should be taken."""
        return len(self._wishes) >= self.config.pending_max

    def has(self, kind: str, subject: object) -> bool:
        """Whether there is a wish of this kind ("claim", "fence", ...) about this subject."""
        return any(key[0] == kind and key[1] == subject for key in self._wishes)

    def claims(self) -> Iterator[ClaimTask]:
        """The claims that are under way."""
        for wish in self._wishes.values():
            if isinstance(wish.command, ClaimTask):
                yield wish.command

    # -- wishing -------------------------------------------------------------------------------

    def submit(self, now: Nanoseconds, command: SubmitJob, request: int) -> None:
        """A client's job; the client is answered when it is in the ledger, or after a while."""
        wish = _Wish(command, encode_command(command), now, request)
        wish.gives_up_at = now + self.config.submit_timeout_ns
        self._wishes[("submit", command.job.id)] = wish

    def claim(self, now: Nanoseconds, unit: Unit, node: NodeId) -> None:
        """That `node` shall hold the unit, under the next token."""
        found = self.ledger.slot(*unit)
        assert found is not None
        token = max(found[2].token + 1, found[2].fence)
        self._add(now, ("claim", unit, token), ClaimTask(*unit, node, token))

    def fence(self, now: Nanoseconds, unit: Unit, token: int) -> None:
        """That results below `token` are refused."""
        self._add(now, ("fence", unit, token), FenceTask(*unit, token))

    def accept(self, now: Nanoseconds, unit: Unit, result: AcceptResult) -> None:
        """That this node's verified result is accepted."""
        self._add(now, ("accept", unit, result.token), result)

    def abandon(self, now: Nanoseconds, job: JobState, task: TaskState, reason: str) -> None:
        """That nobody tries the task any more."""
        command = AbandonTask(job.job.id, task.task.id, reason)
        self._add(now, ("abandon", (job.job.id, task.task.id)), command)

    def _add(self, now: Nanoseconds, key: tuple[object, ...], command: Command) -> None:
        if key not in self._wishes:
            self._wishes[key] = _Wish(command, encode_command(command), now)

    # -- pursuing ------------------------------------------------------------------------------

    def pursue(self, turn: Turn) -> bool:
        """Drop what has come true or cannot any more, propose what is due; whether any was
        dropped."""
        before = len(self._wishes)
        for key, wish in list(self._wishes.items()):
            if self._is_settled(wish.command):
                del self._wishes[key]
            elif wish.gives_up_at is not None and turn.now >= wish.gives_up_at:
                del self._wishes[key]
                assert wish.request is not None
                detail = "no majority confirmed it in time; it may still happen"
                turn.perform(Reply(wish.request, "TimedOut", detail))
            else:
                if turn.now >= wish.again_at:
                    turn.propose(wish.encoded)
                    wish.again_at = turn.now + self.config.propose_retry_ns
                self._alarm.ask(min(wish.again_at, wish.gives_up_at or wish.again_at))
        return len(self._wishes) < before

    def submitted(self, turn: Turn, job: str, refusal: str = "") -> None:
        """The job is in the ledger, or refused: answer the client that waits, if it is ours."""
        wish = self._wishes.pop(("submit", job), None)
        if wish and wish.request is not None:
            error = "InvalidJob" if refusal else ""
            turn.perform(Reply(wish.request, error, refusal or job))

    def _is_settled(self, command: Command) -> bool:
        """Whether the ledger shows the command's effect, or that it can have none any more."""
        if isinstance(command, SubmitJob):
            return command.job.id in self.ledger.jobs
        if isinstance(command, AbandonTask):
            found = self.ledger.slot(command.job, command.task, 0)
            return found is None or not found[1].is_open
        found = self.ledger.slot(command.job, command.task, command.slot)
        if found is None:
            return True
        job, task, slot = found
        match command:
            case ClaimTask():
                lost = slot.token >= command.token or slot.fence > command.token
                return lost or not task.is_open or slot.answer is not None
            case FenceTask():
                return slot.fence >= command.token or not task.is_open
            case AcceptResult():
                known = any(
                    answer and (answer.node, answer.token) == (command.node, command.token)
                    for answer in (slot.answer, *task.late)
                )
                return known or (job.is_finished and not task.accepted)
