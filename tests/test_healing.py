"""When a cut heals, what either side says of the other is old: it makes nobody a suspect."""

from __future__ import annotations

import pytest
from member_hand import CONFIG, Town, accusation

from protocol.clocks import MILLISECOND, SECOND
from protocol.effects import KeepMember
from protocol.facts.membership import MemberFailed, MemberJoined, MemberSuspected
from protocol.membership import State
from protocol.membership.go_between import OLD as OLD_AFTER
from protocol.membership.suspicion import suspicion_timeout
from protocol.messages.membership import MemberSync, News, Probe, ProbeRequest, Rumor, Word

OLD, YOUNG = 1, 4  # of six: one of the side that is kept, one of the side that comes back


def cut(town: Town, first: int) -> None:
    size = len(town.nodes)
    town.cut = {(a, b) for a in range(size) for b in range(size) if (a < first) is not (b < first)}


def healed(size: int) -> Town:
    """A team whose halves have found each other again, just now."""
    town = Town(size)
    town.settle_in()
    cut(town, size // 2)
    town.run(20 * SECOND)
    town.cut.clear()
    town.facts.clear()
    while len(town.told(MemberJoined)) < 2 * (size // 2) * (size - size // 2):
        town.run(10 * MILLISECOND)
    return town


def told(town: Town, word: Word, of: int, accuser: int) -> MemberSync:
    return MemberSync(News((), (accusation(town, of, word, accuser),)))


@pytest.mark.parametrize("size", [4, 6, 16, 64])
def test_a_cut_that_heals_makes_nobody_a_suspect(size: int) -> None:
    """Each side has it that the other has failed, and each member hears that of its own side."""
    town = healed(size)
    town.run(5 * SECOND)
    assert town.told(MemberSuspected) == town.told(MemberFailed) == []
    assert all(len(town.machine(at).alive()) == size - 1 for at in range(size))


@pytest.mark.parametrize("word", [Word.SUSPECTED, Word.FAILED])
def test_who_is_accused_by_somebody_that_was_silent_itself_is_told(word: Word) -> None:
    town = healed(6)
    before = town.machine(2).own.incarnation
    town.receive(OLD, town.nodes[YOUNG], told(town, word, of=2, accuser=YOUNG))
    assert town.state(OLD, 2) is State.ALIVE
    town.run(100 * MILLISECOND)
    assert town.machine(2).own.incarnation == before + 1, "it has refuted that, and all know"
    assert town.machine(OLD).members()[town.nodes[2]].record == town.machine(2).own
    assert town.told(MemberSuspected) == []


def test_what_is_still_said_once_the_accused_was_told_and_could_refute_is_believed() -> None:
    """Else a death on the side that comes back would be known by who says so only."""
    town = healed(6)
    town.cut = {(OLD, 2)}
    message = told(town, Word.FAILED, of=2, accuser=YOUNG)
    sent = len(town.sent)
    for _ in range(3):
        town.receive(OLD, town.nodes[YOUNG], message)
    assert [(one, to) for one, to, _ in town.sent[sent:]] == [(OLD, 2)], "it is told once"
    town.now += CONFIG.probe_interval_ns - 1
    town.receive(OLD, town.nodes[YOUNG], message)
    assert town.state(OLD, 2) is State.ALIVE
    town.now += 1
    town.receive(OLD, town.nodes[YOUNG], message)
    assert town.state(OLD, 2) is State.SUSPECT


def test_the_refutation_goes_back_to_whoever_told() -> None:
    """On its own side it is no news to anybody, and few links lead across as yet."""
    town = healed(6)
    for teller in (YOUNG, 5):
        town.receive(OLD, town.nodes[teller], told(town, Word.FAILED, of=2, accuser=YOUNG))
    sent = len(town.sent)
    town.run(6 * town.hop + 2 * CONFIG.gather_ns)
    back = [
        to
        for at, to, said in town.sent[sent:]
        if at == OLD and isinstance(said, MemberSync) and town.machine(2).own in said.news.records
    ]
    assert {YOUNG, 5} <= set(back)
    town.receive(2, town.nodes[0], told(town, Word.SUSPECTED, of=2, accuser=0))
    town.sent.clear()
    town.receive(OLD, town.nodes[2], MemberSync(News((town.machine(2).own,))))
    town.run(2 * CONFIG.gather_ns)
    assert all(to != YOUNG for at, to, _ in town.sent if at == OLD), "each is told once"


def test_who_is_told_of_an_accusation_answers_that() -> None:
    town = healed(6)
    sent = len(town.sent)
    town.receive(2, town.nodes[OLD], told(town, Word.FAILED, of=2, accuser=YOUNG))
    assert (2, OLD, MemberSync(News((town.machine(2).own,)))) in town.sent[sent:]


def test_what_was_told_long_ago_is_told_anew() -> None:
    """Else the next cut would begin with believing whatever the other side says of it."""
    town = healed(6)
    town.cut = {(OLD, 2)}
    message = told(town, Word.FAILED, of=2, accuser=YOUNG)
    town.receive(OLD, town.nodes[YOUNG], message)
    between = town.machine(OLD).verdicts.go_between
    rumor = message.news.rumors[0]
    until = town.now + OLD_AFTER * CONFIG.probe_interval_ns
    assert between.is_unanswered(until - 1, rumor)
    assert not between.is_unanswered(until, rumor)
    turn = town.turn()
    between.tell(turn, rumor, town.nodes[YOUNG])
    assert turn.before == []
    town.now = until
    turn = town.turn()
    between.tell(turn, rumor, town.nodes[YOUNG])
    assert [to for to, _, _ in turn.before] == [town.nodes[2]]


def test_who_stood_still_looks_into_its_mail_first() -> None:
    town = healed(6)
    town.cut = {(OLD, 2)}
    message = told(town, Word.FAILED, of=2, accuser=YOUNG)
    town.receive(OLD, town.nodes[YOUNG], message)
    verdicts = town.machine(OLD).verdicts
    verdicts.stood_still(3 * SECOND)
    later = town.now + CONFIG.probe_interval_ns
    assert not verdicts.go_between.is_unanswered(later, message.news.rumors[0])
    assert verdicts.go_between.is_unanswered(later + 3 * SECOND, message.news.rumors[0])


def test_what_it_says_counts_again_after_a_while() -> None:
    town = healed(6)
    town.run(suspicion_timeout(CONFIG, 6, 0, 1))
    town.receive(OLD, town.nodes[YOUNG], told(town, Word.SUSPECTED, of=2, accuser=YOUNG))
    assert town.state(OLD, 2) is State.SUSPECT


def test_who_was_never_silent_is_believed_at_once() -> None:
    town = healed(6)
    town.receive(OLD, town.nodes[0], told(town, Word.SUSPECTED, of=2, accuser=0))
    assert town.state(OLD, 2) is State.SUSPECT


def test_that_nobody_listens_there_is_believed_whoever_says_it() -> None:
    """A refused connection is no silence, and is not undone by a cut."""
    town = healed(6)
    town.receive(OLD, town.nodes[YOUNG], told(town, Word.ENDED, of=2, accuser=YOUNG))
    assert town.state(OLD, 2) is State.FAILED


def test_a_newcomer_that_has_gone_already_is_not_thought_to_be_there() -> None:
    """Its record and the word of its failure come together, and both are news."""
    town = healed(6)
    stranger = Town(8).machine(7).own
    rumor = Rumor(stranger.node, *stranger.version, town.nodes[YOUNG], Word.FAILED)
    town.receive(OLD, town.nodes[YOUNG], MemberSync(News((stranger,), (rumor,))))
    assert town.machine(OLD).state_of(stranger.node) is State.FAILED


@pytest.mark.parametrize("size", [3, 4, 5, 16])
@pytest.mark.parametrize("side", ["small", "large"])
def test_a_silent_death_just_after_a_cut_is_known_in_time(size: int, side: str) -> None:
    """Those that were across confirm nothing yet: it takes as long as where nobody confirms."""
    town = healed(size)
    gone = 0 if side == "small" else size - 1
    town.isolate(gone)
    town.run(6 * SECOND)
    others = [at for at in range(size) if at != gone]
    assert {town.state(at, gone) for at in others} == {State.FAILED}
    assert all(town.state(at, of) is State.ALIVE for at in others for of in others if at != of)


@pytest.mark.parametrize(("size", "small"), [(8, 2), (16, 2), (16, 4), (16, 8), (32, 2)])
def test_a_silent_death_just_before_a_cut_heals_is_known_in_time(size: int, small: int) -> None:
    """The large side has it for long that the dead one has failed, as it has it of all those who
    were across: who lives refutes that, and who does not is dead."""
    town = Town(size)
    town.settle_in()
    cut(town, small)
    town.run(20 * SECOND)
    town.isolate(1)
    town.run(300 * MILLISECOND)
    town.cut.clear()
    town.isolate(1)
    town.run(6 * SECOND)  # as a death at any other time
    assert {town.state(at, 1) for at in range(small) if at != 1} == {State.FAILED}


@pytest.mark.parametrize("delay_ms", range(300, 2000, 340))
def test_who_gets_no_answers_just_after_a_cut_calls_nobody_failed(delay_ms: int) -> None:
    """It accuses alone, of what is its own trouble; and nobody that it heard of was away."""
    town = healed(16)
    town.run(delay_ms * MILLISECOND)
    deaf = 3
    town.cut = {(deaf, other) for other in range(16)}
    town.run(4 * SECOND)
    town.cut.clear()
    town.run(3 * SECOND)
    assert town.told(MemberFailed, at=deaf) == []


def test_who_comes_back_and_has_nothing_new_to_say_is_not_written_again() -> None:
    """How far it has counted its next word tells; a disk is slow, and all come back at once."""
    town = Town(4)
    town.settle_in()
    cut(town, 2)
    town.run(20 * SECOND)
    assert town.state(0, 3) is State.FAILED
    machine = town.machine(3)
    refuted = town.turn()
    machine.receive(refuted, town.nodes[2], told(town, Word.FAILED, of=3, accuser=0))
    turn = town.turn()
    town.machine(0).receive(turn, town.nodes[3], MemberSync(News((machine.own,))))
    assert town.state(0, 3) is State.ALIVE
    assert turn.records == []
    machine.describe(rack="b")
    town.machine(0).receive(turn, town.nodes[3], MemberSync(News((machine.own,))))
    assert turn.records == [KeepMember(machine.own)]


def test_what_a_cut_costs_grows_with_those_it_parts_and_not_with_its_pairs() -> None:
    """Four accusers are enough: who is accused by so many is not probed by all the others too."""
    costs = {}
    for size in (16, 64):
        town = Town(size)
        town.settle_in()
        town.run(size * SECOND // 4)
        cut(town, size // 2)
        town.sent.clear()
        town.run(5 * SECOND)
        costs[size] = sum(isinstance(said, Probe | ProbeRequest) for _, _, said in town.sent) / size
    assert costs[64] < 3 * costs[16], "of sixteen times as many pairs, by four times as many"


@pytest.mark.parametrize(("size", "least", "most"), [(8, 6, 8), (16, 14, 16), (64, 10, 20)])
def test_a_side_calls_the_other_so_often_and_a_large_one_no_oftener(
    size: int, least: int, most: int
) -> None:
    """Calls a second of all. Each is a connection that is opened when the cut heals."""
    town = Town(size)
    town.settle_in()
    cut(town, size // 2)
    town.run(10 * SECOND)
    town.sent.clear()
    town.run(10 * SECOND)
    calls = [(one, to) for one, to, _ in town.sent if (one, to) in town.cut]
    assert least <= len(calls) / 2 / 10 <= most, "a call is two messages"


def test_what_a_heal_costs_grows_with_the_members_and_not_with_their_pairs() -> None:
    """The refutations cross once to whoever asks, and are then told as other news is."""
    costs = {}
    for size in (16, 64):
        town = Town(size)
        town.settle_in()
        town.run(size * SECOND // 4)
        cut(town, size // 2)
        town.run(20 * SECOND)
        town.cut.clear()
        town.sent.clear()
        town.run(3 * SECOND)
        costs[size] = len(town.sent) / size
        assert all(len(town.machine(at).alive()) == size - 1 for at in range(size))
    assert costs[64] < 2.5 * costs[16], "of sixteen times as many pairs, by four times as many"
