"""The clerk: every request of a client is answered exactly once, with what is true."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from random import Random

import msgpack
import pytest

from protocol.clerk import Clerk, size_of
from protocol.clocks import MILLISECOND, SECOND, Nanoseconds
from protocol.config import ClerkConfig
from protocol.effects import ReadAnswered, Refused, Results
from protocol.events import Consistency
from protocol.facts.agreement import BatchOutOfOrder, SessionOpened
from protocol.identity import NOBODY, NodeId
from protocol.messages.agreement import EntryKind, ReadReply, ReadRequest
from protocol.registers import (
    BATCH_COMMANDS_MAX,
    Command,
    Refusal,
    Registers,
    Verb,
    encode_batch,
    encode_opening,
)
from protocol.turn import Turn

SELF = NodeId("self")
LEADER = NodeId("leader")
CONFIG = ClerkConfig()
NONCE = (1).to_bytes(8, "big")
Proposal = tuple[EntryKind, bytes]


def put(key: str, value: bytes = b"x") -> Command:
    return Command(Verb.PUT, key, value)


@dataclass
class Desk:
    """A clerk with its registers; the test is the leader, the log and the clock."""

    config: ClerkConfig = CONFIG
    nonce: bytes = NONCE
    now: Nanoseconds = SECOND
    index: int = 0
    proposed: list[Proposal] = field(default_factory=list)
    asked: list[ReadRequest] = field(default_factory=list)
    answers: list[Results | Refused | ReadAnswered] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.registers = Registers()
        self.clerk = Clerk(SELF, self.nonce, self.config, self.registers)

    # -- what happens to it

    def command(self, first: int, *commands: Command) -> None:
        turn = self.turn()
        self.clerk.command(turn, first, commands)
        self.take(turn)

    def read(
        self, request: int, key: str, consistency: Consistency = Consistency.LINEARIZABLE
    ) -> None:
        turn = self.turn()
        self.clerk.read(turn, request, key, consistency)
        self.take(turn)

    def confirm(self, read: int, index: int) -> None:
        turn = self.turn()
        self.clerk.read_confirmed(turn, ReadReply(read, index), self.index)
        self.take(turn)

    def lead(self, leader: NodeId = LEADER) -> None:
        turn = self.turn()
        self.clerk.leader_changed(turn, leader)
        self.take(turn)

    def wait(self, duration: Nanoseconds) -> None:
        """Time goes by, and the timer fires when it is due."""
        end = self.now + duration
        for _ in range(1_000):
            deadline = self.clerk.deadline()
            if deadline is None or deadline > end:
                break
            self.now = max(self.now, deadline)
            turn = self.turn()
            self.clerk.tick(turn)
            self.take(turn)
        else:
            raise AssertionError("the timer fires for ever")
        self.now = end

    def commit(self, *proposals: Proposal) -> None:
        """These come out of the log together."""
        turn = self.turn()
        for kind, data in proposals:
            self.index += 1
            if kind is EntryKind.SESSION:
                turn.facts += self.registers.open_session(self.index, data)
            else:
                turn.facts += self.registers.apply_batch(self.index, data)
        self.clerk.applied(turn)
        self.clerk.answer_reads(turn, self.index)
        self.take(turn)

    def commit_all(self) -> None:
        """Whatever is proposed comes out of the log, until nothing is proposed any more."""
        while self.proposed:
            proposals, self.proposed = self.proposed, []
            self.commit(*proposals)

    # -- what it does

    def turn(self) -> Turn:
        return Turn(self.now, self.now, 1)

    def take(self, turn: Turn) -> None:
        """Carry the facts, as the peer does, and keep the rest for the test."""
        while turn.facts:
            fact = turn.facts.pop(0)
            if isinstance(fact, SessionOpened):
                self.clerk.session_opened(turn, fact.node, fact.nonce, fact.number)
            elif isinstance(fact, BatchOutOfOrder):
                self.clerk.out_of_order(turn, fact.session)
        self.proposed += turn.proposals
        self.asked += turn.read_requests
        for item in turn.before:
            assert isinstance(item, Results | Refused | ReadAnswered)
            self.answers.append(item)

    def lose(self) -> list[Proposal]:
        """What was proposed does not get there."""
        lost, self.proposed = self.proposed, []
        return lost

    def open(self) -> int:
        """A session is there: its number."""
        self.command(0, Command(Verb.NOTHING, ""))
        self.commit_all()
        self.answers.clear()
        return self.clerk.session


def batch_of(proposal: Proposal) -> tuple[int, int, int, int]:
    """Session, first number, floor, and how many commands."""
    kind, data = proposal
    assert kind is EntryKind.BATCH
    session, first, floor, commands = msgpack.unpackb(data)
    return session, first, floor, len(commands)


@pytest.fixture
def desk() -> Desk:
    return Desk()


@pytest.fixture
def opened() -> Desk:
    desk = Desk()
    desk.open()
    return desk


# -- commands --------------------------------------------------------------------------------------


def test_the_first_command_opens_a_session_and_waits_for_it(desk: Desk) -> None:
    desk.command(1, put("a"), put("b"))
    ((kind, data),) = desk.lose()
    assert (kind, data) == (EntryKind.SESSION, encode_opening(SELF, NONCE + bytes(4)))
    assert not desk.answers
    desk.commit((kind, data))
    assert [batch_of(each) for each in desk.proposed] == [(1, 1, 1, 2)]
    desk.commit_all()
    assert desk.answers == [Results(1, (1, 2))]
    assert desk.clerk.deadline() is None


def test_no_session_is_opened_before_it_is_needed(desk: Desk) -> None:
    desk.lead()
    desk.read(1, "a", Consistency.LOCAL)
    assert not desk.proposed
    assert desk.clerk.deadline() is None


def test_another_nodes_session_is_not_ones_own(desk: Desk) -> None:
    desk.command(1, put("a"))
    other = (EntryKind.SESSION, encode_opening(NodeId("other"), NONCE + bytes(4)))
    earlier = (EntryKind.SESSION, encode_opening(SELF, bytes(12)))
    desk.lose()
    desk.commit(other, earlier)
    assert desk.clerk.session == 0


def test_commands_are_numbered_in_their_order_and_travel_together(opened: Desk) -> None:
    opened.command(1, put("a"), put("b"))
    opened.command(3, put("c"))
    assert [batch_of(each)[1:] for each in opened.proposed] == [(2, 2, 2), (4, 2, 1)]
    opened.commit_all()
    assert opened.answers == [Results(1, (1, 2)), Results(3, (3,))]
    opened.command(4, put("d"))
    assert batch_of(opened.proposed[0])[1:] == (5, 5, 1), "results up to 4 are known"


def test_many_commands_are_cut_into_entries(opened: Desk) -> None:
    count = BATCH_COMMANDS_MAX + 10
    opened.command(1, *[put("a")] * count)
    assert [batch_of(each)[3] for each in opened.proposed] == [BATCH_COMMANDS_MAX, 10]


@pytest.mark.parametrize("repeated", [False, True])
def test_an_entry_is_no_larger_than_it_may_be(repeated: bool) -> None:
    """Values that are expected count too, and what is sent again is cut like what is sent."""
    desk = Desk(replace(CONFIG, batch_size_max=1_000))
    desk.open()
    cas = Command(Verb.CAS, "k", b"v" * 100, b"e" * 200)
    desk.command(1, *[cas] * 20)
    if repeated:
        desk.lose()
        desk.wait(CONFIG.retry_ns)
    assert sum(batch_of(each)[3] for each in desk.proposed) == 20
    for proposal in desk.proposed:
        assert batch_of(proposal)[3] * size_of(cas) <= 1_000
        assert len(proposal[1]) <= 1_100
    desk.commit_all()
    assert sum(len(each.results) for each in desk.answers if isinstance(each, Results)) == 20


def test_a_command_that_is_too_large_for_a_batch_goes_alone() -> None:
    desk = Desk(replace(CONFIG, batch_size_max=50))
    desk.open()
    desk.command(1, put("a"), put("b", b"x" * 100), put("c"))
    assert [batch_of(each)[3] for each in desk.proposed] == [1, 1, 1]
    desk.lose()
    desk.wait(CONFIG.retry_ns)
    desk.commit_all()
    assert [each for each in desk.answers if isinstance(each, Results)][-1].results == (3,)


def test_no_more_is_under_way_than_the_window_holds() -> None:
    desk = Desk(replace(CONFIG, window_max=4))
    desk.open()
    for request in range(1, 10):
        desk.command(request, put("a"))
    assert [batch_of(each)[1] for each in desk.proposed] == [2, 3, 4, 5]
    desk.commit_all()
    assert [each.results for each in desk.answers if isinstance(each, Results)] == [
        (number,) for number in range(1, 10)
    ]


def test_beyond_the_limit_clients_are_told_to_come_again() -> None:
    desk = Desk(replace(CONFIG, requests_max=3))
    desk.command(1, put("a"), put("b"), put("c"), put("d"), put("e"))
    (refused,) = desk.answers
    assert isinstance(refused, Refused)
    assert (refused.first, refused.count, refused.error) == (4, 2, "Busy")
    desk.read(9, "a")
    desk.command(6, put("f"))
    assert [each.error for each in desk.answers if isinstance(each, Refused)] == ["Busy"] * 3
    desk.commit_all()
    assert desk.answers[-1] == Results(1, (1, 2, 3))
    desk.command(7, put("g"))
    desk.commit_all()
    assert desk.answers[-1] == Results(7, (4,))


# -- again -----------------------------------------------------------------------------------------


def test_what_is_not_answered_is_sent_again_in_one_piece(opened: Desk) -> None:
    for request in (1, 2, 3):
        opened.command(request, put("a"))
    lost = opened.lose()
    opened.wait(CONFIG.retry_ns)
    assert [batch_of(each)[1:] for each in opened.proposed] == [(2, 2, 3)]
    opened.proposed += lost  # late, but not lost
    opened.commit_all()
    assert [each.results for each in opened.answers if isinstance(each, Results)] == [
        (1,), (2,), (3,)
    ]  # fmt: skip
    assert opened.registers.revision == 3


def test_a_new_leader_is_sent_everything_at_once(opened: Desk) -> None:
    opened.command(1, put("a"))
    opened.lose()
    opened.lead(NOBODY)
    assert not opened.proposed
    opened.lead()
    opened.commit_all()
    assert opened.answers == [Results(1, (1,))]


def test_an_opening_that_is_lost_is_sent_again(desk: Desk) -> None:
    desk.command(1, put("a"))
    desk.lose()
    desk.wait(CONFIG.retry_ns - 1)
    desk.command(2, put("b"))
    assert not desk.proposed, "it may be on its way still"
    desk.wait(1)
    desk.commit_all()
    assert desk.answers == [Results(1, (1,)), Results(2, (2,))]


def test_a_hole_in_the_numbers_is_filled_once_it_is_no_mere_delay(opened: Desk) -> None:
    opened.command(1, put("a"))
    (lost,) = opened.lose()
    opened.command(2, put("b"))
    opened.commit(*opened.lose())
    assert not opened.proposed, "it may be late"
    opened.now += CONFIG.reorder_ns
    opened.command(3, put("c"))
    opened.commit(*opened.lose())
    assert [batch_of(each)[1:] for each in opened.proposed] == [(2, 2, 3)]
    opened.proposed.append(lost)
    opened.commit_all()
    assert opened.registers.revision == 3


def test_answers_come_in_parts_where_entries_were_merged(opened: Desk) -> None:
    opened.command(1, put("a"), put("b"), put("c"))
    session = opened.clerk.session
    opened.commit((EntryKind.BATCH, encode_batch(session, 2, 1, [put("a"), put("b")])))
    assert opened.answers == [Results(1, (1, 2))]
    opened.commit_all()
    assert opened.answers[1:] == [Results(3, (3,))]


# -- giving up -------------------------------------------------------------------------------------


def test_what_was_never_sent_definitely_did_not_happen(desk: Desk) -> None:
    desk.command(1, put("a"), put("b"))
    desk.wait(CONFIG.timeout_ns)
    (refused,) = desk.answers
    assert isinstance(refused, Refused)
    assert (refused.first, refused.count, refused.error) == (1, 2, "NoLeader")
    assert desk.clerk.deadline() is None
    desk.commit_all()  # the opening arrives after all
    assert len(desk.registers) == 0


def test_what_was_sent_may_have_happened(opened: Desk) -> None:
    opened.command(1, put("a"))
    opened.wait(CONFIG.timeout_ns)
    (refused,) = opened.answers
    assert isinstance(refused, Refused)
    assert (refused.first, refused.count, refused.error) == (1, 1, "TimedOut")


def test_a_command_that_was_given_up_takes_its_number_and_does_nothing(opened: Desk) -> None:
    opened.command(1, put("a", b"old"))
    opened.wait(CONFIG.timeout_ns)
    opened.lose()
    opened.answers.clear()
    opened.command(2, put("b"))
    opened.lose()
    opened.wait(CONFIG.retry_ns)
    opened.commit_all()
    assert opened.answers == [Results(2, (1,))]
    assert opened.registers.get("a") is None
    session = opened.registers.sessions[opened.clerk.session]
    assert session.results[-2:] == [Refusal.GIVEN_UP, 1]


def test_a_command_that_was_given_up_happens_once_at_most_if_it_comes_late(opened: Desk) -> None:
    opened.command(1, put("a", b"old"))
    (late,) = opened.lose()
    opened.wait(CONFIG.timeout_ns)
    opened.lose()
    opened.answers.clear()
    opened.commit(late, late)
    assert opened.registers.revision == 1
    assert not opened.answers, "its client has been answered"
    opened.command(2, put("b"))
    opened.commit_all()
    assert opened.answers == [Results(2, (2,))]


def test_part_of_a_batch_may_be_answered_before_the_rest_is_given_up(opened: Desk) -> None:
    opened.command(1, put("a"), put("b"))
    opened.lose()
    opened.commit((EntryKind.BATCH, encode_batch(opened.clerk.session, 2, 1, [put("a")])))
    opened.wait(CONFIG.timeout_ns)
    assert opened.answers[0] == Results(1, (1,))
    refused = opened.answers[1]
    assert isinstance(refused, Refused)
    assert (refused.first, refused.count) == (2, 1)
    opened.commit_all()
    assert len(opened.answers) == 2


# -- the session's end -----------------------------------------------------------------------------


def forget_sessions(desk: Desk) -> None:
    desk.registers.sessions.clear()


def test_commands_of_a_forgotten_session_may_have_happened(opened: Desk) -> None:
    first = opened.clerk.session
    opened.command(1, put("a"), put("b"))
    opened.lose()
    forget_sessions(opened)
    opened.command(3, put("c"))
    opened.commit_all()
    refused, answered = opened.answers
    assert isinstance(refused, Refused)
    assert (refused.first, refused.count, refused.error) == (1, 2, "TimedOut")
    assert answered == Results(3, (1,))
    assert opened.clerk.session != first


def test_a_session_that_was_forgotten_while_it_was_idle_costs_no_client_anything(
    opened: Desk,
) -> None:
    forget_sessions(opened)
    opened.command(1, put("a"))
    opened.commit_all()
    assert opened.answers == [Results(1, (1,))]


def test_somebody_else_in_the_session_is_no_reason_to_fall_over(opened: Desk) -> None:
    opened.command(1, put("a"))
    opened.lose()
    commands = [put("x"), put("y"), put("z")]
    opened.commit((EntryKind.BATCH, encode_batch(opened.clerk.session, 2, 99, commands)))
    (refused,) = opened.answers
    assert isinstance(refused, Refused)
    assert refused.error == "TimedOut"
    opened.command(2, put("b"))
    opened.commit_all()
    assert opened.answers[1:] == [Results(2, (4,))]


def test_a_session_may_have_been_opened_in_what_a_snapshot_stands_for(desk: Desk) -> None:
    desk.command(1, put("a"))
    other = Registers()
    ((_, data),) = desk.lose()
    other.open_session(7, data)
    desk.registers.restore(other.image())
    turn = desk.turn()
    desk.clerk.look_for_session(turn)
    desk.take(turn)
    assert desk.clerk.session == 7
    desk.commit_all()
    assert desk.answers == [Results(1, (1,))]


def test_a_snapshot_answers_what_was_applied_in_it(opened: Desk) -> None:
    opened.command(1, put("a"), put("b"))
    elsewhere = Registers()
    elsewhere.restore(opened.registers.image())
    elsewhere.apply_batch(50, opened.lose()[0][1])
    opened.registers.restore(elsewhere.image())
    opened.index = 50
    opened.commit()
    assert opened.answers == [Results(1, (1, 2))]


def test_another_log_begins_with_another_session_and_nothing_old_counts(opened: Desk) -> None:
    """The same opening may lie in the log that is followed now, with commands behind it: results
    of those are no answers to new commands."""
    session = opened.clerk.session
    opened.command(1, put("a", b"1"))
    opened.commit_all()
    opened.answers.clear()
    opened.command(2, put("b"))
    opened.lose()
    opened.read(1, "a")
    (old,) = opened.asked
    opened.confirm(old.read, 900)
    image = opened.registers.image()
    opened.registers.restart()
    turn = opened.turn()
    opened.clerk.log_changed(turn)
    opened.take(turn)
    assert [type(each) for each in opened.answers] == [Refused], "the write may have happened"
    opened.registers.restore(image)  # what is relearned: the session is there
    turn = opened.turn()
    opened.clerk.look_for_session(turn)
    opened.clerk.session_opened(turn, SELF, (NONCE + bytes(4)).hex(), session)
    opened.index = 1_000
    opened.clerk.answer_reads(turn, opened.index)
    opened.take(turn)
    assert len(opened.answers) == 1, "the old log's index says nothing about the new one"
    opened.command(3, put("c"))
    opened.commit_all()
    assert opened.clerk.session != session
    assert opened.answers[1:] == [Results(3, (2,))]
    opened.wait(CONFIG.retry_ns)
    opened.confirm(opened.asked[-1].read, 1_000)
    assert opened.answers[-1] == ReadAnswered(1, opened.registers.get("a"))


# -- reads -----------------------------------------------------------------------------------------


def test_a_local_read_is_answered_at_once(opened: Desk) -> None:
    opened.read(1, "a", Consistency.LOCAL)
    assert opened.answers == [ReadAnswered(1, None)]
    assert not opened.asked


@pytest.mark.parametrize("consistency", [Consistency.LINEARIZABLE, Consistency.LEASE])
def test_one_question_serves_all_reads_that_wait(desk: Desk, consistency: Consistency) -> None:
    desk.read(1, "a", consistency)
    desk.read(2, "b", consistency)
    desk.read(3, "c", consistency)
    (first,) = desk.asked
    assert first.lease is (consistency is Consistency.LEASE)
    desk.confirm(first.read, 0)
    assert desk.answers == [ReadAnswered(1, None)], "the others came after the question"
    assert len(desk.asked) == 2
    desk.confirm(desk.asked[1].read, 0)
    assert [each.request for each in desk.answers if isinstance(each, ReadAnswered)] == [1, 2, 3]
    assert desk.clerk.deadline() is None


def test_a_read_waits_until_its_index_is_applied_here(opened: Desk) -> None:
    opened.read(1, "a")
    opened.confirm(opened.asked[0].read, opened.index + 1)
    assert not opened.answers
    opened.command(5, put("a", b"new"))
    opened.commit_all()
    read = [each for each in opened.answers if isinstance(each, ReadAnswered)]
    assert [each.value and each.value.value for each in read] == [b"new"]


def test_a_question_that_is_not_answered_is_asked_again(desk: Desk) -> None:
    desk.read(1, "a")
    desk.wait(CONFIG.retry_ns)
    assert len(desk.asked) == 2
    desk.lead()
    assert len(desk.asked) == 3
    for asked in desk.asked[:2]:
        desk.confirm(asked.read, 0)
    assert not desk.answers, "only the answer to the latest question counts"
    desk.confirm(desk.asked[2].read, 0)
    assert desk.answers == [ReadAnswered(1, None)]
    desk.confirm(desk.asked[2].read, 0)
    assert len(desk.answers) == 1


def test_an_answer_to_an_earlier_life_of_the_node_is_none_to_this_one() -> None:
    """It may be on its way while the node starts again, and tell of an older log."""
    before = Desk(nonce=(7).to_bytes(8, "big"))
    after = Desk(nonce=(8).to_bytes(8, "big"))
    for desk in (before, after):
        desk.read(1, "a")
    after.confirm(before.asked[0].read, 0)
    assert not after.answers
    assert 0 < after.asked[0].read < 2**63


def test_nothing_is_read_where_nobody_leads(desk: Desk) -> None:
    desk.read(1, "a")
    desk.read(2, "b")
    desk.read(3, "c", Consistency.LEASE)
    desk.wait(CONFIG.timeout_ns)
    assert [
        (each.first, each.error, each.is_command) for each in desk.answers
        if isinstance(each, Refused)
    ] == [(1, "NoLeader", False), (2, "NoLeader", False), (3, "NoLeader", False)]  # fmt: skip
    assert desk.clerk.deadline() is None


def test_the_reads_after_one_that_was_given_up_are_asked_for() -> None:
    desk = Desk()
    desk.read(1, "a")
    desk.wait(CONFIG.timeout_ns - SECOND)
    desk.read(2, "b")
    desk.wait(SECOND)
    desk.confirm(desk.asked[-1].read, 0)
    assert isinstance(desk.answers[0], Refused)
    assert desk.answers[1:] == [ReadAnswered(2, None)]


# -- a lossy leader --------------------------------------------------------------------------------


class LossyLeader:
    """Takes what a clerk proposes, and loses, repeats, reorders and delays it; forgets everything
    now and then, as leaders do that are no more; and drops sessions."""

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)
        self.desk = Desk(
            replace(CONFIG, window_max=self.random.choice((3, 10_000)), requests_max=60)
        )
        self.wire: list[Proposal] = []
        self.request = 0
        self.read = 0
        self.forgetful = self.random.random() < 0.3

    def step(self) -> None:
        random, desk = self.random, self.desk
        match random.randrange(10):
            case 0 | 1 | 2:
                count = random.choice((1, 1, 2, 5))
                commands = [put(f"k{self.request + at}") for at in range(1, count + 1)]
                desk.command(self.request + 1, *commands)
                self.request += count
            case 3:
                self.read += 1
                consistency = random.choice((Consistency.LINEARIZABLE, Consistency.LEASE))
                desk.read(self.read, f"k{random.randint(1, self.request + 1)}", consistency)
            case 4:
                desk.wait(random.choice((MILLISECOND, 60 * MILLISECOND, SECOND, 4 * SECOND)))
            case 5:
                self.wire = []
                desk.lead(random.choice((NOBODY, LEADER)))
            case 6:
                if self.forgetful and random.random() < 0.2:
                    desk.registers.sessions.clear()
            case _:
                self.serve()

    def serve(self) -> None:
        random, desk = self.random, self.desk
        self.wire += desk.lose()
        random.shuffle(self.wire)
        batch = [each for each in self.wire if random.random() < 0.6]
        self.wire = [each for each in self.wire if random.random() < 0.5]
        if random.random() < 0.2:
            batch = []
        desk.commit(*batch)
        asked, desk.asked = desk.asked, []
        for question in asked:
            if random.random() < 0.7:
                desk.confirm(question.read, random.randint(max(0, desk.index - 2), desk.index))

    def finish(self) -> None:
        """From now on all goes well."""
        desk = self.desk
        for _ in range(40):
            desk.commit_all()
            asked, desk.asked = desk.asked, []
            for question in asked:
                desk.confirm(question.read, desk.index)
            desk.wait(SECOND)


@pytest.mark.parametrize("seed", range(60))
def test_every_request_is_answered_once_and_with_what_is_true(seed: int) -> None:
    leader = LossyLeader(seed)
    for _ in range(200):
        leader.step()
    leader.finish()
    commands: Counter[int] = Counter()
    reads: Counter[int] = Counter()
    desk = leader.desk
    for answer in desk.answers:
        if isinstance(answer, Results):
            for request, result in enumerate(answer.results, start=answer.first):
                commands[request] += 1
                held = desk.registers.get(f"k{request}")
                assert held is not None
                assert held.revision == result, "each wrote its own key, once"
        elif isinstance(answer, Refused):
            count = commands if answer.is_command else reads
            for request in range(answer.first, answer.first + answer.count):
                count[request] += 1
                if answer.is_command and answer.error in ("Busy", "NoLeader"):
                    assert desk.registers.get(f"k{request}") is None, "it did not happen"
        else:
            reads[answer.request] += 1
    assert commands == Counter(range(1, leader.request + 1))
    assert reads == Counter(range(1, leader.read + 1))
    assert desk.registers.revision == len(desk.registers), "nothing was written twice"
    assert desk.clerk.deadline() is None
