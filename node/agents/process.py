"""Running a program: in a session of its own, with bounded output, and never left behind.

Invariant: when `run_process` returns, raises or is cancelled, every process of the program's group
has been killed, no file descriptor is left, and not more than the stated amounts of its output were
ever held in memory. When this process dies itself, were it by SIGKILL, the group is killed too.
What left the group (setsid) ends with it where this process inherits orphans (`strays.py`).

Two things are done here without asyncio's subprocesses. Starting: `create_subprocess_exec` waits in
the middle, and a cancellation there loses pipes and programs; a start without any `await` cannot be
cancelled. Ending: asyncio reaps a program before we hear of it, and from then on the number of its
group may belong to somebody else; `waitid` with WNOWAIT lets us kill first and reap afterwards.

Out of reach are programs that become another user (sudo), and what they write to other folders.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import logging
import os
import resource
import secrets
import signal
import subprocess
import tempfile
import threading
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from node.agents.footprint import outgrown
from node.agents.strays import MARK, strays
from node.prompt.shown import LAST_WORDS_SIZE_MAX, last_lines

log = logging.getLogger(__name__)

TAIL_SIZE_MAX = 8 * 1024  # bytes of standard error that are kept: its end tells most
ERROR_SIZE_MAX = 64 * 1024 * 1024  # bytes of standard error that are read at all
FOLDER_SIZE_MAX = 4 * 1024**3  # bytes of the disk under the program's folder
WRITTEN_SIZE_MAX = 512 * 1024**2  # bytes of a file, wherever; a line may say `ulimit -f unlimited`
SHELL = "/bin/sh"
COMMAND_NOT_EXECUTABLE = 126  # POSIX shell, section 2.8.2
COMMAND_NOT_FOUND = 127
DRAIN_TIMEOUT_S = 1.0  # a process that left the group may hold a pipe open: then its loss
DEATH_TIMEOUT_S = 10.0  # from SIGKILL to the end; longer only if the kernel cannot or may not
_READ_SIZE = 64 * 1024
_BLOCK_SIZE = 512  # bytes, the unit of `ulimit -f`

# What a program learns of this process's environment. No list of names that look like a secret can
# be complete, so this is a list of names that are none.
PASSED_VARIABLES = frozenset(
    ("PATH", "HOME", "LANG", "TZ", "TMPDIR", "VIRTUAL_ENV", "USER", "LOGNAME", "SHELL", "TERM")
)
PASSED_PREFIX = "LC_"

# The program becomes the leader of its group, as if started directly. The guard beside it reads
# from a pipe whose other end only we hold: it ends when we do, and then the guard kills the group.
# The guard is an orphan, so that a program that waits for all its children does not wait for it.
# The pipe is opened by path because `sh` knows no descriptor above 9. Who left the group bears the
# mark, in an environment that the guard and its helpers do not have.
_GUARDED = f"""\
leash=$1 mark=$2 blocks=$3; shift 3
(
    {{
        trap '' HUP INT TERM
        read -r _
        kill -KILL $(grep -lsF "$mark" /proc/[0-9]*/environ | tr -dc '0-9\\n')
        kill -KILL 0
    }} 2>/dev/null >&2 <"/dev/fd/$leash" &
)
ulimit -S -f "$blocks"
export {MARK}="$mark"
exec "$@"
"""


@dataclass(frozen=True, slots=True)
class Ended:
    """How a program ended. A negative code is the signal that killed it; `excess` is what it did
    beyond its limits if we killed it for that, else empty."""

    code: int
    output: bytes
    error_tail: bytes
    excess: str = ""

    @property
    def fate(self) -> str:
        """What became of it, in words that go on after 'the program'; empty if all was well."""
        # A shell that saw a signal kill its last command ends with 128 and the signal's number.
        number = -self.code if self.code < 0 else max(0, self.code - 128)
        if self.excess:
            return f"was stopped: it {self.excess}"
        if number == signal.SIGXFSZ:
            return (
                f"was stopped: it wrote a file of over {WRITTEN_SIZE_MAX} bytes (if it must, begin "
                "its line with 'ulimit -f unlimited;')"
            )
        if self.code == COMMAND_NOT_EXECUTABLE:
            return (
                "is not executable (status 126): name what runs it, as in 'sh check.sh' (files "
                "travel without that permission)"
            )
        if self.code < 0:
            return f"was killed by signal {number}"
        if number in signal.valid_signals():
            return f"ended with status {self.code} (signal {number})"
        return f"ended with status {self.code}" if self.code else ""

    def last_lines(self, size_max: int = LAST_WORDS_SIZE_MAX) -> str:
        """The last lines of what it said, to standard error, or if that is empty, to standard
        output: `size_max` characters at most."""
        said = self.error_tail.strip() or self.output.strip()
        text = said[-4 * size_max :].decode(errors="replace")  # a character has four bytes at most
        legible = "".join(c for c in text if c.isprintable() or c in "\n\t").strip()
        return last_lines(legible, size_max)


@dataclass(frozen=True, slots=True)
class Said:
    """What a program has printed so far: all of standard output, and the end of standard error.
    Whoever brings this has it also when the program is cut short. `error_name` is what comes by
    standard error, for people."""

    output: bytearray = field(default_factory=bytearray)
    error_tail: bytearray = field(default_factory=bytearray)
    error_name: str = "standard error"


async def run_process(
    command: str | Sequence[str],
    folder: Path,
    environment: Mapping[str, str],
    stdin: bytes = b"",
    output_size_max: int = 1024 * 1024,
    folder_size_max: int = FOLDER_SIZE_MAX,
    said: Said | None = None,
) -> Ended:
    """Run a shell line (a string) or a program with arguments (a sequence) in `folder`. Beyond
    these limits (bytes), ERROR_SIZE_MAX or WRITTEN_SIZE_MAX it is killed. What it prints goes into
    `said` as well, piece by piece.

    OSError if nothing can be started there; a program that does not exist ends with status 127.
    There is no time limit here: cancel it.
    """
    # Standard input is a file, so that a program may leave it unread.
    with tempfile.TemporaryFile() as given, _Pipe() as output, _Pipe() as error, _Pipe() as leash:
        given.write(stdin)
        given.seek(0)
        # No await between this and the one in `_attend`, which is ready to be cancelled.
        program = _start(command, folder, environment, given, output, error, leash)
        # The program has its copies: close ours, so that its end shows.
        output.close_writing_end()
        error.close_writing_end()
        growing = asyncio.ensure_future(outgrown(folder, folder_size_max))
        said = said or Said()
        return await _attend(program, output, error, output_size_max, growing, said)


def environment_for_programs(
    named: Collection[str] = (), environment: Mapping[str, str] = os.environ
) -> dict[str, str]:
    """What programs get of our environment: what is listed above, and the variables in `named`."""
    return {
        name: value
        for name, value in environment.items()
        if name in PASSED_VARIABLES or name.startswith(PASSED_PREFIX) or name in named
    }


def _start(
    command: str | Sequence[str],
    folder: Path,
    environment: Mapping[str, str],
    given: IO[bytes],
    output: _Pipe,
    error: _Pipe,
    leash: _Pipe,
) -> _Program:
    """Start it with its guard. This blocks for the millisecond that it takes."""
    program = (SHELL, "-c", command) if isinstance(command, str) else tuple(command)
    mark = secrets.token_hex(16)
    guarding = (str(leash.reading_end), mark, _blocks_max())
    process = strays.start(
        lambda: subprocess.Popen(
            (SHELL, "-c", _GUARDED, "quorate", *guarding, *program),
            cwd=folder,
            env=dict(environment),
            stdin=given,
            stdout=output.writing_end,
            stderr=error.writing_end,
            start_new_session=True,
            pass_fds=(leash.reading_end,),
        )
    )
    return _Program(process, mark)


async def _attend(
    program: _Program,
    output: _Pipe,
    error: _Pipe,
    output_size_max: int,
    growing: asyncio.Future[str],
    said: Said,
) -> Ended:
    """Read and wait until the program has ended; end it if it goes too far, or we are cancelled."""
    kept, tail = said.output, said.error_tail
    told = 0
    excess = ""

    def stop(why: str) -> None:
        nonlocal excess
        if not excess:
            excess = why
            program.kill()

    def keep(data: bytes) -> None:
        if len(kept) + len(data) > output_size_max:
            stop(f"printed over {output_size_max} bytes")
        kept.extend(data[: max(0, output_size_max - len(kept))])

    def keep_tail(data: bytes) -> None:
        nonlocal told
        told += len(data)
        if told > ERROR_SIZE_MAX:
            stop(f"printed over {ERROR_SIZE_MAX} bytes to {said.error_name}")
        tail.extend(data)
        del tail[:-TAIL_SIZE_MAX]

    ended = asyncio.wrap_future(program.ended)
    either: list[asyncio.Future[Any]] = [ended, growing]
    try:
        pipes = [output.listen(keep), error.listen(keep_tail)]
        await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        if not ended.done():
            stop(growing.result())
        code = await asyncio.shield(ended)
    finally:
        growing.cancel()
        if not ended.done():
            program.kill()
            await _wait_in_any_case(ended)
    rest: list[asyncio.Future[Any]] = [*pipes, growing]
    await asyncio.wait(rest, timeout=DRAIN_TIMEOUT_S)
    return Ended(code, bytes(kept), bytes(tail), excess)


async def _wait_in_any_case(ended: asyncio.Future[int]) -> None:
    """Wait for a program that was killed, for DEATH_TIMEOUT_S at most; being cancelled once more
    changes nothing, the first cancellation is on its way up already."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + DEATH_TIMEOUT_S
    while not ended.done() and (left_s := deadline - loop.time()) > 0:
        try:
            await asyncio.wait([ended], timeout=left_s)
        except asyncio.CancelledError:
            continue
    if not ended.done():
        log.warning("! a program has not ended %g s after SIGKILL: left alone", DEATH_TIMEOUT_S)


def _blocks_max() -> str:
    """For `ulimit -f`: a limit that is there already is somebody's choice."""
    size_max, _ = resource.getrlimit(resource.RLIMIT_FSIZE)
    is_free = size_max == resource.RLIM_INFINITY
    return str((WRITTEN_SIZE_MAX if is_free else size_max) // _BLOCK_SIZE)


class _Program:
    """A program that runs, and the thread that waits for its end.

    A thread, because it works under every event loop and kernel; there are no more of them than
    agents and checks at work.
    """

    def __init__(self, process: subprocess.Popen[bytes], mark: str) -> None:
        self._process = process
        self._mark = mark
        self._lock = threading.Lock()  # between killing and reaping
        self.ended: concurrent.futures.Future[int] = concurrent.futures.Future()
        self.ended.set_running_or_notify_cancel()
        try:
            threading.Thread(target=self._wait, name=f"program-{process.pid}", daemon=True).start()
        except BaseException:
            self.kill()
            process.wait()
            strays.end(process.pid, mark)
            raise

    def kill(self) -> None:
        """Kill the whole group, unless it has ended."""
        with self._lock:
            if self._process.returncode is None:
                _kill_group(self._process.pid)

    def _wait(self) -> None:
        """Wait for the leader, kill what it left behind, reap all, tell its exit code."""
        group = self._process.pid
        try:
            os.waitid(os.P_PID, group, os.WEXITED | os.WNOWAIT)
            with self._lock:
                _kill_group(group)
                code = self._process.wait()
            _reap_orphans(group)
            strays.end(group, self._mark)
        except OSError as fault:
            self.ended.set_exception(fault)
        else:
            self.ended.set_result(code)


def _kill_group(group: int) -> None:
    try:
        os.killpg(group, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        return  # all gone already, or all of another user


def _reap_orphans(group: int) -> None:
    """A node inherits whoever loses its parent; nobody else reaps them."""
    try:
        while True:
            os.waitpid(-group, 0)
    except ChildProcessError:
        return


class _Pipe:
    """A pipe whose ends are closed when its `with` block ends. One end goes to a program, which
    gets a copy of it; neither is inherited by any other."""

    def __init__(self) -> None:
        self.reading_end, self.writing_end = os.pipe()
        self._ended: asyncio.Future[None] | None = None

    def __enter__(self) -> _Pipe:
        return self

    def __exit__(self, *fault: object) -> None:
        self._stop()
        os.close(self.reading_end)
        self.close_writing_end()

    def close_writing_end(self) -> None:
        if self.writing_end >= 0:
            os.close(self.writing_end)
            self.writing_end = -1

    def listen(self, keep: Callable[[bytes], None]) -> asyncio.Future[None]:
        """Give everything that comes to `keep`, piece by piece; the future ends with the pipe."""
        loop = asyncio.get_running_loop()
        os.set_blocking(self.reading_end, False)
        self._ended = loop.create_future()
        loop.add_reader(self.reading_end, self._read, keep)
        return self._ended

    def _read(self, keep: Callable[[bytes], None]) -> None:
        try:
            data = os.read(self.reading_end, _READ_SIZE)
        except BlockingIOError:
            return
        if data:
            keep(data)
        else:
            self._stop()

    def _stop(self) -> None:
        if self._ended is not None and not self._ended.done():
            asyncio.get_running_loop().remove_reader(self.reading_end)
            self._ended.set_result(None)
