"""Descendants that left their program's group, as daemons do, and their end.

Invariant: where this process inherits orphans, none is left of a program that has ended if it
bears that program's mark, and none at all once no program runs. (As process 1 of a container it
inherits from others, too, as from `docker exec`, and so does who had children before: there the
mark alone counts.)

Linux gives who loses its parent to the nearest ancestor that asked for such (prctl(2),
PR_SET_CHILD_SUBREAPER), whatever its session. So what a program leaves behind becomes our child,
and then its number is nobody else's until we have reaped it. Whose it was is told by a variable of
its environment, as in Jenkins; a daemon that wiped that out lives on until nothing else runs.
"""

from __future__ import annotations

import contextlib
import ctypes
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator

log = logging.getLogger(__name__)

MARK = "QUORATE_PROGRAM"  # the variable
END_TIMEOUT_S = 5.0  # for generation after generation: who forks faster than this is left alone
_LOOK_S = 0.002
_PR_SET_CHILD_SUBREAPER = 36  # linux/prctl.h


class Strays:
    """What this process inherits. `inherit` is for processes that start no children but the
    programs that are started here: whatever else they started would be killed as well."""

    def __init__(self) -> None:
        # Between a start and its note, and between looking and killing.
        self._lock = threading.Lock()
        self._programs: set[int] = set()  # started here and not reaped yet
        self._inherits = False
        self._inherits_from_others = os.getpid() == 1

    def inherit(self) -> bool:
        """Become the parent of orphans; whether that worked. Linux only."""
        if sys.platform != "linux":
            return False
        nothing = ctypes.c_ulong(0)
        asked = ctypes.CDLL(None).prctl(
            _PR_SET_CHILD_SUBREAPER, ctypes.c_ulong(1), nothing, nothing, nothing
        )
        try:  # a /proc of another namespace has other numbers
            self._inherits = asked == 0 and os.readlink("/proc/self") == str(os.getpid())
            # A shell's helper from before it became us (`helper & exec quorate node`) is one, too.
            self._inherits_from_others |= self._inherits and any(_children())
        except OSError:
            self._inherits = False
        return self._inherits

    def start(self, start: Callable[[], subprocess.Popen[bytes]]) -> subprocess.Popen[bytes]:
        """Start a program that is no stray."""
        with self._lock:
            process = start()
            self._programs.add(process.pid)
            return process

    def end(self, program: int, mark: str) -> None:
        """Kill and reap what is left of a program that was reaped. Blocks until that is done."""
        with self._lock:
            self._programs.discard(program)
        if not self._inherits:
            return
        deadline = time.monotonic() + END_TIMEOUT_S
        while strays := self._kill(mark):
            _reap(strays, deadline)
            if time.monotonic() > deadline:
                log.warning("! processes %s do not end: left alone", strays)
                return

    def _kill(self, mark: str) -> list[int]:
        """One generation: its children are ours when it is gone."""
        with self._lock:
            orphans = [pid for pid in _children() if pid not in self._programs]
            if self._programs or self._inherits_from_others:
                orphans = [pid for pid in orphans if _has_ended(pid) or _bears(pid, mark)]
            return [pid for pid in orphans if _is_killed(pid)]


strays = Strays()  # of this process: it has one set of children


def _children() -> Iterator[int]:
    """The children of this process."""
    with contextlib.suppress(ChildProcessError):
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)  # if there are none: at once
        us = str(os.getpid())
        for name in os.listdir("/proc"):
            if name.isdecimal() and _state(name)[1:] == [us]:
                yield int(name)


def _state(name: str) -> list[str]:
    """[state, parent] of a process, empty if it is gone (proc_pid_stat(5): the program's name
    before them is in brackets, and may hold some itself)."""
    try:
        with open(f"/proc/{name}/stat", encoding="utf-8", errors="replace") as file:
            return file.read().rpartition(")")[2].split()[:2]
    except (FileNotFoundError, ProcessLookupError):
        return []


def _has_ended(pid: int) -> bool:
    return _state(str(pid))[:1] == ["Z"]


def _bears(pid: int, mark: str) -> bool:
    try:
        with open(f"/proc/{pid}/environ", "rb") as file:
            return f"{MARK}={mark}".encode() in file.read().split(b"\0")
    except OSError:
        return False  # gone, or another user's


def _is_killed(pid: int) -> bool:
    """False for what has become another user, out of reach, and for what another program's thread
    has reaped since we looked."""
    try:
        os.kill(pid, signal.SIGKILL)
    except (PermissionError, ProcessLookupError):
        return False
    return True


def _reap(children: Iterable[int], deadline: float) -> None:
    """Wait until they are gone."""
    for pid in children:
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(pid, os.WNOHANG) == (0, 0) and time.monotonic() < deadline:
                time.sleep(_LOOK_S)
