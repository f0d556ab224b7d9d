"""The agents of this node that are under way, and the results that wait for their acceptance.

Invariant: at most `slots` agents run, beside those that wait for a person; each works under one
token, says so in the store while it does (where nobody else wants the task, only if it takes longer
than a moment), and is stopped as soon as its result could not count any more. A result that was
handed in is stood for until it is accepted, so that a minority does not do the work again.

An attempt that races another's takes the holder's place when that is lost, and follows it to a new
token: nothing was handed in under the old one.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from itertools import count

from protocol import claims, codec
from protocol.claims import Claim, ClaimBook, Phase
from protocol.clocks import Alarm, Nanoseconds
from protocol.config import TeamConfig
from protocol.effects import Abort, Assignment, Invoke, Proposal, Purpose
from protocol.facts.work import ClaimLost, LeaseExpired, TaskStarted
from protocol.identity import NodeId
from protocol.jobs import ClaimMode, File, Share, Usage, kept_path
from protocol.ledger import JobState, Ledger, Slot, Unit
from protocol.team.deadlines import Deadlines
from protocol.team.lore import Lore
from protocol.team.notes import Notes
from protocol.team.orders import assignment_of
from protocol.team.parts import Made, Parts
from protocol.team.racing import Racing
from protocol.team.view import View
from protocol.team.wishes import Wishes
from protocol.turn import Turn


@dataclass(slots=True)
class Attempt:
    """A running agent. `lapsed`: this node slept past its own lease, so the task may have been
    taken over; the agent, probably done by now, may finish, and its result is evidence. Others are
    told of the claim at once, or a moment later."""

    unit: Unit
    token: int
    renewed_at: Nanoseconds
    races: bool = False
    is_told: bool = True
    lapsed: bool = False
    lapsed_at: Nanoseconds = 0
    aborted: bool = False
    begun_at: Nanoseconds = 0
    files: dict[str, bytes] = field(default_factory=dict)  # that others have, as they have them
    made: Made | None = None  # by an earlier attempt: this one only checks it
    asks_person: bool = False  # and keeps no slot
    is_kept: bool = False  # its whole answer
    is_risky: bool = False  # it may end this node, as far as the job says

    @property
    def earlier(self) -> tuple[Share, ...]:
        """What those used whose answer it finishes."""
        return self.made.shares if self.made else ()


@dataclass(slots=True)
class HandedIn:
    """A result that is on its way into the log."""

    unit: Unit
    token: int
    renewed_at: Nanoseconds
    races: bool
    is_told: bool


class Attempts:
    """Those of one node, by the number of their invocation."""

    def __init__(
        self,
        node: NodeId,
        config: TeamConfig,
        ledger: Ledger,
        book: ClaimBook,
        racing: Racing,
        deadlines: Deadlines,
        notes: Notes,
        lore: Lore,
        parts: Parts,
        wishes: Wishes,
        alarm: Alarm,
        numbers: count[int],
    ) -> None:
        self.node = node
        self.config = config
        self.running: dict[int, Attempt] = {}
        self.handed_in: dict[Unit, HandedIn] = {}
        self._tokens: dict[Unit, int] = {}
        self._ledger = ledger
        self._book = book
        self._racing = racing
        self._deadlines = deadlines
        self._notes = notes
        self._lore = lore
        self._parts = parts
        self._wishes = wishes
        self._alarm = alarm
        self._numbers = numbers

    def units(self) -> set[Unit]:
        """What this node works on, or has handed in and not seen accepted."""
        return {attempt.unit for attempt in self.running.values()} | self.handed_in.keys()

    def held(self) -> list[Unit]:
        """What this node works on and does not only race. To wait for a person is no work."""
        return [
            attempt.unit
            for attempt in self.running.values()
            if not attempt.races and not attempt.asks_person
        ]

    def asked(self) -> set[Unit]:
        """What waits for a person here, and keeps no slot."""
        return {attempt.unit for attempt in self.running.values() if attempt.asks_person}

    @property
    def slots_taken(self) -> int:
        """Agents at work."""
        return len(self.running) - len(self.asked())

    def has_room(self, taken: int) -> bool:
        """Whether to take one more unit, beside so many. A node that cannot get its results
        accepted does not pile up more of them."""
        return taken < self.config.slots and len(self.handed_in) < self.config.handed_in_max

    def has_free_slot(self) -> bool:
        """Whether an agent can start now."""
        return self.has_room(self.slots_taken)

    def make_room(self, turn: Turn) -> None:
        """Stop racing for a task that nobody works on; it starts when the agent is gone."""
        races = [each for each in self.running.items() if each[1].races]
        if races and not any(attempt.aborted for attempt in self.running.values()):
            self._abort(turn, races[-1][0], "a task that nobody works on comes first")

    def forget(self, job: str) -> None:
        """Stand for no result of a finished job, and forget what was begun of it."""
        for units in (self.handed_in, self._tokens):
            for unit in [unit for unit in units if unit[0] == job]:
                del units[unit]

    def last_token(self, unit: Unit) -> int:
        """Under which this node last began it, whether it has told of that or not; 0 if never."""
        return self._tokens.get(unit, 0)

    # -- beginning -----------------------------------------------------------------------------

    def start(
        self, turn: Turn, unit: Unit, token: int, races: bool = False, quietly: bool = False
    ) -> None:
        """Start an agent on a unit that this node has under this token, or races. If `quietly`, the
        claim is told only if the work takes longer than `tell_ns`. But a task that is tried once
        may kill this node, and nobody else shall try it then: it starts when its claim is told."""
        found = self._ledger.slot(*unit)
        assert found is not None
        assert found[0].is_ready(found[1]), "a task starts when what it needs is accepted"
        is_risky = found[1].task.attempts_max == 1
        asks_person = found[1].task.asks_person
        assert asks_person or self.slots_taken < self.config.slots
        invocation = next(self._numbers)
        is_told = is_risky or not quietly
        attempt = Attempt(unit, token, turn.now, races, is_told=is_told, begun_at=turn.now)
        attempt.asks_person, attempt.is_risky = asks_person, is_risky
        self.running[invocation] = attempt
        self._tokens[unit] = token
        if attempt.is_told:
            self._say(turn, attempt, Phase.WORKING)
        else:
            self._alarm.ask(turn.now + self.config.tell_ns)
        turn.report(TaskStarted(*unit, token, races))
        assignment = self._assignment(turn, attempt)
        # A program is given under PARTIAL_FOLDER what there is: only what it changes is news.
        for file in assignment.partial:
            attempt.files[kept_path(file.path)] = file.content
        self._perform(turn, attempt, Invoke(invocation, assignment))

    def _abort(self, turn: Turn, invocation: int, reason: str) -> None:
        attempt = self.running[invocation]
        attempt.aborted = True
        self._perform(turn, attempt, Abort(invocation, reason))

    def _perform(self, turn: Turn, attempt: Attempt, effect: Invoke | Abort) -> None:
        """Start or stop its agent; who starts late is stopped no earlier."""
        if attempt.is_risky:
            turn.perform_durable(effect)
        else:
            turn.perform(effect)

    def _assignment(self, turn: Turn, attempt: Attempt) -> Assignment:
        unit, token = attempt.unit, attempt.token
        found = self._ledger.slot(*unit)
        assert found is not None
        job, task, _ = found
        attempt.made = self._parts.made(unit, task)
        if attempt.made is not None:
            answer = attempt.made.answer
            given = assignment_of(job, unit, token)
            return replace(given, purpose=Purpose.FINISH, proposals=(answer,), is_metered=False)
        notes = self._notes.of_slot(unit)
        return replace(
            assignment_of(job, unit, token),
            partial=self._parts.of(unit, task),
            notes=tuple(f"{n.reason}: {n.detail}" for n in notes)[-self.config.notes_max :],
            lore=self._lore.told(job, task.task, turn.wall, unit[2]),
        )

    # -- going on ------------------------------------------------------------------------------

    def share(self, turn: Turn, attempt: Attempt, files: Iterable[File]) -> None:
        """Let everybody have what the attempt has finished so far."""
        self._parts.write(turn, attempt.unit, attempt.token, files, attempt.files)

    def share_so_far(
        self, turn: Turn, attempt: Attempt, files: Iterable[File], keeps: Iterable[File]
    ) -> None:
        """The same for what it has not finished, and for what it keeps for a successor."""
        self.share(turn, attempt, files)
        self._parts.keep(turn, attempt.unit, attempt.token, keeps, attempt.files)

    def keep_answer(
        self, turn: Turn, attempt: Attempt, files: tuple[File, ...], text: str, usage: Usage
    ) -> None:
        """The attempt has its whole answer: until that is accepted it is kept, here and by all, so
        that nobody has to make it again. What takes but a moment and costs nothing is as well made
        again, but for what a person has said: people are not asked twice."""
        self.share(turn, attempt, files)
        takes_long = turn.now - attempt.begun_at >= self.config.tell_ns
        is_dear = usage.tokens_in + usage.tokens_out > 0 or attempt.asks_person
        if not attempt.is_kept and (takes_long or is_dear or attempt.made is not None):
            attempt.is_kept = True
            answer = Proposal(files, text)
            earlier = attempt.earlier
            self._parts.finish(turn, attempt.unit, attempt.token, answer, usage, earlier)

    def check(self, turn: Turn, view: View) -> None:
        """Stop agents whose task is done or held by somebody else."""
        for invocation, attempt in self.running.items():
            if turn.now - attempt.renewed_at > self.config.lease_ns and not attempt.lapsed:
                attempt.lapsed = True
                attempt.lapsed_at = turn.now
            if attempt.aborted:
                continue
            reason = self._reason_to_stop(turn, view, attempt)
            if reason:
                self._abort(turn, invocation, reason)

    def _reason_to_stop(self, turn: Turn, view: View, attempt: Attempt) -> str:
        found = self._ledger.slot(*attempt.unit)
        if reason := self._deadlines.reason(attempt.unit[0]):
            return reason
        if attempt.lapsed:  # a result that is nearly there is worth having, as evidence at least
            ends_at = attempt.lapsed_at + self.config.lease_ns
            if turn.now < ends_at:
                self._alarm.ask(ends_at)
                return ""
            counts = found is not None and found[1].takes(attempt.unit[2], attempt.token)
            return "" if counts else "the task is settled, and the lease long over"
        if found is None or found[0].is_finished:
            return "the job is finished"
        job, task, slot = found
        if not task.is_open or slot.answer:
            return "the task is settled"
        if job.job.claims is ClaimMode.LEASE:
            if attempt.races:
                return self._keep_racing(turn, view, job, slot, attempt)
            held = self._book.get(attempt.unit)
            # A claim of a lower token is this node's own, while the newer one waits to be written.
            is_ours = held and (held.claim.node, held.claim.token) == (self.node, attempt.token)
            if held and held.claim.token >= attempt.token and not is_ours:
                if not attempt.is_told and self._goes_before(attempt, held.claim):
                    self._tell(turn, attempt, Phase.WORKING)
                    return ""
                turn.report(ClaimLost(*attempt.unit, held.claim.node))
                return f"{held.claim.node} holds the task"
            return ""
        if attempt.races and slot.holder == self.node:
            self._take_place(turn, attempt, slot.token)
        if attempt.races and attempt.token < slot.token and self.node in slot.racers:
            attempt.token = slot.token  # the foremost racer has taken the holder's place
            self._say(turn, attempt, Phase.WORKING)
        return "" if slot.has(self.node, attempt.token) else "the claim is void"

    def _keep_racing(
        self, turn: Turn, view: View, job: JobState, slot: Slot, attempt: Attempt
    ) -> str:
        """Follow the holder that the store shows, or take its place; why not to race on."""
        held = self._book.get(attempt.unit)
        if held is None:
            return "the claim is void"
        if held.claim.node == self.node:
            return "this node holds the task itself"
        if held.claim.token > attempt.token:
            attempt.token = held.claim.token
            self._say(turn, attempt, Phase.WORKING)
            return ""
        racers = self._racing.racers(turn.now, view, attempt.unit)
        released = held.claim.phase is Phase.RELEASED
        if released or not self._racing.is_living(turn.now, view, held):
            if racers and racers[0] == self.node:
                if not released:
                    turn.report(LeaseExpired(*attempt.unit, held.claim.node, held.claim.token))
                    self._wishes.fence(turn.now, attempt.unit, held.claim.token + 1)
                self._take_place(turn, attempt, max(held.claim.token + 1, slot.fence))
            return ""
        if self.node in racers[job.job.speculation.clones :]:
            return "others race the task already"
        return ""

    def _take_place(self, turn: Turn, attempt: Attempt, token: int) -> None:
        """Be the holder, and go on."""
        attempt.races = False
        attempt.token = token
        self._say(turn, attempt, Phase.WORKING)

    def renew(self, turn: Turn) -> None:
        """Say that this node is still at it, or still stands for its result."""
        for attempt in self.running.values():
            if attempt.aborted or attempt.lapsed:
                continue
            self._renew(turn, attempt, Phase.WORKING)
        for unit, result in list(self.handed_in.items()):
            found = self._ledger.slot(*unit)
            if found is None or not found[1].takes(unit[2], result.token):
                del self.handed_in[unit]  # accepted, or given up on
                continue
            if found[1].is_late(unit[2], self.node, result.token):  # found wrong, or one too many
                del self.handed_in[unit]
                self._say(turn, result, Phase.RELEASED)
                continue
            self._renew(turn, result, Phase.DONE)

    def _goes_before(self, attempt: Attempt, other: Claim) -> bool:
        """Whether this node's claim, once it is told, wins against another's."""
        own = Claim(self.node, attempt.token, Phase.WORKING)
        return claims.rank(attempt.unit, own) > claims.rank(attempt.unit, other)

    def _tell(self, turn: Turn, work: Attempt | HandedIn, phase: Phase) -> None:
        work.renewed_at, work.is_told = turn.now, True
        self._say(turn, work, phase)

    def _renew(self, turn: Turn, work: Attempt | HandedIn, phase: Phase) -> None:
        patience = self.config.renew_ns if work.is_told else self.config.tell_ns
        if turn.now - work.renewed_at >= patience:
            self._tell(turn, work, phase)
            patience = self.config.renew_ns
        self._alarm.ask(work.renewed_at + patience)

    # -- ending --------------------------------------------------------------------------------

    def hand_in(self, turn: Turn, invocation: int) -> None:
        """The attempt has a result, which is on its way into the log. Mostly it is there before its
        claim has to be renewed, and then nobody else needs to hear of it."""
        attempt = self.running.pop(invocation)
        self.handed_in[attempt.unit] = HandedIn(
            attempt.unit, attempt.token, attempt.renewed_at, attempt.races, attempt.is_told
        )

    def give_up(self, turn: Turn, invocation: int, unchecked: bool = False) -> None:
        """The attempt failed: somebody else may take the unit. If its answer is only `unchecked`,
        whoever does takes that over; of several answers each is its author's own."""
        attempt = self.running.pop(invocation)
        if attempt.made is not None or attempt.is_kept:
            found = self._ledger.slot(*attempt.unit)
            if unchecked and found is not None and len(found[1].slots) == 1:
                self._parts.hand_on(turn, attempt.unit)
            else:
                self._parts.void(turn, attempt.unit)
        self._say(turn, attempt, Phase.RELEASED)

    def let_go(self, turn: Turn, reason: str) -> None:
        """Stop all agents, and leave their units to others, with what was shared of them."""
        for invocation, attempt in self.running.items():
            if not attempt.aborted:
                self._abort(turn, invocation, reason)
                self._say(turn, attempt, Phase.RELEASED)

    def drop(self, turn: Turn, invocation: int) -> None:
        """The attempt was stopped: the unit is settled, or somebody else's."""
        attempt = self.running.pop(invocation)
        if attempt.races:
            self._say(turn, attempt, Phase.RELEASED)

    def _say(self, turn: Turn, work: Attempt | HandedIn, phase: Phase) -> None:
        unit = work.unit
        key = claims.race_key(unit, self.node) if work.races else claims.claim_key(unit)
        turn.write(key, codec.pack_value(Claim(self.node, work.token, phase)))
