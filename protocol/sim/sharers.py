"""Clients of the store: each writes and deletes shared values and announces events, at any node.

What comes of it is looked at by `store_checks`: equal stores at the end, nothing that was replaced
or deleted shows again, each event at most once at each node, in its author's order, and an entry of
its own on the node's disk for each wish that was answered.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import count
from random import Random

from protocol.announcing import PREFIX as EVENTS
from protocol.clocks import MILLISECOND, SECOND, Nanoseconds
from protocol.entries import PREFIX as ENTRIES
from protocol.events import Announced, EntryWritten
from protocol.sim.host import Host
from protocol.sim.world import World

KINDS = ("", "", "last/", "max/", "sum/", "set/")
FIRST_REQUEST = 2**40  # beyond the numbers of others
Note = Callable[[Host, int, str], None]  # who was asked, the request, the key to be written


@dataclass(frozen=True, slots=True)
class SharingOptions:
    """How many clients, over how many keys, and how long they think on average."""

    clients: int
    keys: int
    think_ns: Nanoseconds

    def __str__(self) -> str:
        return f"clients={self.clients} keys={self.keys} think={self.think_ns / MILLISECOND:g}ms"


NO_SHARING = SharingOptions(0, 1, SECOND)


def draw_sharing(random: Random) -> SharingOptions:
    """None in half of the seeds."""
    return SharingOptions(
        clients=random.choice((0, 0, 1, 3)),
        keys=random.choice((1, 3, 10)),
        think_ns=random.choice((100, 500, 2_000)) * MILLISECOND,
    )


class Sharer:
    """One of them, until `until`."""

    def __init__(
        self,
        world: World,
        random: Random,
        options: SharingOptions,
        until: Nanoseconds,
        numbers: count[int],
        note: Note,
    ) -> None:
        self._world = world
        self._numbers = numbers
        self._note = note
        self._random = random
        self._options = options
        self._until = until

    def begin(self) -> None:
        """Do something, and again after a while."""
        if self._world.now >= self._until:
            return
        random = self._random
        host = random.choice([each for each in self._world.hosts if each.peer] or [None])
        number = random.randrange(self._options.keys)
        draw = random.random()
        if host is None:
            pass  # nobody is up
        elif draw < 0.15:
            request = next(self._numbers)
            self._note(host, request, EVENTS)
            host.submit(Announced(request, "sim", str(self._world.now)))
        else:
            key = f"{random.choice(KINDS)}{number}"
            value = None if draw < 0.4 else b"%d" % random.randrange(100)
            request = next(self._numbers)
            self._note(host, request, ENTRIES + key)
            host.submit(EntryWritten(request, key, value))
        think = 1 + int(random.expovariate(1.0) * self._options.think_ns)
        self._world.after(think, self.begin)


def sharers(
    world: World, options: SharingOptions, until: Nanoseconds, seed: int, note: Note
) -> list[Sharer]:
    """As many as the options say. `note` is told what is wished for."""
    numbers = count(FIRST_REQUEST)
    return [
        Sharer(world, Random(f"{seed}/sharer/{number}"), options, until, numbers, note)
        for number in range(options.clients)
    ]
