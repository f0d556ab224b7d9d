"""An operator's wish for another leader: told to any node, done by the leader, and answered where
it was told, with who leads or with the reason why nobody else does."""

from __future__ import annotations

import pytest

from protocol import config as presets
from protocol.clocks import MILLISECOND, SECOND, Nanoseconds
from protocol.effects import Reply, Send
from protocol.events import Commanded, Received, Transferred
from protocol.facts import Fact, RequestRefused
from protocol.identity import NOBODY, NodeId
from protocol.messages.agreement import Agreement, HandedOver, HandOver
from protocol.registers import Command, Verb
from protocol.sim.host import Host
from protocol.sim.settled import leader_of, settled_world
from protocol.sim.watch import Watcher

CONFIG = presets.local()
GIVEN_UP_NS: Nanoseconds = CONFIG.raft.election_timeout_ns + CONFIG.raft.heartbeat_ns


class Replies(Watcher):
    """When which operator was told what."""

    def __init__(self) -> None:
        self.told: list[tuple[Nanoseconds, Host, Reply]] = []
        self.refused: list[str] = []

    def see_reply(self, at: Nanoseconds, host: Host, reply: Reply) -> None:
        self.told.append((at, host, reply))

    def see(self, at: Nanoseconds, host: Host, fact: Fact) -> None:
        if isinstance(fact, RequestRefused):
            self.refused.append(fact.reason)


class Scene:
    """Five that have settled: the leader, one that is asked, one that shall lead, and two more."""

    def __init__(self, seed: int = 1) -> None:
        self.world = settled_world(5, seed)
        self.world.run(self.world.now + SECOND)
        self.leader = leader_of(self.world)
        self.asked, self.target, *_ = (h for h in self.world.hosts if h is not self.leader)
        self.began = self.world.now
        self.replies = Replies()
        self.world.watch(self.replies)

    def ask(self, host: Host, to: NodeId, patience: Nanoseconds) -> tuple[Nanoseconds, str, str]:
        """After how long this operator was told what."""
        host.submit(Transferred(7, to))
        self.world.run(self.world.now + patience)
        [(at, by, reply)] = self.replies.told
        assert (by, reply.request) == (host, 7)
        return at - self.began, reply.error, reply.detail

    def answer(self, host: Host, wish: HandOver) -> HandedOver:
        """What this node says at once to a wish that was asked at `asked`."""
        peer = host.peer
        assert peer is not None
        wrapped = Agreement(peer.raft.log.identity, wish)
        now = host.clock.reading(self.world.now)
        effects = peer.step(Received(self.asked.identity.node, wrapped), now)
        [sent] = [effect.message for effect in effects if isinstance(effect, Send)]
        assert isinstance(sent, Agreement)
        assert isinstance(sent.message, HandedOver)
        return sent.message

    def isolate(self, host: Host) -> None:
        others = [other.number for other in self.world.hosts if other is not host]
        self.world.network.cut([host.number], others)


@pytest.mark.parametrize("seed", range(1, 6))
@pytest.mark.parametrize("asked", ["asked", "leader", "target"])
def test_who_asked_is_told_who_leads(asked: str, seed: int) -> None:
    scene = Scene(seed)
    to = scene.target.identity.node
    after, error, leader = scene.ask(getattr(scene, asked), to, 3 * SECOND)
    assert (error, leader) == ("", to)
    assert after < 100 * MILLISECOND
    assert leader_of(scene.world) is scene.target


def test_the_leader_chooses_where_nobody_is_named() -> None:
    scene = Scene()
    _, error, leader = scene.ask(scene.asked, NOBODY, SECOND)
    assert (error, leader) == ("", leader_of(scene.world).identity.node)
    assert leader != scene.leader.identity.node


@pytest.mark.parametrize("seed", range(1, 6))
@pytest.mark.parametrize("asked", ["asked", "leader"])
def test_a_transfer_that_is_given_up_is_told_with_its_reason(asked: str, seed: int) -> None:
    """It used to be told as TimedOut, after ten seconds, at every node but the leader."""
    scene = Scene(seed)
    scene.isolate(scene.target)
    to = scene.target.identity.node
    after, error, why = scene.ask(getattr(scene, asked), to, 3 * SECOND)
    assert error == "ChangeRefused"
    assert why.startswith(f"{to} does not take over: it was asked to campaign")
    assert after <= GIVEN_UP_NS


def test_a_target_that_cannot_catch_up_is_told_of() -> None:
    scene = Scene()
    scene.isolate(scene.target)
    for request in (1, 2):
        scene.leader.submit(Commanded(request, (Command(Verb.PUT, "k", b"v"),)))
    scene.world.run(scene.world.now + 100 * MILLISECOND)
    _, error, why = scene.ask(scene.asked, scene.target.identity.node, 3 * SECOND)
    assert error == "ChangeRefused"
    assert "entries of the log" in why


def test_another_wish_takes_the_place_of_the_first() -> None:
    scene = Scene()
    scene.isolate(scene.target)
    scene.asked.submit(Transferred(7, scene.target.identity.node))
    scene.world.run(scene.world.now + 100 * MILLISECOND)
    scene.leader.submit(Transferred(8, scene.asked.identity.node))
    scene.world.run(scene.world.now + SECOND)
    told = {reply.request: (reply.error, reply.detail) for _, _, reply in scene.replies.told}
    assert told[8] == ("", scene.asked.identity.node)
    assert told[7][0] == "ChangeRefused"
    assert told[7][1].endswith("another transfer was asked for")


def test_who_cannot_lead_is_refused_at_once() -> None:
    scene = Scene()
    after, error, _ = scene.ask(scene.asked, NodeId("nobody"), SECOND)
    assert error == "ChangeRefused"
    assert after < 100 * MILLISECOND


@pytest.mark.parametrize("asked", ["asked", "leader"])
def test_who_leads_already_need_not_take_over(asked: str) -> None:
    scene = Scene()
    to = scene.leader.identity.node
    after, error, leader = scene.ask(getattr(scene, asked), to, SECOND)
    assert (error, leader) == ("", to)
    assert after == 0


def test_who_was_elected_while_the_wish_was_on_its_way_need_not_take_over() -> None:
    scene = Scene()
    to = scene.leader.identity.node
    assert scene.answer(scene.leader, HandOver(7, to)) == HandedOver(7, "", to)


def test_a_node_that_does_not_lead_says_so() -> None:
    """Whoever asked it took it for the leader."""
    scene = Scene()
    answer = scene.answer(scene.target, HandOver(7, NOBODY))
    assert (answer.request, answer.error) == (7, "NotLeader")


def test_where_the_leader_is_gone_the_next_one_is_told_of() -> None:
    scene = Scene()
    scene.leader.pause()
    _, error, leader = scene.ask(scene.asked, scene.target.identity.node, 3 * SECOND)
    assert (error, leader) == ("", leader_of(scene.world).identity.node)


def test_who_hears_nothing_is_told_in_the_end() -> None:
    scene = Scene()
    scene.isolate(scene.asked)
    patience = CONFIG.clerk.timeout_ns
    after, error, _ = scene.ask(scene.asked, scene.target.identity.node, patience + SECOND)
    assert error == "TimedOut"
    assert patience <= after < patience + 100 * MILLISECOND


def test_an_answer_that_no_leader_gives_is_refused() -> None:
    scene = Scene()
    log = scene.asked.peer.raft.log.identity if scene.asked.peer else b""
    for answer in (HandedOver(7, "Nonsense", ""), HandedOver(9, "", "nobody has asked")):
        scene.asked.submit(Received(scene.leader.identity.node, Agreement(log, answer)))
    assert not scene.replies.told
    [refused] = scene.replies.refused
    assert "Nonsense" in refused
