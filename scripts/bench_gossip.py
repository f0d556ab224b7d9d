"""Membership and gossip on loopback: Quorate beside Serf and kinship in one run.

Each team has a network namespace of its own. What is a matter of milliseconds is measured in
turns, trial by trial; what is a matter of waiting is measured in all teams at the same time, so
that what the machine does meanwhile falls on all of them. It needs root, for the namespaces alone.

    join     all started, then all but one join the first at once: until all views are full
    event    64 bytes told to everybody: until half and all of the others know
    crash    kill -9: until all others know; then back again, from when it takes orders (rejoin)
             and from its launch (restart)
    idle     processor share, bytes on the wire, memory (PSS), of one member
    silence  SIGSTOP: until all others know
    cut      a cut through the middle, until both sides know all of it; then healed, until all
             views are full; and the same with the first member, everybody's seed, dead
    deaf     all packets to one member are lost: failures and returns that the others report; and
             the same for one that still gets answers where it has dialled itself (walled)
    stalls   an eighth of the members stopped 4 s of every 5
    loss     10 and 30 % of all packets lost
    loaded   both cores busy with something else
    calm     ten minutes in which nothing happens
    newcomer 10 MB shared by all: from when one with an empty disk joins until it has them, and how
             often the others changed their leader meanwhile (Quorate alone shares anything)

`false` counts reports of failures of members that had not failed. What nobody had seen after two
minutes counts as 120 s.
"""

from __future__ import annotations

import contextlib
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import repeat
from pathlib import Path
from typing import Any

from bench_contenders import Told
from bench_figures import Figures, spread
from bench_gossip_members import PROGRAMS

HERE = Path(__file__).parent
SIZES = (5, 16)
EVENTS = 20  # of a trial
HOLD_S = 20.0  # how long a cut lasts
CALM_S = 600.0
NEWCOMER_BYTES = 10_000_000
WATCH_S = 30.0  # how long a team is watched under a fault that lasts
STALLS_S = 60.0
AT_ONCE_MAX = 16  # members of a team that is measured while the others are: more need the machine
STOP_S = 15.0
NAMESPACES = ("unshare", "--net", "--pid", "--fork", "--kill-child", "--mount-proc")


@dataclass(frozen=True, slots=True)
class Cell:
    """One row of the table: orders for each team, and whether teams take turns at it."""

    orders: tuple[dict[str, Any], ...]
    in_turns: bool = False
    is_repeated: bool = False  # as often as there are trials


CELLS: dict[str, Cell] = {
    "join": Cell(({"op": "join"},), in_turns=True, is_repeated=True),
    "event": Cell(({"op": "event", "count": EVENTS},), in_turns=True),
    "crash": Cell(({"op": "crash"},), in_turns=True, is_repeated=True),
    "idle": Cell(({"op": "idle", "seconds": WATCH_S},)),
    "silence": Cell(({"op": "silence"},), is_repeated=True),
    "cut": Cell(
        (
            {"op": "cut", "hold_s": HOLD_S, "seed_dies": False},
            {"op": "cut", "hold_s": HOLD_S, "seed_dies": True},
        )
    ),
    "deaf": Cell(
        (
            {"op": "deaf", "seconds": WATCH_S, "dials": False},
            {"op": "deaf", "seconds": WATCH_S, "dials": True},
        )
    ),
    "stalls": Cell(({"op": "stalls", "seconds": STALLS_S},)),
    "loss": Cell(
        (
            {"op": "loss", "share": 0.1, "seconds": WATCH_S},
            {"op": "loss", "share": 0.3, "seconds": WATCH_S},
        )
    ),
    "loaded": Cell(({"op": "loaded", "seconds": WATCH_S},), in_turns=True),
    "calm": Cell(({"op": "calm", "seconds": CALM_S},)),
    "newcomer": Cell(
        ({"op": "newcomer", "size": NEWCOMER_BYTES},), in_turns=True, is_repeated=True
    ),
}


class TeamProcess(Told):
    """A team in its namespaces. A cell that goes wrong ends the team, not the measurement."""

    def __init__(self, program: str, size: int, folder: Path) -> None:
        own = [sys.executable, str(HERE / "bench_gossip_team.py"), program, str(size), str(folder)]
        super().__init__([*NAMESPACES, *own])
        self.program = program
        self.size = size
        self.is_well = True

    def measure(self, order: dict[str, Any]) -> dict[str, list[float]]:
        """The figures of a cell, which are none if it failed."""
        if not self.is_well:
            return {}
        begun = time.monotonic()
        answer = self.tell(**order)
        what = " ".join(f"{value}" for value in order.values())
        took = f"{self.program} {self.size} {what}, {time.monotonic() - begun:.0f} s:"
        if "fault" in answer:
            self.is_well = False
            print(took, "given up:", answer["fault"], file=sys.stderr, flush=True)
            return {}
        found: dict[str, list[float]] = answer["figures"]
        shown = " ".join(f"{name} {max(found[name], default=0):.3f}" for name in found)
        print(took, shown, file=sys.stderr, flush=True)
        return found

    def stop(self) -> None:
        """Its members end with it, and it ends with its standard input."""
        assert self.process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.close()
        try:
            self.process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
        self._end()


def programs() -> list[str]:
    """Those that can be measured here; who is missing is named."""
    missing = {program: kind.missing() for program, kind in PROGRAMS.items()}
    for program, remedy in missing.items():
        if remedy:
            print(f"{program} is left out: {remedy}", file=sys.stderr)
    return [program for program, remedy in missing.items() if not remedy]


@contextmanager
def teams(size: int, wanted: Sequence[str]) -> Iterator[list[TeamProcess]]:
    """A team of this size for each program, none of whose members runs yet."""
    trial = subprocess.run([*NAMESPACES, "true"], capture_output=True, text=True)
    if trial.returncode:
        raise SystemExit(f"teams need namespaces of their own, as root: {trial.stderr.strip()}")
    with ExitStack() as stack:
        place = tempfile.TemporaryDirectory(prefix="quorate-bench-", ignore_cleanup_errors=True)
        folder = Path(stack.enter_context(place))
        found = []
        for program in wanted:
            team = TeamProcess(program, size, folder / program)
            stack.callback(team.stop)
            found.append(team)
        yield found


def measure(
    trials: int, sizes: Sequence[int] = SIZES, cells: Sequence[str] = (), only: Sequence[str] = ()
) -> Figures:
    """The table, for teams of these sizes, in its own order: without `join` there is no team, and
    after `newcomer` there is more in it."""
    wanted = [name for name in CELLS if name == "join" or not cells or name in cells]
    figures: Figures = {}
    for size in sizes:
        with teams(size, only or programs()) as contenders:
            for name in wanted:
                cell = CELLS[name]
                samples = _measure_cell(cell, contenders, trials)
                figures |= {figure: spread(values) for figure, values in samples.items() if values}
    return figures


def _measure_cell(
    cell: Cell, contenders: Sequence[TeamProcess], trials: int
) -> dict[str, list[float]]:
    samples: dict[str, list[float]] = defaultdict(list)
    for _ in range(trials if cell.is_repeated else 1):
        for order in cell.orders:
            in_turns = cell.in_turns or max(team.size for team in contenders) > AT_ONCE_MAX
            with ThreadPoolExecutor(1 if in_turns else len(contenders)) as pool:
                answers = pool.map(TeamProcess.measure, contenders, repeat(order))
                for team, found in zip(contenders, answers, strict=True):
                    for figure, values in found.items():
                        samples[f"{team.program}_gossip{team.size}_{figure}"] += values
    return samples
