"""Working folders: made fresh, filled with a job's files, read back with care, always removed.

Invariant: nothing outside the folder is read or written, whatever a program leaves in it (links,
pipes, devices, huge files), and the folder is gone when its `with` block ends.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import shutil
import stat
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TypeVar

from protocol.jobs import FILE_SIZE_MAX, RESULT_SIZE_MAX, File, check_path

T = TypeVar("T")

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


@asynccontextmanager
async def scratch_folder(root: Path, files: Iterable[File] = ()) -> AsyncIterator[Path]:
    """A fresh folder below `root` that holds `files`; of two with one path the later wins."""
    # Named here and not by the thread, so that a cancellation at any point knows what to remove.
    folder = _fresh_name(root)
    try:
        await in_thread(_make, folder, tuple(files))
        yield folder
    finally:
        await in_thread(_remove, folder)


def lay_out(folder: Path, files: Iterable[File]) -> None:
    """Write the files into a folder that no program has touched yet."""
    for file in files:
        check_path(file.path)
        target = folder / file.path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(file.content)


def collect(folder: Path, paths: Iterable[str]) -> tuple[tuple[File, ...], tuple[str, ...]]:
    """(files, faults): those of `paths` that exist as regular files inside the folder, and what
    is wrong with the others that exist. What is missing is in neither."""
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
    folder.parent.mkdir(parents=True, exist_ok=True)
    folder.mkdir(mode=0o700)
    lay_out(folder, files)


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
