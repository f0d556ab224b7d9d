"""Who teaches whom beyond the council: the leader nobody, the others everybody, once each."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from random import Random

import pytest
from raft_hand import CONFIG, Play

from protocol.config import RaftConfig
from protocol.identity import NOBODY, NodeId
from protocol.messages.agreement import Learned
from protocol.spreading import FANOUT_MAX, PUPILS_MAX, Spreading
from protocol.turn import Turn


class Lessons:
    """A council of Raft machines, and as many pupils as the test says."""

    def __init__(self, voters: str = "abcde", config: RaftConfig = CONFIG) -> None:
        self.play = Play(voters)
        self.play.elect(voters[0])
        self.play.heartbeat(voters[0])
        self.config = config

    def pupils(
        self, teacher: str, alive: Iterable[str], leader: str | None = None, seed: int = 1
    ) -> list[str]:
        """Whom `teacher` teaches what is committed now."""
        raft = self.play[teacher]
        if leader is not None:
            raft.leader = NodeId(leader)
        spreading = Spreading(raft, self.config, Random(seed))
        return taught(spreading, raft.commit, self.play.now, alive)


def taught(spreading: Spreading, first: int, now: int, alive: Iterable[str]) -> list[str]:
    spreading.committed(now, first)
    turn = Turn(now, now, 1)
    nodes = [NodeId(name) for name in alive]
    spreading.flush(turn, nodes, nodes)
    found = []
    for item in turn.before:
        assert isinstance(item, tuple)
        assert isinstance(item[2], Learned)
        found.append(str(item[0]))
    return found


def names(count: int) -> list[str]:
    return [f"p{number}" for number in range(count)]


@pytest.mark.parametrize("count", [1, 7, PUPILS_MAX * 4])
def test_each_node_has_one_teacher_and_that_is_not_the_leader(count: int) -> None:
    lessons = Lessons()
    alive = [*"abcde", *names(count)]
    taught = Counter(
        pupil for teacher in "bcde" for pupil in lessons.pupils(teacher, alive, leader="a")
    )
    assert taught == Counter(names(count))
    assert lessons.pupils("a", alive) == []


def test_a_leader_that_is_alone_teaches() -> None:
    lessons = Lessons("a")
    assert lessons.pupils("a", names(3)) == names(3)


def test_the_pupils_of_a_voter_that_is_gone_are_taught_by_the_others() -> None:
    lessons = Lessons()
    alive = [*"abcd", *names(12)]
    taught = Counter(
        pupil for teacher in "bcd" for pupil in lessons.pupils(teacher, alive, leader="a")
    )
    assert taught == Counter(names(12))


def test_where_nobody_leads_all_voters_share_the_work() -> None:
    lessons = Lessons("abc")
    lessons.play["a"].leader = NOBODY
    alive = [*"abc", *names(8)]
    taught = Counter(
        pupil for teacher in "bc" for pupil in lessons.pupils(teacher, alive, leader="")
    )
    assert set(taught) <= set(names(8))
    assert max(taught.values()) == 1


def test_in_a_large_team_a_voter_teaches_a_few() -> None:
    lessons = Lessons()
    for seed in range(5):
        for teacher in "bcde":
            found = lessons.pupils(teacher, names(500), leader="a", seed=seed)
            assert len(found) == len(set(found)) == PUPILS_MAX


def test_learners_are_served_by_the_leader() -> None:
    lessons = Lessons("abc")
    learner = replace(lessons.play["b"].configuration, learners=(NodeId("p0"),))
    lessons.play["b"].log._configurations[-1] = (1, learner)
    taught = lessons.pupils("b", ["p0"], leader="a")
    assert taught == []


def outsider(count: int) -> list[str]:
    """Whom a node that does not vote passes a lesson on to, in a team with so many like it."""
    play = Play("abcde" + "z", voters="abcde", logs={"z": ()})
    play.elect("a")
    play.settle()
    play.act("b", lambda turn: play["b"].following.teach(turn, NodeId("z"), 1))
    play.settle()
    raft = play["z"]
    assert raft.commit > 0
    spreading = Spreading(raft, CONFIG, Random(1))
    return taught(spreading, 1, play.now, names(count))


def test_what_is_learnt_is_passed_on_in_a_large_team_only() -> None:
    assert outsider(PUPILS_MAX * 4 - 1) == []
    assert 2 <= len(outsider(PUPILS_MAX * 4)) <= FANOUT_MAX
    assert len(outsider(2_000)) == FANOUT_MAX


def test_lessons_are_gathered_for_a_moment() -> None:
    lessons = Lessons("a")
    raft, now = lessons.play["a"], lessons.play.now
    spreading = Spreading(raft, CONFIG, Random(1))
    assert spreading.due_at is None
    assert taught(spreading, raft.commit, now, names(1)) == names(1)
    spreading.committed(now + 1, raft.commit)
    assert spreading.due_at == now + CONFIG.spread_interval_ns
    assert taught(spreading, raft.commit, now + 1, names(1)) == [], "not yet"
    assert taught(spreading, raft.commit, now + CONFIG.spread_interval_ns, names(1)) == names(1)


def test_what_is_compacted_or_gone_is_not_taught() -> None:
    lessons = Lessons("a")
    raft = lessons.play["a"]
    spreading = Spreading(raft, CONFIG, Random(1))
    assert taught(spreading, raft.commit + 1, lessons.play.now, names(1)) == []
    later = lessons.play.now + CONFIG.spread_interval_ns
    assert taught(spreading, 0, later, names(1)) == names(1), "from the first entry that is there"
