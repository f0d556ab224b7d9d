"""Keeping a process's secrets from the programs that agents and checks run as the same user.

What is hidden is what such a program could read in /proc, in this process's memory as much as in
the environment that it was started with. Whoever may hold an API key or a token there hides: nodes,
and what starts or serves them.
"""

from __future__ import annotations

import ctypes
import sys

_PR_SET_DUMPABLE = 4  # linux/prctl.h


def hide_from_programs() -> bool:
    """Close this process's memory and first environment (/proc/PID/mem, /proc/PID/environ) to
    other processes of the same user; whether that worked. Linux only.

    An environment stays readable there as it was at exec, whatever is deleted later. The price:
    no core dumps, and only root can attach a debugger or profiler. What it cannot do: programs
    still run as our user, so they can read whatever files that user can (the node's key, its
    journal) and our command line; and nothing is hidden from programs that run as root.
    """
    if sys.platform != "linux":
        return False
    nothing = ctypes.c_ulong(0)
    prctl = ctypes.CDLL(None).prctl
    return bool(prctl(_PR_SET_DUMPABLE, nothing, nothing, nothing, nothing) == 0)
