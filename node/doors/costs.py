"""What a job has cost as JSON, for the client door: calls, tokens, and what that comes to in money.

Money is always estimated, and said to be; tokens of a price that nobody knows are counted apart, so
that no sum passes for a bill. What is shown is what has come to this node.
"""

from __future__ import annotations

from typing import Any

from protocol.diagnosis import names_apart
from protocol.identity import NodeId
from protocol.jobs import NO_USAGE, NOTHING, Usage
from protocol.ledger import JobState
from protocol.peer import Peer
from protocol.team.costs import costs_of

MILLION = 1_000_000


def usage_view(usage: Usage) -> dict[str, Any]:
    """`usd` is for the tokens whose price was known; `unpriced_tokens` are the others."""
    return {
        "calls": usage.calls,
        "tokens_in": usage.tokens_in,
        "tokens_out": usage.tokens_out,
        "simulated": usage.simulated,
        "usd": usage.microusd / MILLION,
        "usd_is": "estimated",
        "unpriced_tokens": usage.unpriced,
    }


def cost_rows(peer: Peer, job: JobState) -> list[dict[str, Any]]:
    """What each node has used for each task with each model, with or without success."""
    used: dict[tuple[str, NodeId, str], Usage] = {}
    for task, node, usage in costs_of(job, peer.team.notes):
        if usage != NO_USAGE:
            row = (task, node, usage.model)
            used[row] = used.get(row, NO_USAGE).plus(usage)
    names = names_apart(peer, sorted({node for _, node, _ in used}))
    place = {task: number for number, task in enumerate(job.order)}
    return [
        {"task": task, "node": names[node], "model": model, **usage_view(usage)}
        for (task, node, model), usage in sorted(
            used.items(), key=lambda item: (place.get(item[0][0], -1), item[0])
        )
    ]


def budget_view(peer: Peer, job: JobState) -> dict[str, Any]:
    """What the job may use, and what of it is spent, reserved, left and not given out yet, also
    after its end. A call of which nobody has told what it used is charged with what it might have,
    so that this may be more than what was used. `overrun` is what an endpoint has charged beyond
    the budget."""
    budget = job.job.budget
    found: dict[str, Any] = {"tokens": budget.tokens, "usd": budget.usd, "wall_s": budget.wall_s}
    if budget.usd:
        found["usd_is"] = "estimated"
    if not budget.is_metered:
        return found
    accounts = peer.team.spending.accounts(job.job.id)
    names = names_apart(peer, accounts)
    nodes = {}
    spent = NOTHING
    for node, account in accounts.items():
        spent = spent.plus(account.spent)
        nodes[names[node]] = {
            "tokens": account.spent.tokens,
            "usd": account.spent.microusd / MILLION,
            "reserved_tokens": account.reserved.tokens,
            "reserved_usd": account.reserved.microusd / MILLION,
        }
    left, bank = peer.team.spending.left(job), job.bank()
    found["spent_tokens"], found["spent_usd"] = spent.tokens, spent.microusd / MILLION
    if budget.tokens:
        found["left_tokens"] = max(0, left.tokens)
        found["overrun_tokens"] = max(0, -left.tokens)
        found["not_given_out_tokens"] = max(0, bank.tokens)
    if budget.usd:
        found["left_usd"] = max(0, left.microusd) / MILLION
        found["overrun_usd"] = max(0, -left.microusd) / MILLION
        found["not_given_out_usd"] = max(0, bank.microusd) / MILLION
    return {**found, "nodes": nodes}
