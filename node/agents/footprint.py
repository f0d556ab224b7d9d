"""What a folder takes on the disk, looked at now and then while a program works in it.

Invariant: a folder that stays beyond its limit is found out, whatever lies in it, and looking takes
a small share of one processor however many files there are.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Generator, Iterator
from contextlib import closing, suppress
from itertools import islice
from pathlib import Path

from node.agents.scratch import in_thread

LOOK_EVERY_S = 1.0
_REST = 20  # times as long as a look took, before the next one
_SLICE = 2_000  # files looked at in one go: some 10 ms, and a cancellation waits for no more
_BLOCK_SIZE = 512  # the unit of st_blocks
_ENTRY_SIZE = 4_096  # of an empty file: it takes a place in a table, and these end too


async def outgrown(folder: Path, size_max: int) -> str:
    """Wait until all in `folder` takes over `size_max` bytes of the disk; what then is to say of
    whoever filled it."""
    took_s = 0.0
    while True:
        await asyncio.sleep(max(LOOK_EVERY_S, _REST * took_s))
        begun = time.monotonic()
        total = 0
        with closing(_sizes(folder)) as sizes:
            while some := await in_thread(_take, sizes):
                total += sum(some)
                if total > size_max:
                    return f"filled its folder with over {size_max} bytes"
        took_s = time.monotonic() - begun


def _take(sizes: Iterator[int]) -> list[int]:
    return list(islice(sizes, _SLICE))


def _sizes(folder: Path) -> Generator[int, None, None]:
    """Of each file and folder below, as it is met; what cannot be looked at is passed over. A file
    with holes counts without them, one with two names twice."""
    waiting = [os.fspath(folder)]
    while waiting:
        with suppress(OSError), os.scandir(waiting.pop()) as entries:
            for entry in entries:
                with suppress(OSError):
                    if entry.is_dir(follow_symlinks=False):
                        waiting.append(entry.path)
                    blocks = entry.stat(follow_symlinks=False).st_blocks
                    yield max(_ENTRY_SIZE, blocks * _BLOCK_SIZE)
