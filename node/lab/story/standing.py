"""How a task stands now, in one sentence, and what it waits for: by what a node's door says of the
log and of the claims (`node.doors.stories`), or, where no node answers, by the facts alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from node.lab.story.moments import Moment
from node.lab.story.sentences import Setting
from protocol.facts import Fact
from protocol.facts.work import (
    JobFinished,
    TaskAbandoned,
    TaskAccepted,
    TaskClaimed,
    TaskCloned,
    TaskStarted,
)
from protocol.identity import NodeId

LINES_MAX = 3  # of a reason, in one sentence


def attempts_before(accepted: Moment, moments: Sequence[Moment], is_whole: bool) -> str:
    """How many attempts led to an acceptance, and how many went on beside them, not knowing of it:
    "after 2 attempts". An attempt is what has a token; who began under a token that another had as
    well, in a race or because their claims crossed, is counted apart."""
    tokens: dict[tuple[int, int], bool] = {}  # slot and token -> whether it led there
    races = crossed = 0
    holders: set[tuple[int, int]] = set()
    for each in moments:
        place = _begun(each)
        if place is None:
            continue
        tokens[place] = tokens.get(place, False) or not each.is_concurrent_with(accepted)
        if _races(each.fact):
            races += 1
        elif not isinstance(each.fact, TaskClaimed) or each.is_hearsay:
            crossed += place in holders
            holders.add(place)
    beside = list(tokens.values()).count(False) if is_whole else 0
    number = len(tokens) - beside
    least = "" if is_whole else "at least "
    text = f"after {least}{_counted(number, 'attempt')}"
    was = "was" if beside == 1 else "were"
    text += f", while {beside} more {was} under way" if beside else ""
    apart = [_counted(races, "race")] if races else []
    apart += [_counted(crossed, "claim") + " that crossed another"] if crossed else []
    return text + (f" ({', '.join(apart)})" if apart else "")


def _begun(moment: Moment) -> tuple[int, int] | None:
    """Slot and token of the attempt of which it is a beginning; None of anything else."""
    match moment.fact:
        case TaskStarted(slot=slot, token=token) | TaskClaimed(slot=slot, token=token):
            return slot, token
        case TaskCloned(slot=slot, token=token) if moment.is_hearsay:
            return slot, token
        case _:
            return None


def _races(fact: Fact) -> bool:
    return isinstance(fact, TaskCloned) or (isinstance(fact, TaskStarted) and fact.races)


def _counted(number: int, word: str) -> str:
    return f"{number} {word}{'' if number == 1 else 's'}"


def standing(
    view: Mapping[str, Any] | None, moments: Sequence[Moment], setting: Setting, is_whole: bool
) -> tuple[str, str]:
    """A word for the state, and the sentence. `is_whole`: no fact of the task is known to be
    missing."""
    for moment in reversed(moments):
        match moment.fact:
            case TaskAccepted() as fact:
                after = attempts_before(moment, moments, is_whole)
                return "accepted", _accepted(fact, after, view, setting)
            case TaskAbandoned() as fact:
                where = _where(fact.index, setting)
                return "abandoned", f"abandoned {where}: {_one_line(fact.reason)}"
            case _:
                pass
    if view is None:
        return "unknown", _by_facts(moments, setting)
    task = view["task"]
    if task["accepted"]:  # the record has lost it, or has not got it yet
        accepted, where = task["accepted"], _where(task["committed"]["index"], setting)
        source = f"{accepted['name']} (token {accepted['token']})"
        return "accepted", f"accepted from {source} {where}{_by_whom(view)}"
    if task["abandoned"]:
        where = _where(task["committed"]["index"], setting)
        return "abandoned", f"abandoned {where}: {_one_line(task['abandoned'])}"
    return _open(view)


def waits(view: Mapping[str, Any] | None) -> list[str]:
    """For a task that waits: a line for each task behind the ones that it needs itself, down to
    those that are worked on now."""
    if view is None or not view["waits_for"]:
        return []
    own = [need["id"] for need in view["needs"]]
    chain = _Chain(view)
    return [
        f"{row['id']} waits for: {chain.named(row['needs'])}"
        for row in sorted(view["waits_for"], key=lambda row: row["id"] not in own)
        if row["needs"] and not row["abandoned"]
    ]


def _accepted(
    fact: TaskAccepted, after: str, view: Mapping[str, Any] | None, setting: Setting
) -> str:
    source = f"{setting.name(fact.node)} (token {fact.token})"
    if view is not None and fact.index == view["submitted_index"]:
        return f"accepted from the start: taken over from job {view['resumes']}, done by {source}"
    where = _where(fact.index, setting)
    where += "," if setting.leader_of(fact.index) else ""
    return f"accepted from {source} {where} {after}{_by_whom(view)}"


def _where(index: int, setting: Setting) -> str:
    """Which log entry decided it, and whose."""
    leader = setting.leader_of(index)
    return f"at log index {index}" + (f", by {leader}" if leader else "")


def _by_whom(view: Mapping[str, Any] | None) -> str:
    """Who agreed to an accepted result, and who did not; who checked it again."""
    if view is None:
        return ""
    task, text = view["task"], ""
    if task["quorum"]["of"] > 1:
        agreed = f"{len(task['agreed'])} of {task['quorum']['of']} answers agree"
        text += f"; {agreed} ({', '.join(task['agreed'])})"
        dissent = ", ".join(answer["name"] for answer in task["dissent"])
        text += f", and not that of {dissent}" if dissent else ""
    reviewer = task["accepted"]["reviewer"] if task["accepted"] else ""
    return text + (f"; checked again by {reviewer}" if reviewer else "")


def _by_facts(moments: Sequence[Moment], setting: Setting) -> str:
    if any(isinstance(moment.fact, JobFinished) for moment in moments):
        return "out of reach: the job ended without it, for something that it needs was abandoned"
    for moment in reversed(moments):
        match moment.fact:
            case TaskStarted(token=token):
                who = f"{setting.name(NodeId(moment.process))} (token {token})"
                return f"not settled, as far as the files tell: {who} began last"
            case TaskClaimed(node=node, token=token):
                return f"not settled, as far as the files tell: {setting.name(node)} had it last"
            case _:
                pass
    return "not settled, as far as the files tell: nobody has begun it"


def _open(view: Mapping[str, Any]) -> tuple[str, str]:
    task = view["task"]
    for row in view["waits_for"]:
        if row["abandoned"]:
            reason = _one_line(row["abandoned"])
            return "out of reach", f"cannot be done: {row['id']} was abandoned: {reason}"
    missing = [need["id"] for need in view["needs"] if not need["index"]]
    if missing:
        return "waiting", f"waits for: {_Chain(view).named(missing)}"
    if task["waits_for_judge"]:
        return "working", "all answers are in; which of them agree is for a judge to say"
    slots = view["slots"]
    states = [_at_work(slot, view["lease_s"]) for slot in slots if not slot["answered"]]
    text = "; ".join(dict.fromkeys(states))
    if len(slots) > 1:
        given = sum(slot["answered"] for slot in slots)
        text = (
            f"{given} of {len(slots)} answers are in, {task['quorum']['agree']} must agree; {text}"
        )
    is_held = any(slot["holder"] or slot["unreviewed"] for slot in slots)
    return "working" if is_held else "ready", text


class _Chain:
    """The tasks that have to be accepted first."""

    def __init__(self, view: Mapping[str, Any]) -> None:
        self._rows = {row["id"]: row for row in view["waits_for"]}
        self._lease_s = view["lease_s"]

    def named(self, tasks: Sequence[str]) -> str:
        """Each of these with what it does meanwhile."""
        return ", ".join(
            f"{task} ({state})" if (state := self._state(task)) else task for task in tasks
        )

    def _state(self, task: str) -> str:
        row = self._rows.get(task)
        if row is None:
            return ""  # too far away to be told of
        if row["abandoned"]:
            return "abandoned"
        if row["needs"]:
            return "which waits itself"
        states = [_at_work(slot, self._lease_s) for slot in row["slots"] if not slot["answered"]]
        return "; ".join(dict.fromkeys(states)) or "waits for a judge"


def _at_work(slot: Mapping[str, Any], lease_s: float) -> str:
    """Who is at an answer."""
    if slot["unreviewed"]:
        return f"the result of {', '.join(slot['unreviewed'])} waits for another node's check"
    holder, held_s = slot["holder"], slot["held_s"]
    if not holder:
        return "open, held by nobody"
    if held_s is None:
        return f"given to {holder}, not begun"
    if slot["heard_s"] > lease_s:
        return f"open, {holder} was not heard of for {slot['heard_s']:.0f} s, longer than a lease"
    if slot["phase"] == "done":
        return f"done by {holder}, whose result is on its way into the log"
    racers = f", raced by {', '.join(slot['racers'])}" if slot["racers"] else ""
    return f"open, held by {holder} for {held_s:.0f} s{racers}"


def _one_line(text: str) -> str:
    """What became of it, and the line that says why; what is between them stands further up."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if len(lines) > LINES_MAX:
        lines = [f"{lines[0].removesuffix('...').rstrip()} ...", lines[-1]]
    return "; ".join(lines)
