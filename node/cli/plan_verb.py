"""`quorate plan`: what a job will take before it is begun, and whether a team is worth it."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from node.cli.console import JsonOption, SeedOption, SpeedOption, plural, print_json
from node.cli.job_verbs import DEFAULT_JOB, AfterOption, AgentOption, ClonesOption

if TYPE_CHECKING:
    from node.agents.permits import Prices
    from node.lab.forecasting import Forecast
    from node.lab.planning import Plan
    from protocol.jobs import Job

LEVELS_SHOWN_MAX = 40
WIDTH = 100  # characters of a line of names


def plan(
    job: Annotated[
        str, typer.Argument(help="A packaged list, a .yaml or .json file.")
    ] = DEFAULT_JOB,
    agents: Annotated[
        str, typer.Option(metavar="1-32", help="Team sizes: numbers and ranges, as in 2,4,8-10.")
    ] = "",
    model: Annotated[
        str, typer.Option(help="Whose latencies and tokens: gpt, claude or gemini.")
    ] = "gpt",
    history: Annotated[
        list[Path] | None,
        typer.Option(help="How long tasks took in a former run: its manifest.json or --json."),
    ] = None,
    success: Annotated[
        float | None,
        typer.Option(
            min=0.0,
            max=1.0,
            help="Share of attempts that pass their check; by default as in the former runs.",
        ),
    ] = None,
    clones: ClonesOption = None,
    after: AfterOption = "p90",
    agent: AgentOption = "",
    speed: SpeedOption = 4.0,
    seed: SeedOption = 1,
    as_json: JsonOption = False,
) -> None:
    """Tell what a job will take teams of each size, and which size is sensible."""
    from node import jobfile
    from node.agents.backends import default_agent
    from node.lab.expecting import expectation_of
    from node.lab.planning import plan as make_plan
    from node.lab.planning import sizes_of
    from protocol.job_rules import warnings_of

    sizes = sizes_of(agents)
    found = jobfile.read(job, agent or default_agent())
    if clones is not None:
        found = replace(found, speculation=jobfile.speculation(clones, after))
    for warning in warnings_of(found):
        print(f"warning: {warning}", file=sys.stderr)
    if asking := jobfile.people_asked(found):
        said = f"{asking}: the plan takes them for as quick as the rest"
        print(f"warning: {said}", file=sys.stderr)
    expectation = expectation_of(found, model, speed, history or ())
    planned = make_plan(found, expectation, sizes, success, seed, _prices_for(found))
    if as_json:
        print_json(planned.as_json())
    else:
        print("\n".join(_lines_of(planned)))


def _prices_for(job: Job) -> Prices | None:
    """What the user says, or the model that is chosen in the environment."""
    from node.agents.prices import PRICES_VARIABLE, prices_of
    from node.agents.settings import OPENAI_URL
    from protocol.jobs import MODEL_KINDS

    model = os.environ.get("OPENAI_MODEL", "").strip()
    is_known = model or os.environ.get(PRICES_VARIABLE, "").strip()
    if not is_known or not any(task.agent in MODEL_KINDS for task in job.tasks):
        return None
    return prices_of(model, os.environ.get("OPENAI_BASE_URL", "").strip() or OPENAI_URL)


def _lines_of(plan: Plan) -> Iterator[str]:
    """The plan, for people."""
    from node.lab.verdict import time_of

    yield f"{plan.job}: {plural(len(plan.needs), 'task')} in {plural(len(plan.levels), 'level')}"
    for number, tasks in enumerate(plan.levels[:LEVELS_SHOWN_MAX]):
        yield _names(f"{number + 1:>4}  ", tasks, ", ")
    if len(plan.levels) > LEVELS_SHOWN_MAX:
        yield f"      and {plural(len(plan.levels) - LEVELS_SHOWN_MAX, 'level')} more"
    chain = plan.critical_path
    of = plural(len(chain), "task") + (f", {plan.path_source}" if plan.path_source else "")
    yield _names(f"critical path ({of}): ", chain, " > ")
    yield f"by {plan.source}; {plan.draws} draws"
    yield plan.success_source
    uses_tokens = any(each.tokens_high for each in plan.sizes)
    head = "\nagents   Amdahl  work/span   makespan   90 % of draws between   speed-up"
    yield head + ("     tokens" if uses_tokens else "") + ("        USD" if plan.usd else "")
    for each in plan.sizes:
        between = f"{time_of(each.low, '')} and {time_of(each.high, plan.unit)}"
        yield (
            f"{each.agents:>6} {each.amdahl:>8.2f} {each.work_span:>10.2f} "
            f"{time_of(each.makespan, plan.unit):>10} {between:>23} {each.speed_up:>10.2f}"
            + (f" {each.tokens_in + each.tokens_out:>10}" if uses_tokens else "")
            + (f" {each.usd:>10.4g}" if each.usd else "")
        )
    yield ""
    if uses_tokens:
        largest = plan.sizes[-1]
        money = f", {plan.usd:.4g} USD" if plan.usd is not None else ""
        yield (
            f"tokens of one agent: {plan.tokens_in} in, {plan.tokens_out} out{money} (estimated); "
            f"of {largest.agents}, {_tokens_between(largest)}"
        )
    if plan.failing >= 0.001:
        share = f"{100 * plan.failing:.1f} %"
        yield f"in {share} of the cases a task uses up its attempts, and the job fails"
    yield from plan.shortages
    if plan.verdict.sentence:
        yield plan.verdict.sentence
    yield from plan.verdict.reasons


def _tokens_between(team: Forecast) -> str:
    if team.tokens_low == team.tokens_high:
        return f"{team.tokens_high} in all"
    return f"in 90 % of the draws between {team.tokens_low} and {team.tokens_high} in all"


def _names(begin: str, names: Sequence[str], between: str) -> str:
    """As many names as fit a line, and how many more there are."""
    line = begin
    for number, name in enumerate(names):
        following = (between if number else "") + name
        if number and len(line) + len(following) > WIDTH:
            return f"{line}{between}... ({len(names) - number} more)"
        line += following
    return line
