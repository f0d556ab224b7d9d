"""News of members: what is to be told to whom, and how often (SWIM, section 4.1).

What is new to this node goes to a few members at once if it is urgent, and then rides on probes and
answers, the least told first, a number of times that grows with the logarithm of the team. A newer
word on a subject takes the place of the older one.

Whoever hears of a suspicion does not pass it on at once, nor does a refutation go further so than
the suspicion went: else a team that is short of time, where many are suspected for a moment, would
be busy with nothing else.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from dataclasses import dataclass
from itertools import islice
from math import ceil, log, log10
from typing import TypeAlias

from protocol.config import MembershipConfig
from protocol.identity import NOBODY, NodeId
from protocol.messages.membership import NO_NEWS, MemberRecord, News, ReachRow, Rumor, Word

Item: TypeAlias = MemberRecord | Rumor | ReachRow
_Subject: TypeAlias = tuple[NodeId, Hashable]

_RECORD, _ROW, _FAILED = "record", "row", "failed"
_FINAL = (Word.FAILED, Word.ENDED)


@dataclass(slots=True)
class _Told:
    item: Item
    times: int = 0


class Grapevine:
    """See the module's text."""

    def __init__(self, config: MembershipConfig) -> None:
        self._config = config
        self._by_times: list[dict[_Subject, _Told]] = []  # how often told -> what
        self._where: dict[_Subject, int] = {}
        self._accusers: dict[NodeId, set[_Subject]] = {}  # what is being said against a node
        self._hot: list[tuple[Item, NodeId]] = []  # and who told it

    def __len__(self) -> int:
        return len(self._where)

    def spread(self, item: Item, is_hot: bool = True, teller: NodeId = NOBODY) -> None:
        """Tell this, of which `teller` told here, from now on; what is hot also to a few members at
        the end of the step."""
        node = item.node
        if isinstance(item, MemberRecord) or (isinstance(item, Rumor) and item.word in _FINAL):
            for subject in self._accusers.pop(node, ()):
                self._drop(subject)
        subject = _subject_of(item)
        if isinstance(item, Rumor):
            self._accusers.setdefault(node, set()).add(subject)
        self._drop(subject)
        self._put(subject, _Told(item))
        if is_hot:
            self._hot.append((item, teller))

    @property
    def is_hot(self) -> bool:
        """Whether there is something that this node has told nobody yet."""
        return bool(self._hot)

    def take_hot(self) -> tuple[News, NodeId]:
        """What this node has told nobody yet, and who knows all of it, as far as is known here."""
        hot, self._hot = self._hot, []
        tellers = {teller for _, teller in hot}
        return news_of(item for item, _ in hot), tellers.pop() if len(tellers) == 1 else NOBODY

    def ride_along(self, team_size: int, about_receiver: Iterable[Rumor] = ()) -> News:
        """The least told news, each a bounded number of times; and always what concerns the
        receiver itself."""
        if not self._where:
            return news_of(about_receiver) if about_receiver else NO_NEWS
        limit = self._config.retransmit_multiplier * ceil(log10(team_size + 1))
        room = self._config.piggyback_max
        chosen: list[tuple[_Subject, _Told]] = []
        for told in self._by_times:
            chosen += islice(told.items(), room - len(chosen))
            if len(chosen) == room:
                break
        for subject, each in chosen:
            self._drop(subject)
            each.times += 1
            if each.times < limit:
                self._put(subject, each)
        return news_of([*(each.item for _, each in chosen), *about_receiver])

    def _put(self, subject: _Subject, told: _Told) -> None:
        while len(self._by_times) <= told.times:
            self._by_times.append({})
        self._by_times[told.times][subject] = told
        self._where[subject] = told.times

    def _drop(self, subject: _Subject) -> None:
        times = self._where.pop(subject, None)
        if times is not None:
            del self._by_times[times][subject]


def fanout(others: int) -> int:
    """To how many of so many others what is new goes at once: enough that all of them have it, with
    high probability, after a few hops (Kermarrec, Massoulie and Ganesh 2003: ln N + c)."""
    return min(max(ceil(log(others + 1)) + 1, 2), 6)


def news_of(items: Iterable[Item]) -> News:
    """The items by kind."""
    items = list(items)
    return News(
        tuple(item for item in items if isinstance(item, MemberRecord)),
        tuple(item for item in items if isinstance(item, Rumor)),
        tuple(item for item in items if isinstance(item, ReachRow)),
    )


def _subject_of(item: Item) -> _Subject:
    if isinstance(item, MemberRecord):
        return (item.node, _RECORD)
    if isinstance(item, ReachRow):
        return (item.node, _ROW)
    if item.word in _FINAL:
        return (item.node, _FAILED)
    return (item.node, (item.word, item.accuser))
