"""Claims: what nodes say in the store about who works on what, and who should take what next.

Invariant: from equal stores and ledgers every node derives the same holder of every slot, and all
agree whom a unit suits best and who of the idle takes which of equally urgent units, so that claims
seldom collide and collisions resolve themselves without another message.

A claim is a value of the key `claim/JOB/TASK/SLOT`, and who races its holder says so under
`race/JOB/TASK/SLOT/NODE`, with the holder's token. Of concurrent claims (siblings) the higher
token wins, then whoever has not given up, then the higher score, a hash of slot and node
(rendezvous hashing, Thaler and Ravishankar 1998).
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache

from protocol import codec
from protocol.clocks import MILLISECOND, Nanoseconds
from protocol.durations import Durations
from protocol.errors import RemoteProtocolError
from protocol.identity import NOBODY, NodeId
from protocol.jobs import NO_USAGE, Share, Usage
from protocol.ledger import TOKEN_MAX, Unit
from protocol.store import Version, word_of

CATCH_UP_NS = 250 * MILLISECOND  # who learns a job and its results within that was away


class Phase(Enum):
    """What the holder does with its claim."""

    WORKING = "working"
    DONE = "done"  # has a verified result, waits for its acceptance
    RELEASED = "released"  # gave up; anybody may take it


@dataclass(frozen=True, slots=True)
class Claim:
    """The value of a claim key."""

    node: NodeId
    token: int
    phase: Phase


@dataclass(frozen=True, slots=True)
class Partial:
    """The value of `part/JOB/TASK/SLOT/PATH`: a file of an attempt of `node`, verified or not."""

    node: NodeId
    token: int
    content: bytes


@dataclass(frozen=True, slots=True)
class Finished:
    """The value of `part/JOB/TASK/SLOT/`: an attempt of `node` has made its whole answer, and used
    so much, and earlier ones what is in `before`. `digests` are the SHA-256 of the files (path,
    hex), which are parts beside it."""

    node: NodeId
    token: int
    digests: tuple[tuple[str, str], ...]
    text: str
    usage: Usage
    before: tuple[Share, ...] = ()


@dataclass(frozen=True, slots=True)
class FailNote:
    """The value of `note/JOB/TASK/NODE/NUMBER`: why an attempt gave no result, and its cost,
    with that of earlier ones whose answer it was to finish."""

    node: NodeId
    slot: int
    token: int
    reason: str
    detail: str
    usage: Usage = NO_USAGE
    before: tuple[Share, ...] = ()


CLAIM_PREFIX, RACE_PREFIX, PART_PREFIX, NOTE_PREFIX = "claim/", "race/", "part/", "note/"


def claim_key(unit: Unit) -> str:
    return f"{CLAIM_PREFIX}{unit[0]}/{unit[1]}/{unit[2]}"


def race_key(unit: Unit, node: NodeId) -> str:
    return f"{RACE_PREFIX}{unit[0]}/{unit[1]}/{unit[2]}/{node}"


def part_key(unit: Unit, path: str) -> str:
    return f"{PART_PREFIX}{unit[0]}/{unit[1]}/{unit[2]}/{path}"


def finished_key(unit: Unit) -> str:
    return part_key(unit, "")


def part_of(key: str) -> tuple[Unit, str] | None:
    """The unit and the path that the key of a part names; None for other keys and malformed ones.
    The path is empty in the key that says that all is finished."""
    parts = key.split("/", 4)
    if len(parts) != 5 or parts[0] != "part" or not parts[3].isdecimal():
        return None
    unit = (parts[1], parts[2], int(parts[3]))
    return (unit, parts[4]) if part_key(unit, parts[4]) == key else None


def note_key(job: str, task: str, node: NodeId, number: int) -> str:
    return f"{NOTE_PREFIX}{job}/{task}/{node}/{number}"


def unit_of(key: str) -> Unit | None:
    """The unit that a claim key names; None for other keys and malformed ones."""
    parts = key.split("/")
    if len(parts) != 4 or parts[0] != "claim" or not parts[3].isdecimal():
        return None
    unit = (parts[1], parts[2], int(parts[3]))
    return unit if claim_key(unit) == key else None  # one key a unit: "00" is no slot


def race_of(key: str) -> tuple[Unit, NodeId] | None:
    """The unit and the racer that a race key names; None for other keys and malformed ones."""
    parts = key.split("/")
    if len(parts) != 5 or parts[0] != "race" or not parts[3].isdecimal():
        return None
    unit, node = (parts[1], parts[2], int(parts[3])), NodeId(parts[4])
    return (unit, node) if race_key(unit, node) == key else None


@lru_cache(maxsize=65_536)
def score(unit: Unit, node: NodeId) -> bytes:
    """How well a node suits a unit: equal everywhere, different for every pair."""
    return hashlib.sha256(f"{unit[0]}/{unit[1]}/{unit[2]}/{node}".encode()).digest()[:8]


@lru_cache(maxsize=65_536)
def suited_best(unit: Unit, nodes: frozenset[NodeId]) -> NodeId:
    """The node that a unit suits best (rendezvous hashing; Thaler and Ravishankar 1998). The slots
    of a task suit different nodes, for these shall answer independently."""
    job, task, slot = unit
    order = sorted(nodes, key=lambda node: score((job, task, 0), node), reverse=True)
    return order[slot % len(order)]


def share_out(
    units: Sequence[Unit], idle: Collection[NodeId], nodes: frozenset[NodeId]
) -> dict[Unit, NodeId]:
    """Who of the idle takes which of units that are equally urgent, one each: what suits it best of
    all nodes, else what is next to it on a ring. Of the same units and the same idle nodes, without
    one that has taken its share and without that, the shares of the others stay the same; where
    the lists differ otherwise, few shares do."""
    free = dict.fromkeys(idle)
    shared: dict[Unit, NodeId] = {}
    for unit in units:
        best = suited_best(unit, nodes)
        if best in free:
            shared[unit] = best
            del free[best]
    rest = [unit for unit in units if unit not in shared]
    return {**shared, **_matched(rest, list(free))}


def _matched(units: Sequence[Unit], nodes: Sequence[NodeId]) -> dict[Unit, NodeId]:
    """Units and nodes stand on a ring by their hashes, and match as brackets do: each node takes
    the last unit before it that is not taken. That costs no more than to sort them."""
    if not units or not nodes:
        return {}
    job = (units[0][0], "", 0)
    ring: list[tuple[bytes, Unit, NodeId]] = [(score(unit, NOBODY), unit, NOBODY) for unit in units]
    ring += [(score(job, node), job, node) for node in nodes]
    matched: dict[Unit, NodeId] = {}
    waiting: list[Unit] = []
    taken: set[NodeId] = set()
    for _, unit, node in sorted(ring) * 2:  # what waits at the end is for those at the beginning
        if node == NOBODY:
            if unit not in matched:
                waiting.append(unit)
        elif waiting and node not in taken:
            matched[waiting.pop()] = node
            taken.add(node)
    return matched


@dataclass(slots=True)
class Held:
    """A claim: since when this node knows of it, when it last heard of it being renewed, and
    whether the log has a result of it."""

    claim: Claim
    sequence: int
    heard_at: Nanoseconds
    since: Nanoseconds
    is_answered: bool = False


class ClaimBook:
    """The winning claim of every unit that has one, who races it, and how long attempts took."""

    def __init__(self) -> None:
        self._held: dict[Unit, Held] = {}
        self._races: dict[Unit, dict[NodeId, Held]] = {}
        self._durations: dict[str, Durations] = {}
        self._heard_since: dict[str, Nanoseconds] = {}

    def learn(self, unit: Unit, versions: Sequence[Version], now: Nanoseconds) -> Held | None:
        """Take note of the values of a unit's key; the winner now, None if none is legible."""
        best: tuple[Claim, int] | None = None
        for version in versions:
            try:
                claim = codec.unpack_value(Claim, version.value)
            except RemoteProtocolError:
                continue  # a peer's mistake: its claim does not count
            if claim.node != version.author or claim.token > TOKEN_MAX:
                continue  # nobody claims for another, or beyond what can be counted
            if best is None or rank(unit, claim) > rank(unit, best[0]):
                best = (claim, version.sequence)
        if best is None:
            return None
        known = self._held.get(unit)
        held = self._held[unit] = self._renewed(unit, known, best[0], best[1], now)
        return held

    def learn_race(
        self, unit: Unit, node: NodeId, versions: Sequence[Version], now: Nanoseconds
    ) -> Held | None:
        """Take note of the value of a racer's key; None if it is illegible or not its own."""
        found = word_of(node, versions, Claim)
        if found is None or found[0].token > TOKEN_MAX:
            return None
        races = self._races.setdefault(unit, {})
        held = races[node] = self._renewed(unit, races.get(node), *found, now)
        return held

    def _renewed(
        self, unit: Unit, known: Held | None, claim: Claim, sequence: int, now: Nanoseconds
    ) -> Held:
        if known is None or (known.claim.node, known.claim.token) != (claim.node, claim.token):
            return Held(claim, sequence, now, now)
        if known.sequence == sequence:
            return known
        return Held(claim, sequence, now, known.since, known.is_answered)

    def answered(
        self, unit: Unit, node: NodeId, token: int, now: Nanoseconds, weight: float = 1.0
    ) -> None:
        """The log has a result for the unit: so long that attempt has taken. What was done before
        its claim was told is as good as nothing; what comes at once with the news of its job tells
        nothing, for then this node catches up with the log."""
        job = unit[0]
        if now - self._heard_since.setdefault(job, now) < CATCH_UP_NS:
            return
        held = self._held.get(unit)
        if held is not None:
            is_this = (held.claim.node, held.claim.token) == (node, token)
            if held.is_answered or not is_this:
                return
            held.is_answered = True
        took = now - held.since if held else 0
        self._durations.setdefault(job, Durations()).add(took, weight)

    def hear_of(self, job: str, now: Nanoseconds) -> None:
        """There is this job."""
        self._heard_since.setdefault(job, now)

    def get(self, unit: Unit) -> Held | None:
        return self._held.get(unit)

    def races(self, unit: Unit) -> Mapping[NodeId, Held]:
        """What was heard of those who race the unit's holder, or did."""
        return self._races.get(unit, {})

    def has_raced(self, unit: Unit, node: NodeId, token: int) -> bool:
        """Whether it has told that it races, or did, the holder of this token."""
        raced = self.races(unit).get(node)
        return raced is not None and raced.claim.token == token

    def duration(self, job: str, percentile: int) -> Nanoseconds | None:
        """How long attempts at the job's tasks took that gave a result, as heard of here; None
        while too few are known."""
        known = self._durations.get(job)
        return known.usual(percentile) if known else None

    def expected(self, job: str, weight: float, percentile: int) -> Nanoseconds | None:
        """The same for a task of this weight: what weighs more takes longer."""
        known = self._durations.get(job)
        return known.expected(weight, percentile) if known else None

    def is_quick(self, job: str, enough: Nanoseconds) -> bool:
        """Whether nearly all attempts have taken less, from their claims to the log, as heard of
        here; False while too few are known."""
        took = self.duration(job, 90)
        return took is not None and took < enough

    def put_off(self, now: Nanoseconds, duration: Nanoseconds) -> None:
        """Nothing was heard for so long, for nobody here listened."""
        races = (held for races in self._races.values() for held in races.values())
        for held in (*self._held.values(), *races):
            held.heard_at = min(held.heard_at + duration, now)

    def forget(self, job: str) -> None:
        """Drop the claims of a finished job."""
        for unit in [unit for unit in self._held if unit[0] == job]:
            del self._held[unit]
        for unit in [unit for unit in self._races if unit[0] == job]:
            del self._races[unit]
        self._durations.pop(job, None)
        self._heard_since.pop(job, None)


def rank(unit: Unit, claim: Claim) -> tuple[int, bool, bytes]:
    """The highest wins. Of equal tokens, whoever is still at it goes before whoever gave up."""
    return (claim.token, claim.phase is not Phase.RELEASED, score(unit, claim.node))


def idle_order(nodes: Sequence[NodeId], job: str) -> list[NodeId]:
    """Nodes in the order in which one stands in for another: who finds no share of a job's ready
    units comes after those between a unit's taker and itself, and so do they race. Equal
    everywhere, and different from job to job."""
    return sorted(nodes, key=lambda node: score((job, "", 0), node))
