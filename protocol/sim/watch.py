"""What can be seen of a simulated world while it goes on: a checker looks at facts, a recorder
draws a space-time diagram from messages, faults and facts.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import StrEnum
from typing import TYPE_CHECKING

from protocol.clocks import Nanoseconds
from protocol.effects import Assignment, ReadAnswered, Record, Refused, Reply, Results
from protocol.facts import Fact
from protocol.jobs import Usage
from protocol.messages import Message

if TYPE_CHECKING:
    from protocol.sim.host import Host


class InvariantBroken(Exception):
    """A property that must always hold does not: the checker's name and what it saw."""

    def __init__(self, checker: str, detail: str) -> None:
        super().__init__(f"{checker}: {detail}")
        self.checker = checker
        self.detail = detail

    def __reduce__(self) -> tuple[type[InvariantBroken], tuple[str, str]]:
        return InvariantBroken, (self.checker, self.detail)


class Fate(StrEnum):
    """What became of one copy of a message."""

    DELIVERED = "delivered"
    LOST = "lost"  # on the way, in a cut, or because nobody was there any more
    REFUSED = "refused"  # nobody listens there, and the sender is told
    CORRUPTED = "corrupted"  # and therefore rejected by the codec


class Watcher:
    """Base of all watchers: override what you want to see. A message's `number` is its own for
    the whole run; a copy of it arrives, or not, under the same number. Messages to addresses at
    which there is no node are not seen."""

    def see(self, at: Nanoseconds, host: Host, fact: Fact) -> None:
        """A fact, in the order in which its node reported it."""

    def see_kept(self, at: Nanoseconds, host: Host, records: Sequence[Record]) -> None:
        """A node begins to write these."""

    def see_sent(
        self, at: Nanoseconds, number: int, sender: Host, receiver: Host, message: Message
    ) -> None:
        """A message leaves."""

    def see_arrived(self, at: Nanoseconds, number: int, receiver: Host, fate: Fate) -> None:
        """A copy of it is delivered, or is not."""

    def see_reply(self, at: Nanoseconds, host: Host, reply: Reply) -> None:
        """A client is answered."""

    def see_answer(
        self, at: Nanoseconds, host: Host, answer: Results | ReadAnswered | Refused
    ) -> None:
        """A client of the registers is answered."""

    def see_spent(self, at: Nanoseconds, host: Host, assignment: Assignment, usage: Usage) -> None:
        """An agent calls its model, and this is what the call uses."""

    def see_at_work(self, at: Nanoseconds, host: Host, job: str) -> None:
        """An agent begins, calls its model, or comes to its own end."""

    def see_started(self, at: Nanoseconds, host: Host) -> None:
        """A node starts, or starts again."""

    def see_stopped(self, at: Nanoseconds, host: Host, why: str) -> None:
        """A node crashes, leaves, or gives up."""

    def see_fault(self, at: Nanoseconds, text: str) -> None:
        """The world is made worse, or better again."""


class Hooks:
    """Who wants to see what: only watchers that override a method of the base are called. Most
    things that happen are of no interest to most watchers."""

    def __init__(self, watchers: Sequence[Watcher] = ()) -> None:
        self.see = _overriding(watchers, "see")
        self.see_kept = _overriding(watchers, "see_kept")
        self.see_sent = _overriding(watchers, "see_sent")
        self.see_arrived = _overriding(watchers, "see_arrived")
        self.see_reply = _overriding(watchers, "see_reply")
        self.see_answer = _overriding(watchers, "see_answer")
        self.see_spent = _overriding(watchers, "see_spent")
        self.see_at_work = _overriding(watchers, "see_at_work")
        self.see_started = _overriding(watchers, "see_started")
        self.see_stopped = _overriding(watchers, "see_stopped")
        self.see_fault = _overriding(watchers, "see_fault")


def _overriding(watchers: Sequence[Watcher], name: str) -> list[Callable[..., None]]:
    idle = getattr(Watcher, name)
    return [getattr(w, name) for w in watchers if getattr(type(w), name) is not idle]
