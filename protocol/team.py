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

from protocol import claims, codec, graph
from protocol.claims import Claim, ClaimBook, FailNote, Partial, Phase, Unit
from protocol.clocks import Nanoseconds
from protocol.config import TeamConfig
from protocol.effects import Abort, Assignment, Invoke, Reply
from protocol.errors import InvalidJob, RemoteProtocolError
from protocol.events import AgentFailed, Completed, Failure, Progressed
from protocol.facts import (
    AttemptAborted,
    AttemptFailed,
    BatchMerged,
    ClaimLost,
    Fact,
    JobFinished,
    JobSubmitted,
    LeaderElected,
    LeaseExpired,
    MemberFailed,
    MemberJoined,
    MemberLeft,
    RequestRefused,
    TaskAbandoned,
    TaskAccepted,
    TaskClaimed,
    TaskCompleted,
    TaskFenced,
    TaskStarted,
)
from protocol.identity import NOBODY, NodeId
from protocol.jobs import FILE_SIZE_MAX, ClaimMode, File, Job, digest_of, validate
from protocol.ledger import (
    AbandonTask,
    AcceptResult,
    ClaimTask,
    Command,
    FenceTask,
    JobState,
    Ledger,
    Slot,
    SubmitJob,
    TaskState,
    encode_command,
)
from protocol.store import Store
from protocol.turn import Turn

DETAIL_LENGTH_MAX = 2_000  # characters of a FAIL note


@dataclass(frozen=True, slots=True)
class View:
    """What the team machine needs to know of the others: who is alive (this node included), who
    has failed or left, and who leads (empty if unknown)."""

    alive: frozenset[NodeId]
    gone: frozenset[NodeId]
    leader: NodeId


@dataclass(slots=True)
class Attempt:
    """A running agent. `lapsed`: this node slept past its own lease, so the task may have been
    taken over; the agent, probably done by now, may finish, and its result is evidence."""

    unit: Unit
    token: int
    renewed_at: Nanoseconds
    lapsed: bool = False
    aborted: bool = False
    files: dict[str, bytes] = field(default_factory=dict)


@dataclass(slots=True)
class Wish:
    """A command on its way into the log."""

    command: Command
    again_at: Nanoseconds
    request: int | None = None  # a client waits for it
    gives_up_at: Nanoseconds | None = None


class Team:
    """See the module's text."""

    def __init__(self, node: NodeId, config: TeamConfig, ledger: Ledger, store: Store) -> None:
        self.node = node
        self.config = config
        self.ledger = ledger
        self.store = store
        self.dirty = True
        self.attempts: dict[int, Attempt] = {}
        self._invocation = 0
        self._book = ClaimBook()
        self._wishes: dict[tuple[object, ...], Wish] = {}
        self._notes: dict[tuple[str, str], dict[str, FailNote]] = {}
        self._ready_since: dict[Unit, Nanoseconds] = {}
        self._done: dict[Unit, tuple[int, Nanoseconds]] = {}  # handed in: token, claim renewed at
        self._finished: set[str] = set()
        self._wake_at: Nanoseconds | None = None

    def __repr__(self) -> str:
        running = ",".join(attempt.unit[1] for attempt in self.attempts.values())
        return f"<Team {self.node[:6]} running=[{running}] wishes={len(self._wishes)}>"

    def deadline(self) -> Nanoseconds | None:
        return self._wake_at

    def restore(self, now: Nanoseconds) -> None:
        """After a restart: learn the claims and notes that the store brought back."""
        for key in self.store.scan():
            self._learn_key(None, key, now)

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
        if len(self._wishes) >= self.config.pending_max:
            turn.perform(Reply(request, "Busy", "too many requests wait here; try again"))
            return
        if job.id in self.ledger.jobs:
            turn.perform(Reply(request, "InvalidJob", f"there is a job {job.id!r} already"))
            return
        by_plan = job.claims is ClaimMode.ASSIGNED
        assignment = claims.spread(job, sorted(view.alive)) if by_plan else ()
        wish = Wish(SubmitJob(job, assignment), turn.now, request)
        wish.gives_up_at = turn.now + self.config.submit_timeout_ns
        self._wishes[("submit", job.id)] = wish
        self.dirty = True

    def progressed(self, turn: Turn, event: Progressed) -> None:
        """Some files of a running attempt are there: let everybody have them."""
        attempt = self.attempts.get(event.invocation)
        if attempt:
            self._write_parts(turn, attempt, event.files)

    def completed(self, turn: Turn, event: Completed) -> None:
        """A verified result: publish it, and hand it in."""
        attempt = self.attempts.pop(event.invocation, None)
        if attempt is None:
            return
        job, task, slot = attempt.unit
        self._write_parts(turn, attempt, event.files)
        self._write_claim(turn, attempt.unit, attempt.token, Phase.DONE)
        self._done[attempt.unit] = (attempt.token, turn.now)
        result = AcceptResult(
            job, task, slot, self.node, attempt.token, event.files, event.text, event.usage
        )
        self._wish(turn, ("accept", attempt.unit, attempt.token), result)
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
        note = FailNote(self.node, slot, attempt.token, event.reason.value, detail)
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
                self._answer_submission(turn, fact.job)
                self.dirty = True
            case JobFinished():
                self._finished.add(fact.job)
                self.dirty = True
            case TaskClaimed() | TaskFenced() | TaskAccepted() | TaskAbandoned() | LeaderElected():
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
        self._wake_at = None
        self._forget_finished()
        self._check_attempts(turn)
        self._renew_claims(turn)
        for job in self.ledger.active():
            if job.job.claims is ClaimMode.LEASE:
                self._claim_by_lease(turn, view, job)
            else:
                self._start_granted(turn, job)
                if job.job.claims is ClaimMode.RAFT:
                    self._claim_by_log(turn, view, job)
                if view.leader == self.node:
                    self._lead(turn, view, job)
            if view.leader == self.node:
                self._enforce_budget(turn, job)
        self._pursue_wishes(turn)

    def _wake(self, at: Nanoseconds) -> None:
        self._wake_at = at if self._wake_at is None else min(self._wake_at, at)

    def _forget_finished(self) -> None:
        for job in self._finished:
            self._book.forget(job)
            for units in (self._ready_since, self._done):
                for unit in [unit for unit in units if unit[0] == job]:
                    units.pop(unit)
            for noted in [noted for noted in self._notes if noted[0] == job]:
                del self._notes[noted]
        self._finished.clear()

    # -- running attempts ----------------------------------------------------------------------

    def _check_attempts(self, turn: Turn) -> None:
        """Stop agents whose task is done or held by somebody else."""
        for invocation, attempt in self.attempts.items():
            if turn.now - attempt.renewed_at > self.config.lease_ns:
                attempt.lapsed = True
            reason = self._reason_to_stop(turn, attempt)
            if reason and not attempt.aborted and not attempt.lapsed:
                attempt.aborted = True
                turn.perform(Abort(invocation, reason))

    def _reason_to_stop(self, turn: Turn, attempt: Attempt) -> str:
        found = self.ledger.slot(*attempt.unit)
        if found is None or found[0].is_finished:
            return "the job is finished"
        job, task, slot = found
        if not task.is_open or slot.answer:
            return "the task is settled"
        if job.job.claims is ClaimMode.LEASE:
            held = self._book.get(attempt.unit)
            if held and (held.claim.node, held.claim.token) != (self.node, attempt.token):
                if not attempt.aborted and not attempt.lapsed:
                    turn.report(ClaimLost(*attempt.unit, held.claim.node))
                return f"{held.claim.node} holds the task"
            return ""
        if (slot.holder, slot.token) != (self.node, attempt.token):
            return "the claim is void"
        return ""

    def _renew_claims(self, turn: Turn) -> None:
        """Say that this node is still at it. What was handed in is renewed too until it is
        accepted, so that a minority does not do it again."""
        for attempt in self.attempts.values():
            if attempt.aborted or attempt.lapsed:
                continue
            if turn.now - attempt.renewed_at >= self.config.renew_ns:
                attempt.renewed_at = turn.now
                self._write_claim(turn, attempt.unit, attempt.token, Phase.WORKING)
            self._wake(attempt.renewed_at + self.config.renew_ns)
        for unit, (token, renewed_at) in list(self._done.items()):
            found = self.ledger.slot(*unit)
            settled = found is None or not found[1].is_open or found[2].answer is not None
            if settled or found is None or token < found[2].fence:  # accepted, or given up on
                del self._done[unit]
                continue
            if turn.now - renewed_at >= self.config.renew_ns:
                renewed_at = turn.now
                self._done[unit] = (token, renewed_at)
                self._write_claim(turn, unit, token, Phase.DONE)
            self._wake(renewed_at + self.config.renew_ns)

    def _start(self, turn: Turn, unit: Unit, token: int) -> None:
        found = self.ledger.slot(*unit)
        assert found is not None
        assert found[0].is_ready(found[1]), "a task starts when what it needs is accepted"
        assert len(self.attempts) < self.config.slots
        self._invocation += 1
        self.attempts[self._invocation] = Attempt(unit, token, turn.now)
        self._ready_since.pop(unit, None)
        self._write_claim(turn, unit, token, Phase.WORKING)
        turn.report(TaskStarted(*unit, token))
        turn.perform(Invoke(self._invocation, self._assignment(found[0], found[1], unit, token)))

    def _assignment(self, job: JobState, task: TaskState, unit: Unit, token: int) -> Assignment:
        inputs: dict[str, bytes] = {}
        needed = graph.ancestors_of(job.job.needs, task.task.id)
        for other in job.job.tasks:
            accepted = job.tasks[other.id].accepted
            if other.id in needed and accepted:
                inputs.update((file.path, file.content) for file in accepted.files)
        notes = self._notes_of(unit[0], unit[1]).values()
        return Assignment(
            job=unit[0],
            task=task.task,
            slot=unit[2],
            token=token,
            inputs=tuple(File(path, content) for path, content in sorted(inputs.items())),
            fixtures=job.job.files,
            partial=self._partial_of(unit[0], task),
            notes=tuple(f"{n.reason}: {n.detail}" for n in notes)[-self.config.notes_max :],
            description=job.job.description,
        )

    def _partial_of(self, job: str, task: TaskState) -> tuple[File, ...]:
        """What earlier attempts left, the latest version of each file."""
        files = []
        for path in task.task.writes:
            versions = self.store.read(claims.part_key(job, path))
            if versions:
                latest = max(versions, key=lambda version: (version.stamp, version.author))
                try:
                    part = codec.unpack_value(Partial, latest.value)
                except RemoteProtocolError:
                    continue  # illegible: as if it were not there
                files.append(File(path, part.content))
        return tuple(files)

    def _let_go(self, turn: Turn, attempt: Attempt, reason: Failure, detail: str) -> None:
        """After a failed attempt: out of attempts, or free for the next holder."""
        found = self.ledger.slot(*attempt.unit)
        if found is None or not found[1].is_open:
            return
        job, task, slot = found
        failures = len(self._notes_of(attempt.unit[0], attempt.unit[1]))
        if reason is Failure.UNKNOWN_TASK:  # no other node's model knows it either
            self._abandon(turn, job, task, detail)
        elif failures >= task.task.attempts_max * len(task.slots):
            why = f"{failures} attempts failed, the last with {reason.value}: {detail}"
            self._abandon(turn, job, task, why)
        elif job.job.claims is not ClaimMode.LEASE and slot.holder == self.node:
            self._fence(turn, attempt.unit, attempt.token + 1)

    # -- taking tasks --------------------------------------------------------------------------

    def _claim_by_lease(self, turn: Turn, view: View, job: JobState) -> None:
        """Claim in the store and start at once."""
        while len(self.attempts) < self.config.slots:
            unit = self._choose(turn, view, job)
            if unit is None:
                return
            held = self._book.get(unit)
            token = max(held.claim.token + 1 if held else 1, self._slot(unit).fence)
            if held and held.claim.phase is not Phase.RELEASED and held.claim.node != self.node:
                turn.report(LeaseExpired(*unit, held.claim.node, held.claim.token))
            if held and held.claim.phase is not Phase.RELEASED:
                self._fence(turn, unit, token)  # the old holder may still be at work somewhere
            self._start(turn, unit, token)

    def _claim_by_log(self, turn: Turn, view: View, job: JobState) -> None:
        """Propose a claim; the ledger will say who got it."""
        proposed = sum(
            isinstance(wish.command, ClaimTask) and wish.command.node == self.node
            for wish in self._wishes.values()
        )
        granted = sum(
            slot.holder == self.node and slot.answer is None and state.is_open
            for state in job.tasks.values()
            for slot in state.slots
        )
        if granted + proposed + len(self.attempts) >= self.config.slots:
            return
        unit = self._choose(turn, view, job)
        if unit is not None:
            self._propose_claim(turn, unit, self.node)

    def _start_granted(self, turn: Turn, job: JobState) -> None:
        """Start what the ledger has given to this node, longest chain first."""
        running = {attempt.unit for attempt in self.attempts.values()}
        for _task, slot, unit in self._ready_units(job):
            if len(self.attempts) >= self.config.slots:
                return
            mine = slot.holder == self.node and slot.answer is None
            if mine and unit not in running and unit not in self._done:
                held = self._book.get(unit)
                started = held and held.claim.node == self.node and held.claim.token == slot.token
                if started:  # before a crash, or given back: begin again under a new token
                    if not self._has_wish("fence", unit):
                        self._fence(turn, unit, slot.token + 1)
                else:
                    self._start(turn, unit, slot.token)

    def _ready_units(self, job: JobState) -> list[tuple[TaskState, Slot, Unit]]:
        """Units whose task is ready, those with the longest chain behind them first."""
        units = [
            (state, slot, (job.job.id, state.task.id, number))
            for state in job.tasks.values()
            if job.is_ready(state)
            for number, slot in enumerate(state.slots)
        ]
        return sorted(units, key=lambda found: -job.levels[found[0].task.id])

    def _choose(self, turn: Turn, view: View, job: JobState) -> Unit | None:
        """The unit that this idle node shall take now. The first idle node in order takes the
        first unit and so on; others wait a moment longer the further they are from their turn, in
        case the one whose turn it is does not know."""
        takeable = [
            unit
            for task, slot, unit in self._ready_units(job)
            if self._is_takeable(turn, view, job, task, slot, unit)
        ]
        for unit in [unit for unit in self._ready_since if unit[0] == job.job.id]:
            if unit not in takeable:
                del self._ready_since[unit]
        idle = claims.idle_order(sorted(view.alive - self._busy(turn, view, job)), job.job.id)
        if self.node not in idle:
            idle.append(self.node)
        rank = idle.index(self.node)
        for place, unit in enumerate(takeable):
            since = self._ready_since.setdefault(unit, turn.now)
            at = since + self.config.patience_ns * ((rank - place) % len(idle))
            if turn.now >= at:
                return unit
            self._wake(at)
        return None

    def _is_takeable(
        self, turn: Turn, view: View, job: JobState, task: TaskState, slot: Slot, unit: Unit
    ) -> bool:
        if slot.answer or self._has_wish("abandon", unit[:2]) or self._has_wish("claim", unit):
            return False
        others = [
            (job.job.id, unit[1], number) for number in range(len(task.slots)) if number != unit[2]
        ]
        enough = len(view.alive) >= len(task.slots)
        if enough and any(self._is_mine(task, other) for other in others):
            return False  # independent answers come from different nodes
        if job.job.claims is ClaimMode.LEASE:
            return not self._is_held(turn, view, unit)
        return not slot.holder

    def _is_mine(self, task: TaskState, unit: Unit) -> bool:
        answer = task.slots[unit[2]].answer
        held = self._book.get(unit)
        return (answer is not None and answer.node == self.node) or (
            held is not None
            and held.claim.node == self.node
            and held.claim.phase is not Phase.RELEASED
        )

    def _is_held(self, turn: Turn, view: View, unit: Unit) -> bool:
        """Whether a living lease protects the unit."""
        held = self._book.get(unit)
        if held is None or held.claim.phase is Phase.RELEASED:
            return False
        if held.claim.node == self.node:  # a claim of an earlier life of this node is void
            return unit in self._done or any(
                attempt.unit == unit for attempt in self.attempts.values()
            )
        ends_at = held.heard_at + self.config.lease_ns
        if held.claim.node in view.gone or turn.now >= ends_at:
            return False
        self._wake(ends_at)
        return True

    def _busy(self, turn: Turn, view: View, job: JobState) -> set[NodeId]:
        """Nodes that work on something of this job, as far as is known here."""
        busy: set[NodeId] = set()
        for _, slot, unit in self._ready_units(job):
            if slot.answer:
                continue
            if job.job.claims is not ClaimMode.LEASE:
                busy.add(slot.holder)
                continue
            held = self._book.get(unit)
            if held and held.claim.phase is Phase.WORKING and self._is_held(turn, view, unit):
                busy.add(held.claim.node)
        return busy

    # -- the leader's duties -------------------------------------------------------------------

    def _lead(self, turn: Turn, view: View, job: JobState) -> None:
        """Take tasks from the lost, and in LEADER and ASSIGNED mode give out what is free."""
        load = dict.fromkeys(sorted(view.alive), 0)
        free: list[Unit] = []
        for task in sorted(job.tasks.values(), key=lambda task: -job.levels[task.task.id]):
            if not task.is_open:
                continue
            for number, slot in enumerate(task.slots):
                unit = (job.job.id, task.task.id, number)
                if slot.answer:
                    continue
                if slot.holder and self._is_lost(turn, view, unit, slot):
                    if not self._has_wish("fence", unit):
                        turn.report(LeaseExpired(*unit, slot.holder, slot.token))
                        self._fence(turn, unit, slot.token + 1)
                elif slot.holder:
                    load[slot.holder] = load.get(slot.holder, 0) + 1
                elif job.job.claims is ClaimMode.ASSIGNED or (
                    job.job.claims is ClaimMode.LEADER and job.is_ready(task)
                ):
                    free.append(unit)
        for wish in self._wishes.values():
            if isinstance(wish.command, ClaimTask):
                load[wish.command.node] = load.get(wish.command.node, 0) + 1
        for unit in free:
            if self._has_wish("claim", unit):
                continue
            node = min(load, key=lambda node: (load[node], claims.score(unit, node)))
            if job.job.claims is ClaimMode.LEADER and load[node] >= self.config.slots:
                return
            load[node] += 1
            self._propose_claim(turn, unit, node)

    def _is_lost(self, turn: Turn, view: View, unit: Unit, slot: Slot) -> bool:
        """The holder failed, or began and was not heard of for a lease."""
        if slot.holder not in view.alive:
            return True
        held = self._book.get(unit)
        if held is None or (held.claim.node, held.claim.token) != (slot.holder, slot.token):
            return False
        ends_at = held.heard_at + self.config.lease_ns
        if turn.now < ends_at:
            self._wake(ends_at)
            return False
        return True

    def _enforce_budget(self, turn: Turn, job: JobState) -> None:
        """Give up what is open once the accepted results have used the tokens up."""
        limit = job.job.budget.tokens
        usage = job.usage()
        spent = usage.tokens_in + usage.tokens_out
        if limit and spent >= limit:
            for task in job.tasks.values():
                if task.is_open:
                    self._abandon(turn, job, task, f"the budget of {limit} tokens is used up")

    # -- wishes to the log ---------------------------------------------------------------------

    def _wish(self, turn: Turn, key: tuple[object, ...], command: Command) -> None:
        if key not in self._wishes:
            self._wishes[key] = Wish(command, turn.now)
            self.dirty = True

    def _has_wish(self, kind: str, subject: object) -> bool:
        return any(key[0] == kind and key[1] == subject for key in self._wishes)

    def _fence(self, turn: Turn, unit: Unit, token: int) -> None:
        self._wish(turn, ("fence", unit, token), FenceTask(*unit, token))

    def _abandon(self, turn: Turn, job: JobState, task: TaskState, reason: str) -> None:
        command = AbandonTask(job.job.id, task.task.id, reason)
        self._wish(turn, ("abandon", (job.job.id, task.task.id)), command)

    def _propose_claim(self, turn: Turn, unit: Unit, node: NodeId) -> None:
        slot = self._slot(unit)
        token = max(slot.token + 1, slot.fence)
        self._wish(turn, ("claim", unit, token), ClaimTask(*unit, node, token))

    def _pursue_wishes(self, turn: Turn) -> None:
        for key, wish in list(self._wishes.items()):
            if self._is_settled(wish.command):
                del self._wishes[key]
                self.dirty = True
            elif wish.gives_up_at is not None and turn.now >= wish.gives_up_at:
                del self._wishes[key]
                if wish.request is not None:
                    detail = "no majority confirmed it in time; it may still happen"
                    turn.perform(Reply(wish.request, "TimedOut", detail))
            else:
                if turn.now >= wish.again_at:
                    turn.propose(encode_command(wish.command))
                    wish.again_at = turn.now + self.config.propose_retry_ns
                self._wake(min(wish.again_at, wish.gives_up_at or wish.again_at))

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
                answers = [slot.answer, *task.late]
                known = any(
                    answer and (answer.node, answer.token) == (command.node, command.token)
                    for answer in answers
                )
                return known or (job.is_finished and not task.accepted)

    def _answer_submission(self, turn: Turn, job: str) -> None:
        wish = self._wishes.pop(("submit", job), None)
        if wish and wish.request is not None:
            turn.perform(Reply(wish.request, "", job))

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

    def _slot(self, unit: Unit) -> Slot:
        found = self.ledger.slot(*unit)
        assert found is not None
        return found[2]
