"""What is held of each member: who accuses it and whether that is enough, how long it has to
refute, what its failure means for the team, and when it is forgotten. `members.py` has the table of
states that all this moves it through.

    accuse        no answer: suspected, or confirmed        refused   hard evidence, two witnesses
    hear          what others say                           returned  it is back: how often now?
    judge_sides   one crash, or a cut                       forget    it is not wanted back
"""

from __future__ import annotations

from random import Random

from protocol.clocks import Nanoseconds
from protocol.config import MembershipConfig
from protocol.effects import ForgetMember
from protocol.facts.membership import (
    Evidence,
    MemberDegraded,
    MemberFailed,
    MemberForgotten,
    MemberSteady,
    MemberSuspected,
)
from protocol.identity import NOBODY, NodeId
from protocol.membership.damping import Damping
from protocol.membership.go_between import GoBetween
from protocol.membership.grapevine import Grapevine, fanout
from protocol.membership.members import Member, Members
from protocol.membership.probing import Probing
from protocol.membership.reach import Reach
from protocol.membership.rows import Rows
from protocol.membership.sides import Sides
from protocol.membership.states import STOPPING, State
from protocol.membership.suspicion import suspicion_timeout
from protocol.messages.membership import MemberSync, News, Rumor, Word
from protocol.timers import Timers
from protocol.turn import Turn

SMALL_TEAM = 3  # in which one witness of a refused connection is enough: there may be no other
MISSED_FOR = 30  # times `forget_after_ns`: a month, by default, in which a forgotten one may return
_FINAL_WORD = {
    Evidence.REFUSED: Word.ENDED,
    Evidence.STOPPED: Word.ENDED,
    Evidence.SILENCE: Word.FAILED,
    Evidence.DEAF: Word.FAILED,
}
FINAL_WORDS = frozenset(_FINAL_WORD.values())


class Verdicts:
    """See the module's text."""

    def __init__(
        self,
        own: NodeId,
        config: MembershipConfig,
        members: Members,
        reach: Reach,
        rows: Rows,
        grapevine: Grapevine,
        probing: Probing,
        timers: Timers,
        random: Random,
    ) -> None:
        self._own = own
        self._config = config
        self._members = members
        self._reach = reach
        self._rows = rows
        self._grapevine = grapevine
        self._probing = probing
        self._timers = timers
        self._random = random
        self._damping = Damping(config.flap_half_life_ns)
        self._sides = Sides(2 * config.probe_interval_ns)
        self.go_between = GoBetween(config, members, timers)

    def rumors_about(self, node: NodeId) -> tuple[Rumor, ...]:
        """What there is to say to or about a node that is not held to be alive."""
        member = self._members.get(node)
        if member is None:
            last = self._members.forgotten(node)
            if last is None:
                return ()
            said_by = NOBODY if last.missed_until else self._own
            return (Rumor(node, *last.record.version, said_by, Word.FORGOTTEN),)
        if member.state is State.SUSPECT:
            return (_rumor(node, member, member.accuser, Word.SUSPECTED),)
        if member.state is State.FAILED:
            word = _FINAL_WORD[member.evidence or Evidence.SILENCE]
            return (_rumor(node, member, member.accuser, word),)
        return ()

    def suspicion_timeout(self, now: Nanoseconds, confirmations: int = 0) -> Nanoseconds:
        """How long a suspect has to refute, with so many to confirm what the first one said. Who
        was not heard of late confirms nothing: on the small side of a cut there may be few. Who is
        not believed yet is waited for all the same: if one accuser were enough, a member that is
        slow while a cut heals would fail. If nobody at all is heard, it is more likely this node
        that is in trouble than all others."""
        lately = now - 2 * self._config.probe_interval_ns
        heard = sum(
            member.state is State.ALIVE and self._reach.heard_at(node) > lately
            for node, member in self._members
        )
        is_alone = heard == 0 and len(self._members.alive()) >= SMALL_TEAM
        wanted = (
            self._config.confirmations_max
            if is_alone
            else min(self._config.confirmations_max, heard)
        )
        return suspicion_timeout(
            self._config, len(self._members.alive()) + 1, confirmations, wanted
        )

    def accuse(
        self, turn: Turn, node: NodeId, member: Member, accuser: NodeId, teller: NodeId = NOBODY
    ) -> None:
        """`accuser` gets no answer from it, says `teller`, or nobody but this node itself."""
        if member.state is State.ALIVE:
            self._members.move(member, State.SUSPECT, turn.now)
            member.accuser = accuser
            member.accusers.add(accuser)
            turn.report(MemberSuspected(node, accuser))
            rumor = _rumor(node, member, accuser, Word.SUSPECTED)
            self._grapevine.spread(rumor, is_hot=accuser == self._own)
            self._await_refutation(turn, node, member)
            if teller == accuser:  # it has told a few: some of those look for themselves
                self._look_for_ourselves(turn, node)
        elif (
            member.state is not State.SUSPECT
            or accuser in member.accusers
            or len(member.accusers) > self._config.confirmations_max
        ):
            return
        else:
            member.accusers.add(accuser)
            rumor = _rumor(node, member, accuser, Word.SUSPECTED)
            self._grapevine.spread(rumor, is_hot=accuser == self._own)

    def refused(self, turn: Turn, node: NodeId, member: Member, witness: NodeId) -> None:
        """Hard evidence: a host answered that nobody listens at the member's address. Two see it
        independently before it counts, for one of them may look at the wrong host."""
        if witness in member.witnesses:
            return
        member.witnesses.add(witness)
        team = len(self._members.alive()) + 1
        if len(member.witnesses) >= (1 if team <= SMALL_TEAM else self._config.witnesses):
            self._fail(turn, node, member, witness)
            return
        self._grapevine.spread(_rumor(node, member, witness, Word.REFUSED))
        if witness != self._own:
            self._probing.probe(turn, node)

    def hear(self, turn: Turn, rumor: Rumor, teller: NodeId) -> None:
        """What somebody says of another member, as `teller` tells it."""
        member = self._members.get(rumor.node)
        if member is None or rumor.version < member.record.version:
            return  # older than what its owner says
        is_wanted_away = rumor.word is Word.FORGOTTEN and rumor.accuser != NOBODY
        if is_wanted_away and self.forget(turn, rumor.node):  # what is on its disk may be older
            self._grapevine.spread(rumor)
        if rumor.version != member.record.version or not member.is_here:
            return  # of a record that will still arrive, or nothing new
        match rumor.word:
            case Word.SUSPECTED | Word.FAILED if self._is_from_across(turn, rumor, member):
                self.go_between.tell(turn, rumor, teller)
                if rumor.word is Word.SUSPECTED:  # it is of now, perhaps: a cut ends in failures
                    self._look_for_ourselves(turn, rumor.node)
            case Word.SUSPECTED:
                self.accuse(turn, rumor.node, member, rumor.accuser, teller)
            case Word.REFUSED:
                self.refused(turn, rumor.node, member, rumor.accuser)
            case Word.FAILED:
                self._hear_of_failure(turn, rumor.node, member, rumor.accuser)
            case Word.ENDED:
                member.witnesses.add(rumor.accuser)
                self._fail(turn, rumor.node, member, rumor.accuser)
            case Word.FORGOTTEN:  # it came back meanwhile, or there is something between the two
                turn.send(rumor.node, MemberSync(News((), (rumor,))))

    def _is_from_across(self, turn: Turn, rumor: Rumor, member: Member) -> bool:
        """Whether who says that a member is silent was silent itself, here, until lately, and the
        member was not: it tells of the cut between them, or of how long it stood still. If that
        were believed, a cut that heals would make suspects of all members of either side. What is
        still said when the accused was told of it, and had the time to refute, is of now."""
        accuser = self._members.get(rumor.accuser)
        if accuser is None or not self._config.distrust or _came_with_this(turn, member):
            return False
        if self.go_between.is_unanswered(turn.now, rumor):
            return False
        lately = self._distrusted_since(turn.now)
        return (accuser.is_silent or accuser.back_at > lately) and member.back_at <= lately

    def _distrusted_since(self, now: Nanoseconds) -> Nanoseconds:
        """Who has come back after this time is not believed at once of who was here."""
        longest = suspicion_timeout(self._config, len(self._members.alive()) + 1, 0, 1)
        return now - int(self._config.distrust * longest)

    def _hear_of_failure(self, turn: Turn, node: NodeId, member: Member, accuser: NodeId) -> None:
        """Suspicion comes first, so whoever hears of a failure first of all may be hearing the
        other side of a cut that has healed, or a node that stood still and tells now what it took
        the others' silence for: the accused gets the time to refute."""
        shortest = suspicion_timeout(self._config, len(self._members.alive()) + 1, 0, 0)
        patience = int(self._config.hearsay_share * shortest)
        known = member.state is State.SUSPECT and turn.now - member.since >= patience
        if known or _came_with_this(turn, member):
            self._fail(turn, node, member, accuser)
        else:
            self.accuse(turn, node, member, accuser)

    def _look_for_ourselves(self, turn: Turn, node: NodeId) -> None:
        """A few of those who hear of a suspicion probe the suspect too: it hears of the accusation,
        or there is somebody to confirm it."""
        told = fanout(len(self._members.alive()))
        if self._random.random() * told < self._config.second_opinions:
            self._probing.probe(turn, node)

    def _await_refutation(self, turn: Turn, node: NodeId, member: Member) -> None:
        """Look again when the time is over, and before that now and then, since it may shrink."""
        end = member.since + self.suspicion_timeout(turn.now, len(member.accusers) - 1)
        at = min(end, turn.now + self._config.probe_interval_ns // 2)
        self._timers.set(at, self._look_at_suspect, node, member.record.version)

    def _look_at_suspect(self, turn: Turn, node: NodeId, version: tuple[int, int]) -> None:
        member = self._members.get(node)
        if member is None or member.state is not State.SUSPECT or member.record.version != version:
            return
        if turn.now >= member.since + self.suspicion_timeout(turn.now, len(member.accusers) - 1):
            self._fail(turn, node, member, self._own)
        else:
            self._await_refutation(turn, node, member)

    def _fail(self, turn: Turn, node: NodeId, member: Member, accuser: NodeId) -> None:
        since = member.since
        if STOPPING in dict(member.record.metadata):
            evidence = Evidence.STOPPED
        elif member.witnesses:
            evidence = Evidence.REFUSED
        elif member.state is State.SUSPECT and self._reach.heard_at(node) > since:
            evidence = Evidence.DEAF
        else:
            evidence = Evidence.SILENCE
        self._members.move(member, State.FAILED, turn.now)
        self._reach.lost_touch(node)
        member.accuser, member.evidence = accuser, evidence
        turn.report(MemberFailed(node, accuser, evidence.value))
        self._grapevine.spread(_rumor(node, member, accuser, _FINAL_WORD[evidence]))
        self._timers.set(turn.now + self._config.forget_after_ns, self._forget_if_gone, node)
        self._rows.tell_soon(turn)
        if _FINAL_WORD[evidence] is not Word.ENDED:
            self._timers.set(self._sides.lost(node, turn.now), self._judge_sides)

    def ended(self, turn: Turn, node: NodeId) -> None:
        """A member that had failed in silence refuses connections: it was across a cut, perhaps,
        and is there no more."""
        self._sides.found(node)
        self._judge_sides(turn)

    def stood_still(self, late: Nanoseconds) -> None:
        """This node did, for so long: suspects get as much more time."""
        for _, member in self._members:
            if member.state is State.SUSPECT:
                member.since += late
        self.go_between.stood_still(late)

    def left(self, turn: Turn, node: NodeId) -> None:
        """It said so itself."""
        self._timers.set(turn.now + self._config.forget_after_ns, self._forget_if_gone, node)

    def returned(self, turn: Turn, node: NodeId, member: Member) -> None:
        self._sides.found(node)
        self._judge_sides(turn)
        if self._damping.returned(node, turn.now) and not member.degraded:
            member.degraded = True
            turn.report(MemberDegraded(node))
            self._timers.set(turn.now + self._config.flap_half_life_ns, self._look_if_steady, node)

    def _look_if_steady(self, turn: Turn, node: NodeId) -> None:
        member = self._members.get(node)
        if member is None or not member.degraded:
            return
        if member.state is State.ALIVE and self._damping.is_steady(node, turn.now):
            member.degraded = False
            turn.report(MemberSteady(node))
        else:
            self._timers.set(turn.now + self._config.flap_half_life_ns, self._look_if_steady, node)

    def across_cut(self) -> list[NodeId]:
        """Members that this node holds to be on the other side of a cut, as TeamSplit and Isolated
        told; nobody while the team is whole."""
        return self._sides.across()

    def _judge_sides(self, turn: Turn) -> None:
        fact = self._sides.judge(turn.now, len(self._members.alive()))
        if fact is not None:
            turn.report(fact)

    def forget(self, turn: Turn, node: NodeId, missed_until: Nanoseconds = 0) -> bool:
        """Drop a member that has failed or left; False if there is none such. It comes back only by
        a newer record of its own."""
        member = self._members.get(node)
        if member is None or member.is_here:
            return False
        self._members.forget(node, missed_until)
        self.go_between.forget(node)
        self._reach.forget(node)
        self._sides.found(node)
        turn.persist(ForgetMember(node))
        turn.report(MemberForgotten(node))
        self._judge_sides(turn)
        return True

    def forget_for_all(self, turn: Turn, node: NodeId) -> bool:
        """Forget it here, and let the others do the same."""
        member = self._members.get(node)
        if member is None or not self.forget(turn, node):
            return False
        self._grapevine.spread(_rumor(node, member, self._own, Word.FORGOTTEN))
        return True

    def _forget_if_gone(self, turn: Turn, node: NodeId) -> None:
        member = self._members.get(node)
        forget_after = self._config.forget_after_ns
        if member is not None and turn.now - member.since >= forget_after:
            has_left = member.state is State.LEFT
            missed_until = 0 if has_left else turn.now + MISSED_FOR * forget_after
            self.forget(turn, node, missed_until)


def _came_with_this(turn: Turn, member: Member) -> bool:
    """Whether it is here only since this very step: what is said of it came with its record."""
    return member.state is State.ALIVE and member.since == turn.now


def _rumor(node: NodeId, member: Member, accuser: NodeId, word: Word) -> Rumor:
    epoch, incarnation = member.record.version
    return Rumor(node, epoch, incarnation, accuser, word)
