"""When this node tells what is new, of itself and of others.

The first piece goes at once, to the confidants. What follows soon after, as when a team starts, is
gathered into one message, and the longer the stream goes on the more of it: else whoever has no
time for that would be kept busy with telling everybody everything one by one. What this node does
next, such as to go, concerns everybody, and is told to everybody.
"""

from __future__ import annotations

from protocol.clocks import Nanoseconds
from protocol.config import MembershipConfig
from protocol.membership.comparing import Comparing
from protocol.membership.confidants import Confidants
from protocol.membership.grapevine import Grapevine
from protocol.membership.members import Members
from protocol.membership.own_record import OwnRecord
from protocol.messages.membership import MemberSync, News
from protocol.timers import Timers
from protocol.turn import Turn

GATHERED_MAX = 16  # times `gather_ns`: the longest that a stream of news is gathered for


class Telling:
    """See the module's text."""

    def __init__(
        self,
        own: OwnRecord,
        config: MembershipConfig,
        members: Members,
        grapevine: Grapevine,
        confidants: Confidants,
        comparing: Comparing,
        timers: Timers,
        now: Nanoseconds,
    ) -> None:
        self._own = own
        self._gather_ns = config.gather_ns
        self._members = members
        self._grapevine = grapevine
        self._confidants = confidants
        self._comparing = comparing
        self._timers = timers
        self._until = now  # what comes before is gathered
        self._for: Nanoseconds = config.gather_ns

    def flush(self, turn: Turn) -> None:
        """At the end of a step: tell what this node has told nobody yet, if its time has come."""
        if not self._grapevine.is_hot or self._until > turn.now:
            return
        hot, teller = self._grapevine.take_hot()
        goes_on = turn.now - self._until < self._for
        longer = min(2 * self._for, GATHERED_MAX * self._gather_ns)
        self._for = longer if goes_on else self._gather_ns
        self._until = turn.now + self._for
        self._timers.set(self._until, self._end_gathering)
        self._comparing.for_a_while(turn)
        for node in self._confidants.choose(teller):
            turn.send(node, MemberSync(hot))

    def _end_gathering(self, turn: Turn) -> None:
        """The step that this is part of ends with a flush."""

    def tell_everybody(self, turn: Turn) -> None:
        """Say to everybody what this node says of itself now."""
        for node in self._members.alive():
            turn.send(node, MemberSync(News((self._own.record,))))
