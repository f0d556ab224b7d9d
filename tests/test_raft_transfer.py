"""Leadership transfer (thesis, 3.10)."""

from __future__ import annotations

import pytest
from raft_hand import CONFIG, Play, add_learner, remove

from protocol.errors import Busy, ChangeRefused, NotLeader
from protocol.facts.agreement import TransferBegan, TransferEnded
from protocol.identity import NodeId
from protocol.messages.agreement import TimeoutNow, VoteRequest
from protocol.raft import Role

TIMEOUT = CONFIG.election_timeout_ns


def led() -> Play:
    play = Play("abc")
    play.elect("a")
    play.heartbeat("a")
    return play


def test_leadership_goes_where_it_is_sent() -> None:
    """3.10: the target campaigns at once: no time-out, and no pre-vote, which would be refused."""
    play = led()
    play.transfer("a", "b")
    play.settle()
    assert (play["b"].role, play["b"].term) == (Role.LEADER, 3)
    assert (play["a"].role, play["a"].leader) == (Role.FOLLOWER, NodeId("b"))
    assert "pre_candidate" not in [
        getattr(fact, "role", "") for fact in play.actors["b"].facts if hasattr(fact, "role")
    ]


def test_the_target_first_gets_all_that_it_lacks() -> None:
    """3.10, step 2: "The prior leader fully updates the target server's log"."""
    play = led()
    play.cut = {("a", "b")}
    play.propose("a", b"x")
    play.settle()
    play.heal()
    play.transfer("a", "b")
    assert not [m for m in play.said("a", "b") if isinstance(m, TimeoutNow)]
    play.settle()
    assert play["b"].role is Role.LEADER
    assert play.commands("b") == [b"x"]


def test_nothing_is_taken_meanwhile() -> None:
    """3.10, step 1: "The prior leader stops accepting new client requests"."""
    play = led()
    play.isolate("b")
    play.transfer("a", "b")
    with pytest.raises(Busy):
        play.act("a", lambda turn: play["a"].propose(turn, b"x"))
    with pytest.raises(ChangeRefused):
        play.change("a", remove("c"))


def test_a_transfer_that_takes_too_long_is_given_up() -> None:
    """3.10: "If leadership transfer does not complete after about an election timeout, the prior
    leader aborts the transfer and resumes accepting client requests"."""
    play = led()
    play.isolate("b")
    play.transfer("a", "b")
    for _ in range(TIMEOUT // CONFIG.heartbeat_ns + 1):
        play.heartbeat("a")
    [ended] = [fact for fact in play.actors["a"].facts if isinstance(fact, TransferEnded)]
    assert (ended.term, ended.to) == (2, NodeId("b"))
    assert ended.reason.startswith("it was asked to campaign")
    assert play.propose("a", b"x") == 3
    play.settle()
    assert play["a"].commit == 3


def test_another_target_takes_the_place_of_the_first() -> None:
    play = led()
    play.isolate("b")
    play.transfer("a", "b")
    play.transfer("a", "c")
    transfers = [
        fact for fact in play.actors["a"].facts if isinstance(fact, TransferBegan | TransferEnded)
    ]
    assert transfers == [
        TransferBegan(2, NodeId("b")),
        TransferEnded(2, NodeId("b"), "another transfer was asked for"),
        TransferBegan(2, NodeId("c")),
    ]
    play.settle()
    assert play["c"].role is Role.LEADER


def test_the_same_target_again_changes_nothing() -> None:
    play = led()
    play.transfer("a", "b")
    said = play.said("a")
    play.transfer("a", "b")
    assert play.said("a") == said


@pytest.mark.parametrize("to", ["a", "d", "x"])
def test_only_another_voter_can_lead(to: str) -> None:
    play = Play("abcd", voters="abc", logs={"d": ()})
    play.elect("a")
    play.change("a", add_learner("d"))
    play.settle()
    with pytest.raises(ChangeRefused):
        play.transfer("a", to)
    assert not play.leadership("a").transferee


def test_only_a_leader_hands_over() -> None:
    play = led()
    with pytest.raises(NotLeader):
        play.transfer("b", "c")


def test_who_does_not_follow_the_sender_does_not_obey_it() -> None:
    """A wish of an earlier term, of somebody who does not lead, or to somebody who leads."""
    play = led()
    play.receive("b", "c", TimeoutNow(2))
    play.receive("b", "a", TimeoutNow(1))
    play.receive("a", "a", TimeoutNow(2))
    assert [play[name].role.value for name in "abc"] == ["leader", "follower", "follower"]


def test_the_wish_holds_for_one_election_only() -> None:
    """3.10 and 4.2.3: who loses that asks like anybody else, or it would disturb the
    next leader."""
    play = led()
    play.transfer("a", "b")
    play.deliver("a", "b")
    requests = [m for m in play.said("b") if isinstance(m, VoteRequest)]
    assert [(m.pre, m.transfer) for m in requests] == [(False, True)] * 2
    play.lose()
    play.wait(2 * TIMEOUT)
    play.tick("b")
    requests = [m for m in play.said("b") if isinstance(m, VoteRequest)]
    assert [(m.pre, m.transfer) for m in requests] == [(True, False)] * 2


def test_a_target_whose_disk_hangs_does_not_campaign() -> None:
    play = led()
    play.slow_disks = {"b"}
    play.propose("a", b"x")
    play.settle()
    play.wait(CONFIG.disk_stall_ns + 1)
    play.receive("b", "a", TimeoutNow(2))
    assert play["b"].role is Role.FOLLOWER


def test_a_lost_wish_leaves_the_leader_in_office() -> None:
    play = led()
    play.transfer("a", "b")
    play.lose()
    for _ in range(TIMEOUT // CONFIG.heartbeat_ns + 1):
        play.heartbeat("a")
    assert play["a"].role is Role.LEADER
    assert play.propose("a", b"x") is not None
