"""Child processes that can be found again, and stopped without stopping a stranger.

Invariant: a process is known by its id and its start time, so that an id which the system has
given to somebody else is never signalled.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

STOP_TIMEOUT_S = 5.0
KILL_TIMEOUT_S = 5.0  # a process that waits for a disk dies when the disk answers, if ever
_POLL_S = 0.02


@dataclass(frozen=True, slots=True)
class ProcessId:
    """`started` is the kernel's start time in clock ticks, or 0 where there is no /proc."""

    pid: int
    started: int

    @classmethod
    def of(cls, pid: int) -> ProcessId:
        return cls(pid, _state_of(pid)[1])

    @property
    def is_alive(self) -> bool:
        """Whether this very process exists, and is not merely waiting to be buried."""
        if self.pid <= 0:
            return False
        try:
            os.kill(self.pid, 0)
        except (ProcessLookupError, PermissionError):  # gone, or somebody else's by now
            return False
        state, started = _state_of(self.pid)
        return state not in ("Z", "X") and started == self.started

    def signal(self, number: int) -> None:
        """Send a signal if the process is still the same one."""
        if self.is_alive:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)


def _state_of(pid: int) -> tuple[str, int]:
    """The kernel's letter for the process's state and its start time in ticks; ("", 0) where
    there is no /proc."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return "", 0
    fields = stat.rpartition(")")[2].split()
    return fields[0], int(fields[19])


def spawn(
    command: Sequence[str],
    output: Path,
    environment: dict[str, str],
    inherited: Iterable[int] = (),
    attached: bool = False,
) -> subprocess.Popen[bytes]:
    """Start a process in a session of its own, so that it survives the terminal. `attached`
    gives it a pipe that breaks when this process ends, however it ends."""
    with output.open("ab") as sink:
        return subprocess.Popen(
            command,
            stdin=subprocess.PIPE if attached else subprocess.DEVNULL,
            stdout=sink,
            stderr=sink,
            env=environment,
            start_new_session=True,
            pass_fds=tuple(inherited),
        )


def stop_all(processes: Iterable[ProcessId]) -> list[ProcessId]:
    """Ask all to stop, wait, and kill what is left: those that had to be killed."""
    remaining = [process for process in processes if process.is_alive]
    for process in remaining:
        process.signal(signal.SIGCONT)  # a stopped process cannot stop itself
        process.signal(signal.SIGTERM)
    deadline = time.monotonic() + STOP_TIMEOUT_S
    while remaining and time.monotonic() < deadline:
        time.sleep(_POLL_S)
        remaining = [process for process in remaining if process.is_alive]
    for process in remaining:
        process.signal(signal.SIGKILL)
    deadline = time.monotonic() + KILL_TIMEOUT_S
    while any(process.is_alive for process in remaining) and time.monotonic() < deadline:
        time.sleep(_POLL_S)
    return remaining
