"""Gossip: what is new goes on at once, what was missed is repaired by digest."""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import replace
from random import Random

import pytest

from protocol import codec
from protocol.clocks import SECOND, Nanoseconds
from protocol.config import GossipConfig
from protocol.effects import KeepBatch, KeepProof
from protocol.facts import Fact, RequestRefused
from protocol.facts.sharing import BatchMerged, BatchRefused, SiblingsFound
from protocol.gossip import REASONS_MAX, Gossip, GossipMessage
from protocol.identity import NOBODY, Identity, NodeId
from protocol.messages import Message
from protocol.messages.sharing import Delta, Digest, Holdings, Push, Summary
from protocol.store import Store
from protocol.turn import Turn

CONFIG = GossipConfig()
DELIVERIES_MAX = 20_000


class Circle:
    """Nodes that gossip, driven by hand over the real codec."""

    def __init__(self, size: int, config: GossipConfig = CONFIG) -> None:
        self.now: Nanoseconds = 0
        self.wire: deque[tuple[int, int, bytes]] = deque()
        self.sent: list[tuple[int, int, Message]] = []
        self.facts: list[tuple[int, Fact]] = []
        self.cut: set[tuple[int, int]] = set()
        self.identities = [Identity(bytes([number + 1]) * 32) for number in range(size)]
        self.nodes = [identity.node for identity in self.identities]
        self.gossips = [
            Gossip(Store(identity, "team", 1_000), config, Random(number), 0)
            for number, identity in enumerate(self.identities)
        ]

    def others(self, who: int) -> list[NodeId]:
        return [node for number, node in enumerate(self.nodes) if number != who]

    def turn(self, who: int) -> Turn:
        return Turn(self.now, self.now, 1)

    def end(self, who: int, turn: Turn) -> None:
        """The end of a step: pass on, and post what is to be sent."""
        gossip = self.gossips[who]
        if gossip.has_news:
            summary = Summary(gossip.store.fingerprint(), b"", False, 0, 0, NOBODY)
            gossip.flush(turn, self.others(who), summary)
        self.facts += [(who, fact) for fact in turn.facts]
        for item in [*turn.before, *turn.after]:
            assert isinstance(item, tuple)
            destination, _, message = item
            to = self.nodes.index(destination)
            self.sent.append((who, to, message))
            if (who, to) not in self.cut:
                self.wire.append((who, to, codec.encode(message)))

    def write(self, who: int, key: str, value: bytes) -> Turn:
        turn = self.turn(who)
        self.gossips[who].write(turn, [(key, value)])
        self.end(who, turn)
        return turn

    def receive(self, who: int, sender: NodeId, message: GossipMessage | Holdings) -> Turn:
        turn = self.turn(who)
        if isinstance(message, Holdings):
            others = [node for node in self.nodes if node != self.nodes[who]]
            self.gossips[who].reconcile(turn, sender, message, others)
        else:
            self.gossips[who].receive(turn, sender, message)
        self.end(who, turn)
        return turn

    def settle(self) -> None:
        for _ in range(DELIVERIES_MAX):
            if not self.wire:
                return
            sender, who, frame = self.wire.popleft()
            message = codec.decode(frame)
            assert isinstance(message, GossipMessage | Holdings)
            self.receive(who, self.nodes[sender], message)
        raise AssertionError("the gossip never ends")

    def compare(self, who: int, partner: int) -> None:
        """`who` shows `partner` what it has, as the tick does."""
        turn = self.turn(who)
        fingerprint = self.gossips[who].store.fingerprint()
        turn.send(self.nodes[partner], Summary(fingerprint, b"", False, 0, 0, NOBODY))
        self.end(who, turn)
        self.settle()

    def values(self, who: int, key: str) -> list[bytes]:
        return [version.value for version in self.gossips[who].store.read(key)]


def test_an_own_write_is_on_disk_before_it_is_told() -> None:
    circle = Circle(3)
    turn = circle.write(0, "k", b"x")
    (record,) = turn.records
    assert isinstance(record, KeepBatch)
    assert (record.author, record.first, record.last) == (circle.nodes[0], 1, 1)
    assert turn.before == []
    assert len(turn.after) == 2


def test_news_reaches_a_small_team_at_once() -> None:
    circle = Circle(4)
    circle.write(0, "k", b"x")
    circle.settle()
    assert all(circle.values(who, "k") == [b"x"] for who in range(4))


def test_news_is_passed_on_at_first_sight_only() -> None:
    circle = Circle(4)
    circle.write(0, "k", b"x")
    circle.settle()
    assert len(circle.sent) <= 4 * 3, "each node tells each other at most once"
    assert all(isinstance(message, Push) for _, _, message in circle.sent)


def test_news_is_not_told_to_whom_it_came_from() -> None:
    circle = Circle(2)
    circle.write(0, "k", b"x")
    circle.settle()
    assert [(sender, to) for sender, to, _ in circle.sent] == [(0, 1)]


def test_a_busy_team_forwards_only_what_its_author_does_not_tell_everybody() -> None:
    circle = Circle(4)
    for number in range(10):
        circle.write(0, f"k{number}", b"v")
    circle.settle()
    forwards = [sent for sent in circle.sent if sent[0] == 1 and isinstance(sent[2], Push)]
    assert len({codec.encode(message) for _, _, message in forwards}) == CONFIG.forwards_max
    assert all(gossip.store.vector() == {circle.nodes[0]: 10} for gossip in circle.gossips)
    circle.sent.clear()
    circle.now += CONFIG.tick_ns
    circle.write(0, "later", b"v")
    circle.settle()
    assert any(sent[0] == 1 for sent in circle.sent), "the next tick has its own bound"


def test_what_came_by_way_of_another_is_forwarded_however_busy_the_team_is() -> None:
    circle = Circle(4)
    circle.cut |= {(0, 1), (0, 2)}
    for number in range(10):
        circle.write(0, f"k{number}", b"v")
    circle.sent.clear()
    for batch in circle.gossips[0].store.missing({}, 10**6).batches:
        circle.receive(1, circle.nodes[3], Push((batch,)))
    forwards = [sent for sent in circle.sent if sent[0] == 1 and isinstance(sent[2], Push)]
    assert len({codec.encode(message) for _, _, message in forwards}) == 10


def test_the_fanout_grows_with_the_logarithm_and_ends() -> None:
    circle = Circle(40)
    circle.write(0, "k", b"x")
    assert len(circle.sent) == CONFIG.author_fanout, "an author leaves less to chance"
    circle.settle()
    passed_on = Counter(sender for sender, _, message in circle.sent if isinstance(message, Push))
    assert max(passed_on[number] for number in range(1, 40)) == min(CONFIG.fanout_max, 5)


def test_what_push_missed_is_repaired_by_digest() -> None:
    circle = Circle(2)
    circle.cut = {(0, 1)}
    circle.write(0, "k", b"x")
    circle.settle()
    circle.cut.clear()
    circle.compare(1, 0)
    assert circle.values(1, "k") == [b"x"]


@pytest.mark.parametrize("asking", [0, 1])
def test_one_comparison_serves_both_sides(asking: int) -> None:
    circle = Circle(2)
    circle.cut = {(0, 1), (1, 0)}
    circle.write(0, "k", b"x")
    circle.write(1, "l", b"y")
    circle.settle()
    circle.cut.clear()
    circle.compare(asking, 1 - asking)
    for who in (0, 1):
        assert (circle.values(who, "k"), circle.values(who, "l")) == ([b"x"], [b"y"])


def test_equal_stores_exchange_nothing_but_a_fingerprint() -> None:
    circle = Circle(2)
    circle.write(0, "k", b"x")
    circle.settle()
    circle.sent.clear()
    circle.compare(0, 1)
    assert [type(message) for _, _, message in circle.sent] == [Summary]


def test_what_is_large_is_fetched_from_one_node() -> None:
    """Pushed by everybody to several, it would come several times."""
    circle = Circle(6)
    circle.write(0, "k", bytes(CONFIG.push_size_max + 1))
    circle.settle()
    assert all(len(circle.values(who, "k")) == 1 for who in range(6))
    assert not [message for _, _, message in circle.sent if isinstance(message, Push)]
    deltas = [to for _, to, message in circle.sent if isinstance(message, Delta)]
    assert len(deltas) <= 12


def test_a_gap_is_filled_by_asking_the_sender() -> None:
    circle = Circle(2)
    circle.cut = {(0, 1)}
    circle.write(0, "k", b"one")
    circle.cut.clear()
    circle.write(0, "k", b"two")
    circle.settle()
    assert circle.values(1, "k") == [b"two"]
    kinds = [type(message) for sender, _, message in circle.sent if sender == 1]
    assert kinds[0] is Digest


def test_a_long_delta_comes_in_parts() -> None:
    circle = Circle(2, GossipConfig(delta_size_max=1_000))
    circle.cut = {(0, 1)}
    for number in range(20):
        circle.write(0, f"k{number}", bytes(200))
    circle.settle()
    circle.cut.clear()
    circle.compare(1, 0)
    deltas = [message for _, _, message in circle.sent if isinstance(message, Delta)]
    assert len(deltas) > 5
    assert [delta.more for delta in deltas] == [True] * (len(deltas) - 1) + [False]
    assert circle.gossips[1].store.vector() == circle.gossips[0].store.vector()


def test_a_forged_batch_is_reported_and_not_passed_on() -> None:
    circle = Circle(3)
    turn = circle.receive(0, circle.nodes[1], Push((b"garbage",)))
    assert [type(fact) for fact in turn.facts] == [BatchRefused]
    assert turn.records == []
    assert turn.before == []


def test_one_bad_batch_does_not_spoil_the_others() -> None:
    circle = Circle(3)
    good, _ = Store(circle.identities[1], "team", 10).write([("k", b"x")], 1)
    circle.receive(0, circle.nodes[1], Push((b"garbage", good)))
    assert circle.values(0, "k") == [b"x"]


def test_a_merged_batch_is_told_as_a_fact_and_kept() -> None:
    circle = Circle(2)
    circle.write(0, "k", b"x")
    circle.settle()
    assert (1, BatchMerged(circle.nodes[0], 1, 1, ("k",))) in circle.facts


def test_siblings_are_told_as_a_fact() -> None:
    circle = Circle(2)
    circle.cut = {(0, 1), (1, 0)}
    circle.write(0, "k", b"x")
    circle.write(1, "k", b"y")
    circle.cut.clear()
    circle.compare(0, 1)
    told = [fact for who, fact in circle.facts if isinstance(fact, SiblingsFound) and who == 0]
    assert told == [SiblingsFound("k", tuple(sorted(circle.nodes)))]


def test_one_partner_is_compared_with_each_tick() -> None:
    circle = Circle(4)
    gossip = circle.gossips[0]
    assert gossip.deadline() < CONFIG.tick_ns
    circle.now = gossip.deadline()
    assert gossip.summary_due(circle.turn(0), circle.others(0)) in circle.others(0)
    assert gossip.summary_due(circle.turn(0), circle.others(0)) is None
    assert gossip.deadline() == circle.now + CONFIG.tick_ns


def test_a_node_alone_compares_with_nobody() -> None:
    circle = Circle(1)
    circle.now = SECOND
    assert circle.gossips[0].summary_due(circle.turn(0), []) is None
    circle.write(0, "k", b"x")
    assert circle.sent == []


def test_random_comparisons_make_all_stores_equal() -> None:
    """Demers et al. 1987: anti-entropy alone is enough, only slower."""
    circle = Circle(8)
    circle.cut = {(a, b) for a in range(8) for b in range(8)}
    for who in range(8):
        for number in range(5):
            circle.write(who, f"k{number}", b"%d" % who)
    circle.settle()
    circle.cut.clear()
    random = Random(3)
    for _ in range(60):
        circle.compare(*random.sample(range(8), 2))
    assert len({gossip.store.fingerprint() for gossip in circle.gossips}) == 1
    assert all(len(circle.values(who, "k0")) == 8 for who in range(8)), "all siblings, everywhere"


# -- quotas ----------------------------------------------------------------------------------------


FEW = replace(CONFIG, entries_per_author_max=5)


def limited(identity: Identity) -> Gossip:
    store = Store(identity, "team", FEW.entries_per_author_max)
    return Gossip(store, FEW, Random(1), 0)


def fill(gossip: Gossip, count: int, store_max: int) -> list[KeepBatch]:
    """Write one value a step, whatever the others will take: what was persisted."""
    gossip.store.entries_per_author_max = store_max
    kept = []
    for number in range(count):
        turn = Turn(number, number, 1)
        gossip.write(turn, [(f"k{number}", bytes(200_000))])
        kept += [record for record in turn.records if isinstance(record, KeepBatch)]
    return kept


def test_writes_beyond_the_quota_are_refused_with_a_fact() -> None:
    gossip = limited(Identity(b"a" * 32))
    assert len(fill(gossip, 5, 5)) == 5
    turn = Turn(9, 9, 1)
    gossip.write(turn, [("k", b"")])
    assert [type(fact) for fact in turn.facts] == [RequestRefused]
    assert not turn.records


def test_a_node_that_wrote_beyond_the_quota_can_start_again() -> None:
    kept = fill(limited(Identity(b"a" * 32)), 8, 100)
    again = limited(Identity(b"a" * 32))
    again.store.restore([record.encoded for record in kept])
    assert again.store.last_of(Identity(b"a" * 32).node) == 8


def test_a_delta_that_brings_nothing_is_not_asked_to_go_on() -> None:
    ada, bob = Identity(b"a" * 32), Identity(b"b" * 32)
    rich, poor = limited(ada), limited(bob)
    fill(rich, 12, 100)
    wire: deque[tuple[Gossip, NodeId, Message]] = deque(
        [(rich, bob.node, Digest(poor.store.vector(), wants_answer=False))]
    )
    exchanged = 0
    while wire:
        receiver, sender, message = wire.popleft()
        turn = Turn(0, 0, 1)
        assert isinstance(message, GossipMessage)
        receiver.receive(turn, sender, message)
        other, own = (poor, ada.node) if receiver is rich else (rich, bob.node)
        for item in [*turn.before, *turn.after]:
            assert isinstance(item, tuple)
            wire.append((other, own, item[2]))
        exchanged += 1
        assert exchanged < 20, "the exchange does not end"
    assert poor.store.last_of(ada.node) == FEW.entries_per_author_max


def test_many_writes_of_one_step_become_several_batches() -> None:
    gossip = Gossip(Store(Identity(b"a" * 32), "team", 10_000), CONFIG, Random(1), 0)
    turn = Turn(0, 0, 1)
    gossip.write(turn, [(f"k{number}", b"") for number in range(2_500)])
    assert [(record.first, record.last) for record in turn.records] == [  # type: ignore[union-attr]
        (1, 1_000),
        (1_001, 2_000),
        (2_001, 2_500),
    ]


def test_large_writes_of_one_step_become_batches_that_can_travel() -> None:
    """Under overload many wait, and may all be written at once."""
    circle = Circle(2)
    turn = circle.turn(0)
    circle.gossips[0].write(turn, [(f"k{number}", bytes(250_000)) for number in range(60)])
    circle.end(0, turn)
    circle.settle()
    circle.compare(1, 0)
    assert [len(circle.values(1, f"k{number}")) for number in range(60)] == [1] * 60
    sizes = [len(record.encoded) for record in turn.records if isinstance(record, KeepBatch)]
    assert max(sizes) < 1.1 * 1024 * 1024


def test_two_histories_of_one_author_have_different_fingerprints() -> None:
    """A journal restored from an old backup: equal counts, different entries."""
    one, two = (Store(Identity(b"a" * 32), "team", 100) for _ in range(2))
    one.write([("k", b"1")], 1)
    two.write([("k", b"2")], 1)
    assert one.vector() == two.vector()
    assert one.fingerprint() != two.fingerprint()


def test_the_proof_against_a_liar_survives_a_restart_and_reaches_who_comes_later() -> None:
    circle = Circle(4)
    one, other = (Store(circle.identities[3], "team", 100) for _ in range(2))
    batches = [store.write([("k", value)], 1)[0] for store, value in ((one, b"1"), (other, b"2"))]
    liar = circle.nodes[3]
    for to, batch in enumerate(batches):
        circle.receive(to, liar, Push((batch,)))
    circle.settle()
    turn = circle.receive(0, liar, Push((batches[1],)))
    circle.settle()
    knowing = circle.gossips[0].store
    assert knowing.forked() == {liar}
    assert circle.gossips[0].refused["of an author with two histories"] == 1
    assert turn.records == [], "what is known is not kept again"
    kept = [(author, proof) for author, proof in knowing.proofs.items()]
    restarted = Store(circle.identities[0], "team", 1_000)
    restarted.restore([batches[0]], (), kept)
    assert restarted.forked() == {liar}
    assert restarted.fingerprint() == knowing.fingerprint()
    circle.gossips[0].store = restarted
    newcomer = circle.gossips[2] = Gossip(
        Store(circle.identities[2], "team", 1_000), CONFIG, Random(9), 0
    )
    circle.receive(2, liar, Push((batches[1],)))
    circle.wire.clear()  # nobody else hears of it
    circle.compare(2, 0)
    assert newcomer.store.forked() == {liar}


def test_a_proof_is_kept_on_disk() -> None:
    circle = Circle(2)
    one, other = (Store(circle.identities[1], "team", 100) for _ in range(2))
    batches = [store.write([("k", value)], 1)[0] for store, value in ((one, b"1"), (other, b"2"))]
    turn = circle.receive(0, circle.nodes[1], Push(tuple(batches)))
    proofs = [record for record in turn.records if isinstance(record, KeepProof)]
    assert proofs == [KeepProof(circle.nodes[1], circle.gossips[0].store.proofs[circle.nodes[1]])]


def test_the_reasons_that_refusals_are_counted_by_are_bounded() -> None:
    circle = Circle(2)
    for number in range(2 * REASONS_MAX):
        circle.gossips[0]._refuse(f"reason {number}")
    assert len(circle.gossips[0].refused) == REASONS_MAX + 1
    assert circle.gossips[0].refused["another reason"] == REASONS_MAX


def test_a_digest_tells_only_of_what_is_durable() -> None:
    """The others may do without what this node says that it has: it must not lose it in a crash
    (seed 241503973)."""
    circle = Circle(2)
    circle.cut = {(0, 1)}
    circle.write(0, "k", b"x")
    circle.cut.clear()
    turn = circle.receive(1, circle.nodes[0], Summary(b"other", b"", False, 0, 0, NOBODY))
    assert not turn.before
    assert any(isinstance(item, tuple) and isinstance(item[2], Digest) for item in turn.after)
