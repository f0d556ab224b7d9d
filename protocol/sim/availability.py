"""How available a team is during a partial cut: `partial_cuts` says what is cut and what counts.

    measure("howard5", seed=1)  ──▶  Availability(any_node=1.0, by_node=(1.0, ...), term_growth=0)

A client at each node writes every 100 ms, as long as not too many of its writes are unanswered.
"""

from __future__ import annotations

from protocol.clocks import MILLISECOND, SECOND, Nanoseconds
from protocol.config import Config
from protocol.effects import ReadAnswered, Refused, Results
from protocol.events import Commanded
from protocol.registers import Command, Verb
from protocol.sim.partial_cuts import (
    DURATION_NS,
    SIZES,
    Availability,
    Links,
    all_links,
    links_of,
    served,
    since,
)
from protocol.sim.settled import leader_of, peers_of, settled_world
from protocol.sim.watch import Watcher
from protocol.sim.world import Host

WRITE_EVERY_NS: Nanoseconds = 100 * MILLISECOND
LOOK_EVERY_NS: Nanoseconds = 10 * MILLISECOND  # at links and leaders
WARM_UP_NS: Nanoseconds = 3 * SECOND
UNANSWERED_MAX = 2_000  # of one client


class Client(Watcher):
    """Writes at one node, and notes when what was confirmed. `failed` are the requests that were
    refused, with their time."""

    def __init__(self, host: Host) -> None:
        self.host = host
        self.asked: dict[int, Nanoseconds] = {}
        self.confirmed: list[tuple[Nanoseconds, Nanoseconds]] = []  # asked, confirmed
        self.failed: list[tuple[Nanoseconds, str]] = []
        self._last = 0
        host.world.watch(self)

    def write(self) -> None:
        """Ask for one more."""
        if len(self.asked) < UNANSWERED_MAX:
            self._last += 1
            self.asked[self._last] = self.host.world.now
            command = Command(Verb.PUT, f"cut/{self.host.number}", b"%d" % self._last)
            self.host.submit(Commanded(self._last, (command,)))

    def see_answer(
        self, at: Nanoseconds, host: Host, answer: Results | ReadAnswered | Refused
    ) -> None:
        if host is not self.host:
            return
        if isinstance(answer, Results):
            for request in range(answer.first, answer.first + len(answer.results)):
                self.confirmed.append((self.asked.pop(request), at))
        elif isinstance(answer, Refused):
            for request in range(answer.first, answer.first + answer.count):
                del self.asked[request]
                self.failed.append((at, answer.error))


class Measurement:
    """One team during one cut. The times of `clients` are the world's; `began` is the cut's."""

    def __init__(
        self,
        name: str,
        seed: int,
        config: Config | None = None,
        duration: Nanoseconds = DURATION_NS,
    ) -> None:
        self.name = name
        self.duration = duration
        self.size = SIZES[name]
        self.world = settled_world(self.size, seed, config)
        self.clients = [Client(host) for host in self.world.hosts]
        self.leaders_at_once = 0
        self._writes_at = self.world.now
        self._run(WARM_UP_NS)
        self.leader = leader_of(self.world).number
        self.began = self.world.now
        self._term = self._highest_term()

    def run(self) -> Availability:
        """Cut, and see what happens."""
        self.leaders_at_once = 0
        self._run(self.duration, cut=True)
        writes = [since(self.began, client.confirmed) for client in self.clients]
        any_node, by_node = served(writes, self.duration)
        growth = self._highest_term() - self._term
        return Availability(any_node, by_node, growth, self.leaders_at_once)

    def links(self) -> Links:
        """The links that work now."""
        at = self.world.now - self.began
        return links_of(self.name, self.size, self.leader, at, self.duration)

    def _run(self, duration: Nanoseconds, cut: bool = False) -> None:
        until = self.world.now + duration
        while self.world.now < until:
            if cut:
                self.world.network.block(self.name, all_links(self.size) - self.links())
            if self.world.now >= self._writes_at:
                self._writes_at += WRITE_EVERY_NS
                for client in self.clients:
                    client.write()
            self.world.run(self.world.now + LOOK_EVERY_NS)
            leading = sum(peer.raft.leadership is not None for peer in peers_of(self.world))
            self.leaders_at_once = max(self.leaders_at_once, leading)

    def _highest_term(self) -> int:
        return max(peer.raft.term for peer in peers_of(self.world))


def measure(name: str, seed: int, config: Config | None = None) -> Availability:
    """How available a team is, through each of its nodes, during the cut of this name."""
    return Measurement(name, seed, config).run()
