"""What a model's tokens cost: what the user says, else the table of `genai-prices`.

Both are estimates: the bill is the provider's. Who limits money and whose model has no known price
is told so when the job is handed in; a node that does not know the price asks nothing.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from ipaddress import ip_address
from urllib.parse import urlsplit

from node.agents.permits import Prices
from protocol.errors import InvalidJob
from protocol.jobs import shown

PRICES_VARIABLE = "QUORATE_PRICES"
PRICE_MAX = 10**12  # millionths of a dollar for a million tokens: a dollar a token, in the table
EXAMPLES = "0.15/0.60 for every model, or gpt-4o-mini=0.15/0.60,other-model=2/8"
_PRICES = re.compile(r"\s*([0-9]{1,6}(?:\.[0-9]{1,6})?)\s*/\s*([0-9]{1,6}(?:\.[0-9]{1,6})?)\s*")
_MILLION = 1_000_000


def prices_of(model: str, url: str, environment: Mapping[str, str] = os.environ) -> Prices | None:
    """The prices of a model at an endpoint, None if nobody knows them. InvalidJob if what the user
    says of them cannot be read."""
    said = said_prices(environment)
    return said.get(model) or said.get("") or _prices_in_table(model, url)


def said_prices(environment: Mapping[str, str] = os.environ) -> dict[str, Prices]:
    """What the user says, by model; under no name, of all models that have none of their own.
    InvalidJob if it cannot be read."""
    text = environment.get(PRICES_VARIABLE, "")
    found: dict[str, Prices] = {}
    for part in text.split(",") if text.strip() else ():
        name, equals, pair = part.partition("=") if "=" in part else ("", "", part)
        model, prices = name.strip(), _PRICES.fullmatch(pair)
        if not part.strip():
            raise InvalidJob(f"{PRICES_VARIABLE}: a comma has no price beside it: leave it out")
        if prices is None:
            raise InvalidJob(
                f"{PRICES_VARIABLE}: {shown(part.strip())} is no price: write dollars for a "
                f"million tokens read and written, like {EXAMPLES}"
            )
        if equals and not model:
            raise InvalidJob(
                f"{PRICES_VARIABLE}: no model stands before {shown(part.strip())}: write it there, "
                "or leave out the '=' for every model"
            )
        if model in found:
            whose = f"the model {shown(model)} has" if model else "models without a name have"
            raise InvalidJob(f"{PRICES_VARIABLE}: {whose} two prices: leave one out")
        found[model] = Prices(*(round(float(price) * _MILLION) for price in prices.groups()))
    return found


def why_no_price(model: str) -> str:
    """That money cannot be limited for this model, and what to do about it."""
    return (
        f"nobody knows what {shown(model)} costs, and the budget limits money: set "
        f"{PRICES_VARIABLE} to dollars for a million tokens read and written, like {EXAMPLES}, on "
        "each node that asks it, or limit tokens instead"
    )


def _prices_in_table(model: str, url: str) -> Prices | None:
    host = urlsplit(url).hostname or ""
    if _is_own(host):
        return None
    import genai_prices  # a third of a second and 29 MiB, and only for who asks a real model

    amounts = []
    for read, written in ((_MILLION, 0), (0, _MILLION)):
        try:
            price = genai_prices.calc_price(
                genai_prices.Usage(input_tokens=read, output_tokens=written),
                model_ref=model,
                provider_api_url=url if host else None,
            )
        except LookupError:
            return None
        amounts.append(min(PRICE_MAX, round(float(price.total_price) * _MILLION)))
    return Prices(*amounts)


def _is_own(host: str) -> bool:
    """Whether a server of one's own is there, which no table has: its address is a number."""
    try:
        ip_address(host)
    except ValueError:
        return host == "localhost"
    return True
