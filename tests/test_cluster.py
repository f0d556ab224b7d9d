"""A team of processes on this machine: what starting and stopping leave alone."""

from __future__ import annotations

import asyncio
import signal
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import pytest
from command_line import quorate, quorate_here
from ledger_hand import job, task
from live_team import FAST, started

from node.cli import exit_code_of
from node.lab.cluster import Cluster, ClusterError, StartFailed
from node.lab.door import Door, DoorError, Doors, route
from node.lab.run_job import Run, RunFailed, RunOptions
from node.lab.schedule import Fault
from node.lab.watch import Progress, ask_now_and_then


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[Cluster]:
    yield from started(tmp_path / "team", 2)


@pytest.fixture(scope="module")
def unhurt(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A pair for all tests that leave it as it is."""
    yield from started(tmp_path_factory.mktemp("unhurt") / "team", 2)


def test_a_failed_start_leaves_what_ran_before_running(pair: Cluster) -> None:
    second = pair.nodes[1]
    second.process.signal(signal.SIGKILL)
    pair.children[-1].wait()
    (pair.data_dir(second) / "identity.key").write_bytes(b"short")
    with pytest.raises(ClusterError, match=r"node n2 ended: .* is damaged"):
        pair.start(FAST)
    assert [node.name for node in pair.running()] == ["n1"]
    assert pair.model.process.is_alive


def test_a_node_that_lost_its_journal_is_told_to_come_back_as_another(pair: Cluster) -> None:
    second = pair.nodes[1]
    second.process.signal(signal.SIGKILL)
    pair.children[-1].wait()
    for file in pair.data_dir(second).glob("journal.db*"):
        file.unlink()
    with pytest.raises(ClusterError, match="has a key but no journal"):
        pair.start(FAST)


def test_a_file_in_the_working_folder_is_no_module_of_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("asyncio.py", "node.py", "protocol.py", "msgpack.py"):
        (tmp_path / name).write_text("raise SystemExit('the wrong file was run')\n")
    monkeypatch.chdir(tmp_path)
    cluster = Cluster.create(tmp_path / "team", 1)
    try:
        cluster.start(FAST)
        assert len(cluster.running()) == 1
    finally:
        cluster.stop()


def test_the_simulated_model_is_given_no_secret(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[Mapping[str, str]] = []

    def note(_: object, output: Path, environment: Mapping[str, str], *rest: object) -> None:
        given.append(environment)
        raise StartFailed("noted")

    monkeypatch.setattr("node.lab.cluster.spawn", note)
    monkeypatch.setenv("OPENAI_API_KEY", "hush")
    monkeypatch.setenv("PYTHONPATH", "somewhere")
    cluster = Cluster.create(tmp_path / "team", 1)
    with pytest.raises(StartFailed, match="noted"):
        cluster.start(FAST)
    (environment,) = given
    assert environment["PYTHONPATH"] == "somewhere"
    assert environment["PATH"]
    assert not {"hush", cluster.token} & set(environment.values())


def test_only_the_owner_reads_secret_token_and_data(unhurt: Cluster) -> None:
    for path in (unhurt.folder / "secret", unhurt.folder / "token"):
        assert path.stat().st_mode & 0o077 == 0
    for node in unhurt.nodes:
        assert unhurt.data_dir(node).stat().st_mode & 0o077 == 0


async def test_a_team_opens_its_doors_to_its_own_token_only(unhurt: Cluster) -> None:
    assert await unhurt.doors().await_ready(20.0)
    stranger = Doors([unhurt.nodes[0].door], "guessed")
    with pytest.raises(DoorError) as caught:
        await stranger.get("/v1/status")
    assert caught.value.kind == "Unauthorized"
    async with unhurt.door(unhurt.nodes[0]) as door:
        assert (await door.get("/v1/status"))["name"] == "n1"


async def test_a_node_that_is_asked_to_leave_ends_and_is_not_missed(pair: Cluster) -> None:
    assert await pair.doors().await_ready(20.0)
    leaver = pair.children[-1]
    async with pair.door(pair.nodes[1]) as door:
        await door.post("/v1/leave", {})
    assert leaver.wait(timeout=10) == 0
    state = ""
    async with pair.door(pair.nodes[0]) as door, asyncio.timeout(10):
        while state != "left":  # what it said last is perhaps not read yet
            members = {row["name"]: row for row in await door.get("/v1/members")}
            state = members["n2"]["state"]
            assert state != "failed"


def test_an_existing_team_keeps_its_size_and_says_so(unhurt: Cluster) -> None:
    folder = unhurt.folder.parent
    for option, words in (
        (("-n", "3"), "has 2 nodes, and keeps them"),
        (("--allow-faults",), "was made without --allow-faults"),
        (("--preset", "wan"), "runs with --preset local, and keeps it"),
    ):
        done = quorate_here("up", "--dir", "team", *option, folder=folder)
        assert done.returncode == 2
        assert words in done.stderr
    assert len(unhurt.running()) == 2


async def test_a_team_runs_with_the_preset_that_it_was_made_with(tmp_path: Path) -> None:
    Cluster.create(tmp_path / "team", 1, preset="wan")
    cluster = Cluster.load(tmp_path / "team")
    try:
        cluster.start(FAST)
        async with cluster.door(cluster.nodes[0]) as door:
            (row,) = await door.get("/v1/members")
            assert row["preset"] == "wan"
    finally:
        cluster.stop()


def test_a_team_keeps_the_programs_that_answer_queries(tmp_path: Path) -> None:
    """Also when it is started again, all of it or one of its nodes."""

    def verb(*words: str) -> subprocess.CompletedProcess[str]:
        return quorate(*words, "--dir", str(folder), folder=tmp_path)

    folder, given = tmp_path / "team", ("--answer", "disk=df | tail -n 1")
    try:
        assert verb("up", "-n", "1", *given).returncode == 0
        assert verb("down").returncode == 0
        assert verb("up").returncode == 0
        assert verb("up", *given).returncode == 0, "they run with it already"
        assert "would go on without --answer" in verb("up", "--answer", "x=true").stderr
        (node,) = Cluster.load(folder).nodes
        told = Path(f"/proc/{node.pid}/cmdline").read_bytes().split(b"\0")
        assert b"disk=df | tail -n 1" in told
    finally:
        verb("down")


def test_a_folder_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    done = quorate_here("up", "--dir", "file", folder=tmp_path)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert (tmp_path / "file").read_text() == "mine"


def test_a_folder_with_something_in_it_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / ".gitignore").write_text("mine")
    for arguments in (("up", "--dir", "mine"), ("run", "-n", "1", "--keep", "mine")):
        done = quorate_here(*arguments, folder=tmp_path)
        assert done.returncode == 2
        assert "mine holds something else already: name a new folder" in done.stderr
    assert [path.name for path in (tmp_path / "mine").iterdir()] == [".gitignore"]
    assert (tmp_path / "mine" / ".gitignore").read_text() == "mine"


@pytest.mark.parametrize("content", [None, "", "a\nb", "für"])
def test_a_team_without_a_token_is_told_how_to_get_one(tmp_path: Path, content: str | None) -> None:
    cluster = Cluster.create(tmp_path / "team", 1)
    path = cluster.folder / "token"
    path.unlink()
    if content is not None:
        path.write_text(content)
    done = quorate_here("up", "--dir", "team", folder=tmp_path)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "team/token" in done.stderr
    if not content:
        assert "make a new one" in done.stderr
        assert "user who made it" not in done.stderr


def test_down_says_when_nothing_ran(pair: Cluster) -> None:
    pair.stop()
    done = quorate_here("down", "--dir", "team", folder=pair.folder.parent)
    assert done.returncode == 0
    assert "no node of team was running" in done.stdout


@pytest.mark.parametrize(
    ("name", "fault"),
    [
        ("../status", r"'\.\./status' holds '\.' or '\.\.': nothing is called so"),
        (".", "holds"),
        ("a/./b", "holds"),
        ("\udcff", r"'\\udcff' is not UTF-8 text: nothing is called so"),
    ],
)
def test_a_name_that_leads_elsewhere_on_a_door_is_refused(name: str, fault: str) -> None:
    with pytest.raises(DoorError, match=fault) as refused:
        route("jobs", name)
    assert exit_code_of(refused.value) == 2
    assert route("jobs", "a..b/.c?d") == "/v1/jobs/a..b/.c%3Fd"


def test_a_port_that_is_taken_is_named(unhurt: Cluster, tmp_path: Path) -> None:
    first = unhurt.nodes[0]
    other = Cluster.create(tmp_path / "other", 1)
    other.nodes[0].peer = first.peer
    with pytest.raises(StartFailed, match=f"has taken {first.peer}, .* with another --dir"):
        other.start(FAST)
    assert not other.model.process.is_alive, "what was started with it is stopped"


# -- a run that is broken off, or that nobody reports ----------------------------------------------


async def test_who_breaks_off_a_start_knows_what_there_is_to_stop(tmp_path: Path) -> None:
    cluster = Cluster.create(tmp_path / "team", 2)
    starting = asyncio.create_task(Run(job(task("a")), RunOptions(model=FAST), cluster).start())
    try:
        await asyncio.sleep(0)
        starting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await starting
        assert len(cluster.running()) == 2, "nothing is started behind its back any more"
    finally:
        cluster.stop()
    assert cluster.running() == []


async def test_a_run_that_takes_too_long_names_what_has_no_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def nothing(*_: object) -> None: ...

    async def endless(*_: object) -> None:
        await asyncio.Event().wait()

    for step in ("start", "_await_leader", "_prepare"):
        monkeypatch.setattr(Run, step, nothing)
    monkeypatch.setattr(Doors, "submit", endless)
    cluster = Cluster.create(tmp_path / "team", 1)
    run = Run(job(task("a")), RunOptions(nodes=1, timeout_s=0.0), replace(cluster, nodes=[]))
    with pytest.raises(RunFailed, match="out of time after 0 s: give a run longer"):
        await run.execute(lambda: None)


async def test_a_fault_that_is_under_way_ends_with_the_run(tmp_path: Path) -> None:
    options = RunOptions(faults=(Fault.parse("stop:600s@0%"),))
    run = Run(job(task("a")), options, Cluster(tmp_path, "", []))

    def look() -> None:
        if run.struck:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        await run.watch(look)
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_an_end_that_nobody_told_is_found_by_asking(monkeypatch: pytest.MonkeyPatch) -> None:
    class Mute(Door):
        """Silent at first, and then it knows."""

        asked = 0

        async def get(self, path: str) -> dict[str, object]:
            assert path == "/v1/jobs/job"
            self.asked += 1
            if self.asked == 1:
                raise DoorError("Unreachable", "not yet")
            return {"finished": self.asked == 3, "succeeded": True}

    monkeypatch.setattr("node.lab.watch.ASK_EVERY_S", 0.01)
    progress = Progress("job", {})
    asking = asyncio.create_task(ask_now_and_then(progress, Mute("127.0.0.1:1", "")))
    async with asyncio.timeout(10):
        await progress.changed.wait()
    asking.cancel()
    assert progress.finished_at > 0
    assert progress.succeeded
