"""Silence: a leader that hears nobody hands over, and a leader that nobody hears is succeeded, both
before a time-out; whoever is only slow keeps its place."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
from raft_hand import Play

from protocol import config as presets
from protocol.clocks import MILLISECOND, SECOND, Nanoseconds
from protocol.effects import Effect, Send
from protocol.events import Commanded, TimerFired
from protocol.facts import Fact
from protocol.facts.agreement import LeaderElected, LeaderResigned
from protocol.messages.agreement import Agreement, Append, Resigned, TimeoutNow
from protocol.messages.membership import Probe
from protocol.raft.status import Role
from protocol.registers import Command, Verb
from protocol.silence import QUESTIONS
from protocol.sim.host import Host
from protocol.sim.network import Link
from protocol.sim.settled import leader_of, peers_of, settled_world
from protocol.sim.watch import Watcher

RAFT = presets.local().raft
SEEDS = range(1, 9)


def sent(effects: Iterable[Effect]) -> list[type]:
    """The kinds of messages that leave."""
    messages = [effect.message for effect in effects if isinstance(effect, Send)]
    return [type(m.message if isinstance(m, Agreement) else m) for m in messages]


class Notes(Watcher):
    """When leaders resign, and are elected."""

    def __init__(self) -> None:
        self.resigned: list[tuple[Nanoseconds, str]] = []
        self.elected: list[Nanoseconds] = []

    def see(self, at: Nanoseconds, host: Host, fact: Fact) -> None:
        if isinstance(fact, LeaderResigned):
            self.resigned.append((at, fact.reason))
        if isinstance(fact, LeaderElected) and fact.leader == host.identity.node:
            self.elected.append(at)


class Scene:
    """A team that has settled, and what becomes of its office from now on."""

    def __init__(self, size: int, seed: int) -> None:
        self.world = settled_world(size, seed)
        self.world.run(self.world.now + SECOND)
        self.leader = leader_of(self.world)
        self.followers = [host for host in self.world.hosts if host is not self.leader]
        self.began = self.world.now
        self.notes = Notes()
        self.world.watch(self.notes)

    def links(self, one: Iterable[Host], other: Iterable[Host]) -> set[Link]:
        others = list(other)
        return {(a.number, b.number) for a in one for b in others}

    def go_on(self, duration: Nanoseconds) -> None:
        self.world.run(self.world.now + duration)

    def write(self) -> None:
        """A client of the leader does."""
        self.leader.submit(Commanded(1, (Command(Verb.PUT, "k", b"v"),)))

    @property
    def is_undisturbed(self) -> bool:
        return not self.notes.resigned and not self.notes.elected

    @property
    def gave_way(self) -> bool:
        return "nobody answers" in [reason for _, reason in self.notes.resigned]


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("size", [3, 5])
def test_a_leader_that_is_heard_and_hears_nobody_hands_over(size: int, seed: int) -> None:
    scene = Scene(size, seed)
    scene.world.network.block("deaf", scene.links(scene.followers, [scene.leader]))
    scene.go_on(SECOND)
    [(at, reason)] = scene.notes.resigned
    assert reason == "nobody answers"
    assert at - scene.began <= RAFT.heartbeat_ns + RAFT.silence_ns + MILLISECOND
    assert scene.notes.elected[0] - at < 30 * MILLISECOND, "no promise is waited for"
    assert [peer.raft.role for peer in peers_of(scene.world)].count(Role.LEADER) == 1


@pytest.mark.parametrize("seed", SEEDS)
def test_a_leader_that_hears_one_other_is_left_to_relays(seed: int) -> None:
    scene = Scene(5, seed)
    others = scene.followers[1:]
    scene.world.network.block("half deaf", scene.links(others, [scene.leader]))
    scene.go_on(3 * SECOND)
    assert scene.is_undisturbed


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("size", [3, 5])
def test_a_leader_that_nobody_hears_is_succeeded_within_a_time_out(size: int, seed: int) -> None:
    scene = Scene(size, seed)
    scene.leader.pause()
    scene.go_on(2 * SECOND)
    latest = RAFT.heartbeat_ns + RAFT.silence_ns + RAFT.election_timeout_ns // 4 + 50 * MILLISECOND
    assert scene.notes.elected[0] - scene.began < latest
    assert len(scene.notes.elected) == 1, "the vote is not split"


# -- who is slow and not gone ----------------------------------------------------------------------


@pytest.mark.parametrize("seed", SEEDS)
def test_followers_whose_disks_hang_are_not_silent(seed: int) -> None:
    """They answer no Append before what they took is durable, and every probe."""
    scene = Scene(3, seed)
    for host in scene.followers:
        host.drive.hang()
    scene.write()
    scene.go_on(RAFT.election_timeout_ns)
    assert not scene.gave_way


def test_who_wakes_asks_before_it_takes_the_others_for_gone() -> None:
    """What they said while it did not run may wait for it."""
    scene = Scene(3, 1)
    scene.write()
    scene.go_on(20 * MILLISECOND)
    peer, now = scene.leader.peer, scene.leader.clock.reading(scene.world.now)
    assert peer is not None
    heartbeat = now + RAFT.heartbeat_ns
    awake = heartbeat + RAFT.silence_ns + MILLISECOND
    assert Append in sent(peer.step(TimerFired(), heartbeat))
    for question in range(QUESTIONS):
        said = sent(peer.step(TimerFired(), awake + question * RAFT.vote_repeat_ns))
        assert said.count(Probe) >= 2
        assert Resigned not in said


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("pause_ms", [300, 500])
def test_who_did_not_run_for_a_while_finds_nobody_silent(pause_ms: int, seed: int) -> None:
    """Not the leader, nor followers, that were paused themselves: what is waiting for them is heard
    before they have asked again."""
    scene = Scene(5, seed)
    for host in scene.followers[:2]:
        host.pause()
    scene.go_on(pause_ms * MILLISECOND)
    for host in scene.followers[:2]:
        host.resume()
    scene.go_on(SECOND)
    scene.leader.pause()
    scene.go_on(300 * MILLISECOND)
    scene.leader.resume()
    scene.go_on(3 * SECOND)
    assert scene.is_undisturbed


@pytest.mark.parametrize("seed", SEEDS)
def test_a_pause_of_all_is_no_silence(seed: int) -> None:
    """As of the machine that they share."""
    scene = Scene(5, seed)
    for host in scene.world.hosts:
        host.pause()
    scene.go_on(5 * SECOND)
    for host in scene.world.hosts:
        host.resume()
    scene.go_on(3 * SECOND)
    assert not scene.gave_way


def test_there_is_time_for_all_questions() -> None:
    for preset in (presets.lan(), presets.local()):
        raft = preset.raft
        assert raft.silence_ns // 2 + QUESTIONS * raft.vote_repeat_ns <= raft.silence_ns
        assert raft.heartbeat_ns + raft.silence_ns < raft.election_timeout_ns
        assert raft.silence_ns > raft.relay_after_ns


# -- what Raft makes of it -------------------------------------------------------------------------


def test_a_split_vote_is_repeated_before_the_time_out() -> None:
    play = Play("abcde")
    play.elect("a")
    play.heartbeat("a")
    play.isolate("a")
    play.wait(RAFT.lease_ns)
    for name in "bcde":
        lose_leader(play, name, "a")
    for name in "bc":
        play.act(name, play[name].become_candidate)
    for candidate, voter in ("bd", "ce"):
        play.deliver(candidate, voter)
    play.settle()
    assert [play[name].role for name in "bc"] == [Role.CANDIDATE] * 2
    again = [play[name].elections.election_at - play.now for name in "bc"]
    assert max(again) < play.config.election_timeout_ns // 2
    assert again[1] - again[0] > play.config.election_timeout_ns // 4 // 4 // 2, "one first"
    play.lose()
    play.now += min(again)
    play.tick("b")
    play.settle()
    assert play["b"].role is Role.LEADER


def lose_leader(play: Play, name: str, leader: str) -> None:
    play.act(name, lambda turn: play[name].elections.lose_leader(turn, play[leader].node))


def test_the_wish_to_succeed_is_obeyed_though_the_resignation_came_first() -> None:
    """Links need not keep the order of messages."""
    play = Play("abc")
    play.elect("a")
    play.heartbeat("a")
    play.act("a", lambda turn: play.leadership("a").give_way(turn, "nobody answers"))
    wishes = [m for name in "bc" for m in play.said("a", name) if isinstance(m, TimeoutNow)]
    assert wishes == [TimeoutNow(2)]
    lose_leader(play, "b", "a")
    assert play["b"].leader == ""
    play.receive("b", "a", TimeoutNow(2))
    assert play["b"].role is Role.CANDIDATE


def test_each_follower_has_its_own_turn_to_succeed() -> None:
    play = Play("abcde")
    play.elect("c")
    play.heartbeat("c")
    play.wait(RAFT.lease_ns)
    for name in "abde":
        play.act(
            name, lambda turn, name=name: play[name].elections.lose_leader(turn, play["c"].node)
        )  # type: ignore[misc]
    due = {play[name].elections.election_at: name for name in "abde"}
    assert "".join(due[at] for at in sorted(due)) == "deab"
    gaps = [b - a for a, b in zip(sorted(due), sorted(due)[1:], strict=False)]
    assert min(gaps) > play["a"].config.election_timeout_ns // 4 // 4 // 2


@pytest.mark.parametrize("seed", SEEDS)
def test_hearsay_does_not_unseat_a_leader_that_is_heard(seed: int) -> None:
    """Who comes back from isolation holds everybody to have failed, and says so first of all."""
    scene = Scene(5, seed)
    gone = scene.followers[0]
    scene.world.network.cut([gone.number], [h.number for h in scene.world.hosts if h is not gone])
    scene.go_on(10 * SECOND)
    scene.world.network.heal()
    scene.go_on(5 * SECOND)
    assert scene.is_undisturbed
