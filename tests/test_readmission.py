"""A node with a damaged journal asks the leader whether anybody counts on what it has forgotten."""

from __future__ import annotations

from dataclasses import replace
from random import Random

from test_consensus import ADA, BOB, CAT, DAN, Hand, sent, voters

from protocol import config as presets
from protocol.clocks import SECOND
from protocol.configuration import Change, ChangeKind
from protocol.consensus import Consensus, Say
from protocol.effects import HardState, Restored
from protocol.messages.agreement import SETTLED_FROM, ReadReply, ReadRequest
from protocol.raft.log import ORIGIN_SIZE
from protocol.turn import Turn


class Damaged(Hand):
    """It follows BOB, by the log that it has, and is no voter in it unless said otherwise."""

    def __init__(self, votes: bool = False, life: int = 1) -> None:
        super().__init__(DAN)
        log = (voters(ADA, BOB, CAT, DAN) if votes else voters(ADA, BOB, CAT),)
        restored = Restored(HardState(1, ADA), entries=log, impaired=True)
        nonce = life.to_bytes(8, "big")
        self.consensus = Consensus(DAN, presets.local(), restored, 1, nonce, Random(1), self.now)
        self.consensus.raft.set_leader(Turn(self.now, self.now, 1), BOB)

    def ask(self) -> list[ReadRequest]:
        """What it asks at its deadline, or a second later if there is none."""
        self.now = max(self.now, self.consensus.readmission.deadline() or self.now + SECOND)
        turn = self.turn()
        self.consensus.tick(turn)
        return [m for node, m in sent(turn) if isinstance(m, ReadRequest) and node == BOB]

    def is_impaired_after(self, number: int, index: int = 1) -> bool:
        self.settle(self.receive(BOB, ReadReply(number, index)))
        return self.consensus.raft.impaired

    def commit(self) -> None:
        turn = self.turn()
        self.consensus.raft.commit_to(turn, 1)
        self.settle(turn)


def test_it_asks_until_there_is_an_answer() -> None:
    hand = Damaged()
    hand.commit()
    [first], [second] = hand.ask(), hand.ask()
    assert SETTLED_FROM < first.read < second.read
    assert not first.lease
    assert not hand.is_impaired_after(first.read), "the question was of this life all the same"
    assert not hand.ask()


def test_an_answer_counts_when_the_log_has_come_so_far() -> None:
    hand = Damaged()
    [asked] = hand.ask()
    assert hand.is_impaired_after(asked.read)
    hand.commit()
    assert not hand.consensus.raft.impaired


def test_who_sees_itself_as_a_voter_does_not_ask_and_believes_no_answer() -> None:
    hand = Damaged(votes=True)
    hand.commit()
    assert not hand.ask()
    assert hand.is_impaired_after(SETTLED_FROM + 1)


def test_an_answer_to_an_earlier_life_counts_for_nothing() -> None:
    [earlier] = Damaged(life=1).ask()
    hand = Damaged(life=2)
    hand.commit()
    hand.ask()
    assert hand.is_impaired_after(earlier.read)


def test_an_answer_about_another_log_counts_for_nothing() -> None:
    hand = Damaged()
    [asked] = hand.ask()
    rescued = hand.summary().log[:ORIGIN_SIZE] + bytes([0, 1]) + b"rescue"
    assert hand.meet(CAT, replace(hand.summary(), log=rescued))[0] is Say.EVERYBODY
    hand.receive(BOB, ReadReply(asked.read, 1))
    turn = hand.turn()
    hand.consensus.raft.append(turn, [voters(ADA, BOB, CAT)])
    hand.commit()
    assert hand.consensus.raft.impaired


def test_a_leader_answers_when_its_voters_are_settled() -> None:
    """With a change under way a node may be a voter by the leader's log that is none by the log up
    to the commit index."""
    leader = Hand()
    leader.found()
    request = ReadRequest(SETTLED_FROM + 5, False)
    commit = leader.consensus.raft.commit
    assert sent(leader.settle(leader.receive(DAN, request))) == [
        (DAN, ReadReply(request.read, commit))
    ]
    turn = leader.turn()
    leader.consensus.raft.change(turn, [Change(ChangeKind.ADD_VOTER, DAN)])
    found = leader.consensus.raft.log
    assert found.configuration_index > leader.consensus.raft.commit
    leader.consensus.receive(turn, DAN, found.identity, request)
    leader.consensus.settle_reads(turn)
    assert ReadReply not in [type(message) for _, message in sent(turn)]
