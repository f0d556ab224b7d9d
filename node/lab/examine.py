"""What `quorate doctor` looks at: can this machine run a team, and with which model."""

from __future__ import annotations

import os
import socket
import sqlite3
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from node.agents.backends import default_agent
from node.agents.settings import OPENAI_URL


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing looked at."""

    what: str
    is_ok: bool
    detail: str


def examine() -> list[Finding]:
    """Look at everything; nothing is changed and nobody is called."""
    return [_python(), _loopback(), _journal(), _time(), _model()]


def _python() -> Finding:
    version = ".".join(str(part) for part in sys.version_info[:3])
    optimised = sys.flags.optimize > 0
    detail = f"{version} at {sys.executable}"
    if optimised:
        detail += "; assertions are off (-O, PYTHONOPTIMIZE): turn them on"
    return Finding("python", sys.version_info >= (3, 11) and not optimised, detail)


def _loopback() -> Finding:
    try:
        with socket.socket() as bound:
            bound.bind(("127.0.0.1", 0))
            bound.listen()
            with socket.create_connection(bound.getsockname(), timeout=2.0):
                return Finding("loopback", True, "a port can be bound and reached")
    except OSError as fault:
        return Finding("loopback", False, f"127.0.0.1 does not work: {fault.strerror}")


def _journal() -> Finding:
    """A real commit, with fsync, where temporary teams would live."""
    folder = tempfile.gettempdir()
    try:
        with tempfile.TemporaryDirectory(prefix="quorate-doctor-") as scratch:
            database = sqlite3.connect(Path(scratch) / "journal.db")
            database.execute("pragma journal_mode=wal")
            database.execute("pragma synchronous=full")
            database.execute("create table probe (n integer)")
            begun = time.perf_counter()
            for number in range(20):
                database.execute("insert into probe values (?)", (number,))
                database.commit()
            each_ms = (time.perf_counter() - begun) / 20 * 1000
            database.close()
    except (OSError, sqlite3.Error) as fault:
        return Finding("journal", False, f"cannot write in {folder}: {fault}")
    return Finding(
        "journal", True, f"sqlite {sqlite3.sqlite_version}, a commit takes {each_ms:.2f} ms"
    )


def _time() -> Finding:
    resolution = time.get_clock_info("monotonic").resolution
    return Finding("clock", resolution <= 0.001, f"monotonic to {resolution * 1e9:.0f} ns")


def _model() -> Finding:
    url = os.environ.get("OPENAI_BASE_URL", "")
    key = "set" if os.environ.get("OPENAI_API_KEY") else "not set"
    name = os.environ.get("OPENAI_MODEL", "")
    if default_agent() == "simulated":
        hint = f"; OPENAI_API_KEY is {key}: to use it set OPENAI_BASE_URL={OPENAI_URL}"
        return Finding("model", True, "simulated" + (hint if key == "set" else ", no key needed"))
    detail = f"openai at {url}, model {name or 'not set'}, key {key}"
    return Finding("model", bool(name), detail + ("" if name else ": set OPENAI_MODEL"))
