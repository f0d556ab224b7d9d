"""Whom to tell what is new: members with which there is a connection already.

To open one takes as much as dozens of messages, and a team that starts would open all there can be
before it gets to its news. So who is in touch with enough members tells some of those; who is not
tells all of them, and one more if the news is its own or came from several, until it is. Probes
reach everybody in turn, so that after a while all are in touch with all, and the choice is as
random as in *SWIM*.

Who has told it need not be told: while a team starts, that is mostly the one whom all have called.
Who is in touch with the teller alone tells nobody at once: probes and comparisons will, later.
Of a newcomer everybody hears at once that is in touch with whom it has called: those that call at
the same time know each other by this node alone.
"""

from __future__ import annotations

from random import Random

from protocol.identity import NOBODY, NodeId
from protocol.membership.grapevine import fanout
from protocol.membership.members import Members
from protocol.membership.reach import Reach

CALLER_TOLD_MAX = 64  # members that are told of a newcomer by whom it has called


class Confidants:
    """See the module's text."""

    def __init__(self, members: Members, reach: Reach, random: Random) -> None:
        self._members = members
        self._reach = reach
        self._random = random
        self._is_called = False

    def called(self) -> None:
        """There is a newcomer among the news, and it has called here."""
        self._is_called = True

    def choose(self, teller: NodeId) -> list[NodeId]:
        """Whom to tell the news that there is now, all of which came from `teller` (NOBODY: it did
        not come from one alone)."""
        others = [node for node in self._members.alive() if node != teller]
        wanted = fanout(len(others))
        near = [node for node in self._reach.in_touch() if node != teller]
        if self._is_called:
            wanted = max(wanted, min(len(near), CALLER_TOLD_MAX))
        self._is_called = False
        if len(others) <= wanted:
            return others
        if len(near) >= wanted:
            return self._random.sample(near, wanted)
        if teller != NOBODY:
            return near
        strangers = [node for node in others if node not in near]
        return [*near, self._random.choice(strangers)]
