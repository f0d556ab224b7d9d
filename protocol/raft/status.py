"""What a Raft machine is at the moment: its role, and a picture of it for people and tests."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from protocol.identity import NodeId


class Role(Enum):
    """The three of the paper (Figure 4), and the one that asks before it stands (thesis, 9.6)."""

    FOLLOWER = "follower"
    PRE_CANDIDATE = "pre_candidate"
    CANDIDATE = "candidate"
    LEADER = "leader"


@dataclass(frozen=True, slots=True)
class RaftStatus:
    """A picture of the machine, for people and tests."""

    role: str
    term: int
    leader: NodeId
    vote: NodeId
    first_index: int
    last_index: int
    commit: int
    voters: tuple[NodeId, ...]
    outgoing: tuple[NodeId, ...]
    learners: tuple[NodeId, ...]
    impaired: bool
    progress: tuple[tuple[NodeId, str], ...] = ()  # at a leader: follower, its state in words
