"""Each fault by itself, in a small world that was well before: what it does, and that it ends."""

from __future__ import annotations

from dataclasses import replace

import pytest
from ledger_hand import job, task
from small_world import SmallWorld

from protocol.clocks import MILLISECOND, SECOND, Nanoseconds
from protocol.effects import Reply
from protocol.facts import Fact
from protocol.facts.agreement import ImpairmentEnded, RoleChanged, VoteGranted
from protocol.facts.membership import MemberFailed, MemberLeft
from protocol.messages import Message
from protocol.sim.disk import Rot
from protocol.sim.drive import InFlight
from protocol.sim.faults import (
    BitRot,
    Crash,
    CrashAfter,
    Cut,
    Die,
    DiskFull,
    DiskHang,
    Flap,
    IsolateLeader,
    Join,
    Leave,
    LoseOne,
    MinimalQuorum,
    Pause,
    Shape,
    Slow,
    Storm,
    TimedFault,
    WriteError,
    links_of,
)
from protocol.sim.host import Host
from protocol.sim.injection import Injection
from protocol.sim.plan import Rest, plan_of
from protocol.sim.watch import Fate, Watcher

AT: Nanoseconds = 60 * SECOND  # by then a small world has long come to rest
UNTIL: Nanoseconds = AT + 2 * SECOND
END: Nanoseconds = AT + 10 * SECOND


class Witness(Watcher):
    """Counts what a watcher can see."""

    def __init__(self) -> None:
        self.sent: dict[int, str] = {}
        self.arrived: list[tuple[int, Fate]] = []
        self.faults: list[str] = []
        self.stopped: list[str] = []
        self.started = 0

    def see(self, at: Nanoseconds, host: Host, fact: Fact) -> None:
        assert at == host.world.now

    def see_sent(
        self, at: Nanoseconds, number: int, sender: Host, receiver: Host, message: Message
    ) -> None:
        self.sent[number] = type(message).__name__

    def see_arrived(self, at: Nanoseconds, number: int, receiver: Host, fate: Fate) -> None:
        self.arrived.append((number, fate))

    def see_started(self, at: Nanoseconds, host: Host) -> None:
        self.started += 1

    def see_stopped(self, at: Nanoseconds, host: Host, why: str) -> None:
        self.stopped.append(why)

    def see_fault(self, at: Nanoseconds, text: str) -> None:
        self.faults.append(text)


class Scene:
    """A settled team to which some faults will happen at AT."""

    def __init__(self, size: int, *faults: TimedFault, rest: Rest = Rest.HEALED) -> None:
        self.small = SmallWorld(size)
        self.world = self.small.world
        self.witness = Witness()
        self.world.watch(self.witness)
        plan = replace(plan_of(1, plain=("links", "disks")), nodes=size, faults=faults, rest=rest)
        self.injection = Injection(self.world, plan)
        self.injection.schedule()

    def until(self, at: Nanoseconds) -> None:
        self.world.run(at)

    def host(self, number: int) -> Host:
        return self.small.hosts[number]

    def alive_at(self, number: int) -> int:
        peer = self.host(number).peer
        assert peer is not None
        return len(peer.membership.alive())


def test_a_crashed_node_is_back_in_time() -> None:
    scene = Scene(3, Crash(1, AT, 1, UNTIL, 0, False, InFlight.LOST))
    scene.until(AT)
    assert not scene.host(1).is_up
    scene.until(UNTIL)
    assert scene.host(1).is_up
    assert scene.injection.done == {"crash": 1}
    assert scene.witness.stopped == ["crashed"]
    assert scene.witness.started == 1


def test_a_machine_without_power_refuses_nothing_and_is_missed_all_the_same() -> None:
    scene = Scene(3, Crash(1, AT, 1, END + SECOND, 0, True, InFlight.LOST))
    scene.until(END)
    assert Fate.REFUSED not in {fate for _, fate in scene.witness.arrived}
    assert scene.small.diary.of(MemberFailed)


def test_a_node_crashes_in_the_midst_of_a_step() -> None:
    scene = Scene(3, Crash(1, AT, 1, UNTIL, 2, False, InFlight.LOST))
    scene.until(END)
    (why,) = scene.witness.stopped
    assert why.startswith("crashed before ")
    assert scene.host(1).is_up, "its supervisor starts it again"


@pytest.mark.parametrize(
    ("in_flight", "is_there"),
    [(InFlight.KEPT, True), (InFlight.LOST, False), (InFlight.TORN, False)],
)
def test_a_transaction_is_wholly_there_or_wholly_not(in_flight: InFlight, is_there: bool) -> None:
    scene = Scene(1)
    host = scene.host(0)
    scene.until(scene.world.now + SECOND)
    host.disk_delay_ns = 10 * SECOND
    before = host.disk.last_index
    scene.small.submit(job(task("t")))
    scene.until(scene.world.now + 50 * MILLISECOND)
    assert host.disk.last_index == before, "it is still being written"
    host.crash(in_flight=in_flight)
    assert (host.disk.last_index > before) == is_there
    host.start()
    assert ("torn" in scene.world.trace[-1] or "torn" in scene.world.trace[-2]) == (
        in_flight is InFlight.TORN
    )


def test_a_dead_node_stays_dead_and_another_takes_its_place() -> None:
    scene = Scene(3, Die(1, AT, 2), Join(2, UNTIL))
    scene.until(END)
    assert not scene.host(2).is_up
    assert len(scene.small.hosts) == 4
    assert [scene.alive_at(number) for number in (0, 1, 3)] == [2, 2, 2]


def test_a_node_that_the_others_cannot_do_without_is_spared() -> None:
    scene = Scene(3, Die(1, AT, 2), Die(2, AT + 1, 1), Leave(3, AT + 2, 0))
    scene.until(END)
    assert [host.is_up for host in scene.small.hosts] == [True, True, False]
    assert [text for text in scene.witness.faults if "spared" in text] == [
        "#2 is spared",
        "#3 is spared",
    ]


def test_a_node_leaves_in_good_order() -> None:
    scene = Scene(3, Leave(1, AT, 2))
    scene.until(END)
    assert not scene.host(2).is_up
    assert {number for _, number, _ in scene.small.diary.of(MemberLeft)} == {0, 1}
    assert not scene.small.diary.of(MemberFailed)


def test_a_paused_process_does_nothing_and_then_everything() -> None:
    scene = Scene(3, Pause(1, AT, 1, UNTIL))
    scene.until(AT)
    delivered = scene.world.fates[Fate.DELIVERED]
    said = sum(" n1 " in line for line in scene.world.trace)
    scene.until(UNTIL - 1)
    assert sum(" n1 " in line for line in scene.world.trace) == said
    assert scene.world.fates[Fate.DELIVERED] > delivered, "the others go on"
    scene.until(END)
    assert scene.alive_at(0) == 2


def test_a_slow_process_takes_its_time_and_recovers() -> None:
    scene = Scene(3, Slow(1, AT, 1, UNTIL, 20 * MILLISECOND))
    scene.until(UNTIL)
    scene.small.do(job(task("t")))
    assert scene.alive_at(0) == 2


def test_a_hung_disk_holds_back_what_depends_on_it_and_nothing_else() -> None:
    scene = Scene(1, DiskHang(1, AT, 0, UNTIL))
    scene.until(AT)
    scene.small.submit(job(task("t")))
    scene.until(UNTIL - 1)
    assert not scene.host(0).replies
    scene.until(END)
    assert scene.host(0).replies == {1: Reply(1, "", "job")}


def test_a_node_whose_disk_is_full_stops_until_there_is_room() -> None:
    scene = Scene(3, DiskFull(1, AT, 0, UNTIL))
    scene.until(AT)
    scene.small.submit(job(task("t")))
    scene.until(UNTIL - SECOND // 2)
    assert not scene.host(0).is_up
    assert scene.witness.stopped[0] == "stopped: the disk is full"
    scene.until(END)
    assert scene.host(0).is_up


def test_a_node_stops_when_a_write_fails_and_is_started_again() -> None:
    scene = Scene(3, WriteError(1, AT, 0))
    scene.until(AT)
    scene.small.submit(job(task("t")))
    scene.until(END)
    assert scene.witness.stopped == ["stopped: a write failed"]
    assert scene.host(0).is_up


def test_rot_takes_what_a_node_may_lose() -> None:
    whats = (Rot.MEMBERS, Rot.BATCHES)
    scene = Scene(3, *(BitRot(n, AT + n, 0, what) for n, what in enumerate(whats)))
    scene.small.do(job(task("a"), task("b"), task("c")))
    disk = scene.host(0).disk
    own = scene.host(0).identity.node
    before = disk.restored()
    scene.until(AT + SECOND)
    after = disk.restored()
    assert (after.hard_state, after.entries) == (before.hard_state, before.entries)
    assert len(after.members) < len(before.members)
    assert len(after.batches) < len(before.batches)
    kept = disk.batches.get(own, [])
    scene.host(0).crash()
    scene.host(0).start()
    assert disk.batches.get(own, []) == kept
    scene.until(END)
    peers = [host.peer for host in scene.small.hosts if host.peer]
    assert len({peer.store.fingerprint() for peer in peers}) == 1, "others bring it back"


def test_a_node_whose_log_rots_does_not_vote_until_it_is_a_learner_again() -> None:
    scene = Scene(3, BitRot(0, AT, 0, Rot.LOG))
    scene.small.do(job(task("a"), task("b"), task("c")))
    host = scene.host(0)
    scene.until(AT + SECOND)
    assert host.disk.impaired
    host.crash()
    host.start()
    assert host.peer is not None
    assert host.peer.raft.impaired
    raft = host.peer.raft
    assert scene.small.run(30 * SECOND, lambda: raft.is_voter and not raft.impaired)
    ended = [n for _, n, _ in scene.small.diary.of(ImpairmentEnded)]
    assert ended == [0]
    assert not host.disk.impaired
    assert host.disk.last_index == scene.host(1).disk.last_index, "it is refilled"


@pytest.mark.parametrize(
    ("shape", "blocked"),
    [
        (Shape.SPLIT, {(0, 2), (0, 3), (1, 2), (1, 3), (2, 0), (3, 0), (2, 1), (3, 1)}),
        (Shape.ONE_WAY, {(0, 2), (0, 3), (1, 2), (1, 3)}),
        (Shape.ISOLATED, {(0, 1), (0, 2), (0, 3), (1, 0), (2, 0), (3, 0)}),
        (Shape.RING, {(0, 2), (2, 0), (1, 3), (3, 1)}),
        (Shape.BRIDGE, {(1, 3), (3, 1), (2, 3), (3, 2)}),
    ],
)
def test_a_cut_has_its_shape(shape: Shape, blocked: set[tuple[int, int]]) -> None:
    assert links_of(shape, (0, 1, 2, 3), 2) == blocked


def test_cuts_overlap_and_each_ends_by_itself() -> None:
    scene = Scene(
        3,
        Cut(1, AT, UNTIL, Shape.ISOLATED, (0, 1, 2), 1),
        Cut(2, AT, UNTIL + SECOND, Shape.ISOLATED, (1, 0, 2), 1),
    )
    network = scene.world.network
    scene.until(AT)
    assert {(0, 2), (0, 1), (1, 2)} <= network.blocked
    scene.until(UNTIL)
    assert (0, 2) not in network.blocked
    assert (0, 1) in network.blocked
    scene.until(END)
    assert not network.blocked
    assert scene.alive_at(0) == 2


def test_a_flapping_cut_comes_and_goes_and_is_gone_in_the_end() -> None:
    scene = Scene(2, Flap(1, AT, UNTIL, Shape.SPLIT, (0, 1), 1, 400 * MILLISECOND))
    seen = []
    for at in range(AT + 100 * MILLISECOND, UNTIL, 200 * MILLISECOND):
        scene.until(at)
        seen.append(bool(scene.world.network.blocked))
    assert seen == [True, False] * 5
    scene.until(END)
    assert not scene.world.network.blocked


def test_a_storm_damages_frames_and_the_codec_refuses_each_of_them() -> None:
    scene = Scene(3, Storm(1, AT, UNTIL, 0.3, 0.3, 0.5, 5))
    scene.until(AT)
    assert scene.world.fates[Fate.CORRUPTED] == 0
    scene.until(END)
    assert scene.world.fates[Fate.CORRUPTED] > 20
    numbers = [number for number, _ in scene.witness.arrived]
    assert len(numbers) > len(set(numbers)), "some arrive twice"
    begun = min(scene.witness.sent)  # what was under way before was not seen to leave
    assert {number for number in numbers if number >= begun} <= scene.witness.sent.keys()
    assert scene.world.network.corruption == 0
    assert scene.alive_at(0) == 2


def test_a_leader_may_reach_a_bare_majority_only() -> None:
    scene = Scene(5, MinimalQuorum(1, AT, UNTIL))
    leader = scene.small.leader()
    assert leader is not None
    scene.until(AT)
    blocked = scene.world.network.blocked
    assert len(blocked) == 2
    assert {sender for sender, _ in blocked} == {leader.number}
    scene.until(END)
    assert not scene.world.network.blocked


def test_a_leader_that_is_alone_is_succeeded() -> None:
    scene = Scene(3, IsolateLeader(1, AT, AT + 5 * SECOND))
    leader = scene.small.leader()
    scene.until(AT + 4 * SECOND)
    assert scene.small.leader() is not leader
    assert len(scene.small.diary.of(RoleChanged)) > 0


def test_exactly_one_acknowledgement_is_lost() -> None:
    scene = Scene(3)
    leader = scene.small.leader()
    assert leader is not None
    follower = next(host for host in scene.small.hosts if host is not leader)
    lost = Injection(scene.world, replace(scene.injection.plan, faults=()))
    scene.until(AT)
    lost._happen(LoseOne(1, AT, follower.number, "AppendReply"))
    scene.until(END)
    assert [fate for _, fate in scene.witness.arrived if fate is Fate.LOST] == [Fate.LOST]
    assert follower.loses_next == ""


def test_a_node_may_crash_just_after_it_voted() -> None:
    faults = [CrashAfter(n, AT, n, "VoteReply", MILLISECOND) for n in range(3)]
    scene = Scene(3, *faults, IsolateLeader(3, AT, AT + 5 * SECOND))
    scene.until(AT + 5 * SECOND)
    assert "crashed after VoteReply" in scene.witness.stopped
    assert [fact for at, _, fact in scene.small.diary.of(VoteGranted) if at > AT]


# -- healing -------------------------------------------------------------------------------------


@pytest.mark.parametrize("rest", [Rest.DOWN, Rest.ISOLATED, Rest.DEAF, Rest.MUTE])
def test_a_core_is_a_majority_and_the_rest_stays_broken(rest: Rest) -> None:
    scene = Scene(5, Pause(1, AT, 0, END), Crash(2, AT, 1, END, 0, True, InFlight.LOST), rest=rest)
    scene.until(AT + SECOND)
    assert scene.injection.heal_core()
    core = scene.injection.core
    assert len(core) == 3
    assert all(scene.host(number).is_up for number in core)
    scene.until(END)
    outside = next(number for number in range(5) if number not in core)
    inside = min(core)
    node = scene.host(outside).identity.node
    peer = scene.host(inside).peer
    assert peer is not None
    assert node in peer.membership.gone()
    scene.injection.heal_all()
    scene.until(END + 20 * SECOND)
    assert [scene.alive_at(number) for number in range(5)] == [4] * 5


def test_no_fault_happens_after_the_healing() -> None:
    scene = Scene(3, Crash(1, AT, 1, END, 0, False, InFlight.LOST))
    assert not scene.injection.heal_core(), "all are in the core"
    scene.until(END)
    assert scene.witness.stopped == []
