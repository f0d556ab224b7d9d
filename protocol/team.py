"""One node's part in the team: take tasks, run agents, hand in results, by the ledger's rules.

Invariants: this node runs at most `slots` agents; it starts a task only when everything the task
needs is accepted, in every claim mode; a result goes into the log under the token that the work
was begun with, so that a holder that was given up on cannot be accepted after its successor.

    LEASE     claim in the store, start at once; a collision is resolved by `claims`
    RAFT      propose the claim, start when the ledger names us
    ASSIGNED  the ledger names us before the start; the leader moves what a lost node held
    LEADER    the leader names an idle node for a ready task

Nothing polls: a decision is made when a fact arrives that may change it, or at a deadline.
Wishes to the log are repeated until their effect shows in the ledger, hence every command is
idempotent.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from protocol import claims, codec
from protocol.choice import Choice, View
from protocol.claims import Claim, ClaimBook, FailNote, Partial, Phase
from protocol.clocks import Alarm, Nanoseconds
from protocol.config import TeamConfig
from protocol.effects import Abort, Assignment, Invoke, Reply
from protocol.errors import InvalidJob, RemoteProtocolError
from protocol.events import AgentFailed, Completed, Failure, Progressed
from protocol.facts import Fact, RequestRefused
from protocol.facts.agreement import LeaderElected
from protocol.facts.membership import MemberFailed, MemberJoined, MemberLeft
from protocol.facts.sharing import BatchMerged
from protocol.facts.work import (
    AttemptAborted,
    AttemptFailed,
    ClaimLost,
    JobFinished,
    JobRefused,
    JobSubmitted,
    LeaseExpired,
    TaskAbandoned,
    TaskAccepted,
    TaskClaimed,
    TaskCompleted,
    TaskFenced,
    TaskStarted,
)
from protocol.identity import NOBODY, NodeId
from protocol.jobs import (
    FILE_SIZE_MAX,
    NO_USAGE,
    ClaimMode,
    File,
    Job,
    Usage,
    digest_of,
    validate,
)
from protocol.leading import Leading
from protocol.ledger import (
    AcceptResult,
    JobState,
    Ledger,
    SubmitJob,
    TaskState,
    Unit,
    fault_of_result,
)
from protocol.store import Store
from protocol.turn import Turn
from protocol.wishes import Wishes

DETAIL_LENGTH_MAX = 2_000  # characters of a FAIL note


@dataclass(slots=True)
class Attempt:
    """A running agent. `lapsed`: this node slept past its own lease, so the task may have been
    taken over; the agent, probably done by now, may finish, and its result is evidence."""

    unit: Unit
    token: int
    renewed_at: Nanoseconds
    lapsed: bool = False
    lapsed_at: Nanoseconds = 0
    aborted: bool = False
    files: dict[str, bytes] = field(default_factory=dict)


class Team:
    """See the module's text."""

    def __init__(self, node: NodeId, config: TeamConfig, ledger: Ledger, store: Store) -> None:
        self.node = node
        self.config = config
        self.ledger = ledger
        self.store = store
        self.dirty = True
        self.attempts: dict[int, Attempt] = {}
        self._alarm = Alarm()
        self._invocation = 0
        self._book = ClaimBook()
        self._wishes = Wishes(config, ledger, self._alarm)
        self._choice = Choice(node, config, self._book, self._wishes, self._alarm)
        self._leading = Leading(config, self._book, self._wishes, self._alarm)
        self._notes: dict[tuple[str, str], dict[str, FailNote]] = {}
        self._done: dict[Unit, tuple[int, Nanoseconds]] = {}  # handed in: token, claim renewed at
        self._finished: set[str] = set()

    def __repr__(self) -> str:
        running = ",".join(attempt.unit[1] for attempt in self.attempts.values())
        return f"<Team {self.node[:6]} running=[{running}] wishes={len(self._wishes)}>"

    def deadline(self) -> Nanoseconds | None:
        return self._alarm.at

    def restore(self, now: Nanoseconds) -> None:
        """After a restart: learn the claims and notes that the store brought back."""
        for key in self.store.scan():
            self._learn_key(None, key, now)

    def relearn(self, turn: Turn) -> None:
        """The ledger was replaced by a later one: what was waited for may be in it."""
        for job in list(self.ledger.jobs.values()):
            self._wishes.submitted(turn, job.job.id)
            if job.is_finished:
                self._finished.add(job.job.id)
        self.restore(turn.now)
        self.dirty = True

    def holder_of(self, unit: Unit) -> NodeId:
        """Who works on the unit, as far as is known here; empty if nobody."""
        found = self.ledger.slot(*unit)
        if found is None:
            return NOBODY
        if found[0].job.claims is not ClaimMode.LEASE:
            return found[2].holder
        held = self._book.get(unit)
        return held.claim.node if held and held.claim.phase is not Phase.RELEASED else NOBODY

    def notes_of(self, job: str, task: str) -> Sequence[FailNote]:
        """Why attempts at a task failed, while the job goes on."""
        return list(self._notes_of(job, task).values())

    # -- inputs --------------------------------------------------------------------------------

    def submit(self, turn: Turn, view: View, request: int, job: Job) -> None:
        """A client's job: answered when it is in the ledger."""
        try:
            validate(job)
        except InvalidJob as fault:
            turn.perform(Reply(request, "InvalidJob", str(fault)))
            return
        if self._wishes.are_too_many:
            turn.perform(Reply(request, "Busy", "too many requests wait here; try again"))
            return
        by_plan = job.claims is ClaimMode.ASSIGNED
        assignment = claims.spread(job, sorted(view.alive)) if by_plan else ()
        self._wishes.submit(turn, SubmitJob(job, assignment, turn.wall), request)
        if job.id in self.ledger.jobs:  # asked again, perhaps: a repeated request is answered alike
            self._wishes.submitted(turn, job.id)
        self.dirty = True

    def progressed(self, turn: Turn, event: Progressed) -> None:
        """Some files of a running attempt are there: let everybody have them."""
        attempt = self.attempts.get(event.invocation)
        if attempt:
            self._write_parts(turn, attempt, event.files)

    def completed(self, turn: Turn, event: Completed) -> None:
        """A verified result: publish it, and hand it in."""
        attempt = self.attempts.get(event.invocation)
        if attempt is None:
            return
        job, task, slot = attempt.unit
        found = self.ledger.slot(*attempt.unit)
        result = AcceptResult(
            job, task, slot, self.node, attempt.token, event.files, event.text, event.usage
        )
        fault = fault_of_result(found[1].task, event.files, event.text) if found else ""
        fault = fault or _fault_of_packing(result)
        if fault:  # the log would refuse it, now and for ever
            number, usage = event.invocation, event.usage
            self.agent_failed(turn, AgentFailed(number, Failure.OUTPUT, fault, (), usage))
            return
        del self.attempts[event.invocation]
        self._write_parts(turn, attempt, event.files)
        self._write_claim(turn, attempt.unit, attempt.token, Phase.DONE)
        self._done[attempt.unit] = (attempt.token, turn.now)
        self._wishes.accept(turn.now, attempt.unit, result)
        self.dirty = True
        digest = digest_of(event.files, event.text)
        turn.report(TaskCompleted(job, task, slot, attempt.token, digest))

    def agent_failed(self, turn: Turn, event: AgentFailed) -> None:
        """No result: say why, and let go of the task."""
        attempt = self.attempts.pop(event.invocation, None)
        if attempt is None:
            return
        self.dirty = True
        job, task, slot = attempt.unit
        if event.reason is Failure.ABORTED:
            turn.report(AttemptAborted(job, task, slot, attempt.token, event.detail))
            return
        detail = event.detail[:DETAIL_LENGTH_MAX]
        turn.report(AttemptFailed(job, task, slot, attempt.token, event.reason.value, detail))
        self._write_parts(turn, attempt, event.files)
        usage = NO_USAGE if _fault_of_packing(event.usage) else event.usage
        note = FailNote(self.node, slot, attempt.token, event.reason.value, detail, usage)
        number = sum(old.node == self.node for old in self._notes_of(job, task).values())
        key = claims.note_key(job, task, self.node, number)
        turn.write(key, codec.pack_value(note))
        self._notes.setdefault((job, task), {})[key] = note
        self._write_claim(turn, attempt.unit, attempt.token, Phase.RELEASED)
        self._let_go(turn, attempt, event.reason, detail)

    def learn(self, turn: Turn, fact: Fact) -> None:
        """A fact from another machine."""
        match fact:
            case BatchMerged():
                for key in fact.keys:
                    self._learn_key(turn, key, turn.now)
            case JobSubmitted():
                self._wishes.submitted(turn, fact.job)
                self.dirty = True
            case JobRefused():
                self._wishes.submitted(turn, fact.job, fact.reason)
            case JobFinished():
                self._finished.add(fact.job)
                self.dirty = True
            case LeaderElected():
                self._wishes.hasten(turn.now)
                self.dirty = True
            case TaskFenced() | TaskAccepted() | TaskAbandoned():
                self._wishes.moved(turn.now)
                self.dirty = True
            case TaskClaimed():
                self.dirty = True
            case MemberJoined() | MemberFailed() | MemberLeft():
                self.dirty = True
            case _:
                pass

    def _learn_key(self, turn: Turn | None, key: str, now: Nanoseconds) -> None:
        unit = claims.unit_of(key)
        if unit is not None:
            job = self.ledger.jobs.get(unit[0])
            if job and job.is_finished:
                return  # the last words of claims that have no meaning any more
            before = self._book.get(unit)
            held = self._book.learn(unit, self.store.read(key), now)
            if held is None or held is before:
                return
            self.dirty = True
            claim = held.claim
            new = before is None or (before.claim.node, before.claim.token) != (
                claim.node,
                claim.token,
            )
            if turn and new and job and job.job.claims is ClaimMode.LEASE:
                turn.report(TaskClaimed(*unit, claim.node, claim.token))
        elif key.startswith("note/"):
            self._learn_note(key)

    def _learn_note(self, key: str) -> None:
        parts = key.split("/")
        versions = self.store.read(key)
        if len(parts) != 5 or not versions or versions[0].author != parts[3]:
            return
        job = self.ledger.jobs.get(parts[1])
        if job and job.is_finished:
            return  # nobody asks any more
        try:
            note = codec.unpack_value(FailNote, versions[0].value)
        except RemoteProtocolError:
            return  # illegible: it counts for nothing
        self._notes.setdefault((parts[1], parts[2]), {})[key] = note
        self.dirty = True

    # -- the decision --------------------------------------------------------------------------

    def decide(self, turn: Turn, view: View) -> None:
        """Do whatever follows from what is known now. Idempotent."""
        self.dirty = False
        self._alarm.clear()
        self._forget_finished()
        self._check_attempts(turn)
        self._renew_claims(turn)
        jobs = self.ledger.active()
        for job in jobs:
            if job.job.claims is ClaimMode.LEASE:
                self._claim_by_lease(turn, view, job)
            else:
                self._start_granted(turn, job)
                if job.job.claims is ClaimMode.RAFT:
                    self._claim_by_log(turn, view, job, jobs)
        if view.leader == self.node:
            self._leading.lead(turn, view, jobs, self._failed_usage)
        if self._wishes.pursue(turn):
            self.dirty = True

    def _forget_finished(self) -> None:
        for job in self._finished:
            self._book.forget(job)
            self._choice.forget(job)
            for unit in [unit for unit in self._done if unit[0] == job]:
                del self._done[unit]
            for noted in [noted for noted in self._notes if noted[0] == job]:
                del self._notes[noted]
        self._finished.clear()

    # -- running attempts ----------------------------------------------------------------------

    def _check_attempts(self, turn: Turn) -> None:
        """Stop agents whose task is done or held by somebody else."""
        for invocation, attempt in self.attempts.items():
            if turn.now - attempt.renewed_at > self.config.lease_ns and not attempt.lapsed:
                attempt.lapsed = True
                attempt.lapsed_at = turn.now
            if attempt.aborted:
                continue
            reason = self._reason_to_stop(turn, attempt)
            if reason:
                attempt.aborted = True
                turn.perform(Abort(invocation, reason))

    def _reason_to_stop(self, turn: Turn, attempt: Attempt) -> str:
        found = self.ledger.slot(*attempt.unit)
        if attempt.lapsed:  # a result that is nearly there is worth having, as evidence at least
            ends_at = attempt.lapsed_at + self.config.lease_ns
            if turn.now < ends_at:
                self._alarm.ask(ends_at)
                return ""
            counts = found is not None and found[1].takes(attempt.unit[2], attempt.token)
            return "" if counts else "the task is settled, and the lease long over"
        if found is None or found[0].is_finished:
            return "the job is finished"
        job, task, slot = found
        if not task.is_open or slot.answer:
            return "the task is settled"
        if job.job.claims is ClaimMode.LEASE:
            held = self._book.get(attempt.unit)
            # A claim of a lower token is this node's own, while the newer one waits to be written.
            is_ours = held and (held.claim.node, held.claim.token) == (self.node, attempt.token)
            if held and held.claim.token >= attempt.token and not is_ours:
                turn.report(ClaimLost(*attempt.unit, held.claim.node))
                return f"{held.claim.node} holds the task"
            return ""
        if (slot.holder, slot.token) != (self.node, attempt.token):
            return "the claim is void"
        return ""

    def _units(self) -> set[Unit]:
        """What this node works on, or has handed in and not seen accepted."""
        return {attempt.unit for attempt in self.attempts.values()} | self._done.keys()

    def _renew_claims(self, turn: Turn) -> None:
        """Say that this node is still at it. What was handed in is renewed too until it is
        accepted, so that a minority does not do it again."""
        for attempt in self.attempts.values():
            if attempt.aborted or attempt.lapsed:
                continue
            if turn.now - attempt.renewed_at >= self.config.renew_ns:
                attempt.renewed_at = turn.now
                self._write_claim(turn, attempt.unit, attempt.token, Phase.WORKING)
            self._alarm.ask(attempt.renewed_at + self.config.renew_ns)
        for unit, (token, renewed_at) in list(self._done.items()):
            found = self.ledger.slot(*unit)
            if found is None or not found[1].takes(unit[2], token):  # accepted, or given up on
                del self._done[unit]
                continue
            if turn.now - renewed_at >= self.config.renew_ns:
                renewed_at = turn.now
                self._done[unit] = (token, renewed_at)
                self._write_claim(turn, unit, token, Phase.DONE)
            self._alarm.ask(renewed_at + self.config.renew_ns)

    def _start(self, turn: Turn, unit: Unit, token: int) -> None:
        found = self.ledger.slot(*unit)
        assert found is not None
        assert found[0].is_ready(found[1]), "a task starts when what it needs is accepted"
        assert len(self.attempts) < self.config.slots
        self._invocation += 1
        self.attempts[self._invocation] = Attempt(unit, token, turn.now)
        self._write_claim(turn, unit, token, Phase.WORKING)
        turn.report(TaskStarted(*unit, token))
        turn.perform(Invoke(self._invocation, self._assignment(found[0], found[1], unit, token)))

    def _assignment(self, job: JobState, task: TaskState, unit: Unit, token: int) -> Assignment:
        notes = self._notes_of(unit[0], unit[1]).values()
        return Assignment(
            job=unit[0],
            task=task.task,
            slot=unit[2],
            token=token,
            inputs=tuple(job.inputs_of(task.task)),
            fixtures=job.job.files,
            partial=self._partial_of(unit, task),
            notes=tuple(f"{n.reason}: {n.detail}" for n in notes)[-self.config.notes_max :],
            description=job.job.description,
        )

    def _partial_of(self, unit: Unit, task: TaskState) -> tuple[File, ...]:
        """What earlier attempts at this very slot left, the latest version of each file. Answers in
        other slots are independent: they must not be seen."""
        job, _, slot = unit
        files = []
        for path in task.task.writes:
            versions = self.store.read(claims.part_key(job, path))
            for version in sorted(versions, key=lambda v: (v.stamp, v.author), reverse=True):
                try:
                    part = codec.unpack_value(Partial, version.value)
                except RemoteProtocolError:
                    continue  # illegible: as if it were not there
                if (part.task, part.slot) == (task.task.id, slot):
                    files.append(File(path, part.content))
                    break
        return tuple(files)

    def _let_go(self, turn: Turn, attempt: Attempt, reason: Failure, detail: str) -> None:
        """After a failed attempt: out of attempts, or free for the next holder."""
        found = self.ledger.slot(*attempt.unit)
        if found is None or not found[1].is_open:
            return
        job, task, slot = found
        failures = len(self._notes_of(attempt.unit[0], attempt.unit[1]))
        if reason is Failure.UNKNOWN_TASK:  # no other node's model knows it either
            self._wishes.abandon(turn.now, job, task, detail)
        elif failures >= task.task.attempts_max * len(task.slots):
            why = f"{failures} attempts failed, the last with {reason.value}: {detail}"
            self._wishes.abandon(turn.now, job, task, why)
        elif job.job.claims is not ClaimMode.LEASE and slot.holder == self.node:
            self._wishes.fence(turn.now, attempt.unit, attempt.token + 1)

    # -- taking tasks --------------------------------------------------------------------------

    def _claim_by_lease(self, turn: Turn, view: View, job: JobState) -> None:
        """Claim in the store and start at once."""
        while self._has_room(len(self.attempts)):
            unit = self._choice.choose(turn.now, view, job, self._units())
            if unit is None:
                return
            held = self._book.get(unit)
            found = self.ledger.slot(*unit)
            fence = found[2].fence if found else 0
            token = max(held.claim.token + 1 if held else 1, fence)
            if held and held.claim.phase is not Phase.RELEASED and held.claim.node != self.node:
                turn.report(LeaseExpired(*unit, held.claim.node, held.claim.token))
            if held and held.claim.phase is not Phase.RELEASED:
                self._wishes.fence(
                    turn.now, unit, token
                )  # the old holder may still be at work somewhere
            self._start(turn, unit, token)

    def _claim_by_log(
        self, turn: Turn, view: View, job: JobState, jobs: Sequence[JobState]
    ) -> None:
        """Propose claims; the ledger will say who got what."""
        own = self._units()
        taken = {attempt.unit for attempt in self.attempts.values()}
        taken.update(
            unit for other in jobs for unit in other.units_of(self.node) - self._done.keys()
        )
        for claim in self._wishes.claims():
            if claim.node == self.node:
                taken.add((claim.job, claim.task, claim.slot))
        while self._has_room(len(taken)):
            unit = self._choice.choose(turn.now, view, job, own | taken)
            if unit is None:
                return
            self._wishes.claim(turn.now, unit, self.node)
            taken.add(unit)

    def _has_room(self, taken: int) -> bool:
        """Whether to take one more unit, beside so many. A node that cannot get its results
        accepted does not pile up more of them."""
        return taken < self.config.slots and len(self._done) < self.config.handed_in_max

    def _failed_usage(self, job: str) -> Usage:
        """What failed attempts at the job consumed, as far as their notes have come here."""
        total = Usage()
        for noted, notes in self._notes.items():
            if noted[0] == job:
                for note in notes.values():
                    total = total.plus(note.usage)
        return total

    def _start_granted(self, turn: Turn, job: JobState) -> None:
        """Start what the ledger has given to this node, longest chain first."""
        running = {attempt.unit for attempt in self.attempts.values()}
        for _task, slot, unit in job.ready_units():
            if not self._has_room(len(self.attempts)):
                return
            mine = slot.holder == self.node and slot.answer is None
            if mine and unit not in running and unit not in self._done:
                held = self._book.get(unit)
                started = held and held.claim.node == self.node and held.claim.token == slot.token
                if started:  # before a crash, or given back: begin again under a new token
                    if not self._wishes.has("fence", unit):
                        self._wishes.fence(turn.now, unit, slot.token + 1)
                else:
                    self._start(turn, unit, slot.token)

    # -- the store -----------------------------------------------------------------------------

    def _write_claim(self, turn: Turn, unit: Unit, token: int, phase: Phase) -> None:
        turn.write(claims.claim_key(unit), codec.pack_value(Claim(self.node, token, phase)))
        self.dirty = True

    def _write_parts(self, turn: Turn, attempt: Attempt, files: tuple[File, ...]) -> None:
        job, task, slot = attempt.unit
        for file in files:
            if len(file.content) > FILE_SIZE_MAX:
                turn.report(RequestRefused(f"{file.path} is over {FILE_SIZE_MAX} bytes"))
            elif attempt.files.get(file.path) != file.content:
                attempt.files[file.path] = file.content
                part = Partial(task, slot, self.node, attempt.token, file.content)
                turn.write(claims.part_key(job, file.path), codec.pack_value(part))

    def _notes_of(self, job: str, task: str) -> dict[str, FailNote]:
        return self._notes.get((job, task), {})


def _fault_of_packing(made: AcceptResult | Usage) -> str:
    """Why something cannot travel; empty if it can. Agents are not of our making, and what they
    return is not always what its type says."""
    try:
        codec.pack_value(made)
    except ValueError as fault:
        return f"it cannot be encoded: {fault}"
    return ""
