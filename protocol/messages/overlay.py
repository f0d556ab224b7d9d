"""Partial views and trees (HyParView, Plumtree: Leitao, Pereira, Rodrigues 2007)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from protocol.identity import NodeId


@dataclass(frozen=True, slots=True)
class Contact:
    """A node and where it can be reached, the best address first."""

    node: NodeId
    endpoints: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class JoinRequest:
    """JOIN: `newcomer` knows nobody but the address that this goes to."""

    newcomer: Contact


@dataclass(frozen=True, slots=True)
class JoinWalk:
    """FORWARDJOIN: a random walk with so many `hops` left. Where it ends, `newcomer` gets a
    neighbour."""

    newcomer: Contact
    hops: int


@dataclass(frozen=True, slots=True)
class NeighbourRequest:
    """NEIGHBOR: shall we be neighbours? `urgent` (high priority) cannot be declined."""

    sender: Contact
    urgent: bool


@dataclass(frozen=True, slots=True)
class NeighbourReply:
    """The answer to a NeighbourRequest or JoinRequest."""

    sender: Contact
    accepted: bool


@dataclass(frozen=True, slots=True)
class Disconnect:
    """We are neighbours no more, though the sender is well."""


@dataclass(frozen=True, slots=True)
class Shuffle:
    """A random walk with so many `hops` left, that offers `contacts` for those of whoever it ends
    at."""

    origin: Contact
    hops: int
    contacts: tuple[Contact, ...]


@dataclass(frozen=True, slots=True)
class ShuffleReply:
    """Contacts in exchange for those of a Shuffle."""

    contacts: tuple[Contact, ...]


@dataclass(frozen=True, slots=True)
class LinkTest:
    """Nothing: a connection that is broken shows it when it is used."""


@dataclass(frozen=True, slots=True)
class TreePush:
    """GOSSIP: a broadcast, along the tree; it has gone `hops` hops before this one."""

    identity: bytes
    hops: int
    payload: bytes


@dataclass(frozen=True, slots=True)
class TreeHave:
    """IHAVE: the sender has these broadcasts (identity, hops), if they do not come by the tree."""

    broadcasts: tuple[tuple[bytes, int], ...]


@dataclass(frozen=True, slots=True)
class TreeGraft:
    """GRAFT: push to me from now on, and this broadcast first; none if `identity` is empty."""

    identity: bytes


@dataclass(frozen=True, slots=True)
class TreePrune:
    """PRUNE: I have it from elsewhere; from now on only tell me what you have."""


ViewMessage: TypeAlias = (
    JoinRequest
    | JoinWalk
    | NeighbourRequest
    | NeighbourReply
    | Disconnect
    | Shuffle
    | ShuffleReply
    | LinkTest
)
TreeMessage: TypeAlias = TreePush | TreeHave | TreeGraft | TreePrune
OverlayMessage: TypeAlias = ViewMessage | TreeMessage
