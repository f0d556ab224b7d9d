"""Lifeguard's local health (section IV-A), pauses, members that come and go, and forgetting."""

from __future__ import annotations

from dataclasses import replace

from member_hand import CLUSTER, CONFIG, Town

from protocol.clocks import MILLISECOND, SECOND, Nanoseconds
from protocol.effects import ForgetMember
from protocol.facts.membership import (
    MemberDegraded,
    MemberFailed,
    MemberForgotten,
    MemberJoined,
    MemberSteady,
    MemberSuspected,
    NameClaimedTwice,
    PausedHere,
)
from protocol.identity import KEY_SIZE, Identity
from protocol.membership import State, sign_record
from protocol.membership.local_health import LocalHealth
from protocol.messages.membership import MemberRecord, MemberSync, News, ProbeRequest, Rumor, Word

LONG = 60 * SECOND


# -- local health ----------------------------------------------------------------------------------


def test_waits_grow_with_trouble_and_shrink_with_answers() -> None:
    health = LocalHealth(8)
    health.worse(3)
    assert health.stretch(10) == 40
    health.better()
    assert health.stretch(10) == 30
    health.worse(100)
    assert health.stretch(10) == 90
    for _ in range(20):
        health.better()
    assert health.stretch(10) == 10


def test_who_has_to_refute_is_less_sure_of_itself() -> None:
    town = Town(4)
    town.settle_in()
    town.isolate(3)
    town.run(3 * SECOND)
    town.cut.clear()
    town.run(SECOND)
    assert town.machine(3).health.score >= 0
    assert town.machine(3).own.incarnation >= 1


def test_silent_helpers_of_a_large_cut_are_no_reason_to_doubt_oneself() -> None:
    """A helper that is a suspect itself says nothing about this node."""
    town = Town(16)
    town.settle_in()
    town.cut = {(a, b) for a in range(16) for b in range(16) if (a < 8) is not (b < 8)}
    town.run(20 * SECOND)
    assert all(len(town.machine(at).alive()) == 7 for at in range(16))
    assert all(town.machine(at).health.score <= 2 for at in range(16))


def test_after_a_pause_nobody_is_blamed() -> None:
    """All that was on its way when the process was stopped is void."""
    town = Town(5)
    town.settle_in()
    machine = town.machines[4]
    town.asleep.add(4)
    town.run(3 * SECOND)
    town.asleep.clear()
    town.run(10 * SECOND)
    assert machine is town.machines[4]
    assert len(town.told(PausedHere, 4)) == 1
    assert not [fact for fact in town.told(MemberSuspected, 4) if fact.by == town.nodes[4]]  # type: ignore[attr-defined]
    assert town.told(MemberFailed, 4) == []


def nap(town: Town, number: int, duration: Nanoseconds) -> None:
    """Let a node get no time for so long; what comes meanwhile waits."""
    town.asleep.add(number)
    town.run(duration)
    town.asleep.discard(number)


def test_who_gets_little_time_hears_what_came_before_it_asks_others() -> None:
    town = Town(5)
    town.settle_in()
    for _ in range(30):
        nap(town, 4, 1500 * MILLISECOND)
        assert town.machine(4).health.score == 0
        town.run(6 * SECOND)
    asked = [to for sender, to, each in town.sent if sender == 4 and isinstance(each, ProbeRequest)]
    assert asked == []
    assert town.told(PausedHere) == []


def failed_after(naps: bool) -> Nanoseconds:
    """How long a node waits for another one that is silent from now on."""
    town = Town(2)
    town.settle_in()
    begun = town.now
    town.asleep.add(1)
    while not town.told(MemberFailed, 0):
        if naps:
            nap(town, 0, 900 * MILLISECOND)
        town.run(100 * MILLISECOND)
    return town.now - begun


def test_who_gets_little_time_gives_suspects_more() -> None:
    assert failed_after(naps=True) > 2 * failed_after(naps=False)


def crowd(size: int, slice_ns: Nanoseconds) -> Town:
    """A minute of a team of which the first gets all its time, and the others take turns."""
    town = Town(size)
    town.settle_in()
    for turn in range(60 * SECOND // slice_ns):
        town.asleep = set(range(1, size)) - {turn % size}
        town.run(slice_ns)
    return town


def test_where_most_answer_slowly_nobody_is_accused_of_it() -> None:
    """A round trip is longer than the time-out of one that is well. Once that is known, nobody is
    suspected any more."""
    town = crowd(12, 200 * MILLISECOND)
    late = [at for at, _, fact in town.facts if isinstance(fact, MemberSuspected)]
    assert town.told(MemberFailed) == []
    assert not [at for at in late if at > town.now - 30 * SECOND]


def test_a_few_that_are_slow_change_no_time_out() -> None:
    town = Town(12)
    town.settle_in()
    for _ in range(60):
        town.asleep = {9, 10, 11}
        town.run(SECOND)
        town.asleep.clear()
        town.run(100 * MILLISECOND)
    begun = town.now
    town.asleep.add(8)
    while town.state(0, 8) is not State.FAILED:
        town.run(100 * MILLISECOND)
    assert town.now - begun < 5 * SECOND


def test_what_the_first_round_trips_took_counts_for_little() -> None:
    """A team that starts is slow for a moment, and who dies then shall be found soon."""
    probing = Town(2).machine(0)._probing
    least = CONFIG.probe_timeout_ns
    assert probing._timeout() == least
    trips = probing._round_trips
    trips.append(10 * least)
    assert probing._timeout() == 3 * least
    trips.append(MILLISECOND)
    assert probing._timeout() == least
    trips.append(10 * least)
    assert probing._timeout() == 15 * least, "two of three: so it is"
    probing.forget_all()
    assert not probing._sent, "an answer after a pause is no round trip"


# -- coming and going ------------------------------------------------------------------------------


def flap(town: Town, number: int, times: int) -> None:
    for _ in range(times):
        town.isolate(number)
        town.run(10 * SECOND)
        town.cut.clear()
        town.run(5 * SECOND)


def test_who_comes_and_goes_is_degraded_until_it_is_steady() -> None:
    town = Town(5)
    town.settle_in()
    flap(town, 4, 5)
    assert town.told(MemberDegraded, 0) == [MemberDegraded(town.nodes[4])]
    assert town.state(0, 4) is State.ALIVE, "it is in the team"
    assert town.nodes[4] not in town.machine(0).healthy(), "and nothing is built on it"
    town.run(5 * LONG)
    assert town.told(MemberSteady, 0) == [MemberSteady(town.nodes[4])]
    assert town.nodes[4] in town.machine(0).healthy()


def test_one_return_is_no_flapping() -> None:
    town = Town(5)
    town.settle_in()
    flap(town, 4, 1)
    assert town.told(MemberDegraded) == []


def test_two_keys_under_one_name_are_told_and_both_stay() -> None:
    town = Town(3)
    town.settle_in()
    twin = Identity(b"t" * KEY_SIZE)
    record = MemberRecord(twin.public_key, "n2", ("t:1",), 1, 0, False, (), b"")
    signed = sign_record(twin, CLUSTER, record)
    turn = town.receive(0, town.nodes[1], MemberSync(News((signed,))))
    assert NameClaimedTwice("n2", twin.node, town.nodes[2]) in turn.facts
    assert town.machine(0).state_of(twin.node) is town.state(0, 2) is State.ALIVE


def test_who_was_gone_before_a_newcomer_came_has_not_joined_there() -> None:
    """Else a name whose owner lost its disk a few times would be claimed that often, wherever a
    node starts."""
    town = Town(5)
    town.settle_in()
    twin = Identity(b"t" * KEY_SIZE)
    record = MemberRecord(twin.public_key, "n4", ("t:1",), 1, 0, False, (), b"")
    signed = sign_record(twin, CLUSTER, record)
    for word, is_said in ((Word.ENDED, False), (Word.FAILED, False), (Word.SUSPECTED, True)):
        town.start(0)
        rumor = Rumor(twin.node, 1, 0, town.nodes[1], word)
        known = tuple(town.machine(number).own for number in (1, 4))
        turn = town.receive(0, town.nodes[1], MemberSync(News((*known, signed), (rumor,))))
        joined = {fact.node for fact in turn.facts if isinstance(fact, MemberJoined)}
        assert joined == {town.nodes[1], town.nodes[4], *([twin.node] if is_said else [])}
        assert any(isinstance(fact, NameClaimedTwice) for fact in turn.facts) is is_said
        assert (town.machine(0).state_of(twin.node) is State.FAILED) is not is_said


def test_a_new_run_of_a_node_takes_the_place_of_the_old_one_wherever_it_is() -> None:
    """A container gets another address; its key is what it is known by."""
    town = Town(4)
    town.settle_in()
    moved = replace(town.machine(3).own, endpoints=("elsewhere:1",), epoch=2)
    town.receive(
        0,
        town.nodes[3],
        MemberSync(News((sign_record(town.identities[3], CLUSTER, moved),))),
    )
    assert town.machine(0).endpoints_of(town.nodes[3]) == ("elsewhere:1",)
    assert len(town.machine(0).members()) == 3


# -- forgetting ------------------------------------------------------------------------------------


def test_who_is_gone_for_long_is_forgotten_and_stays_so() -> None:
    """The others may still have its record: that does not bring it back."""
    town = Town(4, replace(CONFIG, forget_after_ns=100 * SECOND))
    town.settle_in()
    old = town.machine(3).own
    town.stop(3)
    town.run(90 * SECOND)
    assert town.state(0, 3) is State.FAILED
    town.run(60 * SECOND)
    assert [town.state(at, 3) for at in range(3)] == [None] * 3
    assert town.told(MemberForgotten, 0) == [MemberForgotten(town.nodes[3])]
    town.receive(0, town.nodes[1], MemberSync(News((old,))))
    assert town.state(0, 3) is None
    town.start(3)
    town.run(5 * SECOND)
    assert [town.state(at, 3) for at in range(3)] == [State.ALIVE] * 3


def test_the_operator_may_forget_who_is_gone_and_nobody_else() -> None:
    town = Town(3)
    town.settle_in()
    turn = town.turn()
    assert not town.machine(0).forget(turn, town.nodes[2])
    town.stop(2)
    town.run(10 * SECOND)
    assert town.machine(0).forget(turn, town.nodes[2])
    assert turn.records == [ForgetMember(town.nodes[2])]
    assert town.state(0, 2) is None
