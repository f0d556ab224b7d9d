"""What the log says is done once, the same everywhere, whatever is said twice, late or badly."""

from __future__ import annotations

from dataclasses import replace
from random import Random
from typing import Any

import pytest
from ledger_hand import ADA, BOB, CAT, Book, job, task
from team_hand import Desk, commands, replies

from protocol.facts import RequestRefused
from protocol.facts.work import (
    AnswerGiven,
    JobFinished,
    JobForgotten,
    JobRefused,
    JobSubmitted,
    ResultLate,
    TaskAbandoned,
    TaskAccepted,
    TaskClaimed,
    TaskFenced,
)
from protocol.identity import NOBODY
from protocol.jobs import (
    NO_USAGE,
    RESULT_SIZE_MAX,
    ClaimMode,
    Compare,
    File,
    Job,
    Quorum,
    Task,
    Usage,
    VerifyBy,
)
from protocol.ledger import (
    JOBS_MAX,
    LATE_MAX,
    AbandonTask,
    AcceptResult,
    ClaimTask,
    Command,
    FenceTask,
    JudgeAnswers,
    Ledger,
    MergeFile,
    SubmitJob,
    retention,
    why_anew,
)
from protocol.ledger_image import image_of, jobs_of
from protocol.messages.agreement import EntryKind, LogEntry

ALL_MODES = list(ClaimMode)
CHAIN = (task("a"), task("b", "a"))


def begun(book: Book, name: str, claims: ClaimMode) -> None:
    """Ada holds `name` under token 1, where the log gives out claims."""
    if claims is not ClaimMode.LEASE:
        book.claim(name, ADA)


# -- acceptance ---------------------------------------------------------------------------------


@pytest.mark.parametrize("claims", ALL_MODES)
def test_a_task_is_accepted_once(claims: ClaimMode) -> None:
    book = Book()
    book.submit(job(task("a"), task("z"), claims=claims))
    begun(book, "a", claims)
    (accepted,) = book.accept("a", ADA)
    assert isinstance(accepted, TaskAccepted)
    for node, token in ((ADA, 1), (ADA, 2), (BOB, 1), (BOB, 9)):
        facts = book.accept("a", node, token, text="other")
        assert not [fact for fact in facts if isinstance(fact, TaskAccepted)]
    answer = book.task("a").accepted
    assert answer is not None
    assert (answer.node, answer.token, answer.index) == (ADA, 1, accepted.index)


def test_the_same_result_proposed_again_is_nothing_new() -> None:
    book = Book()
    book.submit(job(*CHAIN))
    book.accept("a")
    assert book.accept("a") == []
    assert book.task("a").late == []


def test_a_late_result_is_kept_as_evidence() -> None:
    book = Book()
    book.submit(job(*CHAIN))
    book.accept("a", ADA)
    (late,) = book.accept("a", BOB, text="late")
    assert isinstance(late, ResultLate)
    assert [answer.text for answer in book.task("a").late] == ["late"]
    assert book.accept("a", BOB, text="late") == [], "told once"


def test_late_results_are_bounded() -> None:
    book = Book()
    book.submit(job(*CHAIN))
    book.accept("a")
    for token in range(2, LATE_MAX + 10):
        book.accept("a", BOB, token)
    assert len(book.task("a").late) == LATE_MAX


@pytest.mark.parametrize("claims", ALL_MODES)
def test_a_fenced_holder_is_not_accepted(claims: ClaimMode) -> None:
    book = Book()
    book.submit(job(task("a"), claims=claims))
    begun(book, "a", claims)
    assert book.say(FenceTask("job", "a", 0, 2)) == [TaskFenced("job", "a", 0, 2, len(book.log))]
    assert [type(fact) for fact in book.accept("a", ADA, token=1)] == [ResultLate]
    if claims is not ClaimMode.LEASE:
        assert book.claim("a", BOB, token=2) == [TaskClaimed("job", "a", 0, BOB, 2, len(book.log))]
    assert isinstance(book.accept("a", BOB, token=2)[0], TaskAccepted)


def test_a_fence_never_goes_down() -> None:
    book = Book()
    book.submit(job(task("a")))
    book.say(FenceTask("job", "a", 0, 5))
    assert book.say(FenceTask("job", "a", 0, 5)) == []
    assert book.say(FenceTask("job", "a", 0, 3)) == []
    assert book.task("a").slots[0].fence == 5


@pytest.mark.parametrize("claims", [mode for mode in ALL_MODES if mode is not ClaimMode.LEASE])
def test_only_the_holder_s_result_is_accepted(claims: ClaimMode) -> None:
    book = Book()
    book.submit(job(task("a"), claims=claims))
    book.claim("a", ADA)
    assert isinstance(book.accept("a", BOB, 1)[0], ResultLate)
    assert isinstance(book.accept("a", ADA, 2)[0], ResultLate)
    assert isinstance(book.accept("a", ADA, 1)[0], TaskAccepted)


@pytest.mark.parametrize("claims", ALL_MODES)
def test_nothing_is_accepted_before_what_it_needs(claims: ClaimMode) -> None:
    book = Book()
    book.submit(job(*CHAIN, claims=claims))
    begun(book, "b", claims)
    (refused,) = book.accept("b")
    assert isinstance(refused, RequestRefused)
    assert "needs" in refused.reason
    begun(book, "a", claims)
    book.accept("a")
    begun(book, "b", claims)
    assert isinstance(book.accept("b")[0], TaskAccepted)


def test_a_result_with_a_foreign_file_is_refused() -> None:
    book = Book()
    book.submit(job(task("a")))
    command = AcceptResult("job", "a", 0, ADA, 1, (File("other", b""),), "", Usage())
    assert "does not write" in str(book.say(command)[0])
    assert book.task("a").is_open


def test_a_result_over_the_size_limit_is_refused() -> None:
    book = Book()
    book.submit(job(task("a")))
    big = (File("a", bytes(RESULT_SIZE_MAX + 1)),)
    facts = book.say(AcceptResult("job", "a", 0, ADA, 1, big, "", Usage()))
    assert [type(fact) for fact in facts] == [RequestRefused]


# -- claims -------------------------------------------------------------------------------------


@pytest.mark.parametrize("claims", [ClaimMode.RAFT, ClaimMode.LEADER])
def test_of_two_claims_the_first_in_the_log_stands(claims: ClaimMode) -> None:
    book = Book()
    book.submit(job(*CHAIN, claims=claims))
    assert book.claim("a", ADA) == [TaskClaimed("job", "a", 0, ADA, 1, 2)]
    assert book.claim("a", BOB) == []
    assert book.claim("a", BOB, token=2) == []
    assert book.claim("b", BOB) == [], "not ready"
    assert book.task("a").slots[0].holder == ADA


def test_lease_claims_are_no_business_of_the_log() -> None:
    book = Book()
    book.submit(job(task("a")))
    assert book.claim("a", ADA) == []


def test_an_assigned_job_is_given_out_with_its_submission() -> None:
    book = Book()
    facts = book.submit(job(*CHAIN, claims=ClaimMode.ASSIGNED), (("a", 0, ADA), ("b", 0, BOB)))
    assert facts == [
        JobSubmitted("job", 1, 2),
        TaskClaimed("job", "a", 0, ADA, 1, 1),
        TaskClaimed("job", "b", 0, BOB, 1, 1),
    ]


def test_an_assignment_means_nothing_in_other_modes() -> None:
    book = Book()
    assert len(book.submit(job(*CHAIN, claims=ClaimMode.RAFT), (("a", 0, ADA),))) == 1
    assert book.task("a").slots[0].holder == NOBODY


# -- quorum -------------------------------------------------------------------------------------

THREE = Quorum(of=3, agree=2)


def test_of_ready_tasks_the_one_with_the_heaviest_chain_behind_it_comes_first() -> None:
    book = Book()
    book.submit(job(task("a"), task("b", "a"), task("alone", weight=2.5), task("long", weight=1.5)))
    assert [unit[1] for _, _, unit in book.state.ready_units()] == ["alone", "a", "long"]


def test_a_quorum_accepts_when_enough_answers_agree() -> None:
    book = Book()
    book.submit(job(task("a", quorum=THREE)))
    assert book.accept("a", ADA, slot=0, text="no") == [AnswerGiven("job", "a", 0, ADA, 1, 2)]
    assert book.accept("a", BOB, slot=1, text="yes") == [AnswerGiven("job", "a", 1, BOB, 1, 3)]
    given, accepted, finished = book.accept("a", CAT, slot=2, text="yes")
    assert given == AnswerGiven("job", "a", 2, CAT, 1, 4), "of the one that decides as well"
    assert isinstance(accepted, TaskAccepted)
    assert isinstance(finished, JobFinished)
    answer = book.task("a").accepted
    assert answer is not None
    assert (answer.text, answer.node) == ("yes", BOB)


def test_a_quorum_does_not_wait_for_the_last_answer() -> None:
    book = Book()
    book.submit(job(task("a", quorum=THREE)))
    book.accept("a", ADA, slot=0)
    assert isinstance(book.accept("a", BOB, slot=1)[1], TaskAccepted)
    assert isinstance(book.accept("a", CAT, slot=2)[0], ResultLate)


def test_a_quorum_that_cannot_agree_is_abandoned() -> None:
    book = Book()
    book.submit(job(task("a", quorum=THREE)))
    for slot, node in enumerate((ADA, BOB)):
        book.accept("a", node, slot=slot, text=node)
    given, abandoned, finished = book.accept("a", CAT, slot=2, text=CAT)
    assert given == AnswerGiven("job", "a", 2, CAT, 1, 4)
    assert isinstance(abandoned, TaskAbandoned)
    assert "at most 1 of them agree" in abandoned.reason
    assert isinstance(finished, JobFinished)
    assert not finished.succeeded


def test_one_slot_counts_once() -> None:
    book = Book()
    book.submit(job(task("a", quorum=THREE)))
    book.accept("a", ADA, slot=0)
    facts = book.accept("a", BOB, slot=0)
    assert [type(fact) for fact in facts] == [ResultLate]
    assert book.task("a").accepted is None


# -- abandoning and finishing -------------------------------------------------------------------


def test_an_abandoned_task_blocks_what_needs_it_and_nothing_else() -> None:
    book = Book()
    book.submit(job(task("a"), task("b", "a"), task("c", "b"), task("d")))
    (abandoned,) = book.say(AbandonTask("job", "a", "five attempts failed"))
    assert abandoned == TaskAbandoned("job", "a", "five attempts failed", 2)
    assert not book.state.is_finished, "d can still be done"
    accepted, finished = book.accept("d")
    assert isinstance(accepted, TaskAccepted)
    assert isinstance(finished, JobFinished)
    assert not finished.succeeded
    assert [file.path for file in book.state.files()] == ["d"], "what was accepted is kept"


def test_an_accepted_task_cannot_be_abandoned() -> None:
    book = Book()
    book.submit(job(*CHAIN))
    book.accept("a")
    assert book.say(AbandonTask("job", "a", "why not")) == []


def test_a_result_of_an_abandoned_task_is_late() -> None:
    book = Book()
    book.submit(job(*CHAIN))
    book.say(AbandonTask("job", "a", ""))
    assert book.task("a").abandoned == "no reason given"
    assert isinstance(book.accept("a")[0], ResultLate)


def test_a_job_is_finished_when_all_is_accepted() -> None:
    book = Book()
    book.submit(job(*CHAIN))
    book.accept("a", usage=Usage(1, 10, 5))
    _, finished = book.accept("b", BOB, usage=Usage(1, 1, 1))
    assert isinstance(finished, JobFinished)
    assert (finished.succeeded, finished.index) == (True, 3)
    assert book.state.usage() == Usage(2, 11, 6)
    assert book.ledger.active() == []


def test_the_outcome_tells_results_apart() -> None:
    outcomes = set()
    for text in ("one", "two"):
        book = Book()
        book.submit(job(task("a")))
        book.accept("a", text=text)
        outcomes.add(book.state.outcome)
    assert len(outcomes) == 2


def test_of_two_writers_of_one_file_the_later_in_graph_order_stands() -> None:
    first = replace(task("a"), writes=("f",))
    second = replace(task("b", "a"), writes=("f",))
    book = Book()
    book.submit(job(first, second))
    for name in "ab":
        files = (File("f", name.encode()),)
        book.say(AcceptResult("job", name, 0, ADA, 1, files, "", Usage()))
    assert book.state.files() == [File("f", b"b")]


# -- what may go wrong ---------------------------------------------------------------------------


def test_a_repeated_submission_is_nothing_new() -> None:
    book = Book()
    book.submit(job(*CHAIN))
    book.accept("a")
    assert book.submit(job(*CHAIN)) == []
    assert book.task("a").accepted is not None


def test_an_invalid_job_in_the_log_is_refused_everywhere() -> None:
    book = Book()
    (refused,) = book.submit(job(task("a", "b"), task("b", "a")))
    assert isinstance(refused, JobRefused)
    assert "cycle" in refused.reason
    assert book.ledger.jobs == {}


def test_what_python_s_version_decides_does_not_decide_in_the_ledger() -> None:
    """Found in a review: one node refused the job, and another began it."""
    book = Book()
    new = replace(task("a"), writes=("\U0001fae8", "\u0378"))  # known since Unicode 15; to nobody
    folding = replace(task("b"), writes=("Straße", "STRASSE"))
    book.submit(job(new, folding))
    assert list(book.ledger.jobs) == ["job"]
    desk = Desk()
    (reply,) = replies(desk.submit(job(folding)))
    assert reply.error == "InvalidJob", "it decides at the door"
    assert not commands(desk.submit(job(folding)))


def test_the_number_of_jobs_that_go_on_is_bounded() -> None:
    book = Book()
    for number in range(JOBS_MAX):
        book.submit(job(task("a"), name=f"job-{number}"))
    (refused,) = book.submit(job(task("a"), name="one-more"))
    assert isinstance(refused, JobRefused)


def end(book: Book, name: str, text: str = "") -> None:
    """Take a job on, and end it."""
    book.submit(job(task("a"), name=name))
    book.say(AcceptResult(name, "a", 0, ADA, 1, (File("a", b""),), text, NO_USAGE))
    assert book.ledger.jobs[name].is_finished


def test_a_new_job_takes_the_place_of_what_ended_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "JOBS_MAX", 3)
    book = Book()
    book.submit(job(task("a"), name="goes-on"))
    end(book, "first")
    end(book, "second")
    facts = book.submit(job(task("a"), name="new"))
    assert [fact.job for fact in facts if isinstance(fact, JobForgotten)] == ["first"]
    assert list(book.ledger.jobs) == ["goes-on", "second", "new"]
    assert book.say(AcceptResult("first", "a", 0, BOB, 2, (), "late", NO_USAGE)) == []
    assert jobs_of(image_of(book.ledger)) == list(book.ledger.jobs.values())


def test_what_is_large_goes_before_there_are_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "SIZE_MAX", 250)
    book = Book()
    for name in ("first", "second", "third"):
        end(book, name, text="x" * 100)
    assert list(book.ledger.jobs) == ["first", "second", "third"], "only a new one asks for room"
    end(book, "fourth")
    assert list(book.ledger.jobs) == ["second", "third", "fourth"]


def test_what_is_gone_on_with_is_carried_over_before_it_goes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(retention, "JOBS_MAX", 1)
    book = Book()
    end(book, "first")
    facts = book.submit(replace(job(task("a"), name="again"), resumes="first"))
    assert [type(fact) for fact in facts] == [
        *(JobSubmitted, TaskAccepted, JobFinished, JobForgotten)
    ]
    assert book.ledger.jobs["again"].succeeded


@pytest.mark.parametrize("data", [b"", b"garbage", b"\x91\x92\x09\x90", b"\xc1"])
def test_garbage_in_the_log_is_refused_and_counted(data: bytes) -> None:
    book = Book()
    assert [type(fact) for fact in book.say(data)] == [RequestRefused]
    assert book.ledger.applied == 1


UNKNOWN: list[Command] = [
    ClaimTask("nojob", "a", 0, ADA, 1),
    ClaimTask("job", "notask", 0, ADA, 1),
    FenceTask("job", "a", 7, 1),
    AcceptResult("job", "a", 7, ADA, 1, (), "", Usage()),
    AbandonTask("job", "notask", ""),
]


@pytest.mark.parametrize("command", UNKNOWN, ids=lambda command: type(command).__name__)
def test_a_command_about_what_does_not_exist_changes_nothing(command: Command) -> None:
    book = Book()
    book.submit(job(*CHAIN))
    assert book.say(command) == []


def test_a_hole_in_the_log_is_a_bug() -> None:
    with pytest.raises(AssertionError, match="in order"):
        Ledger().apply(LogEntry(2, 1, EntryKind.NOOP, b""))


@pytest.mark.parametrize("seed", range(25))
def test_equal_logs_make_equal_ledgers_and_keep_the_invariants(seed: int) -> None:
    random = Random(seed)
    book = Book()
    tasks = (task("a"), task("b", "a", quorum=THREE), task("c"), task("d", "b", "c"))
    book.submit(job(*tasks, claims=random.choice(ALL_MODES)))
    accepted: list[str] = []
    fences: dict[tuple[str, int], int] = {}
    for _ in range(150):
        facts = book.say(_random_command(random))
        accepted += [fact.task for fact in facts if isinstance(fact, TaskAccepted)]
        for name, state in book.state.tasks.items():
            for number, slot in enumerate(state.slots):
                assert slot.fence >= fences.get((name, number), 0)
                fences[name, number] = slot.fence
            if state.accepted:
                assert all(book.task(need).accepted for need in state.task.needs)
    assert len(accepted) == len(set(accepted))
    again = Ledger()
    for entry in book.log:
        again.apply(entry)
    assert again.jobs == book.ledger.jobs


def _random_command(random: Random) -> Command:
    name, slot = random.choice("abcd"), random.randrange(3)
    node, token = random.choice((ADA, BOB, CAT)), random.randrange(1, 4)
    match random.randrange(8):
        case 0:
            return FenceTask("job", name, slot, token)
        case 1 | 2 | 3:
            return ClaimTask("job", name, slot, node, token)
        case 4 if random.random() < 0.1:
            return AbandonTask("job", name, "a drawn reason")
        case 5:
            return SubmitJob(job(task("a")), ())
        case _:
            files = (File(name, random.choice((b"x", b"y"))),)
            return AcceptResult("job", name, slot, node, token, files, "", Usage())


# -- resuming -----------------------------------------------------------------------------------


def resumed(*tasks: Task, name: str = "again") -> Job:
    return replace(job(*tasks, name=name), resumes="job")


def test_a_job_that_resumes_another_takes_over_what_was_accepted() -> None:
    book = Book()
    book.submit(job(task("a"), task("b", "a"), task("c")))
    book.accept("a", usage=Usage(1, 10, 5))
    book.accept("b")
    facts = book.submit(resumed(task("a"), task("b", "a"), task("c")))
    assert [fact.task for fact in facts if isinstance(fact, TaskAccepted)] == ["a", "b"]
    again = book.ledger.jobs["again"]
    assert again.files() == book.state.files()
    assert again.spent() == Usage(), "the earlier job has paid for it"
    assert [state.task.id for state, _, _ in again.ready_units()] == ["c"]


def test_what_has_changed_is_done_anew_with_all_that_needs_it() -> None:
    book = Book()
    book.submit(job(task("a"), task("b", "a"), task("c")))
    for name in "abc":
        book.accept(name)
    changed = replace(task("a"), prompt="make it otherwise")
    book.submit(resumed(changed, task("b", "a"), task("c")))
    again = book.ledger.jobs["again"]
    assert {name for name, state in again.tasks.items() if state.accepted} == {"c"}
    other_files = replace(resumed(task("c"), name="third"), files=(File("test_c.py", b""),))
    book.submit(other_files)
    assert book.ledger.jobs["third"].tasks["c"].accepted is None


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"prompt": "otherwise"}, "changed: prompt"),
        ({"verify": "true", "writes": ("a", "x")}, "changed: list of files, check"),
        ({"title": "Otherwise"}, "changed: title"),
        ({"agent": "command", "program": "seq 9"}, "changed: agent, program"),
        ({"quorum": Quorum(3, 2)}, "changed: quorum"),
        ({"verify": "true", "verify_by": VerifyBy.OTHER}, "changed: check, verify_by"),
        ({"weight": 3.0, "timeout_s": 9.0, "attempts_max": 9}, ""),
    ],
)
def test_what_makes_a_task_another_is_told(change: dict[str, Any], why: str) -> None:
    book = Book()
    book.submit(job(task("a"), task("b", "a"), task("c", "b"), task("d")))
    for name in "abc":
        book.accept(name)
    book.say(AbandonTask("job", "d", "it cannot be done"))
    changed = replace(task("a"), **change)
    book.submit(resumed(changed, task("b", "a"), task("c", "b"), task("d"), task("e")))
    again = book.ledger.jobs["again"]
    reasons = why_anew(again, book.state)
    assert reasons == {
        "a": why,
        "b": "it builds on a, which is done anew" if why else "",
        "c": "it builds on b, which is done anew" if why else "",
        "d": "it was given up: it cannot be done",
        "e": "it is new",
    }
    for name, reason in reasons.items():
        assert (again.tasks[name].accepted is not None) is (reason == "")


def test_another_judge_judges_anew() -> None:
    asked = replace(task("a"), quorum=Quorum(3, 2, Compare.JUDGE))
    book = Book()
    book.submit(replace(job(asked, task("b")), judge_program="lenient"))
    for slot, node in enumerate((ADA, BOB, CAT)):
        book.accept("a", node, 1, slot=slot, text=node)
    book.say(JudgeAnswers("job", "a", ADA, (0, 0, 2)))
    book.accept("b")
    book.submit(replace(resumed(asked, task("b")), judge_program="strict"))
    again = book.ledger.jobs["again"]
    assert why_anew(again, book.state) == {"a": "changed: judge", "b": ""}
    assert again.tasks["a"].accepted is None


def test_another_merge_program_merges_anew() -> None:
    """And what was built on the merge is done anew; what was merged without it stays."""
    tasks = [
        *(replace(task(name), writes=("f",)) for name in "xy"),
        task("z", "x", "y"),
        task("apart"),
    ]
    book = Book()
    book.submit(replace(job(*tasks), merge_program="bad"))
    for name, content in (("x", b"1"), ("y", b"2")):
        book.say(AcceptResult("job", name, 0, ADA, 1, (File("f", content),), "", NO_USAGE))
    siblings = ("f", ("x", "y"))
    book.say(MergeFile("job", *siblings, ADA, True, b"garbage", ""))
    book.accept("z")
    book.accept("apart")
    book.submit(replace(resumed(*tasks), merge_program="bad"))
    assert siblings in book.ledger.jobs["again"].merges
    book.submit(replace(resumed(*tasks, name="third"), merge_program="good"))
    third = book.ledger.jobs["third"]
    why = "it builds on f, which is merged anew"
    assert why_anew(third, book.state) == {"x": "", "y": "", "z": why, "apart": ""}
    assert third.merges == {}
    assert third.merges_due() == [siblings]


def test_words_of_a_model_s_prompt_are_no_words_of_a_program_s() -> None:
    program = replace(task("a"), agent="command", program="seq 9")
    book = Book()
    person = replace(task("c"), agent="human")
    book.submit(job(program, task("b"), person))
    for name in "abc":
        book.accept(name)
    changed = resumed(replace(program, title="Nine"), task("b"), person)
    book.submit(replace(changed, description="Count."))
    reasons = why_anew(book.ledger.jobs["again"], book.state)
    of_job = "changed: the job's description"
    assert reasons == {"a": "", "b": of_job, "c": of_job}


def test_a_file_of_the_job_that_has_changed_is_named() -> None:
    book = Book()
    book.submit(replace(job(task("a")), files=(File("x", b"1"), File("y", b"1"))))
    book.accept("a")
    moved = (File("y", b"1"), File("x", b"1"))
    book.submit(replace(resumed(task("a")), files=moved))
    assert why_anew(book.ledger.jobs["again"], book.state) == {"a": ""}
    other = replace(resumed(task("a"), name="third"), files=(File("x", b"1"), File("y", b"2")))
    book.submit(other)
    assert why_anew(book.ledger.jobs["third"], book.state) == {"a": "changed: the job's file y"}


def test_a_job_of_which_nothing_is_left_to_do_is_finished_at_once() -> None:
    book = Book()
    book.submit(job(task("a")))
    book.accept("a")
    finished = book.submit(resumed(task("a")))[-1]
    assert isinstance(finished, JobFinished)
    assert finished.succeeded
    assert finished.outcome == book.state.outcome


def test_to_resume_what_is_not_there_is_to_begin() -> None:
    book = Book()
    facts = book.submit(resumed(task("a")))
    assert [type(fact) for fact in facts] == [JobSubmitted]


def test_what_is_ready_is_the_same_kept_up_as_looked_for_anew() -> None:
    """Tasks end in any order, now and then several before anybody looks."""
    for seed in range(20):
        random = Random(seed)
        tasks = []
        for number in range(30):
            needs = {f"t{random.randrange(number)}" for _ in range(random.randrange(3)) if number}
            quorum = random.choice((Quorum(), Quorum(2, 1)))
            tasks.append(task(f"t{number}", *sorted(needs), quorum=quorum))
        book = Book()
        book.submit(job(*tasks))
        while (ready := book.state.ready_units()) and not book.state.is_finished:
            for _, _, unit in random.sample(ready, min(len(ready), 2)):
                if random.random() < 0.1:
                    book.say(AbandonTask("job", unit[1], "no"))
                else:
                    book.accept(unit[1], slot=unit[2])
            if random.random() < 0.5:
                kept = book.state.ready_units()
                book.state.moved()
                assert kept == book.state.ready_units()
        assert book.state.is_finished
