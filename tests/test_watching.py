"""What is seen of a run from outside: who works and who leads, and whether it can go on at all."""

from __future__ import annotations

import asyncio
import io
import json
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import pytest
from command_line import quorate
from rich.console import Console

from node.cli import app
from node.cli.progress import table_of
from node.lab import majority
from node.lab.door import Doors
from node.lab.majority import Majority
from node.lab.watch import Progress, TaskProgress
from protocol.jobs import Job, Task

if TYPE_CHECKING:
    from node.lab.run_job import Run

NAMES = {"a": "n1", "b": "n2"}
JOB = Job("job", "job", (Task("t", ""), Task("u", "")))


def seen(*facts: tuple[str, str, dict[str, Any]]) -> Progress:
    """What is known after these: (node, type, the rest)."""
    progress = Progress("job", {task: TaskProgress(task) for task in ("t", "u")})
    for at, kind, rest in facts:
        common = {"ts": 1.0, "job": "job", "at": at, "agent": NAMES[at], "type": kind}
        progress.take({**common, **rest})
    return progress


def of(task: str, **rest: object) -> dict[str, Any]:
    return {"task": task, "slot": 0, "token": 1, **rest}


def shown(progress: Progress, *alive: str) -> str:
    nodes = [SimpleNamespace(name=name) for name in NAMES.values()]
    running = [node for node in nodes if node.name in alive]
    cluster = SimpleNamespace(nodes=nodes, running=lambda: running)
    run = cast("Run", SimpleNamespace(progress=progress, cluster=cluster, struck=[], job=JOB))
    screen = io.StringIO()
    Console(file=screen, width=200).print(table_of(run))
    return screen.getvalue()


# -- who works -------------------------------------------------------------------------------------


def test_what_is_only_given_out_is_not_in_work() -> None:
    claimed = [("a", "TaskClaimed", of(task, node="a")) for task in ("t", "u")]
    progress = seen(*claimed, ("a", "TaskStarted", of("t", races=False)))
    assert progress.working == {"t"}
    screen = shown(progress, "n1", "n2")
    assert "0 of 2 accepted, 1 in work" in screen
    assert [line.split()[:2] for line in screen.splitlines()[2:]] == [
        ["t", "working"],
        ["u", "given"],
    ]


@pytest.mark.parametrize(
    ("kind", "rest"),
    [
        ("TaskCompleted", {}),
        ("AttemptAborted", {"reason": "settled"}),
        ("AttemptFailed", {"reason": "agent", "detail": "no"}),
    ],
)
def test_an_agent_that_has_ended_works_no_more(kind: str, rest: dict[str, Any]) -> None:
    begun = ("a", "TaskStarted", of("t", races=False))
    racing = ("b", "TaskStarted", of("t", races=True))
    # A racer that took the holder's place ends under another token.
    ended = ("a", kind, of("t", token=2) | rest)
    assert seen(begun, ended).working == set()
    assert seen(begun, racing, ended).working == {"t"}, "the racer goes on"


def test_a_node_that_is_lost_takes_its_work_with_it() -> None:
    progress = seen(("a", "TaskStarted", of("t", races=False)))
    progress.lose("b")
    assert progress.working == {"t"}
    progress.lose("a")
    assert progress.working == set()


# -- who leads -------------------------------------------------------------------------------------


def test_a_leader_that_is_dead_or_has_stepped_down_leads_no_more() -> None:
    elected = ("b", "LeaderElected", {"term": 2, "leader": "a"})
    missed = ("b", "LeaderElected", {"term": 2, "leader": ""})
    gone = ("a", "LeaderElected", {"term": 2, "leader": ""})
    named = ("a", "LeaderElected", {"term": 1, "leader": ""})  # an older word, which tells its name
    assert "leader n1 of term 2" in shown(seen(elected, named), "n1", "n2")
    assert "leader n1 of term 2" in shown(seen(elected, named, missed), "n1", "n2")
    assert "no leader" in shown(seen(elected, named), "n2")
    assert "no leader" in shown(seen(elected, gone), "n1", "n2")


# -- whether it can go on --------------------------------------------------------------------------


class Told:
    """Doors that say whether a majority is lost."""

    def __init__(self, *said: list[bool]) -> None:
        self.said = list(said)

    async def gather(self, path: str) -> list[Any]:
        assert path == "/v1/status"
        why = "1 of 3 voters can vote"
        return [
            {"is_majority_lost": lost, "why_no_leader": [why], "commit": 1}
            for lost in self.said.pop(0)
        ]


async def why_lost(*said: list[bool]) -> list[str]:
    doors, asked = Told(*said), Majority()
    return [await asked.why_lost(cast("Doors", doors)) for _ in said]


async def test_a_majority_is_lost_when_everybody_goes_on_saying_so(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(majority, "ASK_EVERY_S", 0.0)
    clock = iter(range(1, 1000, 3))
    monkeypatch.setattr(majority, "time", SimpleNamespace(monotonic=lambda: float(next(clock))))
    lost = "no majority is left to accept anything: 1 of 3 voters can vote"
    assert await why_lost([True, True], [True], [True, True]) == ["", "", lost]
    assert await why_lost([True], [True, False], [True], [True], [True]) == ["", "", "", "", lost]
    assert await why_lost([True], [], [True]) == ["", "", ""], "nobody has said anything"


async def test_the_nodes_are_asked_now_and_then_only() -> None:
    doors, asked = Told([True]), Majority()
    for _ in range(3):
        assert await asked.why_lost(cast("Doors", doors)) == ""
        await asyncio.sleep(0)
    assert doors.said == []


# -- as a user sees it -----------------------------------------------------------------------------

ENDLESS = """
job: endless
defaults: {agent: command}
tasks:
  - {id: quick, run: "echo done", writes: [quick.txt]}
  - {id: long, needs: [quick], run: "sleep 600", writes: [long.txt], verify: "test -s long.txt"}
"""


def test_a_run_that_is_out_of_time_keeps_what_was_accepted(tmp_path: Path) -> None:
    (tmp_path / "endless.yaml").write_text(ENDLESS)
    options = ["-n", "1", "--within", "5s", "--out", "result", "--json"]
    done = quorate("run", "endless.yaml", *options, folder=tmp_path)
    assert done.returncode == 1, done.stderr
    outcome = json.loads(done.stdout)
    assert outcome["given_up"].startswith("out of time after 5 s: give a run longer")
    assert not outcome["succeeded"]
    assert [task["status"] for task in outcome["tasks"]] == ["accepted", "working"]
    assert outcome["checks"] == {}, "of what is not there nothing is checked"
    assert (tmp_path / "result" / "quick.txt").read_text() == "done\n"
    manifest = json.loads((tmp_path / "result" / "manifest.json").read_text())
    assert not manifest["succeeded"]
    assert list(manifest["files"]) == ["quick.txt"]


def test_who_waits_for_a_job_that_fails_is_told_of_what_and_why(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Failed:
        addresses = ()
        answering = ""

        async def get(self, path: str) -> dict[str, Any]:
            assert path == "/v1/status"
            return {"alive": 3}

        async def submit(self, job: object) -> str:
            return "job"

        async def await_end(self, job: str) -> dict[str, Any]:
            tasks = [
                {"id": "good", "abandoned": "", "accepted": {"name": "n1"}, "status": "accepted"},
                {"id": "bad", "abandoned": "5 attempts failed", "accepted": None, "status": "-"},
                {"id": "after", "abandoned": "", "accepted": None, "status": "waiting"},
            ]
            merge = {"path": "f", "tasks": ["a", "b"], "fault": "no model", "waits": False}
            state = {"id": job, "finished": True, "succeeded": False, "outcome": "0a"}
            spent = {"tokens_in": 0, "tokens_out": 0, "unpriced_tokens": 0, "usd": 0.0}
            spent |= {"simulated": False}
            state |= {"spent": spent, "budget": {}}
            return {**state, "tasks": tasks, "merges": [merge]}

    monkeypatch.setattr("node.cli.job_verbs.doors_of", lambda *_: Failed())
    assert app(["submit", "mathutils_p05", "--wait"], standalone_mode=False) == 1
    assert capsys.readouterr().out.splitlines() == [
        "job: failed, 1 of 3 accepted, outcome 0a",
        "  bad abandoned: 5 attempts failed",
        "  after out of reach: something it needs was abandoned",
        "  f of a, b: not merged: no model",
    ]
