"""Order, cycles, chains and bounds of task graphs, against small graphs done on paper."""

from __future__ import annotations

from random import Random

import pytest

from protocol import graph

DIAMOND = {"d": ["b", "c"], "b": ["a"], "c": ["a"], "a": []}


def random_graph(seed: int, size: int) -> dict[str, list[str]]:
    """Tasks that each need some of the earlier ones."""
    random = Random(seed)
    names = [f"t{number}" for number in range(size)]
    return {
        name: random.sample(names[:at], random.randrange(min(at, 3) + 1))
        for at, name in enumerate(names)
    }


def test_every_task_comes_after_what_it_needs() -> None:
    assert graph.topological_order(DIAMOND) == ["a", "b", "c", "d"]
    for seed in range(20):
        needs = random_graph(seed, 30)
        order = graph.topological_order(needs)
        place = {task: at for at, task in enumerate(order)}
        assert sorted(order) == sorted(needs)
        assert all(place[need] < place[task] for task in needs for need in needs[task])


def test_ancestor_sets_hold_what_is_needed_directly_or_not() -> None:
    for seed in range(20):
        needs = random_graph(seed, 30)
        order = graph.topological_order(needs)
        for task, bits in graph.ancestor_sets(needs).items():
            found = {each for place, each in enumerate(order) if bits >> place & 1}
            assert found == graph.ancestors_of(needs, task)


def test_a_cycle_is_told_from_its_beginning_to_its_beginning() -> None:
    cycle = graph.find_cycle({"x": ["a"], "a": ["b"], "b": ["c"], "c": ["a"]})
    assert cycle == ["a", "b", "c", "a"]
    assert graph.find_cycle({"a": ["a"]}) == ["a", "a"]


def test_a_graph_without_a_cycle_has_none() -> None:
    assert graph.find_cycle(DIAMOND) is None
    assert graph.find_cycle({}) is None
    assert all(graph.find_cycle(random_graph(seed, 30)) is None for seed in range(20))


def test_a_long_chain_does_not_exhaust_the_stack() -> None:
    chain = {"t0": [], **{f"t{at}": [f"t{at - 1}"] for at in range(1, 5000)}}
    assert graph.find_cycle(chain) is None
    assert len(graph.critical_path(chain)) == 5000


def test_an_order_of_a_cycle_is_a_bug() -> None:
    with pytest.raises(AssertionError, match="cycle"):
        graph.topological_order({"a": ["b"], "b": ["a"]})


def test_ancestors_are_needed_directly_or_not() -> None:
    assert graph.ancestors_of(DIAMOND, "d") == {"a", "b", "c"}
    assert graph.ancestors_of(DIAMOND, "a") == set()


def test_dependents_are_the_needs_turned_round() -> None:
    assert graph.dependents_of(DIAMOND) == {"d": [], "b": ["d"], "c": ["d"], "a": ["b", "c"]}


def test_a_level_counts_the_chain_behind_a_task() -> None:
    assert graph.bottom_levels(DIAMOND) == {"a": 3, "b": 2, "c": 2, "d": 1}
    lengths = {"a": 1.0, "b": 1.0, "c": 5.0, "d": 2.0}
    assert graph.bottom_levels(DIAMOND, lengths) == {"a": 8, "b": 3, "c": 7, "d": 2}
    assert graph.critical_path(DIAMOND, lengths) == ["a", "c", "d"]


def test_amdahl_s_bound() -> None:
    assert graph.amdahl_bound(DIAMOND, 1) == 1.0
    assert graph.amdahl_bound(DIAMOND, 2) == pytest.approx(1 / (0.75 + 0.25 / 2))
    assert graph.amdahl_bound({"a": [], "b": []}, 2) == 2.0, "no chain at all"


def test_the_work_span_bound() -> None:
    assert graph.work_span_bound(DIAMOND, 1) == 1.0
    assert graph.work_span_bound(DIAMOND, 8) == pytest.approx(4 / 3)


@pytest.mark.parametrize("agents", [1, 2, 5])
def test_a_list_schedule_keeps_graham_s_bound(agents: int) -> None:
    """Graham 1969: while an agent idles, the longest chain gets shorter."""
    for seed in range(20):
        needs = random_graph(seed, 25)
        lengths = {task: Random(f"{seed}{task}").uniform(0.5, 3.0) for task in needs}
        chain = max(graph.bottom_levels(needs, lengths).values())
        least = max(chain, sum(lengths.values()) / agents)
        made = graph.list_schedule(needs, lengths, agents)
        assert made >= least - 1e-9
        slack = chain * (1 - 1 / agents)
        assert made <= sum(lengths.values()) / agents + slack + 1e-9


def test_one_agent_works_one_task_after_the_other() -> None:
    assert graph.list_schedule(DIAMOND, dict.fromkeys("abcd", 2.0), 1) == 8.0
    assert graph.list_schedule(DIAMOND, dict.fromkeys("abcd", 2.0), 2) == 6.0
    assert graph.list_schedule({}, {}, 3) == 0.0


def test_who_expects_what_comes_begins_with_what_takes_long() -> None:
    needs: dict[str, list[str]] = {"a": [], "b": [], "c": []}
    lengths = {"a": 1.0, "b": 1.0, "c": 2.0}
    assert graph.list_schedule(needs, lengths, 2) == 3.0, "all count as equally long"
    assert graph.list_schedule(needs, lengths, 2, lengths) == 2.0


def test_a_task_is_done_with_the_last_of_its_slots() -> None:
    schedule = graph.ListSchedule({"a": [], "b": ["a"]})
    lengths = {"a": [1.0, 5.0, 2.0], "b": [1.0]}
    assert schedule.makespan(lengths, 3) == 6.0
    assert schedule.makespan(lengths, 1) == 9.0
    assert schedule.makespan(lengths, 2) == 6.0, "the third slot follows the first"
