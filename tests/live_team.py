"""A team of real processes for the tests of one file, started and stopped."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from node.lab.cluster import Cluster, ModelOptions

FAST = ModelOptions(speed=25.0)


def started(folder: Path, nodes: int, *, allow_faults: bool = False) -> Iterator[Cluster]:
    """A running team, for a fixture to yield from."""
    cluster = Cluster.create(folder, nodes, allow_faults=allow_faults)
    try:
        cluster.start(FAST)
        yield cluster
    finally:
        cluster.stop()
