"""How many tokens an endpoint may count for a prompt, and what a budget makes of it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.agents.estimate import FIRST_HIDDEN, MORE, RATE_MAX, Estimate, size_of
from node.prompt.shown import Message

sizes = st.lists(st.integers(1, 100_000), min_size=1, max_size=20)


@given(sizes, st.integers(0, FIRST_HIDDEN), st.floats(0.0, RATE_MAX))
def test_who_hides_a_constant_prompt_and_counts_at_a_constant_rate_counts_no_more_than_estimated(
    prompts: list[int], hidden: int, rate: float
) -> None:
    estimate = Estimate()
    for size in prompts:
        told = hidden + int(rate * size)
        assert told <= estimate.tokens(size)
        estimate.learn(size, told)


@given(st.lists(st.tuples(st.integers(1, 100_000), st.floats(0.0, 1.0)), min_size=2))
def test_texts_may_differ_in_their_tokens_as_long_as_no_byte_has_two(
    prompts: list[tuple[int, float]],
) -> None:
    estimate, hidden = Estimate(), 20_000  # more than is thought possible, but for the first call
    for number, (size, rate) in enumerate(prompts):
        told = hidden + int(rate * size)
        assert number == 0 or told <= estimate.tokens(size)
        estimate.learn(size, told)


def test_an_endpoint_that_hides_nothing_soon_costs_little_more_than_a_token_a_byte() -> None:
    estimate = Estimate()
    assert estimate.tokens(2_000) == 2 * 2_000 + FIRST_HIDDEN
    estimate.learn(2_000, 500)
    assert estimate.tokens(2_000) == 2_000 + int(MORE * 500) + 1
    estimate.learn(400, 100)
    assert estimate.tokens(2_000) == 2_000 + int(MORE * 100) + 1


@pytest.mark.parametrize("told", [9_000, 2**40])
def test_what_an_endpoint_has_counted_once_it_may_count_again(told: int) -> None:
    """Though it is more than any that is known does."""
    estimate = Estimate()
    estimate.learn(100, 50)
    assert estimate.tokens(1_000) < told
    estimate.learn(1_000, told)
    assert estimate.tokens(1_000) >= told


def test_the_form_of_an_answer_counts_as_well() -> None:
    hello = [Message("user", "Hellö?")]
    assert size_of(hello, {"type": "object"}) == size_of(hello) + len('{"type": "object"}')
    assert size_of([*hello, *hello]) == 2 * size_of(hello)
    assert size_of(hello) > len("Hellö?".encode())
