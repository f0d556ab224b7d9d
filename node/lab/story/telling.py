"""From what several nodes have to say of one task to its story: attempt by attempt, and how it
stands now.

Invariant: nothing is told that no fact says. What is known to be missing (nodes that do not answer,
facts that were left out, lines that a disk did not take) is told as a remark.
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from node.lab.story.moments import Moment, Report, in_causal_order, index_of
from node.lab.story.sentences import Sentences, Setting
from node.lab.story.standing import standing, waits
from node.recollection import Recollection, fact_of
from protocol.events import Failure
from protocol.facts import Fact
from protocol.facts.agreement import LeaderElected
from protocol.facts.membership import MemberFailed, MemberJoined, MemberLeft
from protocol.facts.work import (
    AnswersJudged,
    AttemptAborted,
    AttemptFailed,
    ClaimLost,
    JobFinished,
    JobSubmitted,
    LeaseExpired,
    ResultLate,
    TaskAbandoned,
    TaskAccepted,
    TaskClaimed,
    TaskCompleted,
    TaskFenced,
    TaskStarted,
)
from protocol.identity import NodeId
from protocol.team.notes import is_of_death, is_of_review

FROM_DISK = "no node answers: this is what the log on disk says, which may end before the team did"


@dataclass(frozen=True, slots=True)
class Account:
    """What one node has to say. `view` is what its door said (`node.doors.stories`), None if only
    its files were there; `records` are its facts in the order in which they happened to it."""

    name: str
    records: Sequence[Mapping[str, Any]]
    view: Mapping[str, Any] | None = None
    dropped: int = 0
    begins_s: float = 0.0
    lines_lost: int = 0

    @property
    def is_whole(self) -> bool:
        """Whether no fact of the task is known to be missing."""
        return not self.dropped and not self.lines_lost

    @staticmethod
    def of_view(view: Mapping[str, Any]) -> Account:
        """From a door's answer."""
        return Account(
            view["name"],
            view["facts"],
            view,
            view["dropped"],
            view["begins_s"],
            view["lines_lost"],
        )

    @staticmethod
    def of_files(name: str, found: Recollection) -> Account:
        """From a data folder."""
        return Account(name, found.records, None, found.dropped, found.begins_s)


@dataclass(frozen=True, slots=True)
class Line:
    """One thing that happened. `at_s` is by the clock of the node that did it; `is_concurrent` with
    the line above it: neither is known to have come first. `said` belongs below it."""

    at_s: float
    who: str
    mark: str
    text: str
    kind: str
    said: tuple[str, ...] = ()
    is_concurrent: bool = False
    clock: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Part:
    """What belongs together: an attempt (`token`, for the answer number `slot`), or, with token 0,
    what came before the first or concerns none in particular."""

    title: str
    slot: int
    token: int
    lines: tuple[Line, ...]


@dataclass(frozen=True, slots=True)
class Story:
    """See the module's text. `state` is one word, `summary` the sentence; `waits_for` leads from
    what a waiting task needs to who works now."""

    job: str
    task: str
    heading: tuple[str, ...]
    parts: tuple[Part, ...]
    state: str
    summary: str
    waits_for: tuple[str, ...]
    remarks: tuple[str, ...]


def tell(
    job: str,
    task: str,
    accounts: Sequence[Account],
    silent: Sequence[str] = (),
    remains: Mapping[str, Any] | None = None,
) -> Story:
    """The story of a task, as these nodes know it. `silent` are the names of those that should have
    been asked and said nothing; `remains` is what a log on a disk says, if nobody knows more."""
    views = [account.view for account in accounts if account.view is not None]
    view = max(views, key=lambda each: int(each["applied"]), default=remains)
    told = _Told(accounts, view)
    moments = in_causal_order(told.reports)
    setting = told.setting
    unasked = _unasked(accounts, silent, view)
    is_whole = not silent and not unasked and all(account.is_whole for account in accounts)
    state, summary = standing(view, moments, setting, is_whole)
    return Story(
        job,
        task,
        tuple(_heading(view)),
        tuple(_parts(moments, Sentences(setting, moments), view, setting)),
        state,
        summary,
        tuple(waits(view)),
        (
            *_remarks(accounts, silent, unasked, moments),
            *([FROM_DISK] if remains is not None and view is remains else []),
        ),
    )


class _Told:
    """The accounts, sorted into reports of the task and what explains them."""

    def __init__(self, accounts: Sequence[Account], view: Mapping[str, Any] | None) -> None:
        self.reports: dict[NodeId, list[Report]] = {}
        self.setting = Setting()
        self._first_read: dict[int, float] = {}
        if view is not None:
            task = view["task"]
            self.setting.verify, self.setting.lease_s = task["verify"], view["lease_s"]
            self.setting.names.update(view["names"])
        for account in accounts:
            if account.view is not None:
                committed = account.view["task"]["committed"]
                if committed["index"]:
                    decided = committed["term"], committed["leader"]
                    self.setting.decided[committed["index"]] = decided
            self._take(account)
        self._take_notes(view)

    def _take(self, account: Account) -> None:
        gone: dict[NodeId, Fact] = {}
        leader: LeaderElected | None = None
        setting = self.setting
        for record in account.records:
            fact, node, at_s = fact_of(record), NodeId(record["at"]), float(record["happened"])
            setting.names[node] = str(record["agent"])
            if account.is_whole:
                setting.recorded.add(node)
            match fact:
                case None:
                    continue
                case LeaderElected():
                    leader = fact if fact.leader else leader
                case MemberFailed() | MemberLeft():
                    gone[fact.node] = fact
                case MemberJoined():
                    gone.pop(fact.node, None)
                case _:
                    self.reports.setdefault(node, []).append(Report(fact, node, at_s))
                    setting.by_store |= isinstance(fact, TaskClaimed) and not fact.index
                    if isinstance(fact, LeaseExpired) and fact.node in gone:
                        setting.lost[node, fact] = gone[fact.node]
                    if index := index_of(fact):
                        self._read(index, at_s, leader)

    def _read(self, index: int, at_s: float, leader: LeaderElected | None) -> None:
        if leader is not None and at_s < self._first_read.get(index, at_s + 1):
            self._first_read[index] = at_s
            self.setting.led[index] = leader

    def _take_notes(self, view: Mapping[str, Any] | None) -> None:
        """Of nodes that say nothing here, what they have said to all about attempts that failed."""
        notes = view["notes"] if view is not None else ()
        absent = {note["node"] for note in notes} - set(self.reports)
        for note in notes:
            node = NodeId(note["node"])
            if is_of_death(note["reason"]):
                continue
            is_stop = note["reason"] == Failure.ABORTED.value
            kind = AttemptAborted if is_stop else AttemptFailed
            if node not in absent or is_of_review(note["reason"]) or view is None:
                continue
            attempt = (view["job"], view["task"]["id"], note["slot"], note["token"])
            why = (note["detail"],) if is_stop else (note["reason"], note["detail"])
            report = Report(kind(*attempt, *why), node, note["wall_ms"] / 1000)
            self.reports.setdefault(node, []).append(report)
        if view is not None:
            self._take_deaths(view["job"], view["task"]["id"], notes)

    def _take_deaths(self, job: str, task: str, notes: Sequence[Mapping[str, Any]]) -> None:
        """Who died at it cannot have said so: of several that noted it the first is heard."""
        known: set[tuple[int, NodeId, int]] = set()
        for note in notes:
            slot, node, token = note["slot"], NodeId(note["detail"]), note["token"]
            if not is_of_death(note["reason"]) or (slot, node, token) in known:
                continue
            known.add((slot, node, token))
            fact = AttemptFailed(job, task, slot, token, note["reason"], "")
            report = Report(fact, node, note["wall_ms"] / 1000)
            insort(self.reports.setdefault(node, []), report, key=lambda each: each.at_s)


def _heading(view: Mapping[str, Any] | None) -> Iterator[str]:
    if view is None:
        return
    task, quorum = view["task"], view["task"]["quorum"]
    if task["writes"]:
        yield f"writes {', '.join(task['writes'])}"
    if task["verify"]:
        other = ", and another node checks it as well" if task["verify_by"] == "other" else ""
        yield f"check: {' '.join(task['verify'].split())}{other}"
    if quorum["of"] > 1:
        yield f"{quorum['of']} independent answers, {quorum['agree']} of them must agree"
    for need in view["needs"]:
        done = f"accepted from {need['accepted_from']} at log index {need['index']}"
        yield f"needs {need['id']}: {done if need['index'] else 'not accepted yet'}"


# -- attempt by attempt ----------------------------------------------------------------------------


def _parts(
    moments: Sequence[Moment],
    sentences: Sentences,
    view: Mapping[str, Any] | None,
    setting: Setting,
) -> Iterator[Part]:
    grouped: dict[tuple[int, int], list[Moment]] = {}
    before: list[Moment] = []
    after: list[Moment] = []
    places = _Places(moments)
    for moment in moments:
        if isinstance(moment.fact, JobFinished) and places.is_settled:
            continue  # it is about other tasks
        place = places.of(moment)
        if place is not None:
            grouped.setdefault(place, []).append(moment)
        elif isinstance(moment.fact, JobSubmitted | AttemptFailed):
            before.append(moment)
        else:
            after.append(moment)
    if before:
        yield Part("", 0, 0, tuple(_lines(before, sentences)))
    shared = _shared(view, setting, moments)
    numbers: dict[int, int] = {}
    for slot, token in sorted(grouped):
        numbers[slot] = numbers.get(slot, 0) + 1
        title = f"attempt {numbers[slot]} (token {token})"
        title = f"answer {slot + 1}, {title}" if places.slots > 1 else title
        lines = list(_lines(grouped[slot, token], sentences))
        for line in shared.get((slot, token), ()):
            lines.insert(_place_of(line, lines), line)
        yield Part(title, slot, token, tuple(lines))
    if after:
        yield Part("in the end", 0, 0, tuple(_lines(after, sentences)))


class _Places:
    """To which attempt a moment belongs. Where one answer is enough, what became of its result does
    as well."""

    def __init__(self, moments: Sequence[Moment]) -> None:
        facts = [moment.fact for moment in moments]
        self.slots = 1 + max((getattr(fact, "slot", 0) for fact in facts), default=0)
        self.is_settled = any(isinstance(fact, TaskAccepted | TaskAbandoned) for fact in facts)
        self._results: dict[tuple[NodeId, int, str], int] = {}
        self._tokens: set[tuple[int, int]] = set()
        self._latest: dict[tuple[str, int], int] = {}  # node and slot -> token
        for moment in moments:
            match moment.fact:
                case TaskCompleted(slot=slot, token=token, digest=digest):
                    self._results[NodeId(moment.process), token, digest] = slot
                case TaskStarted(slot=slot, token=token) | TaskClaimed(slot=slot, token=token):
                    self._tokens.add((slot, token))
                case _:
                    pass

    def of(self, moment: Moment) -> tuple[int, int] | None:
        """Slot and token; None if it belongs to no attempt in particular."""
        fact = moment.fact
        match fact:
            case JobSubmitted() | JobFinished() | AnswersJudged() | TaskAbandoned():
                return None
            case AttemptFailed(
                token=0
            ):  # of who was to check somebody else's result, and could not
                return None
            case TaskAccepted(token=token):
                return (0, token) if self.slots == 1 and (0, token) in self._tokens else None
            case ResultLate(node=node, token=token, digest=digest):
                slot = self._results.get((node, token, digest), 0)
                return slot, token
            case TaskFenced(slot=slot, token=token):
                below = [each for each in self._tokens if each[0] == slot and each[1] < token]
                return max(below, default=(slot, token))
            case ClaimLost(slot=slot):
                return slot, self._latest.get((moment.process, slot), 1)
            case _:
                slot, token = getattr(fact, "slot", 0), getattr(fact, "token", 0)
                self._latest[moment.process, slot] = token
                return slot, token


def _lines(moments: Sequence[Moment], sentences: Sentences) -> Iterator[Line]:
    last: Moment | None = None
    for moment in moments:
        text, said = sentences.say(moment)
        yield Line(
            moment.at_s,
            sentences.who(moment),
            moment.fact.mark,
            text,
            type(moment.fact).__name__,
            said,
            last is not None and moment.is_concurrent_with(last),
            dict(moment.clock),
        )
        last = moment


def _place_of(shared: Line, lines: Sequence[Line]) -> int:
    """Where among the lines of an attempt something stands of which only the time is known: after
    what its node did before, and then by all clocks."""
    own = [at for at, line in enumerate(lines) if line.who == shared.who]
    place = 1 + max((at for at in own if lines[at].at_s <= shared.at_s), default=-1)
    while place < len(lines) and lines[place].at_s <= shared.at_s:
        place += 1
    return place


def _shared(
    view: Mapping[str, Any] | None, setting: Setting, moments: Sequence[Moment]
) -> dict[tuple[int, int], list[Line]]:
    """The files of attempts that came to no result, for whoever goes on; as far as nobody has
    replaced them since."""
    completed = {
        (moment.process, moment.fact.slot, moment.fact.token)
        for moment in moments
        if isinstance(moment.fact, TaskCompleted)
    }
    found: dict[tuple[int, int], list[Line]] = {}
    for part in view["parts"] if view is not None else ():
        slot, token = part["slot"], part["token"]
        if (part["node"], slot, token) not in completed:
            who = setting.name(NodeId(part["node"]))
            text = f"has shared {part['path']}, {part['size']} bytes"
            line = Line(part["wall_ms"] / 1000, who, "+", text, "Partial")
            found.setdefault((slot, token), []).append(line)
    return found


def _unasked(
    accounts: Sequence[Account], silent: Sequence[str], view: Mapping[str, Any] | None
) -> list[str]:
    """Members that nobody has asked: who names one node gets what that one knows."""
    names = set(view["names"].values()) if view is not None else set()
    return sorted(names - {account.name for account in accounts} - set(silent))


def _remarks(
    accounts: Sequence[Account],
    silent: Sequence[str],
    unasked: Sequence[str],
    moments: Sequence[Moment],
) -> Iterator[str]:
    if unasked:
        yield f"not asked: {', '.join(unasked)}: what nobody else saw is not here"
    if silent:
        yield f"no answer from {', '.join(silent)}: what nobody else saw is not here"
    filed = [account.name for account in accounts if account.view is None]
    if filed and len(filed) < len(accounts):
        yield f"no answer from {', '.join(filed)}: what is told of them is from files"
    first = min((moment.at_s for moment in moments), default=0.0)
    for account in accounts:
        if account.dropped:
            yield f"{account.name}: {account.dropped} older facts are left out"
        if account.lines_lost:
            yield f"{account.name}: its disk did not take {account.lines_lost} lines of its log"
        if moments and not account.dropped and account.begins_s > first and account.records:
            yield f"{account.name}: its record begins only after this did"
