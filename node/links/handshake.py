"""What two nodes say to each other before a link is open, and how they settle on one link.

The dialler's upgrade request carries the cluster's name, the preset of times that it keeps, the
protocol versions that it speaks, oldest and newest, its feature bits, and the number of the dial.
The other end accepts, with the newest version that both speak, its own bits, and the address that
it sees the dialler at; or it refuses, with an HTTP status and one line that says why. Who the two
are is not said but proven, by their certificates.

    Quorate-Version: 3-4        Quorate-Version: 4
    Quorate-Features: 1         Quorate-Features: 1
    Quorate-Cluster: quorate    Quorate-Observed: 203.0.113.7
    Quorate-Preset: wan
    Quorate-Dial: 12

Invariant: nothing in a header is believed beyond what it can refuse.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import quote, unquote

from node.links import features
from node.links.features import Feature
from node.links.trust import ClusterTrust, proven_by
from protocol.codec import OLDEST_VERSION, VERSION
from protocol.errors import QuorateError, RemoteProtocolError
from protocol.identity import NodeId

PEER_PATH = "/v1/peer"
CONNECT_TIMEOUT_S = 3.0  # a dropped first packet is sent again after 1 s: two chances
HANDSHAKE_TIMEOUT_S = 12.0  # of one whose kernel answers: its process may be short of time
SIMULTANEOUS_S = 2 * CONNECT_TIMEOUT_S  # dials that cross are over within this
STATUS_OWN_NODE = 508  # "loop detected": a node has dialled itself
HEADER_SIZE_MAX = 256  # of one header's value
_CLUSTER = "Quorate-Cluster"
_PRESET = "Quorate-Preset"
_VERSION = "Quorate-Version"
_FEATURES = "Quorate-Features"
_DIAL = "Quorate-Dial"
_OBSERVED = "Quorate-Observed"
_REFUSAL = "Quorate-Refusal"
_DIAL_DIGITS_MAX = 18
_VERSIONS = re.compile(r"([0-9]{1,6})(?:-([0-9]{1,6}))?")


class Refused(QuorateError):
    """A dial that is turned away, with the HTTP status that says so."""

    def __init__(self, status: int, detail: str) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail

    def headers(self) -> dict[str, str]:
        """The line for the dialler; quoted, as a cluster's name may hold any character."""
        return {_REFUSAL: quote(self.detail, safe=" ,.'")}


@dataclass(frozen=True, slots=True)
class Versions:
    """The protocol versions that a node speaks, both ends included. A team is brought to a new
    version node by node, so each version has to speak the one before."""

    oldest: int
    newest: int

    def __str__(self) -> str:
        return f"{self.oldest}-{self.newest}" if self.oldest < self.newest else f"{self.newest}"

    @classmethod
    def parse(cls, text: str) -> Versions | None:
        """None if the text is neither a version nor a range."""
        found = _VERSIONS.fullmatch(text)
        return cls(int(found[1]), int(found[2] or found[1])) if found else None

    def settle(self, other: Versions | None) -> int | None:
        """The newest version that both speak; None if there is none."""
        if other is None:
            return None
        newest = min(self.newest, other.newest)
        return newest if newest >= max(self.oldest, other.oldest) else None


SPOKEN = Versions(OLDEST_VERSION, VERSION)


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a link comes from: all that decides which one of several survives.

    `instance` is the number of the peer's run, which tells a restarted peer from one that is still
    there; `dial` counts the dials of the side that dialled; `opened_s` is by the loop's clock.
    """

    peer: NodeId
    instance: int
    dialled_here: bool
    dial: int
    endpoint: str
    opened_s: float


def request_headers(trust: ClusterTrust, dial: int) -> dict[str, str]:
    """What the dialler says."""
    return {
        _CLUSTER: quote(trust.cluster),
        _PRESET: trust.preset,
        _VERSION: str(SPOKEN),
        _FEATURES: features.written(features.offered(trust.preset)),
        _DIAL: str(dial),
    }


def dial_of(request: Mapping[str, str]) -> int:
    """The number in a request of this node's own."""
    return int(request[_DIAL])


def answer_headers(
    request: Mapping[str, str], trust: ClusterTrust, observed: str
) -> dict[str, str]:
    """What the other end says to a dial that `examine` has let in."""
    settled = SPOKEN.settle(Versions.parse(_header(request, _VERSION)))
    return {
        _VERSION: str(settled),
        _FEATURES: features.written(features.offered(trust.preset)),
        _OBSERVED: observed,
    }


def shared_features(headers: Mapping[str, str], trust: ClusterTrust) -> Feature:
    """What both ends of a link can do, by the headers of the other."""
    return features.offered(trust.preset) & features.read(_header(headers, _FEATURES))


def check_answer(headers: Mapping[str, str]) -> None:
    """RemoteProtocolError if the other end has settled on a version that this node has not
    offered. One that says nothing has no choice: it knows the newest of ours and no other."""
    version = _header(headers, _VERSION) or f"{VERSION}"
    if SPOKEN.settle(Versions.parse(version)) is None:
        raise RemoteProtocolError(f"it settled on protocol version {version!r}, not {SPOKEN}")


def observed_host(headers: Mapping[str, str]) -> str:
    """The IP address that the other end saw this node's dial come from; empty if it said none.
    The port would be that of one connection, and tell nobody anything."""
    try:
        return str(ipaddress.ip_address(_header(headers, _OBSERVED)))
    except ValueError:
        return ""


def examine(
    headers: Mapping[str, str], certificate: bytes | None, trust: ClusterTrust, now_s: float
) -> Origin:
    """Who dials here, from the request's headers and the verified certificate; or `Refused`."""
    if not certificate:
        raise Refused(403, "a certificate of the cluster is required")
    try:
        peer, instance = proven_by(certificate)
    except RemoteProtocolError as fault:
        raise Refused(403, str(fault)) from None
    cluster = unquote(_header(headers, _CLUSTER))
    preset = _header(headers, _PRESET)
    version = _header(headers, _VERSION)
    dial = _header(headers, _DIAL)
    if cluster != trust.cluster:
        raise Refused(403, f"this node is of cluster {trust.cluster!r}, not {cluster!r}")
    if preset not in ("", trust.preset):  # a leader counts on promises as long as its lease
        raise Refused(403, f"this team runs with --preset {trust.preset}, not {preset!r}")
    if SPOKEN.settle(Versions.parse(version)) is None:
        raise Refused(426, f"this node speaks protocol version {SPOKEN}, not {version!r}")
    if not (dial.isascii() and dial.isdecimal() and len(dial) <= _DIAL_DIGITS_MAX):
        raise Refused(400, f"{_DIAL} must be a number, not {dial!r}")
    if peer == trust.node:
        raise Refused(STATUS_OWN_NODE, "a node has dialled itself")
    return Origin(peer, instance, False, int(dial), "", now_s)


def refusal_detail(headers: Mapping[str, str], status: int) -> str:
    """Why a dial was turned away, for who dialled."""
    return unquote(_header(headers, _REFUSAL)) or f"answered with HTTP status {status}"


def supersedes(new: Origin, old: Origin, own_node: NodeId) -> bool:
    """Whether a new link with a node takes the place of one that is there.

    Both ends come to the same answer. Two dials that crossed are settled by id: the smaller
    dialler's link stays. But who dials long after a link was made has lost it without our
    noticing, and who was restarted has no other link at all.
    """
    assert new.peer == old.peer != own_node
    if new.instance != old.instance:
        return True
    if new.dialled_here == old.dialled_here:
        return new.dial > old.dial
    if new.opened_s - old.opened_s > SIMULTANEOUS_S:
        return True
    return new.dialled_here == (own_node < new.peer)


def _header(headers: Mapping[str, str], name: str) -> str:
    return headers.get(name, "")[: 3 * HEADER_SIZE_MAX]  # quoting makes it up to 3 times as long
