"""Teams that have come together and have nothing to do yet: where measurements begin."""

from __future__ import annotations

from random import Random

from protocol import config as presets
from protocol.clocks import MILLISECOND, SECOND, Nanoseconds
from protocol.config import Config
from protocol.effects import Assignment
from protocol.events import AgentFailed, Completed, Failure
from protocol.jobs import NO_USAGE
from protocol.peer import Peer
from protocol.sim.network import Network
from protocol.sim.world import AgentModel, Host, World

SETTLE_MAX: Nanoseconds = 60 * SECOND
NO_BOUND = 2**62  # of steps: what is measured ends with its virtual time


class NoAgents(AgentModel):
    """Nobody works."""

    def perform(self, assignment: Assignment) -> tuple[Nanoseconds, Completed | AgentFailed]:
        return SECOND, AgentFailed(0, Failure.BACKEND, "there are no agents", (), NO_USAGE)


def settled_world(size: int, seed: int, config: Config | None = None) -> World:
    """`size` nodes that know each other, follow one leader, and have their council."""
    network = Network(Random(f"{seed}/network"), delay_mean_ns=MILLISECOND)
    config = config or presets.local()
    world = World(seed, config, network, NoAgents())
    world.steps_max = NO_BOUND
    for number in range(size):
        world.add_host(found=number == 0, expected=size).start()
    council = min(size, config.raft.council_size)
    council -= 1 - council % 2
    came_together = world.run(SETTLE_MAX, lambda: _is_settled(world, council))
    assert came_together, f"{size} nodes do not come together"
    return world


def _is_settled(world: World, council: int) -> bool:
    peers = peers_of(world)
    leaders = {peer.raft.leader for peer in peers}
    return (
        len(leaders) == 1
        and "" not in leaders
        and all(
            len(peer.raft.configuration.voters) == council
            and not peer.raft.configuration.is_joint
            and len(peer.membership.alive()) == len(peers) - 1
            for peer in peers
        )
    )


def peers_of(world: World) -> list[Peer]:
    """The peers that are up, by the numbers of their hosts."""
    return [host.peer for host in world.hosts if host.peer is not None]


def leader_of(world: World) -> Host:
    """Who leads the latest term. There must be somebody."""
    leading = [host for host in world.hosts if host.peer is not None and host.peer.raft.leadership]
    return max(leading, key=_term_of)


def _term_of(host: Host) -> int:
    return host.peer.raft.term if host.peer else 0
