"""Files that several tasks write: which versions stand side by side, and what was made of them.

A task that needs another has seen its version of a file, and its own replaces that one. Versions of
tasks that do not need each other are siblings: neither has seen the other (Parker et al. 1983,
*Detection of Mutual Inconsistency in Distributed Systems*, with the graph for the version vector).
Before a task builds on both, and at the end of the job, they are merged, and the merge is an entry
of the log.

Invariant: no version is replaced by one whose author has not seen it. If siblings cannot be merged,
each stands under the name of its task, and the file itself does not exist.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from protocol import graph
from protocol.identity import NOBODY, NodeId
from protocol.jobs import Job, name_of_version, shared_paths

Siblings: TypeAlias = tuple[str, tuple[str, ...]]  # a path, the tasks whose versions they are


@dataclass(frozen=True, slots=True)
class Merge:
    """What became of siblings: one content, or a `fault` that says why there is none; `reviewer`
    has checked it again, if anybody has."""

    node: NodeId
    by_agent: bool
    content: bytes
    fault: str
    index: int
    reviewer: NodeId = NOBODY


@dataclass(slots=True)
class ProposedMerges:
    """Merges of some siblings that do not count: one may wait for another node's word; in others
    it has found a fault, and their content is not kept."""

    waiting: Merge | None = None
    refuted: list[Merge] = field(default_factory=list)


class Edits:
    """The shared files of one job. `version` tells what a task has made of a path, None if it has
    made nothing of it. Sets of tasks are bits, as in `graph.ancestor_sets`."""

    def __init__(
        self,
        job: Job,
        order: Sequence[str],
        merges: Mapping[Siblings, Merge],
        version: Callable[[str, str], bytes | None],
    ) -> None:
        self.merges = merges
        self.shared = shared_paths(job)
        self._fixtures = {file.path: file.content for file in job.files}
        self._version = version
        self._seen = graph.ancestor_sets(job.needs) if self.shared else {}
        self._bits = {task: 1 << at for at, task in enumerate(order)}
        self._writers = {path: self.set_of(tasks) for path, tasks in self.shared.items()}
        self._all = (1 << len(order)) - 1

    def lacking(self, task: str) -> list[Siblings]:
        """What has to be one file before the task can start, and is not."""
        return self._unmerged(self._seen[task]) if self.shared else []

    def lacking_at_end(self) -> list[Siblings]:
        """What has to be one file before the job can end, unless it cannot be."""
        return [each for each in self._unmerged(self._all) if each not in self.merges]

    def conflicts(self) -> list[Siblings]:
        """What could not be merged and so is no file at the job's end."""
        found = [(path, self._siblings(path, self._all)) for path in self.shared]
        return [each for each in found if each in self.merges and self.merges[each].fault]

    def seen_by(self, path: str, task: str) -> tuple[str, ...]:
        """Whose versions of the path the task builds on."""
        return self._siblings(path, self._seen[task]) if path in self.shared else ()

    def contents(self, path: str, task: str | None = None) -> dict[str, bytes]:
        """The path as the task sees it, or (None) as it is at the end; other names for siblings
        that are not merged; nothing if nobody has written it yet."""
        siblings = (path, self._siblings(path, self._all if task is None else self._seen[task]))
        content = self._as_one(siblings)
        if content is not None:
            return {path: content}
        names = (name_of_version(path, other) for other in siblings[1])
        return dict(zip(names, self.versions(siblings), strict=True))

    def versions(self, siblings: Siblings) -> list[bytes]:
        """What each of the tasks has made of the path."""
        path, tasks = siblings
        return [content for task in tasks if (content := self._version(path, task)) is not None]

    def base(self, siblings: Siblings) -> bytes:
        """What all of them began with; empty if that was nothing, or nothing in common."""
        common = self._all
        for task in siblings[1]:
            common &= self._seen[task]
        found = self.among(siblings[0], common)
        return found if isinstance(found, bytes) else b""

    def among(self, path: str, tasks: int) -> bytes | Siblings:
        """The path as somebody sees it who has seen these tasks; siblings if it is not one file."""
        siblings = (path, self._siblings(path, tasks))
        if not siblings[1]:
            return self._fixtures.get(path, b"")
        content = self._as_one(siblings)
        return siblings if content is None else content

    def seen(self, task: str) -> int:
        """The set of what the task has seen."""
        return self._seen[task]

    def set_of(self, tasks: Iterable[str]) -> int:
        """These tasks as a set."""
        return sum(self._bits[task] for task in tasks)

    def _siblings(self, path: str, among: int) -> tuple[str, ...]:
        """The tasks of this set that have written the path and that nobody else in it who has
        written it has seen."""
        seen = 0
        found = []
        among &= self._writers[path]
        for task in reversed(self.shared[path] if among else ()):
            bit = self._bits[task]
            if among & bit and not seen & bit and self._version(path, task) is not None:
                found.append(task)
                seen |= self._seen[task]
        return tuple(reversed(found))

    def _unmerged(self, among: int) -> list[Siblings]:
        found = []
        for path, writers in self._writers.items():
            if (among & writers).bit_count() < 2:
                continue
            siblings = (path, self._siblings(path, among))
            if siblings[1] and self._as_one(siblings) is None:
                found.append(siblings)
        return found

    def _as_one(self, siblings: Siblings) -> bytes | None:
        """The content that all of them are, or were merged into; None if there is no such thing."""
        versions = self.versions(siblings)
        if len(set(versions)) == 1:
            return versions[0]
        merge = self.merges.get(siblings)
        return merge.content if merge is not None and not merge.fault else None
