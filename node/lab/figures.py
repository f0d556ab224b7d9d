"""Figures that depend on the machine: how long our own machines take, and what an idle team costs.

The goals are the project's, for one core of a machine of 2024. Signatures are real where they are
what is measured, and the simulator's elsewhere.
"""

from __future__ import annotations

import time
from random import Random

from protocol.clocks import SECOND
from protocol.config import GossipConfig, MembershipConfig
from protocol.identity import Identity
from protocol.sim.crowd import Crowd, Scale
from protocol.sim.studies.gossipers import gossiping
from protocol.sim.studies.table import Line, Study
from protocol.sim.studies.townships import acquainted
from protocol.store import Store

CROWD = 1_000
VIRTUAL_S = 60
ENTRIES = 100_000
AUTHORS = 10
PER_BATCH = (1_000, 100, 10)
IDLE_NODES = 100
IDLE_S = 60
SETTLED_NS = 90 * SECOND  # what was news at the start has been told by then


def crowd_seconds(size: int, seed: int) -> float:
    """What a minute of so many members takes, in seconds of this process; making them not
    included."""
    crowd = acquainted(size, str(seed), MembershipConfig())
    begun = time.process_time()
    crowd.run(VIRTUAL_S * SECOND)
    return time.process_time() - begun


def merge_seconds(entries: int, seed: int, per_batch: int) -> float:
    """What it takes to merge so many entries of a few authors, so many to a signed batch, into an
    empty store, in seconds of this process."""
    random = Random(seed)
    batches: list[bytes] = []
    for _ in range(AUTHORS):
        author = Store(Identity(random.randbytes(32)), "figures", entries)
        for first in range(0, entries // AUTHORS, per_batch):
            keys = [f"{author.identity.node}/{first + n}" for n in range(per_batch)]
            batches.append(author.write([(key, b"x" * 32) for key in keys], 1)[0])
    reader = Store(Identity(random.randbytes(32)), "figures", entries)
    begun = time.process_time()
    for batch in batches:
        reader.merge(batch)
    return time.process_time() - begun


def idle_bytes(crowd: Crowd) -> float:
    """Bytes a second that a node of this crowd sends, once it has settled."""
    crowd.run(SETTLED_NS)
    crowd.scale = Scale()
    crowd.run(SETTLED_NS + IDLE_S * SECOND)
    return sum(crowd.scale.sizes.values()) / IDLE_S / len(crowd.places)


def study(seed: int = 1) -> Study:
    """All of them."""
    crowd = crowd_seconds(CROWD, seed)
    merges = [(each, merge_seconds(ENTRIES, seed, each)) for each in PER_BATCH]
    members = idle_bytes(acquainted(IDLE_NODES, str(seed), MembershipConfig()))
    store = idle_bytes(gossiping(IDLE_NODES, str(seed), GossipConfig()))
    lines = (
        Line(f"{CROWD:,} members for {VIRTUAL_S} s", f"{crowd:.1f} s", "60 s", crowd <= 60),
        *(
            Line(
                f"merge of {ENTRIES:,} entries, {each} to a batch",
                f"{took:.2f} s",
                "3 s",
                took <= 3,
            )
            for each, took in merges
        ),
        Line(f"{IDLE_NODES} idle nodes, bytes a second each: membership", f"{members:.0f}"),
        Line(f"{IDLE_NODES} idle nodes, bytes a second each: store", f"{store:.0f}"),
        Line("both", f"{members + store:.0f}", "400", members + store <= 400),
    )
    return Study("figures", "Figures of our own machines, in simulation", lines)
