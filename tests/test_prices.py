"""What tokens cost: what the user says of a model, else a table that is kept elsewhere."""

from __future__ import annotations

from pathlib import Path

import pytest

from node.agents.permits import Prices
from node.agents.prices import PRICES_VARIABLE, prices_of, said_prices
from node.agents.settings import OPENAI_URL, AgentSettings, VariableError
from protocol.errors import InvalidJob

URL = "http://127.0.0.1:8080/v1"


def price_of(model: str, said: str) -> Prices | None:
    return prices_of(model, URL, {PRICES_VARIABLE: said})


def test_a_pair_is_the_price_of_every_model() -> None:
    assert price_of("mine", " 0.15 / 0.60 ") == Prices(150_000, 600_000)
    assert price_of("", "0.15/0.60") == Prices(150_000, 600_000)


def test_a_table_has_a_price_for_each_model() -> None:
    table = "mine=1/2, lab/big=0.5/4"
    assert price_of("mine", table) == Prices(1_000_000, 2_000_000)
    assert price_of("lab/big", table) == Prices(500_000, 4_000_000)
    assert price_of("another", table) is None


def test_a_pair_in_a_table_is_the_price_of_the_models_that_are_not_in_it() -> None:
    assert price_of("mine", "mine=1/2,3/4") == Prices(1_000_000, 2_000_000)
    assert price_of("another", "mine=1/2,3/4") == Prices(3_000_000, 4_000_000)


def test_what_is_said_to_be_free_is_free() -> None:
    assert price_of("gpt-4o-mini", "gpt-4o-mini=0/0") == Prices(0, 0)


def test_models_of_which_nothing_is_said_have_the_price_of_the_table_that_others_keep() -> None:
    found = prices_of("gpt-4o-mini", OPENAI_URL, {PRICES_VARIABLE: "mine=1/2"})
    assert found is not None
    assert 0 < found.read < found.written


def test_of_no_model_nobody_knows_the_price() -> None:
    assert price_of("", "") is None
    assert prices_of("", OPENAI_URL, {}) is None


@pytest.mark.parametrize(
    ("said", "line"),
    [
        ("cheap", "'cheap' is no price"),
        ("1", "'1' is no price"),
        ("-1/2", "'-1/2' is no price"),
        ("1/inf", "'1/inf' is no price"),
        ("mine=1/2,", "a comma has no price beside it"),
        (",1/2", "a comma has no price beside it"),
        ("mine=1/2;other=1/2", "is no price: write dollars for a million"),
        ("mine=1", "'mine=1' is no price"),
        ("=1/2", "no model stands before '=1/2'"),
        ("mine=1/2,mine=3/4", "the model 'mine' has two prices"),
        ("1/2,3/4", "models without a name have two prices"),
    ],
)
def test_what_cannot_be_meant_is_refused_by_name(said: str, line: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidJob, match=PRICES_VARIABLE) as caught:
        said_prices({PRICES_VARIABLE: said})
    assert line in str(caught.value)
    with pytest.raises(VariableError, match=PRICES_VARIABLE):  # and a node does not start
        AgentSettings.from_environment({PRICES_VARIABLE: said}, tmp_path)
