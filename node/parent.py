"""Ending with one's parent: standard input is a pipe that breaks when that process is gone."""

from __future__ import annotations

import asyncio
import sys


async def watch_parent(told: asyncio.Event) -> None:
    """Set `told` when standard input ends."""

    class Pipe(asyncio.Protocol):
        def connection_lost(self, exc: Exception | None) -> None:
            told.set()

    await asyncio.get_running_loop().connect_read_pipe(Pipe, sys.stdin)
