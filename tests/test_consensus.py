"""One node's part in the agreement, driven by hand: what it proposes, passes on, and follows."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from random import Random

import pytest

from protocol import codec
from protocol import config as presets
from protocol.clocks import MILLISECOND, SECOND
from protocol.codec import ENTRY_SIZE_MAX
from protocol.config import Config
from protocol.configuration import Configuration
from protocol.consensus import MET_MAX, PROPOSE_HOPS, Consensus, Say
from protocol.effects import KeepSnapshot, Reply, Restored, Snapshot
from protocol.errors import RemoteProtocolError
from protocol.facts.agreement import (
    LogCompacted,
    LogGivenUp,
    LogsDiffer,
    SnapshotIllegible,
    StateReplaced,
)
from protocol.identity import NOBODY, NodeId
from protocol.messages import Message
from protocol.messages.agreement import (
    Append,
    EntryKind,
    HandedOver,
    HandOver,
    LearnRequest,
    LogEntry,
    OfLog,
    Propose,
    ReadReply,
    ReadRequest,
    SnapshotPart,
)
from protocol.messages.sharing import Summary
from protocol.turn import Turn

ADA, BOB, CAT, DAN = (NodeId(name) for name in ("ada", "bob", "cat", "dan"))


class Hand:
    """A node's consensus; the test is the peer around it."""

    def __init__(self, node: NodeId = ADA, *log: LogEntry, config: Config | None = None) -> None:
        self.now = SECOND
        self.sequence = 0
        self.config = config or presets.local()
        restored = Restored(entries=log)
        self.consensus = Consensus(node, self.config, restored, 1, b"1", Random(1), self.now)

    def turn(self) -> Turn:
        self.sequence += 1
        return Turn(self.now, self.now, self.sequence)

    def settle(self, turn: Turn) -> Turn:
        """What `Peer` does, with a disk that is done at once."""
        sequence = self.sequence
        for _ in range(3):  # the election, its entry, and what follows
            while turn.committed or turn.reads or turn.read_requests or turn.proposals:
                committed, turn.committed = turn.committed, []
                self.consensus.apply(turn, committed)
                self.consensus.settle_reads(turn)
                proposals, turn.proposals = turn.proposals, []
                for kind, data in proposals:
                    self.consensus.propose(turn, kind, data, PROPOSE_HOPS, [])
            self.consensus.persisted(turn, sequence)
        return turn

    def found(self) -> None:
        """It leads alone."""
        turn = self.turn()
        self.consensus.raft.found(turn)
        self.settle(turn)
        assert self.consensus.raft.leadership is not None
        assert self.consensus.raft.commit == 2

    def propose(
        self,
        data: bytes,
        kind: EntryKind = EntryKind.COMMAND,
        hops: int = 2,
        alive: tuple[NodeId, ...] = (),
    ) -> Turn:
        """Long enough after the one before not to be gathered with it."""
        self.now += self.consensus.config.gather_ns
        turn = self.turn()
        self.consensus.propose(turn, kind, data, hops, alive)
        return turn

    def receive(self, sender: NodeId, message: OfLog, log: bytes | None = None) -> Turn:
        turn = self.turn()
        log = self.consensus.raft.log.identity if log is None else log
        self.consensus.receive(turn, sender, log, message)
        return turn

    def meet(self, sender: NodeId, summary: Summary) -> tuple[Say, Turn]:
        turn = self.turn()
        return self.consensus.compare(turn, sender, summary), turn

    def summary(self) -> Summary:
        return self.consensus.summary(b"")


def voters(*nodes: NodeId, index: int = 1, epoch: int = 0) -> LogEntry:
    data = codec.pack_value(Configuration(nodes, epoch=epoch))
    return LogEntry(index, 1, EntryKind.VOTERS, data)


def sent(turn: Turn) -> list[tuple[NodeId, Message | OfLog]]:
    return [(item[0], item[2]) for item in turn.before if isinstance(item, tuple)]


def replies(turn: Turn) -> list[Reply]:
    return [item for item in turn.before if isinstance(item, Reply)]


# -- proposals -------------------------------------------------------------------------------------


def test_a_leader_appends_what_is_proposed_and_a_repetition_once() -> None:
    hand = Hand()
    hand.found()
    last = hand.consensus.raft.log.last_index
    hand.propose(b"x")
    hand.propose(b"x")
    hand.propose(b"y")
    assert hand.consensus.raft.log.last_index == last + 2
    hand.settle(hand.turn())
    hand.propose(b"x")
    assert hand.consensus.raft.log.last_index == last + 3, "its effect is the ledger's matter"


def test_what_is_gathered_goes_when_it_is_due_and_is_lost_with_the_leadership() -> None:
    hand = Hand()
    hand.found()
    hand.propose(b"x")
    last = hand.consensus.raft.log.last_index
    hand.now -= hand.consensus.config.gather_ns
    hand.propose(b"y")
    assert hand.consensus.raft.log.last_index == last
    due = hand.consensus.gathering.due_at
    assert due is not None
    assert (hand.consensus.deadline() or due + 1) <= due
    hand.now = due
    turn = hand.turn()
    hand.consensus.tick(turn)
    assert hand.consensus.raft.log.last_index == last + 1
    hand.now -= hand.consensus.config.gather_ns
    hand.propose(b"z")
    assert hand.consensus.gathering.due_at is not None
    turn = hand.turn()
    hand.consensus.raft.resign(turn, "a test")
    for fact in turn.facts:
        hand.consensus.carry(turn, fact)
    assert hand.consensus.gathering.due_at is None


def test_a_follower_passes_proposals_on_to_the_leader() -> None:
    hand = Hand(ADA, voters(ADA, BOB, CAT))
    hand.consensus.raft.leader = BOB
    assert sent(hand.propose(b"x")) == [(BOB, Propose(EntryKind.COMMAND, b"x", 1))]
    passed = hand.receive(DAN, Propose(EntryKind.COMMAND, b"x", 1))
    assert sent(passed) == [(BOB, Propose(EntryKind.COMMAND, b"x", 0))]
    assert sent(hand.receive(DAN, Propose(EntryKind.COMMAND, b"x", 0))) == []


def test_where_nobody_leads_a_voter_keeps_a_proposal_and_others_ask_a_living_voter() -> None:
    voter = Hand(ADA, voters(ADA, BOB, CAT))
    assert sent(voter.propose(b"x", alive=(BOB, CAT))) == []
    outside = Hand(DAN, voters(ADA, BOB, CAT))
    asked = {node for _ in range(9) for node, _ in sent(outside.propose(b"x", alive=(BOB, CAT)))}
    assert asked == {BOB, CAT}
    assert sent(outside.propose(b"x")) == []


@pytest.mark.parametrize("kind", [EntryKind.NOOP, EntryKind.VOTERS])
def test_nobody_proposes_what_only_a_leader_may_append(kind: EntryKind) -> None:
    hand = Hand()
    hand.found()
    with pytest.raises(RemoteProtocolError):
        hand.receive(BOB, Propose(kind, b"", 1))
    with pytest.raises(RemoteProtocolError):
        hand.receive(BOB, Propose(EntryKind.COMMAND, bytes(ENTRY_SIZE_MAX + 1), 1))


def test_a_proposal_that_finds_no_room_is_dropped() -> None:
    base = presets.local()
    hand = Hand(config=replace(base, raft=replace(base.raft, uncommitted_max=2)))
    hand.found()
    for number in range(5):
        hand.propose(b"%d" % number)
    assert hand.consensus.raft.log.last_index == hand.consensus.raft.commit + 2


# -- reads -----------------------------------------------------------------------------------------


def test_a_leader_answers_questions_about_reads_and_nobody_else_does() -> None:
    hand = Hand()
    hand.found()
    turn = hand.settle(hand.receive(BOB, ReadRequest(7, False)))
    assert sent(turn) == [(BOB, ReadReply(7, hand.consensus.raft.commit))]
    follower = Hand(ADA, voters(ADA, BOB, CAT))
    assert sent(follower.settle(follower.receive(BOB, ReadRequest(7, False)))) == []


# -- operators -------------------------------------------------------------------------------------


def test_only_a_leader_can_hand_over_and_only_to_another_voter() -> None:
    follower = Hand(ADA, voters(ADA, BOB, CAT))
    leader = Hand()
    leader.found()
    for hand, error in ((follower, "NotLeader"), (leader, "ChangeRefused")):
        turn = hand.turn()
        hand.consensus.transfer(turn, 5, BOB)
        assert [(each.request, each.error) for each in replies(turn)] == [(5, error)]


def test_a_follower_tells_the_leader_that_another_shall_lead() -> None:
    follower = Hand(ADA, voters(ADA, BOB, CAT))
    follower.receive(BOB, Append(1, 0, 1, 1, (), 1))
    turn = follower.turn()
    follower.consensus.transfer(turn, 5, CAT)
    assert sent(turn) == [(BOB, HandOver(5, CAT))]
    assert not replies(turn), "it is told when the leader has answered"
    assert replies(follower.receive(BOB, HandedOver(5, "", CAT))) == [Reply(5, "", CAT)]
    assert not replies(follower.receive(BOB, HandedOver(5, "", CAT))), "once"


def test_whoever_does_not_lead_or_cannot_hand_over_says_so() -> None:
    follower, leader = Hand(ADA, voters(ADA, BOB, CAT)), Hand()
    leader.found()
    for hand, to, error in (
        (follower, CAT, "NotLeader"),
        (follower, ADA, "NotLeader"),
        (leader, NOBODY, "ChangeRefused"),
        (leader, BOB, "ChangeRefused"),
        (leader, ADA, ""),
    ):
        turn = hand.receive(BOB, HandOver(5, to))
        [(asker, answer)] = sent(turn)
        assert isinstance(answer, HandedOver)
        assert (asker, answer.request, answer.error) == (BOB, 5, error)
        assert not turn.facts


def test_a_rescue_is_answered_when_it_is_durable() -> None:
    hand = Hand(ADA, voters(ADA, BOB, CAT))
    turn = hand.turn()
    hand.consensus.rescue(turn, 5)
    assert not replies(turn)
    assert Reply(5, "", "1") in turn.after
    hand.settle(turn)
    assert hand.consensus.raft.configuration == Configuration((ADA,), epoch=1)
    log = hand.consensus.raft.log
    assert log.snapshot is not None
    assert log.snapshot.configuration.epoch == 1
    assert log.first_index > 2, "nothing of the epoch before is to be had entry by entry"


@pytest.mark.parametrize("leads", [False, True])
def test_a_rescue_needs_a_log_and_a_lost_majority(leads: bool) -> None:
    hand = Hand()
    if leads:
        hand.found()
    turn = hand.turn()
    hand.consensus.rescue(turn, 5)
    assert [each.error for each in replies(turn)] == ["NotPossible"]


# -- compaction ------------------------------------------------------------------------------------


def test_a_snapshot_is_taken_every_so_many_entries() -> None:
    base = presets.local()
    raft = replace(base.raft, compact_entries=10, trailing_entries=3)
    hand = Hand(config=replace(base, raft=raft))
    hand.found()
    taken = []
    for number in range(30):
        turn = hand.settle(hand.propose(b"%d" % number))
        taken += [fact.index for fact in turn.facts if isinstance(fact, LogCompacted)]
    assert taken == [10, 20, 30]
    assert hand.consensus.raft.log.first_index == 28
    assert hand.consensus.replicated.applied == 32


def test_a_node_begins_again_where_its_snapshot_is() -> None:
    base = presets.local()
    config = replace(base, raft=replace(base.raft, compact_entries=10, trailing_entries=3))
    hand = Hand(config=config)
    hand.found()
    for number in range(9):
        hand.settle(hand.propose(b"%d" % number))
    snapshot = hand.consensus.raft.log.snapshot
    assert snapshot is not None
    again = Consensus(ADA, config, Restored(snapshot=snapshot), 1, b"2", Random(1), hand.now)
    assert again.replicated.applied == again.raft.commit == 10
    assert again.replicated.image() == snapshot.state


# -- whose log -------------------------------------------------------------------------------------


def test_it_is_known_who_follows_this_log() -> None:
    hand = Hand()
    hand.found()
    hand.settle(hand.propose(b"precious"))
    assert not hand.consensus.follows(BOB), "nobody has heard of it"
    own = hand.summary()
    hand.meet(BOB, replace(own, log=b""))
    hand.meet(CAT, own)
    hand.meet(DAN, replace(own, log=b"another one", settled=False))
    follows = [hand.consensus.follows(node) for node in (BOB, CAT, DAN)]
    assert follows == [True, True, False]


def test_who_lacks_something_asks_unless_its_leader_sends_it() -> None:
    outside = Hand(DAN, voters(ADA, BOB, CAT))
    ahead = replace(outside.summary(), committed=9, term=1, leader=BOB)
    say, turn = outside.meet(CAT, ahead)
    assert (say, sent(turn)) == (Say.NOBODY, [(CAT, LearnRequest(1, 0, 0))])
    assert outside.consensus.raft.leader == BOB
    level = replace(ahead, committed=0)
    assert sent(outside.meet(CAT, level)[1]) == []
    voter = Hand(ADA, voters(ADA, BOB, CAT))
    raft = voter.consensus.raft
    raft.become_follower(voter.turn(), 1, BOB)
    assert sent(voter.meet(CAT, ahead)[1]) == []


def test_a_voter_that_hears_of_no_leader_asks_too() -> None:
    """The others may have replaced it while it was away, and then nobody sends it anything."""
    voter = Hand(ADA, voters(ADA, BOB, CAT))
    ahead = replace(voter.summary(), committed=9, term=1, leader=BOB)
    assert sent(voter.meet(CAT, ahead)[1]) == [(CAT, LearnRequest(1, 0, 0))]
    assert voter.consensus.raft.leader == NOBODY, "hearsay is for those who do not vote"


def test_a_newcomer_goes_on_with_the_snapshot_that_it_has_begun() -> None:
    """It has no log yet, so that of whoever knows more is as good as any."""
    newcomer = Hand(DAN)
    part = SnapshotPart(1, 0, 9, bytes(32), 100, 0, b"a beginning")
    newcomer.receive(CAT, part, log=b"some log")
    known = Summary(b"", b"some log", True, 9, 1, ADA)
    newcomer.meet(BOB, known)
    due = newcomer.consensus.raft.following.lesson_due_at()
    assert due is not None
    newcomer.now = due
    turn = newcomer.turn()
    newcomer.consensus.tick(turn)
    assert sent(turn) == [(BOB, LearnRequest(1, 9, len(part.data)))]


@pytest.mark.parametrize("request_number", [0, 1])
def test_a_snapshot_that_this_version_cannot_read_stops_nobody(request_number: int) -> None:
    """It has the digest that it should have, and then the state machine has no use for it."""
    hand = Hand(DAN, voters(ADA, BOB, DAN))
    found = codec.pack_value(Snapshot(9, 2, Configuration((ADA,)), 1, bytes(16), bytes(8), b"?"))
    digest = hashlib.sha256(found).digest()
    part = SnapshotPart(2, request_number, 9, digest, len(found), 0, found)
    turn = hand.settle(hand.receive(ADA, part))
    assert [type(fact) for fact in turn.facts if fact.mark == "!"] == [SnapshotIllegible]
    assert (hand.consensus.raft.commit, hand.consensus.replicated.applied) == (0, 0)
    assert not any(isinstance(record, KeepSnapshot) for record in turn.records)
    if request_number:
        return  # it is the leader's to repeat it: see test_raft_snapshots
    known = Summary(b"", hand.consensus.raft.log.identity, True, 9, 2, ADA)
    asked = 0
    for _ in range(100):
        hand.now += SECOND // 10
        turn = hand.meet(BOB, known)[1]
        asked += len(sent(turn))
        if sent(turn):
            hand.receive(BOB, part)
    assert 2 < asked < 10


def founded_apart() -> tuple[Hand, Hand]:
    """Two logs with nothing to lose, the lesser first."""
    hands = [Hand(node) for node in (ADA, BOB)]
    for hand in hands:
        hand.found()
    one, other = sorted(hands, key=lambda hand: hand.consensus.raft.log.identity)
    return one, other


def test_of_two_logs_with_nothing_to_lose_the_lesser_gives_way() -> None:
    one, other = founded_apart()
    lesser, greater = one.summary(), other.summary()
    assert other.meet(CAT, lesser)[0] is Say.SENDER
    say, turn = one.meet(DAN, greater)
    assert say is Say.EVERYBODY
    assert sent(turn)[-1] == (DAN, LearnRequest(1, 0, 0))
    assert [type(fact) for fact in turn.facts if isinstance(fact, LogGivenUp | StateReplaced)] == [
        LogGivenUp,
        StateReplaced,
    ]
    assert one.consensus.raft.log.identity == b""
    assert one.consensus.replicated.applied == 0


def test_a_log_with_something_to_lose_does_not_give_way_to_one_without() -> None:
    one, other = founded_apart()
    one.settle(one.propose(b"precious"))
    assert one.meet(CAT, other.summary())[0] is Say.SENDER
    assert other.meet(CAT, one.summary())[0] is Say.EVERYBODY


def test_two_logs_with_something_to_lose_are_reported_once_each() -> None:
    one, other = founded_apart()
    for hand in (one, other):
        hand.settle(hand.propose(b"precious"))
    theirs = other.summary()
    found = []
    for node in (CAT, CAT, DAN):
        say, turn = one.meet(node, theirs)
        assert say is Say.NOBODY
        found += [fact.node for fact in turn.facts if isinstance(fact, LogsDiffer)]
    assert found == [CAT, DAN]
    for number in range(MET_MAX + 10):
        one.meet(NodeId(f"n{number}"), theirs)
    assert len(one.consensus._met) == MET_MAX


def test_an_older_epoch_of_a_log_gives_way_whatever_is_in_it() -> None:
    survivor = Hand(BOB, voters(ADA, BOB, CAT))
    precious = LogEntry(2, 1, EntryKind.COMMAND, b"precious")
    old = Hand(ADA, voters(ADA, BOB, CAT), precious)
    turn = survivor.turn()
    survivor.consensus.rescue(turn, 5)
    survivor.settle(turn)
    assert survivor.meet(ADA, old.summary())[0] is Say.SENDER
    assert old.meet(BOB, survivor.summary())[0] is Say.EVERYBODY
    assert old.consensus.raft.log.identity == b""


def test_what_concerns_another_log_is_not_taken() -> None:
    hand = Hand()
    hand.found()
    last = hand.consensus.raft.log.last_index
    turn = hand.turn()
    propose = Propose(EntryKind.COMMAND, b"x", 1)
    assert not hand.consensus.receive(turn, BOB, b"another one", propose)
    assert hand.consensus.raft.log.last_index == last
    assert hand.consensus.receive(turn, BOB, b"", propose), "it has no log yet"
    assert hand.consensus.raft.log.last_index == last + 1


def test_the_earliest_deadline_is_the_one_that_counts() -> None:
    hand = Hand()
    assert hand.consensus.deadline() is None
    hand.found()
    turn = hand.turn()
    hand.consensus.tick(turn)
    hand.consensus.decide(turn, dict)
    hand.consensus.spreading.due_at = hand.now + MILLISECOND
    assert hand.consensus.deadline() == hand.now + MILLISECOND
