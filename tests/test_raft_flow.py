"""Replication to one follower: probing and fast backtracking (paper, end of 5.3), pipelining
(thesis, 10.2.1), windows, limits, and followers that lose what they had acknowledged."""

from __future__ import annotations

from dataclasses import replace

import pytest
from raft_hand import CONFIG, Play, entry, log_of

from protocol.errors import Busy, RemoteProtocolError
from protocol.facts.agreement import EntriesLost, LogTruncated
from protocol.identity import NodeId
from protocol.messages.agreement import Append, AppendReply
from protocol.raft.progress import Pace

HEARTBEAT = CONFIG.heartbeat_ns


def appends(play: Play, to: str) -> list[Append]:
    """Appends on their way from `a` that want an answer."""
    return [m for m in play.said("a", to) if isinstance(m, Append) and m.request]


# -- probing -----------------------------------------------------------------------------------


def test_a_refusal_names_the_first_index_of_the_conflicting_term() -> None:
    """5.3: "the follower can include the term of the conflicting entry and the first index it
    stores for that term"; one round per conflicting term instead of one per entry."""
    play = Play("abc", logs={"b": log_of(1, 2, 2, 2, 2)})
    play.receive("b", "a", Append(4, 1, 5, 3, (), 0))
    assert play.reply("b") == AppendReply(4, 4, 1, False, 2, 5)


def test_a_refusal_of_a_short_log_names_its_end() -> None:
    play = Play("abc", logs={"b": log_of(1, 1)})
    play.receive("b", "a", Append(4, 1, 9, 3, (), 0))
    assert play.reply("b") == AppendReply(4, 4, 1, False, 3, 2)


def test_backtracking_takes_one_round_per_term() -> None:
    mine = log_of(1, *[3] * 50)
    theirs = log_of(1, *[2] * 60)
    play = Play("ab", logs={"a": mine, "b": theirs}, terms={"a": 3, "b": 2})
    play.elect("a")
    truncations = [fact for fact in play.actors["b"].facts if isinstance(fact, LogTruncated)]
    assert truncations == [LogTruncated(2)]
    assert play.progress("a", "b").match_index == 52
    assert play.leadership("a").request <= 5, "not one Append for each of fifty entries"


def test_a_new_follower_is_sent_one_append_at_a_time() -> None:
    """10.2.1: until the logs are known to match, more would be refused likewise."""
    play = Play("ab")
    play.elect("a")
    play.act("a", lambda turn: play["a"].unreachable(turn, NodeId("b")))
    assert play.progress("a", "b").pace is Pace.PROBE
    for _ in range(3):
        play.propose("a", b"x")
    assert len(appends(play, "b")) == 1
    play.settle()
    assert play.progress("a", "b").pace is Pace.REPLICATE
    assert play.progress("a", "b").match_index == 5


def test_who_cannot_be_reached_is_sent_one_append_at_a_time() -> None:
    play = Play("ab")
    play.elect("a")
    play.isolate("b")
    for _ in range(5):
        play.propose("a", b"x")
    play.act("a", lambda turn: play["a"].unreachable(turn, NodeId("b")))
    progress = play.progress("a", "b")
    assert (progress.pace, progress.next_index) == (Pace.PROBE, 3)
    play.heal()
    play.heartbeat("a")
    assert play["a"].commit == 7


def test_one_probe_follows_the_refusals_of_all_that_was_under_way() -> None:
    """Ten Appends are under way when an earlier one is lost: ten refusals, and one answer to
    them. A probe for each would repeat the missing entries ten times."""
    play = Play("ab", config=replace(CONFIG, heartbeat_ns=HEARTBEAT))
    play.elect("a")
    play.propose("a", b"lost")
    play.lose()
    for _ in range(10):
        play.propose("a", b"x")
    for _ in range(10):
        play.deliver("a", "b")
    for _ in range(10):
        play.deliver("b", "a")
    assert len(appends(play, "b")) == 1
    play.settle()
    assert play["b"].commit == play["a"].commit == 13


def test_a_hint_below_the_match_index_is_followed() -> None:
    """Seed 2108 stalled: the follower named the first index of a term, which lay below what was
    known to match; taken for stale, it ended the conversation."""
    play = Play("ab")
    play.elect("a")
    for _ in range(3):
        play.propose("a", b"x")
    play.settle()
    progress = play.progress("a", "b")
    assert progress.match_index == 5
    play.cut = {("a", "b")}
    play.propose("a", b"lost on its way")
    play.heal()
    play.receive("a", "b", AppendReply(2, 2, play.leadership("a").request, False, 1, 5))
    play.settle()
    assert progress.match_index == 6
    assert play["a"].commit == 6


def test_a_refusal_older_than_another_answer_is_not_followed() -> None:
    play = Play("ab")
    play.elect("a")
    for _ in range(3):
        play.propose("a", b"x")
    play.settle()
    progress = play.progress("a", "b")
    before = (progress.pace, progress.next_index)
    play.receive("a", "b", AppendReply(2, 2, 1, False, 1, 5))
    assert (progress.pace, progress.next_index) == before


# -- answers of another time -------------------------------------------------------------------


def test_an_answer_to_an_earlier_term_s_request_counts_for_nothing() -> None:
    """A leader of two terms: what was acknowledged in the first may be gone."""
    play = Play("abc")
    play.elect("a")
    play.isolate("a")
    play.propose("a", b"x")
    play.act("a", lambda turn: play["a"].resign(turn, "test"))
    play.heal()
    play.elect("a")
    play.isolate("a")
    play.propose("a", b"y")
    heard = play.progress("a", "b").heard_at
    play.wait(1)
    play.receive("a", "b", AppendReply(2, 2, 1, True, 5, 5))
    play.receive("a", "b", AppendReply(3, 2, 1, True, 5, 5))
    assert play.progress("a", "b").heard_at == heard
    assert play["a"].commit == 4


def test_an_answer_that_was_never_asked_for_is_refused() -> None:
    play = Play("abc")
    play.elect("a")
    for reply in (AppendReply(2, 2, 99, True, 2, 2), AppendReply(2, 2, 1, True, 99, 99)):
        with pytest.raises(RemoteProtocolError, match="never sent"):
            play.receive("a", "b", reply)


def test_an_answer_of_somebody_without_the_log_counts_for_nothing() -> None:
    play = Play("abc")
    play.elect("a")
    play.receive("a", "z", AppendReply(2, 2, 1, True, 2, 2))
    assert NodeId("z") not in play.leadership("a").progress


def test_a_repeated_answer_changes_nothing() -> None:
    play = Play("abc")
    play.elect("a")
    play.propose("a", b"x")
    play.settle()
    before = repr(play.progress("a", "b"))
    play.receive("a", "b", AppendReply(2, 2, 2, True, 3, 3))
    play.receive("a", "b", AppendReply(2, 2, 1, True, 2, 2))
    assert repr(play.progress("a", "b")) == before


# -- pipelining and windows --------------------------------------------------------------------


def test_appends_are_pipelined() -> None:
    """10.2.1: "the leader ... does not wait for a response ... before sending the next entry"."""
    play = Play("ab")
    play.elect("a")
    for number in range(5):
        play.propose("a", b"%d" % number)
    assert [len(m.entries) for m in appends(play, "b")] == [1] * 5
    assert [m.previous_index for m in appends(play, "b")] == [2, 3, 4, 5, 6]
    play.settle()
    assert play["a"].commit == 7


def test_appends_that_overtake_each_other_lose_nothing() -> None:
    """10.2.1: "AppendEntries consistency check" refuses what does not connect, and it is sent
    again."""
    play = Play("ab")
    play.elect("a")
    for number in range(5):
        play.propose("a", b"%d" % number)
    play.wire.reverse()
    play.settle()
    play.heartbeat("a")
    assert play.commands("b") == [b"0", b"1", b"2", b"3", b"4"]


def test_unanswered_appends_are_bounded_in_number() -> None:
    play = Play("ab")
    play.elect("a")
    for number in range(CONFIG.inflight_max + 50):
        play.propose("a", b"%d" % number)
    assert len(appends(play, "b")) <= CONFIG.inflight_max
    play.settle()
    assert play["a"].commit == play["b"].log.last_index == CONFIG.inflight_max + 52


def test_unanswered_appends_are_bounded_in_bytes() -> None:
    play = Play("ab", config=replace(CONFIG, inflight_size_max=1000))
    play.elect("a")
    for _ in range(10):
        play.propose("a", bytes(400))
    assert len(appends(play, "b")) == 3
    play.settle()
    assert play["a"].commit == 12


def test_a_follower_whose_disk_hangs_is_sent_a_window_full_and_answers_when_it_is_back() -> None:
    play = Play("abc")
    play.elect("a")
    play.heartbeat("a")
    play.slow_disks.add("b")
    for number in range(CONFIG.inflight_max + 50):
        play.propose("a", b"%d" % number)
        play.settle()
    assert play["a"].commit == CONFIG.inflight_max + 52, "the others go on"
    assert play["b"].log.last_index == CONFIG.inflight_max + 2, "all that the window has room for"
    assert play.progress("a", "b").match_index == 2, "and nothing of it counts"
    play.slow_disks.clear()
    play.write("b")
    play.settle()
    assert play.progress("a", "b").match_index == play["b"].commit == CONFIG.inflight_max + 52


def test_a_new_leader_sends_one_append_to_a_disk_that_hangs_and_all_when_it_is_back() -> None:
    """It does not know yet where the logs match, and no answer comes before the term is durable:
    whoever forgets the term could take entries of an older leader in their place."""
    play = Play("abc")
    play.elect("a")
    play.slow_disks.add("b")
    play.propose("a", b"x")
    play.settle()
    play.transfer("a", "c")
    play.settle()
    assert play["c"].leadership is not None
    for _ in range(20):
        play.propose("c", b"y")
        play.settle()
    assert play["c"].commit == 24
    assert play["b"].log.last_index == 4
    play.slow_disks.clear()
    play.write("b")
    play.settle()
    assert play.progress("c", "b").match_index == play["b"].commit == 24


def test_a_full_window_does_not_hold_heartbeats_back() -> None:
    play = Play("ab", config=replace(CONFIG, inflight_max=2))
    play.elect("a")
    play.isolate("b")
    for _ in range(5):
        play.propose("a", b"x")
    play.heal()
    play.wait(HEARTBEAT)
    play.tick("a")
    assert [m.entries for m in appends(play, "b")] == [()]
    play.settle()
    assert play["b"].log.last_index == 7


def test_a_lost_append_is_sent_again() -> None:
    play = Play("abc")
    play.elect("a")
    play.propose("a", b"one")
    play.lose()
    play.propose("a", b"two")
    play.settle()
    assert play["a"].commit == 4
    play.heartbeat("a")
    assert play.terms("b") == play.terms("c") == [1, 2, 2, 2]


def test_a_large_tail_goes_in_several_appends() -> None:
    play = Play("ab", config=replace(CONFIG, append_size_max=300))
    play.elect("a")
    play.isolate("b")
    for _ in range(10):
        play.propose("a", bytes(100))
    play.heal()
    play.heartbeat("a")
    assert play["b"].log.last_index == 12
    play.isolate("b")
    play.propose("a", bytes(1000))
    play.heal()
    play.heartbeat("a")
    assert play["b"].log.last_index == 13, "an entry that is too large goes alone"


def test_a_commit_is_told_at_once() -> None:
    """Else a follower would apply it with the next heartbeat only."""
    play = Play("abc")
    play.elect("a")
    play.propose("a", b"x")
    play.settle()
    assert play.commands("b") == play.commands("c") == [b"x"]


def test_who_answers_after_the_commit_is_told_of_it_too() -> None:
    """The slower follower of a new leader was still being probed when the others committed."""
    play = Play("abc")
    play.elect("a")
    assert play["b"].commit == play["c"].commit == play["a"].commit == 2


def test_the_commit_index_is_told_once() -> None:
    """Not to a follower that could do nothing with it, and not beside an Append that has it."""
    play = Play("abc")
    play.elect("a")
    play.propose("a", b"x")
    play.deliver("a", "b")
    play.deliver("b", "a")
    assert play.said("a", "b") == [Append(2, 0, 3, 2, (), 3)]
    play.settle()
    play.propose("a", b"y")
    play.propose("a", b"z")
    play.deliver("a", "b")
    play.deliver("b", "a")
    play.lose("a", "b")
    play.receive("a", "c", AppendReply(2, 2, play.leadership("a").request, True, 5, 5))
    assert play.said("a", "b") == [Append(2, 0, 5, 2, (), 5)]
    play.receive("a", "c", AppendReply(2, 2, play.leadership("a").request, True, 5, 5))
    assert play.said("a", "b") == [Append(2, 0, 5, 2, (), 5)]


def test_news_of_the_commit_index_is_not_answered() -> None:
    play = Play("abc")
    play.elect("a")
    play.receive("b", "a", Append(2, 0, 2, 2, (), 2))
    assert play.said("b") == []
    play.receive("b", "a", Append(2, 0, 7, 2, (), 2))
    assert play.reply("b") == AppendReply(2, 2, 0, False, 3, 2), "unless the logs do not match"


# -- limits of the leader ----------------------------------------------------------------------


def test_a_leader_that_cannot_commit_takes_a_bounded_number_of_proposals() -> None:
    play = Play("abc", config=replace(CONFIG, uncommitted_max=10))
    play.elect("a")
    play.isolate("a")
    taken = [play.propose("a", b"x") for _ in range(15)]
    assert [index is not None for index in taken] == [True] * 10 + [False] * 5
    with pytest.raises(Busy):
        play.act("a", lambda turn: play["a"].propose(turn, b"x"))


def test_a_leader_that_cannot_commit_takes_a_bounded_size_of_proposals() -> None:
    play = Play("abc", config=replace(CONFIG, uncommitted_size_max=1000))
    play.elect("a")
    play.isolate("a")
    assert play.propose("a", bytes(2000)) is not None, "alone it always goes"
    assert play.propose("a", b"x") is None
    play.heal()
    play.heartbeat("a")
    assert play.propose("a", b"x") is not None


def test_what_a_leader_inherits_does_not_make_room_for_more() -> None:
    """The size of the tail counts own entries; when inherited ones are committed, nothing may be
    taken off for them."""
    log = (*log_of(1), *(entry(at, 1, bytes(500)) for at in range(2, 8)))
    play = Play("ab", logs={"a": log, "b": log}, config=replace(CONFIG, uncommitted_size_max=2000))
    play.elect("a")
    play.isolate("b")
    taken = [play.propose("a", bytes(500)) for _ in range(6)]
    assert sum(index is not None for index in taken) == 3


def test_only_a_leader_takes_proposals() -> None:
    play = Play("abc")
    play.elect("a")
    assert play.propose("b", b"x") is None


def test_a_command_that_fits_no_frame_is_refused() -> None:
    play = Play("a")
    play.elect("a")
    with pytest.raises(RemoteProtocolError):
        play.act("a", lambda turn: play["a"].propose(turn, bytes(8 * 1024 * 1024)))


# -- lost entries ------------------------------------------------------------------------------


def test_a_follower_that_lost_what_it_acknowledged_is_noticed_and_repaired() -> None:
    """It said that entries are durable, and they are gone: its disk lies, or somebody has put an
    old copy back. Without a look at it, it would be sent what does not connect for ever."""
    play = Play("abc")
    play.elect("a")
    for _ in range(3):
        play.propose("a", b"x")
    play.settle()
    del play.actors["b"].disk.entries[2:]
    play.crash("b")
    play.heartbeat("a")
    assert EntriesLost(NodeId("b"), 5, 2) in play.actors["a"].facts
    assert play.progress("a", "b").lost
    assert play["b"].log.last_index == 5


def test_what_a_follower_lost_does_not_count_for_new_commits() -> None:
    play = Play("abc")
    play.elect("a")
    play.isolate("c")
    play.propose("a", b"x")
    play.settle()
    del play.actors["b"].disk.entries[1:]
    play.crash("b")
    play.wait(HEARTBEAT)
    play.tick("a")
    play.deliver("a", "b")
    play.deliver("b", "a")
    assert play.progress("a", "b").match_index == 0


def test_an_answer_from_before_the_acknowledgement_is_no_loss() -> None:
    play = Play("ab")
    play.elect("a")
    play.wait(HEARTBEAT)
    play.tick("a")
    [heartbeat] = appends(play, "b")
    play.propose("a", b"x")
    play.settle()
    play.receive("a", "b", AppendReply(2, 2, heartbeat.request, False, 2, 1))
    assert not any(isinstance(fact, EntriesLost) for fact in play.actors["a"].facts)
    assert play.progress("a", "b").match_index == 3
