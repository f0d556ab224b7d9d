"""The table of a study of how news spreads: a row for each run, as it comes, and their medians."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from random import Random

from protocol.clocks import MILLISECOND
from protocol.gossip import fanout_of
from protocol.sim.studies.spread import Row, Setting, median_of


@dataclass(frozen=True, slots=True)
class Column:
    """One number of a row. Neighbours of the same group stand under it."""

    group: str
    heading: str
    name: str
    factor: float = 1.0
    digits: int = 0
    of_cuts: bool = False  # shown if there are any


COLUMNS = (
    Column("", "writes", "writes"),
    Column("rounds to all", "median", "rounds_median", digits=2),
    Column("rounds to all", "max", "rounds_max", digits=2),
    Column("ms to all", "median", "spread_ms_median", digits=1),
    Column("ms to all", "max", "spread_ms_max", digits=1),
    Column("", "hops", "hops_max"),
    Column("% by", "push", "pushed_share", 100, 1),
    Column("messages", "a write", "messages_per_write", digits=1),
    Column("messages", "node/s", "messages_per_node_second", digits=1),
    Column("bytes", "a write", "bytes_per_write"),
    Column("bytes", "node/s", "bytes_per_node_second"),
    Column("stale, ms", "mean", "stale_mean_s", 1000, 2),
    Column("stale, ms", "max", "stale_max_s", 1000, 1),
    Column("in the cut", "mean", "cut_stale_mean_s", 1000, 2, of_cuts=True),
    Column("in the cut", "max", "cut_stale_max_s", 1000, 1, of_cuts=True),
    Column("healed", "ms", "level_after_heal_s", 1000, 1, of_cuts=True),
    Column("not", "there", "undelivered"),
)
WIDTH = 8
FIRST = 6  # of the column of seeds


def columns_of(setting: Setting) -> list[Column]:
    """Those that have something to say."""
    return [column for column in COLUMNS if setting.cuts or not column.of_cuts]


def heading(setting: Setting) -> list[str]:
    """Two lines: groups, and what is in each column."""
    groups = headings = " " * FIRST
    columns = columns_of(setting)
    while columns:
        group = columns[0].group
        count = 1
        while group and count < len(columns) and columns[count].group == group:
            count += 1
        here, columns = columns[:count], columns[count:]
        groups += group.rjust(sum(_width_of(column) for column in here))
        headings += "".join(column.heading.rjust(_width_of(column)) for column in here)
    return [groups.rstrip(), "seed".ljust(FIRST) + headings[FIRST:]]


def line_of(setting: Setting, row: Row) -> str:
    """One run."""
    return _line(setting, str(row.seed), asdict(row))


def median_line(setting: Setting, rows: Sequence[Row]) -> str:
    """Of each column by itself."""
    return _line(setting, "median", median_of(rows))


def _line(setting: Setting, name: str, numbers: Mapping[str, float | None]) -> str:
    cells = []
    for column in columns_of(setting):
        number = numbers[column.name]
        shown = "-" if number is None else f"{number * column.factor:.{column.digits}f}"
        cells.append(shown.rjust(_width_of(column)))
    return name.ljust(FIRST) + "".join(cells)


def _width_of(column: Column) -> int:
    return WIDTH if column.group in ("bytes", "messages", "ms to all") or column.of_cuts else 7


def title(setting: Setting) -> str:
    """All that is fixed, in two lines."""
    gossip = setting.gossip
    known = [len(each) for each in setting.topology.neighbours(setting.nodes, Random(0))]
    told = [min(each, fanout_of(each, gossip)) for each in known]
    by_author = [min(each, max(gossip.author_fanout, fanout_of(each, gossip))) for each in known]
    lines = [
        f"{setting.nodes} nodes, {setting.topology}: each knows {_span(known)}; an author tells "
        f"{_span(by_author)}, others pass it on to {_span(told)}",
        f"a tick {gossip.tick_ns // MILLISECOND} ms, when quiet "
        f"{gossip.quiet_tick_ns // MILLISECOND} ms; delay {setting.delay_ms:g} ms, loss "
        f"{100 * setting.loss:g} %; {setting.writes:g} writes/s of {setting.size} bytes for "
        f"{setting.until_s:g} s",
    ]
    if setting.cuts:
        lines.append("cut " + ", ".join(map(str, setting.cuts)))
    return "\n".join(lines)


def _span(numbers: Sequence[int]) -> str:
    low, high = min(numbers), max(numbers)
    return f"{low} to {high}" if low < high else str(low)


def kinds_line(rows: Sequence[Row]) -> str:
    """What the messages and bytes of all runs were, by class."""
    messages: Counter[str] = Counter()
    sizes: Counter[str] = Counter()
    for row in rows:
        messages.update(row.messages)
        sizes.update(row.sizes)
    shares = [
        f"{kind} {100 * count / messages.total():.1f} % ({100 * sizes[kind] / sizes.total():.1f} %)"
        for kind, count in messages.most_common()
    ]
    return f"messages (bytes): {', '.join(shares)}"
