"""Checkers of what the jobs cost: no budget is exceeded, of tokens, money or time; and nobody tells
of more than was used, for each attempt counts once, whoever tells of it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from protocol.clocks import MILLISECOND, SECOND, Nanoseconds
from protocol.effects import Assignment
from protocol.identity import NodeId
from protocol.jobs import NOTHING, Amount, Usage
from protocol.sim.host import Host
from protocol.sim.watch import InvariantBroken
from protocol.team.costs import costs_of

LATE_MAX: Nanoseconds = 10 * MILLISECOND  # a timer by a clock that runs fast or slow


_Told = tuple[str, str, NodeId, str]  # job, task, node, and what is counted


class SpendingChecks:
    """See the module's text."""

    def __init__(self) -> None:
        self._metered: dict[str, Amount] = {}  # by job
        self._used: Counter[_Told] = Counter()

    def begin_epoch(self) -> None:
        """A rescued log grants anew: the count of what was granted begins again with it."""
        self._metered.clear()

    def see_spent(self, host: Host, assignment: Assignment, usage: Usage) -> None:
        """A call begins: with all before it, it must be within the budget, whatever was cut off or
        crashed in between."""
        assert host.peer is not None
        job = assignment.job
        self._used.update(_counts(job, assignment.task.id, host.identity.node, usage))
        if not assignment.is_metered:
            return
        used = self._metered.get(job, NOTHING).plus(host.agents.cost(usage))
        self._metered[job] = used
        budget = host.peer.ledger.jobs[job].job.budget
        if budget.tokens and used.tokens > budget.tokens:
            raise InvariantBroken("budget", f"{job} used {used.tokens} of {budget.tokens} tokens")
        if used.microusd > budget.whole.microusd:
            spent = used.microusd / 1e6
            raise InvariantBroken("budget", f"{job} used {spent:g} of {budget.usd:g} USD")

    def see_at_work(self, host: Host, job: str) -> None:
        """By its own wall clock a node works on no job whose time is over, unless it had no time
        itself to look at the clock."""
        assert host.peer is not None
        state = host.peer.ledger.jobs.get(job)
        if state is None or not state.job.budget.wall_s or host.is_behind:
            return
        passed = host.own_time + host.clock.wall_offset - state.submitted_at
        if passed > state.job.budget.wall_s * SECOND + LATE_MAX:
            raise InvariantBroken(
                "wall_budget",
                f"n{host.number} works on {job} {passed / SECOND:g} s after it was submitted",
            )

    def see_told(self, host: Host, name: str) -> None:
        """What this node would tell now of a job's costs. All that a node did for a task is taken
        together: what it began under one token it may tell under a later one that it got since."""
        assert host.peer is not None
        job = host.peer.ledger.jobs.get(name)
        if job is None:
            return
        told: Counter[_Told] = Counter()
        for task, node, usage in costs_of(job, host.peer.team.notes):
            told.update(_counts(name, task, node, usage))
        for each, count in told.items():
            if count > self._used[each]:
                _, task, node, what = each
                raise InvariantBroken(
                    "counted_once",
                    f"n{host.number} tells that {node} used {count} {what} for {task} of {name}, "
                    f"and it used {self._used[each]}",
                )

    def check_told(self, hosts: Sequence[Host]) -> None:
        """What they tell at the end, when all that was on its way has come."""
        for host in hosts:
            if host.peer is not None:
                for name in host.peer.ledger.jobs:
                    self.see_told(host, name)


def _counts(job: str, task: str, node: NodeId, usage: Usage) -> dict[_Told, int]:
    return {
        (job, task, node, "calls"): usage.calls,
        (job, task, node, "tokens"): usage.tokens_in + usage.tokens_out,
    }
