"""What is wrong with the team's links and members now, as one node holds it to be: what the facts
TeamSplit, Isolated, LinkOneWay, LinkBroken, MemberFailed (deaf) and MemberDegraded told, for as
long as it lasts. Reading only.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from protocol.diagnosis import listed
from protocol.facts.membership import Evidence, LinkBroken, LinkOneWay
from protocol.identity import NodeId
from protocol.membership import Membership, State

SAID_MAX = 5  # links of each kind that sentences tell of


def trouble_view(membership: Membership, names: Mapping[NodeId, str]) -> dict[str, Any]:
    """`split` counts both sides of a cut, this node's first; `one_way` and `broken` are links that
    both ends complain of; `deaf` nodes speak and do not hear, `degraded` ones come and go. `says`
    has the same in sentences, and is empty when all is well."""
    across = membership.verdicts.across_cut()
    here = 1 + len(membership.alive())
    members = membership.members().items()
    found: dict[str, Any] = {
        "isolated": bool(across) and here == 1,
        "split": None,
        "one_way": [],
        "broken": [],
        "deaf": [
            names[node]
            for node, member in members
            if member.state is State.FAILED and member.evidence is Evidence.DEAF
        ],
        "degraded": [names[node] for node, member in members if member.degraded],
    }
    if across:
        missing = [names[node] for node in across]
        found["split"] = {"here": here, "there": len(across), "missing": missing}
    for fault in membership.reach.broken():
        match fault:
            case LinkOneWay():
                link = {"speaker": names[fault.speaker], "hearer": names[fault.hearer]}
                found["one_way"].append(link)
            case LinkBroken():
                found["broken"].append([names[fault.one], names[fault.other]])
    return {**found, "says": _sentences(found)}


def _sentences(found: Mapping[str, Any]) -> list[str]:
    said = []
    split = found["split"]
    if found["isolated"]:
        said.append(f"this node is cut off from all others: {listed(split['missing'])}")
    elif split:
        said.append(
            f"the team is split: {split['here']} nodes on this side, {split['there']} on the "
            f"other: {listed(split['missing'])}"
        )
    said += [
        f"the link of {link['speaker']} and {link['hearer']} works one way: {link['hearer']} hears "
        f"{link['speaker']} and is not heard"
        for link in found["one_way"][:SAID_MAX]
    ]
    said += [
        f"the link between {one} and {other} is broken" for one, other in found["broken"][:SAID_MAX]
    ]
    left_out = sum(max(0, len(found[kind]) - SAID_MAX) for kind in ("one_way", "broken"))
    if left_out:
        said.append(f"{left_out} more links work one way or not at all")
    if found["deaf"]:
        said.append(f"spoke and did not hear: {listed(found['deaf'])}")
    if found["degraded"]:
        said.append(f"comes and goes, so nothing is built on it: {listed(found['degraded'])}")
    return said
