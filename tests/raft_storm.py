"""Raft at random: what may go wrong goes wrong, and Figure 3's invariants hold after every step.

    storm = Storm(seed); storm.rage(steps); storm.calm()

Messages are lost, repeated and overtaken; disks are slow, and some are found damaged; nodes crash
between any two writes, pause, and have clocks that run at different rates; logs are compacted at
any time, voters and learners come and go, leadership is handed over. `calm` then lets everything
work and expects one leader and equal logs, so that nothing may be stuck. A broken invariant is an
AssertionError that names it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from random import Random

from raft_invariants import WatchedStage

from protocol.clocks import MILLISECOND
from protocol.config import RaftConfig
from protocol.configuration import Change, ChangeKind, Transition
from protocol.effects import HardState
from protocol.identity import NOBODY, NodeId
from protocol.raft import Role

NAMES = "abcdef"
WIRE_MAX = 60
FAVOUR = 8
RATES = (0.97, 1.03)  # of clocks; they differ by less than the margin of a lease

CONFIG = RaftConfig(
    heartbeat_ns=50 * MILLISECOND,
    election_timeout_ns=200 * MILLISECOND,
    lease_ns=100 * MILLISECOND,
    vote_repeat_ns=100 * MILLISECOND,
    append_size_max=100,
    inflight_max=4,
    inflight_size_max=300,
    uncommitted_max=30,
    snapshot_part_size=60,
    trailing_entries=3,
    disk_stall_ns=500 * MILLISECOND,
)


class Storm(WatchedStage):
    """See the module's text."""

    def __init__(self, seed: int, impairs: bool = True, keeps_lines: bool = False) -> None:
        self.random = Random(seed)
        voters, learners = self.random.choice((("abc", ""), ("abcde", ""), ("ab", "c"), ("a", "b")))
        config = replace(CONFIG, trailing_entries=self.random.choice((0, 0, 3)))
        super().__init__(NAMES, voters, learners, config, seed=str(seed))
        self.is_quiet = not keeps_lines
        self.impairs = impairs and self.random.random() < 0.4
        self.rates = {name: self.random.uniform(*RATES) for name in NAMES}
        self.paused: dict[str, int] = {}  # node: time that it has missed
        self.number = 0
        self.lives = dict.fromkeys(NAMES, 0)
        self.asked: dict[int, tuple[str, int]] = {}  # read: the impaired node, and its life
        self.counts: dict[str, int] = {}

    # -- the storm ---------------------------------------------------------------------------------

    def rage(self, steps: int, favoured: Sequence[str] = ()) -> None:
        """So many random steps. What is favoured happens more often."""
        deeds: list[tuple[int, Callable[[str], None]]] = [
            (700, self.pass_letter),
            (30, self.let_time_pass),
            (100, self.finish_write),
            (40, self.propose_something),
            (25, self.read_something),
            (8, self.change_something),
            (5, self.hand_over_leadership),
            (8, self.compact_something),
            (5, self.crash_something),
            (4, self.learn_something),
            (8, self.ask_for_readmission),
            (5, self.cut_something),
            (4, self.toggle_disk),
            (5, self.toggle_pause),
            (4, self.nudge),
        ]
        # The seed draws how much of each there is, too.
        weights = [
            weight * (1 if weight >= 30 else self.random.choice((0, 0.3, 1, 1, 3)))
            for weight, _ in deeds
        ]
        for at, (weight, deed) in enumerate(deeds):
            if deed.__name__ in favoured:
                weights[at] = weight * FAVOUR
        for _ in range(steps):
            deed = self.random.choices(deeds, weights)[0][1]
            name = self.random.choice(NAMES)
            if name in self.paused and deed.__name__ != "toggle_pause":
                continue
            self.counts[deed.__name__] = self.counts.get(deed.__name__, 0) + 1
            deed(name)

    def awake_leaders(self) -> list[str]:
        return [n for n in NAMES if self[n].raft.role is Role.LEADER and n not in self.paused]

    def pass_letter(self, name: str) -> None:
        if not self.wire:
            self.let_time_pass(name)
            return
        at = self.random.randrange(len(self.wire)) if self.random.random() < 0.3 else 0
        letter = self.wire[at]
        fate = self.random.random()
        if letter.receiver in self.paused:
            if len(self.wire) > WIRE_MAX:
                del self.wire[at]
            else:
                self.wire.append(self.wire.pop(at))
            return
        if fate > 0.04:
            del self.wire[at]
        if fate < 0.08 and fate > 0.04:
            return
        if len(self.wire) > WIRE_MAX:
            self.wire = self.wire[-WIRE_MAX:]
        self.hand_over(letter)

    def let_time_pass(self, name: str) -> None:
        if self.random.random() < 0.06:
            self.cut.clear()
        if self.paused and self.random.random() < 0.08:
            self.toggle_pause(self.random.choice(list(self.paused)))
        duration = self.random.choice((1, 5, 10, 30, 80)) * MILLISECOND
        for other in NAMES:
            own = int(duration * self.rates[other])
            if other in self.paused:
                self.paused[other] += own
            elif self.random.random() < 0.1:  # its timer is late
                self[other].now += own
                self.remember(other)
                self[other].tick()
                self.perform(other)
            else:
                self.remember(other)
                self[other].advance(own)
                self.perform(other)

    def finish_write(self, name: str) -> None:
        if self.seats[name].writes:
            self.write(name)

    def propose_something(self, name: str) -> None:
        name = self.random.choice(self.awake_leaders() or [name])
        self.number += 1
        data = b"%d" % self.number * self.random.choice((1, 1, 1, 30))
        self.ask(name, f"{name} proposes", lambda node: node.propose(data))

    def read_something(self, name: str) -> None:
        """At the leader of the oldest term: if there are two, it is the one that may be wrong."""
        self.read_at(min(self.awake_leaders() or [name], key=lambda n: self[n].raft.term))

    def read_at(self, name: str) -> None:
        self.number += 1
        floor, number, lease = self.commit_max, self.number, self.random.random() < 0.6
        self.read_floor[number] = floor
        self.ask(
            name,
            f"{name} reads {number} floor {floor} lease {lease}",
            lambda node: node.read_index(number, lease),
        )

    def change_something(self, name: str) -> None:
        name = self.random.choice(self.awake_leaders() or [name])
        if self[name].raft.configuration.is_joint:
            self.ask(name, f"{name} leaves joint", lambda node: node.leave_joint())
            return
        kinds = (
            ChangeKind.ADD_VOTER,
            ChangeKind.ADD_VOTER,
            ChangeKind.ADD_LEARNER,
            ChangeKind.REMOVE,
        )
        changes = [
            Change(self.random.choice(kinds), NodeId(self.random.choice(NAMES)))
            for _ in range(self.random.choice((1, 1, 2, 3)))
        ]
        transition = self.random.choice(list(Transition))
        self.change(name, *changes, transition=transition)

    def hand_over_leadership(self, name: str) -> None:
        to = self.random.choice(NAMES)
        self.transfer(self.random.choice(self.awake_leaders() or [name]), to)

    def compact_something(self, name: str) -> None:
        seat = self.seats[name]
        if seat.applied > seat.node.raft.log.snapshot_index:
            self.compact(name)

    def crash_something(self, name: str) -> None:
        seat = self.seats[name]
        impaired = [n for n in NAMES if self.seats[n].disk.impaired]
        voted = self.random.random() < 0.15 and not impaired and self.impairs
        if voted and len(self.seats) and seat.disk.hard_state.term:
            disk = seat.disk
            seat.writes.clear()
            disk.impaired = True
            disk.hard_state = HardState(0, NOBODY)
            if self.random.random() < 0.3:
                disk.snapshot = None
                disk.entries.clear()
            elif disk.entries:
                del disk.entries[self.random.randrange(len(disk.entries)) :]
                if disk.snapshot and disk.last_index < disk.snapshot.index:
                    disk.entries.clear()
            self.say(f"# {name} is impaired")
        self.commits[name] = 0
        self.lives[name] += 1
        self.remember(name)
        self.before[name] = ("", 0, self[name].raft.configuration)
        self.crash(name, self.random.randrange(len(seat.writes) + 1))
        self.slow_disks.discard(name)

    def learn_something(self, name: str) -> None:
        raft = self[name].raft
        if raft.is_voter and raft.leader:
            return
        teacher = self.random.choice(NAMES)
        if teacher != name:
            self.post(name, teacher, self[name].lacking())

    def ask_for_readmission(self, name: str) -> None:
        """An impaired node that sees itself as no voter asks a leader, and takes the answer."""
        for number in list(self.asked):
            found = [i for seat in self.seats.values() for c, i in seat.reads if c == number]
            if found:
                self.readmit(*self.asked.pop(number), found[0])
        raft = self[name].raft
        if not self.awake_leaders() or not raft.impaired or raft.is_voter:
            return
        leader = min(self.awake_leaders(), key=lambda n: self[n].raft.term)
        if self[leader].raft.log.configuration_index <= self[leader].raft.commit:
            self.read_at(leader)
            self.asked[self.number] = (name, self.lives[name])

    def readmit(self, name: str, life: int, index: int) -> None:
        if self.lives[name] == life and name not in self.paused:
            self.ask(
                name,
                f"{name} hears that {index} was committed",
                lambda node: node.confirm_settled(index),
            )

    def cut_something(self, name: str) -> None:
        if self.cut and self.random.random() < 0.7:
            self.cut.clear()
        elif self.random.random() < 0.5:
            self.isolate(name)
        else:
            self.cut.add((name, self.random.choice(NAMES)))

    def toggle_disk(self, name: str) -> None:
        if name in self.slow_disks:
            self.slow_disks.discard(name)
            self.perform(name)
        else:
            self.slow_disks.add(name)

    def toggle_pause(self, name: str) -> None:
        if name not in self.paused:
            if self.random.random() < 0.5:
                self.paused[name] = 0
            return
        self.remember(name)
        self[name].now += self.paused.pop(name)
        match self.random.randrange(3):
            case 0:
                self[name].tick()
                self.perform(name)
            case 1:
                self.read_at(name)  # who was away for long does not know it yet
            case _:
                pass

    def nudge(self, name: str) -> None:
        self.remember(name)
        node = self[name]
        match self.random.randrange(4):
            case 0:
                node.campaign()
            case 1:
                node.forget_leader()
            case 2:
                node.lose_leader()
            case _:
                node.unreachable(self.random.choice(NAMES))
        self.say(f"\n-- {name} is nudged")
        self.perform(name)

    # -- afterwards --------------------------------------------------------------------------------

    def calm(self) -> bool:
        """Everything works again: there must be a leader, and its log everywhere. False if that
        may not be expected, since too many voters must not vote."""
        for name in list(self.paused):
            self[name].now += self.paused.pop(name)
        self.cut.clear()
        self.finish_disks()
        for _ in range(120):
            for name in NAMES:
                self.remember(name)
                self[name].advance(25 * MILLISECOND)
                self.perform(name)
                self.ask_for_readmission(name)
            for _ in range(4):
                for letter in list(self.wire):
                    self.wire.remove(letter)
                    self.hand_over(letter)
        self.wire.clear()
        if any(self[name].raft.impaired for name in NAMES):
            return False
        leaders = [n for n in NAMES if self[n].raft.role is Role.LEADER]
        assert len(leaders) == 1, f"liveness: leaders {leaders}"
        leader = self[leaders[0]].raft
        assert leader.commit == leader.log.last_index, f"liveness: {leader!r}"
        for other in leader.configuration.everybody:
            raft = self[other].raft
            assert raft.commit == leader.commit, f"liveness: {raft!r} behind {leader!r}"
            assert self.seats[other].state == self.seats[leaders[0]].state
        return True


def survive(seed: int, steps: int, favoured: Sequence[str] = ()) -> Storm:
    """A storm of so many steps, and the calm after it."""
    storm = Storm(seed)
    storm.rage(steps, favoured)
    storm.calm()
    return storm
