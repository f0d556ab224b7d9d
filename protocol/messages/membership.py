"""Who is there (SWIM: Das, Gupta, Motivala 2002; *Lifeguard*: Dadgar, Phillips and Currey 2018)."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from protocol.identity import NodeId, node_id_of


@dataclass(frozen=True, slots=True)
class MemberRecord:
    """What a node says of itself, signed by it. The higher (epoch, incarnation) is the newer:
    `epoch` counts the node's starts, `incarnation` its refutations within one."""

    public_key: bytes
    name: str
    endpoints: tuple[str, ...]
    epoch: int
    incarnation: int
    left: bool
    metadata: tuple[tuple[str, str], ...]
    signature: bytes

    @property
    def node(self) -> NodeId:
        """The id that follows from the key."""
        return node_id_of(self.public_key)

    @property
    def version(self) -> tuple[int, int]:
        """(epoch, incarnation): by this, records of one node are ordered."""
        return (self.epoch, self.incarnation)


class Word(Enum):
    """What a rumor says of a node."""

    SUSPECTED = 1  # the accuser got no answer, directly or through others
    REFUSED = 2  # the accuser's connection was refused: nobody listens at its addresses
    FAILED = 3  # it was suspected and has not refuted in time
    ENDED = 4  # it has failed: enough connections were refused
    FORGOTTEN = 5  # it has failed or left, and the operator does not want it back; from NOBODY:
    # it was away for so long that the teller has forgotten it


@dataclass(frozen=True, slots=True)
class Rumor:
    """What `accuser` says of `node` in this (epoch, incarnation)."""

    node: NodeId
    epoch: int
    incarnation: int
    accuser: NodeId
    word: Word

    @property
    def version(self) -> tuple[int, int]:
        """Of the record that the rumor is about."""
        return (self.epoch, self.incarnation)


@dataclass(frozen=True, slots=True)
class ReachRow:
    """Whom `node` does not reach directly, though the team holds them to be there: `deaf` are heard
    and do not answer, `silent` are not heard either; only so many of each are named. `reached`
    counts those that answer. Of two rows of a node the higher (epoch, number) is the newer."""

    node: NodeId
    epoch: int
    number: int
    reached: int
    deaf: tuple[NodeId, ...]
    silent: tuple[NodeId, ...]

    @property
    def version(self) -> tuple[int, int]:
        return (self.epoch, self.number)


@dataclass(frozen=True, slots=True)
class News:
    """What rides on every message of the membership (SWIM, section 4.1)."""

    records: tuple[MemberRecord, ...] = ()
    rumors: tuple[Rumor, ...] = ()
    rows: tuple[ReachRow, ...] = ()


NO_NEWS = News()


@dataclass(frozen=True, slots=True)
class Probe:
    """Are you there? And do you know what I know? (`fingerprint`, as in `ViewSummary`)"""

    sequence: int
    fingerprint: bytes
    news: News


@dataclass(frozen=True, slots=True)
class ProbeAck:
    """I am, or whom you asked me to probe is; `direct` tells the one from the other."""

    sequence: int
    direct: bool
    news: News


@dataclass(frozen=True, slots=True)
class ProbeRequest:
    """Please probe `target` for me, and pass its answer on."""

    sequence: int
    target: NodeId
    news: News


@dataclass(frozen=True, slots=True)
class ProbeNack:
    """I am here and did probe, but your target has not answered me (Lifeguard, section IV-A)."""

    sequence: int


@dataclass(frozen=True, slots=True)
class ViewSummary:
    """A fingerprint of all that the sender knows of the members; with `sums` over parts of them, so
    that the receiver sends what differs. `is_last` wants no sums in return."""

    fingerprint: bytes
    sums: tuple[bytes, ...]
    is_last: bool


@dataclass(frozen=True, slots=True)
class MemberSync:
    """News that cannot wait, or what the receiver seems to lack."""

    news: News
