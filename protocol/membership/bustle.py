"""Whether one newcomer comes after the other, as while a team starts.

All views differ then, in what is on its way already; and who opens a connection to somebody that it
has just heard of, or sends all that differs, takes the time that the news needs. So what can wait a
moment does: comparisons, and first words to members with which there is no connection yet. It does
not wait for long: in a team that is large enough, somebody always comes.
"""

from __future__ import annotations

from protocol.clocks import Nanoseconds
from protocol.config import MembershipConfig

CALM = 2  # intervals of comparing: so long it goes on after a newcomer
LONGEST = 16  # such intervals; and so long nobody may have come before there is another bustle


class Bustle:
    """It is over when nobody has come for a moment, or once it has gone on for too long. Who comes
    soon after that belongs to it: newcomers at whatever pace cause one, and not one each."""

    def __init__(self, config: MembershipConfig, now: Nanoseconds) -> None:
        self._calm = CALM * config.compare_interval_ns
        self._longest = LONGEST * config.compare_interval_ns
        self._since = self._last = now - self._longest

    def newcomer(self, now: Nanoseconds) -> None:
        """Somebody was heard of for the first time."""
        if now >= self._last + self._longest:
            self._since = now
        self._last = now

    def is_on(self, now: Nanoseconds) -> bool:
        return now < self._last + self._calm and now < self._since + self._longest
