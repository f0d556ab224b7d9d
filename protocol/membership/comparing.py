"""That all know the same of the team: what is pushed to a few misses some, so views are compared by
their hash, with somebody every tick while there is news and seldom else, and what differs is sent;
but not while newcomers come one after the other.
`view_digest.py` has the sums and the exchange."""

from __future__ import annotations

from collections.abc import Container
from random import Random

from protocol.clocks import Nanoseconds
from protocol.config import MembershipConfig
from protocol.identity import NodeId
from protocol.membership.bustle import Bustle
from protocol.membership.members import Members
from protocol.membership.own_record import OwnRecord
from protocol.membership.reach import Reach
from protocol.membership.records import PAGE_RECORDS_MAX
from protocol.membership.reunion import Reunion
from protocol.membership.states import State
from protocol.membership.verdicts import Verdicts
from protocol.membership.view_digest import part_of
from protocol.messages.membership import MemberSync, News, ViewSummary
from protocol.timers import Timers
from protocol.turn import Turn

COMPARISONS = 10  # after the last news
ROWS_SHARED = 3  # members that get the rows at a time; there are none until something was amiss


class Comparing:
    """See the module's text."""

    def __init__(
        self,
        own: OwnRecord,
        config: MembershipConfig,
        members: Members,
        reach: Reach,
        verdicts: Verdicts,
        reunion: Reunion,
        bustle: Bustle,
        timers: Timers,
        random: Random,
        now: Nanoseconds,
    ) -> None:
        self._own = own
        self._config = config
        self._members = members
        self._reach = reach
        self._verdicts = verdicts
        self._reunion = reunion
        self._bustle = bustle
        self._timers = timers
        self._random = random
        self._until = now
        self._compared_at = now
        timers.set(now + config.sync_interval_ns, self._sync)

    def introduce(self) -> tuple[MemberSync, ViewSummary]:
        """Who this node is, and sums over all that it knows: the other end answers with what
        differs and asks for the rest, which are few pages among those who know each other."""
        digest = self._members.digest
        summary = ViewSummary(digest.fingerprint(), digest.sums(), is_last=False)
        return MemberSync(News((self._own.record,))), summary

    def call(self, turn: Turn, target: str) -> None:
        """Exchange everything with a member, or with whoever listens at a seed's address."""
        for page in self.introduce():
            if self._members.get(NodeId(target)) is not None:
                turn.send(NodeId(target), page)
            else:
                turn.send_to_endpoint(target, page)

    def for_a_while(self, turn: Turn) -> None:
        """There was news, which some may have missed."""
        interval = self._config.compare_interval_ns
        if turn.now >= self._until:
            self._timers.set(turn.now + interval, self._with_somebody)
        self._until = turn.now + COMPARISONS * interval

    def look(self, turn: Turn, sender: NodeId, fingerprint: bytes) -> None:
        """Ask what differs, if anything does; seldom, for while news spreads much does."""
        digest = self._members.digest
        if fingerprint == digest.fingerprint() or self._bustle.is_on(turn.now):
            return
        if turn.now >= self._compared_at + self._config.compare_interval_ns // 2:
            self._compared_at = turn.now
            turn.send(sender, ViewSummary(digest.fingerprint(), digest.sums(), is_last=False))

    def receive(self, turn: Turn, sender: NodeId, message: ViewSummary) -> None:
        if not message.sums:
            self.look(turn, sender, message.fingerprint)
            return
        digest = self._members.digest
        parts = digest.differing(message.sums)
        if not parts:
            return
        for page in self._pages(parts):
            turn.send(sender, page)
        if not message.is_last:
            turn.send(sender, ViewSummary(digest.fingerprint(), digest.sums(), is_last=True))

    def _with_somebody(self, turn: Turn) -> None:
        others = self._reach.in_touch() or self._members.alive()
        if others and not self._bustle.is_on(turn.now):
            fingerprint = self._members.digest.fingerprint()
            partner = others[self._random.randrange(len(others))]
            turn.send(partner, ViewSummary(fingerprint, (), is_last=False))
        if turn.now < self._until:
            self._timers.set(turn.now + self._config.compare_interval_ns, self._with_somebody)

    def _pages(self, parts: Container[int]) -> list[MemberSync]:
        """What is known of the members in these parts, and of this node in any case, in pages that
        fit into a frame."""
        known = [
            (node, each)
            for node, each in self._members
            if each.state is not State.REMEMBERED and part_of(node) in parts
        ]
        records = [self._own.record, *(member.record for _, member in known)]
        rumors = [rumor for node, _ in known for rumor in self._verdicts.rumors_about(node)]
        return [
            MemberSync(
                News(
                    tuple(records[at : at + PAGE_RECORDS_MAX]),
                    tuple(rumors[at : at + PAGE_RECORDS_MAX]),
                )
            )
            for at in range(0, len(records), PAGE_RECORDS_MAX)
        ]

    def _sync(self, turn: Turn) -> None:
        """A comparison with one member, and the rows, which no sum covers, with a few; now and then
        all that is known goes to a seed, in case the team is two. To a member it would be most of
        what an idle team of a hundred says."""
        self._timers.set(turn.now + self._config.sync_interval_ns, self._sync)
        self._share_rows(turn)
        others: list[str] = [*self._members.alive(), *self._reunion.seeds]
        if not others:
            return
        target = NodeId(others[self._random.randrange(len(others))])
        if self._members.get(target) is None:
            self.call(turn, target)
            return
        turn.send(target, ViewSummary(self._members.digest.fingerprint(), (), is_last=False))

    def _share_rows(self, turn: Turn) -> None:
        rows = tuple(self._reach.rows()[:PAGE_RECORDS_MAX])
        alive = self._members.alive()
        for node in self._random.sample(alive, min(ROWS_SHARED, len(alive))) if rows else ():
            turn.send(node, MemberSync(News(rows=rows)))
