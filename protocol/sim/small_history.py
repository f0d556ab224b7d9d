"""What must hold between the nodes of a tiny cluster (Figure 3 of the paper).

    election safety          at most one leader can be elected in a given term
    log matching             if two logs contain an entry with the same index and term, then the
                             logs are identical in all entries up through the given index
    leader completeness      if a log entry is committed in a given term, then that entry will be
                             present in the logs of the leaders for all higher-numbered terms
    state machine safety     if a server has applied a log entry at a given index, no other server
                             will ever apply a different one for the same index
    committed is durable     the disks of a majority have what a leader counts as committed

The first, third and fourth speak of the past, which a crash wipes from the nodes: so the search
carries it along as a `History`, and two states with different histories are different states.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from protocol.identity import NodeId
from protocol.messages.agreement import LogEntry
from protocol.raft import Role
from protocol.sim.small_node import Broken, Claim, SmallNode

ELECTION_SAFETY = "election safety"
LOG_MATCHING = "log matching"
LEADER_COMPLETENESS = "leader completeness"
STATE_MACHINE_SAFETY = "state machine safety"
COMMITTED_DURABLE = "committed is durable"


@dataclass(frozen=True, slots=True)
class Picture:
    """Of one node, what the others' invariants ask about. `disk`: the entries that are durable."""

    node: NodeId
    role: Role
    term: int
    vote: NodeId
    commit: int
    log: tuple[LogEntry, ...]
    disk: tuple[LogEntry, ...]
    disk_term: int

    def __str__(self) -> str:
        terms = ",".join(str(entry.term) for entry in self.log)
        durable = "" if self.disk == self.log else f" durable={len(self.disk)}"
        return (
            f"{self.node} {self.role.value} term={self.term} vote={self.vote or '-'} "
            f"log=[{terms}]{durable} commit={self.commit}"
        )


def picture_of(node: SmallNode) -> Picture:
    """Nothing is compacted in a tiny cluster: an entry's index is its place, counted from 1."""
    raft = node.raft
    assert raft.log.snapshot is None
    return Picture(
        raft.node,
        raft.role,
        raft.term,
        raft.vote,
        raft.commit,
        tuple(raft.log._entries),
        tuple(node.disk.entries),
        node.disk.hard_state.term,
    )


@dataclass(frozen=True, slots=True)
class History:
    """Who has led which term, and what was ever committed: each entry with the term in which it was
    first seen to be."""

    leaders: tuple[tuple[int, NodeId], ...] = ()
    committed: tuple[tuple[LogEntry, int], ...] = ()


def follow(history: History, node: Picture) -> tuple[History, list[Broken]]:
    """The history after `node` has come to look like this, and what contradicts it."""
    broken = []
    if node.role is Role.LEADER:
        leaders = dict(history.leaders)
        other = leaders.setdefault(node.term, node.node)
        if other != node.node:
            detail = f"{other} and {node.node} were both elected in term {node.term}"
            broken.append(Broken(ELECTION_SAFETY, detail))
        history = replace(history, leaders=tuple(sorted(leaders.items())))
    known = len(history.committed)
    for (entry, _), own in zip(history.committed, node.log[: node.commit], strict=False):
        if own != entry:
            detail = f"{node.node} has committed {_brief(own)}, others {_brief(entry)}"
            broken.append(Broken(STATE_MACHINE_SAFETY, detail))
    if node.commit > known:
        news = tuple((entry, node.term) for entry in node.log[known : node.commit])
        history = replace(history, committed=history.committed + news)
    if node.role is Role.LEADER:
        for entry, term in history.committed:
            if term < node.term and node.log[entry.index - 1 : entry.index] != (entry,):
                detail = f"{node.node} leads term {node.term} without {_brief(entry)}"
                detail += f", which was committed in term {term}"
                broken.append(Broken(LEADER_COMPLETENESS, detail))
    return history, broken


def compare(one: tuple[LogEntry, ...], other: tuple[LogEntry, ...]) -> Broken | None:
    """Log matching, for two logs."""
    shared = min(len(one), len(other))
    for at in range(shared - 1, -1, -1):
        if one[at].term == other[at].term:
            if one[: at + 1] == other[: at + 1]:
                return None
            detail = f"two logs agree on the term of entry {at + 1} and differ up to there"
            return Broken(LOG_MATCHING, detail)
    return None


def check_claim(claim: Claim, nodes: Sequence[Picture]) -> Broken | None:
    """Whether the disks hold what was counted."""
    entry = claim.entry
    holders = {node.node for node in nodes if node.disk[entry.index - 1 : entry.index] == (entry,)}
    if claim.configuration.has_quorum(holders):
        return None
    where = ", ".join(sorted(holders)) or "nobody"
    return Broken(COMMITTED_DURABLE, f"{_brief(entry)} is committed, and on the disk of {where}")


def _brief(entry: LogEntry) -> str:
    return f"entry {entry.index} of term {entry.term}"
