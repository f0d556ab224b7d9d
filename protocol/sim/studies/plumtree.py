"""What a broadcast costs beyond the payloads that are needed, before and after the tree is there.

Leitao, Pereira and Rodrigues, *Epidemic Broadcast Trees* (SRDS 2007), section 4: relative message
redundancy is the number of payloads sent over those that a tree needs (one for each node but the
first), less 1. A flood over active views of five has about 3, a tree 0, but for the links that the
views have made since the last broadcast: they are tried once.
"""

from __future__ import annotations

from dataclasses import dataclass

from protocol.clocks import SECOND
from protocol.sim.studies.hyparview import Country, founded
from protocol.sim.studies.table import Line, Study

NODES = 1_000
BROADCASTS = 10


@dataclass(frozen=True, slots=True)
class Cost:
    """Of one broadcast: the share of the nodes it reached, and its redundancy."""

    reached: float
    redundancy: float


def cost(country: Country) -> Cost:
    """Broadcast once, and wait until it is over."""
    crowd = country.crowd
    before = crowd.sent["TreePush"]
    payload = country.broadcast()
    crowd.run(crowd.now + 4 * SECOND)
    pushes = crowd.sent["TreePush"] - before
    return Cost(country.reached([payload]), pushes / (country.ears.heard[payload] - 1) - 1)


def study(seed: int = 1, nodes: int = NODES) -> Study:
    """The first broadcasts after the views are made."""
    country = founded(nodes, seed)
    costs = [cost(country) for _ in range(BROADCASTS)]
    lines = [
        Line("first broadcast: redundancy", f"{costs[0].redundancy:.2f}", "3"),
        Line(
            f"broadcasts 2 to {BROADCASTS}: largest redundancy",
            f"{max(each.redundancy for each in costs[1:]):.3f}",
            "0",
            max(each.redundancy for each in costs[1:]) <= 0.02,
        ),
        Line(
            "nodes reached, the least of all",
            f"{min(each.reached for each in costs):.2%}",
            "100 %",
            min(each.reached for each in costs) == 1.0,
        ),
    ]
    title = f"Plumtree (Leitao, Pereira and Rodrigues 2007), {nodes:,} nodes"
    return Study("plumtree", title, tuple(lines))
