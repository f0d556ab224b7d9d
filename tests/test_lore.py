"""FACT notes: whom they reach, for how long, and how many there are at most."""

from __future__ import annotations

from dataclasses import replace

import pytest
from ledger_hand import BOB, job, task
from team_hand import CONFIG, SELF, Desk, commands, finished, invoked, replies

from protocol import codec
from protocol.clocks import SECOND
from protocol.events import FoundOut, Noted
from protocol.identity import Identity, NodeId
from protocol.jobs import PATH_LENGTH_MAX, File, Quorum
from protocol.ledger import JobState, SubmitJob, encode_command
from protocol.store import Store
from protocol.team.lore import NOTES_MAX, SHOWN_MAX, TEXT_LENGTH_MAX, FactNote, Lore, Scope

OTHER = Identity(b"o" * 32)


def said(text: str, number: int = 1, written_at: int = 0, about: str = "") -> FactNote:
    return FactNote(OTHER.node, number, Scope.JOB, about, text, written_at)


class Board(Desk):
    """A node with a job: b builds on a, c on nothing; `data` came with it."""

    def __init__(self) -> None:
        super().__init__()
        self.other = Store(OTHER, "team", 10_000)
        tasks = (task("a"), task("b", "a"), task("c"))
        (command,) = commands(self.submit(replace(job(*tasks), files=(File("data", b""),))))
        self.commit(command)

    @property
    def lore(self) -> Lore:
        return self.team.lore

    @property
    def state(self) -> JobState:
        return self.ledger.jobs["job"]

    def note(self, text: str, scope: str = "job", about: str = "", lasts: int = 0) -> str:
        """Say something; the answer's detail."""
        turn = self.turn()
        self.team.noted(turn, Noted(3, "job", scope, about, text, lasts))
        (reply,) = replies(self.settle(turn))
        return reply.detail

    def told(self, name: str) -> tuple[str, ...]:
        return self.lore.told(self.state, self.state.tasks[name].task, self.now)

    def hear(self, note: FactNote, job: str = "job", place: int = 1) -> str:
        """A note of somebody else's comes by gossip, under that node's key, which is returned."""
        key = f"fact/{job}/{note.node}/{place}"
        self.put(key, codec.pack_value(note))
        return key

    def put(self, key: str, value: bytes | None) -> None:
        encoded, _ = self.other.write([(key, value)], 0)
        self.store.merge(encoded)
        turn = self.turn()
        self.team.hearing.learn_key(turn, key, self.now)
        self.settle(turn)


def test_a_note_about_the_job_reaches_all_its_agents() -> None:
    board = Board()
    assert board.note("ids are UUIDs") == ""
    assert [board.told(name) for name in "abc"] == [("ids are UUIDs",)] * 3


def test_a_note_about_a_task_reaches_it_and_what_builds_on_it() -> None:
    board = Board()
    board.note("a rounds down", "task", "a")
    assert [board.told(name) for name in "abc"] == [("a rounds down",), ("a rounds down",), ()]


def test_a_note_about_a_path_reaches_who_writes_or_sees_it() -> None:
    board = Board()
    board.note("b has two columns", "path", "b")
    board.note("data is sorted", "path", "data")
    assert board.told("a") == ("data is sorted",)
    assert board.told("b") == ("b has two columns", "data is sorted")


def test_what_an_agent_finds_out_concerns_who_builds_on_its_task() -> None:
    board = Board()
    (invocation, *_) = [
        number for number, attempt in board.team.running.items() if attempt.unit[1] == "a"
    ]
    turn = board.turn()
    board.team.found_out(turn, FoundOut(invocation, " a returns a list \n"))
    board.settle(turn)
    assert board.told("b") == ("a returns a list",)
    assert board.told("c") == ()
    board.team.found_out(board.turn(), FoundOut(99, "nobody said this"))
    assert len(board.lore.all("job")) == 1


def test_what_an_agent_finds_out_is_not_told_to_those_that_answer_independently() -> None:
    desk = Desk(replace(CONFIG, slots=2))
    tasks = (task("a", quorum=Quorum(2, 2)), task("b", "a"))
    (command,) = commands(desk.submit(job(*tasks)))
    begun = [*invoked(desk.commit(command)), *invoked(desk.wait(CONFIG.patience_ns))]
    assert len(begun) == 2
    for each in begun:
        turn = desk.turn()
        found = f"the answer may be {each.assignment.slot}"
        desk.team.found_out(turn, FoundOut(each.invocation, found))
        desk.team.found_out(turn, FoundOut(each.invocation, "it is hard"))
        desk.settle(turn)
    state = desk.ledger.jobs["job"]
    for slot in (0, 1):
        told = desk.team.lore.told(state, state.tasks["a"].task, desk.now, slot)
        assert told == (f"the answer may be {slot}", "it is hard")
    told = desk.team.lore.told(state, state.tasks["b"].task, desk.now)
    assert told == ("the answer may be 0", "the answer may be 1", "it is hard")


def test_a_note_is_in_the_next_agent_s_assignment() -> None:
    desk = Desk()
    (command,) = commands(desk.submit(job(task("a"), task("b", "a"))))
    first = invoked(desk.commit(command))[0]
    turn = desk.turn()
    desk.team.found_out(turn, FoundOut(first.invocation, "mind the gap"))
    desk.settle(turn)
    turn = desk.turn()
    desk.team.completed(turn, finished(first.invocation, File("a", b"x")))
    (accept,) = commands(desk.settle(turn))
    (second,) = invoked(desk.commit(accept))
    assert second.assignment.task.id == "b"
    assert second.assignment.lore == ("mind the gap",)


def test_what_has_expired_reaches_nobody() -> None:
    board = Board()
    board.note("the server is down", lasts=10 * SECOND)
    assert board.told("a") == ("the server is down",)
    board.wait(10 * SECOND)
    assert board.told("a") == ()


def test_the_newest_are_told_as_far_as_they_fit() -> None:
    board = Board()
    for number in range(9):
        board.now += SECOND
        board.note(f"{number}".ljust(TEXT_LENGTH_MAX, "."))
    told = board.told("a")
    assert [text[0] for text in told] == ["3", "4", "5", "6", "7", "8"]
    assert sum(map(len, told)) <= SHOWN_MAX


def test_an_author_has_so_many_notes_and_a_newer_one_takes_the_oldest_one_s_place() -> None:
    board = Board()
    for number in range(NOTES_MAX + 3):
        board.now += SECOND
        board.note(f"note {number}")
    notes = board.lore.all("job")
    assert len(notes) == NOTES_MAX
    assert (notes[0].text, notes[-1].text) == ("note 3", f"note {NOTES_MAX + 2}")
    assert len(list(board.store.scan("fact/"))) == NOTES_MAX


def test_no_author_has_more_notes_than_places() -> None:
    """Found in a review: 20,000 notes of one author were kept."""
    board = Board()
    board.note("mine")
    for place in (0, NOTES_MAX, 10**6):
        board.hear(said("spam"), place=place)
    board.hear(said("spam", about="y" * (PATH_LENGTH_MAX + 1)))
    assert board.told("a") == ("mine",)
    board.hear(said("in its place", NOTES_MAX + 2), place=2)
    assert {note.text for note in board.lore.all("job")} == {"mine", "in its place"}


def test_a_note_from_the_future_is_not_the_first_for_ever() -> None:
    board = Board()
    board.note("now")
    board.hear(said("in a year", written_at=10**12))
    board.hear(said("a clock that is a little ahead", 2, 30_000), place=2)
    assert board.told("a") == ("in a year", "now", "a clock that is a little ahead")


def test_what_is_deleted_is_forgotten() -> None:
    board = Board()
    board.note("mine")
    key = board.hear(said("theirs"))
    assert board.told("a") == ("theirs", "mine")
    board.put(key, None)
    assert board.told("a") == ("mine",)


def test_notes_of_a_job_that_is_not_known_yet_wait_in_the_store() -> None:
    """Found in a review: whatever job a peer named, its notes were kept."""
    board = Board()
    for number in range(100):
        board.hear(said("early"), job=f"job{number}")
    assert set(board.lore._notes) <= {"job"}
    board.commit(encode_command(SubmitJob(job(task("a"), name="job7"), ())))
    state = board.ledger.jobs["job7"]
    assert board.lore.told(state, state.tasks["a"].task, board.now) == ("early",)


def test_what_is_said_twice_is_written_once() -> None:
    board = Board()
    board.note("again")
    board.note("again")
    board.hear(FactNote(OTHER.node, 1, Scope.JOB, "", "again", 5))
    assert len(board.lore.all("job")) == 2
    assert board.told("a") == ("again",)


@pytest.mark.parametrize(
    ("text", "scope", "about", "fault"),
    [
        (" ", "job", "", "a note has 1 to 1000 characters"),
        ("x" * 1_001, "job", "", "a note has 1 to 1000 characters"),
        ("x", "job", "y" * 201, "what a note is about has a name of at most 200 characters"),
        ("x", "task", "z", "job 'job' has no task 'z'"),
        ("x", "path", "z", "job 'job' has no file 'z'"),
        ("x", "world", "", "a note is about a job, a task or a path, not 'world'"),
    ],
)
def test_what_makes_no_sense_is_refused(text: str, scope: str, about: str, fault: str) -> None:
    board = Board()
    assert board.note(text, scope, about) == fault
    assert not board.lore.all("job")


def test_there_are_notes_only_for_a_job_that_goes_on() -> None:
    desk = Desk()
    turn = desk.turn()
    desk.team.noted(turn, Noted(3, "job", "job", "", "x", 0))
    assert [reply.detail for reply in replies(turn)] == ["no job 'job' is going on here"]


def test_notes_survive_a_restart() -> None:
    board = Board()
    board.note("kept")
    board.restart()
    assert board.told("a") == ("kept",)


def test_a_note_under_another_node_s_name_counts_for_nothing() -> None:
    board = Board()
    assert board.told("a") == ()
    forged = codec.pack_value(FactNote(BOB, 1, Scope.JOB, "", "a lie", 0))
    board.store.write([(f"fact/job/{BOB}/1", forged)], 0)
    assert not board.lore.learn(f"fact/job/{BOB}/1")
    own = codec.pack_value(FactNote(NodeId("x"), 1, Scope.JOB, "", "a lie", 0))
    board.store.write([(f"fact/job/{SELF.node}/1", own)], 0)
    assert not board.lore.learn(f"fact/job/{SELF.node}/1")
    assert board.told("a") == ()
