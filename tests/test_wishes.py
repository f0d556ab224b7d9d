"""Wishes: repeated until they show, never for ever, and every client is answered."""

from __future__ import annotations

import pytest
from ledger_hand import ADA, Book, job, task

from protocol.clocks import SECOND, Alarm
from protocol.codec import ENTRY_SIZE_MAX
from protocol.config import TeamConfig
from protocol.effects import Reply
from protocol.identity import NodeId
from protocol.jobs import NO_USAGE, ClaimMode, File, Job, Quorum, Task
from protocol.ledger import LATE_MAX, AcceptResult, FenceTask, SubmitJob
from protocol.team.wishes import Wishes
from protocol.turn import Turn

CONFIG = TeamConfig()


def wishes_of(book: Book) -> Wishes:
    return Wishes(CONFIG, book.ledger, Alarm())


def result_of(node: NodeId, slot: int = 0, token: int = 1, name: str = "a") -> AcceptResult:
    return AcceptResult("job", name, slot, node, token, (File(name, b"good"),), "good", NO_USAGE)


def pursue(wishes: Wishes, book: Book, now: int) -> int:
    """Propose what is due, and commit it at once: how many entries that were."""
    turn = Turn(now, now, 1)
    wishes.pursue(turn)
    for _, command in turn.proposals:
        book.say(command)
    return len(turn.proposals)


def replies(turn: Turn) -> list[tuple[int, str]]:
    return [(item.request, item.error) for item in turn.before if isinstance(item, Reply)]


def test_a_late_result_of_one_slot_does_not_stand_for_another() -> None:
    """The node's attempts at both slots have the same token."""
    book = Book()
    book.submit(job(task("a", quorum=Quorum(3, 2))))
    book.say(FenceTask("job", "a", 0, 2))
    book.accept("a", ADA, token=1, slot=0)
    assert [late.slot for late in book.task("a").late] == [0]
    wishes = wishes_of(book)
    wishes.accept(0, ("job", "a", 1), result_of(ADA, slot=1))
    assert pursue(wishes, book, 0) == 1
    assert book.task("a").slots[1].answer is not None


def test_late_results_beyond_what_is_kept_are_not_proposed() -> None:
    book = Book()
    book.submit(job(task("a"), task("b")))
    for number in range(LATE_MAX + 1):
        book.accept("a", NodeId(f"n{number}"))
    wishes = wishes_of(book)
    wishes.accept(0, ("job", "a", 0), result_of(NodeId("last")))
    assert pursue(wishes, book, 0) == 0
    assert len(wishes) == 0


def test_a_late_result_is_recorded_after_the_job_s_end_too() -> None:
    book = Book()
    book.submit(job(task("a")))
    book.accept("a", ADA)
    assert book.state.is_finished
    wishes = wishes_of(book)
    wishes.accept(0, ("job", "a", 0), result_of(NodeId("zombie")))
    assert pursue(wishes, book, 0) == 1
    assert [late.node for late in book.task("a").late] == ["zombie"]
    assert pursue(wishes, book, 60 * SECOND) == 0


def test_proposals_become_rarer_until_there_is_a_new_leader() -> None:
    book = Book()
    book.submit(job(task("a")))
    wishes = wishes_of(book)
    wishes.fence(0, ("job", "a", 0), 5)
    proposed = 0
    for tenth in range(600):  # a minute without a leader
        turn = Turn(tenth * SECOND // 10, 0, 1)
        wishes.pursue(turn)
        proposed += len(turn.proposals)
    assert 8 <= proposed <= 12
    wishes.hasten(60 * SECOND)
    assert pursue(wishes, book, 60 * SECOND) == 1


def test_of_two_jobs_with_one_id_only_one_client_is_told_success() -> None:
    book = Book()
    wishes = wishes_of(book)
    mine = job(task("mine"))
    wishes.submit(Turn(0, 0, 1), SubmitJob(mine, ()), 7)
    book.submit(job(task("another")))
    turn = Turn(0, 0, 1)
    wishes.submitted(turn, "job")
    assert replies(turn) == [(7, "InvalidJob")]


def test_a_client_that_repeats_its_request_is_answered_twice() -> None:
    book = Book()
    wishes = wishes_of(book)
    turn = Turn(0, 0, 1)
    wishes.submit(turn, SubmitJob(job(task("a")), (), 10), 7)
    wishes.submit(turn, SubmitJob(job(task("a")), (), 99), 8)
    wishes.submit(turn, SubmitJob(job(task("other")), ()), 9)
    assert replies(turn) == [(9, "Busy")]
    assert len(wishes) == 1
    assert pursue(wishes, book, 0) == 1
    turn = Turn(0, 0, 1)
    wishes.submitted(turn, "job")
    assert replies(turn) == [(7, ""), (8, "")]


@pytest.mark.parametrize("claims", [ClaimMode.ASSIGNED, ClaimMode.LEASE])
def test_a_job_that_fits_no_log_entry_is_refused(claims: ClaimMode) -> None:
    """It would make the leader send what no frame takes."""
    tasks = tuple(Task(f"{'x' * 80}-{n:05}", "x", quorum=Quorum(16, 1)) for n in range(7_000))
    many = Job("job", "job", tasks, claims=claims)
    nodes = [NodeId("n" * 16)] * 16
    assignment = tuple((t.id, s, nodes[s]) for t in tasks for s in range(16))
    wishes, turn = wishes_of(Book()), Turn(0, 0, 1)
    wishes.submit(turn, SubmitJob(many, assignment if claims is ClaimMode.ASSIGNED else ()), 7)
    refused = claims is ClaimMode.ASSIGNED
    assert replies(turn) == ([(7, "InvalidJob")] if refused else [])
    assert len(wishes) == (0 if refused else 1)
    assert all(len(wish.encoded) <= ENTRY_SIZE_MAX for wish in wishes._wishes.values())


def test_a_wish_that_was_not_heard_is_repeated_sooner_once_the_log_goes_on() -> None:
    """Who waits ever longer for a majority would be the last to be heard by it (seed 8888)."""
    book = Book()
    book.submit(job(task("a")))
    wishes = wishes_of(book)
    wishes.accept(0, ("job", "a", 0), result_of(ADA))
    now, proposed = 0, []
    while now < 60 * SECOND:
        turn = Turn(now, now, 1)
        wishes.pursue(turn)
        proposed += [now] * len(turn.proposals)
        now += CONFIG.propose_retry_ns
    assert proposed[-1] - proposed[-2] == CONFIG.propose_retry_ns << 4
    wishes.moved(now)
    turn = Turn(now + (CONFIG.propose_retry_ns << 2), 0, 1)
    wishes.pursue(turn)
    assert len(turn.proposals) == 1
