"""Bounded files of lines, written by a thread: a slow disk never holds up the loop.

Invariant: `write` returns at once and raises nothing. What the disk does not take (it is full, or
too much waits for it) is counted in `lost`. A log is a help; a node does not stop for want of it.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections import deque
from pathlib import Path
from typing import TextIO

FILE_SIZE_MAX = 16 * 1024 * 1024  # then the file is put aside once (`.1`) and begun anew
WAITING_MAX = 10_000  # lines
GATHER_S = 0.02
CLOSE_TIMEOUT_S = 2.0  # for the disk to take what waits


class LogFiles:
    """Appends lines to files of one folder. `lost` counts the lines that no file got."""

    def __init__(self, folder: Path) -> None:
        self.lost = 0
        self._folder = folder
        self._files: dict[str, TextIO] = {}
        self._waiting: deque[tuple[str, str]] = deque()
        self._closing = self._is_idle = False
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._run, name="log-files", daemon=True)
        self._thread.start()

    def write(self, name: str, line: str) -> None:
        """Append a line to the file of this name, soon."""
        with self._changed:
            if len(self._waiting) >= WAITING_MAX or self._closing:
                self.lost += 1
                return
            self._waiting.append((name, line))
            if self._is_idle:
                self._changed.notify()

    def close(self) -> None:
        """Write what waits, within a bound, and close the files."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        self._thread.join(CLOSE_TIMEOUT_S)

    # -- the writer's thread ---------------------------------------------------------------------

    def _run(self) -> None:
        while batch := self._next_batch():
            by_file: dict[str, list[str]] = {}
            for name, line in batch:
                by_file.setdefault(name, []).append(line)
            for name, lines in by_file.items():
                self._append(name, lines)
        for file in self._files.values():
            with contextlib.suppress(OSError):  # a full disk may show itself only here
                file.close()

    def _next_batch(self) -> list[tuple[str, str]]:
        with self._changed:
            self._is_idle = True
            self._changed.wait_for(lambda: self._waiting or self._closing)
            self._is_idle = False
        time.sleep(GATHER_S)  # more may come: to be woken for each line would cost both threads
        with self._changed:
            batch = list(self._waiting)
            self._waiting.clear()
            return batch

    def _append(self, name: str, lines: list[str]) -> None:
        try:
            file = self._files.get(name) or self._open(name)
            file.write("".join(f"{line}\n" for line in lines))
            file.flush()
            if file.tell() > FILE_SIZE_MAX:
                self._drop(name)
                path = self._folder / name
                path.replace(path.with_name(f"{name}.1"))
        except OSError:
            self._drop(name)
            with self._changed:
                self.lost += len(lines)

    def _open(self, name: str) -> TextIO:
        path = self._folder / name
        file = self._files[name] = path.open("a", encoding="utf-8", errors="backslashreplace")
        return file

    def _drop(self, name: str) -> None:
        file = self._files.pop(name, None)
        if file is not None:
            with contextlib.suppress(OSError):
                file.close()
