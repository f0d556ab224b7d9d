"""What a job will take a team of each size, before it is begun; and whether a team is worth it.

The figures are those of `forecasting`, the judgement is that of `verdict`; a plan says what both go
by: former runs, latencies measured of a model, or a guess.

Invariant: same job, same expectation, same seed: same plan.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from node.agents.permits import Prices
from node.lab.affording import shortages
from node.lab.chances import failing
from node.lab.expecting import OWN_MIN, Expectation, PlanError
from node.lab.forecasting import Forecast, draws_of, forecasts_of
from node.lab.verdict import Verdict, verdict_of
from protocol import graph
from protocol.jobs import Job, shown

AGENTS_MAX = 64  # as many as a local team may have
NAMED_MAX = 4  # tasks whose own success is named
SIZES = (1, 2, 3, 4, 5, 8, 16, 32)
_RANGE = re.compile(r"([0-9]{1,3})(?:-([0-9]{1,3}))?")


@dataclass(frozen=True, slots=True)
class Plan:
    """See the module's text. `levels` are the tasks by the number of tasks in the longest chain
    before them; `critical_path` is by their weights if `path_source` is empty. `source` and
    `success_source` say what is gone by. Tokens and money (USD, None where no price is known) are
    those of one agent; `sizes` has them for each size, which differ where tasks are raced or
    answers compared. `token_multiplier` compares them with one good answer to each task; `failing`
    is how likely it is that the job fails. `shortages` are what its budget lacks for as many agents
    as are sensible, in plain words; empty if it suffices."""

    job: str
    needs: Mapping[str, Sequence[str]]
    levels: Sequence[Sequence[str]]
    critical_path: Sequence[str]
    path_source: str
    source: str
    success_source: str
    unit: str
    draws: int
    success: float | None
    failing: float
    sizes: Sequence[Forecast]
    tokens_in: int
    tokens_out: int
    token_multiplier: float
    usd: float | None
    verdict: Verdict
    shortages: Sequence[str]

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def plan(
    job: Job,
    expectation: Expectation,
    sizes: Sequence[int] = SIZES,
    success: float | None = None,
    seed: int = 1,
    prices: Prices | None = None,
) -> Plan:
    """Plan a job that was read and checked, so has no cycle. `success` is the share of attempts
    that pass their check, above 0 (None: as in former runs, if there are any; else they all do)."""
    if success is not None and not 0.0 < success <= 1.0:
        raise PlanError(f"success {success:g} is a share of attempts: use a value above 0, up to 1")
    known = success if success is not None else expectation.success
    share = _shares(job, expectation, success)
    forecasts = forecasts_of(job, expectation, sizes, share, seed, prices)
    alone = forecasts[0]
    verdict = verdict_of(job, forecasts, expectation.unit, known)
    sensible = next(each for each in forecasts if each.agents == verdict.agents)
    return Plan(
        job=job.name,
        needs=job.needs,
        levels=levels_of(job.needs),
        critical_path=graph.critical_path(job.needs, expectation.lengths or job.weights),
        path_source="by what the tasks took" if expectation.lengths else "",
        source=expectation.source,
        success_source=_success_source(job, success, expectation),
        unit=expectation.unit,
        draws=draws_of(job, len(forecasts)),
        success=known,
        failing=round(failing(job, share), 4),
        sizes=forecasts,
        tokens_in=alone.tokens_in,
        tokens_out=alone.tokens_out,
        token_multiplier=round(_multiplier(alone, expectation), 3),
        usd=alone.usd,
        verdict=verdict,
        shortages=list(shortages(job, sensible, expectation.unit, prices)),
    )


def _shares(job: Job, expectation: Expectation, success: float | None) -> dict[str, float]:
    """Of each task the share of attempts that pass: as is said, or its own in former runs, or that
    of the others there."""
    known = success if success is not None else expectation.success
    everywhere = dict.fromkeys(job.needs, 1.0 if known is None else known)
    if success is not None:
        return everywhere
    if expectation.rest is not None:
        everywhere = dict.fromkeys(job.needs, expectation.rest)
    return everywhere | dict(expectation.own)


def _success_source(job: Job, success: float | None, expectation: Expectation) -> str:
    if success is not None:
        return f"{100 * success:.0f} % of the attempts pass, as was said"
    if expectation.success is None:
        return (
            "all attempts are taken to pass, for nobody has said how many do (--success, --history)"
        )
    text = f"{100 * expectation.success:.0f} % of the attempts pass, as in the former runs"
    if not expectation.own:
        return text
    seldom = sorted(expectation.own.items(), key=lambda each: each[1])
    named = ", ".join(f"{task} {100 * share:.0f} %" for task, share in seldom[:NAMED_MAX])
    more = f" and {len(seldom) - NAMED_MAX} more" if len(seldom) > NAMED_MAX else ""
    text += f": of {named}{more}, by {OWN_MIN} attempts of their own or more"
    if expectation.rest is not None and len(expectation.own) < len(job.tasks):
        text += f"; of the others {100 * expectation.rest:.0f} % together"
    return text


def _multiplier(alone: Forecast, expectation: Expectation) -> float:
    """The tokens of one agent beside those of one good answer to each task."""
    once = sum(map(sum, expectation.tokens.values()))
    return (alone.tokens_in + alone.tokens_out) / once if once else 1.0


def sizes_of(text: str) -> tuple[int, ...]:
    """The sizes that a text such as 1-32 or 2,5,8-10 stands for; those of SIZES if it is empty."""
    if not text.strip():
        return SIZES
    sizes: set[int] = set()
    for part in text.split(","):
        found = _RANGE.fullmatch(part.strip())
        first = int(found[1]) if found else 0
        last = int(found[2] or first) if found else 0
        if not 1 <= first <= last <= AGENTS_MAX:
            raise PlanError(
                f"agents {shown(text)}: write numbers or ranges from 1 to {AGENTS_MAX}, like 1-32 "
                "or 2,4,8"
            )
        sizes.update(range(first, last + 1))
    return tuple(sorted(sizes))


def levels_of(needs: graph.Needs) -> list[list[str]]:
    """The tasks by how many come before them in the longest chain."""
    depth: dict[str, int] = {}
    levels: list[list[str]] = []
    for task in graph.topological_order(needs):
        depth[task] = 1 + max((depth[need] for need in needs[task]), default=-1)
        levels += [[]] if depth[task] == len(levels) else []
        levels[depth[task]].append(task)
    return levels
