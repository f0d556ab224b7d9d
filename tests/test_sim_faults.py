"""What a simulated world is made of, and each fault by itself: links, disks, clocks, processes."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ledger_hand import job, task
from properties import bounded
from small_world import SmallWorld

from protocol.clocks import MILLISECOND, SECOND
from protocol.effects import AppendEntries, HardState, KeepBatch
from protocol.identity import NodeId
from protocol.messages.agreement import EntryKind, LogEntry
from protocol.sim.clock import WALL_START, ClockConditions, HostClock
from protocol.sim.disk import Disk, Rot
from protocol.sim.network import TAIL_FACTOR, LinkConditions, Network

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


def test_a_disk_may_begin_above_one() -> None:
    disk = Disk(entries=[LogEntry(index, 3, EntryKind.NOOP, b"") for index in (7, 8)])
    disk.write((AppendEntries((LogEntry(8, 4, EntryKind.NOOP, b""),)),))
    assert (disk.first_index, disk.last_index) == (7, 8)
    assert disk.keeps(7)
    assert disk.keeps(8, 4)
    assert not disk.keeps(8, 3)
    assert not disk.keeps(6)
    assert not disk.keeps(9)


def test_rot_spares_a_node_s_own_batches() -> None:
    own, other = NodeId("a"), NodeId("b")
    disk = Disk(batches={own: {1: b"1", 2: b"2"}, other: {1: b"3", 2: b"4"}})
    disk.decay(Rot.BATCHES, own, Random(1))
    assert disk.batches == {own: {1: b"1", 2: b"2"}, other: {1: b"3"}}


# -- links ---------------------------------------------------------------------------------------


def test_nothing_overtakes_on_an_ordered_link() -> None:
    network = Network(Random(1))
    network.set(LinkConditions(ordered=True, tail=0.1))
    arrivals = [now + network.deliveries(0, 1, now)[0] for now in range(0, 10**9, 10**5)]
    assert arrivals == sorted(arrivals)
    network.set(LinkConditions(tail=0.1))
    arrivals = [now + network.deliveries(0, 1, now)[0] for now in range(0, 10**9, 10**5)]
    assert arrivals != sorted(arrivals)


def test_some_messages_lie_in_a_long_tail_and_some_pairs_are_slow() -> None:
    network = Network(Random(1))
    network.set(LinkConditions(tail=0.01, slow_every=3))
    near = [network.deliveries(0, 1)[0] for _ in range(5_000)]
    far = [network.deliveries(1, 2)[0] for _ in range(5_000)]
    assert max(near) > TAIL_FACTOR * network.delay_mean_ns
    assert sorted(far)[2_500] > 5 * sorted(near)[2_500]


@bounded
@given(st.binary(min_size=1, max_size=40), st.integers(0, 2**32))
def test_a_damaged_frame_is_another_one(frame: bytes, seed: int) -> None:
    assert Network(Random(seed)).damage(frame) != frame


# -- clocks --------------------------------------------------------------------------------------


@bounded
@given(
    st.integers(0, 50_000),
    st.integers(0, 10**12),
    st.lists(st.integers(0, 10**12), min_size=2, max_size=5),
    st.booleans(),
)
def test_a_host_s_time_never_goes_back_and_its_inverse_is_the_first_moment(
    drift: int, start: int, waits: list[int], booted: bool
) -> None:
    clock = HostClock(ClockConditions(drift, 0, booted))
    clock.restart(start, Random(drift))
    readings = [clock.reading(start + wait) for wait in sorted(waits)]
    assert readings == sorted(readings)
    for reading in readings:
        first = clock.world_time(reading)
        assert clock.reading(first) >= reading
        assert clock.reading(first - 1) < reading


def test_a_wall_clock_is_wrong_by_another_amount_after_each_start() -> None:
    clock, random = HostClock(ClockConditions(skew_ns=SECOND, booted=True)), Random(1)
    wrong_by = set()
    for now in range(0, 5 * SECOND, SECOND):
        clock.restart(now, random)
        wrong_by.add(clock.reading(now) + clock.wall_offset - WALL_START - now)
    assert len(wrong_by) == 5
    assert max(map(abs, wrong_by)) <= SECOND


def test_a_good_clock_reads_the_world_s_time() -> None:
    clock = HostClock(ClockConditions())
    clock.restart(7, Random(1))
    assert clock.is_exact
    assert clock.reading(9) == clock.world_time(9) == 9
