"""What two nodes say to each other before a link is open, and how they settle on one link.

The dialler's upgrade request carries the cluster's name, the protocol version and the number of
the dial. The other end accepts, or refuses with an HTTP status and one line that says why. Who the
two are is not said but proven, by their certificates.

Invariant: nothing in a header is believed beyond what it can refuse.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import quote, unquote

from node.links.trust import ClusterTrust, proven_by
from protocol.codec import VERSION
from protocol.errors import QuorateError, RemoteProtocolError
from protocol.identity import NodeId

PEER_PATH = "/v1/peer"
CONNECT_TIMEOUT_S = 3.0  # a dropped first packet is sent again after 1 s: two chances
SIMULTANEOUS_S = 2 * CONNECT_TIMEOUT_S  # dials that cross are over within this
STATUS_OWN_NODE = 508  # "loop detected": a node has dialled itself
HEADER_SIZE_MAX = 256  # of one header's value
_CLUSTER = "Quorate-Cluster"
_VERSION = "Quorate-Version"
_DIAL = "Quorate-Dial"
_REFUSAL = "Quorate-Refusal"
_DIAL_DIGITS_MAX = 18


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
    return {_CLUSTER: quote(trust.cluster), _VERSION: str(VERSION), _DIAL: str(dial)}


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
    version = _header(headers, _VERSION)
    dial = _header(headers, _DIAL)
    if cluster != trust.cluster:
        raise Refused(403, f"this node is of cluster {trust.cluster!r}, not {cluster!r}")
    if version != str(VERSION):
        raise Refused(426, f"this node speaks protocol version {VERSION}, not {version!r}")
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
