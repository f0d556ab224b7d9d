"""What the log has led to: jobs, their tasks, the slots of a task, the answers in a slot.

Invariant: a task is accepted at most once; its fence and token never go down.
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from protocol import codec, graph
from protocol.identity import NOBODY, NodeId
from protocol.jobs import (
    NO_USAGE,
    NOTHING,
    RESULT_SIZE_MAX,
    UNLIMITED,
    Amount,
    Compare,
    File,
    Job,
    Share,
    Task,
    Usage,
    VerifyBy,
    likeness_of,
)
from protocol.ledger.edits import Edits, Merge, ProposedMerges, Siblings
from protocol.ledger.provenance import NOWHERE, Place

Unit: TypeAlias = tuple[str, str, int]  # job, task, slot

ANSWER_LENGTH_MAX = codec.STRING_SIZE_MAX  # characters of a result that is a text
REASON_LENGTH_MAX = 2_300  # characters: a note's detail, with what was tried before it


@dataclass(frozen=True, slots=True)
class Answer:
    """A result in the log, accepted or late. (slot, node, token) names the attempt. `reviewer` is
    who checked it again, if anybody did, and `fault` what was found wrong with it. `index` and
    `term` are those of the entry that brought it."""

    slot: int
    node: NodeId
    token: int
    digest: str
    index: int
    files: tuple[File, ...] = ()
    text: str = ""
    usage: Usage = NO_USAGE
    reviewer: NodeId = NOBODY
    fault: str = ""
    term: int = 0
    before: tuple[Share, ...] = ()  # what earlier attempts used of what it took

    @property
    def took(self) -> Usage:
        """What was used for it, all in all."""
        total = self.usage
        for share in self.before:
            total = total.plus(share.usage)
        return total

    @property
    def attempt(self) -> tuple[int, NodeId, int]:
        return self.slot, self.node, self.token


@dataclass(slots=True)
class Slot:
    """One of the independent attempts at a task. `token` is the last one given out by the log;
    in LEASE mode claims live in the store and the log knows only the fence. `racers` work under
    the holder's token, and the first of them takes the holder's place if that is given up on."""

    holder: NodeId = NOBODY
    token: int = 0
    fence: int = 0
    answer: Answer | None = None
    racers: list[NodeId] = field(default_factory=list)
    candidates: list[Answer] = field(default_factory=list)  # that wait for another node's word

    def proposes(self, node: NodeId, token: int) -> bool:
        """Whether a result of this attempt waits for another node's word."""
        return any((each.node, each.token) == (node, token) for each in self.candidates)

    def has(self, node: NodeId, token: int) -> bool:
        """Whether the node works on it under this token, as holder or racer."""
        return token == self.token and (node == self.holder or node in self.racers)


@dataclass(slots=True)
class TaskState:
    """A task as the log has it. `committed` is where it was decided: by the entry that made one
    answer the accepted one (the last vote, another node's word, a judge's), or that ended it
    without."""

    task: Task
    slots: list[Slot]
    accepted: Answer | None = None
    abandoned: str = ""
    late: list[Answer] = field(default_factory=list)
    judge: NodeId = NOBODY
    groups: tuple[int, ...] = ()  # of the answers, slot by slot, as the judge found
    committed: Place = NOWHERE

    @property
    def is_open(self) -> bool:
        return self.accepted is None and not self.abandoned

    @property
    def answers(self) -> list[Answer]:
        """What its slots have, slot by slot; those that have nothing are left out."""
        return [slot.answer for slot in self.slots if slot.answer]

    @property
    def is_reviewed(self) -> bool:
        """Whether its results wait for somebody's word."""
        return self.is_judged or self.task.verify_by is VerifyBy.OTHER

    @property
    def is_judged(self) -> bool:
        """Whether a model says which of its answers agree."""
        return self.task.quorum.compare is Compare.JUDGE and self.task.quorum.agree > 1

    def knows(self, attempt: tuple[int, NodeId, int]) -> bool:
        """Whether the result of this attempt is in the log already, as an answer or as late."""
        slot = self.slots[attempt[0]]
        known = [*slot.candidates, *self.late]
        if slot.answer is not None:
            known.append(slot.answer)
        return any(answer.attempt == attempt for answer in known)

    def refuted(self) -> list[Answer]:
        """Results that another node found wrong."""
        return [answer for answer in self.late if answer.fault]

    def is_late(self, slot: int, node: NodeId, token: int) -> bool:
        """Whether this attempt's result is evidence, and no more."""
        return any(answer.attempt == (slot, node, token) for answer in self.late)

    def is_spare(self, answer: Answer) -> bool:
        """Whether a late result is a vote with which nothing is wrong, but that the others had
        settled the task without it."""
        slot = self.slots[answer.slot]
        is_vote = len(self.slots) > 1 and slot.answer is None and not answer.fault
        is_settled = self.accepted is not None and answer.index > self.accepted.index
        return is_vote and is_settled and answer.token >= slot.fence

    def is_refuted(self, slot: int, node: NodeId, token: int) -> bool:
        """Whether this attempt's result was found wrong."""
        return any(answer.attempt == (slot, node, token) for answer in self.refuted())

    def lacks_answers_to_judge(self) -> bool:
        """A judge sees all answers at once."""
        return self.is_judged and len(self.answers) < len(self.slots)

    def waits_for_judge(self) -> bool:
        """Whether all answers are there, and which of them agree is for a judge to say."""
        is_due = self.is_judged and self.is_open and not self.groups
        return is_due and len(self.answers) == len(self.slots)

    def agreeing(self) -> list[Answer]:
        """The answers that agree with the accepted one, itself included."""
        if self.accepted is None:
            return []
        likeness = self.likeness(self.accepted)
        return [answer for answer in self.answers if self.likeness(answer) == likeness]

    def dissenting(self) -> list[Answer]:
        """The answers that do not agree with the accepted one."""
        agreeing = self.agreeing()
        return [answer for answer in self.answers if agreeing and answer not in agreeing]

    def likeness(self, answer: Answer) -> str:
        """Equal for answers that agree."""
        compare = self.task.quorum.compare
        if compare is not Compare.JUDGE:
            return likeness_of(compare, answer.files, answer.text)
        return str(self.groups[answer.slot]) if self.groups else ""

    def takes(self, slot: int, token: int) -> bool:
        """Whether a result for this slot could still count. If not, it is evidence at most."""
        place = self.slots[slot]
        return self.is_open and place.answer is None and token >= place.fence


@dataclass(frozen=True, slots=True)
class Grant:
    """The right to a part of a budget, given to a node in so many portions."""

    number: int = 0
    amount: Amount = NOTHING


@dataclass(slots=True)
class JobState:
    """A job as the log has it. `order` is a topological order of its tasks; `grants` are the rights
    to its budget that were given out; `merges` say what became of files that several tasks wrote
    without having seen each other, `proposed` what does not count of that, or not yet; `finished`
    is the entry that ended it."""

    job: Job
    index: int
    submitted_at: int  # by the wall clock of the node that took it, nanoseconds
    tasks: dict[str, TaskState]
    levels: dict[str, float]
    order: tuple[str, ...]
    outcome: str = ""
    succeeded: bool = False
    finished: Place = NOWHERE
    grants: dict[NodeId, Grant] = field(default_factory=dict)
    merges: dict[Siblings, Merge] = field(default_factory=dict)
    proposed: dict[Siblings, ProposedMerges] = field(default_factory=dict)
    edits: Edits = field(init=False, compare=False, repr=False)
    reviewed: tuple[TaskState, ...] = field(init=False, compare=False, repr=False)
    asks_people: bool = field(init=False, compare=False, repr=False)
    _ready: list[tuple[TaskState, Slot, Unit]] | None = field(
        default=None, init=False, compare=False, repr=False
    )
    _ended: list[str] = field(default_factory=list, init=False, compare=False, repr=False)
    _place: dict[str, int] = field(init=False, compare=False, repr=False)
    _needed_by: dict[str, list[str]] = field(init=False, compare=False, repr=False)
    _due: Sequence[Siblings] | None = field(default=None, init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        self.reviewed = tuple(state for state in self.tasks.values() if state.is_reviewed)
        self.asks_people = any(state.task.asks_person for state in self.tasks.values())
        self.edits = Edits(self.job, self.order, self.merges, self.version)
        self._place = {task_id: place for place, task_id in enumerate(self.tasks)}
        self._needed_by = {task_id: [] for task_id in self.tasks}
        for state in self.tasks.values():
            for need in state.task.needs:
                self._needed_by[need].append(state.task.id)

    def ended(self, task: TaskState) -> None:
        """A task was accepted or abandoned: look again what can be done."""
        self._due = None
        if self._ready is not None:
            self._ended.append(task.task.id)

    def moved(self) -> None:
        """A file was merged, or all is different: look anew what can be done."""
        self._ready = self._due = None

    @property
    def is_finished(self) -> bool:
        return self.outcome != ""

    def is_ready(self, state: TaskState) -> bool:
        """Open, and everything it needs is accepted, and merged where it has to be. The same rule
        in all four claim modes."""
        return self._has_what_it_needs(state) and not self.edits.lacking(state.task.id)

    def _has_what_it_needs(self, state: TaskState) -> bool:
        return state.is_open and all(
            self.tasks[need].accepted is not None for need in state.task.needs
        )

    def _held_up(self) -> Iterator[tuple[TaskState, Siblings]]:
        """Tasks that could start but for a file, and the versions of which it is to be merged."""
        for state in self.tasks.values():
            if self._has_what_it_needs(state):
                for siblings in self.edits.lacking(state.task.id):
                    yield state, siblings

    def stuck(self) -> list[tuple[TaskState, Siblings]]:
        """Tasks that could start, but for versions of a file that could not be merged."""
        if not any(merge.fault for merge in self.merges.values()):
            return []
        return [held for held in self._held_up() if held[1] in self.merges]

    def merges_due(self) -> Sequence[Siblings]:
        """What has to be merged so that a task can start, or the job can end, and of which no merge
        waits for another node's word."""
        if not self.edits.shared:
            return ()
        if self._due is None:
            due = [siblings for _, siblings in self._held_up() if siblings not in self.merges]
            if not due and self.is_exhausted():
                due = self.edits.lacking_at_end()
            due = [siblings for siblings in due if self.waiting_merge(siblings) is None]
            self._due = list(dict.fromkeys(due))
        return self._due

    def merges_to_review(self) -> Iterator[tuple[Siblings, Merge]]:
        """Merges that wait for another node's word."""
        for siblings, proposed in self.proposed.items():
            if proposed.waiting is not None:
                yield siblings, proposed.waiting

    def waiting_merge(self, siblings: Siblings) -> Merge | None:
        """The merge of these that waits for another node's word."""
        proposed = self.proposed.get(siblings)
        return proposed.waiting if proposed else None

    def refuted_merges(self, siblings: Siblings) -> int:
        """How many merges of these were found wrong: the number of the next one."""
        proposed = self.proposed.get(siblings)
        return len(proposed.refuted) if proposed else 0

    def ready_units(self) -> Sequence[tuple[TaskState, Slot, Unit]]:
        """The slots of ready tasks, those with the longest chain behind them first."""
        if self._ready is None or (self._ended and self.edits.shared):
            self._ready = sorted(self._units_of(self.tasks), key=self._urgency)
        elif self._ended:
            following = dict.fromkeys(t for ended in self._ended for t in self._needed_by[ended])
            # Whoever reads the old ones goes on with them.
            self._ready = [found for found in self._ready if found[0].is_open]
            for found in self._units_of(following):
                insort(self._ready, found, key=self._urgency)
        self._ended.clear()
        return self._ready

    def _units_of(self, task_ids: Iterable[str]) -> Iterator[tuple[TaskState, Slot, Unit]]:
        """The slots of those of the tasks that are ready."""
        for state in map(self.tasks.__getitem__, task_ids):
            if self.is_ready(state):
                for number, slot in enumerate(state.slots):
                    yield state, slot, (self.job.id, state.task.id, number)

    def _urgency(self, found: tuple[TaskState, Slot, Unit]) -> tuple[float, int, int]:
        _, task_id, number = found[2]
        return -self.levels[task_id], self._place[task_id], number

    def units_of(self, node: NodeId) -> set[Unit]:
        """The slots that the log has given to this node and that have no answer yet."""
        return {
            (self.job.id, state.task.id, number)
            for state in self.tasks.values()
            if state.is_open
            for number, slot in enumerate(state.slots)
            if slot.holder == node and slot.answer is None
        }

    def is_exhausted(self) -> bool:
        """Nothing is left to do: what is still open needs something that was abandoned."""
        if not any(state.abandoned for state in self.tasks.values()):
            return not any(state.is_open for state in self.tasks.values())
        blocked: set[str] = set()
        for task_id in self.order:
            state = self.tasks[task_id]
            if state.abandoned or not blocked.isdisjoint(state.task.needs):
                blocked.add(task_id)
        return all(not state.is_open or task in blocked for task, state in self.tasks.items())

    def granted(self, node: NodeId) -> Amount:
        """What the log has given a right to, all in all. What has no limit needs none."""
        granted = self.grants.get(node, Grant()).amount
        budget = self.job.budget
        return Amount(
            granted.tokens if budget.tokens else UNLIMITED,
            granted.microusd if budget.usd else UNLIMITED,
        )

    def limited(self, amount: Amount) -> Amount:
        """What of it the budget limits at all."""
        budget = self.job.budget
        return Amount(amount.tokens if budget.tokens else 0, amount.microusd if budget.usd else 0)

    def bank(self) -> Amount:
        """What is left of the budget to give out."""
        left = self.job.budget.whole
        for grant in self.grants.values():
            left = left.minus(grant.amount)
        return left

    def may_grant(self, amount: Amount) -> bool:
        """Whether there is some of that left to give out."""
        return self.limited(amount.at_most(self.bank())).at_least(NOTHING) != NOTHING

    def is_short_of_budget(self) -> bool:
        """Whether to spend on nothing that need not be, as on racing."""
        budget = self.job.budget
        return budget.is_metered and not self.bank().covers(budget.whole.part(4))

    def usage(self) -> Usage:
        """What the accepted results consumed, together."""
        total = Usage()
        for state in self.tasks.values():
            if state.accepted:
                total = total.plus(state.accepted.took)
        return total

    def results(self) -> Iterator[tuple[str, Answer]]:
        """All results in the log, accepted or not, each with the id of its task."""
        for name, state in self.tasks.items():
            candidates = [answer for slot in state.slots for answer in slot.candidates]
            for answer in (*state.answers, *candidates, *state.late):
                yield name, answer

    def costs(self) -> dict[tuple[str, int, NodeId, int], Usage]:
        """What each attempt consumed of which the results in the log tell, accepted or not: by
        task, slot, node and token."""
        costs: dict[tuple[str, int, NodeId, int], Usage] = {}
        for task, answer in self.results():
            for share in (*answer.before, Share(answer.node, answer.token, answer.usage)):
                attempt = (task, answer.slot, share.node, share.token)
                costs[attempt] = costs.get(attempt, NO_USAGE).at_least(share.usage)
        return costs

    def spent(self) -> Usage:
        """The sum of that."""
        total = Usage()
        for usage in self.costs().values():
            total = total.plus(usage)
        return total

    def files(self) -> list[File]:
        """The accepted files by path, merged where several tasks wrote one."""
        return self._files_of(self.order, None)

    def inputs_of(self, task: Task) -> list[File]:
        """The accepted files of everything the task needs, as the task sees them."""
        return self._files_of(graph.ancestors_of(self.job.needs, task.id), task.id)

    def answered_for(self, task: Task) -> list[tuple[str, str]]:
        """The questions that the task itself needs, with their accepted answers: (prompt, text).
        A question is a task that writes no files."""
        needed = [self.tasks[need] for need in task.needs]
        return [
            (state.task.prompt, state.accepted.text)
            for state in needed
            if state.accepted and not state.task.writes
        ]

    def _files_of(self, task_ids: Iterable[str], reader: str | None) -> list[File]:
        found: dict[str, File] = {}
        for task_id in task_ids:
            accepted = self.tasks[task_id].accepted
            for file in accepted.files if accepted else ():
                if file.path not in self.edits.shared:
                    found[file.path] = file
        for path in self.edits.shared:
            contents = self.edits.contents(path, reader)
            found.update({name: File(name, content) for name, content in contents.items()})
        return [found[path] for path in sorted(found)]

    def version(self, path: str, task_id: str) -> bytes | None:
        """What the task has made of the path, if that was accepted."""
        accepted = self.tasks[task_id].accepted
        for file in accepted.files if accepted else ():
            if file.path == path:
                return file.content
        return None


def load_of(jobs: Iterable[JobState]) -> dict[NodeId, float]:
    """What each node was given by the log and has not done yet, in weights."""
    load: dict[NodeId, float] = {}
    for job in jobs:
        for state in job.tasks.values():
            for slot in state.slots if state.is_open else ():
                if slot.holder and slot.answer is None:
                    load[slot.holder] = load.get(slot.holder, 0.0) + state.task.weight
    return load


def fault_of_result(task: Task, files: Sequence[File], text: str) -> str:
    """Why the ledger would refuse this result of `task`; empty if it would not."""
    if not {file.path for file in files} <= set(task.writes):
        return "it has files that the task does not write"
    if len(text) > ANSWER_LENGTH_MAX:
        return f"its text is over {ANSWER_LENGTH_MAX} characters"
    size = sum(len(file.content) for file in files) + len(text.encode("utf-8", "replace"))
    return f"it is over {RESULT_SIZE_MAX} bytes" if size > RESULT_SIZE_MAX else ""
