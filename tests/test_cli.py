"""The command line as a user meets it: what it prints, what it refuses, its exit codes."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import fields, replace
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import pytest
from command_line import QUORATE, quorate, quorate_here
from rich.console import Console

from node.cli import app
from node.cli.agreement_verbs import lines_of
from node.cli.progress import RunDisplay, print_outcome, table_of
from node.lab.cluster import Cluster
from node.lab.door import DoorError
from node.lab.outcome import Outcome
from node.lab.output import OutputError, check_output_folder
from node.lab.prediction import Planned
from node.lab.watch import Progress, TaskProgress
from node.legible import printable
from protocol.jobs import Job, Task

if TYPE_CHECKING:
    from node.lab.run_job import Run


@pytest.mark.parametrize(
    ("arguments", "fault"),
    [
        (["run", "nowhere.yaml"], "there is no job file 'nowhere.yaml'"),
        (["run", "mathutils_p06"], "lists are mathutils_p02"),
        (["run", "broken.yaml"], "broken.yaml, line 3: not YAML"),
        (["run", "outside.yaml"], "outside the simulated model's answer book"),
        (
            ["run", "model.yaml"],
            "has no model to ask: set OPENAI_BASE_URL, OPENAI_API_KEY and OPENAI_MODEL\n",
        ),
        (["run", "-n", "0"], "1 to 64 nodes"),
        (["run", "colon.yaml"], "task 't' runs 'json', which names no function"),
        (["run", "--out", "/proc/foo"], "/proc/foo cannot be written to"),
        (["run", "--out", "/proc/foo/deeper"], "/proc/foo/deeper cannot be written to"),
        (["run", "--out", "x" * 300], "cannot be written to (File name too long)"),
        (["run", "--fault", "earthquake"], "is no fault"),
        (["run", "-n", "3", "--fault", "kill-followers:9@5%"], "in a team of 3 there are 2"),
        (["run", "-n", "1", "--fault", "stop:2s@5%"], "in a team of 1 there are 0"),
        (["run", "--within", "soon"], "is no duration: write for instance 90s, 10m or 1h"),
        (["run", "--kill-leader-at", "lots"], "is no percentage"),
        (["run", "--out", "full"], "is not empty"),
        (["run", "--speed", "0"], "Invalid value for '--speed'"),
        (["run", "--wrong", "3"], "Invalid value for '--wrong'"),
        (["run", "--seed", "-1"], "Invalid value for '--seed'"),
        (["run", "--model", "parrot"], "use one of gpt, claude, gemini"),
        (["plan", "nowhere.yaml"], "there is no job file 'nowhere.yaml'"),
        (["plan", "circle.yaml"], "tasks need each other in a cycle: a -> b -> a; remove one"),
        (["plan", "--agents", "0-4"], "agents '0-4': write numbers or ranges from 1 to 64"),
        (["plan", "--success", "0"], "success 0 is a share of attempts"),
        (["plan", "--success", "2"], "Invalid value for '--success'"),
        (["plan", "--model", "parrot"], "use gpt, claude, gemini"),
        (["plan", "--history", "nowhere.json"], "nowhere.json cannot be read"),
        (["plan", "--history", "full/mine.txt"], "full/mine.txt is not JSON"),
        (["up", "-n", "-3"], "1 to 64 nodes"),
        (["up", "--dir", "broken.yaml"], "broken.yaml is a file: name a new folder"),
        (["sim", "--seeds", "0"], "Invalid value for '--seeds'"),
        (["logs", "--lines", "0"], "Invalid value for '--lines'"),
        (["ps", "--node", "http://x"], "is no host:port"),
        (["run", "manifest.yaml"], "the manifest's name"),
        (["answer", "t", "--file", "a=full/mine.txt", "--file", "a=full/mine.txt"], "given twice"),
        (["ps"], "there is no team in .quorate"),
        (["down"], "there is no team in .quorate"),
        (["submit", "mathutils_p05"], "there is no team in .quorate"),
        (["status"], "there is no team in .quorate"),
        (["why", "add"], "there is no team in .quorate"),
        (["transfer"], "there is no team in .quorate"),
        (["register", "k"], "there is no team in .quorate"),
        (["register", ""], "a key has at least one character"),
        (["register", "k", "--set", "v", "--delete"], "exclude each other"),
        (["register", "k", "--set", "v", "--expect", "x", "--absent"], "exclude each other"),
        (["register", "k", "--expect", "x"], "conditions for --set"),
        (["register", "k", "--delete", "--absent"], "conditions for --set"),
        (["register", "k", "--set", "v", "--consistency", "local"], "is for reading"),
        (["register", "k", "--consistency", "strong"], "'linearizable', 'lease', 'local'"),
        (["rescue"], "--node says whose log shall be the team's"),
        (["ask", " "], "the question is empty"),
        (["ask", "x", "-k", "17"], "-k must be 1 to 16"),
        (["ask", "x", "--judge", "--run", "cat"], "--judge asks a model, and a command agent"),
        (["ask", "x", "--wrong", "2"], "Invalid value for '--wrong'"),
        (["ask", "x", "-n", "0"], "1 to 64 nodes"),
        (["note", "x", "--lasts", "0s"], "--lasts: 0s is no time"),
        (["note", "x", "--lasts", "soon"], "is no duration"),
        (["note", "x", "--task", "t", "--path", "p"], "about a task or a path, not both"),
        (["note", ""], "the note is empty"),
        (["cancel", "nothing", "--dir", "nowhere"], "there is no team in nowhere"),
        (["note", "--lasts", "10m"], "--task, --path and --lasts are of a note"),
        (["note", "--task", "t"], "--task, --path and --lasts are of a note"),
        (["up", "--wrong", "-1"], "Invalid value for '--wrong'"),
        (["ask", "What is love?"], "outside the simulated model's answer book"),
        (["node"], "the following arguments are required: --data-dir"),
    ],
)
def test_what_cannot_be_is_refused_with_exit_code_2(
    arguments: list[str], fault: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("OPENAI_BASE_URL", "OPENAI_API_KEY", "QUORATE_SECRET"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "broken.yaml").write_text("job: a\ntasks:\n  - {id: t\n")
    (tmp_path / "outside.yaml").write_text("job: a\ntasks: [{id: t, writes: [unheard_of.py]}]")
    (tmp_path / "model.yaml").write_text("job: a\ntasks: [{id: t, agent: openai}]")
    manifest = "job: a\ntasks: [{id: t, agent: command, run: 'true', writes: [manifest.json]}]"
    (tmp_path / "manifest.yaml").write_text(manifest)
    colon = "job: a\ntasks: [{id: t, agent: python, run: json}]"
    (tmp_path / "colon.yaml").write_text(colon)
    circle = "job: a\ntasks: [{id: a, needs: [b], run: x}, {id: b, needs: [a], run: x}]"
    (tmp_path / "circle.yaml").write_text(circle)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("keep me")
    before = sorted(path.name for path in tmp_path.rglob("*"))
    done = quorate_here(*arguments, folder=tmp_path)
    assert done.returncode == 2, done.stderr
    assert fault in done.stderr
    assert "Traceback" not in done.stderr
    assert "starting" not in done.stdout
    assert sorted(path.name for path in tmp_path.rglob("*")) == before, "nothing was left behind"


@pytest.mark.parametrize("content", [b"a\nb", b"\x07x", "für".encode(), b"\xff\xfe", b"x" * 300])
def test_a_token_that_no_header_can_carry_is_refused_in_one_line(
    content: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "token"
    file.write_bytes(content)
    for variable, value in (("QUORATE_TOKEN", os.fsdecode(content)), ("QUORATE_TOKEN_FILE", file)):
        with monkeypatch.context() as patch:
            patch.setenv(variable, str(value))
            done = quorate_here("ps", "--node", "127.0.0.1:1", folder=tmp_path)
        assert done.returncode == 2, done.stderr
        assert done.stderr.count("\n") == 1
        assert variable in done.stderr


def test_a_token_file_that_is_missing_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("QUORATE_TOKEN_FILE", "nowhere")
    done = quorate_here("ps", "--node", "127.0.0.1:1", folder=tmp_path)
    assert done.returncode == 2
    assert "QUORATE_TOKEN_FILE nowhere: there is no such file" in done.stderr


def test_a_folder_that_is_only_tried_is_not_left_behind(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    check_output_folder(tmp_path / "mine")
    check_output_folder(tmp_path / "mine" / "a" / "b")
    assert list(tmp_path.rglob("*")) == [tmp_path / "mine"]


def test_an_output_folder_that_is_no_folder_is_told_apart(tmp_path: Path) -> None:
    (tmp_path / "loose").symlink_to(tmp_path / "nothing")
    (tmp_path / "file").touch()
    (tmp_path / "full" / "a").mkdir(parents=True)
    for name, fault in (
        ("loose", "is a link to nothing"),
        ("file", "is a file"),
        ("full", "is not empty"),
    ):
        with pytest.raises(OutputError, match=f"{name} {fault}: name a new folder with --out"):
            check_output_folder(tmp_path / name)


def test_help_names_every_verb(tmp_path: Path) -> None:
    done = quorate_here("--help", folder=tmp_path)
    assert done.returncode == 0
    verbs = "run, up, down, ps, submit, tasks, get, ask, logs, doctor, node, sim, "
    verbs += (
        "check, explore, status, register, transfer, rescue, study, why, plan, diff, note, cancel"
    )
    for verb in verbs.split(", "):
        assert f"\n  {verb} " in done.stdout


def test_help_imports_nothing_heavy(tmp_path: Path) -> None:
    code = "import sys, node.cli; print(*sorted(m for m in sys.modules if '.' not in m))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    heavy = {"aiohttp", "openai", "pydantic", "yaml", "cryptography", "sqlite3", "uvloop"}
    assert not heavy & set(done.stdout.split())


def test_the_doctor_finds_this_machine_well(tmp_path: Path) -> None:
    done = quorate("doctor", "--json", folder=tmp_path)
    findings = json.loads(done.stdout)
    assert done.returncode == 0
    assert {finding["what"] for finding in findings} >= {"python", "loopback", "journal", "model"}


def test_a_simulated_seed_is_the_same_twice_and_holds(tmp_path: Path) -> None:
    runs = [
        quorate("sim", "--seed", "11", "--nodes", "3", "--json", folder=tmp_path) for _ in range(2)
    ]
    assert runs[0].stdout == runs[1].stdout
    assert json.loads(runs[0].stdout)[0]["verdict"] == "held"
    assert runs[0].returncode == 0


WARNED = """
job: two
defaults: {agent: command, run: "echo same"}
tasks: [{id: a, writes: [same.txt]}, {id: b, writes: [same.txt]}]
"""


def test_a_whole_run_of_a_job_of_ones_own(tmp_path: Path) -> None:
    (tmp_path / "two.yaml").write_text(WARNED)
    done = quorate("run", "two.yaml", "-n", "1", "--out", "result", "--json", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "both write 'same.txt' without an order" in done.stderr
    outcome = json.loads(done.stdout)
    assert outcome["succeeded"]
    assert outcome["agreed"]
    manifest = json.loads((tmp_path / "result" / "manifest.json").read_text())
    assert manifest["outcome"] == outcome["outcome"]
    assert (tmp_path / "result" / "same.txt").read_text() == "same\n"
    assert outcome["planned"] is None, "of programs nothing is known"
    measured = manifest["run"]["measured"]
    assert measured == outcome["measured"]
    history = ["--history", "result/manifest.json", "--agents", "1-2"]
    done = quorate_here("plan", "two.yaml", *history, "--json", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    alone, pair = json.loads(done.stdout)["sizes"]
    took_s = [measured[task]["took_s"] for task in ("a", "b")]
    assert alone["makespan"] == pytest.approx(sum(took_s), abs=0.001)
    assert pair["makespan"] == pytest.approx(max(took_s), abs=0.001)


def test_a_plan_says_which_size_is_sensible(tmp_path: Path) -> None:
    for name, verdict in (
        ("mathutils_p09", "agents are sensible"),
        ("svgutils_p02", "One agent is better"),
    ):
        done = quorate_here("plan", name, folder=tmp_path)
        assert done.returncode == 0, done.stderr
        assert verdict in done.stdout
        rows = [line.split()[0] for line in done.stdout.splitlines() if line[:6].strip().isdigit()]
        assert rows[-8:] == ["1", "2", "3", "4", "5", "8", "16", "32"]
        assert list(tmp_path.iterdir()) == []


FAILING = """
job: fails
defaults: {agent: command, attempts: 2, verify: "sh check.sh"}
files: [check.sh]
tasks:
  - {id: good, run: "echo fine", writes: [good.txt], verify: ""}
  - {id: bad, run: "echo wrong", writes: [bad.txt]}
  - {id: after, needs: [bad], run: "echo never", writes: [after.txt], verify: ""}
"""


def test_a_task_that_always_fails_ends_the_job_with_exit_code_1(tmp_path: Path) -> None:
    (tmp_path / "fails.yaml").write_text(FAILING)
    (tmp_path / "check.sh").write_text("echo no such luck; exit 1\n")
    done = quorate("run", "fails.yaml", "-n", "1", "--out", "result", folder=tmp_path)
    assert done.returncode == 1, done.stderr
    assert "FAILED" in done.stdout
    assert "bad abandoned: 2 attempts failed" in done.stdout
    assert "no such luck" in done.stdout
    assert (tmp_path / "result" / "good.txt").read_text() == "fine\n", "the rest is kept"
    assert not (tmp_path / "result" / "after.txt").exists()


def test_who_stops_reading_is_told_nothing_more(tmp_path: Path) -> None:
    verb = [*QUORATE, "sim", "--seed", "11", "--nodes", "3", "--trace"]
    with subprocess.Popen(
        verb, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == ""
    assert process.returncode == 1


# -- the agreement ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def team(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A team's folder; its nodes run."""
    folder = tmp_path_factory.mktemp("team")
    try:
        assert quorate("up", "-n", "3", "--speed", "50", folder=folder).returncode == 0
        yield folder
    finally:
        quorate("down", folder=folder)


def test_a_register_is_written_read_and_deleted(team: Path) -> None:
    def register(*arguments: str) -> tuple[int, str, str]:
        done = quorate_here("register", *arguments, folder=team)
        return done.returncode, done.stdout, done.stderr

    assert register("a/ü", "--set", "one", "--absent") == (0, "revision 1\n", "")
    assert register("a/ü") == (0, "one", "")
    unequal = "the value is not the expected one: nothing was changed\n"
    assert register("a/ü", "--set", "two", "--absent") == (1, "", unequal)
    assert register("a/ü", "--set", "two", "--expect", "three") == (1, "", unequal)
    assert register("a/ü", "--set", "two", "--expect", "one")[0] == 0
    code, said, _ = register("a/ü", "--json", "--consistency", "lease", "--node", "n2")
    assert (code, json.loads(said)) == (0, {"key": "a/ü", "revision": 2, "value": "two"})
    assert json.loads(register("a/ü", "--delete", "--json")[1]) == {"key": "a/ü", "revision": 3}
    assert register("a/ü") == (1, "", "there is no such register\n")


def test_the_status_is_told_by_the_leader(team: Path) -> None:
    done = quorate_here("status", folder=team)
    assert done.returncode == 0, done.stderr
    leader = json.loads(quorate_here("status", "--json", folder=team).stdout)["leader_name"]
    assert done.stdout.startswith(f"leader {leader} (term ")
    assert f"{leader} (leads)" in done.stdout
    other = next(name for name in ("n1", "n2", "n3") if name != leader)
    one = json.loads(quorate_here("status", "--node", other, "--json", folder=team).stdout)
    assert (one["name"], one["leader_name"]) == (other, leader)


def test_leadership_goes_to_whom_it_is_given(team: Path) -> None:
    leader = json.loads(quorate_here("status", "--json", folder=team).stdout)["leader_name"]
    other = next(name for name in ("n1", "n2", "n3") if name != leader)
    for _ in range(2):  # the second time there is nothing to do
        assert quorate_here("transfer", other, folder=team).stdout == f"{other} leads\n"
    back = quorate_here("transfer", leader, "--node", leader, folder=team)  # which does not lead
    assert back.stdout == f"{leader} leads\n", back.stderr
    assert quorate_here("transfer", other, folder=team).stdout == f"{other} leads\n"
    assert (
        json.loads(quorate_here("transfer", "--json", folder=team).stdout)["leader_name"] != other
    )
    done = quorate_here("transfer", "n9", folder=team)
    assert (done.returncode, done.stderr) == (2, "error: this node knows no node 'n9'\n")


def status_of(**said: object) -> dict[str, object]:
    """A status as a node tells it, of three voters without a leader."""
    return {
        "name": "n1",
        "term": 4,
        "epoch": 0,
        "role": "follower",
        "leader": "",
        "leader_name": "",
        "why_no_leader": ["1 of 3 voters can vote", "no leader for 2.0 s"],
        "voters": ["a", "b", "c"],
        "changing_from": [],
        "learners": [],
        "names": {"a": "n1", "b": "n2", "c": "n3", "d": "n4"},
        "lost": [],
        "commit": 9,
        "applied": 9,
        "first_index": 1,
        "snapshot_index": 0,
        "last_index": 10,
        "progress": [],
        "transferring_to": "",
        "impaired": False,
        "disk_waits_s": 0.0,
        "seen_at": {},
        "registers": {"keys": 1, "revision": 2, "sessions": 3},
        **said,
    }


def test_a_status_without_a_leader_says_why() -> None:
    said = status_of(impaired=True, disk_waits_s=3.5, seen_at={"203.0.113.7": 2})
    assert lines_of(said) == [
        "no leader (term 4, epoch 0), as n1 sees it:",
        "  - 1 of 3 voters can vote",
        "  - no leader for 2.0 s",
        "voters    n1, n2, n3",
        "log       1 to 10, committed 9, applied 9, snapshot 0",
        "registers 1 key at revision 2, 3 sessions",
        "seen at   203.0.113.7 by 2 nodes, as n1 hears",
        "n1: the journal has lost something; it does not vote",
        "n1: the disk has not answered for 3.5 s",
    ]


def test_a_leaders_status_tells_how_far_the_others_are() -> None:
    progress = [
        {"node": "b", "pace": "snapshot", "lacks": 8, "silent_s": 0.1},
        {"node": "c", "pace": "probe", "lacks": 0, "silent_s": 1.26},
        {"node": "d", "pace": "replicate", "lacks": 2, "silent_s": 0.0},
    ]
    said = status_of(
        why_no_leader=[],
        leader="a",
        leader_name="n1",
        role="leader",
        progress=progress,
        learners=["d"],
        changing_from=["a", "d"],
        transferring_to="c",
        lost=["b"],
    )
    assert lines_of(said)[:5] == [
        "leader n1 (term 4, epoch 0)",
        "handing over to n3",
        "voters    n1 (leads), n2 (is down, lacks 8 of the log, gets a snapshot), "
        "n3 (silent for 1.3 s)",
        "outgoing  n1 (leads), n4 (lacks 2 of the log)",
        "learners  n4 (lacks 2 of the log)",
    ]


class HalfSilent:
    """Doors of a team of which one node is stopped."""

    addresses = ("127.0.0.1:1", "n2's:2")

    async def ask_all(self, path: str) -> list[Any]:
        assert path == "/v1/status"
        return [DoorError("Unreachable", "n1 is silent"), status_of(why_no_leader=[], leader="a")]


def test_a_status_names_who_does_not_answer(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("node.cli.agreement_verbs.doors_of", lambda *_: HalfSilent())
    names = {"127.0.0.1:1": "n1"}
    monkeypatch.setattr("node.cli.agreement_verbs.names_of_doors", lambda *_: names)
    app(["status"], standalone_mode=False)
    assert capsys.readouterr().out.endswith("\nno answer from n1 within 3 s\n")
    app(["status", "--json"], standalone_mode=False)
    assert json.loads(capsys.readouterr().out)["silent"] == ["n1"]


class OneFailed:
    """The door of a node that knows two others, one of which has failed."""

    async def get(self, path: str) -> Any:
        if path == "/v1/status":
            return {"name": "n1", "leader": "a", "trouble": {"says": ["the team is split"]}}
        assert path == "/v1/members"
        return [
            {"node": "a", "name": "n1", "state": "alive", "tags": {"role": "gpu"}, "door": "d:1"},
            {"node": "b", "name": "n2", "state": "failed", "evidence": "silence", "tags": {}},
            {"node": "c", "name": "n3", "state": "alive", "evidence": "", "degraded": True},
        ]


def test_members_are_shown_with_why_they_failed_and_what_is_wrong(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("node.cli.team_verbs.doors_of", lambda *_: OneFailed())
    app(["ps", "--node", "n1"], standalone_mode=False)
    assert capsys.readouterr().out.splitlines() == [
        "n1          alive     leader  role=gpu  http://d:1",
        "n2          failed    silence",
        "n3          alive     degraded",
        "! n1: the team is split",
    ]


# -- what a run shows ----------------------------------------------------------------------------

ODD = "[/odd] [bold]:smile: \\\\\\"  # markup, an emoji's name, and an end that escapes what follows


NO_COSTS = {"calls": 0, "tokens_in": 0, "tokens_out": 0, "simulated": False, "unpriced_tokens": 0}


def odd_outcome() -> Outcome:
    """One with text of users wherever there may be some."""
    task = {"id": ODD, "abandoned": ODD, "accepted": None}
    return Outcome(
        **{field.name: 0 for field in fields(Outcome)}
        | {
            "job": ODD,
            "digests": {ODD: "0"},
            "tasks": [task, {**task, "abandoned": ""}],
            "done_by": {ODD: 1},
            "leader": ODD,
            "outcome": "0",
            "siblings": [{"path": ODD, "versions": [{"name": ODD}]}],
            "merges": [{"path": ODD, "tasks": [ODD], "fault": ODD, "waits": False}],
            "checks": {ODD: f"said\n{ODD}\n", "blank": " \n"},
            "faults": [ODD],
            "output": ODD,
            "alone_s": None,
            "scheduled_s": None,
            "work_s": None,
            "warnings": [],
            "left": {},
            "spent": NO_COSTS,
            "budget": {},
        }
    )


def test_text_of_users_is_printed_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    print_outcome(odd_outcome())
    said = capsys.readouterr().out
    for line in (
        f"{ODD} FAILED: outcome 0",
        f"  {ODD} abandoned: {ODD}",
        f"  {ODD} out of reach",
        f"  {ODD} of {ODD}: not merged: {ODD}",
        f"  siblings of {ODD}: {ODD}",
        f"fault: {ODD}",
        f"  {ODD}: {ODD}",
        "  blank: it said nothing",
        f"no files; what came of each task: {ODD}",
    ):
        assert line in said


def test_a_run_is_shown_beside_its_plan(capsys: pytest.CaptureFixture[str]) -> None:
    done = replace(odd_outcome(), planned=Planned(9.94, 8.8, 11.2), makespan_s=10.81)
    print_outcome(replace(done, succeeded=True))
    assert "\nplanned 9.9 s (8.8-11.2), took 10.8 s\n" in capsys.readouterr().out


def test_a_job_that_failed_is_not_praised_for_its_haste(
    capsys: pytest.CaptureFixture[str],
) -> None:
    planned = Planned(3.1, 2.8, 4.0, 9000, 820, "a stop-watch")
    print_outcome(replace(odd_outcome(), succeeded=False, planned=planned, makespan_s=0.2))
    said = capsys.readouterr().out
    assert "\nplanned 3.1 s and 9820 tokens for the whole job; it failed, so that nothing" in said
    assert "shorter than" not in said
    assert "times as many" not in said


def test_one_agent_alone_is_told_by_the_work_and_of_races_the_least_of_it(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Not by what the model drew, which has neither checks nor failed attempts in it."""
    done = replace(
        odd_outcome(), makespan_s=2.0, alone_s=6.0, scheduled_s=1.6, work_s=3.0, ideal_s=1.0
    )
    print_outcome(replace(done, races=0))
    said = capsys.readouterr().out
    assert "; one agent alone 6.00 s, speed-up 3.00 (" in said
    assert "; ideal schedule 1.60 s, overhead 25 %\n" in said
    print_outcome(replace(done, races=2))
    assert "; one agent alone at least 6.00 s, speed-up 3.00 (" in capsys.readouterr().out


def test_a_run_that_was_given_up_says_why_and_blames_nobody(
    capsys: pytest.CaptureFixture[str],
) -> None:
    task = {"abandoned": "", "accepted": None}
    tasks = [{"id": "t", "status": "working", **task}, {"id": "u", "status": "waiting", **task}]
    print_outcome(replace(odd_outcome(), given_up="out of time after 5 s", tasks=tasks, nodes=2))
    said = capsys.readouterr()
    assert f"{ODD} NOT FINISHED: out of time after 5 s\n" in said.out
    assert "  t not done: working\n  u not done: waiting\n" in said.out
    assert "given up after 0.00 s on 2 nodes\n" in said.out
    assert said.err == ""


def test_a_run_that_brought_nothing_names_nobody_and_promises_no_files(
    capsys: pytest.CaptureFixture[str],
) -> None:
    print_outcome(replace(odd_outcome(), done_by={}, failed_attempts=3, uncounted_attempts=2))
    said = capsys.readouterr().out
    assert "done by: nobody; leader" in said
    assert f"no files; what came of each task: {ODD}/manifest.json" in said
    assert "failed attempts 3 (2 more that cost none: a node lacked something)" in said


def run_with(progress: Progress, *tasks: Task) -> Run:
    job = Job("job", "job", tasks)
    cluster = Cluster(Path("my folder"), "", [])
    return cast("Run", SimpleNamespace(progress=progress, cluster=cluster, struck=[], job=job))


def test_a_run_says_once_what_waits_for_a_person_and_how_to_answer(
    capsys: pytest.CaptureFixture[str],
) -> None:
    progress = Progress("job", {name: TaskProgress(name) for name in ("ask", "work")})
    run = run_with(progress, Task("ask", "?", agent="human"), Task("work", "", agent="command"))
    display = RunDisplay(quiet=True)
    display.show(run)
    progress.at_work = {"n": {("ask", 0), ("work", 0)}}
    for _ in range(2):
        display.show(run)
    line = "ask waits for a person: quorate answer ask --dir 'my folder'\n"
    said = capsys.readouterr()
    assert (said.out, said.err) == ("", line), "not among JSON"
    progress.at_work = {}
    display.show(run)
    progress.at_work = {"m": {("ask", 0)}}
    display.show(run)
    assert capsys.readouterr().err == line, "it is asked anew"
    screen = io.StringIO()
    Console(file=screen, width=200).print(table_of(run))
    assert line in screen.getvalue()


def test_the_table_of_a_run_shows_names_as_they_are() -> None:
    progress = Progress("job", {ODD: TaskProgress(ODD, holder="x", started_at=1.0)}, {"x": ODD})
    run = run_with(progress)
    screen = io.StringIO()
    Console(file=screen, width=200).print(table_of(run))
    assert screen.getvalue().count(ODD) == 2, "as task and as node"


# -- what others say -------------------------------------------------------------------------------

STEER = "\x1b]52;c;cHduZWQ=\x07\x9b2J\u202e"  # sets the clipboard, wipes, writes backwards


class Told:
    """Doors of a team that has a job, in which everybody says what steers a terminal."""

    async def get(self, path: str) -> Any:
        said = {"name": STEER, "task": STEER, "index": 1, "saw": [], "content": STEER}
        task = {"id": STEER, "status": "open", "accepted": None, "holders": [STEER]}
        task |= {"failures": [{"reason": STEER}], "late": [], "abandoned": STEER}
        return {
            "/v1/jobs/j": {
                "id": "j",
                "finished": False,
                "outcome": "",
                "siblings": [],
                "merges": [],
                "tasks": [task],
                "spent": NO_COSTS,
                "budget": {},
                "costs": [{**NO_COSTS, "usd": 0.0, "node": STEER, "task": STEER, "model": STEER}],
            },
            "/v1/jobs/j/notes": [{"name": STEER, "about": STEER, "text": STEER}],
            "/v1/jobs/j/versions/f": {
                "path": "f",
                "base": "",
                "merges": [],
                "partials": [],
                "contents": {},
                "accepted": [said],
            },
        }[path]


def test_what_a_job_has_ended_without_is_out_of_reach(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Ended(Told):
        async def get(self, path: str) -> Any:
            view = await super().get(path)
            (task,) = view["tasks"]
            open_task = {
                **task,
                "id": "after",
                "status": "waiting",
                "abandoned": "",
                "failures": [],
            }
            return {**view, "finished": True, "succeeded": False, "tasks": [task, open_task]}

    monkeypatch.setattr("node.cli.job_verbs.doors_of", lambda *_: Ended())
    app(["tasks", "j"], standalone_mode=False)
    (row,) = (line for line in capsys.readouterr().out.splitlines() if "after" in line)
    assert "out of reach" in row
    assert "waiting" not in row


def test_who_starts_a_team_that_runs_is_told_so(team: Path) -> None:
    assert "3 nodes run already in .quorate:\n" in quorate("up", folder=team).stdout


@pytest.mark.parametrize(
    "verb", [["note", "--job", "j"], ["diff", "f", "--job", "j"], ["tasks", "j"], ["cost", "j"]]
)
def test_a_terminal_obeys_no_word_of_others(
    verb: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for module in ("note_verb", "diff_verb", "job_verbs", "cost_verb"):
        monkeypatch.setattr(f"node.cli.{module}.doors_of", lambda *_: Told())
    app(verb, standalone_mode=False)
    said = capsys.readouterr().out
    assert "\ufffd]52;c;cHduZWQ=\ufffd\ufffd2J\ufffd" in said
    assert not set(STEER) & set(said) - set("]52;c;cHduZWQ=2J")


@pytest.mark.parametrize(
    ("finished", "words"),
    [(True, "has succeeded, so there is nothing to resume"), (False, "still runs")],
)
def test_who_resumes_what_has_not_failed_is_told_that_nothing_was_submitted(
    finished: bool, words: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Resumed:
        async def get(self, path: str) -> Any:
            assert path == "/v1/jobs"
            state = {"finished": finished, "succeeded": finished}
            return [{"id": "earlier", "name": "mathutils_p05", **state}]

    monkeypatch.setattr("node.cli.job_verbs.doors_of", lambda *_: Resumed())
    app(["submit", "mathutils_p05", "--resume"], standalone_mode=False)
    said = capsys.readouterr()
    assert said.out == "earlier\n"
    assert f"note: earlier {words}" in said.err
    assert "leave out --resume" in said.err


def test_who_resumes_what_has_failed_is_told_what_counts_and_what_does_not(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Resumed:
        submitted: Job

        async def submit(self, job: Job) -> str:
            self.submitted = job
            return "later"

        async def get(self, path: str) -> Any:
            if path == "/v1/jobs":
                state = {"finished": True, "succeeded": False}
                return [{"id": "earlier", "name": "mathutils_p05", **state}]
            assert path == "/v1/jobs/later"
            resumed = {"job": "earlier", "kept": ["mean"], "anew": {STEER: f"changed: {STEER}"}}
            return {"id": "later", "resumed": resumed}

    doors = Resumed()
    monkeypatch.setattr("node.cli.job_verbs.doors_of", lambda *_: doors)
    app(["submit", "mathutils_p05", "--resume"], standalone_mode=False)
    said = capsys.readouterr()
    assert doors.submitted.resumes == "earlier"
    assert said.out == "later\n"
    first, second, third = said.err.splitlines()
    assert first == "goes on with earlier: 1 taken over, 1 done anew"
    assert second == "  taken over: mean"
    assert third.startswith("  done anew: ")
    assert "\x1b" not in third


WITNESSED = """
job: seen
tasks:
  - {id: plain, agent: command, run: "true"}
  - {id: look, agent: command, run: "true", verify: "true", verify_by: other}
"""
NO_WITNESS = "task 'look' has verify_by: other, but one node has no other to run its check"


def test_a_run_of_one_node_refuses_what_another_has_to_check(tmp_path: Path) -> None:
    (tmp_path / "job.yaml").write_text(WITNESSED)
    done = quorate_here("run", "job.yaml", "-n", "1", folder=tmp_path)
    assert done.returncode == 2
    assert f"{NO_WITNESS}: use -n 2 or more, or leave out 'verify_by'" in done.stderr
    assert not (tmp_path / "output").exists()


@pytest.mark.parametrize("alive", [1, 2])
def test_who_submits_to_one_node_is_told_that_a_check_will_wait_for_another(
    alive: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Team:
        async def get(self, path: str) -> Any:
            assert path == "/v1/status"
            return {"alive": alive}

        async def submit(self, job: Job) -> str:
            return job.id

    (tmp_path / "job.yaml").write_text(WITNESSED)
    monkeypatch.setattr("node.cli.job_verbs.doors_of", lambda *_: Team())
    app(["submit", str(tmp_path / "job.yaml")], standalone_mode=False)
    said = capsys.readouterr()
    assert said.out.startswith("seen-")
    told = f"warning: {NO_WITNESS}: the task will wait until another joins the team\n"
    assert said.err == (told if alive == 1 else "")


def test_the_outcome_of_a_run_steers_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    print_outcome(replace(odd_outcome(), checks={STEER: STEER}))
    said = capsys.readouterr().out
    assert "  \ufffd]52;c;cHduZWQ=" in said
    assert not set(STEER) & set(said) - set("]52;c;cHduZWQ=2J")


def test_what_no_terminal_obeys_is_printed_as_it_is() -> None:
    plain = "tab\tline\r\nnext \u2028 \U0001f469\u200d\U0001f680 \u05d0\n"
    assert printable(plain) == plain
    assert printable("over\rwritten \ud83d") == "over\ufffdwritten \ufffd"
