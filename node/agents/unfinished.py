"""What an agent has written and not finished: shared every few seconds, for whoever has to go on
with its work, and laid out for a program that does.

Invariant: what is shared is bounded (RESULT_SIZE_MAX for the files, and as much in PARTIAL_FOLDER),
and shared again only when it has changed; nothing outside of the working folder is read. A file is
taken as it is at that moment: a program that wants whole ones to be found writes each under another
name outside of that folder, and renames it.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from node.agents import AgentError, Progress
from node.agents.scratch import collect, in_thread, lay_out
from protocol.errors import InvalidJob
from protocol.job_rules import check_path
from protocol.jobs import (
    ANSWER_PATH,
    FILE_SIZE_MAX,
    PARTIAL_FILES_MAX,
    PARTIAL_FOLDER,
    File,
    kept_path,
)

log = logging.getLogger(__name__)

SHARE_EVERY_S = 3.0
_SEEN_MAX = 20 * PARTIAL_FILES_MAX  # names looked at in the folder, were most of them of no use


@dataclass(frozen=True, slots=True)
class SoFar:
    """The files of the task as far as they have changed, and what is kept for a successor; `faults`
    say why other files of the task are none."""

    files: tuple[File, ...] = ()
    keeps: tuple[File, ...] = ()
    faults: tuple[str, ...] = ()


@asynccontextmanager
async def shared_meanwhile(
    look: Callable[[], Awaitable[SoFar]], progress: Progress
) -> AsyncIterator[None]:
    """While the `with` block goes on, tell the team every SHARE_EVERY_S what `look` sees."""
    sharing = asyncio.create_task(_share(look, progress), name="share-unfinished")
    try:
        yield
    finally:
        sharing.cancel()
        await asyncio.wait([sharing])
        if not sharing.cancelled() and (fault := sharing.exception()) is not None:
            log.warning("! what is unfinished was not shared any more", exc_info=fault)


async def _share(look: Callable[[], Awaitable[SoFar]], progress: Progress) -> None:
    told = SoFar()
    while True:
        await asyncio.sleep(SHARE_EVERY_S)
        so_far = await look()
        if so_far != told:
            told = so_far
            progress.so_far(so_far.files, so_far.keeps)


def text_so_far(text: str) -> SoFar:
    """Of a model there is what it has said, as much of it as fits."""
    content = text.encode(errors="replace")[:FILE_SIZE_MAX]
    return SoFar((), (File(ANSWER_PATH, content),) if content else ())


class Folder:
    """The working folder of a program, with what was laid out there before it began: `given`."""

    def __init__(self, workspace: Path, writes: Iterable[str], given: Mapping[str, File]) -> None:
        self._workspace = workspace
        self._writes = tuple(writes)
        self._given = given
        self._seen: tuple[tuple[str, int, int, int], ...] = ()
        self._so_far = SoFar()

    async def look(self) -> SoFar:
        """What the program has written so far, read only if that seems to have changed: clocks of
        file systems are coarse."""
        return await in_thread(self._look)

    async def read(self) -> SoFar:
        """The same, read in any case."""
        return await in_thread(self._read, tuple(_kept_in(self._workspace)))

    def _look(self) -> SoFar:
        kept = tuple(_kept_in(self._workspace))
        seen = tuple(_marks(self._workspace, (*self._writes, *kept)))
        if seen != self._seen:
            self._seen = seen
            self._so_far = self._read(kept)
        return self._so_far

    def _read(self, kept: tuple[str, ...]) -> SoFar:
        found, faults = collect(self._workspace, self._writes)
        files = tuple(file for file in found if self._given.get(file.path) != file)
        keeps, _ = collect(self._workspace, kept)
        return SoFar(files, keeps, faults)


def lay_out_partial(workspace: Path, partial: Iterable[File]) -> None:
    """Put what earlier attempts left into PARTIAL_FOLDER: what they kept there under its own name,
    and there, too, the files of the task as far as they had come. Of two that cannot be there
    together the first stays: what somebody left must not fail who comes after."""
    by_rank = sorted(partial, key=lambda file: file.path != kept_path(file.path))
    laid_out: dict[str, File] = {}
    for file in by_rank:
        path = kept_path(file.path)
        laid_out.setdefault(path, File(path, file.content))
    for file in laid_out.values():
        try:
            lay_out(workspace, [file])
        except (AgentError, InvalidJob) as fault:
            log.info("! %s of an earlier attempt is left out: %s", file.path, fault)


def _kept_in(workspace: Path) -> Iterator[str]:
    """The names of what is in PARTIAL_FOLDER, as many as are taken."""
    found = looked_at = 0
    for directory, folders, files in os.walk(workspace / PARTIAL_FOLDER):
        folders.sort()
        for name in sorted(files):
            looked_at += 1
            if found >= PARTIAL_FILES_MAX or looked_at > _SEEN_MAX:
                return
            path = (Path(directory) / name).relative_to(workspace).as_posix()
            try:
                check_path(path)
            except InvalidJob:
                continue  # a name that no file of a result may have either
            found += 1
            yield path


def _marks(workspace: Path, paths: Iterable[str]) -> Iterator[tuple[str, int, int, int]]:
    """What tells whether a file has changed."""
    for path in paths:
        try:
            status = os.lstat(workspace / path)
        except OSError:
            continue  # not there, or not any more
        yield path, status.st_ino, status.st_size, status.st_mtime_ns
