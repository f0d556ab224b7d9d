"""`quorate sim` with anything of how news spreads: the user fixes all of it and sees what it costs.

Any of these options makes it a controlled run; those of the search for faults are refused then.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from node.cli.console import print_json
from protocol.errors import InvalidStudy

if TYPE_CHECKING:
    from protocol.sim.studies.spread import Setting

PANEL = "How news spreads (any of these: a controlled run, and a table of what it costs)"
NODES_MAX = 2_000
UNTIL_MIN, UNTIL_MAX = 0.1, 3_600.0
SETTLED, NOT_CONVERGED = 0, 4

TopologyOption = Annotated[
    str | None,
    typer.Option(
        metavar="SHAPE",
        help="Who knows whom: full, ring:K (K on either side), star, grid, random:D (D neighbours "
        "each), two:B (two full halves, B links between them). Default: full.",
        rich_help_panel=PANEL,
    ),
]
FanoutOption = Annotated[
    int | None,
    typer.Option(
        min=1,
        max=64,
        help="How many neighbours a node tells what is new to it. Default: ln N + 1, 2 to 6.",
        rich_help_panel=PANEL,
    ),
]
AuthorFanoutOption = Annotated[
    int | None,
    typer.Option(
        min=1,
        max=NODES_MAX,
        help="How many its author tells. Default: --fanout if that is given, else 16.",
        rich_help_panel=PANEL,
    ),
]
TickOption = Annotated[
    int | None,
    typer.Option(
        min=10,
        max=60_000,
        help="Milliseconds between two exchanges of digests; one is a round. Default: 200.",
        rich_help_panel=PANEL,
    ),
]
QuietTickOption = Annotated[
    int | None,
    typer.Option(
        min=10,
        max=600_000,
        help="The same while nothing is written. Default: 1000, or a tick if that is longer.",
        rich_help_panel=PANEL,
    ),
]
LossOption = Annotated[
    float | None,
    typer.Option(
        min=0,
        max=0.99,
        help="Probability that a message is lost. Default: 0.",
        rich_help_panel=PANEL,
    ),
]
DelayOption = Annotated[
    float | None,
    typer.Option(
        min=0.01,
        max=10_000,
        help="Mean milliseconds that a message takes. Default: 1.",
        rich_help_panel=PANEL,
    ),
]
CutOption = Annotated[
    list[str] | None,
    typer.Option(
        metavar="SHAPE:FROM:TO",
        help="split, one_way, bridge (halves that share one node) or isolated (one node), from "
        "when to when in virtual seconds; may be given again.",
        rich_help_panel=PANEL,
    ),
]
WritesOption = Annotated[
    float | None,
    typer.Option(
        min=0.01,
        max=10_000,
        help="Writes a second of the whole team, until --until (default: 10 s). Default: 10.",
        rich_help_panel=PANEL,
    ),
]
SizeOption = Annotated[
    int | None,
    typer.Option(
        min=8, max=65_536, help="Bytes of a written value. Default: 100.", rich_help_panel=PANEL
    ),
]
RunsOption = Annotated[
    int | None,
    typer.Option(
        min=1,
        max=100,
        help="How many runs, each with the next seed. Default: 1.",
        rich_help_panel=PANEL,
    ),
]

OF_SETTING = ("fanout", "author_fanout", "loss", "writes", "size")
SETTING_NAMES = {"tick": "tick_ms", "quiet_tick": "quiet_tick_ms", "delay": "delay_ms"}
MINE = (*OF_SETTING, *SETTING_NAMES, "topology", "cut", "runs")
SHARED = ("seed", "nodes", "until", "as_json")
INSTEAD = dict.fromkeys(("seeds", "swarm"), "take --runs for several of these")


def given(context: typer.Context) -> dict[str, str]:
    """The options that the user has written: name of the parameter -> as it is written."""
    return {
        str(parameter.name): max(parameter.opts, key=len)
        for parameter in context.command.params
        if parameter.name
        and getattr(context.get_parameter_source(parameter.name), "name", "") == "COMMANDLINE"
    }


def is_controlled(context: typer.Context) -> bool:
    """Whether anything of how news spreads is fixed."""
    written = given(context)
    others = [name for name in written if name not in (*MINE, *SHARED)]
    mine = [name for name in written if name in MINE]
    if mine and others:
        hint = INSTEAD.get(others[0], "leave one of them out")
        raise InvalidStudy(
            f"{written[others[0]]} is for looking for faults, and {written[mine[0]]} makes it a "
            f"controlled run: {hint}"
        )
    return bool(mine)


def setting_of(options: Mapping[str, Any], written: Mapping[str, str]) -> Setting:
    """What the user fixes; the rest is as `Setting` has it."""
    from protocol.sim.studies.cut_shapes import cut_of
    from protocol.sim.studies.spread import Setting
    from protocol.sim.studies.topology import topology_of

    fixed: dict[str, Any] = {name: options[name] for name in OF_SETTING if name in written}
    fixed |= {SETTING_NAMES[name]: options[name] for name in SETTING_NAMES if name in written}
    if "topology" in written:
        fixed["topology"] = topology_of(options["topology"])
    if "cut" in written:
        fixed["cuts"] = tuple(cut_of(text) for text in options["cut"])
    if "nodes" in written:
        if options["nodes"] < 2:
            raise typer.BadParameter(
                f"{options['nodes']} is not in the range 2<=x<={NODES_MAX}", param_hint="'--nodes'"
            )
        fixed["nodes"] = options["nodes"]
    if "until" in written:
        if not options["until"] <= UNTIL_MAX:
            raise typer.BadParameter(
                f"{options['until']:g} is not in the range {UNTIL_MIN:g}<=x<={UNTIL_MAX:g}",
                param_hint="'--until'",
            )
        fixed["until_s"] = options["until"]
    setting = Setting(**fixed)
    setting.check()
    return setting


def run_controlled(context: typer.Context) -> None:
    """All runs, a line each as it comes; exit code 4 if something was not everywhere in the end."""
    from protocol.sim.studies.spread import SETTLE_S, median_of, run
    from protocol.sim.studies.spread_table import (
        heading,
        kinds_line,
        line_of,
        median_line,
        title,
    )

    options = context.params
    setting = setting_of(options, given(context))
    seeds = range(options["seed"], options["seed"] + (options["runs"] or 1))
    as_json = options["as_json"]
    if not as_json:
        print("\n".join([title(setting), "", *heading(setting)]), flush=True)
    rows = []
    for seed in seeds:
        rows.append(run(setting, seed))
        if not as_json:
            print(line_of(setting, rows[-1]), flush=True)
    lacking = [row for row in rows if row.undelivered]
    if as_json:
        shown = {**asdict(setting), "topology": str(setting.topology)}
        shown["cuts"] = [str(cut) for cut in setting.cuts]
        print_json(
            {"setting": shown, "rows": [asdict(row) for row in rows], "median": median_of(rows)}
        )
    else:
        print(f"{median_line(setting, rows)}\n\n{kinds_line(rows)}")
        if lacking:
            print(
                f"no convergence within {SETTLE_S} s of quiet in {len(lacking)} of {len(rows)} "
                f"runs; the first of them has seed {lacking[0].seed}"
            )
    raise typer.Exit(NOT_CONVERGED if lacking else SETTLED)
