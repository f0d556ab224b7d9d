"""What agents have not finished: shared while they work, found by whoever goes on."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest
from agent_setup import ADD, Watched, assigned, quick, text_file
from foreign_server import Bench, Foreign, foreign_servers, streamed

from node.agents import Progress, unfinished
from node.prompt.opening import build_prompt
from protocol.effects import Assignment, Proposal, Purpose
from protocol.events import AgentFailed, AnswerMade, Completed, WrittenSoFar
from protocol.jobs import ANSWER_PATH, FILE_SIZE_MAX, PARTIAL_FILES_MAX, File, Usage

foreign = pytest.fixture(name="foreign")(foreign_servers)


@pytest.fixture(autouse=True)
def _often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unfinished, "SHARE_EVERY_S", 0.01)


@pytest.fixture
async def node(tmp_path: Path) -> AsyncIterator[Watched]:
    watched = Watched(quick(tmp_path / "scratch"))
    yield watched
    await watched.invocations.close()


async def told(node: Watched, until: Callable[[WrittenSoFar], bool]) -> list[WrittenSoFar]:
    """What was told so far, once something is told that is as wanted."""
    async with asyncio.timeout(60):
        while True:
            found = [event for event in node.events if isinstance(event, WrittenSoFar)]
            if any(until(event) for event in found):
                return found
            await asyncio.sleep(0.01)  # a program writes when it likes


async def test_what_a_program_has_written_is_shared_while_it_works(
    node: Watched, tmp_path: Path
) -> None:
    mark = tmp_path / "go-on"
    line = (
        "mkdir .partial; echo one > .partial/at; echo half > add.py; "
        f"until [ -e {mark} ]; do sleep 0.02; done; rm .partial/at; sleep 600"
    )
    program = assigned("command", program=line, fixtures=(text_file("other", "x"),))
    node.invocations.start(1, program)
    expected = WrittenSoFar(
        1, (text_file("add.py", "half\n"),), (text_file(".partial/at", "one\n"),)
    )
    await told(node, lambda event: event == expected)
    mark.touch()
    found = await told(node, lambda event: not event.keeps)
    assert found.count(expected) == 1, "what has not changed is not told again"
    assert found[-1] == replace(expected, keeps=())
    node.invocations.abort(1, "the task is settled")
    await node.wait_end()


async def test_a_program_finds_what_earlier_attempts_left(node: Watched) -> None:
    left = (text_file("add.py", "half\n"), text_file(".partial/deep/at", "seven\n"))
    line = "[ ! -e add.py ] && cat .partial/deep/at .partial/add.py > add.py"
    end = await node.run(assigned("command", program=line, partial=left))
    assert isinstance(end, Completed)
    assert end.files == (text_file("add.py", "seven\nhalf\n"),)


async def test_what_a_program_itself_kept_goes_before_what_it_had_written(node: Watched) -> None:
    left = (text_file("add.py", "half\n"), text_file(".partial/add.py", "kept\n"))
    end = await node.run(assigned("command", program="cp .partial/add.py .", partial=left))
    assert isinstance(end, Completed)
    assert end.files == (text_file("add.py", "kept\n"),)


async def test_what_cannot_be_laid_out_of_an_earlier_attempt_fails_nobody(node: Watched) -> None:
    left = (text_file("a/b", "1"), text_file(".partial/a", "2"), File(".partial/../x", b"3"))
    end = await node.run(assigned("command", program="cat .partial/a > add.py", partial=left))
    assert isinstance(end, Completed)
    assert end.files == (text_file("add.py", "2"),)


async def test_what_is_kept_is_bounded_and_never_a_link(node: Watched, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("secret")
    line = (
        f"mkdir .partial; cd .partial; ln -s {tmp_path}/secret a; ln -s {tmp_path} b; mkfifo c; "
        f"head -c {FILE_SIZE_MAX + 1} /dev/zero > d; for n in $(seq 100 199); do echo > $n; done; "
        "exit 1"
    )
    assert isinstance(await node.run(assigned("command", program=line)), AgentFailed)
    (*_, last) = await told(node, lambda event: True)
    assert [file.path for file in last.keeps] == [
        f".partial/{number}" for number in range(100, 100 + PARTIAL_FILES_MAX)
    ]


async def test_what_a_program_kept_is_shared_when_it_is_stopped(
    node: Watched, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unfinished, "SHARE_EVERY_S", 600.0)
    mark = tmp_path / "there"
    line = f"mkdir .partial; echo 7 > .partial/at; touch {mark}; sleep 600"
    node.invocations.start(1, assigned("command", program=line))
    async with asyncio.timeout(60):
        while not mark.exists():  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    node.invocations.abort(1, "the node is stopping")
    await node.wait_end()
    assert WrittenSoFar(1, (), (text_file(".partial/at", "7\n"),)) in node.events


# -- models ----------------------------------------------------------------------------------------


async def test_what_a_model_has_said_is_shared_while_it_speaks(foreign: Foreign) -> None:
    shared: list[tuple[tuple[File, ...], tuple[File, ...]]] = []
    heard = asyncio.Event()

    def share(files: tuple[File, ...], keeps: tuple[File, ...]) -> None:
        shared.append((files, keeps))
        heard.set()

    released = threading.Event()
    begins = streamed("```python path=add.py\ndef add", finish_reason=None, usage=False)

    def stall(handler: BaseHTTPRequestHandler) -> None:
        begins(handler)
        released.wait(60)

    server = foreign(stall)
    bench = Bench(Path(), server.url, request_timeout_s=60.0)
    bench.progress = Progress(lambda files: None, share=share)
    work = asyncio.ensure_future(bench.run())
    async with asyncio.timeout(60):
        await heard.wait()
    work.cancel()
    with pytest.raises(asyncio.CancelledError):
        await work
    released.set()
    assert shared == [((), (text_file(ANSWER_PATH, "```python path=add.py\ndef add"),))]


def test_a_model_is_shown_how_far_an_earlier_answer_came() -> None:
    left = (text_file("add.py", "half = 1\n"), text_file(ANSWER_PATH, "```python\nbroken ="))
    shown = build_prompt(assigned("openai", partial=left))[-1].content
    assert "half = 1" in shown
    assert "broken =" in shown
    assert ANSWER_PATH not in shown, "it shall not be written"


# -- answers that are made, and not yet accepted ---------------------------------------------------


async def test_an_answer_is_told_before_it_is_checked(node: Watched) -> None:
    program = assigned("command", program=f"printf '{ADD}' > add.py; echo done", verify="exit 1")
    await node.run(program)
    *_, made, end = node.events
    assert made == AnswerMade(1, (text_file("add.py", ADD),), "done", Usage(calls=1))
    assert isinstance(end, AgentFailed)


def made_before(verify: str) -> Assignment:
    """An answer that an earlier attempt has made; the program would not make it again."""
    answer = Proposal((text_file("add.py", ADD),), "FACT: done")
    program = assigned("command", program="exit 3", verify=verify)
    return replace(program, purpose=Purpose.FINISH, proposals=(answer,))


async def test_an_answer_that_was_made_before_is_checked_and_not_made_again(node: Watched) -> None:
    end = await node.run(made_before("grep -q return add.py"))
    assert end == Completed(1, (text_file("add.py", ADD),), "FACT: done", Usage())
    assert not any(isinstance(event, AnswerMade) for event in node.events)
    failed = await node.run(made_before("! grep return add.py"), 2)
    assert isinstance(failed, AgentFailed)
