"""What a leader sends and receives, as the team grows.

    python -c "from protocol.sim.traffic import measure; print(measure(size=50, seed=1))"

A settled team, a small steady load of register writes through a few nodes drawn at random, and a
count of the leader's messages: those of the agreement, and all.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

from protocol.clocks import SECOND, Nanoseconds
from protocol.config import Config
from protocol.effects import Effect, Send
from protocol.events import Commanded, Event, Received
from protocol.messages import Message
from protocol.messages.agreement import Agreement, Relay
from protocol.peer import Peer
from protocol.registers import Command, Verb
from protocol.sim.settled import leader_of, peers_of, settled_world
from protocol.sim.world import Host, World

DURATION_NS: Nanoseconds = 10 * SECOND
WRITES_PER_S = 10
WRITERS = 4


@dataclass(frozen=True, slots=True)
class Traffic:
    """Messages a second, sent and received together. `lag_s`: how long after the last write all
    nodes had applied all."""

    size: int
    agreement: float
    everything: float
    mean_everything: float  # over all nodes
    lag_s: float


class Tap:
    """Counts what goes through a peer, until it is removed."""

    def __init__(self, peer: Peer) -> None:
        self.peer = peer
        self.agreement = 0
        self.everything = 0
        self._step = peer.step
        vars(peer)["step"] = self.step

    def step(self, event: Event, now: Nanoseconds) -> list[Effect]:
        """In place of the peer's own."""
        if isinstance(event, Received):
            self._count(event.message)
        effects = self._step(event, now)
        for effect in effects:
            if isinstance(effect, Send):
                self._count(effect.message)
        return effects

    def remove(self) -> None:
        del vars(self.peer)["step"]

    def _count(self, message: Message) -> None:
        self.everything += 1
        self.agreement += isinstance(message, Agreement | Relay)


def measure(
    size: int, seed: int, duration: Nanoseconds = DURATION_NS, config: Config | None = None
) -> Traffic:
    """The traffic of a team of this size."""
    world = settled_world(size, seed, config)
    random = Random(f"{seed}/traffic")
    leader = leader_of(world).peer
    assert leader is not None
    others = [host for host in world.hosts if host.peer is not leader]
    writers = random.sample(others, min(WRITERS, len(others)))
    requests: Counter[int] = Counter()
    _write(world, writers, requests, SECOND)  # now their sessions are open
    taps = {id(peer): Tap(peer) for peer in peers_of(world)}
    began = world.now
    _write(world, writers, requests, duration)
    assert leader.raft.leadership is not None, "somebody else leads now"
    for tap in taps.values():
        tap.remove()
    seconds = (world.now - began) / SECOND
    ended = world.now
    world.run(ended + 10 * SECOND, lambda: _is_level(world))
    of_leader = taps[id(leader)]
    return Traffic(
        size,
        of_leader.agreement / seconds,
        of_leader.everything / seconds,
        sum(tap.everything for tap in taps.values()) / seconds / size,
        (world.now - ended) / SECOND,
    )


def _write(
    world: World, writers: Sequence[Host], requests: Counter[int], duration: Nanoseconds
) -> None:
    """Write through one after the other; `requests` is how many each has had."""
    for number in range(duration * WRITES_PER_S // SECOND):
        host = writers[number % len(writers)]
        requests[host.number] += 1
        command = Command(Verb.PUT, f"key/{number % 100}", b"value")
        host.submit(Commanded(requests[host.number], (command,)))
        world.run(world.now + SECOND // WRITES_PER_S)


def _is_level(world: World) -> bool:
    return len({peer.ledger.applied for peer in peers_of(world)}) == 1
