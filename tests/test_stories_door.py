"""What a node's door tells of a task's story."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from lone_node import ALLOWED, TOKEN, ask, lone_node

from node.doors import stories
from node.lab.door import Door, Doors, route
from node.recollection import fact_of
from node.runtime import Runtime
from protocol.facts.work import (
    AttemptFailed,
    JobSubmitted,
    TaskAbandoned,
    TaskAccepted,
    TaskClaimed,
    TaskCompleted,
    TaskStarted,
)
from protocol.jobs import File, Job, Task

TASKS = (
    Task("good", "", agent="command", program="sleep 0.4; echo fine", writes=("good.txt",)),
    Task(
        "bad",
        "",
        agent="command",
        program="echo poor",
        writes=("bad.txt",),
        verify="cat bad.txt note.txt; exit 1",
        attempts_max=1,
    ),
    Task("after", "", agent="command", program="true", needs=("bad", "good")),
    Task("last", "", agent="command", program="true", needs=("after",)),
)
JOB = Job("job", "job", TASKS, files=(File("note.txt", b"no such luck\n"),))


@pytest.fixture
async def node(tmp_path: Path) -> AsyncIterator[tuple[str, Runtime]]:
    """A node that has done a job; all that it reported is written down."""
    async with lone_node(tmp_path) as (address, runtime):
        async with Door(address, TOKEN) as door:
            await door.submit(JOB)
        await Doors([address], TOKEN).await_end("job")
        runtime.telemetry.close()
        yield address, runtime


async def told(address: str, task: str) -> dict[str, Any]:
    """The story of a task."""
    async with Door(address, TOKEN) as door:
        view: dict[str, Any] = await door.get(route("jobs", "job", "tasks", task, "story"))
    return view


async def test_the_story_of_a_task_has_its_facts_and_no_others(
    node: tuple[str, Runtime],
) -> None:
    address, runtime = node
    view = await told(address, "good")
    facts = [fact for fact in map(fact_of, view["facts"]) if getattr(fact, "job", "") == "job"]
    assert [type(fact) for fact in facts[:5]] == [
        *(JobSubmitted, TaskStarted, TaskClaimed, TaskCompleted, TaskAccepted)
    ]
    assert {getattr(fact, "task", "good") for fact in facts} == {"good"}
    assert (view["name"], view["dropped"], view["lines_lost"]) == ("n1", 0, 0)
    accepted = view["task"]["accepted"]
    assert (accepted["name"], accepted["token"], view["task"]["status"]) == ("n1", 1, "accepted")
    assert view["task"]["committed"] == {
        "index": accepted["index"],
        "term": runtime.peer.raft.log.last_term,
        "leader": "n1",
    }
    assert view["waits_for"] == []
    (part,) = view["parts"]
    assert (part["path"], part["slot"], part["token"], part["size"]) == ("good.txt", 0, 1, 5)
    (claim,) = view["claims"]
    assert (claim["node"], claim["token"], claim["phase"]) == (runtime.peer.node, 1, "working")


async def test_what_a_check_said_is_told_after_the_job_as_well(node: tuple[str, Runtime]) -> None:
    view = await told(node[0], "bad")
    facts = [fact_of(record) for record in view["facts"]]
    (failed,) = [fact for fact in facts if isinstance(fact, AttemptFailed)]
    assert (failed.reason, failed.detail) == ("verify", "poor\nno such luck")
    assert any(isinstance(fact, TaskAbandoned) for fact in facts)
    (note,) = view["notes"]
    assert (note["reason"], note["detail"]) == ("verify", "poor\nno such luck")
    assert note["wall_ms"] > 0


async def test_a_task_that_waits_tells_what_for(node: tuple[str, Runtime]) -> None:
    view = await told(node[0], "last")
    assert [row["id"] for row in view["waits_for"]] == ["after", "bad"]
    after, bad = view["waits_for"]
    assert after["needs"] == ["bad"]
    assert bad["abandoned"].startswith("1 attempt failed")
    assert view["needs"] == [{"id": "after", "accepted_from": "", "index": 0}]
    assert (await told(node[0], "after"))["needs"][1]["index"] > 0


async def test_the_jobs_that_have_a_task_are_listed(node: tuple[str, Runtime]) -> None:
    assert await ask(node[0], "GET", "/v1/tasks/good", **ALLOWED) == (200, {"jobs": ["job"]})


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("/v1/tasks/god", "no job has a task 'god'; there is good"),
        ("/v1/jobs/job/tasks/godo/story", "job job has no task 'godo'; there is good"),
        ("/v1/jobs/jop/tasks/good/story", "this node knows no job 'jop'; there is job"),
        ("/v1/tasks/zzz", "there is good, bad, after"),
    ],
)
async def test_what_is_not_there_is_answered_with_what_is_most_like_it(
    node: tuple[str, Runtime], path: str, words: str
) -> None:
    status, answer = await ask(node[0], "GET", path, **ALLOWED)
    assert (status, answer["error"]) == (404, "NotFound")
    assert words in str(answer["detail"])


async def test_what_is_most_like_it_is_sought_beside_the_loop(
    node: tuple[str, Runtime], monkeypatch: pytest.MonkeyPatch
) -> None:
    threads: list[threading.Thread] = []

    def nearest(*_: object) -> str:
        threads.append(threading.current_thread())
        return ""

    monkeypatch.setattr(stories, "nearest", nearest)
    paths = ("/v1/tasks/god", "/v1/jobs/job/tasks/godo/story", "/v1/jobs/jop/tasks/good/story")
    for path in paths:
        assert (await ask(node[0], "GET", path, **ALLOWED))[0] == 404
    assert len(threads) == len(paths)
    assert threading.current_thread() not in threads


def test_only_so_many_ids_are_compared() -> None:
    far = [str(number) for number in range(stories.COMPARED_MAX - 1)]
    assert stories.nearest("god", [*far, "good"]) == "; there is good"
    assert stories.nearest("god", [*far, "x", "good"]) == "; there is 0, 1, 2"


async def test_only_so_many_stories_are_told_at_a_time(
    node: tuple[str, Runtime], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stories, "READS_MAX", 0)
    path = "/v1/jobs/job/tasks/good/story"
    status, answer = await ask(node[0], "GET", path, **ALLOWED)
    assert (status, answer["error"]) == (503, "Busy")
    monkeypatch.undo()
    for _ in range(stories.READS_MAX + 1):  # one after the other
        assert (await ask(node[0], "GET", path, **ALLOWED))[0] == 200
