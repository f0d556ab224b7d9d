"""How stale what can be read was over a time, reckoned from what came where and when.

A key is stale at a reader from the moment at which its author *wanted* to write a value that the
reader does not have; how stale, is the time since then. Between two arrivals that grows evenly, so
that mean and maximum follow exactly, for all keys, all readers and every moment.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from typing import TypeAlias

from protocol.clocks import SECOND, Nanoseconds
from protocol.sim.studies.arrivals import NOT_THERE, Written
from protocol.sim.studies.staleness import Staleness

Span: TypeAlias = tuple[Nanoseconds, Nanoseconds]


def joined(spans: Sequence[Span]) -> list[Span]:
    """The same time as spans that do not overlap."""
    found: list[Span] = []
    for begins, ends in sorted(spans):
        if found and begins <= found[-1][1]:
            found[-1] = (found[-1][0], max(found[-1][1], ends))
        else:
            found.append((begins, ends))
    return found


def stale_during(
    spans: Sequence[Span],
    writes: Sequence[Written],
    wanted: Mapping[str, Sequence[Nanoseconds]],
    nodes: int,
) -> Staleness:
    """Over all readers and keys, each key from when its first value was wanted. `spans` do not
    overlap; `wanted` has when each value of a key was wanted."""
    by_key: dict[str, list[Written]] = {key: [] for key in wanted}
    for written in writes:
        by_key[written.key].append(written)
    grown, looked, longest = 0.0, 0, 0
    for key, times in wanted.items():
        looked += nodes * sum(max(0, ends - max(begins, times[0])) for begins, ends in spans)
        for reader in range(nodes):
            for since, begins, ends in _stale_spans(reader, by_key[key], times, spans[-1][1]):
                for opens, closes in spans:
                    first, last = max(begins, opens), min(ends, closes)
                    if first < last:
                        grown += (last - first) * ((first - since) + (last - since)) / 2
                        longest = max(longest, last - since)
    return Staleness(grown / looked / SECOND if looked else 0.0, longest / SECOND)


def _stale_spans(
    reader: int, written: Sequence[Written], times: Sequence[Nanoseconds], end: Nanoseconds
) -> Iterator[tuple[Nanoseconds, Nanoseconds, Nanoseconds]]:
    """(since when a newer value is wanted, from when, until when) while the reader has an older
    one. What is written is the newest value that was wanted by then: it takes the place of those
    that waited."""
    have, had_at = 0, 0  # values; when the latest came
    for each in written:
        came_at = each.times[reader]
        if came_at == NOT_THERE:
            break  # and none after it, for histories come in order
        if times[have] < came_at:
            yield times[have], max(times[have], had_at), came_at
        have, had_at = bisect_right(times, each.at), came_at
        if have == len(times):
            return
    if times[have] < end:
        yield times[have], max(times[have], had_at), end
