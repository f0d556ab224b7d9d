"""Another node's word: results checked again elsewhere, and answers that a model judges."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from ledger_hand import ADA, BOB, CAT, Book, job, task
from small_world import Scripted, SmallWorld

from protocol.clocks import SECOND, Nanoseconds
from protocol.effects import Assignment, Purpose
from protocol.errors import InvalidJob
from protocol.events import AgentFailed, Completed, Failure
from protocol.facts import Fact
from protocol.facts.work import (
    AnswerGiven,
    AnswersJudged,
    JobFinished,
    ResultLate,
    ResultProposed,
    ResultReviewed,
    TaskAbandoned,
    TaskAccepted,
    TaskStarted,
)
from protocol.identity import NOBODY, NodeId
from protocol.job_rules import validate
from protocol.jobs import (
    NO_USAGE,
    ClaimMode,
    Compare,
    File,
    Quorum,
    Task,
    Usage,
    VerifyBy,
    likeness_of,
)
from protocol.ledger import AcceptResult, JudgeAnswers, ReviewResult
from protocol.ledger_image import image_of, jobs_of
from protocol.team.pieces import VersionsToMerge, reason_of

ALL_MODES = list(ClaimMode)
JUDGED = Quorum(3, 2, Compare.JUDGE)
UNJUDGED = "3 answers, but at most 1 of them agree as they stand, and no judge could say which do"


def checked(name: str, *needs: str, attempts_max: int = 5) -> Task:
    plain = task(name, *needs, attempts_max=attempts_max)
    return replace(plain, verify="true", verify_by=VerifyBy.OTHER)


class Agents:
    """Work of the nodes in `liars` is wrong, which every check finds out; `silent` ones never end a
    check. A judge groups answers by their first letter."""

    def __init__(self, liars: tuple[NodeId, ...] = (), tries: int = 100) -> None:
        self.liars = set(liars)
        self.given: list[Assignment] = []
        self.wrong_for = tries

    def __call__(self, assignment: Assignment) -> tuple[Nanoseconds, Completed | AgentFailed]:
        self.given.append(assignment)
        if assignment.purpose is Purpose.WORK:
            self.wrong_for -= 1
            content = b"wrong" if self.wrong_for >= 0 else b"right"
            files = tuple(File(path, content) for path in assignment.task.writes)
            return SECOND, Completed(0, files, "", NO_USAGE)
        if assignment.purpose is Purpose.JUDGE:
            letters = [proposal.text[:1] for proposal in assignment.proposals]
            groups = " ".join(str(letters.index(letter)) for letter in letters)
            return SECOND, Completed(0, (), groups, Usage(1, 7, 3))
        (proposal,) = assignment.proposals
        if any(file.content == b"wrong" for file in proposal.files):
            return SECOND // 10, AgentFailed(0, Failure.VERIFY, "a test fails", (), NO_USAGE)
        return SECOND // 10, Completed(0, (), "", NO_USAGE)


def reviews(world: SmallWorld) -> list[ResultReviewed]:
    return sorted(
        {fact for _, _, fact in world.diary.of(ResultReviewed)}, key=lambda fact: fact.index
    )


# -- in the simulated team -------------------------------------------------------------------------


@pytest.mark.parametrize("claims", ALL_MODES)
def test_a_result_is_accepted_once_another_node_has_checked_it(claims: ClaimMode) -> None:
    world = SmallWorld(3, Agents(tries=0))
    world.do(job(checked("a"), checked("b", "a"), claims=claims))
    found = reviews(world)
    assert [fact.task for fact in found] == ["a", "b"]
    assert all(fact.reviewer != fact.node and not fact.fault for fact in found)
    peer = world.hosts[0].peer
    assert peer is not None
    accepted = peer.ledger.jobs["job"].tasks["a"].accepted
    assert accepted is not None
    assert accepted.reviewer == found[0].reviewer


@pytest.mark.parametrize("claims", ALL_MODES)
def test_what_is_wrong_is_done_again_by_somebody_else(claims: ClaimMode) -> None:
    world = SmallWorld(3, Agents(tries=1))
    world.do(job(checked("a"), claims=claims))
    first, second = reviews(world)
    assert (first.fault, second.fault) == ("a test fails", "")
    assert first.node != second.node
    for host in world.hosts:
        assert host.peer is not None
        state = host.peer.ledger.jobs["job"].tasks["a"]
        assert [answer.fault for answer in state.refuted()] == ["a test fails"]
        assert state.accepted is not None
        assert state.accepted.files == (File("a", b"right"),)


@pytest.mark.parametrize("claims", ALL_MODES)
def test_who_alone_was_never_wrong_gives_all_answers(claims: ClaimMode) -> None:
    """Those who were wrong leave the task to the others, and who has answered once does, too:
    nobody may be left over (seed 831)."""
    world = SmallWorld(3, Agents(tries=2))
    world.do(job(replace(checked("a"), quorum=Quorum(3, 2, Compare.EXACT)), claims=claims))
    assert [fact.fault for fact in reviews(world)].count("a test fails") == 2
    assert world.diary.of(TaskAccepted)


@pytest.mark.parametrize("claims", ALL_MODES)
def test_a_task_that_is_always_wrong_is_given_up(claims: ClaimMode) -> None:
    world = SmallWorld(3, Agents())
    world.do(job(checked("a", attempts_max=4), claims=claims))
    (abandoned,) = {fact.reason for _, _, fact in world.diary.of(TaskAbandoned)}
    assert abandoned == "4 results were wrong, the last: a test fails"
    assert not world.diary.of(TaskAccepted)


def test_who_is_left_alone_waits_for_a_witness() -> None:
    world = SmallWorld(3, Agents(tries=0))
    for host in world.hosts[1:]:
        host.crash("killed")
    world.submit(job(checked("a")))
    assert not world.run(20 * SECOND, lambda: bool(world.diary.of(TaskAccepted)))
    for host in world.hosts[1:]:
        host.start_again()
    assert world.run(60 * SECOND, world.is_finished)
    assert len(reviews(world)) == 1


def test_a_reviewer_that_hangs_is_followed_by_the_next() -> None:
    hung: list[Assignment] = []
    agents = Agents(tries=0)

    def script(assignment: Assignment) -> tuple[Nanoseconds, Completed | AgentFailed]:
        if assignment.purpose is Purpose.REVIEW and not hung:
            hung.append(assignment)
            return 3_600 * SECOND, AgentFailed(0, Failure.TIMEOUT, "", (), NO_USAGE)
        return agents(assignment)

    world = SmallWorld(4, script)
    world.do(job(checked("a")))
    begun = min(at for at, _, _ in world.diary.of(TaskStarted))
    assert min(at for at, _, _ in world.diary.of(TaskAccepted)) - begun < 5 * SECOND


def test_a_check_that_could_not_be_run_is_run_again() -> None:
    """There may be nobody else who could (two nodes, one of which made the result)."""
    tries: list[Assignment] = []

    def script(assignment: Assignment) -> tuple[Nanoseconds, Completed | AgentFailed]:
        if assignment.purpose is not Purpose.REVIEW:
            return SECOND, Completed(0, (), "done", NO_USAGE)
        tries.append(assignment)
        if len(tries) < 3:
            return SECOND // 10, AgentFailed(0, Failure.AGENT, "the disk is full", (), NO_USAGE)
        return SECOND // 10, Completed(0, (), "", NO_USAGE)

    world = SmallWorld(2, script)
    world.do(job(replace(checked("a"), writes=())))
    assert len(tries) == 3
    assert world.diary.of(TaskAccepted)


def unable(reason: Failure) -> Callable[[Assignment], tuple[Nanoseconds, Completed | AgentFailed]]:
    """A node on which this becomes of every check."""

    def script(assignment: Assignment) -> tuple[Nanoseconds, Completed | AgentFailed]:
        if assignment.purpose is Purpose.WORK and reason is not Failure.NO_CHECK:
            files = tuple(File(path, b"right") for path in assignment.task.writes)
            return SECOND, Completed(0, files, "", NO_USAGE)
        return SECOND // 10, AgentFailed(0, reason, "it is not here", (), NO_USAGE)

    return script


@pytest.mark.parametrize("reason", [Failure.NO_CHECK, Failure.TIMEOUT, Failure.AGENT])
@pytest.mark.parametrize("claims", ALL_MODES)
def test_who_cannot_run_a_check_has_no_word(claims: ClaimMode, reason: Failure) -> None:
    """And the next node is asked."""
    world = SmallWorld(3, Agents(tries=0))
    world.hosts[-1].agents = Scripted(unable(reason))
    tasks = [checked(f"t{number}", attempts_max=2) for number in range(6)]
    world.do(job(*tasks, claims=claims))
    assert all(fact.succeeded for _, _, fact in world.diary.of(JobFinished))
    assert [fact.fault for fact in reviews(world)] == [""] * len(tasks)
    peer = world.hosts[-1].peer
    assert peer is not None
    assert peer.node not in {fact.reviewer for fact in reviews(world)}
    agents = world.hosts[-1].agents
    assert isinstance(agents, Scripted)
    tried = [each.task.id for each in agents.given if each.purpose is Purpose.REVIEW]
    assert tried, "it finds out by trying"
    if reason is Failure.NO_CHECK:
        all_tried = [each.task.id for each in agents.given]
        assert len(all_tried) == len(set(all_tried)), "and tries each task once"


@pytest.mark.parametrize("claims", ALL_MODES)
def test_what_nobody_else_can_check_is_given_up_with_that_reason(claims: ClaimMode) -> None:
    world = SmallWorld(3, unable(Failure.NO_CHECK))
    world.hosts[-1].agents = Scripted(Agents(tries=0))
    world.do(job(checked("a", attempts_max=2), claims=claims))
    (reason,) = {fact.reason for _, _, fact in world.diary.of(TaskAbandoned)}
    assert reason == "no other node can check it: it is not here"
    assert reviews(world) == [], "the result has nothing to do with it"


@pytest.mark.parametrize("reason", [Failure.TIMEOUT, Failure.AGENT])
def test_a_result_whose_check_comes_to_no_end_anywhere_holds_nothing_up(reason: Failure) -> None:
    """It may be the result's own doing."""
    agents = Agents(tries=0)

    def script(assignment: Assignment) -> tuple[Nanoseconds, Completed | AgentFailed]:
        if assignment.purpose is Purpose.REVIEW and len(agents.given) < 8:
            agents.given.append(assignment)
            return SECOND, AgentFailed(0, reason, "it did not end", (), NO_USAGE)
        return agents(assignment)

    world = SmallWorld(4, script)
    world.do(job(checked("a", attempts_max=4)))
    first, second = reviews(world)
    why = f"its check came to no end at any other node, {reason.value}: it did not end"
    assert (first.fault, second.fault) == (why, "")
    assert first.node not in (first.reviewer, second.node)
    assert len(agents.given) <= 1 + 2 * 4, "so many tries, and not more than begin at once"


def test_the_program_of_a_job_says_which_answers_agree() -> None:
    agents = Agents()
    world = SmallWorld(3, agents)
    question = Task("a", "which?", agent="command", program="echo x", quorum=JUDGED)
    world.do(replace(job(question), judge_program="sh judge.sh"))
    (judge,) = [each for each in agents.given if each.purpose is Purpose.JUDGE]
    assert (judge.task.agent, judge.task.program) == ("command", "sh judge.sh")
    (judged,) = {fact for _, _, fact in world.diary.of(AnswersJudged)}
    assert judged.judge != NOBODY
    assert all(fact.succeeded for _, _, fact in world.diary.of(JobFinished))


@pytest.mark.parametrize("claims", ALL_MODES)
def test_a_model_says_which_answers_agree(claims: ClaimMode) -> None:
    texts = iter(["Paris, of course", "Lyon", "PARIS (France)"])
    agents = Agents()

    def script(assignment: Assignment) -> tuple[Nanoseconds, Completed | AgentFailed]:
        if assignment.purpose is Purpose.WORK:
            return SECOND, Completed(0, (), next(texts), NO_USAGE)
        return agents(assignment)

    world = SmallWorld(3, script)
    question = Task("a", "which?", quorum=JUDGED)
    world.do(job(question, claims=claims))
    (judged,) = {fact for _, _, fact in world.diary.of(AnswersJudged)}
    peer = world.hosts[0].peer
    assert peer is not None
    state = peer.ledger.jobs["job"].tasks["a"]
    assert state.accepted is not None
    assert state.accepted.text[0] == "P"
    assert {answer.text[0] for answer in state.agreeing()} == {"P"}
    assert len(state.agreeing()) == 2
    assert state.judge == judged.judge != NOBODY
    world.run(5 * SECOND)
    assert peer.team.notes.usage("job") == Usage(1, 7, 3), "what the judge used is counted"


def test_without_any_judge_answers_are_compared_as_they_stand() -> None:
    def script(assignment: Assignment) -> tuple[Nanoseconds, Completed | AgentFailed]:
        if assignment.purpose is Purpose.WORK:
            return SECOND, Completed(0, (), "yes" if assignment.slot else "no", NO_USAGE)
        return SECOND, AgentFailed(0, Failure.BACKEND, "no model", (), NO_USAGE)

    world = SmallWorld(3, script)
    world.do(job(Task("a", "?", quorum=JUDGED)))
    (judged,) = {fact for _, _, fact in world.diary.of(AnswersJudged)}
    assert (judged.judge, judged.groups) == (NOBODY, (0, 1, 1))


@pytest.mark.parametrize("failing", [3, 100])
def test_a_judge_that_fails_is_followed_at_once_and_only_so_often(failing: int) -> None:
    """The next node hears of it, and need not wait as it would for one that hangs."""
    asked: list[Assignment] = []

    def script(assignment: Assignment) -> tuple[Nanoseconds, Completed | AgentFailed]:
        if assignment.purpose is Purpose.WORK:
            return SECOND, Completed(0, (), "yes" if assignment.slot else "no", NO_USAGE)
        asked.append(assignment)
        if len(asked) <= failing:
            return SECOND // 10, AgentFailed(0, Failure.BACKEND, "no model", (), NO_USAGE)
        return SECOND // 10, Completed(0, (), "0 1 1", NO_USAGE)

    world = SmallWorld(7, script)
    world.do(job(Task("a", "?", quorum=JUDGED, attempts_max=4)))
    ((at, judged),) = {(at, fact) for at, node, fact in world.diary.of(AnswersJudged) if not node}
    last_answer = max(at for at, _, _ in world.diary.of(AnswerGiven))
    assert len(asked) == 4
    assert (judged.judge == NOBODY) == (failing == 100)
    assert at - last_answer < 2 * SECOND


@pytest.mark.parametrize("capable", [*range(5), None])
@pytest.mark.parametrize("reason", [Failure.NO_PROGRAM, Failure.NO_MODEL])
def test_who_can_judge_is_asked_however_many_cannot(reason: Failure, capable: int | None) -> None:
    """Where nobody can, answers are compared as they stand."""
    asked: list[Assignment] = []

    def able(assignment: Assignment) -> tuple[Nanoseconds, Completed | AgentFailed]:
        if assignment.purpose is Purpose.WORK:
            return SECOND, Completed(0, (), f"answer {assignment.slot}", NO_USAGE)
        return SECOND // 10, Completed(0, (), "0 1 1", NO_USAGE)

    def unable(assignment: Assignment) -> tuple[Nanoseconds, Completed | AgentFailed]:
        if assignment.purpose is Purpose.WORK:
            return able(assignment)
        asked.append(assignment)
        return SECOND // 10, AgentFailed(0, reason, "it is not here", (), NO_USAGE)

    world = SmallWorld(5, able)
    for host in world.hosts:
        if host.number != capable:
            host.agents = Scripted(unable)
    question = Task("a", "which?", quorum=JUDGED, attempts_max=3)
    program = "sh judge.sh" if reason is Failure.NO_PROGRAM else ""
    world.do(replace(job(question), judge_program=program))
    (judged,) = {fact for _, _, fact in world.diary.of(AnswersJudged)}
    if capable is None:
        assert (judged.judge, judged.groups) == (NOBODY, (0, 1, 2))
        assert len(asked) == 5, "each was asked once"
        ((why,),) = {(fact.reason,) for _, _, fact in world.diary.of(TaskAbandoned)}
        assert why == f"{UNJUDGED}: no node can judge it: it is not here"
    else:
        judge = world.hosts[capable].identity.node
        assert (judged.judge, judged.groups) == (judge, (0, 1, 1))


def test_why_no_judge_could_say_which_answers_agree_is_told_with_what_follows() -> None:
    said = "the judge does not say which answers agree"

    def script(assignment: Assignment) -> tuple[Nanoseconds, Completed | AgentFailed]:
        if assignment.purpose is Purpose.WORK:
            return SECOND, Completed(0, (), f"answer {assignment.slot}", NO_USAGE)
        return SECOND // 10, AgentFailed(0, Failure.OUTPUT, said, (), NO_USAGE)

    world = SmallWorld(3, script)
    world.do(job(Task("a", "?", quorum=JUDGED)))
    ((why,),) = {(fact.reason,) for _, _, fact in world.diary.of(TaskAbandoned)}
    assert why == f"{UNJUDGED}: output: {said}"


def test_models_are_not_asked_for_ever_where_nobody_leads() -> None:
    asked: list[Assignment] = []

    def script(assignment: Assignment) -> tuple[Nanoseconds, Completed | AgentFailed]:
        if assignment.purpose is Purpose.WORK:
            return SECOND, Completed(0, (), "yes" if assignment.slot else "no", NO_USAGE)
        asked.append(assignment)
        return SECOND // 10, AgentFailed(0, Failure.BACKEND, "no model", (), NO_USAGE)

    world = SmallWorld(3, script)
    world.submit(job(Task("a", "?", quorum=JUDGED, attempts_max=4)))
    assert world.run(60 * SECOND, lambda: bool(asked))
    for host in world.hosts[1:]:
        host.crash()
    world.run(600 * SECOND)
    assert 1 <= len(asked) <= 4 + 2, "what the dead ones said of theirs may not have come"


def test_two_merges_of_one_file_are_two_pieces() -> None:
    pieces = [VersionsToMerge(("job", "c", 0), ("f", tasks)) for tasks in (("a", "c"), ("b", "c"))]
    assert len({reason_of(piece) for piece in pieces}) == 2


# -- in the ledger, by hand ------------------------------------------------------------------------


def proposed() -> Book:
    book = Book()
    book.submit(job(checked("a")))
    assert book.accept("a", ADA) == [ResultProposed("job", "a", 0, ADA, 1, 2)]
    return book


def review(book: Book, reviewer: NodeId, fault: str = "", node: NodeId = ADA) -> list[Fact]:
    return book.say(ReviewResult("job", "a", 0, node, 1, reviewer, fault))


def test_nobody_is_its_own_witness() -> None:
    book = proposed()
    assert review(book, ADA) == []
    assert book.task("a").accepted is None
    reviewed, accepted, *_ = review(book, BOB)
    assert isinstance(reviewed, ResultReviewed)
    assert isinstance(accepted, TaskAccepted)


def test_one_word_is_enough_and_later_ones_change_nothing() -> None:
    book = proposed()
    review(book, BOB)
    assert review(book, CAT, "wrong") == []
    assert book.accept("a", ADA) == [], "the same result, proposed again"


def test_of_two_proposed_results_the_first_that_passes_counts() -> None:
    book = proposed()
    book.accept("a", BOB, text="other")
    facts = review(book, CAT, node=BOB)
    assert [type(fact) for fact in facts[:3]] == [ResultReviewed, ResultLate, TaskAccepted]
    accepted = book.task("a").accepted
    assert accepted is not None
    assert (accepted.node, accepted.reviewer) == (BOB, CAT)


def test_what_waits_is_in_a_snapshot() -> None:
    book = proposed()
    review(book, BOB, "wrong")
    book.accept("a", CAT)
    (state,) = jobs_of(image_of(book.ledger))
    again = state.tasks["a"]
    assert [answer.fault for answer in again.refuted()] == ["wrong"]
    assert [answer.node for answer in again.slots[0].candidates] == [CAT]


def test_what_is_proposed_waiting_is_counted_as_spent() -> None:
    book = Book()
    book.submit(job(checked("a")))
    book.accept("a", ADA, usage=Usage(1, 10, 5))
    assert book.state.spent() == Usage(1, 10, 5)
    review(book, BOB, "wrong")
    assert book.state.spent() == Usage(1, 10, 5)


def test_a_judge_is_heard_once_and_when_all_answers_are_there() -> None:
    book = Book()
    book.submit(job(Task("a", "?", quorum=JUDGED)))
    for slot, (node, text) in enumerate([(ADA, "x"), (BOB, "y")]):
        book.say(AcceptResult("job", "a", slot, node, 1, (), text, NO_USAGE))
    assert book.say(JudgeAnswers("job", "a", CAT, (0, 0, 0))) == [], "one answer is missing"
    book.say(AcceptResult("job", "a", 2, CAT, 1, (), "z", NO_USAGE))
    assert book.say(JudgeAnswers("job", "a", CAT, (0, 0))) == [], "of another number of answers"
    judged, accepted, *_ = book.say(JudgeAnswers("job", "a", CAT, (0, 1, 0)))
    assert isinstance(judged, AnswersJudged)
    assert isinstance(accepted, TaskAccepted)
    assert [answer.node for answer in book.task("a").agreeing()] == [ADA, CAT]
    assert book.say(JudgeAnswers("job", "a", BOB, (0, 1, 1))) == []


def test_answers_of_which_no_two_agree_are_none() -> None:
    book = Book()
    book.submit(job(Task("a", "?", quorum=JUDGED)))
    for slot, node in enumerate((ADA, BOB, CAT)):
        book.say(AcceptResult("job", "a", slot, node, 1, (), node, NO_USAGE))
    _, abandoned, *_ = book.say(JudgeAnswers("job", "a", CAT, (0, 1, 2)))
    assert isinstance(abandoned, TaskAbandoned)


# -- how answers are compared ----------------------------------------------------------------------


def alike(compare: Compare, one: bytes, other: bytes) -> tuple[bool, bool]:
    """Whether two contents agree as files, and as texts."""
    as_files = [likeness_of(compare, (File("a.py", each),), "") for each in (one, other)]
    as_texts = [likeness_of(compare, (), each.decode()) for each in (one, other)]
    return as_files[0] == as_files[1], as_texts[0] == as_texts[1]


def test_answers_are_compared_as_the_job_says() -> None:
    assert alike(Compare.EXACT, b"x\n", b"x\n") == (True, True)
    assert alike(Compare.EXACT, b"x\n", b"x") == (False, False)
    assert alike(Compare.NORMALISED, b"if x:\n    y\n", b"if x:  \n\n    y") == (True, True)
    assert alike(Compare.NORMALISED, b"if x:\n  y\n", b"if x:\ny\n") == (False, True)
    assert alike(Compare.NORMALISED, b"Yes", b"yes") == (False, True)
    assert alike(Compare.TESTS, b"one way", b"another way") == (True, True)


def test_what_makes_no_sense_is_refused() -> None:
    with pytest.raises(InvalidJob, match="verify_by: other needs a 'verify'"):
        validate(job(replace(task("a"), verify_by=VerifyBy.OTHER)))
    with pytest.raises(InvalidJob, match="compare: tests needs a 'verify'"):
        validate(job(task("a", quorum=Quorum(3, 2, Compare.TESTS))))
    program = replace(task("a", quorum=JUDGED), agent="command", program="true")
    with pytest.raises(InvalidJob, match="compare: judge asks a model"):
        validate(job(program))
    validate(replace(job(program), judge_program="sh judge.sh"))
