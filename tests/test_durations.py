"""What is usual, and what is to be expected of a weight."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from properties import bounded

from protocol.clocks import SECOND
from protocol.durations import DURATIONS_MAX, DURATIONS_MIN, Durations


def of(*took: int, weight: float = 1.0) -> Durations:
    durations = Durations()
    for each in took:
        durations.add(each, weight)
    return durations


def test_of_too_few_nothing_is_said() -> None:
    few = of(*range(DURATIONS_MIN - 1))
    assert (few.usual(50), few.expected(1.0, 50)) == (None, None)


def test_what_weighs_more_is_expected_to_take_longer() -> None:
    durations = of(SECOND, SECOND, 2 * SECOND)
    assert durations.expected(5.0, 50) == 5 * SECOND
    assert durations.expected(5.0, 90) == 10 * SECOND
    assert durations.usual(90) == 2 * SECOND


def test_heavy_tasks_tell_of_light_ones() -> None:
    assert of(10 * SECOND, 10 * SECOND, 10 * SECOND, weight=5.0).expected(1.0, 50) == 2 * SECOND


def test_a_weight_next_to_nothing_does_no_harm() -> None:
    durations = of(SECOND, SECOND, SECOND, weight=5e-324)
    assert (durations.expected(5e-324, 90), durations.usual(90)) == (0, SECOND)
    assert durations.expected(1.0, 90) == 2**62


@bounded
@given(st.lists(st.integers(0, 20), min_size=DURATIONS_MIN, max_size=600), st.integers(0, 99))
def test_the_last_ones_count_in_order(took: list[int], percentile: int) -> None:
    last = sorted(took[-DURATIONS_MAX:])
    expected = last[min(len(last) - 1, len(last) * percentile // 100)]
    assert of(*took).usual(percentile) == expected
