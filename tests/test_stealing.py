"""Work stealing: what the busy were given and have not begun goes to the idle, within bounds."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest
from ledger_hand import ADA, BOB, job, task
from small_world import SmallWorld, done
from team_hand import CONFIG, SELF, Desk, commands

from protocol import codec
from protocol.claims import Claim, ClaimBook, Phase, claim_key
from protocol.clocks import SECOND, Nanoseconds
from protocol.effects import Assignment
from protocol.events import AgentFailed, Completed
from protocol.facts.work import TaskAccepted, TaskFenced, TaskStarted
from protocol.identity import Identity
from protocol.jobs import ClaimMode, Job
from protocol.ledger import (
    ClaimTask,
    Command,
    FenceTask,
    Ledger,
    SubmitJob,
    decode_command,
    encode_command,
)
from protocol.store import Store, Version
from protocol.team import View
from protocol.team.leading import TAKEN_BACK_MAX
from protocol.team.workload import workloads
from protocol.turn import Turn

OTHER = Identity(b"o" * 32)
HANDED_OUT = [ClaimMode.ASSIGNED, ClaimMode.LEADER]


# -- in a simulated team ---------------------------------------------------------------------------


def test_what_waits_behind_a_slow_task_is_done_by_who_is_idle() -> None:
    """Assigned evenly, two of nine tasks wait on the node of the slow one."""

    def script(assignment: Assignment) -> tuple[Nanoseconds, Completed | AgentFailed]:
        return done(assignment, 60 * SECOND if assignment.task.id == "t0" else SECOND)

    world = SmallWorld(3, script)
    world.do(job(*(task(f"t{number}") for number in range(9)), claims=ClaimMode.ASSIGNED))
    begun = min(at for at, _, _ in world.diary.of(TaskStarted))
    ends = {fact.task: at - begun for at, _, fact in world.diary.of(TaskAccepted)}
    assert all(end < 7 * SECOND for name, end in ends.items() if name != "t0")
    started = Counter(fact.task for _, _, fact in world.diary.of(TaskStarted))
    assert set(started.values()) == {1}, "nothing is done twice for it"


def test_nothing_is_taken_back_where_all_are_equally_fast() -> None:
    world = SmallWorld(3, lambda assignment: done(assignment, SECOND))
    world.do(job(*(task(f"t{number}") for number in range(9)), claims=ClaimMode.ASSIGNED))
    assert not world.diary.of(TaskFenced)


@pytest.mark.parametrize("claims", HANDED_OUT)
def test_who_works_for_a_job_in_lease_mode_gets_nothing_while_others_idle(
    claims: ClaimMode,
) -> None:
    """Each of two nodes works for a minute; the other two do all the rest."""

    def script(assignment: Assignment) -> tuple[Nanoseconds, Completed | AgentFailed]:
        return done(assignment, 60 * SECOND if assignment.job == "long" else SECOND)

    world = SmallWorld(4, script)
    world.submit(job(task("a", weight=60.0), task("b", weight=60.0), name="long"))
    assert world.run(5 * SECOND, lambda: len(world.diary.of(TaskStarted)) == 2)
    busy = {number for _, number, _ in world.diary.of(TaskStarted)}
    world.run(SECOND)
    world.do(job(*(task(f"t{number}") for number in range(6)), claims=claims, name="short"))
    doers = {number for _, number, f in world.diary.of(TaskStarted) if f.job == "short"}
    assert len(doers) == 2
    assert not doers & busy
    assert not world.diary.of(TaskFenced), "it was known before"


# -- by hand: this node leads ----------------------------------------------------------------------


class Leader(Desk):
    """OTHER and ADA are there as well; what they say comes by gossip."""

    def __init__(self) -> None:
        super().__init__()
        self.other = Store(OTHER, "team", 10_000)
        self.view = View(frozenset({SELF.node, OTHER.node}), frozenset(), SELF.node)

    def says_it_works(self, name: str, token: int = 1) -> Turn:
        key = claim_key(("job", name, 0))
        value = codec.pack_value(Claim(OTHER.node, token, Phase.WORKING))
        encoded, _ = self.other.write([(key, value)], self.now)
        self.store.merge(encoded)
        turn = self.turn()
        self.team.dirty |= self.team.hearing.learn_key(turn, key, self.now)
        return self.settle(turn)

    def given(self, found: Job, *names: str) -> Turn:
        """The job, of which these tasks are OTHER's."""
        plan = tuple((name, 0, OTHER.node) for name in names)
        return self.commit(encode_command(SubmitJob(found, plan)))


def wanted(turn: Turn) -> list[Command]:
    return [decode_command(data) for data in commands(turn)]


def test_what_is_given_back_goes_to_the_idle_in_one_go() -> None:
    desk = Leader()
    desk.given(job(task("a"), task("b"), claims=ClaimMode.ASSIGNED), "a", "b")
    assert wanted(desk.says_it_works("a")) == []
    assert wanted(desk.wait(CONFIG.patience_ns - 1)) == []
    fence, claim = wanted(desk.wait(1))
    assert (fence, claim) == (FenceTask("job", "b", 0, 2), ClaimTask("job", "b", 0, SELF.node, 2))
    desk.commit(encode_command(fence))
    desk.commit(encode_command(claim))
    assert [attempt.unit[1] for attempt in desk.team.running.values()] == ["b"]


def test_what_has_begun_stays() -> None:
    desk = Leader()
    desk.given(job(task("a"), claims=ClaimMode.ASSIGNED), "a")
    desk.says_it_works("a")
    for _ in range(5):
        desk.says_it_works("a")
        assert wanted(desk.wait(CONFIG.begin_ns)) == []


def test_who_could_begin_and_does_not_say_so_has_time_for_it() -> None:
    desk = Leader()
    desk.given(job(task("a"), claims=ClaimMode.ASSIGNED), "a")
    assert wanted(desk.wait(CONFIG.begin_ns - 1)) == []
    assert len(wanted(desk.wait(1))) == 2


def test_what_its_holder_is_about_to_begin_stays() -> None:
    """A task takes 50 ms: it would have begun before it could be given to somebody else."""
    desk = Leader()
    desk.given(job(task("a"), task("b"), claims=ClaimMode.ASSIGNED), "a", "b")
    for number in range(3):
        book, unit = desk.team.book, ("job", f"x{number}", 0)
        book.answered(unit, OTHER.node, 1, SECOND)
        claim = codec.pack_value(Claim(OTHER.node, 1, Phase.WORKING))
        book.learn(unit, [Version(OTHER.node, 1, claim, 0)], SECOND)
        book.answered(unit, OTHER.node, 1, SECOND + CONFIG.patience_ns // 2)
    desk.says_it_works("a")
    assert book.expected("job", 1.0, 50) == CONFIG.patience_ns // 2
    assert wanted(desk.wait(CONFIG.patience_ns)) == []


def test_a_unit_does_not_go_round_for_ever() -> None:
    """Nobody begins it: each time it is left to its holder for twice as long, and not often."""
    desk = Leader()
    desk.view = View(frozenset({SELF.node, OTHER.node, ADA}), frozenset(), SELF.node)
    own = [("own", 0, SELF.node)]
    tasks = (task("a"), task("own"))
    plan = (("a", 0, OTHER.node), *own)
    desk.commit(encode_command(SubmitJob(job(*tasks, claims=ClaimMode.ASSIGNED), plan)))
    moves = []
    for _ in range(60):
        for data in commands(desk.wait(SECOND)):
            moves += [decode_command(data)]
            desk.commit(data)
    given = [move.node for move in moves if isinstance(move, ClaimTask) and move.task == "a"]
    assert given == [ADA, OTHER.node, ADA][:TAKEN_BACK_MAX]


# -- what each has to do ---------------------------------------------------------------------------


def test_a_workload_counts_the_log_and_what_is_seen_of_leases() -> None:
    ledger, book = Ledger(), ClaimBook()
    by_log = job(task("a", weight=3.0), task("b", "a", weight=2.0), claims=ClaimMode.ASSIGNED)
    desk = Desk()
    desk.view = View(frozenset({SELF.node}), frozenset(), ADA)
    desk.commit(encode_command(SubmitJob(by_log, (("a", 0, ADA), ("b", 0, ADA)))))
    by_lease = job(task("c", weight=4.0), name="lease")
    desk.commit(encode_command(SubmitJob(replace(by_lease, claims=ClaimMode.LEASE), ())))
    ledger = desk.ledger
    claim = codec.pack_value(Claim(BOB, 1, Phase.WORKING))
    book.learn(("lease", "c", 0), [Version(BOB, 1, claim, 0)], SECOND)
    view = View(frozenset({ADA, BOB}), frozenset(), ADA)
    work = workloads(2 * SECOND, view, ledger.active(), book, CONFIG)
    assert (work[ADA].begun, work[ADA].ready, work[ADA].weight) == (0, 1, 5.0)
    assert (work[BOB].begun, work[BOB].left, work[BOB].weight) == (1, 3 * SECOND, 4.0)
    late = workloads(8 * SECOND, view, ledger.active(), book, CONFIG)
    assert late[BOB].left == 7 * SECOND, "as long again"
    gone = workloads(SECOND + CONFIG.lease_ns, view, ledger.active(), book, CONFIG)
    assert gone[BOB].weight == 0.0
