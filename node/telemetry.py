"""Facts as people and programs see them: a log, a record, and live streams.

Standard error has what keeps a node from its work and a user can change: seeds that do not answer.
`node.log` has one line a fact, mark first; `facts.jsonl` the same as JSON with wall time, for
studies. Neither can stop the node (see `log_files`). A subscriber that does not keep up loses facts
and is told how many.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path

from node.log_files import LogFiles
from protocol.facts import Fact
from protocol.facts.agreement import EntryCommitted
from protocol.facts.membership import SeedUnreachable
from protocol.facts.sharing import BatchCollected, BatchMerged
from protocol.identity import NodeId

LOG = "node.log"
RECORD = "facts.jsonl"
SUBSCRIBER_QUEUE_MAX = 2_000
ALARM_EVERY_S = 10.0
ALARMS_MAX = 100  # then a terminal has heard it, and a pipe that nobody reads must not fill up
QUIET = (
    BatchMerged,
    BatchCollected,
    EntryCommitted,
)  # too many to write down; streams and counters have them


def fact_as_json(
    fact: Fact, node: NodeId, name: str, wall_s: float, happened_s: float | None = None
) -> dict[str, object]:
    """A fact as a flat record: `ts` when it was told and `happened` when the node took the step,
    both in seconds since the epoch (between them a disk may have been waited for, and facts of
    later steps told), `type`, the node, its own fields."""
    record: dict[str, object] = {
        "ts": round(wall_s, 6),
        "happened": round(wall_s if happened_s is None else happened_s, 6),
        "type": type(fact).__name__,
        "agent": name,
        "at": node,
    }
    for field in fields(fact):
        record[field.name] = getattr(fact, field.name)
    return record


class Telemetry:
    """Where a node's facts go. `counts` has how often each kind happened."""

    def __init__(self, node: NodeId, name: str, data_dir: Path) -> None:
        self.node = node
        self.name = name
        self.data_dir = data_dir
        self.counts: dict[str, int] = {}
        self._files = LogFiles(data_dir)
        self._subscribers: list[_Subscriber] = []
        self._alarms = _Alarms()

    def report(self, fact: Fact, happened_s: float | None = None) -> None:
        """Take note of a fact, of now if nothing else is said."""
        kind = type(fact).__name__
        self.counts[kind] = self.counts.get(kind, 0) + 1
        if isinstance(fact, QUIET):
            return
        if isinstance(fact, SeedUnreachable):
            self._alarms.seed_unreachable(fact)
        wall_s = time.time()
        record = fact_as_json(fact, self.node, self.name, wall_s, happened_s)
        self._files.write(LOG, f"{clock_of(wall_s)} {fact}")
        self._files.write(RECORD, json.dumps(record))
        for subscriber in self._subscribers:
            subscriber.offer(record)

    def say(self, line: str) -> None:
        """A line for the log that is no fact: starting, stopping, an error of the host."""
        self._files.write(LOG, f"{clock_of(time.time())} {line}")

    @contextmanager
    def subscribe(self) -> Iterator[asyncio.Queue[dict[str, object]]]:
        """Live facts as records, while the context lasts."""
        subscriber = _Subscriber()
        self._subscribers.append(subscriber)
        try:
            yield subscriber.queue
        finally:
            self._subscribers.remove(subscriber)

    @property
    def lost(self) -> int:
        """How many lines the disk did not take."""
        return self._files.lost

    def close(self) -> None:
        """Write what waits."""
        self._files.close()


class _Subscriber:
    def __init__(self) -> None:
        self.queue: asyncio.Queue[dict[str, object]] = asyncio.Queue(SUBSCRIBER_QUEUE_MAX)
        self.lost = 0

    def offer(self, record: dict[str, object]) -> None:
        if self.queue.full():
            self.lost += 1
            return
        if self.lost:
            record = {**record, "lost_before": self.lost}
            self.lost = 0
        self.queue.put_nowait(record)


class _Alarms:
    """Lines on standard error, now and then."""

    def __init__(self) -> None:
        self._said = 0
        self._next_at: dict[str, float] = {}  # of each seed

    def seed_unreachable(self, fact: SeedUnreachable) -> None:
        now = time.monotonic()
        if self._said >= ALARMS_MAX or now < self._next_at.get(fact.endpoint, now):
            return
        self._said += 1
        self._next_at[fact.endpoint] = now + ALARM_EVERY_S
        with contextlib.suppress(OSError):  # a terminal that has gone
            print(
                f"warning: the seed {fact.endpoint} does not answer ({fact.reason}): it is called "
                "again; look whether a node listens there, or give --join another host or port",
                file=sys.stderr,
                flush=True,
            )


def clock_of(wall_s: float) -> str:
    """The time of day in this place, in milliseconds."""
    milliseconds = int(wall_s * 1000) % 1000
    return time.strftime("%H:%M:%S", time.localtime(wall_s)) + f".{milliseconds:03d}"
