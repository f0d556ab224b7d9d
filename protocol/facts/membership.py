"""Who came, went, and does not reach whom."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from protocol.facts import Fact
from protocol.identity import NodeId


class Evidence(StrEnum):
    """Why a member is held to have failed."""

    REFUSED = "refused"  # nobody listens at its addresses: its process has ended
    STOPPED = "stopped"  # it has said before that its process would end
    SILENCE = "silence"  # neither heard nor answering: it crashed, hangs, or is cut off
    DEAF = "deaf"  # it speaks and does not answer


@dataclass(frozen=True, slots=True)
class MemberJoined(Fact):
    """A node is in the team for the first time, or again after it had failed or left."""

    mark = "~"
    node: NodeId
    name: str
    endpoint: str


@dataclass(frozen=True, slots=True)
class MemberSuspected(Fact):
    mark = "~"
    node: NodeId
    by: NodeId


@dataclass(frozen=True, slots=True)
class MemberRefuted(Fact):
    """A suspected node proved to be alive."""

    mark = "~"
    node: NodeId
    incarnation: int


@dataclass(frozen=True, slots=True)
class MemberChanged(Fact):
    """A living node has something new to say of itself: its metadata."""

    mark = "~"
    node: NodeId


@dataclass(frozen=True, slots=True)
class MemberFailed(Fact):
    """`evidence` is a value of `Evidence`: facts are plain, so that a log is read back as it was
    written, by an earlier version too."""

    mark = "~"
    node: NodeId
    by: NodeId
    evidence: str


@dataclass(frozen=True, slots=True)
class MemberLeft(Fact):
    mark = "~"
    node: NodeId


@dataclass(frozen=True, slots=True)
class MemberForgotten(Fact):
    """A node that failed or left long ago, or that the operator wants to hear no more of."""

    mark = "~"
    node: NodeId


@dataclass(frozen=True, slots=True)
class MemberDegraded(Fact):
    """It comes and goes: nothing is built on it until it is steady."""

    mark = "!"
    node: NodeId


@dataclass(frozen=True, slots=True)
class MemberSteady(Fact):
    """A degraded member has been there for a while."""

    mark = "~"
    node: NodeId


@dataclass(frozen=True, slots=True)
class NameClaimedTwice(Fact):
    """Two keys use one name. A node is its key, so both stay; who asks by name gets both."""

    mark = "!"
    name: str
    node: NodeId
    other: NodeId


@dataclass(frozen=True, slots=True)
class LinkBroken(Fact):
    """Neither reaches the other directly, and others reach both."""

    mark = "!"
    one: NodeId
    other: NodeId


@dataclass(frozen=True, slots=True)
class LinkOneWay(Fact):
    """What `speaker` sends reaches `hearer`, and nothing the other way."""

    mark = "!"
    speaker: NodeId
    hearer: NodeId


@dataclass(frozen=True, slots=True)
class LinkMended(Fact):
    mark = "~"
    one: NodeId
    other: NodeId


@dataclass(frozen=True, slots=True)
class TeamSplit(Fact):
    """So many nodes are on this side of a cut, this one included, and so many have fallen silent
    together."""

    mark = "!"
    here: int
    there: int


@dataclass(frozen=True, slots=True)
class Isolated(Fact):
    """Everybody else has fallen silent: it is this node that is cut off."""

    mark = "!"
    lost: int


@dataclass(frozen=True, slots=True)
class TeamWhole(Fact):
    """Nobody is missed any more; `size` counts this node."""

    mark = "~"
    size: int


@dataclass(frozen=True, slots=True)
class PausedHere(Fact):
    """This node stood still for so long; what it waited for meanwhile counts for nothing."""

    mark = "!"
    milliseconds: int


@dataclass(frozen=True, slots=True)
class SeedUnreachable(Fact):
    """A seed address did not answer; it is tried again for ever."""

    mark = "!"
    endpoint: str
    reason: str


@dataclass(frozen=True, slots=True)
class AddressObserved(Fact):
    """Another node sees this one's connections come from this address, which is new."""

    mark = "~"
    address: str
    by: NodeId
