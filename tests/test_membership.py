"""SWIM's rules (Das, Gupta and Motivala 2002; section numbers are its), with Lifeguard's."""

from __future__ import annotations

from dataclasses import replace
from random import Random

import pytest
from member_hand import CLUSTER, CONFIG, Town, accusation

from protocol.clocks import MILLISECOND, SECOND
from protocol.effects import KeepMember
from protocol.events import LinkFault
from protocol.facts.membership import (
    MemberFailed,
    MemberForgotten,
    MemberJoined,
    MemberLeft,
    MemberRefuted,
    MemberSuspected,
    SeedUnreachable,
)
from protocol.identity import KEY_SIZE, NOBODY, Identity
from protocol.membership import NAME_LENGTH_MAX, Membership, State, sign_record
from protocol.membership.grapevine import Grapevine
from protocol.membership.members import Members
from protocol.membership.records import (
    ENDPOINTS_MAX,
    METADATA_MAX,
    PAGE_RECORDS_MAX,
    RECORD_TEXT_MAX,
    VERSION_MAX,
)
from protocol.membership.reunion import Reunion
from protocol.membership.view_digest import PARTS
from protocol.messages.membership import (
    NO_NEWS,
    MemberRecord,
    MemberSync,
    News,
    Probe,
    ProbeAck,
    ProbeRequest,
    Rumor,
    ViewSummary,
    Word,
)

STRANGER = Identity(b"s" * KEY_SIZE)
LONG = 60 * SECOND


def news(*records: MemberRecord, rumors: tuple[Rumor, ...] = ()) -> MemberSync:
    return MemberSync(News(records, rumors))


def stranger_record(**changes: object) -> MemberRecord:
    record = MemberRecord(STRANGER.public_key, "s", ("s:1",), 1, 0, False, (), b"")
    return sign_record(STRANGER, CLUSTER, replace(record, **changes))  # type: ignore[arg-type]


# -- finding each other --------------------------------------------------------------------------


@pytest.mark.parametrize("size", [2, 3, 8])
def test_nodes_find_each_other_from_one_seed(size: int) -> None:
    town = Town(size)
    town.run(5 * SECOND)
    for number in range(size):
        assert len(town.machine(number).alive()) == size - 1
        assert len(town.told(MemberJoined, number)) == size - 1
    assert town.told(MemberSuspected) == []


def test_a_node_alone_is_content() -> None:
    town = Town(1)
    town.run(LONG)
    assert town.machine(0).alive() == []
    assert town.facts == []


def test_seeds_are_called_for_ever_and_their_silence_is_told_now_and_then() -> None:
    town = Town(2)
    town.stop(0)
    town.sent.clear()
    town.run(100 * SECOND)
    calls = [m for sender, to, m in town.sent if (sender, to) == (1, 0) and type(m) is MemberSync]
    assert 90 <= len(calls) <= 120
    town.start(0)
    town.run(3 * SECOND)
    assert town.state(1, 0) is State.ALIVE


def test_an_unreachable_seed_is_told_once_in_a_while() -> None:
    town = Town(2)
    for _ in range(41):
        turn = town.turn()
        machine = town.machine(1)
        machine.undeliverable(turn, NOBODY, machine.seeds[0], LinkFault.REFUSED, "nobody listens")
        town.end(1, turn)
    assert town.told(SeedUnreachable) == [SeedUnreachable("house-0:1", "nobody listens")] * 3


def test_news_spreads_to_everybody() -> None:
    """4.1: a piece of news reaches all members with high probability; here within seconds."""
    town = Town(12)
    town.settle_in()
    town.receive(3, STRANGER.node, news(stranger_record()))
    town.nodes.append(STRANGER.node)
    town.machines.append(None)
    town.run(CONFIG.probe_interval_ns)
    knowing = [at for at in range(12) if town.state(at, 12) is not None]
    assert knowing == list(range(12))


@pytest.mark.parametrize("size", [16, 64])
def test_all_views_are_full_within_a_second(size: int) -> None:
    """Serf needs its rare full exchange for the last of them."""
    town = Town(size)
    town.run(SECOND)
    assert [len(town.machine(at).alive()) for at in range(size)] == [size - 1] * size


def test_a_team_that_starts_opens_few_connections() -> None:
    """Each costs as much as dozens of messages. To tell random members opened nearly all."""
    size = 32
    town = Town(size)
    while any(len(town.machine(at).alive()) < size - 1 for at in range(size)):
        town.run(10 * MILLISECOND)
    pairs = {(min(sender, to), max(sender, to)) for sender, to, _ in town.sent}
    assert len(pairs) < 3 * size // 2, "each calls the first, and a few others"


def test_whom_a_newcomer_calls_tells_everybody_it_is_in_touch_with() -> None:
    town = Town(30)
    town.settle_in()
    town.run(LONG)
    town.sent.clear()
    town.receive(0, STRANGER.node, news(stranger_record()))
    assert len({to for sender, to, _ in town.sent if sender == 0}) > 20
    town.run(SECOND)
    town.sent.clear()
    moved = stranger_record(incarnation=1, endpoints=("moved:1",))
    town.receive(1, town.nodes[2], news(moved))
    assert len({to for sender, to, _ in town.sent if sender == 1}) == 5, "it is hearsay to others"
    town.sent.clear()
    town.receive(1, town.nodes[2], news(stranger_record(incarnation=2, endpoints=("moved:1",))))
    assert not town.sent, "it has only counted on"


def test_news_that_comes_in_a_burst_goes_as_one_message() -> None:
    town = Town(3)
    town.settle_in()
    town.run(LONG)
    town.sent.clear()
    for number in range(5):
        record = stranger_record(incarnation=number, endpoints=(f"moved:{number + 1}",))
        town.receive(0, town.nodes[1], news(record))
    town.run(CONFIG.gather_ns)
    syncs = [
        each
        for sender, to, each in town.sent
        if (sender, to) == (0, 2) and isinstance(each, MemberSync)
    ]
    assert [each.news.records[-1].incarnation for each in syncs] == [0, 4]
    told = [to for sender, to, each in town.sent if sender == 0 and isinstance(each, MemberSync)]
    assert set(told) == {2}, "the first has told it"


def test_the_longer_a_stream_of_news_goes_on_the_more_of_it_goes_as_one_message() -> None:
    """Up to 320 ms of it: whoever has to tell everybody each piece has no time to hear the next."""
    town = Town(3)
    town.settle_in()
    town.run(LONG)
    town.sent.clear()
    for number in range(200):
        record = stranger_record(incarnation=number, endpoints=(f"moved:{number + 1}",))
        town.receive(0, town.nodes[1], news(record))
        town.run(10 * MILLISECOND)
    told = [each for sender, _, each in town.sent if sender == 0 and isinstance(each, MemberSync)]
    assert 2_000 / 320 < len(told) < 2_000 / 20 / 3
    town.run(SECOND)
    town.sent.clear()
    last = stranger_record(incarnation=999, endpoints=("moved:999",))
    town.receive(0, town.nodes[1], news(last))
    assert any(sender == 0 for sender, _, _ in town.sent), "after a while the first goes at once"


def test_who_does_not_answer_a_send_is_not_told_news_first() -> None:
    town = Town(12)
    town.settle_in()
    machine = town.machine(0)
    touched = machine.reach.in_touch()
    turn = town.turn()
    machine.undeliverable(turn, touched[0], "", LinkFault.RESET, "")
    assert machine.reach.in_touch() == touched[1:]


def test_what_push_missed_is_found_by_comparing_views() -> None:
    """Node 0 has told its news as often as it may, and all of it was lost."""
    town = Town(4)
    town.settle_in()
    town.isolate(0)
    town.receive(0, town.nodes[1], news(stranger_record()))
    town.machine(0)._grapevine = Grapevine(CONFIG)
    town.cut.clear()
    town.run(CONFIG.sync_interval_ns // 5)
    assert [town.machine(at).state_of(STRANGER.node) is None for at in range(4)] == [False] * 4


def test_a_view_that_differs_is_compared_part_by_part() -> None:
    town = Town(2)
    town.settle_in()
    town.run(LONG)
    town.sent.clear()
    town.receive(0, town.nodes[1], ViewSummary(b"another.", (), is_last=False))
    ours = town.machine(0)._members.digest
    assert town.sent == [(0, 1, ViewSummary(ours.fingerprint(), ours.sums(), is_last=False))]


def test_each_piece_of_news_is_told_a_bounded_number_of_times() -> None:
    """4.1: "each member maintains a local count of the number of times each element has been
    piggybacked"."""
    town = Town(3)
    town.settle_in()
    town.run(LONG)
    town.sent.clear()
    town.run(10 * SECOND)
    probes = [message for _, _, message in town.sent if isinstance(message, Probe | ProbeAck)]
    assert probes
    assert all(message.news == NO_NEWS for message in probes)


def test_a_joined_member_is_remembered_on_disk() -> None:
    town = Town(2)
    record = stranger_record()
    turn = town.turn()
    town.machine(0).receive(turn, STRANGER.node, news(record))
    assert turn.records == [KeepMember(record)]


# -- detecting failures --------------------------------------------------------------------------


def test_every_member_is_probed_within_one_round() -> None:
    """4.3: round-robin bounds the time to the first probe."""
    town = Town(6)
    town.settle_in()
    town.run(9 * CONFIG.probe_interval_ns)
    targets = {
        to for sender, to, message in town.sent if sender == 0 and isinstance(message, Probe)
    }
    assert targets == {1, 2, 3, 4, 5}


@pytest.mark.parametrize("size", [3, 16])
def test_each_member_is_probed_by_one_other_in_every_interval(size: int) -> None:
    """By many in one interval and by none in the next two, if everybody drew an order alone."""
    town = Town(size)
    town.settle_in()
    for _ in range(size):
        town.sent.clear()
        town.run(CONFIG.probe_interval_ns)
        probed = sorted(to for _, to, message in town.sent if isinstance(message, Probe))
        assert probed == list(range(size))


def test_an_indirect_probe_saves_a_node_with_a_broken_link() -> None:
    """3.1: k other members are asked to probe; one good path is enough."""
    town = Town(4)
    town.settle_in()
    town.cut = {(0, 1), (1, 0)}
    town.run(LONG)
    assert town.told(MemberSuspected) == []
    assert any(isinstance(message, ProbeRequest) for _, _, message in town.sent)


def test_two_nodes_have_nobody_to_ask() -> None:
    town = Town(2)
    town.settle_in()
    town.cut = {(0, 1), (1, 0)}
    town.run(LONG)
    assert town.state(0, 1) is town.state(1, 0) is State.FAILED


def test_a_silent_node_is_suspected_first_and_failed_later() -> None:
    """4.2: suspicion before failure."""
    town = Town(3)
    town.settle_in()
    town.isolate(2)
    town.run(LONG)
    for at in (0, 1):
        suspected = [
            t for t, n, fact in town.facts if n == at and isinstance(fact, MemberSuspected)
        ]
        failed = [
            (t, fact.node)
            for t, n, fact in town.facts
            if n == at and isinstance(fact, MemberFailed)
        ]
        assert [node for _, node in failed] == [town.nodes[2]]
        assert failed[0][0] - suspected[0] >= CONFIG.probe_interval_ns
        assert town.machine(at).gone() == [town.nodes[2]]


def test_a_refused_call_is_a_failed_probe() -> None:
    town = Town(3)
    town.settle_in()
    town.stop(2)
    town.run(6 * SECOND)
    assert town.state(0, 2) is town.state(1, 2) is State.FAILED


def test_a_full_outbox_is_no_evidence() -> None:
    town = Town(3)
    town.settle_in()
    turn = town.turn()
    town.machine(0).undeliverable(turn, town.nodes[1], "", LinkFault.OVERFLOW, "")
    assert turn.before == []


def test_a_suspect_still_counts_as_a_member() -> None:
    town = Town(3)
    town.settle_in()
    town.receive(0, town.nodes[1], news(rumors=(accusation(town, of=2),)))
    assert town.state(0, 2) is State.SUSPECT
    assert town.nodes[2] in town.machine(0).alive()


def test_larger_teams_suspect_longer() -> None:
    """4.2 with log10 of the size, as news needs longer to get round."""
    small, large = Town(2), Town(30)
    small.run(5 * SECOND)
    large.run(5 * SECOND)
    shortest = CONFIG.suspicion_alpha * CONFIG.probe_interval_ns
    assert small.machine(0).verdicts.suspicion_timeout(small.now, confirmations=1) == shortest
    assert large.machine(0).verdicts.suspicion_timeout(large.now, confirmations=3) > 1.4 * shortest


# -- refutation ----------------------------------------------------------------------------------


def test_a_living_suspect_refutes_with_a_higher_incarnation() -> None:
    """4.2: only the suspected member itself increments its incarnation number."""
    town = Town(3)
    town.settle_in()
    town.receive(0, town.nodes[1], news(rumors=(accusation(town, of=2),)))
    town.run(3 * SECOND)
    assert town.state(0, 2) is State.ALIVE
    assert town.machine(2).own.incarnation == 1
    assert MemberRefuted(town.nodes[2], 1) in town.told(MemberRefuted, 0)
    assert town.told(MemberFailed) == []


def test_a_refutation_by_a_stranger_is_refused() -> None:
    town = Town(3)
    town.settle_in()
    forged = replace(town.machine(2).own, incarnation=9)
    for record in (forged, sign_record(town.identities[1], CLUSTER, forged)):
        turn = town.receive(0, town.nodes[1], news(record))
        assert turn.records == []
        assert town.machine(0).members()[town.nodes[2]].record.incarnation == 0


def test_a_record_of_another_cluster_is_refused() -> None:
    town = Town(2)
    foreign = sign_record(STRANGER, "another town", stranger_record())
    town.receive(0, town.nodes[1], news(foreign))
    assert town.machine(0).state_of(STRANGER.node) is None


@pytest.mark.parametrize(
    "changes",
    [
        {"name": "n" * (NAME_LENGTH_MAX + 1)},
        {"endpoints": ("e:1",) * (ENDPOINTS_MAX + 1)},
        {"metadata": (("k", "v"),) * (METADATA_MAX + 1)},
    ],
    ids=["name", "endpoints", "metadata"],
)
def test_an_oversized_record_is_refused(changes: dict[str, object]) -> None:
    town = Town(2)
    town.receive(0, town.nodes[1], news(stranger_record(**changes)))
    assert town.machine(0).state_of(STRANGER.node) is None


def test_a_key_of_the_wrong_size_is_refused() -> None:
    town = Town(2)
    town.receive(0, town.nodes[1], news(replace(stranger_record(), public_key=b"short")))
    assert len(town.machine(0).members()) == 0


def test_the_number_of_members_is_bounded() -> None:
    town = Town(3, replace(CONFIG, members_max=2))
    town.run(5 * SECOND)
    town.receive(0, town.nodes[1], news(stranger_record()))
    assert len(town.machine(0).members()) == 2


def test_an_older_accusation_counts_for_nothing() -> None:
    town = Town(3)
    town.settle_in()
    old = accusation(town, of=2)
    town.receive(2, town.nodes[1], news(rumors=(old,)))
    town.run(2 * SECOND)
    town.facts.clear()
    town.receive(0, town.nodes[1], news(rumors=(old, replace(old, word=Word.FAILED))))
    assert town.told(MemberSuspected) == town.told(MemberFailed) == []


def test_a_failure_that_comes_as_a_surprise_is_a_suspicion() -> None:
    """It may be the other side of a cut that says so; whoever lives has the time to refute."""
    town = Town(4)
    town.settle_in()
    town.receive(0, town.nodes[1], news(rumors=(accusation(town, of=2, word=Word.FAILED),)))
    assert town.state(0, 2) is State.SUSPECT
    town.run(2 * SECOND)
    assert town.state(0, 2) is State.ALIVE


def test_an_older_record_changes_nothing() -> None:
    town = Town(3)
    town.settle_in()
    old = town.machine(2).own
    town.receive(2, town.nodes[1], news(rumors=(accusation(town, of=2),)))
    town.run(2 * SECOND)
    turn = town.receive(0, town.nodes[1], news(old))
    assert turn.records == []
    assert town.machine(0).members()[town.nodes[2]].record.incarnation == 1


def test_an_accusation_of_a_stranger_counts_for_nothing() -> None:
    town = Town(2)
    town.settle_in()
    turn = town.receive(
        0, town.nodes[1], news(rumors=(Rumor(STRANGER.node, 1, 0, NOBODY, Word.FAILED),))
    )
    assert turn.facts == []


# -- coming back and leaving ---------------------------------------------------------------------


def test_a_node_that_was_cut_off_rejoins_by_itself() -> None:
    town = Town(4)
    town.settle_in()
    town.isolate(3)
    town.run(LONG)
    assert town.state(0, 3) is town.state(3, 0) is State.FAILED
    town.cut.clear()
    town.run(15 * SECOND)
    for at in range(4):
        assert len(town.machine(at).alive()) == 3
    assert town.machine(3).own.incarnation >= 1, "only a newer record brings it back"


def test_two_halves_find_each_other_again() -> None:
    town = Town(6)
    town.settle_in()
    town.cut = {(a, b) for a in range(6) for b in range(6) if (a < 3) is not (b < 3)}
    town.run(LONG)
    assert len(town.machine(0).alive()) == 2
    town.cut.clear()
    town.run(20 * SECOND)
    assert [len(town.machine(at).alive()) for at in range(6)] == [5] * 6


@pytest.mark.parametrize("loses_journal", [False, True])
def test_two_who_forgot_each_other_find_each_other_again(loses_journal: bool) -> None:
    """Each calls with the very record that the other one forgot (seed 130006940)."""
    town = Town(2, replace(CONFIG, forget_after_ns=10 * SECOND))
    town.settle_in()
    town.machine(1).describe(model="small")
    town.run(SECOND)
    town.isolate(1)
    town.run(LONG)
    assert len(town.told(MemberForgotten)) == 2
    if loses_journal:
        town.stop(1)
        town.epochs[1] -= 1
        town.start(1)
    town.cut.clear()
    town.run(15 * SECOND)
    assert town.state(0, 1) is town.state(1, 0) is State.ALIVE
    town.sent.clear()
    town.run(10 * SECOND)
    assert sum(isinstance(message, MemberSync) for _, _, message in town.sent) < 10


def test_a_restarted_node_comes_back_in_a_new_epoch() -> None:
    town = Town(3)
    town.settle_in()
    known = town.stop(2)
    town.run(10 * SECOND)
    assert town.state(0, 2) is State.FAILED
    town.start(2, known)
    town.run(5 * SECOND)
    assert town.state(0, 2) is town.state(1, 2) is State.ALIVE
    assert town.machine(0).members()[town.nodes[2]].record.version == (2, 0)


def test_a_restarted_node_accuses_nobody_of_what_it_has_not_seen() -> None:
    town = Town(4)
    town.settle_in()
    known = town.stop(3)
    town.facts.clear()
    town.start(3, known)
    assert {town.state(3, of) for of in range(3)} == {State.REMEMBERED}
    assert town.machine(3).alive() == town.machine(3).gone() == []
    town.run(10 * SECOND)
    assert town.told(MemberSuspected, 3) == town.told(MemberFailed, 3) == []
    assert len(town.machine(3).alive()) == 3


def test_a_node_that_remembers_needs_no_seed() -> None:
    town = Town(3)
    town.settle_in()
    known = town.stop(2)
    town.stop(0)
    town.run(5 * SECOND)
    town.start(2, known)
    town.run(10 * SECOND)
    assert town.state(2, 1) is town.state(1, 2) is State.ALIVE


def test_a_node_that_leaves_says_goodbye() -> None:
    town = Town(3)
    town.settle_in()
    turn = town.turn()
    town.machine(2).leave(turn)
    town.end(2, turn)
    town.run(SECOND)
    assert town.state(0, 2) is town.state(1, 2) is State.LEFT
    assert town.told(MemberLeft, 0) == town.told(MemberLeft, 1) == [MemberLeft(town.nodes[2])]
    town.stop(2)
    town.run(LONG)
    assert town.told(MemberSuspected) == town.told(MemberFailed) == []


def test_nobody_says_goodbye_for_another() -> None:
    town = Town(3)
    town.settle_in()
    forged = replace(town.machine(2).own, incarnation=1, left=True)
    town.receive(0, town.nodes[1], news(forged))
    assert town.state(0, 2) is State.ALIVE


def test_whoever_left_may_come_back() -> None:
    town = Town(3)
    town.settle_in()
    turn = town.turn()
    town.machine(2).leave(turn)
    town.end(2, turn)
    town.run(SECOND)
    town.stop(2)
    town.start(2)
    town.run(5 * SECOND)
    assert town.state(0, 2) is town.state(1, 2) is State.ALIVE


def test_a_machine_shows_itself_in_one_line() -> None:
    town = Town(3)
    town.settle_in()
    assert repr(town.machine(0)) == f"<Membership {town.nodes[0][:6]} alive=2>"


# -- what must not go on for ever ------------------------------------------------------------------


def test_two_strangers_do_not_go_on_for_ever() -> None:
    """One has no room for the other, and yet tells it once what it knows."""
    full = Town(2, replace(CONFIG, members_max=0))
    full.run(5 * SECOND)
    full.sent.clear()
    for message in full.machine(1)._comparing.introduce():
        full.receive(0, full.nodes[1], message)
    answers = [message for sender, to, message in full.sent if (sender, to) == (0, 1)]
    assert [type(message) for message in answers] == [MemberSync, ViewSummary]
    assert all(message.is_last for message in answers if isinstance(message, ViewSummary))
    full.sent.clear()
    for message in answers:
        full.receive(1, full.nodes[0], message)
    back = [type(message) for sender, to, message in full.sent if (sender, to) == (1, 0)]
    assert back == [MemberSync], "and nothing comes of that"


def test_a_node_that_lost_its_journal_but_not_its_key_comes_back() -> None:
    """It counts its starts from one again, and the others know of more."""
    town = Town(3)
    for _ in range(3):
        town.run(10 * SECOND)
        town.stop(2)
        town.run(20 * SECOND)
        assert town.state(0, 2) is State.FAILED
        town.start(2)
    town.run(20 * SECOND)
    town.stop(2)
    town.run(20 * SECOND)
    town.epochs[2] = 0
    town.start(2)
    town.run(20 * SECOND)
    assert [town.state(number, 2) for number in range(3)] == [State.ALIVE] * 3


def test_two_processes_with_one_key_outbid_each_other_seldom() -> None:
    town = Town(2)
    town.run(5 * SECOND)
    twin = replace(town.machine(1).own, endpoints=("twin:1",), epoch=9)
    before = town.machine(1).own.incarnation
    for _ in range(100):
        twin = sign_record(
            town.identities[1], CLUSTER, replace(twin, incarnation=twin.incarnation + 2)
        )
        town.receive(1, town.nodes[0], news(twin))
    assert town.machine(1).own.epoch == 9
    assert town.machine(1).own.incarnation - before <= 4


@pytest.mark.parametrize(
    "changes",
    [
        {"endpoints": ("x" * RECORD_TEXT_MAX, "y")},
        {"metadata": (("k" * RECORD_TEXT_MAX, "v"),)},
        {"epoch": VERSION_MAX + 1},
        {"incarnation": VERSION_MAX + 1},
    ],
)
def test_a_record_out_of_bounds_is_not_taken(changes: dict[str, object]) -> None:
    town = Town(2)
    town.receive(0, town.nodes[1], news(stranger_record(**changes)))
    assert STRANGER.node not in town.machine(0).members()


def test_a_node_whose_record_nobody_would_take_does_not_start() -> None:
    record = stranger_record(name="n" * (NAME_LENGTH_MAX + 1))
    with pytest.raises(ValueError, match="name is over 64 characters"):
        Membership(STRANGER, CLUSTER, record, (), (), CONFIG, Random(1), 0)


def test_all_that_is_known_travels_in_pages() -> None:
    town = Town(2)
    machine = town.machine(0)
    for number in range(PAGE_RECORDS_MAX + 5):
        identity = Identity(number.to_bytes(4, "big") * 8)
        record = MemberRecord(identity.public_key, "m", ("m:1",), 1, 0, False, (), b"")
        machine._members.put(record, State.ALIVE, 0)
    pages = machine._comparing._pages(range(PARTS))
    assert [len(page.news.records) for page in pages] == [PAGE_RECORDS_MAX, 6]


def test_every_seed_has_its_turn_however_late_a_timer_is() -> None:
    """One that was never called must not wait for ever behind one that refuses: timers are always
    a little late, so that the other one was due before it."""
    members = Members()
    reunion = Reunion(("refuses:1",), members, CONFIG, Random(1))
    now, called = 0, []
    for number in range(30):
        if number == 10:
            reunion.add_seed("answers:1")
        target, wait = reunion.next_call(now)
        called.append(target)
        now += wait + 1_000
    assert abs(called[10:].count("refuses:1") - called[10:].count("answers:1")) <= 1
