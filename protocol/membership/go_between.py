"""Between two sides that find each other again: who is said to be silent is told so by those who
hear it, and its refutation goes back the way that the accusation came.

Without the second half all have refuted within a tenth of a second and yet the sides hear of it for
seconds: on its own side a refutation is no news to anybody, and few links lead across as yet.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice

from protocol.clocks import Nanoseconds
from protocol.config import MembershipConfig
from protocol.identity import NodeId
from protocol.membership.members import Members
from protocol.membership.records import PAGE_RECORDS_MAX
from protocol.messages.membership import MemberSync, News, Rumor
from protocol.timers import Timers
from protocol.turn import Turn

OLD = 20  # probe intervals: what was told so long ago is told anew
TELLERS_MAX = 8  # of an accusation that are answered


@dataclass(slots=True)
class _Told:
    """A member was told what is said of this version of its record, and by whom."""

    version: tuple[int, int]
    at: Nanoseconds
    tellers: list[NodeId]


class GoBetween:
    """See the module's text."""

    def __init__(self, config: MembershipConfig, members: Members, timers: Timers) -> None:
        self._config = config
        self._members = members
        self._timers = timers
        self._told: dict[NodeId, _Told] = {}
        self._owed: dict[NodeId, dict[NodeId, None]] = {}  # to a teller -> of whom

    def tell(self, turn: Turn, rumor: Rumor, teller: NodeId) -> None:
        """The accused shall refute: those that hold it to have failed wait for that."""
        told = self._told.get(rumor.node)
        if told is None or told.version != rumor.version or self._is_old(turn.now, told):
            told = self._told[rumor.node] = _Told(rumor.version, turn.now, [])
            turn.send(rumor.node, MemberSync(News((), (rumor,))))
        if teller not in told.tellers and len(told.tellers) < TELLERS_MAX:
            told.tellers.append(teller)

    def is_unanswered(self, now: Nanoseconds, rumor: Rumor) -> bool:
        """Whether the accused was told of it, and has had the time to refute."""
        told = self._told.get(rumor.node)
        return (
            told is not None
            and told.version == rumor.version
            and now >= told.at + self._config.probe_interval_ns
            and not self._is_old(now, told)
        )

    def _is_old(self, now: Nanoseconds, told: _Told) -> bool:
        """It is not of this time that the sides find each other."""
        return now >= told.at + OLD * self._config.probe_interval_ns

    def stood_still(self, late: Nanoseconds) -> None:
        """This node did, for so long: the answers may lie in its mail."""
        for told in self._told.values():
            told.at += late

    def answered(self, turn: Turn, node: NodeId) -> None:
        """There is a newer record of it: those that told of the older one get it soon, with what
        comes for them meanwhile."""
        told = self._told.pop(node, None)
        if told is None:
            return
        if not self._owed:
            self._timers.set(turn.now + self._config.gather_ns, self._pass_on)
        for teller in told.tellers:
            self._owed.setdefault(teller, {})[node] = None

    def forget(self, node: NodeId) -> None:
        """It is out of the team."""
        self._told.pop(node, None)

    def _pass_on(self, turn: Turn) -> None:
        owed, self._owed = self._owed, {}
        for teller, nodes in owed.items():
            # What is beyond comes with the next comparison.
            members = map(self._members.get, islice(nodes, PAGE_RECORDS_MAX))
            records = tuple(member.record for member in members if member and member.is_here)
            if records:
                turn.send(teller, MemberSync(News(records)))
