"""The checker for registers: classic histories, agreement with brute force, budgets."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from properties import bounded
from register_histories import (
    Load,
    has_order,
    has_order_by_search,
    is_order,
    linearizable_history,
    mutated,
    op,
)

from protocol.sim.linearizable import (
    Budget,
    Kind,
    Operation,
    Outcome,
    Verdict,
    check,
    checking,
    shrinking,
)
from protocol.sim.linearizable.search import Search

# -- histories by hand ---------------------------------------------------------------------------

GOOD = {
    "nothing": [],
    "a read of what was never written is a read of nothing": [op("read", 1, 2, None)],
    "a read of what was written": [op("write", 1, 2, 5), op("read", 3, 4, 5)],
    "a concurrent read sees the old value": [op("write", 1, 9, 5), op("read", 3, 4, None)],
    "a concurrent read sees the new value": [op("write", 1, 9, 5), op("read", 3, 4, 5)],
    "a write takes effect between two concurrent reads": [
        op("write", 1, 9, 5),
        op("read", 2, 3, None),
        op("read", 4, 5, 5),
    ],
    "two concurrent writes, seen one after the other": [
        op("write", 1, 20, 1),
        op("write", 1, 20, 2),
        op("read", 3, 4, 2),
        op("read", 5, 6, 1),
        op("read", 21, 22, 1),
    ],
    "an unknown write takes effect late": [
        op("write", 1, None, 1),
        op("write", 2, 3, 2),
        op("read", 4, 5, 2),
        op("read", 6, 7, 1),
    ],
    "an unknown write never takes effect": [op("write", 1, None, 1), op("read", 4, 5, None)],
    "an unknown cas takes effect": [
        op("write", 1, 2, 1),
        op("cas", 1, None, 1, 2),
        op("read", 4, 5, 2),
    ],
    "unknown operations build on each other": [
        op("cas", 1, None, 2, 3),
        op("cas", 1, None, 1, 2),
        op("write", 1, None, 1),
        op("read", 4, 5, 3),
    ],
    "a cas that found another value": [
        op("write", 1, 2, 1),
        op("cas", 3, 4, 2, 3, False),
        op("read", 5, 6, 1),
    ],
    "a cas from nothing creates": [op("cas", 1, 2, None, 1), op("read", 3, 4, 1)],
    "a deletion": [op("write", 1, 2, 1), op("delete", 3, 4), op("read", 5, 6, None)],
    "a write of nothing is a deletion": [
        op("write", 1, 2, 1),
        op("write", 3, 4, None),
        op("read", 5, 6, None),
    ],
    "a write that leaves the value as it is, before a cas": [
        op("write", 1, 2, 0),
        op("write", 3, 6, 0),
        op("cas", 4, 5, 0, 1),
        op("read", 7, 8, 1),
    ],
    "a write is overwritten unseen while another waits": [
        op("write", 1, 9, 1),
        op("write", 2, 9, 2),
        op("read", 10, 11, 1),
    ],
    "an unknown cas puts back what a write took": [
        op("write", 1, 2, 0),
        op("write", 3, 20, 5),
        op("cas", 3, None, 5, 0),
        op("cas", 4, 9, 0, 1),
        op("read", 10, 21, 1),
        op("read", 22, 23, 1),
    ],
    "only an unknown cas needs a write that might have been overwritten": [
        op("write", 1, 5, 2),
        op("write", 2, 9, 1),
        op("cas", 1, None, 1, 3),
        op("read", 3, 4, 2),
        op("read", 10, 11, 3),
    ],
    "equal times are concurrent": [op("write", 1, 5, 1), op("read", 5, 6, None)],
}
BAD = {
    "a stale read": [op("write", 1, 2, 1), op("write", 3, 4, 2), op("read", 5, 6, 1)],
    "a lost update": [
        op("write", 1, 2, 0),
        op("cas", 3, 6, 0, 1),
        op("cas", 4, 7, 0, 2),
        op("read", 8, 9, 2),
    ],
    "a cas that succeeded twice": [
        op("write", 1, 2, 0),
        op("cas", 3, 4, 0, 1),
        op("cas", 5, 6, 0, 1),
    ],
    "a read of a value that was never written": [op("write", 1, 2, 1), op("read", 1, 4, 2)],
    "a read before its write": [op("read", 1, 2, 1), op("write", 3, 4, 1)],
    "concurrent reads see the new value, then the old one": [
        op("write", 1, 2, 1),
        op("write", 3, 20, 2),
        op("read", 4, 5, 2),
        op("read", 6, 7, 1),
    ],
    "a write that was answered is not there": [op("write", 1, 2, 1), op("read", 3, 4, None)],
    "a deletion that was answered did nothing": [
        op("write", 1, 2, 1),
        op("delete", 3, 4),
        op("read", 5, 6, 1),
    ],
    "a cas found another value, but there was none": [
        op("write", 1, 2, 1),
        op("cas", 3, 4, 1, 2, False),
    ],
    "an unknown write takes effect twice": [
        op("write", 1, None, 1),
        op("read", 2, 3, 1),
        op("write", 4, 5, 2),
        op("read", 6, 7, 1),
    ],
    "an unknown write takes effect before its call": [
        op("read", 1, 2, 1),
        op("write", 3, None, 1),
    ],
    "a failed write takes effect": [
        replace(op("write", 1, 2, 1), outcome=Outcome.FAILED),
        op("read", 3, 4, 1),
    ],
    "two readers see two concurrent writes in two orders": [
        op("write", 1, 9, 1),
        op("write", 1, 9, 2),
        op("read", 10, 11, 1),
        op("read", 12, 13, 2),
    ],
}


@pytest.mark.parametrize("name", GOOD)
def test_a_good_history_is_linearizable(name: str) -> None:
    assert has_order(GOOD[name]), "by the definition"
    assert check(GOOD[name]).verdict is Verdict.TRUE


@pytest.mark.parametrize("name", BAD)
def test_a_bad_history_is_not_linearizable(name: str) -> None:
    assert not has_order(BAD[name]), "by the definition"
    assert check(BAD[name]).verdict is Verdict.FALSE


def test_values_of_different_types_are_different() -> None:
    for one, other in pairwise((1, True, 1.0, "1", (1,), (True,), (1.0,), 1)):
        assert check([op("write", 1, 2, one), op("read", 3, 4, one)]).verdict is Verdict.TRUE
        assert check([op("write", 1, 2, one), op("read", 3, 4, other)]).verdict is Verdict.FALSE


def test_keys_are_independent() -> None:
    stale = BAD["a stale read"]
    spread = [replace(each, key=key) for each, key in zip(stale, "aba", strict=True)]
    assert check(spread).verdict is Verdict.TRUE
    report = check([*spread, *stale])
    assert report.verdict is Verdict.FALSE
    assert (report.operations, report.keys) == (6, 3)
    assert report.counter_example is not None
    assert report.counter_example.key == "x"


def test_an_operation_that_cannot_be_is_a_bug() -> None:
    for wrong in (
        {"returned_ns": None},
        {"returned_ns": 0},
        {"outcome": Outcome.UNKNOWN},
        {"kind": Kind.CAS, "argument": 5},
        {"kind": Kind.CAS, "argument": (1, 2), "result": None},
    ):
        with pytest.raises(AssertionError):
            replace(op("write", 1, 2, 5), **wrong)


# -- against brute force -------------------------------------------------------------------------


def tiny_load(random: Random, operations: int) -> Load:
    """Few values, much at the same time."""
    return Load(
        operations=operations,
        processes=random.randint(2, 8),
        values=random.choice((1, 2, 2, 3, 4)),
        reads=random.choice((0.1, 0.2, 0.4, 0.6)),
        writes=random.choice((0.1, 0.3, 0.5)),
        deletes=random.choice((0.0, 0.1)),
        lost=random.choice((0.0, 0.0, 0.1, 0.4)),
        failed=random.choice((0.0, 0.05)),
        pause_ns=random.choice((1, 10, 100)),
        length_ns=random.choice((10, 100, 300)),
    )


def drawn_history(random: Random, operations: int) -> list[Operation]:
    """One that is linearizable, with up to three mutations."""
    load = tiny_load(random, operations)
    history = linearizable_history(random, load)
    for _ in range(random.choice((0, 1, 1, 1, 2, 3))):
        if history:
            history = mutated(random, history, load.values)
    return history


def assert_agreement(history: list[Operation], is_linearizable: bool) -> None:
    report = check(history)
    assert report.verdict is (Verdict.TRUE if is_linearizable else Verdict.FALSE)
    if report.counter_example is not None:
        assert is_order(report.counter_example.order)
        assert not has_order_by_search(report.counter_example.enough)


def test_what_a_register_did_is_linearizable() -> None:
    for seed in range(200):
        random = Random(seed)
        history = linearizable_history(random, tiny_load(random, 200))
        assert check(history).verdict is Verdict.TRUE, seed


def test_brute_force_over_all_orders_agrees() -> None:
    verdicts = []
    for seed in range(4_000):
        random = Random(seed)
        history = drawn_history(random, random.randint(1, 6))
        verdicts.append(has_order(history))
        assert has_order_by_search(history) == verdicts[-1], "the other reference is right"
        assert_agreement(history, verdicts[-1])
    assert verdicts.count(False) > 400, "both verdicts are tried"


def test_the_search_as_in_the_paper_agrees_on_longer_histories() -> None:
    verdicts = []
    for seed in range(1_500):
        random = Random(f"{seed}/longer")
        history = drawn_history(random, random.randint(6, 11))
        verdicts.append(has_order_by_search(history))
        assert_agreement(history, verdicts[-1])
    assert verdicts.count(False) > 150, "both verdicts are tried"


values = st.one_of(st.none(), st.integers(0, 2))
times = st.integers(0, 9)


@st.composite
def operations(draw: st.DrawFn) -> Operation:
    begin = draw(times)
    end = draw(st.one_of(st.none(), st.integers(begin, 10)))
    match kind := draw(st.sampled_from(Kind)):
        case Kind.READ | Kind.WRITE:
            return op(kind.value, begin, end, draw(values))
        case Kind.DELETE:
            return op(kind.value, begin, end)
        case Kind.CAS:
            return op(kind.value, begin, end, draw(values), draw(values), draw(st.booleans()))


@bounded
@given(st.lists(operations(), max_size=6))
def test_any_history_is_judged_as_by_brute_force(history: list[Operation]) -> None:
    assert_agreement(history, has_order(history))


def test_what_a_counter_example_leaves_out_could_be_left_out_of_a_good_history() -> None:
    """Else it would show something wrong that is not there."""
    for seed in range(1_000):
        random = Random(f"{seed}/shrinking")
        history = linearizable_history(random, tiny_load(random, 8))
        parts = shrinking._cut(history, random.randrange(600))
        assert check([part.then for part in parts]).verdict is Verdict.TRUE
        unseen = shrinking._unseen(parts)
        left_out = {id(part) for part in unseen if random.random() < 0.7}
        kept = [part.then for part in parts if id(part) not in left_out]
        assert check(kept).verdict is Verdict.TRUE, seed


# -- counter-examples ----------------------------------------------------------------------------


def test_a_counter_example_tells_what_happened() -> None:
    noise = [
        step
        for at in range(100, 200, 4)
        for step in (op("write", at, at + 1, at), op("read", at + 2, at + 3, at, process=1))
    ]
    stale = [
        op("write", 300, 310, "old"),
        op("write", 320, 330, "new", process=1),
        op("write", 325, None, "other", process=2),
        op("read", 340, 350, "old", process="n3"),
    ]
    example = check([*noise, *stale]).counter_example
    assert example is not None
    assert example.lines() == [
        "key 'x': no order of its 54 operations goes further than",
        "  ... 46 operations, then",
        "  process 0 wrote 192, 192 to 193 ns",
        "  process 1 read 192, 194 to 195 ns",
        "  process 0 wrote 196, 196 to 197 ns",
        "  process 1 read 196, 198 to 199 ns",
        "  process 0 wrote 'old', 300 to 310 ns",
        "  process 1 wrote 'new', 320 to 330 ns",
        "which leaves 'new', and this can no longer follow:",
        "  process 'n3' read 'old', 340 to 350 ns",
        "enough to see it, by the time of the call:",
        "  process 0 wrote 'old', 300 to 310 ns",
        "  process 1 wrote 'new', 320 to 330 ns",
        "  process 'n3' read 'old', 340 to 350 ns",
    ]


def test_a_value_from_nowhere_is_told_as_such() -> None:
    history = [op("write", 1, 2, 1, key=None), op("read", 3, 4, 7, key=None)]
    example = check(history).counter_example
    assert example is not None
    assert example.lines() == [
        "the register: in no order of its 2 operations can this be:",
        "  process 0 read 7, 3 to 4 ns",
        "enough to see it, by the time of the call:",
        "  process 0 read 7, 3 to 4 ns",
    ]


@pytest.mark.parametrize(
    ("operation", "line"),
    [
        (op("read", 1, 2, None), "process 0 read nothing, 1 to 2 ns"),
        (op("read", 1, None), "process 0 may read, from 1 ns on"),
        (op("write", 1, None, 5), "process 0 may write 5, from 1 ns on"),
        (op("delete", 1, 2), "process 0 deleted, 1 to 2 ns"),
        (op("cas", 1, 2, None, 5), "process 0 changed nothing to 5, 1 to 2 ns"),
        (
            op("cas", 1, 2, 4, 5, False),
            "process 0 could not change 4 to 5: it found another value, 1 to 2 ns",
        ),
        (
            replace(op("write", 1, 2, 5), outcome=Outcome.FAILED),
            "process 0 did not write 5, 1 to 2 ns",
        ),
        (op("write", 1, 2, "\x1b[2J" * 99), "process 0 wrote '\\x1b[2J\\x1b[2J"),
    ],
)
def test_an_operation_reads_as_a_sentence(operation: Operation, line: str) -> None:
    assert str(operation).startswith(line)
    assert len(str(operation)) < 200


# -- budgets -------------------------------------------------------------------------------------


STEPS_MAX = 60_000
LAST_STEPS_MAX = 5_000  # of what is under way when the budget ends


def walk(steps: int, is_whole: bool) -> list[Operation]:
    """A walk through five values, all steps concurrent. Without one of them there is hardly a way
    to take them all, and to see that there is none needs nearly all ways."""
    random = Random(1)
    history = [op("write", 1, 2, 0)]
    at = 0
    for number in range(steps):
        to = random.randrange(5)
        if is_whole or number != steps // 2:
            history.append(op("cas", 3, 1000, at, to, process=number))
        at = to
    random.shuffle(history)
    return history


def unknown_writes(count: int) -> list[Operation]:
    """Half of them must not be spent before the reads at the end, and nothing tells which half."""
    history = []
    for number in range(count):
        history.append(op("write", 1, None, number + 10, process=number))
        history.append(op("cas", 1, None, number + 10, 5, process=number + count))
    for at in range(0, 2 * count, 4):
        history.append(op("write", at + 2, at + 3, 0))
        history.append(op("cas", at + 4, at + 5, 0, 1, False))
    for number in range(count // 2):
        at = 4 * count + 2 * number
        history.append(op("read", at, at + 1, number + 10))
    return history


@pytest.mark.parametrize("history", [walk(60, False), unknown_writes(40), unknown_writes(400)])
def test_what_is_too_hard_is_unknown_when_the_budget_ends(history: list[Operation]) -> None:
    report = check(history, Budget(steps_max=STEPS_MAX))
    assert report.verdict is Verdict.UNKNOWN
    assert report.undecided == ("x",)
    assert report.counter_example is None
    assert STEPS_MAX <= report.steps < STEPS_MAX + LAST_STEPS_MAX


def test_two_thousand_unknown_writes_are_no_burden() -> None:
    history = [op("write", 1, None, number, process=number) for number in range(2_000)]
    history += [op("read", 2 * at, 2 * at + 1, 7 * at) for at in range(1, 200)]
    assert check(history, Budget(steps_max=STEPS_MAX)).verdict is Verdict.TRUE
    history.append(op("read", 1_000, 1_001, 7))
    assert check(history, Budget(steps_max=STEPS_MAX)).verdict is Verdict.FALSE


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    remembered = []

    class Watched(Search):
        def advance(self, steps: int) -> bool | None:
            has_order = super().advance(steps)
            remembered.append(self.remembered)
            return has_order

    monkeypatch.setattr(checking, "Search", Watched)
    history = walk(60, False)
    check(history, Budget(steps_max=STEPS_MAX))
    without_limit = max(remembered)
    remembered.clear()
    limit = without_limit // 10
    check(history, Budget(steps_max=STEPS_MAX, configurations_max=limit))
    assert limit // 2 < max(remembered) <= limit + checking.SLICE_STEPS


def test_a_verdict_does_not_depend_on_the_memory() -> None:
    forgetful = Budget(configurations_max=0)
    for history in (*GOOD.values(), *BAD.values(), walk(40, True), walk(20, False)):
        assert check(history, forgetful).verdict is check(history).verdict


def test_a_hard_key_does_not_starve_the_others() -> None:
    hard = [replace(each, key="hard") for each in walk(60, False)]
    budget = Budget(steps_max=STEPS_MAX)
    report = check([*hard, *GOOD["a deletion"]], budget)
    assert report.verdict is Verdict.UNKNOWN
    assert report.undecided == ("hard",)
    report = check([*hard, *BAD["a stale read"]], budget)
    assert report.verdict is Verdict.FALSE
    assert report.steps < STEPS_MAX // 2


def test_keys_that_no_turn_came_to_are_undecided() -> None:
    history = [op("read", 1, 2, None, key=key) for key in range(100)]
    report = check(history, Budget(steps_max=40))
    assert report.verdict is Verdict.UNKNOWN
    assert report.undecided == tuple(range(40, 100))


def test_the_same_history_gives_the_same_report() -> None:
    random = Random(5)
    history = linearizable_history(random, Load(operations=300, keys=3))
    at = next(n for n in range(200, 300) if history[n].kind is Kind.READ and history[n].result)
    history[at] = replace(history[at], result="elsewhere")
    report = check(history)
    assert report.verdict is Verdict.FALSE
    assert check(history) == report
    random.shuffle(history)
    assert check(history).verdict is Verdict.FALSE


def test_ten_thousand_operations_are_a_few_steps_each() -> None:
    history = linearizable_history(Random(1), Load(operations=10_000, processes=10, keys=20))
    report = check(history)
    assert report.verdict is Verdict.TRUE
    assert (report.operations, report.keys) == (10_000, 20)
    assert report.steps < 3 * 10_000


def test_a_long_history_of_one_key_needs_no_deep_recursion() -> None:
    history = linearizable_history(Random(1), Load(operations=6_000, values=0))
    assert check(history).verdict is Verdict.TRUE
    last = max(each.returned_ns or each.called_ns for each in history)
    overwritten = next(each.argument for each in history if each.kind is Kind.WRITE)
    history.append(op("read", last + 1, last + 2, overwritten, key=0))
    assert check(history).verdict is Verdict.FALSE
