"""Parts: what attempts have written so far, finished or not, for whoever goes on with their work.

Invariant: each slot of each task has its own, so that answers which shall be independent do not see
each other, and what is written of one file for one task never takes the place of another's.

Beside the files of its task, an attempt keeps what it likes under PARTIAL_FOLDER; and when all of
its answer is there, a word that it is so, by which the answer is checked and handed in without
being made again, were its node killed in between.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import TypeVar

from protocol import claims, codec
from protocol.claims import Finished, Partial
from protocol.effects import Proposal
from protocol.errors import InvalidJob, RemoteProtocolError
from protocol.facts import RequestRefused
from protocol.identity import NodeId
from protocol.job_rules import check_path
from protocol.jobs import (
    FILE_SIZE_MAX,
    NO_USAGE,
    PARTIAL_FILES_MAX,
    PARTIAL_FOLDER,
    SHARES_MAX,
    File,
    Share,
    Usage,
    digest_of,
)
from protocol.ledger import TaskState, Unit
from protocol.store import Store, Version
from protocol.turn import Turn

T = TypeVar("T", Partial, Finished)

_KEPT = f"{PARTIAL_FOLDER}/"


@dataclass(frozen=True, slots=True)
class Made:
    """An answer that an earlier attempt has made, and what that and those before it had used."""

    answer: Proposal
    shares: tuple[Share, ...]


class Parts:
    """Those that one node writes and reads."""

    def __init__(self, node: NodeId, store: Store) -> None:
        self.node = node
        self._store = store
        self._kept: dict[Unit, set[str]] = {}  # paths under PARTIAL_FOLDER

    # -- writing -------------------------------------------------------------------------------

    def write(
        self, turn: Turn, unit: Unit, token: int, files: Iterable[File], known: dict[str, bytes]
    ) -> None:
        """Let everybody have these files, but for those that are `known` already to be so."""
        for file in files:
            if len(file.content) > FILE_SIZE_MAX:
                turn.report(RequestRefused(f"{file.path} is over {FILE_SIZE_MAX} bytes"))
            elif known.get(file.path) != file.content:
                known[file.path] = file.content
                part = Partial(self.node, token, file.content)
                turn.write(claims.part_key(unit, file.path), codec.pack_value(part))

    def keep(
        self, turn: Turn, unit: Unit, token: int, keeps: Iterable[File], known: dict[str, bytes]
    ) -> None:
        """The same for all that an attempt keeps under PARTIAL_FOLDER; what it has there no more
        shall nobody find there."""
        files = [file for file in keeps if _is_kept(file.path)][:PARTIAL_FILES_MAX]
        paths = {file.path for file in files}
        for path in [path for path in known if _is_kept(path) and path not in paths]:
            del known[path]
            turn.write(claims.part_key(unit, path), None)
        self.write(turn, unit, token, files, known)

    def finish(
        self,
        turn: Turn,
        unit: Unit,
        token: int,
        answer: Proposal,
        usage: Usage,
        before: tuple[Share, ...] = (),
    ) -> None:
        """The files that were written, with this text, are all that the attempt had to make."""
        digests = tuple((file.path, _digest(file.content)) for file in answer.files)
        finished = Finished(self.node, token, digests, answer.text, usage, before)
        turn.write(claims.finished_key(unit), codec.pack_value(finished))

    def void(self, turn: Turn, unit: Unit) -> None:
        """An answer that was made is of no use: it has to be made anew."""
        if self._store.read(claims.finished_key(unit)):
            turn.write(claims.finished_key(unit), None)

    def hand_on(self, turn: Turn, unit: Unit) -> None:
        """An answer that was made is for others to check. What it has used is told already."""
        finished = next(self._latest(claims.finished_key(unit), Finished), None)
        if finished is not None:
            own = replace(finished, node=self.node, usage=NO_USAGE, before=())
            turn.write(claims.finished_key(unit), codec.pack_value(own))

    # -- reading -------------------------------------------------------------------------------

    def learn(self, key: str) -> None:
        """Take note of a key that begins with part/."""
        found = claims.part_of(key)
        if found is None or not _is_kept(found[1]):
            return
        unit, path = found
        paths = self._kept.setdefault(unit, set())
        if not self._store.read(key):
            paths.discard(path)
        elif len(paths) < PARTIAL_FILES_MAX:
            paths.add(path)

    def of(self, unit: Unit, task: TaskState) -> tuple[File, ...]:
        """What earlier attempts at this very slot left, the latest version of each file: those of
        the task, and then those that they kept."""
        paths = dict.fromkeys((*task.task.writes, *sorted(self._kept.get(unit, ()))))
        files = []
        for path in paths:
            part = next(self._latest(claims.part_key(unit, path), Partial), None)
            if part is not None:
                files.append(File(path, part.content))
        return tuple(files)

    def made(self, unit: Unit, task: TaskState) -> Made | None:
        """The answer that an earlier attempt at this slot has made, if that is still here whole and
        nobody has found it wrong. Where several nodes shall answer, each on its own, no node takes
        another's answer for it."""
        wrong = {answer.digest for answer in task.refuted()}
        for finished in self._latest(claims.finished_key(unit), Finished):
            if len(task.slots) > 1 and finished.node != self.node:
                continue
            files = [self._file_of(unit, *each) for each in finished.digests]
            whole = tuple(file for file in files if file is not None)
            if len(whole) == len(files) and digest_of(whole, finished.text) not in wrong:
                own = Share(finished.node, finished.token, finished.usage)
                shares = (each for each in (*finished.before, own) if each.usage != NO_USAGE)
                return Made(Proposal(whole, finished.text), tuple(shares)[-SHARES_MAX:])
        return None

    def _file_of(self, unit: Unit, path: str, digest: str) -> File | None:
        """The version of a part that has this digest."""
        for part in self._latest(claims.part_key(unit, path), Partial):
            if _digest(part.content) == digest:
                return File(path, part.content)
        return None

    def _latest(self, key: str, kind: type[T]) -> Iterator[T]:
        """The values of a key, the latest first. What is illegible is as if it were not there, and
        so is what somebody says in another's name."""

        def age(version: Version) -> tuple[int, str]:
            return version.stamp, version.author

        for version in sorted(self._store.read(key), key=age, reverse=True):
            try:
                value = codec.unpack_value(kind, version.value)
            except RemoteProtocolError:
                continue
            if value.node == version.author:
                yield value

    # -- the end -------------------------------------------------------------------------------

    def settle(self, turn: Turn, job: str) -> None:
        """The job is finished: nobody goes on with an attempt at it. The files stay as long as the
        job is remembered, to tell who has written what; the rest goes, each node's own."""
        for key in self._store.scan(f"{claims.PART_PREFIX}{job}/"):
            found = claims.part_of(key)
            is_for_successors = found is not None and (not found[1] or _is_kept(found[1]))
            if is_for_successors and self._is_own(key):
                turn.write(key, None)
        self.forget(job)

    def forget(self, job: str) -> None:
        """Keep nothing of it in memory."""
        for unit in [unit for unit in self._kept if unit[0] == job]:
            del self._kept[unit]

    def _is_own(self, key: str) -> bool:
        return any(version.author == self.node for version in self._store.read(key))


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _is_kept(path: str) -> bool:
    """Whether it lies under PARTIAL_FOLDER, and may be laid out there."""
    if not path.startswith(_KEPT):
        return False
    try:
        check_path(path)
    except InvalidJob:
        return False
    return True
