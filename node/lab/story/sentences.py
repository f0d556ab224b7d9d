"""Facts in plain words. Who did it stands before a sentence: a node, or an entry of the log."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from node.lab.story.moments import LOG, Moment
from protocol.events import Failure
from protocol.facts import Fact
from protocol.facts.agreement import LeaderElected
from protocol.facts.membership import Evidence, MemberFailed
from protocol.facts.work import (
    AnswerGiven,
    AnswersJudged,
    AttemptAborted,
    AttemptFailed,
    ClaimLost,
    JobFinished,
    JobSubmitted,
    LeaseExpired,
    RaceEnded,
    ResultLate,
    ResultProposed,
    ResultReviewed,
    TaskAbandoned,
    TaskAccepted,
    TaskClaimed,
    TaskCloned,
    TaskCompleted,
    TaskFenced,
    TaskStarted,
)
from protocol.identity import NodeId
from protocol.team.notes import DIED, LOST, RESTARTED

DETAIL_LINES_MAX = 12  # of what a check or an agent said, from its end
HEARERS_MAX = 5  # named, of those who heard of something
LATE_S = 1.0  # who reads an entry of the log so much later than the first is named

_FAILURES = {
    Failure.AGENT.value: "its agent fails",
    Failure.NO_PROGRAM.value: "it has not got the program",
    Failure.NO_CHECK.value: "it has not got the program of the check",
    Failure.NO_MODEL.value: "it has no model that it may ask",
    Failure.BACKEND.value: "its model cannot be asked",
    Failure.OUTPUT.value: "its agent gives no usable answer",
    Failure.TIMEOUT.value: "it gets no result in time",
    Failure.BUDGET.value: "it has no right to spend more",
    Failure.VERIFY.value: "its result does not pass the check",
    Failure.UNKNOWN_TASK.value: "the simulated model does not know this task",
    Failure.UNREACHABLE.value: "the endpoint of its model is away, which does not count",
    DIED: "its process has ended in the middle of it, as others noted",
    LOST: "it goes silent in the middle of it, as others noted",
    RESTARTED: "its process was ended in the middle of it, as it noted when it was back",
    Failure.AWAY.value: "the endpoint of its model has been away for too long",
}
_EVIDENCE: dict[str, str] = {
    Evidence.REFUSED: "its process has ended",
    Evidence.STOPPED: "it was stopped",
    Evidence.SILENCE: "it was silent",
    Evidence.DEAF: "it does not hear",
}


@dataclass(slots=True)
class Setting:
    """What the sentences need to know beside the fact. `lost` says what a node knew of the holder
    when it gave up on it; `led` who led when an entry was first read, `decided` which entry decided
    the task, with its term and who led that, as the log says; `recorded` are the nodes whose record
    of the task is whole."""

    names: dict[NodeId, str] = field(default_factory=dict)
    lost: dict[tuple[NodeId, LeaseExpired], Fact] = field(default_factory=dict)
    led: dict[int, LeaderElected] = field(default_factory=dict)
    decided: dict[int, tuple[int, str]] = field(default_factory=dict)  # index -> term, a name
    recorded: set[NodeId] = field(default_factory=set)
    by_store: bool = False  # claims are made in the store
    verify: str = ""
    lease_s: float = 0.0

    def name(self, node: NodeId) -> str:
        return self.names.get(node, node[:6])

    def leader_of(self, index: int) -> str:
        """ "leader n1 of term 2", who put the entry into the log; where only files tell of it, who
        led when it was first read; empty if that is not known."""
        term, name = self.decided.get(index, (0, ""))
        if not term and index in self.led:
            term, name = self.led[index].term, self.name(self.led[index].leader)
        return f"leader {name} of term {term}" if name else ""

    def named(self, text: str) -> str:
        """With the names of nodes in place of their ids."""
        for node, name in self.names.items():
            text = text.replace(node, name)
        return text


class Sentences:
    """What each of the moments of one task means, in the light of the others."""

    def __init__(self, setting: Setting, moments: Sequence[Moment]) -> None:
        self._setting = setting
        facts = [moment.fact for moment in moments]
        self._fences = [fact for fact in facts if isinstance(fact, TaskFenced)]
        self._settled = [fact for fact in facts if isinstance(fact, TaskAccepted | TaskAbandoned)]
        self._holders: dict[tuple[int, int], NodeId] = {}
        self._given: set[tuple[int, int]] = set()  # by the log
        self._ended: set[tuple[NodeId, int, int]] = set()
        for moment in moments:
            self._learn(moment)

    def _learn(self, moment: Moment) -> None:
        node = NodeId(moment.process)
        match moment.fact:
            case TaskClaimed(slot=slot, node=holder, token=token):
                self._holders.setdefault((slot, token), holder)
                if moment.process == LOG:
                    self._given.add((slot, token))
            case TaskStarted(slot=slot, token=token, races=False):
                self._holders.setdefault((slot, token), node)
            case (
                AttemptFailed(slot=slot, token=token)
                | AttemptAborted(slot=slot, token=token)
                | TaskCompleted(slot=slot, token=token)
            ):
                self._ended.add((node, slot, token))
            case _:
                pass

    def say(self, moment: Moment) -> tuple[str, tuple[str, ...]]:
        """A sentence without its subject and full stop, and lines that belong below it."""
        text, said = self._say(moment)
        heard = self._heard(moment)
        return f"{text} ({heard})" if heard else text, _last_lines(self._setting.named(said))

    def who(self, moment: Moment) -> str:
        """The subject: a node's name, or where in the log."""
        if moment.process == LOG:
            return f"log {getattr(moment.fact, 'index', '')}"
        node = getattr(moment.fact, "node", "") if moment.is_hearsay else moment.process
        return self._setting.name(NodeId(node))

    def _say(self, moment: Moment) -> tuple[str, str]:
        name, fact = self._setting.name, moment.fact
        match fact:
            case JobSubmitted():
                return f"the job is submitted, {fact.tasks} task{'s' * (fact.tasks > 1)}", ""
            case TaskClaimed():
                return self._claimed(moment, fact), ""
            case TaskCloned() if moment.process == LOG:
                return f"{name(fact.node)} may race the holder", ""
            case TaskCloned():
                return f"races the holder, now of token {fact.token}", ""
            case RaceEnded():
                return f"{name(fact.node)} races the holder no more", ""
            case TaskStarted():
                return self._started(NodeId(moment.process), fact), ""
            case ClaimLost():
                return f"gives way to {name(fact.winner)}, whose claim goes before its own", ""
            case LeaseExpired():
                return self._expired(NodeId(moment.process), fact), ""
            case TaskFenced():
                return f"from here on results under a token below {fact.token} do not count", ""
            case TaskCompleted():
                passed = " that passes the check" if self._setting.verify else ""
                kept = f"; not kept, for the task does not write it: {fact.left}"
                return f"has a result{passed}, {fact.digest[:12]}{kept if fact.left else ''}", ""
            case AttemptFailed():
                why = _FAILURES.get(fact.reason, f"it fails ({fact.reason})")
                return (f"{why}:", fact.detail) if fact.detail.strip() else (why, "")
            case AttemptAborted():
                return f"stops its agent: {self._setting.named(fact.reason)}", ""
            case _:
                return self._say_of_log(fact)

    def _say_of_log(self, fact: Fact) -> tuple[str, str]:
        name = self._setting.name
        match fact:
            case ResultProposed():
                return f"the result of {name(fact.node)} waits for another node's check", ""
            case ResultReviewed():
                checked = f"{name(fact.reviewer)} has checked the result of {name(fact.node)}"
                return (f"{checked}: it is wrong:" if fact.fault else f"{checked}: it is right"), (
                    fact.fault
                )
            case AnswerGiven():
                settles = any(settled.index == fact.index for settled in self._settled)
                what = "with it there are enough" if settles else "it takes more of them"
                return f"the answer of {name(fact.node)} is in; {what}", ""
            case AnswersJudged():
                return self._judged(fact), ""
            case TaskAccepted():
                leader = self._setting.leader_of(fact.index)
                by = f", by {leader}" if leader else ""
                return f"the result of {name(fact.node)} is accepted{by}", ""
            case ResultLate():
                late = f"the result of {name(fact.node)} comes late"
                return f"{late}: {self._why_late(fact)}; it is kept as evidence", ""
            case TaskAbandoned():
                return "the task is abandoned:", fact.reason
            case JobFinished():
                return f"the job ends: {'succeeded' if fact.succeeded else 'failed'}", ""
            case _:
                return str(fact), ""

    def _claimed(self, moment: Moment, fact: TaskClaimed) -> str:
        if moment.process == LOG:
            return f"the task is given to {self._setting.name(fact.node)}"
        if moment.is_hearsay:
            return "claimed it, as others heard; its own record of that is not here"
        before = self._holders.get((fact.slot, fact.token - 1))
        of = f" of {self._setting.name(before)}" if before else ""
        return f"takes the place{of}, with what it had done in the race"

    def _started(self, node: NodeId, fact: TaskStarted) -> str:
        name = self._setting.name
        holder = self._holders.get((fact.slot, fact.token))
        if fact.races:
            of = f" {name(holder)}" if holder and holder != node else " the holder"
            return f"starts as well, to race{of}"
        before = self._holders.get((fact.slot, fact.token - 1))
        if before is None:
            is_given = (fact.slot, fact.token) in self._given
            return "starts" if is_given else "claims it and starts"
        if before != node:
            return f"takes over from {name(before)} and starts"
        if (node, fact.slot, fact.token - 1) in self._ended:
            return "tries again"
        return "starts anew: its attempt before has no end, as after a crash"

    def _expired(self, node: NodeId, fact: LeaseExpired) -> str:
        holder = self._setting.name(fact.node)
        match self._setting.lost.get((node, fact)):
            case MemberFailed(evidence=evidence):
                return f"gives up on {holder}: it has failed ({_EVIDENCE.get(evidence, evidence)})"
            case None:
                lease = f" of {self._setting.lease_s:g} s" if self._setting.lease_s else ""
                return f"gives up on {holder}: not heard of for a lease{lease}"
            case _:
                return f"gives up on {holder}: it has left the team"

    def _judged(self, fact: AnswersJudged) -> str:
        groups: dict[int, list[int]] = {}
        for slot, group in enumerate(fact.groups, start=1):
            groups.setdefault(group, []).append(slot)
        alike = [" = ".join(map(str, slots)) for slots in groups.values()]
        by = f"{self._setting.name(fact.judge)}'s judge" if fact.judge else "no judge"
        found = "finds that of the answers agree:" if fact.judge else "could say; as they stand:"
        return f"{by} {found} {', '.join(alike)}"

    def _why_late(self, fact: ResultLate) -> str:
        for settled in self._settled:
            if settled.index <= fact.index:
                done = "accepted" if isinstance(settled, TaskAccepted) else "abandoned"
                return f"the task was {done} at log index {settled.index}"
        for fence in self._fences:
            if fence.token > fact.token and fence.index < fact.index:
                return f"its token {fact.token} is below the fence of log index {fence.index}"
        return f"its token {fact.token} did not count any more"

    def _heard(self, moment: Moment) -> str:
        """Who heard of a claim in the store, after how long, and who did not; who read the log
        late."""
        delays = {node: at_s - moment.at_s for node, at_s in moment.heard.items()}
        if moment.process == LOG:
            late = {node: delay for node, delay in delays.items() if delay >= LATE_S}
            return f"read only later by {self._listed(late)}" if late else ""
        is_claim = isinstance(moment.fact, TaskStarted | TaskClaimed | TaskCloned)
        if not is_claim or not self._setting.by_store:
            return ""
        parts = [f"heard by {self._listed(delays)}"] if delays else []
        deaf = self._setting.recorded - set(delays) - {NodeId(moment.process)}
        if deaf and not moment.is_hearsay:
            names = sorted(self._setting.name(node) for node in deaf)
            parts.append(f"no word of it at {_some(names)}")
        return "; ".join(parts)

    def _listed(self, delays: Mapping[NodeId, float]) -> str:
        """Nodes, the quickest first, with the time that it took by their clocks and this one's."""
        in_order = sorted(delays.items(), key=lambda each: each[1])
        return _some([f"{self._setting.name(node)} after {_time(at)}" for node, at in in_order])


def _some(words: Sequence[str]) -> str:
    shown = list(words[:HEARERS_MAX])
    left = len(words) - len(shown)
    return ", ".join([*shown, *([f"{left} more"] if left else [])])


def _time(duration_s: float) -> str:
    if duration_s < 1.0:
        return f"{max(0.0, duration_s) * 1000:.0f} ms"  # clocks differ, and the word came after it
    return f"{duration_s:.1f} s"


def _last_lines(text: str) -> tuple[str, ...]:
    """The end of a text, in lines."""
    lines = text.strip("\n").splitlines()
    if len(lines) <= DETAIL_LINES_MAX:
        return tuple(lines)
    left = len(lines) - DETAIL_LINES_MAX
    return (f"... {left} line{'s' * (left > 1)} before ...", *lines[left:])
