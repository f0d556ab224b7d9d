"""Who is in the team: SWIM failure detection with suspicion and refutation.

Das, Gupta and Motivala, *SWIM* (DSN 2002): probe one member a period in a random permutation
(4.3), ask k others to probe it when it is silent (3.1), suspect before failing (4.2), and let news
ride on the probes (4.1). From *Lifeguard* (Dadgar et al. 2018): a suspect is told of its suspicion
with the next message to it, and helpers answer NACK.

Invariants: only a node itself can raise its (epoch, incarnation), for it signs them; of two
records of a node the higher one wins; a failed or suspected node is alive again only by a higher
record of its own. Everything is kept per node id, that is per key: a name or address may move.

    REMEMBERED -- any word of or about it ------------>  ALIVE, LEFT
    ALIVE    -- no ack, direct or through k helpers -->  SUSPECT
    SUSPECT  -- not refuted in time ------------------>  FAILED
    SUSPECT, FAILED  -- a newer record by its owner -->  ALIVE
    any      -- its own record says so --------------->  LEFT
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from functools import lru_cache
from itertools import chain
from math import ceil, log, log10
from random import Random

from protocol import codec
from protocol.clocks import MILLISECOND, Nanoseconds
from protocol.config import MembershipConfig
from protocol.effects import KeepMember
from protocol.events import LinkFault
from protocol.facts import (
    MemberChanged,
    MemberFailed,
    MemberJoined,
    MemberLeft,
    MemberRefuted,
    MemberSuspected,
    SeedUnreachable,
)
from protocol.identity import KEY_SIZE, NOBODY, Identity, NodeId
from protocol.messages import (
    MemberRecord,
    MemberSync,
    Probe,
    ProbeAck,
    ProbeNack,
    ProbeRequest,
    Rumor,
)
from protocol.turn import Turn

ENDPOINTS_MAX = 8
NAME_LENGTH_MAX = 64
RECORD_TEXT_MAX = 4_000  # characters of endpoints and metadata together
VERSION_MAX = 2**62  # of epoch and incarnation: nobody could count on from more
PAGE_RECORDS_MAX = 1_000  # of one MemberSync: the largest records must fit into a frame
METADATA_MAX = 16
FIRST_REDIAL_NS = 50 * MILLISECOND  # doubled up to the redial interval: a team starts all at once
SEED_REPORT_EVERY = 20  # failed dials of a seed between two facts about it


class State(Enum):
    REMEMBERED = "remembered"  # from an earlier life of this node; not heard of yet
    ALIVE = "alive"
    SUSPECT = "suspect"
    FAILED = "failed"
    LEFT = "left"


class _Timer(Enum):
    PROBE = "probe"  # time for the next one
    DIRECT = "direct"  # a probe should have been answered
    EXPIRE = "expire"  # and the indirect ones too
    SUSPICION = "suspicion"  # a suspect should have refuted
    REDIAL = "redial"
    SYNC = "sync"


@dataclass(slots=True)
class Member:
    """What is known of one other node. `since` is when it came into its state."""

    record: MemberRecord
    state: State
    since: Nanoseconds
    accuser: NodeId = NOBODY


@dataclass(slots=True)
class _Probing:
    """A probe on its way. `asked_by` and `asked_sequence` are set when it is for somebody else."""

    target: NodeId
    indirect: bool = False
    asked_by: NodeId = NOBODY
    asked_sequence: int = 0


@dataclass(slots=True)
class _News:
    """A record or rumor to ride along; the least told goes first."""

    item: MemberRecord | Rumor
    told: int = 0


def sign_record(identity: Identity, cluster: str, record: MemberRecord) -> MemberRecord:
    """`record` with its owner's signature."""
    return replace(record, signature=identity.sign(_statement(cluster, record)))


@lru_cache(maxsize=4_096)
def _statement(cluster: str, record: MemberRecord) -> bytes:
    """What is signed. Cached: the same few records come with many messages."""
    unsigned = codec.pack_value(replace(record, signature=b""))
    return b"quorate member\0" + cluster.encode() + b"\0" + unsigned


def fault_of_record(record: MemberRecord) -> str:
    """Why a record is malformed, whoever signed it; empty if it is not."""
    if len(record.public_key) != KEY_SIZE:
        return f"a public key has {KEY_SIZE} bytes"
    if len(record.name) > NAME_LENGTH_MAX:
        return f"the name is over {NAME_LENGTH_MAX} characters"
    if len(record.endpoints) > ENDPOINTS_MAX:
        return f"there are over {ENDPOINTS_MAX} endpoints"
    if len(record.metadata) > METADATA_MAX:
        return f"there are over {METADATA_MAX} items of metadata"
    size = sum(map(len, record.endpoints)) + sum(map(len, chain(*record.metadata)))
    if size > RECORD_TEXT_MAX:
        return f"endpoints and metadata are over {RECORD_TEXT_MAX} characters together"
    if max(record.epoch, record.incarnation) > VERSION_MAX:
        return f"epoch and incarnation end at {VERSION_MAX}"
    return ""


class Membership:
    """See the module's text."""

    def __init__(
        self,
        identity: Identity,
        cluster: str,
        record: MemberRecord,
        seeds: Sequence[str],
        known: Iterable[MemberRecord],
        config: MembershipConfig,
        random: Random,
        now: Nanoseconds,
    ) -> None:
        self.identity = identity
        self.node = identity.node
        self.cluster = cluster
        self.config = config
        self.random = random
        fault = fault_of_record(record)
        if fault:
            raise ValueError(f"nobody would take this node's record: {fault}")
        self.own = sign_record(identity, cluster, record)
        self.seeds = tuple(seed for seed in seeds if seed not in record.endpoints)
        self._members: dict[NodeId, Member] = {}
        self._alive: list[NodeId] | None = None  # what `alive` says, until somebody's state changes
        self._order: list[NodeId] = []  # the permutation being probed
        self._probes: dict[int, _Probing] = {}
        self._sequence = 0
        self._news: dict[NodeId, _News] = {}
        self._hot: list[MemberRecord | Rumor] = []  # first seen in this step: told at once
        self._outbids_at = now
        self._redial_turn = 0
        self._redial_wait = FIRST_REDIAL_NS
        self._seed_faults: dict[str, int] = {}
        self._timers: list[tuple[Nanoseconds, int, _Timer, object]] = []
        self._timer_count = 0
        for old in known:
            if old.node != self.node:
                self._members[old.node] = Member(old, State.REMEMBERED, now)
        first = random.randrange(config.probe_interval_ns)
        self._set_timer(now + first, _Timer.PROBE)
        self._set_timer(now, _Timer.REDIAL)
        self._set_timer(now + config.sync_interval_ns, _Timer.SYNC)

    def __repr__(self) -> str:
        counts = {state.value: 0 for state in State}
        for member in self._members.values():
            counts[member.state.value] += 1
        inside = " ".join(f"{state}={n}" for state, n in counts.items() if n)
        return f"<Membership {self.node[:6]} {inside}>"

    # -- what the host and the other machines may ask ------------------------------------------

    def alive(self) -> list[NodeId]:
        """The other nodes that are in the team and not held to have failed (suspects included:
        they get the benefit of the doubt), in the order in which they became known. The list
        is the machine's own: nobody else changes it."""
        if self._alive is None:
            self._alive = [
                node
                for node, member in self._members.items()
                if member.state in (State.ALIVE, State.SUSPECT)
            ]
        return self._alive

    def members(self) -> dict[NodeId, Member]:
        """Every other node ever known, whatever its state."""
        return self._members

    def gone(self) -> list[NodeId]:
        """Nodes that have failed or left, as opposed to those never or not yet heard of."""
        return [
            node
            for node, member in self._members.items()
            if member.state in (State.FAILED, State.LEFT)
        ]

    def state_of(self, node: NodeId) -> State | None:
        """None for a stranger."""
        if node == self.node:
            return State.LEFT if self.own.left else State.ALIVE
        member = self._members.get(node)
        return member.state if member else None

    def healthy(self) -> list[NodeId]:
        """Those of `alive` that nobody suspects."""
        return [node for node, member in self._members.items() if member.state is State.ALIVE]

    def silent_seeds(self) -> list[str]:
        """Seed addresses that a call failed at."""
        return [seed for seed in self.seeds if self._seed_faults.get(seed)]

    def endpoints_of(self, node: NodeId) -> tuple[str, ...]:
        member = self._members.get(node)
        return member.record.endpoints if member else ()

    def key_of(self, node: NodeId) -> bytes | None:
        """The public key of a member; None for a stranger."""
        member = self._members.get(node)
        return member.record.public_key if member else None

    def deadline(self) -> Nanoseconds:
        return self._timers[0][0]

    # -- inputs --------------------------------------------------------------------------------

    def receive(
        self,
        turn: Turn,
        sender: NodeId,
        message: Probe | ProbeAck | ProbeRequest | ProbeNack | MemberSync,
    ) -> None:
        """Take a message from another node."""
        match message:
            case Probe():
                self._take_news(turn, message.records, message.rumors)
                self._tell_accused(turn, sender)
                records, rumors = self._ride_along(sender)
                turn.send(sender, ProbeAck(message.sequence, records, rumors))
            case ProbeAck():
                self._take_news(turn, message.records, message.rumors)
                self._acknowledged(turn, message.sequence)
            case ProbeRequest():
                self._take_news(turn, message.records, message.rumors)
                self._probe(turn, message.target, sender, message.sequence)
            case ProbeNack():
                pass  # the helper lives, and that is all: there is no local health to raise yet
            case MemberSync():
                self._take_news(turn, message.records, message.rumors)
                if message.wants_answer:
                    self._tell_everything(turn, sender, wants_answer=False)
                elif self.state_of(sender) is not None:  # else two strangers would go on for ever
                    self._tell_accused(turn, sender)

    def tick(self, turn: Turn) -> None:
        """Serve the timers that are due."""
        while self._timers[0][0] <= turn.now:
            _, _, kind, subject = heapq.heappop(self._timers)
            match kind:
                case _Timer.PROBE:
                    self._set_timer(turn.now + self.config.probe_interval_ns, _Timer.PROBE)
                    target = self._next_target()
                    if target:
                        self._probe(turn, target)
                case _Timer.DIRECT:
                    self._no_direct_answer(turn, subject)
                case _Timer.EXPIRE:
                    self._no_answer(turn, subject)
                case _Timer.SUSPICION:
                    self._suspicion_ended(turn, subject)
                case _Timer.REDIAL:
                    self._redial(turn)
                    self._set_timer(turn.now + self._redial_wait, _Timer.REDIAL)
                case _Timer.SYNC:
                    self._set_timer(turn.now + self.config.sync_interval_ns, _Timer.SYNC)
                    self._sync(turn)

    def undeliverable(
        self, turn: Turn, destination: NodeId, endpoint: str, fault: LinkFault, detail: str
    ) -> None:
        """A send that fails is a failed probe: no need to wait for its time-out."""
        if destination == NOBODY:
            faults = self._seed_faults.get(endpoint, 0)
            self._seed_faults[endpoint] = faults + 1
            if faults % SEED_REPORT_EVERY == 0 and endpoint in self.seeds:
                turn.report(SeedUnreachable(endpoint, detail or fault.value))
            return
        if fault is LinkFault.OVERFLOW:
            return
        underway = [n for n, probing in self._probes.items() if probing.target == destination]
        for sequence in underway:
            self._no_direct_answer(turn, sequence)
        if not underway and self.state_of(destination) is State.ALIVE:
            self._probe(turn, destination)  # a broken link alone is only a reason to look

    def ask(self, turn: Turn, node: NodeId) -> None:
        """Probe a member out of turn, for a word of it: nothing follows here if none comes."""
        self._sequence += 1
        records, rumors = self._ride_along(node)
        turn.send(node, Probe(self._sequence, records, rumors))

    def describe(self, **metadata: str) -> None:
        """Say something new of this node; an empty value takes a word back."""
        said = {**dict(self.own.metadata), **metadata}
        pairs = tuple((key, value) for key, value in said.items() if value)
        if pairs != self.own.metadata:
            self.own = replace(self.own, metadata=pairs)
            self._renew_own(left=False)

    def leave(self, turn: Turn) -> None:
        """Say goodbye in a signed record, to everybody at once."""
        self._renew_own(left=True)
        for node in self.alive():
            turn.send(node, MemberSync((self.own,), (), wants_answer=False))

    def flush(self, turn: Turn) -> None:
        """At the end of a step: tell first-seen news to a few members without waiting."""
        if not self._hot:
            return
        hot, self._hot = self._hot, []
        records = tuple(item for item in hot if isinstance(item, MemberRecord))
        rumors = tuple(item for item in hot if isinstance(item, Rumor))
        others = self.alive()
        fanout = max(ceil(log(len(others) + 1)) + 1, 2)
        if len(others) > fanout:
            others = self.random.sample(others, fanout)
        for node in others:
            turn.send(node, MemberSync(records, rumors, wants_answer=False))

    # -- probing ---------------------------------------------------------------------------------

    def _set_timer(self, at: Nanoseconds, kind: _Timer, subject: object = None) -> None:
        self._timer_count += 1
        heapq.heappush(self._timers, (at, self._timer_count, kind, subject))

    def _next_target(self) -> NodeId | None:
        """The next member of the permutation; a new one is drawn when it is used up (4.3)."""
        for _ in range(2):
            while self._order:
                node = self._order.pop()
                if self.state_of(node) in (State.ALIVE, State.SUSPECT):
                    return node
            self._order = [*self.alive()]
            self.random.shuffle(self._order)
        return None

    def _probe(
        self, turn: Turn, target: NodeId, asked_by: NodeId = NOBODY, asked_sequence: int = 0
    ) -> None:
        if target == self.node or target not in self._members:
            return
        self._sequence += 1
        self._probes[self._sequence] = _Probing(target, False, asked_by, asked_sequence)
        records, rumors = self._ride_along(target)
        turn.send(target, Probe(self._sequence, records, rumors))
        self._set_timer(turn.now + self.config.probe_timeout_ns, _Timer.DIRECT, self._sequence)

    def _acknowledged(self, turn: Turn, sequence: int) -> None:
        probing = self._probes.pop(sequence, None)
        if probing and probing.asked_by:
            records, rumors = self._ride_along(probing.asked_by)
            turn.send(probing.asked_by, ProbeAck(probing.asked_sequence, records, rumors))

    def _no_direct_answer(self, turn: Turn, sequence: object) -> None:
        assert isinstance(sequence, int)
        probing = self._probes.get(sequence)
        if probing is None or probing.indirect:
            return
        if probing.asked_by:
            turn.send(probing.asked_by, ProbeNack(probing.asked_sequence))
            del self._probes[sequence]
            return
        probing.indirect = True
        others = [
            node
            for node in self.alive()
            if node != probing.target and self.state_of(node) is State.ALIVE
        ]
        helpers = self.random.sample(others, min(self.config.indirect_probes, len(others)))
        for helper in helpers:
            records, rumors = self._ride_along(helper)
            turn.send(helper, ProbeRequest(sequence, probing.target, records, rumors))
        # The helper's own time-out, and the two ways to it and back.
        wait = 2 * self.config.probe_timeout_ns if helpers else 0
        self._set_timer(turn.now + wait, _Timer.EXPIRE, sequence)

    def _no_answer(self, turn: Turn, sequence: object) -> None:
        assert isinstance(sequence, int)
        probing = self._probes.pop(sequence, None)
        member = self._members.get(probing.target) if probing else None
        if probing and member and member.state is State.ALIVE:
            self._suspect(turn, probing.target, member, self.node)

    # -- suspicion -------------------------------------------------------------------------------

    def suspicion_timeout(self) -> Nanoseconds:
        """multiplier * log10(N + 1) probe intervals (4.2), at least two intervals."""
        size = len(self.alive()) + 1
        interval = self.config.probe_interval_ns
        scaled = int(self.config.suspicion_multiplier * log10(size + 1) * interval)
        return max(scaled, 2 * interval)

    def _suspect(self, turn: Turn, node: NodeId, member: Member, accuser: NodeId) -> None:
        member.state, member.since, member.accuser = State.SUSPECT, turn.now, accuser
        self._alive = None
        turn.report(MemberSuspected(node, accuser))
        self._spread(self._rumor_of(node, member))
        self._set_timer(
            turn.now + self.suspicion_timeout(), _Timer.SUSPICION, (node, member.record.version)
        )

    def _suspicion_ended(self, turn: Turn, subject: object) -> None:
        assert isinstance(subject, tuple)
        node, version = subject
        member = self._members[node]
        if member.state is State.SUSPECT and member.record.version == version:
            self._fail(turn, node, member, self.node)

    def _fail(self, turn: Turn, node: NodeId, member: Member, accuser: NodeId) -> None:
        member.state, member.since, member.accuser = State.FAILED, turn.now, accuser
        self._alive = None
        turn.report(MemberFailed(node, accuser))
        self._spread(self._rumor_of(node, member))

    def _rumor_of(self, node: NodeId, member: Member) -> Rumor:
        epoch, incarnation = member.record.version
        return Rumor(node, epoch, incarnation, member.accuser, member.state is State.FAILED)

    def _tell_accused(self, turn: Turn, sender: NodeId) -> None:
        """Whoever is not held to be alive and yet speaks shall hear of it and refute; a stranger
        shall introduce itself. The accused also gets its own record: one that lost its journal
        does not know how far it had counted."""
        member = self._members.get(sender)
        if member is None:
            self._tell_everything(turn, sender, wants_answer=True)
        elif member.state is State.REMEMBERED:
            turn.send(sender, MemberSync((self.own, member.record), (), wants_answer=True))
        elif member.state is not State.ALIVE:
            failing = member.state in (State.SUSPECT, State.FAILED)
            rumors = (self._rumor_of(sender, member),) if failing else ()
            turn.send(sender, MemberSync((self.own, member.record), rumors, wants_answer=False))

    def _renew_own(self, left: bool) -> None:
        record = replace(self.own, incarnation=self.own.incarnation + 1, left=left)
        self.own = sign_record(self.identity, self.cluster, record)
        self._spread(self.own)

    # -- news --------------------------------------------------------------------------------------

    def _spread(self, item: MemberRecord | Rumor) -> None:
        self._news[item.node] = _News(item)
        self._hot.append(item)

    def _ride_along(self, receiver: NodeId) -> tuple[tuple[MemberRecord, ...], tuple[Rumor, ...]]:
        """The least told news, each a bounded number of times (4.1); and always what concerns
        the receiver itself."""
        limit = self.config.retransmit_multiplier * ceil(log10(len(self._members) + 2))
        chosen = sorted(self._news.values(), key=lambda news: news.told)
        chosen = chosen[: self.config.piggyback_max]
        records: list[MemberRecord] = []
        rumors: list[Rumor] = []
        for news in chosen:
            news.told += 1
            if news.told >= limit:
                del self._news[news.item.node]
            if isinstance(news.item, Rumor):
                rumors.append(news.item)
            else:
                records.append(news.item)
        member = self._members.get(receiver)
        if member and member.state in (State.SUSPECT, State.FAILED):
            rumors.append(self._rumor_of(receiver, member))
        return tuple(records), tuple(rumors)

    def _tell_everything(self, turn: Turn, receiver: NodeId, wants_answer: bool) -> None:
        for page in self._everything(wants_answer):
            turn.send(receiver, page)

    def _everything(self, wants_answer: bool) -> list[MemberSync]:
        """All records and rumors, in pages that fit into a frame; the last one asks for those of
        the receiver."""
        records = [self.own]
        records += [
            member.record
            for member in self._members.values()
            if member.state is not State.REMEMBERED
        ]
        rumors = [
            self._rumor_of(node, member)
            for node, member in self._members.items()
            if member.state in (State.SUSPECT, State.FAILED)
        ]
        return [
            MemberSync(
                tuple(records[at : at + PAGE_RECORDS_MAX]),
                tuple(rumors[at : at + PAGE_RECORDS_MAX]),
                wants_answer and at + PAGE_RECORDS_MAX >= len(records),
            )
            for at in range(0, len(records), PAGE_RECORDS_MAX)
        ]

    def _take_news(
        self, turn: Turn, records: Sequence[MemberRecord], rumors: Sequence[Rumor]
    ) -> None:
        for record in records:
            self._take_record(turn, record)
        for rumor in rumors:
            self._take_rumor(turn, rumor)

    def _take_record(self, turn: Turn, record: MemberRecord) -> None:
        if fault_of_record(record):
            return
        node = record.node
        member = self._members.get(node)
        was = member.state if member else None
        if member is not None and record.version <= member.record.version:
            same = record.version == member.record.version
            if not (same and was is State.REMEMBERED):
                return  # most come again and again: no need to check who signed them
        if not self._is_valid(record):
            return
        if node == self.node:
            self._hear_of_self(turn, record)
            return
        state = State.LEFT if record.left else State.ALIVE
        since = member.since if member is not None and was is state else turn.now
        self._members[node] = Member(record, state, since)
        self._alive = None
        turn.persist(KeepMember(record))
        self._spread(record)
        if state is State.LEFT:
            if was is not State.LEFT:
                turn.report(MemberLeft(node))
        elif was is State.SUSPECT:
            turn.report(MemberRefuted(node, record.incarnation))
        elif was is State.ALIVE:
            if member is not None and member.record.metadata != record.metadata:
                turn.report(MemberChanged(node))
        else:
            endpoint = record.endpoints[0] if record.endpoints else ""
            turn.report(MemberJoined(node, record.name, endpoint))

    def _hear_of_self(self, turn: Turn, record: MemberRecord) -> None:
        """What this very node once said: if that was more than it now knows of, its journal is lost
        or old, and it counts on from there. Seldom: if two processes run with one key, by mistake,
        each of them outbids the other."""
        if self.own.left or record.version < self.own.version or record == self.own:
            return
        if turn.now < self._outbids_at:
            return
        self._outbids_at = turn.now + self.config.redial_interval_ns
        self.own = replace(self.own, epoch=record.epoch, incarnation=record.incarnation)
        self._renew_own(left=False)

    def _is_valid(self, record: MemberRecord) -> bool:
        """Signed by its owner, and not one too many. A forged record is dropped without a word: its
        bearer may only be passing it on."""
        known = record.node in self._members or record.node == self.node
        if not known and len(self._members) >= self.config.members_max:
            return False
        statement = _statement(self.cluster, record)
        return self.identity.verify(record.public_key, record.signature, statement)

    def _take_rumor(self, turn: Turn, rumor: Rumor) -> None:
        version = (rumor.epoch, rumor.incarnation)
        if rumor.node == self.node:
            if version == self.own.version and not self.own.left:
                self._renew_own(left=False)
                turn.report(MemberRefuted(self.node, self.own.incarnation))
            return
        member = self._members.get(rumor.node)
        if member is None or version != member.record.version:
            return  # older than what its owner says, or of a record that will still arrive
        if rumor.failed and member.state in (State.ALIVE, State.SUSPECT):
            self._fail(turn, rumor.node, member, rumor.accuser)
        elif not rumor.failed and member.state is State.ALIVE:
            self._suspect(turn, rumor.node, member, rumor.accuser)

    # -- finding each other ------------------------------------------------------------------------

    def _redial(self, turn: Turn) -> None:
        """One call a period: to a failed member, or to a seed while nobody else is known alive.
        This goes on for ever: it is how two halves of a healed team find each other."""
        alone = not self.alive()
        lost: list[str] = [
            node
            for node, member in self._members.items()
            if member.state in (State.FAILED, State.REMEMBERED)
        ]
        if alone:
            lost += self.seeds
        longest = self.config.redial_interval_ns
        if not lost:
            self._redial_wait = longest
            return
        self._redial_wait = min(2 * self._redial_wait, longest)
        self._redial_turn += 1
        self._call(turn, lost[self._redial_turn % len(lost)])

    def _sync(self, turn: Turn) -> None:
        """A full exchange with one member; now and then with a seed, in case the team is two."""
        others: list[str] = [*self.alive(), *self.seeds]
        if others:
            self._call(turn, others[self.random.randrange(len(others))])

    def _call(self, turn: Turn, target: str) -> None:
        """Exchange everything with a member, or with whoever listens at a seed's address."""
        for page in self._everything(wants_answer=True):
            if target in self._members:
                turn.send(NodeId(target), page)
            else:
                turn.send_to_endpoint(target, page)
