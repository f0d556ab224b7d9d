"""Working folders: made fresh, filled with a job's files, read back with care, always removed.

Invariant: nothing outside the folder is read or written, whatever a program leaves in it (links,
pipes, devices, huge files), and the folder is gone when its `with` block ends.

The folders lie under the system's temporary folder, not in the node's data directory: what a
program finds or spoils with `..` is then never the node's key or journal. That is a fence against
accidents and no barrier: programs run as the node's user and may open any file of that user.
"""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
import shutil
import stat
import tempfile
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import TypeVar

from node.agents import AgentError
from protocol.events import Failure
from protocol.job_rules import check_path
from protocol.jobs import FILE_SIZE_MAX, RESULT_SIZE_MAX, File

log = logging.getLogger(__name__)

T = TypeVar("T")

ROOT_PREFIX = "quorate-scratch-"
INNER = "files"  # a folder in a folder: what a program puts beside its own goes away with it
ROOT_RECORD = "scratch-root"  # the file in the data directory that says where our folders lie
_RECORD_SIZE_MAX = 4096

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC  # a pipe must not make us wait


async def in_thread(function: Callable[..., T], *arguments: object) -> T:
    """Run in a thread; a cancellation waits until the thread is through, so that nothing goes on
    behind the caller's back. For short, bounded work only."""
    future = asyncio.ensure_future(asyncio.to_thread(function, *arguments))
    try:
        return await asyncio.shield(future)
    except asyncio.CancelledError:
        await asyncio.wait([future])
        if not future.cancelled():
            future.exception()  # taken note of: the cancellation matters more
        raise


@contextmanager
def scratch_root(data_dir: Path) -> Iterator[Path]:
    """A folder of this process's own, for all its working folders.

    The data directory remembers where it is, so that the next life on it removes what was left by
    one that was killed. Blocking: for the start and the end of a node.
    """
    record = data_dir / ROOT_RECORD
    _remove_recorded(record)
    root = Path(tempfile.gettempdir()).absolute() / f"{ROOT_PREFIX}{secrets.token_hex(8)}"
    record.write_bytes(os.fsencode(root))  # first, so that no folder exists that nobody knows of
    root.mkdir(mode=0o700)
    try:
        yield root
    finally:
        if _is_removed(root):
            record.unlink(missing_ok=True)


def remove_left(data_dir: Path) -> None:
    """Remove what a node on this data directory has left that was killed, and does not run."""
    record = data_dir / ROOT_RECORD
    if record.exists():
        _remove_recorded(record)
        record.unlink(missing_ok=True)


def _remove_recorded(record: Path) -> None:
    """Remove an earlier life's folder, if that is what the record names: the temporary folder is
    open to all, so somebody else may have taken the name meanwhile."""
    try:
        with open(record, "rb") as file:
            left = Path(os.fsdecode(file.read(_RECORD_SIZE_MAX)))
        status = left.lstat()
    except (OSError, ValueError):
        return  # there is no record, or nothing where it points to
    ours = stat.S_ISDIR(status.st_mode) and status.st_uid == os.geteuid()
    if ours and left.is_absolute() and left.name.startswith(ROOT_PREFIX):
        _is_removed(left)


def _is_removed(root: Path) -> bool:
    """Remove it; a program with other rights than ours may have left what we cannot remove, which
    must not keep a node from starting."""
    try:
        _remove(root)
    except OSError as fault:
        log.warning("! %s cannot be removed (%s): remove it by hand", root, fault.strerror or fault)
        return False
    return True


@asynccontextmanager
async def scratch_folder(root: Path, files: Iterable[File] = ()) -> AsyncIterator[Path]:
    """A fresh folder below `root` that holds `files`; of two with one path the later wins."""
    # Named here and not by the thread, so that a cancellation at any point knows what to remove.
    outer = _fresh_name(root)
    folder = outer / INNER
    contents = tuple(files)
    try:
        if contents:
            await in_thread(_make, folder, contents)
        else:  # no slower than waking a thread
            _make(folder, ())
        yield folder
    finally:
        if not _is_removed_empty(folder):
            await in_thread(_remove, outer)


def lay_out(folder: Path, files: Iterable[File]) -> None:
    """Write the files into a folder that no program has touched yet; AgentError if they cannot
    be there together."""
    for file in files:
        check_path(file.path)
        target = folder / file.path
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(file.content)
        except (FileExistsError, NotADirectoryError, IsADirectoryError):
            raise AgentError(
                Failure.OUTPUT,
                f"{file.path} cannot be laid out: a part of its path is both a file and a folder",
            ) from None
        except OSError as fault:
            raise AgentError(
                Failure.OUTPUT, f"{file.path} cannot be laid out: {fault.strerror or fault}"
            ) from fault


def collect(folder: Path, paths: Iterable[str]) -> tuple[tuple[File, ...], tuple[str, ...]]:
    """(files, faults): those of `paths` that exist as regular files inside the folder, and what is
    wrong with the others that exist. What is missing is in neither, nor is what comes after the
    limit for all."""
    files: list[File] = []
    faults: list[str] = []
    size = 0
    for path in paths:
        check_path(path)
        try:
            content = _read_inside(folder, path)
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError as fault:
            faults.append(f"{path} cannot be read: {fault.strerror or fault}")
            continue
        if content is None:
            faults.append(f"{path} is not a regular file")
            continue
        size += len(content)
        if len(content) > FILE_SIZE_MAX or size > RESULT_SIZE_MAX:
            faults.append(
                f"{path} is too large: the limits are {FILE_SIZE_MAX} bytes for a file and "
                f"{RESULT_SIZE_MAX} for all"
            )
            if size > RESULT_SIZE_MAX:
                break  # it is no result any more, whatever the others hold
            continue
        files.append(File(path, content))
    return tuple(files), tuple(faults)


def _read_inside(folder: Path, path: str) -> bytes | None:
    """The content, one byte over the limit at most; None if it is not a regular file.

    Each step goes through an open directory and follows no link, so that a link planted on the
    way leads nowhere, not even one that is put there while we look (openat(2), O_NOFOLLOW).
    """
    *parents, name = path.split("/")
    directory = os.open(folder, _DIRECTORY)
    try:
        for parent in parents:
            below = os.open(parent, _DIRECTORY, dir_fd=directory)
            os.close(directory)
            directory = below
        status = os.stat(name, dir_fd=directory, follow_symlinks=False)
        if not stat.S_ISREG(status.st_mode):
            return None
        with open(os.open(name, _FILE, dir_fd=directory), "rb") as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                return None
            return file.read(FILE_SIZE_MAX + 1)
    finally:
        os.close(directory)


def _fresh_name(root: Path) -> Path:
    return root.absolute() / f"work-{secrets.token_hex(8)}"


def _make(folder: Path, files: tuple[File, ...]) -> None:
    folder.parent.parent.mkdir(parents=True, exist_ok=True)
    folder.parent.mkdir(mode=0o700)
    folder.mkdir(mode=0o700)
    lay_out(folder, files)


def _is_removed_empty(folder: Path) -> bool:
    """Remove the folder and the one around it if there is nothing in either."""
    try:
        os.rmdir(folder)
        os.rmdir(folder.parent)
    except OSError:
        return False
    return True


def _remove(folder: Path) -> None:
    """Remove the folder with all in it, also folders that a program made read-only."""
    try:
        shutil.rmtree(folder)
    except FileNotFoundError:
        return
    except OSError:
        os.chmod(folder, 0o700)
        for directory, below, _ in os.walk(folder):  # top down
            for name in below:
                path = os.path.join(directory, name)
                if not os.path.islink(path):  # chmod would follow it
                    os.chmod(path, 0o700)
        shutil.rmtree(folder)
