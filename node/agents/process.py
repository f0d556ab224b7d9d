"""Running a program: in a session of its own, with bounded output, and never left behind.

Invariant: when `run_process` returns, raises or is cancelled, every process of the program's group
has been killed, and not more than the stated amounts of its output were ever held in memory.

Standard output and error are pipes of our own rather than of asyncio: `wait()` of some Python
versions waits for asyncio's pipes to close too, which a background child can put off for ever
(python/cpython#119710). Standard input is a file, so that a program may leave it unread.
"""

from __future__ import annotations

import asyncio
import os
import signal
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

TAIL_SIZE_MAX = 8 * 1024  # bytes of standard error that are kept: its end tells most
DRAIN_TIMEOUT_S = 1.0  # a process that left the group may hold a pipe open: then its loss
_READ_SIZE = 64 * 1024
_SECRET_WORDS = ("KEY", "TOKEN", "SECRET", "PASSWORD", "CREDENTIAL")


@dataclass(frozen=True, slots=True)
class Ended:
    """How a program ended. A negative code is the signal that killed it; `overflowed` says that
    it was killed because standard output passed its limit."""

    code: int
    output: bytes
    error_tail: bytes
    overflowed: bool

    def last_lines(self, size_max: int) -> str:
        """The end of what it said: of standard error, or if that is empty, of standard output."""
        said = self.error_tail.strip() or self.output.strip()
        text = said[-size_max:].decode(errors="replace")
        return "".join(letter for letter in text if letter >= " " or letter in "\n\t").strip()


async def run_process(
    command: str | Sequence[str],
    folder: Path,
    environment: Mapping[str, str],
    stdin: bytes = b"",
    output_size_max: int = 1024 * 1024,
) -> Ended:
    """Run a shell line (a string) or a program with arguments (a sequence) in `folder`.

    OSError if it cannot be started at all. There is no time limit here: cancel it.
    """
    with tempfile.TemporaryFile() as given:
        given.write(stdin)
        given.seek(0)
        output, error = await _Pipe.open(), await _Pipe.open()
        try:
            process = await asyncio.create_subprocess_exec(
                *(("/bin/sh", "-c", command) if isinstance(command, str) else command),
                cwd=folder,
                env=dict(environment),
                stdin=given,
                stdout=output.writing_end,
                stderr=error.writing_end,
                start_new_session=True,
            )
            output.started()
            error.started()
            return await _attend(process, output, error, output_size_max)
        finally:
            output.close()
            error.close()


def environment_without_secrets(environment: Mapping[str, str]) -> dict[str, str]:
    """The environment for code that nobody has read: no variable that looks like a credential."""
    return {
        name: value
        for name, value in environment.items()
        if not any(word in name.upper() for word in _SECRET_WORDS)
    }


async def _attend(
    process: asyncio.subprocess.Process, output: _Pipe, error: _Pipe, output_size_max: int
) -> Ended:
    """Read and wait until the program ends; kill its whole group in any case."""
    kept = bytearray()
    tail = bytearray()
    overflowed = False

    def keep(data: bytes) -> None:
        nonlocal overflowed
        if len(kept) + len(data) > output_size_max and not overflowed:
            overflowed = True
            _kill_group(process.pid)
        kept.extend(data[: max(0, output_size_max - len(kept))])

    def keep_tail(data: bytes) -> None:
        tail.extend(data)
        del tail[:-TAIL_SIZE_MAX]

    readers = [
        asyncio.ensure_future(output.drain(keep)),
        asyncio.ensure_future(error.drain(keep_tail)),
    ]
    try:
        code = await process.wait()
    finally:
        # The group may outlive its leader, which `wait` has reaped. Its number cannot belong to
        # another group meanwhile, unless it is empty and the system went through all its numbers.
        _kill_group(process.pid)
        try:
            await asyncio.shield(process.wait())
            await asyncio.wait(readers, timeout=DRAIN_TIMEOUT_S)
        finally:
            for reader in readers:
                reader.cancel()
            await asyncio.gather(*readers, return_exceptions=True)
    return Ended(code, bytes(kept), bytes(tail), overflowed)


def _kill_group(group: int) -> None:
    try:
        os.killpg(group, signal.SIGKILL)
    except ProcessLookupError:
        return  # all gone already


class _Pipe:
    """A pipe whose writing end goes to a program, and whose reading end is ours."""

    def __init__(self, writing_end: int, reader: asyncio.StreamReader) -> None:
        self.writing_end = writing_end
        self._reader = reader
        self._transport: asyncio.ReadTransport | None = None

    @classmethod
    async def open(cls) -> _Pipe:
        reading_end, writing_end = os.pipe()
        reader = asyncio.StreamReader(limit=_READ_SIZE)
        pipe = cls(writing_end, reader)
        pipe._transport, _ = await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(reading_end, "rb", 0)
        )
        return pipe

    def started(self) -> None:
        """The program has its copy of the writing end: close ours, so that its end shows."""
        if self.writing_end >= 0:
            os.close(self.writing_end)
            self.writing_end = -1

    async def drain(self, keep: Callable[[bytes], None]) -> None:
        """Read to the end, piece by piece."""
        while data := await self._reader.read(_READ_SIZE):
            keep(data)

    def close(self) -> None:
        self.started()
        if self._transport is not None:
            self._transport.close()
