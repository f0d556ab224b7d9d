"""Tasks for people, from the agent to the command line: what is asked, and which answers count."""

# ruff: noqa: ASYNC110 -- what waits for people is seen by looking

from __future__ import annotations

import asyncio
import base64
import io
import json
import shlex
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from agent_setup import Watched, assigned, quick, text_file
from aiohttp import web
from command_line import quorate_here
from ledger_hand import job
from live_team import started
from lone_node import READ, TOKEN, ask, lone_node

from node import jobfile
from node.agents import AgentError
from node.agents.command_agent import ANSWER_SIZE_MAX, TALK_SIZE_MAX
from node.agents.human_agent import result_of
from node.agents.scratch import ROOT_RECORD
from node.lab.cluster import Cluster
from node.lab.door import Door, Doors
from node.links.listening import endpoint_of, listen_on
from protocol.events import AgentFailed, AnswerMade, Completed, Failure
from protocol.jobs import FILE_SIZE_MAX, HUMAN_TIMEOUT_S, RESULT_SIZE_MAX, ClaimMode, File, Task

# -- what an answer must be ------------------------------------------------------------------------


def result(text: str, *files: File, writes: tuple[str, ...] = ("a",)) -> tuple[str, list[File]]:
    made = result_of(Task("t", "?", writes=writes, agent="human"), text, files)
    return made.text, list(made.files)


def test_an_answer_is_the_files_that_are_written_and_a_word_about_them() -> None:
    files = [text_file("b", "2"), text_file("a", "1")]
    assert result("done ", *files, writes=("a", "b")) == ("done", files)


def test_a_text_alone_is_the_one_file_that_is_wanted() -> None:
    assert result("yes") == ("", [text_file("a", "yes\n")])
    assert result("yes\n") == ("", [text_file("a", "yes\n")])


def test_the_answer_to_a_question_is_a_text() -> None:
    assert result(" three\n", writes=()) == ("three", [])


@pytest.mark.parametrize(
    ("text", "files", "writes", "words"),
    [
        ("", [], ("a", "b"), "a, b is missing: it writes a, b"),
        ("yes", [], ("a", "b"), "a, b is missing"),
        ("", [text_file("a", "1"), text_file("c", "3")], ("a", "b"), "nobody asked for c"),
        ("", [text_file("a", "1"), text_file("a", "2")], ("a",), "given twice"),
        (" \n", [], ("a",), "a is missing"),
        (" \n", [], (), "the answer is empty"),
        ("x", [text_file("a", "1")], (), "it writes no files"),
        ("x" * (ANSWER_SIZE_MAX + 1), [], (), "the limit is"),
        ("x" * (FILE_SIZE_MAX + 1), [], ("a",), "the limit for one file"),
        ("x" * (TALK_SIZE_MAX + 1), [text_file("a", "1")], ("a",), "the text beside the files"),
        ("", [text_file(n, "x" * FILE_SIZE_MAX) for n in "abcd"], tuple("abcd"), "together"),
    ],
)
def test_what_was_not_asked_for_is_refused_and_named(
    text: str, files: list[File], writes: tuple[str, ...], words: str
) -> None:
    with pytest.raises(AgentError, match=words):
        result(text, *files, writes=writes)


def test_what_a_person_gives_fits_into_a_result() -> None:
    files = [text_file(name, "x" * FILE_SIZE_MAX) for name in "abc"]
    made = result_of(Task("t", "?", writes=("a", "b", "c"), agent="human"), "x" * 65_536, files)
    size = sum(len(file.content) for file in made.files) + len(made.text)
    assert size <= RESULT_SIZE_MAX


def test_a_person_has_an_hour_unless_the_task_says_otherwise() -> None:
    text = """{job: j, defaults: {agent: human}, tasks: [
        {id: a, prompt: x}, {id: b, prompt: x, timeout: 5m},
        {id: c, agent: command, run: date}]}"""
    found = jobfile.parse(text, "job.yaml", Path("/nonexistent"), "simulated")
    assert [task.timeout_s for task in found.tasks] == [HUMAN_TIMEOUT_S, 300.0, 300.0]
    assert "a, b ask people" in jobfile.notes_on(found)[0]


# -- an invocation ---------------------------------------------------------------------------------


@pytest.fixture
async def node(tmp_path: Path) -> AsyncIterator[Watched]:
    watched = Watched(quick(tmp_path, invocations_max=1))
    yield watched
    await watched.invocations.close()


async def until_asked(node: Watched, count: int = 1) -> None:
    async with asyncio.timeout(10):
        while len(node.invocations.people.open()) < count:
            await asyncio.sleep(0)


async def test_a_person_takes_no_turn_from_other_agents(node: Watched) -> None:
    """One agent works at a time, and two people are asked."""
    for number in (1, 2):
        node.invocations.start(number, assigned("human", id=f"q{number}"))
    await until_asked(node, 2)
    end = await node.run(assigned("command", program="echo x > add.py"), 3)
    assert isinstance(end, Completed)
    assert node.invocations.running == (1, 2)


async def test_an_answer_is_checked_and_its_author_is_told(node: Watched) -> None:
    node.invocations.start(1, assigned("human", verify="grep -q yes add.py"))
    await until_asked(node)
    (question,) = node.invocations.people.open()
    node.invocations.people.take(question, "no", ())
    end = await node.wait_end()
    assert isinstance(end, AgentFailed)
    assert end.reason is Failure.VERIFY
    assert [file.content for file in end.files] == [b"no\n"], "kept, for who answers next"
    fault = await question.outcome
    assert fault is not None
    assert fault.reason is Failure.VERIFY
    assert "the check said no" in fault.detail
    assert not node.invocations.people.open()


async def test_an_answer_is_kept_before_it_is_checked(node: Watched) -> None:
    node.invocations.start(1, assigned("human", verify="grep -q yes add.py"))
    await until_asked(node)
    (question,) = node.invocations.people.open()
    node.invocations.people.take(question, "yes", ())
    end = await node.wait_end()
    assert isinstance(end, Completed)
    assert end.files == (text_file("add.py", "yes\n"),)
    assert [type(event) for event in node.events if isinstance(event, AnswerMade)] == [AnswerMade]
    assert await question.outcome is None


async def test_a_question_that_is_stopped_is_asked_no_more(node: Watched) -> None:
    node.invocations.start(1, assigned("human"))
    await until_asked(node)
    node.invocations.abort(1, "the task is settled")
    end = await node.wait_end()
    assert isinstance(end, AgentFailed)
    assert end.reason is Failure.ABORTED
    assert not node.invocations.people.open()


async def test_a_question_has_its_time(node: Watched) -> None:
    end = await node.run(assigned("human", timeout_s=0.05))
    assert isinstance(end, AgentFailed)
    assert end.reason is Failure.TIMEOUT
    assert not node.invocations.people.open()


# -- the door --------------------------------------------------------------------------------------

REVIEW = Task(
    "review", "Is it good?", writes=("verdict",), agent="human", verify="grep yes verdict"
)


@pytest.fixture
async def address(tmp_path: Path) -> AsyncIterator[str]:
    async with asking(tmp_path, REVIEW) as address:
        yield address


@asynccontextmanager
async def asking(folder: Path, task: Task) -> AsyncIterator[str]:
    """A node that asks a person to do the task."""
    async with lone_node(folder) as (address, _):
        doors = Doors([address], TOKEN)
        assert await doors.await_ready(10.0)
        await doors.submit(job(task))
        await asked_at(address)
        yield address


async def asked_at(address: str) -> dict[str, Any]:
    async with asyncio.timeout(10), Door(address, TOKEN) as door:
        while not (rows := await door.get("/v1/people")):
            await asyncio.sleep(0.01)
    (row,) = rows
    assert isinstance(row, dict)
    return row


async def test_the_door_tells_what_waits_and_all_there_is_to_read(address: str) -> None:
    row = await asked_at(address)
    assert (row["job"], row["task"], row["node"]) == ("job", "review", "n1")
    assert (row["prompt"], row["writes"], row["failures"]) == ("Is it good?", ["verdict"], [])
    async with Door(address, TOKEN) as door:
        whole = await door.get("/v1/people/job/review")
    assert "# Files to write\n\n- verdict" in whole["text"]


async def test_an_answer_at_the_door_is_checked_and_accepted(address: str) -> None:
    files = {"verdict": {"base64": base64.b64encode(b"yes\n").decode()}}
    async with Door(address, TOKEN) as door:
        done = await door.post("/v1/people/job/review", {"files": files, "text": "at last"})
    assert (done["outcome"], done["detail"]) == ("passed", "")
    end = await Doors([address], TOKEN).await_end("job")
    assert end["succeeded"]
    assert end["tasks"][0]["accepted"]["text"] == "at last"
    status, answer = await ask(address, "POST", "/v1/people/job/review", b"{}", **READ)
    assert (status, answer["error"]) == (404, "NotFound")


async def test_an_answer_whose_check_fails_is_told_why_and_asked_for_anew(address: str) -> None:
    async with Door(address, TOKEN) as door:
        done = await door.post("/v1/people/job/review", {"text": "no"})
    assert (done["outcome"], done["asked_anew"]) == ("failed", True)
    assert "grep yes verdict" in done["detail"]


@pytest.mark.parametrize(
    "changes", [{"attempts_max": 1}, {"verify": "no-such-check"}], ids=["attempts", "no check"]
)
async def test_who_gave_the_last_answer_is_not_told_that_it_is_asked_anew(
    tmp_path: Path, changes: dict[str, Any]
) -> None:
    async with asking(tmp_path, replace(REVIEW, **changes)) as address:
        async with Door(address, TOKEN) as door:
            done = await door.post("/v1/people/job/review", {"text": "no"})
        assert (done["outcome"], done["asked_anew"]) == ("failed", False)
        end = await Doors([address], TOKEN).await_end("job")
        assert not end["succeeded"]


@pytest.mark.parametrize(
    ("body", "error"),
    [
        ({"files": {"verdikt": "yes"}}, "BadAnswer"),
        ({}, "BadAnswer"),
        ({"files": {"verdict": {"base64": "?"}}}, "BadRequest"),
        ({"files": {"verdict": {"base64": "é"}}}, "BadRequest"),
        ({"files": {"verdict": "\ud800"}}, "BadRequest"),
        ({"files": {"\ud800": "yes"}}, "BadAnswer"),
        ({"text": "\ud800"}, "BadRequest"),
        ({"files": {"verdict": 7}}, "BadRequest"),
        ({"files": ["verdict"]}, "BadRequest"),
        ({"text": 7}, "BadRequest"),
        ({"file": {}}, "BadRequest"),
    ],
)
async def test_a_wrong_answer_is_refused_and_the_question_stays(
    address: str, body: object, error: str
) -> None:
    text = json.dumps(body).encode()
    status, answer = await ask(address, "POST", "/v1/people/job/review", text, **READ)
    assert (status, answer["error"]) == (400, error)
    assert (await asked_at(address))["task"] == "review"


# -- whom the command line asks --------------------------------------------------------------------


@asynccontextmanager
async def pretended_door(members: list[dict[str, str]]) -> AsyncIterator[tuple[str, list[str]]]:
    """A door where nothing waits, with what it tells of its team and which tokens it was shown."""
    shown: list[str] = []

    async def answer(request: web.Request) -> web.StreamResponse:
        shown.append(request.headers.get("Authorization", ""))
        return web.json_response(members if request.path == "/v1/members" else [])

    app = web.Application()
    app.router.add_get("/{path:.*}", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    listening = listen_on("127.0.0.1", 0)
    await web.SockSite(runner, listening).start()
    try:
        yield endpoint_of(listening), shown
    finally:
        await runner.cleanup()


async def test_no_door_that_a_member_names_is_shown_the_token(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("QUORATE_TOKEN", TOKEN)
    async with pretended_door([]) as (elsewhere, shown_elsewhere):
        members = [{"door": elsewhere}]
        async with pretended_door(members) as (address, shown):
            verb = ("answer", "--node", address)
            done = await asyncio.to_thread(quorate_here, *verb, folder=tmp_path)
    assert (done.returncode, done.stdout) == (0, "nothing waits for a person's answer\n")
    assert set(shown) == {f"Bearer {TOKEN}"}
    assert shown_elsewhere == []


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (b"x" * (FILE_SIZE_MAX + 1), "over the limit"),
        (b"\xff", "not UTF-8 text: give it by --file"),
    ],
)
async def test_what_standard_input_gives_is_a_text_of_bounded_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: bytes, words: str
) -> None:
    monkeypatch.setenv("QUORATE_TOKEN", TOKEN)
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(given)))
    async with asking(tmp_path, REVIEW) as address:
        verb = ("answer", "review", "-", "--node", address)
        done = await asyncio.to_thread(quorate_here, *verb, folder=tmp_path)
        assert (done.returncode, done.stdout) == (2, "")
        assert f"standard input is {words}" in done.stderr
        assert (await asked_at(address))["task"] == "review"


# -- a team of processes, and the command line -----------------------------------------------------


@pytest.fixture(scope="module")
def team(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    yield from started(tmp_path_factory.mktemp("people") / "team", 3)


async def test_people_answer_from_any_node_and_outlive_the_one_that_asked(
    team: Cluster, tmp_path: Path
) -> None:
    """Whoever asks `plan` is killed, another goes on asking; both answers are given elsewhere."""

    async def verb(*given: str) -> tuple[int, str, str]:
        where = ("--dir", str(team.folder))
        done = await asyncio.to_thread(quorate_here, *given, *where, folder=tmp_path)
        return done.returncode, done.stdout, done.stderr

    assert (await verb("answer"))[:2] == (0, "nothing waits for a person's answer\n")
    code, _, said = await verb("answer", "plan", "--text", "x")
    assert code == 1
    assert "no task 'plan' waits" in said
    tasks = (
        Task("plan", "Which way?", writes=("plan.txt",), agent="human"),
        Task("why", "Why?", needs=("plan",), agent="human"),
    )
    await team.doors().submit(job(*tasks, claims=ClaimMode.RAFT))
    asking = await waiting(team, "plan")
    holder = next(node for node in team.nodes if node.name == asking["node"])
    holder.process.signal(9)
    while (again := await waiting(team, "plan"))["node"] == holder.name:
        await asyncio.sleep(0.05)
    code, shown, _ = await verb("answer", "plan")
    assert code == 0
    assert "Which way?" in shown
    (tmp_path / "mine").write_text("left\n")
    assert (await verb("answer", "plan", "--file", "plan=mine"))[0] == 1
    other = next(n for n in team.nodes if n.name not in (holder.name, again["node"]))
    answer = ("answer", "plan", "--file", "plan.txt=mine", "--node", other.name)
    code, said, _ = await verb(*answer)
    assert (code, said) == (0, f"plan: the answer is handed in by {again['node']}\n")
    await waiting(team, "why")
    assert (await verb("answer", "why", "--text", "It is shorter."))[0] == 0
    async with asyncio.timeout(30):
        end = await team.doors().await_end("job")
        files = await team.doors().files("job")
    assert end["succeeded"], end
    assert files == [text_file("plan.txt", "left\n")]


async def test_a_person_is_told_that_another_node_checks_what_this_one_cannot(
    team: Cluster, tmp_path: Path
) -> None:
    """The check's program is missing at whoever asks."""
    lacking = tmp_path / "lacking"
    lacking.write_text("nobody")
    here = f'case "$PWD" in "$(cat {shlex.quote(str(lacking))})"/*)'
    task = replace(REVIEW, verify=f"{here} no-such-check;; *) grep yes verdict;; esac")
    await team.doors().submit(replace(job(task), id="checked"))
    asking = await waiting(team, "review")
    asker = next(node for node in team.nodes if node.name == asking["node"])
    lacking.write_text((team.data_dir(asker) / ROOT_RECORD).read_text())
    answer = ("answer", "review", "--text", "yes", "--dir", str(team.folder))
    done = await asyncio.to_thread(quorate_here, *answer, folder=tmp_path)
    assert done.returncode == 0
    assert f"another node checks it, for {asker.name} cannot: the check's command" in done.stdout
    async with asyncio.timeout(30):
        end = await team.doors().await_end("checked")
    assert end["succeeded"], end


async def waiting(team: Cluster, task: str) -> dict[str, Any]:
    """The open question of this task, as soon as a node that lives asks it."""
    async with asyncio.timeout(30):
        while True:
            told = await team.doors().gather("/v1/people")
            for row in (row for rows in told for row in rows or ()):
                if row["task"] == task:
                    assert isinstance(row, dict)
                    return row
            await asyncio.sleep(0.05)
