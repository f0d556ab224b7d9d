"""A question to the team: the shape of its job, and the account of what came of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from small_world import SmallWorld

from node.agents.command_agent import program_environment
from node.cli.question import DRAFT, QUESTION_SIZE_MAX, Manner, account_of, lines_of, question_job
from node.doors.views import job_view
from node.prompt.opening import MARK_REQUEST
from protocol.clocks import SECOND, Nanoseconds
from protocol.effects import Assignment, Purpose
from protocol.errors import InvalidJob
from protocol.events import AgentFailed, Completed, Failure
from protocol.identity import NOBODY, NodeId
from protocol.jobs import SLOTS_MAX, Compare, Job, Quorum, Usage

QUESTION = "How many voters of five must agree?"
ONE_CALL = Usage(1, 100, 10, simulated=True)


@pytest.fixture(autouse=True)
def no_endpoint(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)


# -- its job ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(("answers", "majority"), [(1, 1), (2, 2), (3, 2), (4, 3), (5, 3)])
def test_a_vote_is_one_task_for_a_majority(answers: int, majority: int) -> None:
    (task,) = question_job(QUESTION, Manner(answers)).tasks
    assert (task.prompt, task.writes, task.needs) == (QUESTION, (), ())
    assert task.quorum == Quorum(answers, majority, Compare.NORMALISED)


def test_a_critique_has_independent_drafts_that_every_answer_needs() -> None:
    job = question_job(QUESTION, Manner(4, critique=True))
    *drafts, answer = job.tasks
    assert [draft.id for draft in drafts] == ["draft-1", "draft-2", "draft-3", "draft-4"]
    assert all(not draft.needs and draft.quorum == Quorum() for draft in drafts)
    assert {task.prompt for task in job.tasks} == {QUESTION}
    assert answer.needs == tuple(draft.id for draft in drafts)
    assert answer.quorum == Quorum(4, 3)


def test_a_judge_replaces_the_count() -> None:
    (task,) = question_job(QUESTION, Manner(3, judge=True)).tasks
    assert task.quorum == Quorum(3, 2, Compare.JUDGE)


def test_a_program_may_judge_what_a_model_or_a_program_says() -> None:
    for manner in (Manner(judge_program="sh judge.sh"), Manner(program="cat", judge_program="j")):
        job = question_job(QUESTION, manner)
        assert job.tasks[0].quorum.compare is Compare.JUDGE
        assert job.judge_program == manner.judge_program


def test_a_program_is_told_to_mark_its_answer() -> None:
    job = question_job("Who?", Manner(2, critique=True, program="my-llm -q"))
    assert {task.agent for task in job.tasks} == {"command"}
    assert {task.program for task in job.tasks} == {"my-llm -q"}
    assert {task.prompt for task in job.tasks} == {f"Who?\n\n{MARK_REQUEST}"}


@pytest.mark.parametrize("critique", [False, True])
def test_each_answer_and_each_draft_has_a_number_of_its_own(critique: bool) -> None:
    """By which a program picks one of several models."""
    job = question_job("Who?", Manner(3, critique, program="my-llm -q"))
    told = {
        kind: sorted(
            program_environment(Assignment(job.id, task, slot, 1), ())["QUORATE_SLOT"]
            for task in job.tasks
            if task.id.startswith(kind)
            for slot in range(task.quorum.of)
        )
        for kind in (DRAFT, "answer")
    }
    assert told == {DRAFT: ["0", "1", "2"] if critique else [], "answer": ["0", "1", "2"]}


@pytest.mark.parametrize(
    ("question", "manner", "fault"),
    [
        (" \n", Manner(), "the question is empty: write one"),
        ("ä" * QUESTION_SIZE_MAX, Manner(), "the limit is 64512: shorten it"),
        ("half \udc80", Manner(program="cat"), "half of a character"),
        (QUESTION, Manner(0), "-k must be 1 to 16"),
        (QUESTION, Manner(SLOTS_MAX + 1), "-k must be 1 to 16"),
        (QUESTION, Manner(1, critique=True), "--critique is about several answers: ask for -k 2"),
        (QUESTION, Manner(1, judge=True), "--judge is about several answers: ask for -k 2"),
        (QUESTION, Manner(judge=True, program="cat"), "--judge asks a model, and a command agent"),
        (QUESTION, Manner(judge=True, agent="python"), "--judge asks a model, and a python agent"),
        (QUESTION, Manner(1, judge_program="sh"), "--judge-run is about several answers: ask"),
        (QUESTION, Manner(agent="command"), "--agent command needs a program: add --run"),
        (QUESTION, Manner(agent="simulated", program="cat"), "--run is for agents that are progr"),
        (QUESTION, Manner(agent="parrot"), "there is no agent 'parrot'"),
        ("What is love?", Manner(), "outside the simulated model's answer book"),
    ],
)
def test_what_cannot_be_asked_is_named(question: str, manner: Manner, fault: str) -> None:
    with pytest.raises(InvalidJob, match=fault):
        question_job(question, manner)


# -- what came of it -------------------------------------------------------------------------------

Words = Callable[[Assignment], str]


def ask(manner: Manner, say: Words, nodes: int = 3) -> tuple[SmallWorld, dict[str, Any]]:
    """Ask a simulated team in which the answer of slot 0 comes first, and so on: the account."""

    def script(assignment: Assignment) -> tuple[Nanoseconds, Completed | AgentFailed]:
        words = say(assignment)
        after = (1 + assignment.slot) * SECOND
        if not words:
            return SECOND, AgentFailed(0, Failure.BACKEND, "no model", (), ONE_CALL)
        return after, Completed(0, (), words, ONE_CALL)

    world = SmallWorld(nodes, script)
    job = replace(question_job(QUESTION, manner), id="ask")  # the same run every time
    world.do(job)
    return world, account_of(QUESTION, view_of(world, job))


def view_of(world: SmallWorld, job: Job) -> dict[str, Any]:
    peer = world.hosts[0].peer
    assert peer is not None
    return job_view(peer, peer.ledger.jobs[job.id], world.world.now)


def test_a_vote_that_came_after_the_decision_is_not_called_late() -> None:
    world, account = ask(Manner(4), lambda assignment: "Answer: 3")
    assert [each["slot"] for each in account["agreed"]] == [0, 1, 2]
    peer = world.hosts[0].peer
    assert peer is not None
    (state,) = peer.ledger.jobs["ask"].tasks.values()
    fourth = replace(state.answers[0], slot=3, node=NodeId("d"), index=99)
    state.late = [fourth, replace(fourth, token=0)]  # in time, and after it was given up on
    state.slots[3].fence = 1
    later = account_of(QUESTION, job_view(peer, peer.ledger.jobs["ask"], world.world.now))
    said = list(lines_of(later))
    assert "-- not needed any more, d (token 1): 3" in said
    assert "-- too late to count, d (token 0): 3" in said


def test_who_dissents_is_kept_with_its_words() -> None:
    texts = ["It is 2.\nAnswer: 2", "Half is 2.5.\nAnswer: 3", "Answer: **3**."]
    _, account = ask(Manner(), lambda assignment: texts[assignment.slot])
    assert account["answer"] == "3"
    assert account["proposer"]["text"] == texts[1], "the reasons are kept too"
    assert [each["slot"] for each in account["agreed"]] == [1, 2]
    (dissent,) = account["dissent"]
    assert (dissent["slot"], dissent["conclusion"]) == (0, "2")
    assert len({each["node"] for each in (*account["agreed"], dissent)}) == 3
    usage = {"calls": 3, "tokens_in": 300, "tokens_out": 30, "simulated": True}
    money = {"usd": 0.0, "usd_is": "estimated", "unpriced_tokens": 0}
    assert account["usage"] == usage | money
    by, other, against = (each["name"] for each in (*account["agreed"], dissent))
    entry = account["committed"]
    assert entry["index"] == account["agreed"][1]["index"], "the second vote decided"
    assert entry["term"] > 0
    assert entry["leader"]
    assert list(lines_of(account)) == [
        f"-- proposed by {by} (token 1), agreed by {other} (token 1): 2 of 3",
        f"-- dissent, {against} (token 1): 2",
        f"-- committed as log entry {entry['index']} of term {entry['term']} by leader "
        f"{entry['leader']}; 3 calls, 300 tokens in, 30 out (simulated)",
    ]


def test_nobody_waits_for_a_vote_that_decides_nothing() -> None:
    _, account = ask(Manner(), lambda _: "Answer: 3")
    assert [each["slot"] for each in account["agreed"]] == [0, 1]
    assert account["dissent"] == []
    assert "-- not waited for: 1 of 3" in list(lines_of(account))


def test_without_a_majority_all_answers_are_told() -> None:
    texts = ["Answer: 2", "Answer: 3", "Answer: 4\nIt may\nbe 5."]
    _, account = ask(Manner(), lambda assignment: texts[assignment.slot])
    assert account["answer"] is None
    assert account["proposer"] is None
    assert [each["conclusion"] for each in account["dissent"]] == ["2", "3", "4\nIt may\nbe 5."]
    first, *others = lines_of(account)
    assert first == "no agreement: 3 answers, but at most 1 of them agree"
    assert [line.partition(": ")[2] for line in others[:3]] == ["2", "3", "4 It may be 5."]


def test_where_nobody_answers_the_reason_is_told() -> None:
    _, account = ask(Manner(2), lambda _: "")
    assert (account["answer"], account["dissent"]) == (None, [])
    first = next(lines_of(account))
    assert first.startswith("no answer: ")
    assert first.endswith("attempts failed, the last with backend: no model")


def test_a_draft_that_nobody_can_write_is_named() -> None:
    manner = Manner(2, critique=True)
    _, account = ask(manner, lambda given: "" if given.task.id == "draft-2" else "3")
    assert account["answer"] is None
    assert account["why_none"].startswith("draft-2: 5 attempts failed")
    assert [each["text"] for each in account["drafts"]] == ["3"], "nothing is lost"


def test_the_answer_of_one_node_is_all_it_said() -> None:
    _, account = ask(Manner(1), lambda _: "Because.\nAnswer: 3")
    assert account["answer"] == "Because.\nAnswer: 3"
    assert account["asked"] == 1
    assert next(lines_of(account)) == f"-- by {account['proposer']['name']} (token 1)"


def test_every_critic_sees_every_draft_and_no_drafter_sees_any() -> None:
    def say(assignment: Assignment) -> str:
        if assignment.task.id.startswith(DRAFT):
            return f"words of {assignment.task.id}"
        return f"All are wrong.\nAnswer: {'3' if assignment.slot else '4'}"

    world, account = ask(Manner(critique=True), say)
    words = tuple(f"words of draft-{number}" for number in (1, 2, 3))
    given = world.agents.given
    assert [each.drafts for each in given if each.task.id == "answer"] == [words] * 3
    assert [each.answered for each in given if each.task.id != "answer"] == [()] * 3
    assert account["answer"] == "3"
    assert [each["text"] for each in account["drafts"]] == list(words)
    assert len({each["node"] for each in account["drafts"]}) == 3, "one from each node"
    assert [each["conclusion"] for each in account["dissent"]] == ["4"]
    drafts = [line for line in lines_of(account) if line.startswith("-- draft ")]
    assert drafts == [
        f"-- draft {number} by {each['name']} (token 1): words of draft-{number}"
        for number, each in enumerate(account["drafts"], 1)
    ]


def test_a_judge_is_named_and_what_it_tells_apart_is_dissent() -> None:
    texts = ["Answer: three of them", "Answer: two", "Answer: 3"]

    def say(assignment: Assignment) -> str:
        return "0 1 0" if assignment.purpose is Purpose.JUDGE else texts[assignment.slot]

    world, account = ask(Manner(judge=True), say)
    assert account["answer"] == "three of them"
    assert [each["group"] for each in account["agreed"]] == [0, 0]
    assert [each["conclusion"] for each in account["dissent"]] == ["two"]
    names = [host.peer.settings.name for host in world.hosts if host.peer]
    assert account["judge"] in names
    assert f"-- which answers agree was judged by {account['judge']}" in list(lines_of(account))


def test_without_any_judge_the_votes_are_counted() -> None:
    texts = ["So.\nAnswer: 3", "Answer: 2", "Answer: 3."]

    def say(assignment: Assignment) -> str:
        return "" if assignment.purpose is Purpose.JUDGE else texts[assignment.slot]

    _, account = ask(Manner(judge=True), say)
    assert (account["answer"], account["judge"]) == ("3", NOBODY)
    assert len(account["agreed"]) == 2


def test_who_led_a_term_that_is_over_is_in_the_log() -> None:
    world, account = ask(Manner(), lambda _: "Answer: 3")
    before, leader = account["committed"], world.leader()
    assert leader is not None
    assert leader.peer is not None
    assert before["leader"] == leader.peer.settings.name
    leader.crash("killed")
    assert world.run(20 * SECOND, lambda: world.leader() is not None)
    peer = world.up[0].peer
    assert peer is not None
    later = account_of(QUESTION, job_view(peer, peer.ledger.jobs["ask"], world.world.now))
    assert peer.raft.term > before["term"]
    assert later["committed"] == before
    *_, last = lines_of(later)
    entry = f"-- committed as log entry {before['index']} of term {before['term']}"
    assert last.startswith(f"{entry} by leader {before['leader']};")


def test_what_is_cut_says_so() -> None:
    _, account = ask(Manner(1), lambda _: "x" * 20_000)
    *_, last = lines_of(account)
    assert last == "-- only the first 10000 characters of the answer are shown"
    _, account = ask(Manner(2), lambda _: "x" * 20_000 + "\nAnswer: 3")
    assert account["answer"] == "3"
    assert not account["is_cut"]


def test_an_answer_on_one_line_is_short() -> None:
    _, account = ask(Manner(2), lambda given: f"Answer: {given.slot} " + "x " * 5_000)
    assert all(len(line) < 400 for line in lines_of(account))
