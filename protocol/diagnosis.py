"""Why there is no leader, as far as this node can know: short sentences, the weightiest first.

It reads a peer and changes nothing. Where a node does not know something it does not guess: it
says what it sees, and from whom it has what it does not see itself.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from protocol.clocks import SECOND, Nanoseconds
from protocol.identity import NodeId
from protocol.membership import State
from protocol.outlook import IMPAIRED, JOURNAL
from protocol.peer import Peer

HEARSAY_FRESH: Nanoseconds = 10 * SECOND  # what others said of leaders, and how far they are
NAMES_MAX = 7  # in one sentence: a council, at most
ID_SHOWN = 8  # characters of a node's id, beside a name that is not its own alone


def name_of(peer: Peer, node: NodeId) -> str:
    """The name a node gave itself; its id if unknown; empty for nobody."""
    if node == peer.node:
        return peer.settings.name
    member = peer.membership.members().get(node)
    return member.record.name if member else str(node)


def names_apart(peer: Peer, nodes: Iterable[NodeId]) -> dict[NodeId, str]:
    """The names of these nodes; where several have one name, with the beginning of their ids, so
    that none is taken for another."""
    names = {node: name_of(peer, node) for node in nodes}
    counts = Counter(names.values())
    return {
        node: name if counts[name] == 1 else f"{name} ({node[:ID_SHOWN]})"
        for node, name in names.items()
    }


def why_no_leader(peer: Peer, now: Nanoseconds) -> list[str]:
    """Sentences without a full stop; none if there is a leader that this node hears."""
    if peer.has_left:
        return ["this node has left the team"]
    if hears_leader(peer, now):
        return []
    if not peer.raft.log.last_index:
        return _no_log(peer)
    return [
        *_own_faults(peer, now),
        *_missing_voters(peer),
        *_hearsay(peer, now),
        *_other_logs(peer),
        *_election(peer, now),
    ]


def hears_leader(peer: Peer, now: Nanoseconds) -> bool:
    """Whether a leader is known, and this node gets what it should get from it."""
    raft = peer.raft
    if not raft.leader:
        return False
    if peer.node in raft.configuration.everybody:
        return raft.elections.hears_leader(now)
    return peer.membership.state_of(raft.leader) in (State.ALIVE, State.SUSPECT)


def is_majority_lost(peer: Peer) -> bool:
    """Whether of some set of voters no majority is left, suspects counted among the living: they
    may only be slow. What is lost by a damaged journal is lost too."""
    members = peer.membership
    configuration = peer.raft.configuration
    left = {
        node
        for node in configuration.members
        if not _reason_of(peer, node) or members.state_of(node) is State.SUSPECT
    }
    return not configuration.has_quorum(left)


# -- the parts -----------------------------------------------------------------------------------


def _no_log(peer: Peer) -> list[str]:
    """Nobody has founded one, or nobody who has one was met."""
    said = ["this node follows no log: it has founded none, and has learnt of none yet"]
    alive = peer.membership.alive()
    if alive:
        without = [node for node in alive if peer.consensus.log_of(node) == b""]
        if len(without) == len(alive):
            names = _names(peer, alive)
            have = "have" if len(alive) > 1 else "has"
            said.append(f"{names} {have} none either: start one node with --found, once")
        return said
    silent = peer.membership.silent_seeds()
    if silent:
        said.append(f"nobody answers at {_list(silent)}")
    elif not peer.membership.seeds:
        said.append("it knows nobody to ask: give it --join, or --found for a new team")
    return said


def _own_faults(peer: Peer, now: Nanoseconds) -> list[str]:
    """What keeps this node from voting or leading itself."""
    said = []
    raft = peer.raft
    if raft.impaired and raft.is_voter:
        said.append(
            "this node's journal has lost something, so it does not vote until a leader has made "
            "it a learner"
        )
    if raft.following.cannot_read:
        said.append(
            "this node cannot read the snapshot that the others have: it may need the version that "
            "they run"
        )
    since = raft.writes.waiting_since()
    if since is not None and raft.writes.is_stalled(now):
        said.append(f"this node's disk has not answered for {_seconds(now - since)}")
    return said


def _missing_voters(peer: Peer) -> list[str]:
    """What is missing of each set of voters of which it takes a majority; nothing if both could
    agree, whatever else may keep them from it."""
    found = peer.raft.configuration
    if not found.is_joint:
        return _missing_of(peer, found.voters, "voters")
    return [
        *_missing_of(peer, found.outgoing, "voters that are being replaced"),
        *_missing_of(peer, found.voters, "voters that replace them"),
    ]


def _missing_of(peer: Peer, voters: Sequence[NodeId], what: str) -> list[str]:
    reasons: dict[str, list[NodeId]] = {}
    for node in voters:
        reason = _reason_of(peer, node)
        if reason:
            reasons.setdefault(reason, []).append(node)
    needed = len(voters) // 2 + 1
    able = len(voters) - sum(map(len, reasons.values()))
    if able >= needed:
        return []
    why = "; ".join(reason.format(_names(peer, nodes)) for reason, nodes in reasons.items())
    return [f"{able} of {len(voters)} {what} can vote, and it takes {needed}: {why}"]


def _reason_of(peer: Peer, node: NodeId) -> str:
    """Why a voter cannot be counted on, with {} for its name; empty if it can be."""
    damaged = "the journal of {} is damaged"
    if node == peer.node:
        return damaged if peer.raft.impaired else ""
    member = peer.membership.members().get(node)
    if member is None:
        return "{} not met yet"
    match member.state:
        case State.FAILED:
            return "{} failed"
        case State.LEFT:
            return "{} left the team"
        case State.REMEMBERED:
            return "nothing heard of {} since this node started"
        case State.SUSPECT:
            return "no answer from {}"
        case State.ALIVE:
            return damaged if dict(member.record.metadata).get(JOURNAL) == IMPAIRED else ""


def _hearsay(peer: Peer, now: Nanoseconds) -> list[str]:
    """Others have told, since this node lost sight of the leader, that they hear one, or that they
    have more of the log."""
    own = peer.raft
    fresh = {
        node: summary
        for node, (at, summary) in peer.consensus.summaries.items()
        if at > own.leader_since and now - at < HEARSAY_FRESH and summary.log == own.log.identity
    }
    leaders: dict[tuple[int, NodeId], list[NodeId]] = {}
    for node, summary in fresh.items():
        state = peer.membership.state_of(summary.leader)
        if state in (State.ALIVE, State.SUSPECT) and summary.leader != peer.node:
            leaders.setdefault((summary.term, summary.leader), []).append(node)
    said = []
    if leaders:
        term, leader = max(leaders)
        sources = _names(peer, leaders[term, leader])
        name = name_of(peer, leader)
        said.append(
            f"{sources} told that {name} leads term {term}, but this node gets nothing of it"
        )
    ahead = [node for node, summary in fresh.items() if summary.committed > own.log.last_index]
    if ahead and own.may_campaign:
        lead = "so it cannot be elected before it has them"
        said.append(f"this node lacks entries that {_names(peer, ahead)} told of, {lead}")
    return said


def _other_logs(peer: Peer) -> list[str]:
    """Who agrees on something else."""
    own = peer.raft.log.identity
    others = [
        node
        for node in peer.membership.alive()
        if peer.consensus.log_of(node) not in (None, b"", own)
    ]
    if not others:
        return []
    follow = "follow" if len(others) > 1 else "follows"
    return [f"{_names(peer, others)} {follow} another log than this node"]


def _election(peer: Peer, now: Nanoseconds) -> list[str]:
    """How far it is with a new leader."""
    raft = peer.raft
    since = f"for {_seconds(now - raft.leader_since)}"
    if raft.leader:
        return [f"{name_of(peer, raft.leader)}, leader of term {raft.term}, has gone silent"]
    if not raft.is_voter:
        voters = _names(peer, raft.configuration.members)
        return [f"this node does not vote, and has heard of no leader {since}; {voters} vote"]
    candidacy = raft.candidacy
    if candidacy is None:
        return [f"no leader {since}, and this node has not begun to ask for votes"]
    if candidacy.pre:
        asks = f"asks whether it would be elected in term {candidacy.term}"
    else:
        asks = f"asks for votes in term {candidacy.term}"
    granted = len(candidacy.grants & set(raft.configuration.members))
    said = [
        f"no leader {since}; this node {asks}: {granted} of {len(raft.configuration.members)} agree"
    ]
    refused = candidacy.refusals - candidacy.grants
    refusals = [node for node in raft.configuration.members if node in refused]
    if refusals:
        they = "they hear" if len(refusals) > 1 else "it hears"
        have = "have" if len(refusals) > 1 else "has"
        said.append(
            f"{_names(peer, refusals)} refused: {they} a leader, {have} more of the log, or "
            f"voted already"
        )
    return said


# -- words -----------------------------------------------------------------------------------------


def _names(peer: Peer, nodes: Iterable[NodeId]) -> str:
    return listed(name_of(peer, node) for node in nodes)


def listed(names: Iterable[str]) -> str:
    """Names in a sentence, the first few of many."""
    names = sorted(names)
    if len(names) > NAMES_MAX:
        names = [*names[: NAMES_MAX - 1], f"{len(names) - NAMES_MAX + 1} others"]
    return _list(names)


def _list(words: Sequence[str]) -> str:
    return " and ".join(filter(None, (", ".join(words[:-1]), words[-1])))


def _seconds(duration: Nanoseconds) -> str:
    return f"{duration / SECOND:.1f} s"
