"""The simulated agent: the whole way from an assignment over HTTP to a verified result."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path

import pytest
from agent_setup import ADD, WRONG_ADD, SmallBook, Watched, assigned, quick, text_file

from node.agents import simulated_agent
from node.agents.settings import AnswerFormat
from node.model.faults import draw_faults
from node.model.knobs import ModelKnobs
from node.model.server import RunningModel, start_model
from protocol.effects import Answered, Proposal, Purpose
from protocol.events import AgentFailed, AnswerMade, Completed, Failure, Progressed
from protocol.jobs import Quorum

PASSES = "{python} -c 'from add import add; assert add(2, 3) == 5'"
FAST = 1_000_000.0
Start = Callable[..., Awaitable[tuple[Watched, RunningModel]]]


@pytest.fixture
async def start(tmp_path: Path) -> AsyncIterator[Start]:
    """Starts a model with the given knobs, and a node that asks it."""
    async with AsyncExitStack() as stack:

        async def both(
            settings: dict[str, object] | None = None, **knobs: object
        ) -> tuple[Watched, RunningModel]:
            whole = ModelKnobs(**{"speed": FAST, **knobs})  # type: ignore[arg-type]
            model = await start_model(whole, book=SmallBook())
            stack.push_async_callback(model.close)
            changes = {"simulated_url": model.url, **(settings or {})}
            node = Watched(quick(tmp_path / "scratch", **changes))
            stack.push_async_callback(node.invocations.close)
            return node, model

        yield both


@pytest.mark.parametrize("stream", [True, False])
async def test_task_in_the_book_is_done_and_marked_simulated(start: Start, stream: bool) -> None:
    node, _ = await start({"stream": stream})
    end = await node.run(assigned("simulated", verify=PASSES))
    assert isinstance(end, Completed)
    assert end.files == (text_file("add.py", ADD),)
    assert end.usage.simulated
    assert end.usage.calls == 1
    assert end.usage.tokens_in > 0
    made = AnswerMade(1, end.files, end.text, end.usage)
    assert node.events == [Progressed(1, end.files), made, end]


async def test_question_in_the_book_is_answered(start: Start) -> None:
    node, _ = await start()
    question = "How many of five are a majority?"
    end = await node.run(assigned("simulated", prompt=question, writes=()))
    assert isinstance(end, Completed)
    assert (end.files, end.text) == ((), "Three.")


QUESTION = assigned(
    "simulated", prompt="How many of five are a majority?", writes=(), quorum=Quorum(3, 2)
)
DRAFTS = tuple(Answered(QUESTION.task.prompt, text) for text in ("So.\nAnswer: three", "Four."))


async def test_answers_that_are_compared_are_marked_and_drafts_criticised(start: Start) -> None:
    node, _ = await start()
    end = await node.run(QUESTION)
    assert isinstance(end, Completed)
    assert end.text == "Answer: Three."
    end = await node.run(replace(QUESTION, answered=DRAFTS), 2)
    assert isinstance(end, Completed)
    assert end.text.splitlines() == [
        "Draft 1: nothing is wrong with it.",
        "Draft 2 says 'Four.', which is wrong.",
        "",
        "Answer: Three.",
    ]


async def test_who_is_wrong_finds_fault_with_what_is_right(start: Start) -> None:
    node, _ = await start(wrong=1.0)
    end = await node.run(replace(QUESTION, answered=DRAFTS))
    assert isinstance(end, Completed)
    assert end.text.startswith("Draft 1 says 'three', which is wrong.\nDraft 2: nothing is wrong")
    assert end.text.endswith("\nAnswer: Four.")


async def test_task_outside_the_book_is_refused_at_once(start: Start) -> None:
    node, model = await start()
    end = await node.run(assigned("simulated", writes=("other.py",)))
    assert isinstance(end, AgentFailed)
    assert end.reason is Failure.UNKNOWN_TASK
    assert "no worked answer for other.py" in end.detail
    assert "OPENAI_BASE_URL" in end.detail
    assert model.requests == 1


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ("http_429", Failure.BACKEND),
        ("http_5xx", Failure.UNREACHABLE),
        ("break_stream", Failure.BACKEND),
    ],
)
async def test_a_fault_that_never_ends_ends_the_attempt(
    start: Start, fault: str, reason: Failure
) -> None:
    node, model = await start(**{fault: 1.0})
    end = await node.run(assigned("simulated"))
    assert isinstance(end, AgentFailed)
    assert end.reason is reason
    assert "gave up after 3 requests" in end.detail
    assert end.usage.calls == model.requests == 3


@pytest.mark.parametrize(
    "fault",
    ["http_429", "http_5xx", "break_stream", "garbage", "slow", "truncate", "overflow", "empty"],
)
async def test_a_fault_that_passes_is_overcome(start: Start, fault: str) -> None:
    node, model = await start({"tries_max": 12}, seed=2, **{fault: 0.4})
    twice = {
        "garbage": {Failure.OUTPUT, Failure.EMPTY},
        "truncate": {Failure.TRUNCATED},
        "overflow": {Failure.OVERFLOW},
        "empty": {Failure.EMPTY},
    }.get(fault, set())
    for number in range(6):
        node.invocations.start(number, assigned("simulated", notes=("a note",)))
        end = await node.wait_end(number)
        assert isinstance(end, Completed) or end.reason in twice, end
    assert any(isinstance(node.ends(number)[0], Completed) for number in range(6))
    assert model.requests >= 6


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize(
    ("fault", "reason", "words", "requests"),
    [
        ("refuse", Failure.REFUSED, "the model refuses: I'm sorry", 1),
        ("truncate", Failure.TRUNCATED, "cut off at the endpoint's token limit (length)", 2),
        ("overflow", Failure.OVERFLOW, "tokens too many (This model's maximum context", 1),
        ("empty", Failure.EMPTY, "the answer is empty, also when asked again", 2),
    ],
)
async def test_what_a_model_may_do_instead_of_answering_is_told_apart(
    start: Start, stream: bool, fault: str, reason: Failure, words: str, requests: int
) -> None:
    node, model = await start({"stream": stream}, **{fault: 1.0})
    end = await node.run(assigned("simulated"))
    assert isinstance(end, AgentFailed)
    assert end.reason is reason
    assert words in end.detail
    assert end.usage.calls == model.requests == requests


async def test_an_answer_that_was_cut_off_is_gone_on_with_as_if_it_had_not_been(
    start: Start,
) -> None:
    cut = [draw_faults(ModelKnobs(seed=13, truncate=0.5), "add.py", each) for each in range(2)]
    assert [faults.truncate for faults in cut] == [True, False]
    node, model = await start(seed=13, truncate=0.5)
    end = await node.run(assigned("simulated", verify=PASSES))
    assert isinstance(end, Completed)
    assert end.files == (text_file("add.py", ADD),)
    assert model.requests == end.usage.calls == 2


@pytest.mark.parametrize("answer_format", AnswerFormat)
async def test_files_come_in_any_form(start: Start, answer_format: AnswerFormat) -> None:
    node, _ = await start({"answer_format": answer_format})
    end = await node.run(assigned("simulated", writes=("add.py", "sub.py"), verify=PASSES))
    assert isinstance(end, Completed)
    assert [file.path for file in end.files] == ["add.py", "sub.py"]
    assert end.usage.calls == 1


async def test_garbage_alone_is_an_output_failure(start: Start) -> None:
    node, model = await start(garbage=1.0)
    end = await node.run(assigned("simulated"))
    assert isinstance(end, AgentFailed)
    assert end.reason is Failure.OUTPUT
    assert model.requests == 2


async def test_wrong_answers_are_caught_by_the_check(start: Start) -> None:
    node, _ = await start(wrong=1.0)
    end = await node.run(assigned("simulated", verify=PASSES))
    assert isinstance(end, AgentFailed)
    assert end.reason is Failure.VERIFY
    assert end.files == (text_file("add.py", WRONG_ADD),)


async def test_a_hanging_model_is_given_up(start: Start) -> None:
    node, model = await start({"request_timeout_s": 0.1}, hang=1.0)
    end = await node.run(assigned("simulated"))
    assert isinstance(end, AgentFailed)
    assert end.reason is Failure.BACKEND
    assert "silent for 0.1 s" in end.detail
    assert model.requests == 3


async def test_a_hanging_model_does_not_hold_up_the_task_timeout(start: Start) -> None:
    node, _ = await start(hang=1.0)
    await node.invocations.prepare("simulated")
    end = await node.run(assigned("simulated", timeout_s=0.2))
    assert isinstance(end, AgentFailed)
    assert (end.reason, end.usage.calls) == (Failure.TIMEOUT, 1)
    assert end.usage.tokens_in > 0, "what was sent may have to be paid for"
    assert end.usage.tokens_out == 0


async def test_the_embedded_model_starts_when_first_needed_and_stops_with_the_node(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[RunningModel] = []

    async def start_with_small_book(knobs: ModelKnobs) -> RunningModel:
        started.append(await start_model(knobs, book=SmallBook()))
        return started[-1]

    monkeypatch.setattr(simulated_agent, "start_model", start_with_small_book)
    node = Watched(quick(tmp_path / "scratch", simulated=ModelKnobs(speed=FAST)))
    assert started == []
    await node.invocations.prepare("simulated")
    assert len(started) == 1
    for number in range(3):
        node.invocations.start(number, assigned("simulated"))
    for number in range(3):
        assert isinstance(await node.wait_end(number), Completed)
    (model,) = started
    await node.invocations.close()
    again = Watched(quick(tmp_path / "scratch", simulated_url=model.url, tries_max=1))
    end = await again.run(assigned("simulated"))
    await again.invocations.close()
    assert isinstance(end, AgentFailed)
    assert end.reason is Failure.UNREACHABLE


async def test_the_model_says_which_answers_agree(start: Start) -> None:
    node, _ = await start()
    question = assigned("simulated", prompt="How many?", writes=())
    proposals = tuple(Proposal((), text) for text in ("Three.", "four", "three"))
    end = await node.run(replace(question, purpose=Purpose.JUDGE, proposals=proposals))
    assert isinstance(end, Completed)
    assert end.text == "0 1 0"
    assert end.usage.calls == 1


async def test_a_judge_that_says_nothing_of_use_is_asked_twice(start: Start) -> None:
    node, model = await start(garbage=1.0)
    question = assigned("simulated", prompt="How many?", writes=())
    proposals = (Proposal((), "Three."), Proposal((), "four"))
    end = await node.run(replace(question, purpose=Purpose.JUDGE, proposals=proposals))
    assert isinstance(end, AgentFailed)
    assert end.reason is Failure.OUTPUT
    assert "does not say which answers agree" in end.detail
    assert model.requests == 2


async def test_somebody_s_result_is_checked_without_any_model(start: Start) -> None:
    node, model = await start()
    task = assigned("simulated", verify=PASSES)
    good = replace(
        task, purpose=Purpose.REVIEW, proposals=(Proposal((text_file("add.py", ADD),), ""),)
    )
    assert isinstance(await node.run(good), Completed)
    wrong = replace(good, proposals=(Proposal((text_file("add.py", WRONG_ADD),), ""),))
    end = await node.run(wrong, 2)
    assert isinstance(end, AgentFailed)
    assert end.reason is Failure.VERIFY
    assert model.requests == 0
