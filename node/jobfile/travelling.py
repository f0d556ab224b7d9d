"""The files that go with a job: what `files:` lists, and what its command lines name.

Invariant: only regular files of the job file's own folder travel, by their names in it; what was
asked for and cannot travel is an `InvalidJob`, never left out silently. Hidden files travel only
if they are named as such: a folder may hold keys and histories.
"""

from __future__ import annotations

import errno
import os
import shlex
import stat
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path, PurePosixPath

from protocol.errors import InvalidJob
from protocol.job_rules import check_path
from protocol.jobs import FIXTURES_MAX, FIXTURES_SIZE_MAX, PATH_LENGTH_MAX, File, shown


def read_regular(path: Path, size_max: int) -> bytes:
    """The content, one byte over the limit at most. OSError if it cannot be read; a device or a
    pipe is refused without waiting for it."""
    handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        mode = os.fstat(handle).st_mode
        if stat.S_ISDIR(mode):
            raise IsADirectoryError(errno.EISDIR, "it is a folder")
        if not stat.S_ISREG(mode):
            raise OSError(errno.EINVAL, "it is not a regular file")
        with open(handle, "rb", closefd=False) as file:
            return file.read(size_max + 1)
    finally:
        os.close(handle)


def travelling(
    listed: Iterable[str], commands: Iterable[str], made: Collection[str], folder: Path
) -> tuple[File, ...]:
    """The files in `folder` that match the `listed` patterns, or that a command line names; what
    tasks make (`made`) is named there for another reason and stays behind."""
    wanted: set[str] = set()
    for pattern in listed:
        for name in _matches(pattern, folder):
            _want(wanted, name, folder)
    has_files = folder.is_dir()  # a job that came as text has none: nothing to take lines apart for
    for line in commands if has_files else ():
        for name in _names_in(line):
            if name not in made and os.path.lexists(folder / name):
                _want(wanted, name, folder)
    return tuple(_read_all(sorted(wanted), folder))


def _matches(pattern: str, folder: Path) -> Iterator[str]:
    """The names that a line of `files:` stands for."""
    what = f"files: {shown(pattern)}"
    path = PurePosixPath(pattern)
    if not pattern.strip() or not path.parts:
        raise InvalidJob(f"{what} names no file: give a file or folder such as 'tests'")
    if path.is_absolute() or ".." in path.parts:
        raise InvalidJob(
            f"{what} lies outside of the job file's folder: copy it beside the job file"
        )
    if len(pattern) > PATH_LENGTH_MAX:
        raise InvalidJob(f"{what} is over {PATH_LENGTH_MAX} characters: shorten it")
    may_hide = any(_hides(part) for part in path.parts)
    is_found = False
    try:
        for found in sorted(folder.glob(pattern)):
            name = found.relative_to(folder)
            if may_hide or not any(_hides(part) for part in name.parts):
                is_found = True
                yield name.as_posix()
    except (OSError, ValueError) as fault:
        reason = (isinstance(fault, OSError) and fault.strerror) or fault
        raise InvalidJob(f"{what} cannot be looked up ({reason}): correct it") from None
    if not is_found:
        raise InvalidJob(
            f"files: nothing beside the job file matches {shown(pattern)}: correct it "
            "(hidden files must be named with their dot)"
        )


def _hides(part: str) -> bool:
    return part.startswith(".") or part == "__pycache__"


def _names_in(line: str) -> Iterator[str]:
    """The words of a command line that could be files below its folder."""
    try:
        words = shlex.split(line)
    except ValueError:
        return  # unbalanced quotes: the shell will say so
    for word in words:
        if "." not in word and "/" not in word:
            continue
        name = str(PurePosixPath(word))
        try:
            check_path(name)
        except InvalidJob:
            continue  # it is something else: an option, a program, the folder itself
        yield name


def _want(wanted: set[str], name: str, folder: Path) -> None:
    """Note a file, or all files of a folder."""
    path = folder / name
    if not os.path.isdir(path):  # unlike Path.is_dir it answers for every name
        _note(wanted, name, folder)
        return
    for parent, folders, files in os.walk(path, onerror=_cannot_look):
        below = Path(parent).relative_to(folder)
        folders[:] = sorted(each for each in folders if not _hides(each))
        links = [each for each in folders if os.path.islink(os.path.join(parent, each))]
        for file in (*links, *files):
            if not _hides(file):
                _note(wanted, (below / file).as_posix(), folder)


def _cannot_look(fault: OSError) -> None:
    raise InvalidJob(
        f"folder {shown(fault.filename)} cannot be read ({fault.strerror}): make it one that you "
        "may read, or do not name it"
    ) from None


def _note(wanted: set[str], name: str, folder: Path) -> None:
    path = folder / name
    if not Path(os.path.realpath(path)).is_relative_to(os.path.realpath(folder)):
        raise InvalidJob(
            f"file {shown(name)} is a link out of the job file's folder: copy what it points to"
        )
    wanted.add(name)
    if len(wanted) > FIXTURES_MAX:
        raise InvalidJob(
            f"over {FIXTURES_MAX} files would travel with the job: list fewer under 'files:'"
        )


def _read_all(names: Iterable[str], folder: Path) -> Iterator[File]:
    left = FIXTURES_SIZE_MAX
    for name in names:
        try:
            content = read_regular(folder / name, left)
        except OSError as fault:
            raise InvalidJob(
                f"file {shown(name)} cannot travel with the job ({fault.strerror}): "
                "make it a file that you may read, or do not name it"
            ) from None
        left -= len(content)
        if left < 0:
            raise InvalidJob(
                f"the files that would travel with the job are over {FIXTURES_SIZE_MAX} bytes: "
                "list fewer under 'files:'"
            )
        yield File(name, content)
