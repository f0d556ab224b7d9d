"""Merges on their way into the log: which of them counts, and whose word that takes.

What became of siblings (`edits`) is said by one node. It counts at once, unless one of the tasks
whose versions go into it has its results checked by another node (`verify_by: other`): then it
waits for the word of a node that has not made it, and where that finds it wrong, it is made anew.

Invariant: of some siblings one merge counts at most, and one at most waits; nobody is the witness
of its own merge.
"""

from __future__ import annotations

from dataclasses import replace

from protocol.facts import Fact
from protocol.facts.work import FileMerged, MergeProposed, MergeReviewed
from protocol.identity import NOBODY
from protocol.jobs import FILE_SIZE_MAX, VerifyBy
from protocol.ledger.commands import MergeFile, ReviewMerge
from protocol.ledger.edits import Merge, ProposedMerges, Siblings
from protocol.ledger.state import REASON_LENGTH_MAX, JobState


def propose(job: JobState, command: MergeFile, index: int) -> list[Fact]:
    """A node says what became of siblings: what follows from it, nothing if it is not asked for."""
    siblings = (command.path, command.tasks)
    if siblings not in job.merges_due() or command.number != job.refuted_merges(siblings):
        return []
    fault = command.fault[:REASON_LENGTH_MAX]
    if len(command.content) > FILE_SIZE_MAX:
        fault = f"together they are over {FILE_SIZE_MAX} bytes"
    content = b"" if fault else command.content
    merge = Merge(command.node, command.by_agent, content, fault, index)
    if fault or not needs_witness(job, siblings):
        return _settle(job, siblings, merge, index)
    job.proposed.setdefault(siblings, ProposedMerges()).waiting = merge
    job.moved()
    return [MergeProposed(command.job, *siblings, merge.node, merge.by_agent, index)]


def review(job: JobState, command: ReviewMerge, index: int) -> list[Fact]:
    """Another node has run the checks of all its tasks on the merge that waits."""
    siblings = (command.path, command.tasks)
    waiting = job.waiting_merge(siblings)
    is_next = command.number == job.refuted_merges(siblings)
    if waiting is None or not is_next or command.reviewer == waiting.node:
        return []
    fault = command.fault[:REASON_LENGTH_MAX]
    if command.reviewer == NOBODY and not fault:
        return []
    proposed = job.proposed[siblings]
    proposed.waiting = None
    job.moved()
    if command.reviewer == NOBODY:
        return _settle(job, siblings, replace(waiting, content=b"", fault=fault), index)
    merge = replace(waiting, reviewer=command.reviewer, fault=fault)
    path, tasks = siblings
    who = (merge.node, merge.reviewer, fault, index)
    reviewed = MergeReviewed(command.job, path, tasks, *who)
    if not fault:
        return [reviewed, *_settle(job, siblings, merge, index)]
    proposed.refuted.append(replace(merge, content=b""))
    times = len(proposed.refuted)
    if times < job.tasks[tasks[-1]].task.attempts_max:
        return [reviewed]
    reason = f"{times} merges were wrong, the last: {fault}"[:REASON_LENGTH_MAX]
    return [reviewed, *_settle(job, siblings, replace(merge, content=b"", fault=reason), index)]


def needs_witness(job: JobState, siblings: Siblings) -> bool:
    """Whether a merge of these counts only once another node has checked it."""
    return any(job.tasks[name].task.verify_by is VerifyBy.OTHER for name in siblings[1])


def _settle(job: JobState, siblings: Siblings, merge: Merge, index: int) -> list[Fact]:
    job.merges[siblings] = replace(merge, index=index)
    job.moved()
    path, tasks = siblings
    said = (merge.node, merge.by_agent, merge.fault, index, merge.reviewer)
    return [FileMerged(job.job.id, path, tasks, *said)]
