"""The peer: the same events give the same effects, in the order that `effects.py` promises."""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

import pytest
from ledger_hand import job, task
from small_world import SmallWorld

import protocol.sim.world
from protocol import config as presets
from protocol.clocks import SECOND, Nanoseconds
from protocol.config import Config
from protocol.consensus import PROPOSE_HOPS
from protocol.effects import Effect, Persist, Report, Restored, Send
from protocol.events import Event, Leaving, Persisted, Received, Submitted, TimerFired
from protocol.facts import RequestRefused
from protocol.facts.agreement import RoleChanged
from protocol.facts.membership import MemberLeft
from protocol.identity import Identity, NodeId
from protocol.jobs import ClaimMode
from protocol.messages import Message
from protocol.messages.agreement import (
    Agreement,
    Append,
    AppendReply,
    EntryKind,
    LogEntry,
    Propose,
    VoteReply,
    VoteRequest,
)
from protocol.messages.membership import MemberSync, ViewSummary
from protocol.messages.sharing import Delta, Push
from protocol.peer import Peer, PeerSettings

PROMISES = (VoteRequest, VoteReply, AppendReply, Delta)
SELF = Identity(b"p" * 32)


class Recording(Peer):
    """A peer that remembers how it was made and all that happened to it."""

    made: ClassVar[list[Recording]] = []

    def __init__(
        self,
        identity: Identity,
        settings: PeerSettings,
        config: Config,
        restored: Restored,
        now: Nanoseconds,
    ) -> None:
        super().__init__(identity, settings, config, restored, now)
        self.born = (identity, settings, config, restored, now)
        self.life: list[tuple[Event, Nanoseconds, list[Effect]]] = []
        Recording.made.append(self)

    def step(self, event: Event, now: Nanoseconds) -> list[Effect]:
        effects = super().step(event, now)
        self.life.append((event, now, effects))
        return effects


@pytest.fixture
def lives(monkeypatch: pytest.MonkeyPatch) -> list[Recording]:
    """The recorded peers of a world in which a job is done and two nodes crash."""
    monkeypatch.setattr(Recording, "made", [])
    monkeypatch.setattr(protocol.sim.world, "Peer", Recording)
    small = SmallWorld(5)
    small.submit(job(task("a"), task("b", "a"), task("c", "b"), claims=ClaimMode.RAFT))
    small.run(SECOND)
    for number in (0, 3):
        small.hosts[number].crash()
    small.run(3 * SECOND)
    for number in (0, 3):
        small.hosts[number].start()
    assert small.run(60 * SECOND, small.is_finished)
    return Recording.made


def test_the_same_events_give_the_same_effects(lives: list[Recording]) -> None:
    for recorded in lives:
        again = Peer(*recorded.born)
        for event, now, effects in recorded.life:
            assert again.step(event, now) == effects


def _inside(message: Message) -> object:
    return message.message if isinstance(message, Agreement) else message


def test_a_promise_is_never_sent_before_it_is_durable(lives: list[Recording]) -> None:
    """Whatever a node says about its vote, its log or its own entries comes after a Persist of the
    same step, unless nothing at all is on its way to the disk."""
    promises = 0
    for recorded in lives:
        asked = durable = 0
        for event, _, effects in recorded.life:
            if isinstance(event, Persisted):
                durable = event.sequence
            persisted = False
            for effect in effects:
                if isinstance(effect, Persist):
                    assert effect.sequence > asked
                    asked, persisted = effect.sequence, True
                if isinstance(effect, Send) and isinstance(_inside(effect.message), PROMISES):
                    promises += 1
                    assert persisted or asked == durable
    assert promises > 50


def test_facts_come_last_and_there_is_one_write_a_step(lives: list[Recording]) -> None:
    for recorded in lives:
        for _, _, effects in recorded.life:
            kinds = [type(effect) for effect in effects]
            assert kinds.count(Persist) <= 1
            if Report in kinds:
                assert set(kinds[kinds.index(Report) :]) == {Report}


def test_an_own_batch_is_durable_before_it_is_pushed(lives: list[Recording]) -> None:
    for recorded in lives:
        for event, _, effects in recorded.life:
            if isinstance(event, Received):
                continue  # a Push then passes on what others wrote
            kinds = [type(effect.message) for effect in effects if isinstance(effect, Send)]
            if Push in kinds:
                first = next(
                    at
                    for at, effect in enumerate(effects)
                    if isinstance(effect, Send) and isinstance(effect.message, Push)
                )
                assert any(isinstance(effect, Persist) for effect in effects[:first])


# -- one peer, by hand ---------------------------------------------------------------------------


def lone_peer(found: bool = True, seeds: tuple[str, ...] = ()) -> Peer:
    settings = PeerSettings("team", "p", ("p:1",), seeds=seeds, found=found, seed="1")
    return Peer(SELF, settings, presets.local(), Restored(), 0)


def facts_of(effects: list[Effect], kind: type) -> list[object]:
    return [e.fact for e in effects if isinstance(e, Report) and isinstance(e.fact, kind)]


def persist_of(effects: list[Effect]) -> Persist:
    return next(effect for effect in effects if isinstance(effect, Persist))


def test_a_founder_leads_as_soon_as_its_own_vote_is_durable() -> None:
    peer = lone_peer()
    effects = peer.step(TimerFired(), 0)
    assert [fact.role for fact in facts_of(effects, RoleChanged)][-1] == "candidate"  # type: ignore[attr-defined]
    effects = peer.step(Persisted(persist_of(effects).sequence), 1)
    assert [fact.role for fact in facts_of(effects, RoleChanged)][-1] == "leader"  # type: ignore[attr-defined]
    peer.step(Persisted(persist_of(effects).sequence), 2)
    assert peer.raft.commit == 2


def test_a_node_that_does_not_found_waits_and_calls_its_seed() -> None:
    peer = lone_peer(found=False, seeds=("seed:1",))
    sent = [effect for effect in peer.step(TimerFired(), 0) if isinstance(effect, Send)]
    assert {(send.destination, send.endpoints) for send in sent} == {("", ("seed:1",))}
    assert [type(send.message) for send in sent] == [MemberSync, ViewSummary]
    assert peer.raft.deadline() is None


def test_a_founder_that_was_restored_founds_nothing() -> None:
    peer = lone_peer()
    records = persist_of(peer.step(TimerFired(), 0)).records
    entries = tuple(e for r in records if hasattr(r, "entries") for e in r.entries)
    settings = replace(peer.settings, epoch=2)
    again = Peer(SELF, settings, presets.local(), Restored(entries=entries), 0)
    again.step(TimerFired(), 0)
    assert again.raft.log.last_index == len(entries)


def test_a_malformed_message_is_reported_and_the_node_goes_on() -> None:
    peer = lone_peer()
    peer.step(Persisted(persist_of(peer.step(TimerFired(), 0)).sequence), 1)
    stranger = NodeId("stranger")
    bad = Append(peer.raft.term, 1, 0, 0, (LogEntry(9, 1, EntryKind.NOOP, b""),), 0)
    (fact,) = facts_of(peer.step(Received(stranger, Agreement(b"", bad)), 2), RequestRefused)
    assert "message of stranger" in fact.reason  # type: ignore[attr-defined]
    assert peer.raft.role.value == "leader"


def test_garbage_that_was_proposed_is_refused_by_the_ledger() -> None:
    peer = lone_peer()
    peer.step(Persisted(persist_of(peer.step(TimerFired(), 0)).sequence), 1)
    garbage = Agreement(
        peer.raft.log.identity, Propose(EntryKind.COMMAND, b"garbage", PROPOSE_HOPS)
    )
    effects = peer.step(Received(NodeId("x"), garbage), 2)
    effects += peer.step(Persisted(persist_of(effects).sequence), 3)
    assert facts_of(effects, RequestRefused)


def test_a_lone_peer_does_a_job() -> None:
    peer = lone_peer()
    peer.step(Persisted(persist_of(peer.step(TimerFired(), 0)).sequence), 1)
    effects = peer.step(Submitted(1, job(task("a"))), 2)
    effects = peer.step(Persisted(persist_of(effects).sequence), 3)
    assert "TaskStarted" in [type(e.fact).__name__ for e in effects if isinstance(e, Report)]


def test_a_peer_that_leaves_says_so_and_wants_no_more_timer() -> None:
    small = SmallWorld(3)
    small.hosts[2].submit(Leaving())
    small.run(2 * SECOND)
    peer = small.hosts[2].peer
    assert peer is not None
    assert peer.deadline() is None
    assert {number for _, number, _ in small.diary.of(MemberLeft)} == {0, 1}


def test_a_machine_s_randomness_is_its_own() -> None:
    peer = lone_peer()
    draws = {peer._random(name).random() for name in ("raft", "gossip", "membership")}
    assert len(draws) == 3
    assert peer._random("raft").random() == lone_peer()._random("raft").random()
