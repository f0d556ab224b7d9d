"""Whether a team is worth it: three things weighed together, and said in plain words.

    gain      how many times as fast as one agent that answers each task once
    cost      how many times the tokens: quorums and clones; without them a team costs what one does
    success   how often one agent is right. Above ABLE more agents were found not to make results
              better (arXiv 2512.08296), so that time is all there is to gain

A team must gain GAIN_MIN for its coordination. Where it can gain nothing but time, it must gain as
many times more as it costs. Where one agent is seldom right, and the job asks for independent
answers, these may make the result better: then a team is worth its cost even if it gains no time.

Invariant: the verdict follows from the figures that are printed beside it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from node.lab.forecasting import Forecast
from protocol import graph
from protocol.jobs import Job, VerifyBy

GAIN_MIN = 1.3  # how much faster than one agent a team must be; below, coordination and luck eat it
NEARLY = 0.9  # of the best speed-up is good enough: the rest would cost many more agents
ABLE = 0.45  # above it more agents made results worse rather than better (arXiv 2512.08296)


@dataclass(frozen=True, slots=True)
class Verdict:
    """How many agents are sensible; the sentence that says so, empty if no team was asked about;
    and the reasons."""

    agents: int
    sentence: str
    reasons: Sequence[str]


def verdict_of(
    job: Job, forecasts: Sequence[Forecast], unit: str, success: float | None
) -> Verdict:
    """`forecasts` are of one agent and of teams, by size. `success` is the share of one agent's
    attempts that are right; None if that is not known."""
    alone, *teams = forecasts
    better_results = success is not None and success <= ABLE and _asks_for_answers(job)
    chosen = _sensible(teams, success, better_results)
    reasons = [
        *(_on_chain(job) if teams and chosen is None else []),
        *_on_width(forecasts),
        *_on_cost(chosen or forecasts[-1], alone, success),
        *(_on_success(100 * success, better_results) if success is not None else []),
    ]
    if not teams:
        return Verdict(1, "", reasons)
    if chosen is None:
        return Verdict(1, _for_one(teams, success), reasons)
    return Verdict(chosen.agents, _for_team(chosen, teams, alone, unit), reasons)


def hurdle(forecast: Forecast, success: float | None) -> float:
    """How many times as fast as one agent a team must be to be worth it."""
    gains_time_only = success is None or success > ABLE
    return GAIN_MIN * (forecast.cost if gains_time_only else 1.0)


def _sensible(
    teams: Sequence[Forecast], success: float | None, better_results: bool
) -> Forecast | None:
    """The smallest team that is worth it and nearly as fast as the fastest that is; None: one agent
    is better."""
    worth = [each for each in teams if better_results or each.gain >= hurdle(each, success)]
    best = max((each.gain for each in worth), default=0.0)
    return next((each for each in worth if each.gain >= NEARLY * best), None)


def _asks_for_answers(job: Job) -> bool:
    """Whether other agents than the one that did a task have a say in its result."""
    return any(task.quorum.agree > 1 or task.verify_by is VerifyBy.OTHER for task in job.tasks)


def _for_one(teams: Sequence[Forecast], success: float | None) -> str:
    """The sentence for a single agent, by the team that comes closest to being worth it."""
    best = max(teams, key=lambda each: each.gain / hurdle(each, success))
    least = hurdle(best, success)
    would = f"One agent is better: {best.agents} would be {best.gain:.2f} times as fast"
    if least <= GAIN_MIN:
        return f"{would}, and under {GAIN_MIN} a team is not worth its coordination."
    return (
        f"{would} for {best.cost:.1f} times the cost, and under {least:.1f} times as fast "
        "that is not worth it."
    )


def _for_team(chosen: Forecast, teams: Sequence[Forecast], alone: Forecast, unit: str) -> str:
    once = chosen.gain * chosen.makespan
    times = f"{time_of(chosen.makespan, unit)} instead of {time_of(once, unit)}"
    if chosen.gain < GAIN_MIN:
        return (
            f"{chosen.agents} agents are sensible for what they find, not for their time "
            f"({times} of one agent alone)."
        )
    best = max(teams, key=lambda each: each.gain)
    more = ""
    if best.gain > chosen.gain:
        more = f"; {best.agents} would be {best.gain:.1f} times as fast"
    cost = f", for {chosen.cost:.1f} times the cost" if chosen.cost > alone.cost else ""
    return (
        f"{chosen.agents} agents are sensible: {chosen.gain:.1f} times as fast as one "
        f"({times}){cost}{more}."
    )


# -- reasons ---------------------------------------------------------------------------------------


def _on_chain(job: Job) -> list[str]:
    """What keeps a team from being faster."""
    tasks, chain = len(job.tasks), len(graph.critical_path(job.needs))
    if tasks == 1:
        return ["There is one task: nothing can be shared out."]
    if chain == tasks:
        return [f"Each of the {tasks} tasks waits for the one before: nothing can be shared out."]
    if tasks < GAIN_MIN * chain:
        return [
            f"{chain} of the {tasks} tasks wait for each other, so that no team is more than "
            f"{tasks / chain:.2f} times as fast where all take as long."
        ]
    return []


def _on_width(forecasts: Sequence[Forecast]) -> list[str]:
    """From which size on agents are idle."""
    largest = forecasts[-1]
    if largest.agents <= max(1, largest.busy):
        return []
    idle = largest.agents - largest.busy
    text = f"Never more than {largest.busy} have something to do at once: of {largest.agents} "
    text += f"agents, {idle} would be idle"
    return [f"{text}, but for races." if largest.races else f"{text} from beginning to end."]


def _on_cost(team: Forecast, alone: Forecast, success: float | None) -> list[str]:
    """What a team costs beside one agent."""
    what = "tokens" if alone.tokens_high else "work"
    found = []
    if alone.cost > 1.0:
        found.append(
            f"For its quorums the job takes {alone.cost:.1f} times the {what} of one agent that "
            "answers each task once."
        )
    if team.races:
        found.append(
            f"{team.agents} agents race {team.races:.1f} times a run, for {team.cost:.2f} times "
            f"the {what} of one agent."
        )
    elif team.cost > alone.cost:
        found.append(
            f"{team.agents} agents begin answers that are not needed any more when they come, for "
            f"{team.cost:.1f} times the {what}."
        )
    elif alone.cost <= 1.0 and alone.tokens_high:
        once = "once" if success in (None, 1.0) else "once, but for attempts that fail"
        found.append(f"Each task is done {once}: a team of any size uses the tokens of one agent.")
    return found


def _on_success(share: float, better_results: bool) -> list[str]:
    """What an agent's own success, in per cent, means for a team."""
    if share > 100 * ABLE:
        return [
            f"One agent is right in {share:.0f} % of its attempts: above some {100 * ABLE:.0f} % "
            "more agents do not make the result better (arXiv 2512.08296), only earlier."
        ]
    how = "as this job asks" if better_results else "by quorum, or verify_by: other"
    return [
        f"One agent is right in only {share:.0f} % of its attempts: below some {100 * ABLE:.0f} % "
        f"more agents can also make the result better (arXiv 2512.08296): {how}."
    ]


def time_of(length: float, unit: str) -> str:
    """A length for people."""
    digits = 0 if length >= 1_000 else 1 if length >= 1 else 2
    return f"{length:.{digits}f} {unit}".rstrip()
