"""Finding lost members and seeds again: calls to them go on for ever, within a budget.

One call a period at most, and the more members are here to call the less often each does: else the
halves of a large team that was cut would open a hundred connections at once when it heals, and do
nothing else for a second. A member that is missed for long is called less often; seeds are called
while nobody else is there, and every now and then while anybody is missing: the two parts of a team
may have nothing in common but a seed. The host looks up the names of an address for each call, so
that a seed may move.
"""

from __future__ import annotations

from random import Random

from protocol.clocks import MILLISECOND, SECOND, Nanoseconds
from protocol.config import MembershipConfig
from protocol.facts.membership import SeedUnreachable
from protocol.identity import NodeId
from protocol.membership.members import Members
from protocol.membership.states import State
from protocol.turn import Turn

FIRST_CALL_NS = 50 * MILLISECOND  # doubled up to the interval: a team starts all at once
PATIENCE = 64  # who is missed for so many times a wait is called once in such a wait
WAIT_MAX_NS = 15 * SECOND
CALLERS = 8  # that call once in an interval; of more, each the less often
SEEDS_MAX = 64
SEED_REPORT_EVERY = 20  # failed calls of a seed between two facts about it


class Reunion:
    """See the module's text."""

    def __init__(
        self, seeds: tuple[str, ...], members: Members, config: MembershipConfig, random: Random
    ) -> None:
        self.seeds = seeds
        self._members = members
        self._config = config
        self._random = random
        self._wait = FIRST_CALL_NS
        self._called_at: dict[str, Nanoseconds] = {}
        self._seed_faults: dict[str, int] = {}

    def add_seed(self, endpoint: str) -> None:
        """One more address; the oldest gives way if there are too many."""
        if endpoint not in self.seeds:
            self.seeds = (*self.seeds, endpoint)[-SEEDS_MAX:]

    def silent_seeds(self) -> list[str]:
        """Seed addresses that a call failed at."""
        return [seed for seed in self.seeds if self._seed_faults.get(seed)]

    def seed_failed(self, turn: Turn, endpoint: str, detail: str) -> None:
        """A call of an address failed."""
        faults = self._seed_faults.get(endpoint, 0)
        self._seed_faults[endpoint] = faults + 1
        if faults % SEED_REPORT_EVERY == 0 and endpoint in self.seeds:
            turn.report(SeedUnreachable(endpoint, detail))

    def next_call(self, now: Nanoseconds) -> tuple[NodeId | str | None, Nanoseconds]:
        """Whom to call now, if anybody is missing, and after what wait to ask again."""
        lost = {
            node: member.since
            for node, member in self._members
            if member.state is State.FAILED or member.state is State.REMEMBERED
        }
        here = len(self._members.alive())
        is_alone = not here
        for target in [each for each in self._called_at if each not in lost]:
            if target not in self.seeds:
                del self._called_at[target]
        if not lost and not (is_alone and self.seeds):
            self._wait = FIRST_CALL_NS
            return None, self._config.redial_interval_ns
        interval = self._config.redial_interval_ns
        if here >= CALLERS:
            interval = min(interval * (here + 1) // CALLERS, WAIT_MAX_NS)
            interval = int(
                interval * self._random.uniform(0.5, 1.5)
            )  # or all call at the same time
        self._wait = min(2 * self._wait, interval)
        due: list[tuple[Nanoseconds, float, str]] = []
        for node, since in lost.items():
            wait = min(max((now - since) // PATIENCE, self._wait), WAIT_MAX_NS)
            due.append(
                (self._called_at.get(node, since - wait) + wait, self._random.random(), node)
            )
        for seed in self.seeds:
            wait = self._wait if is_alone else WAIT_MAX_NS
            # One that was never called comes before one that is due again, however late that is.
            called_at = self._called_at.get(seed, now - 2 * WAIT_MAX_NS)
            due.append((called_at + wait, self._random.random(), seed))
        at, _, target = min(due)
        if at > now:
            return None, self._wait
        self._called_at[target] = now
        return target, self._wait
