"""What a simulated world is made of, and each fault by itself: links, disks, clocks, processes."""

from __future__ import annotations

from random import Random

import pytest
from ledger_hand import job, task
from small_world import SmallWorld

from protocol.clocks import MILLISECOND, SECOND
from protocol.effects import AppendEntries, HardState, KeepBatch
from protocol.identity import NodeId
from protocol.messages import EntryKind, LogEntry
from protocol.sim.disk import Disk
from protocol.sim.network import Network

# -- the network and the disk --------------------------------------------------------------------


def test_a_cut_loses_messages_silently_and_may_be_one_way() -> None:
    network = Network(Random(1))
    network.cut([0], [1, 2], both_ways=False)
    assert network.deliveries(0, 1) == []
    assert len(network.deliveries(1, 0)) == 1
    network.heal()
    assert len(network.deliveries(0, 1)) == 1


def test_links_lose_and_repeat_at_the_given_rates() -> None:
    network = Network(Random(1), loss=0.3, duplication=0.2)
    copies = [len(network.deliveries(0, 1)) for _ in range(5_000)]
    assert copies.count(0) == pytest.approx(1_500, rel=0.1)
    assert copies.count(2) == pytest.approx(700, rel=0.15)


def test_delays_have_a_least_value_and_a_long_tail() -> None:
    network = Network(Random(1))
    delays = [network.delay() for _ in range(5_000)]
    assert min(delays) >= network.delay_min_ns
    assert max(delays) > 5 * network.delay_mean_ns


def test_a_disk_replaces_entries_from_the_first_index_on() -> None:
    disk = Disk()
    one, two, other = (LogEntry(index, term, EntryKind.NOOP, b"") for index, term in
                       ((1, 1), (2, 1), (2, 2)))  # fmt: skip
    disk.write((HardState(1, NodeId("a")), AppendEntries((one, two))))
    disk.write((AppendEntries((other,)), KeepBatch(NodeId("a"), 1, 1, b"batch")))
    restored = disk.restored()
    assert restored.entries == (one, other)
    assert restored.hard_state == HardState(1, NodeId("a"))
    assert restored.batches == (b"batch",)


def test_a_disk_with_a_hole_is_a_bug() -> None:
    with pytest.raises(AssertionError):
        Disk().write((AppendEntries((LogEntry(2, 1, EntryKind.NOOP, b""),)),))


def test_a_crash_loses_what_was_not_durable() -> None:
    small = SmallWorld(3)
    host = small.hosts[0]
    assert host.peer is not None
    host.disk_delay_ns = 10 * SECOND
    before = host.disk.restored()
    small.submit(job(task("a")))
    small.run(50 * MILLISECOND)
    host.crash()
    small.run(30 * SECOND)
    assert host.disk.restored() == before
    host.start()
    assert host.disk.starts == 2


def test_a_crashed_node_refuses_calls() -> None:
    small = SmallWorld(3)
    small.hosts[2].crash()
    small.run(10 * SECOND)
    for host in small.up:
        assert host.peer is not None
        assert host.peer.membership.gone() == [small.hosts[2].identity.node]
