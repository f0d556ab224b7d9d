"""Crowds of membership machines that know each other already: where studies of SWIM begin."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any

from protocol.clocks import Nanoseconds
from protocol.config import MembershipConfig
from protocol.facts import Fact
from protocol.identity import NodeId
from protocol.membership import Membership
from protocol.membership.records import sign_record
from protocol.messages.membership import MemberRecord, MemberSync, News
from protocol.sim.crowd import Crowd, Place
from protocol.sim.signatures import Secrets, SimulatedIdentity
from protocol.turn import Turn

CLUSTER = "township"


class Townsman(Membership):
    """A membership machine that notes whom it hears, as `Peer` does for it."""

    def receive(self, turn: Turn, sender: NodeId, message: Any) -> None:
        self.heard(sender, turn.now)
        super().receive(turn, sender, message)


def acquainted(
    size: int,
    seed: str,
    config: MembershipConfig,
    see: Callable[[Nanoseconds, Place, Fact], None] | None = None,
) -> Crowd:
    """`size` members, each of which has just been told of all the others."""
    crowd = Crowd(Random(f"{seed}/crowd"), see=see)
    secrets: Secrets = {}
    identities = [
        SimulatedIdentity(number.to_bytes(32, "big"), secrets) for number in range(1, size + 1)
    ]
    records = [
        sign_record(
            identity,
            CLUSTER,
            MemberRecord(identity.public_key, f"n{n}", (f"t{n}:1",), 1, 0, False, (), b""),
        )
        for n, identity in enumerate(identities)
    ]
    everybody = MemberSync(News(tuple(records)))
    for number, (identity, record) in enumerate(zip(identities, records, strict=True)):
        random = Random(f"{seed}/{number}")
        machine = Townsman(identity, CLUSTER, record, (), (), config, random, 0)
        # Told as if by itself, and its first words are swallowed: all know all, nothing is news.
        first = Turn(0, 0, 1)
        Membership.receive(machine, first, identity.node, everybody)
        machine.flush(Turn(0, 0, 1))
        crowd.add(identity.node, record.endpoints[0], machine)
    return crowd
