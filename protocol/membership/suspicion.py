"""How long a suspect has to refute: Lifeguard's time-out that shrinks as others confirm.

    no confirmation      longest  = beta * shortest
    as many as wanted    shortest = alpha * log10(N) probe intervals, and at least alpha

A node whose own messages do not get through accuses alone, and is answered before its long time-out
ends; who is really gone is accused by several within seconds (Dadgar, Phillips and Currey 2018,
*Lifeguard: Local Health Awareness for More Accurate Failure Detection*, section IV-B).
"""

from __future__ import annotations

from math import log, log10

from protocol.clocks import Nanoseconds
from protocol.config import MembershipConfig


def suspicion_timeout(
    config: MembershipConfig, team_size: int, confirmations: int, wanted: int
) -> Nanoseconds:
    """From the first accusation on, with so many independent ones beside it; so many are `wanted`,
    which is no more than there are others to confirm."""
    shortest = int(config.suspicion_alpha * max(1.0, log10(team_size)) * config.probe_interval_ns)
    if confirmations >= wanted:
        return shortest
    longest = int(config.suspicion_beta * shortest)
    share = log(confirmations + 1) / log(wanted + 1)
    return max(shortest, int(longest - share * (longest - shortest)))
