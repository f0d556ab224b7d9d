"""Work given out before the start: long work first, and evenly by what it weighs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from hypothesis import given
from hypothesis import strategies as st
from ledger_hand import ADA, BOB, CAT, Book, job, task
from properties import bounded
from team_hand import SELF, Desk, commands

from protocol import graph
from protocol.assigning import Assignment, spread
from protocol.identity import NodeId
from protocol.jobs import ClaimMode, Job, Quorum
from protocol.ledger import ClaimTask, FenceTask, SubmitJob, decode_command, encode_command, load_of
from protocol.team import View
from protocol.turn import Turn

NODES_MAX = 7
TASKS_MAX = 14
# Such as machines add without rounding: else two sums of the same weights could differ.
WEIGHTS = st.integers(1, 400).map(lambda number: number / 4)
PAIR, TRIO = Quorum(2, 2), Quorum(3, 2)


@st.composite
def jobs(draw: st.DrawFn, slots_max: int = 1) -> Job:
    """Tasks with weights, each needing some of the earlier ones."""
    tasks = []
    for number in range(draw(st.integers(1, TASKS_MAX))):
        earlier = [each.id for each in tasks]
        needs = draw(st.lists(st.sampled_from(earlier), unique=True, max_size=3)) if tasks else []
        of = draw(st.integers(1, slots_max))
        weight = draw(WEIGHTS)
        tasks.append(task(f"t{number}", *needs, quorum=Quorum(of, of), weight=weight))
    return job(*tasks, claims=ClaimMode.ASSIGNED)


def nodes_of(size: int) -> list[NodeId]:
    return [NodeId(f"n{number}") for number in range(size)]


def makespan(job: Job, assignment: Assignment) -> float:
    """When the job ends if each node does what it was given, of what is ready the longest chain
    first, and tasks take as long as they weigh. This is what nodes do; see `JobState.ready_units`.
    """
    levels = graph.bottom_levels(job.needs, job.weights)
    order = sorted(job.tasks, key=lambda each: -levels[each.id])
    doer = {name: node for name, _, node in assignment}
    ends: dict[str, float] = {}
    free = dict.fromkeys(doer.values(), 0.0)
    now = 0.0
    while len(ends) < len(job.tasks):
        for each in order:
            is_ready = all(ends.get(need, now + 1) <= now for need in each.needs)
            if each.id not in ends and is_ready and free[doer[each.id]] <= now:
                ends[each.id] = free[doer[each.id]] = now + each.weight
        now = min((end for end in ends.values() if end > now), default=now)
    return max(ends.values())


def weight_by_node(job: Job, assignment: Assignment) -> Mapping[NodeId, float]:
    weights: Counter[NodeId] = Counter()
    for name, _, node in assignment:
        weights[node] += job.task(name).weight  # type: ignore[assignment]
    return weights


def slots_of(job: Job) -> Sequence[tuple[str, int]]:
    return [(each.id, slot) for each in job.tasks for slot in range(each.quorum.of)]


@bounded
@given(jobs(slots_max=4), st.integers(1, NODES_MAX), st.lists(WEIGHTS, max_size=NODES_MAX))
def test_every_slot_is_given_out_once(job: Job, size: int, loads: list[float]) -> None:
    nodes = nodes_of(size)
    assignment = spread(job, nodes, dict(zip(nodes, loads, strict=False)))
    assert [(name, slot) for name, slot, _ in assignment] == slots_of(job)
    assert {node for _, _, node in assignment} <= set(nodes)


@bounded
@given(jobs(slots_max=4), st.integers(1, NODES_MAX), st.lists(WEIGHTS, max_size=NODES_MAX))
def test_the_slots_of_a_task_go_to_as_many_nodes_as_there_are(
    job: Job, size: int, loads: list[float]
) -> None:
    nodes = nodes_of(size)
    assignment = spread(job, nodes, dict(zip(nodes, loads, strict=False)))
    for each in job.tasks:
        doers = {node for name, _, node in assignment if name == each.id}
        assert len(doers) == min(size, each.quorum.of)


@bounded
@given(jobs(slots_max=3), st.integers(1, NODES_MAX), st.lists(WEIGHTS, max_size=NODES_MAX))
def test_equal_input_gives_equal_output(job: Job, size: int, loads: list[float]) -> None:
    nodes = nodes_of(size)
    load = dict(zip(nodes, loads, strict=False))
    assert spread(job, nodes, load) == spread(job, list(nodes), dict(load))


@bounded
@given(jobs(), st.integers(1, NODES_MAX))
def test_the_schedule_keeps_graham_s_bound(job: Job, size: int) -> None:
    """Graham 1969: while a node idles, the longest chain gets shorter."""
    chain = max(graph.bottom_levels(job.needs, job.weights).values())
    bound = sum(job.weights.values()) / size + (1 - 1 / size) * chain
    assert makespan(job, spread(job, nodes_of(size))) <= bound + 1e-9


@bounded
@given(jobs(), st.integers(1, NODES_MAX))
def test_what_is_planned_is_the_list_schedule(job: Job, size: int) -> None:
    planned = makespan(job, spread(job, nodes_of(size)))
    assert planned == graph.list_schedule(job.needs, job.weights, size, job.weights)


def test_one_long_task_leaves_the_short_ones_to_the_others() -> None:
    """Round robin ends after 14: the long task, and four short ones on the same node."""
    short = [task(f"t{number}") for number in range(14)]
    found = job(*short, task("long", weight=10.0), claims=ClaimMode.ASSIGNED)
    nodes = [ADA, BOB, CAT]
    planned = spread(found, nodes)
    in_turn = tuple(
        (each.id, 0, nodes[number % len(nodes)]) for number, each in enumerate(found.tasks)
    )
    assert makespan(found, in_turn) == 14.0
    assert makespan(found, planned) == 10.0
    assert sorted(weight_by_node(found, planned).values()) == [7.0, 7.0, 10.0]


def test_the_longest_chain_by_weight_begins_first() -> None:
    """By the number of its tasks a chain would, and the job would end after 13."""
    chains = [task("a"), task("b", "a"), task("c", "b"), task("x"), task("y", "x"), task("z", "y")]
    found = job(*chains, task("heavy", weight=10.0))
    assert graph.list_schedule(found.needs, found.weights, 2) == 13.0
    assert makespan(found, spread(found, [ADA, BOB])) == 10.0


def test_equal_tasks_are_shared_out_evenly() -> None:
    found = job(*(task(f"t{number}") for number in range(12)))
    assert set(weight_by_node(found, spread(found, [ADA, BOB, CAT])).values()) == {4.0}


def test_who_has_much_to_do_already_gets_little() -> None:
    found = job(*(task(f"t{number}") for number in range(7)))
    planned = spread(found, [ADA, BOB, CAT], {ADA: 3.0, BOB: 100.0})
    assert weight_by_node(found, planned) == {ADA: 2.0, CAT: 5.0}


def test_a_node_waits_rather_than_answer_a_task_twice() -> None:
    """Ada is free for the second answer long before Bob is, and leaves it to him."""
    found = job(task("twice", quorum=PAIR), task("next", "twice"))
    planned = spread(found, [ADA, BOB], {BOB: 50.0})
    assert {node for name, _, node in planned if name == "twice"} == {ADA, BOB}


def test_more_answers_than_nodes_are_dealt_in_rounds() -> None:
    planned = spread(job(task("a", quorum=Quorum(5, 3))), [ADA, BOB])
    assert sorted(Counter(node for _, _, node in planned).values()) == [2, 3]


def test_one_node_gets_everything() -> None:
    planned = spread(job(task("a", quorum=TRIO), task("b", "a")), [ADA])
    assert [node for _, _, node in planned] == [ADA] * 4


def test_what_nodes_have_to_do_counts_until_it_is_done() -> None:
    book = Book()
    found = job(task("a", weight=3.0), task("b", weight=2.0), claims=ClaimMode.ASSIGNED)
    book.submit(found, (("a", 0, ADA), ("b", 0, BOB)))
    assert load_of(book.ledger.active()) == {ADA: 3.0, BOB: 2.0}
    book.accept("a", ADA)
    assert load_of(book.ledger.active()) == {BOB: 2.0}


def planned_in(turn: Turn) -> Assignment:
    """The assignment of the job that the turn proposes."""
    (command,) = (decode_command(data) for data in commands(turn))
    assert isinstance(command, SubmitJob)
    return command.assignment


def test_a_job_is_planned_around_those_that_go_on() -> None:
    desk = Desk()
    desk.view = View(frozenset({SELF.node, ADA}), frozenset(), ADA)
    assigned = ClaimMode.ASSIGNED
    first = desk.submit(job(task("long", weight=9.0), claims=assigned, name="first"))
    ((_, _, holder),) = planned_in(first)
    (command,) = commands(first)
    desk.commit(command)
    second = desk.submit(job(*(task(f"t{n}") for n in range(5)), claims=assigned, name="second"))
    proposed = [decode_command(data) for data in commands(second)]
    (plan,) = (command.assignment for command in proposed if isinstance(command, SubmitJob))
    assert len(plan) == 5
    assert holder not in {node for _, _, node in plan}


def test_what_the_lost_had_goes_to_who_has_least_to_do_by_weight() -> None:
    """Ada has fewer tasks than the leader, and more to do."""
    desk = Desk()
    desk.view = View(frozenset({SELF.node, ADA}), frozenset({BOB}), SELF.node)
    tasks = (task("heavy", weight=9.0), task("b"), task("c", "b"), task("lost", "c"))
    plan = (("heavy", 0, ADA), ("b", 0, SELF.node), ("c", 0, SELF.node), ("lost", 0, BOB))
    found = job(*tasks, claims=ClaimMode.ASSIGNED)
    turn = desk.commit(encode_command(SubmitJob(found, plan)))
    (fence,) = (decode_command(data) for data in commands(turn))
    assert fence == FenceTask("job", "lost", 0, 2)
    turn = desk.commit(encode_command(fence))
    assert [decode_command(data) for data in commands(turn)] == [
        ClaimTask("job", "lost", 0, SELF.node, 2)
    ]
