"""Commands on their way into the log: proposed, and proposed again until their effect shows.

A proposal may get lost on any hop, and nobody answers it. Instead the proposer looks at the ledger
and repeats, ever more seldom until there is a new leader; every command is idempotent, so repeating
does no harm. Only a client's submission gives up after a while: the client is told that it may
still happen.

Invariant: for each kind and subject there is at most one wish at a time.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TypeAlias

from protocol.clocks import Alarm, Nanoseconds
from protocol.codec import ENTRY_SIZE_MAX
from protocol.config import TeamConfig
from protocol.effects import Reply
from protocol.identity import NodeId
from protocol.jobs import Amount, Job
from protocol.ledger import (
    LATE_MAX,
    AbandonTask,
    AcceptResult,
    ClaimTask,
    CloneTask,
    Command,
    EndRace,
    FenceTask,
    Grant,
    GrantBudget,
    JobState,
    JudgeAnswers,
    Ledger,
    MergeFile,
    ReviewMerge,
    ReviewResult,
    SubmitJob,
    TaskState,
    Unit,
    encode_command,
)
from protocol.turn import Turn

_Key: TypeAlias = tuple[str, object, int]  # kind, subject, token


RETRY_DOUBLINGS_MAX = 4  # 0.5 s, 1 s, 2 s, 4 s, then every 8 s
MOVING_DOUBLINGS_MAX = 2  # but every 2 s while the log goes on: then there is somebody to hear it


@dataclass(slots=True)
class _Wish:
    command: Command
    encoded: bytes
    again_at: Nanoseconds
    tries: int = 0
    requests: list[int] = field(default_factory=list)  # clients that wait for it
    gives_up_at: Nanoseconds | None = None


class Wishes:
    """What this node wants in the log."""

    def __init__(self, config: TeamConfig, ledger: Ledger, alarm: Alarm) -> None:
        self.config = config
        self.ledger = ledger
        self._alarm = alarm
        self._wishes: dict[_Key, _Wish] = {}
        self._subjects: Counter[tuple[str, object]] = Counter()

    def __len__(self) -> int:
        return len(self._wishes)

    @property
    def are_too_many(self) -> bool:
        """Whether no further request of a client should be taken."""
        return len(self._wishes) >= self.config.pending_max

    def has(self, kind: str, subject: object) -> bool:
        """Whether there is a wish of this kind ("claim", "fence", ...) about this subject."""
        return self._subjects[kind, subject] > 0

    def claims(self) -> Iterator[ClaimTask]:
        """The claims that are under way."""
        for wish in self._wishes.values():
            if isinstance(wish.command, ClaimTask):
                yield wish.command

    def clones(self) -> Iterator[CloneTask]:
        """The races that are under way into the log."""
        for wish in self._wishes.values():
            if isinstance(wish.command, CloneTask):
                yield wish.command

    # -- wishing -------------------------------------------------------------------------------

    def submit(self, turn: Turn, command: SubmitJob, request: int) -> None:
        """A client's job; the client is answered when it is in the ledger, or after a while. A
        client that asks again for the same job is answered together with itself."""
        encoded = encode_command(command)
        if len(encoded) > ENTRY_SIZE_MAX:
            detail = f"the job is {len(encoded)} bytes as a log entry, the limit is "
            detail += f"{ENTRY_SIZE_MAX}: split it"
            turn.perform(Reply(request, "InvalidJob", detail))
            return
        key = ("submit", command.job.id, 0)
        wish = self._wishes.get(key)
        if wish is None:
            wish = self._add(key, _Wish(command, encoded, turn.now))
            wish.gives_up_at = turn.now + self.config.submit_timeout_ns
        elif _job_of(wish.command) != command.job:
            # Which of the two there will be is not decided yet, so this is no refusal for good.
            detail = f"somebody submits another job {command.job.id!r} right now; try again"
            turn.perform(Reply(request, "Busy", detail))
            return
        wish.requests.append(request)

    def claim(self, now: Nanoseconds, unit: Unit, node: NodeId) -> None:
        """That `node` shall hold the unit, under the next token."""
        found = self.ledger.slot(*unit)
        assert found is not None
        token = max(found[2].token + 1, found[2].fence)
        self._want(now, ("claim", unit, token), ClaimTask(*unit, node, token))

    def clone(self, now: Nanoseconds, unit: Unit, node: NodeId) -> None:
        """That `node` races the unit's holder, under the holder's token."""
        found = self.ledger.slot(*unit)
        assert found is not None
        token = found[2].token
        self._want(now, ("clone", unit, token), CloneTask(*unit, node, token))

    def end_race(self, now: Nanoseconds, unit: Unit, node: NodeId, token: int) -> None:
        """That `node` races the holder of `token` no more."""
        self._want(now, ("end race", (unit, node), token), EndRace(*unit, node, token))

    def fence(self, now: Nanoseconds, unit: Unit, token: int) -> None:
        """That results below `token` are refused."""
        self._want(now, ("fence", unit, token), FenceTask(*unit, token))

    def accept(self, now: Nanoseconds, unit: Unit, result: AcceptResult) -> None:
        """That this node's verified result is accepted."""
        self._want(now, ("accept", unit, result.token), result)

    def review(
        self,
        now: Nanoseconds,
        unit: Unit,
        attempt: tuple[int, NodeId, int],
        reviewer: NodeId,
        fault: str,
    ) -> None:
        """That this node's word on somebody's result counts."""
        _, node, token = attempt
        command = ReviewResult(*unit, node, token, reviewer, fault)
        self._want(now, ("review", (unit, attempt), 0), command)

    def judge(
        self,
        now: Nanoseconds,
        task: tuple[str, str],
        judge: NodeId,
        groups: tuple[int, ...],
        fault: str = "",
    ) -> None:
        """That the answers agree which this node's model has found to, or which do as they stand,
        for `fault` says why no model has."""
        self._want(now, ("judge", task, 0), JudgeAnswers(*task, judge, groups, fault))

    def grant(self, now: Nanoseconds, job: JobState, node: NodeId, amount: Amount) -> None:
        """That this node may spend so much more."""
        number = job.grants.get(node, Grant()).number + 1
        command = GrantBudget(job.job.id, node, number, amount)
        self._want(now, ("grant", job.job.id, number), command)

    def merge(self, now: Nanoseconds, command: MergeFile) -> None:
        """That this node's merge of a file's versions counts."""
        siblings = (command.job, command.path, command.tasks)
        self._want(now, ("merge", siblings, command.number), command)

    def review_merge(self, now: Nanoseconds, command: ReviewMerge) -> None:
        """That this node's word on somebody's merge counts."""
        merge = (command.job, command.path, command.tasks, command.number)
        self._want(now, ("review merge", merge, 0), command)

    def abandon(self, now: Nanoseconds, job: JobState, task: TaskState, reason: str) -> None:
        """That nobody tries the task any more."""
        command = AbandonTask(job.job.id, task.task.id, reason)
        self._want(now, ("abandon", (job.job.id, task.task.id), 0), command)

    def _want(self, now: Nanoseconds, key: _Key, command: Command) -> None:
        if key not in self._wishes:
            self._add(key, _Wish(command, encode_command(command), now))

    def _add(self, key: _Key, wish: _Wish) -> _Wish:
        self._wishes[key] = wish
        self._subjects[key[:2]] += 1
        return wish

    def _drop(self, key: _Key) -> _Wish | None:
        wish = self._wishes.pop(key, None)
        if wish is not None:
            self._subjects[key[:2]] -= 1
            if not self._subjects[key[:2]]:
                del self._subjects[key[:2]]
        return wish

    # -- pursuing ------------------------------------------------------------------------------

    def hasten(self, now: Nanoseconds) -> None:
        """There is a new leader, to whom nothing has been proposed yet."""
        for wish in self._wishes.values():
            wish.again_at, wish.tries = now, 0

    def moved(self, now: Nanoseconds) -> None:
        """The log went on, with something else in it."""
        soon = now + (self.config.propose_retry_ns << MOVING_DOUBLINGS_MAX)
        for wish in self._wishes.values():
            wish.again_at = min(wish.again_at, soon)
            wish.tries = min(wish.tries, MOVING_DOUBLINGS_MAX)

    def pursue(self, turn: Turn) -> bool:
        """Drop what has come true or cannot any more, propose what is due; whether any was
        dropped."""
        before = len(self._wishes)
        for key, wish in list(self._wishes.items()):
            if self._is_settled(wish.command):
                self._drop(key)
            elif wish.gives_up_at is not None and turn.now >= wish.gives_up_at:
                self._drop(key)
                detail = "no majority confirmed it in time; it may still happen"
                for request in wish.requests:
                    turn.perform(Reply(request, "TimedOut", detail))
            else:
                if turn.now >= wish.again_at:
                    turn.propose(wish.encoded)
                    doublings = min(wish.tries, RETRY_DOUBLINGS_MAX)
                    wish.again_at = turn.now + (self.config.propose_retry_ns << doublings)
                    wish.tries += 1
                self._alarm.ask(min(wish.again_at, wish.gives_up_at or wish.again_at))
        return len(self._wishes) < before

    def submitted(self, turn: Turn, job: str, refusal: str = "") -> None:
        """A job of this id is in the ledger, or refused: answer the clients that wait for it."""
        wish = self._drop(("submit", job, 0))
        if wish is None:
            return
        state = self.ledger.jobs.get(job)  # None: it was forgotten while this node was away
        if not refusal and state is not None and state.job != _job_of(wish.command):
            refusal = _other_job(job)  # somebody else was faster
        for request in wish.requests:
            turn.perform(Reply(request, "InvalidJob" if refusal else "", refusal or job))

    def _is_settled(self, command: Command) -> bool:
        """Whether the ledger shows the command's effect, or that it can have none any more."""
        if isinstance(command, SubmitJob):
            return False  # `submitted` settles it
        if isinstance(command, GrantBudget):
            state = self.ledger.jobs.get(command.job)
            if state is None or state.is_finished or not state.may_grant(command.amount):
                return True
            return state.grants.get(command.node, Grant()).number >= command.number
        if isinstance(command, MergeFile | ReviewMerge):
            state = self.ledger.jobs.get(command.job)
            siblings = (command.path, command.tasks)
            if state is None or state.refuted_merges(siblings) != command.number:
                return True
            if isinstance(command, MergeFile):
                return siblings not in state.merges_due()
            return state.waiting_merge(siblings) is None
        if isinstance(command, AbandonTask | JudgeAnswers):
            found = self.ledger.slot(command.job, command.task, 0)
            is_judged = isinstance(command, JudgeAnswers) and found and found[1].groups
            return found is None or not found[1].is_open or bool(is_judged)
        found = self.ledger.slot(command.job, command.task, command.slot)
        if found is None:
            return True
        job, task, slot = found
        match command:
            case ClaimTask():
                lost = slot.token >= command.token or slot.fence > command.token
                return lost or not task.is_open or slot.answer is not None
            case CloneTask():
                full = len(slot.racers) >= job.job.speculation.clones
                moved = slot.token != command.token or not slot.holder
                over = not task.is_open or slot.answer is not None
                return over or moved or full or slot.has(command.node, command.token)
            case EndRace():
                moved = slot.token != command.token or command.node not in slot.racers
                return moved or not task.is_open or slot.answer is not None
            case ReviewResult():
                attempt = (command.slot, command.node, command.token)
                waits = any(answer.attempt == attempt for answer in slot.candidates)
                return not waits or not task.is_open
            case FenceTask():
                return slot.fence >= command.token or not task.is_open
            case AcceptResult():
                if task.knows((command.slot, command.node, command.token)):
                    return True
                if task.takes(command.slot, command.token):
                    return False
                # It is evidence at most, and there may be enough of that.
                return len(task.late) >= LATE_MAX or (job.is_finished and not task.accepted)


def _job_of(command: Command) -> Job:
    assert isinstance(command, SubmitJob)
    return command.job


def _other_job(job: str) -> str:
    return f"there is another job {job!r} already: change its name"
