"""What a job has cost, in words: tokens, money, and what of its budget is spent."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from node.cli.console import plural

PRICES_HINT = "say it with QUORATE_PRICES"


def usd_text(usd: float) -> str:
    """Dollars: small sums to the millionth, as calls cost little."""
    return f"{usd:.2f}" if usd >= 1.0 else f"{usd:.6f}".rstrip("0").rstrip(".")


def calls_text(usage: Mapping[str, Any]) -> str:
    """How often models were asked, and the tokens of that."""
    calls = plural(usage["calls"], "call")
    return f"{calls}, {usage['tokens_in']} tokens in, {_out_text(usage)}"


def tokens_text(usage: Mapping[str, Any]) -> str:
    """The tokens alone."""
    return f"tokens: {usage['tokens_in']} in, {_out_text(usage)}"


def _out_text(usage: Mapping[str, Any]) -> str:
    return f"{usage['tokens_out']} out{' (simulated)' if usage['simulated'] else ''}"


def money_text(usage: Mapping[str, Any]) -> str:
    """What tokens come to; empty if none were used that cost money. What nobody knows the price of
    is said to be so."""
    tokens, unpriced = usage["tokens_in"] + usage["tokens_out"], usage["unpriced_tokens"]
    is_free = usage["simulated"] and not usage["usd"] and not unpriced
    if not tokens or is_free:
        return ""
    if unpriced and not usage["usd"]:
        return f"not known, for nobody knows the price of {unpriced} tokens ({PRICES_HINT})"
    known = f"{usd_text(usage['usd'])} USD (estimated)"
    if unpriced:
        return f"{known}, and {unpriced} tokens whose price nobody knows ({PRICES_HINT})"
    return known


def cost_lines(spent: Mapping[str, Any], budget: Mapping[str, Any]) -> Iterator[str]:
    """The money, and the budget if there is one."""
    if money := money_text(spent):
        yield f"money: {money}"
    if "nodes" in budget:
        yield f"budget: {_budget_text(budget)}"


def _budget_text(budget: Mapping[str, Any]) -> str:
    parts, overruns = [], []
    if budget["tokens"]:
        parts.append(f"{budget['spent_tokens']} of {budget['tokens']} tokens")
        if budget["overrun_tokens"]:
            overruns.append(f"{budget['overrun_tokens']} tokens")
    if budget["usd"]:
        parts.append(
            f"{usd_text(budget['spent_usd'])} of {usd_text(budget['usd'])} USD (estimated)"
        )
        if budget["overrun_usd"]:
            overruns.append(f"{usd_text(budget['overrun_usd'])} USD")
    text = f"{' and '.join(parts)} spent"
    if overruns:
        text += f", OVERRUN by {' and '.join(overruns)}: an endpoint charged more than was reserved"
    return text
