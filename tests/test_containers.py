"""Five containers do a job, through a cut network and a killed container.

They are those of docker/compose.yaml: built from this source tree, on a network and on volumes of
their own, all removed at the end. That takes minutes and an engine, so it is done when asked for:

    QUORATE_CONTAINER_TESTS=1 pytest tests/test_containers.py

Settings, all from the environment: QUORATE_TEST_ENGINE (podman or docker; the first that works),
QUORATE_TEST_PYTHON_IMAGE (the base image; it must be there already, nothing is pulled) and
QUORATE_TEST_BUILD_ARGS (more arguments of `build`, for instance certificates of a package mirror).
"""

from __future__ import annotations

import json
import os
import secrets
import shlex
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

SOURCE = Path(__file__).parent.parent
COMPOSE_FILE = SOURCE / "docker" / "compose.yaml"
SERVICES = ("seed", "member-1", "member-2", "member-3", "member-4")
JOB = "mathutils_p05"
DEFAULT_PYTHON_IMAGE = "python:3.13-slim"
HOW_TO_RUN = "to run it: QUORATE_CONTAINER_TESTS=1 pytest tests/test_containers.py"

BUILD_TIMEOUT_S = 300.0
COMMAND_TIMEOUT_S = 60.0
TEAM_TIMEOUT_S = 30.0  # from `up` to five members and a leader
JOB_TIMEOUT_S = 60.0  # a third of it is enough on an idle machine
REJOIN_TIMEOUT_S = 30.0  # back in the network: three seconds when all is well
POLL_S = 0.3
DETAIL_SIZE_MAX = 4_000  # of a failed command's output


def run(
    *command: str, timeout_s: float = COMMAND_TIMEOUT_S, **environment: str
) -> subprocess.CompletedProcess[str]:
    """A command's end, whatever it was."""
    return subprocess.run(
        command,
        cwd=SOURCE,
        env=os.environ | environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
    )


def run_well(*command: str, timeout_s: float = COMMAND_TIMEOUT_S, **environment: str) -> str:
    """A command's output; the test fails with its words if the command does."""
    ended = run(*command, timeout_s=timeout_s, **environment)
    words = (ended.stdout + ended.stderr)[-DETAIL_SIZE_MAX:]
    assert ended.returncode == 0, f"{shlex.join(command)} ended with {ended.returncode}:\n{words}"
    return ended.stdout


def wait_until(what: str, holds: Callable[[], bool], timeout_s: float) -> None:
    """Poll until it holds; containers tell of nothing by themselves."""
    deadline_s = time.monotonic() + timeout_s
    while not holds():
        assert time.monotonic() < deadline_s, f"not within {timeout_s:g} s: {what}"
        time.sleep(POLL_S)


# -- what is there to run containers with ----------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Engine:
    """A container engine, and its way to read a compose file."""

    name: str
    compose: tuple[str, ...]

    def has_image(self, image: str) -> bool:
        return run(self.name, "image", "inspect", image).returncode == 0


def find_engine() -> Engine | None:
    """The engine that was asked for, or the first that works together with a compose program."""
    wanted = os.environ.get("QUORATE_TEST_ENGINE", "")
    for engine in (
        Engine("podman", ("podman-compose",)),
        Engine("docker", ("docker", "compose")),
    ):
        if (
            wanted in ("", engine.name)
            and shutil.which(engine.name)
            and shutil.which(engine.compose[0])
            and run(engine.name, "info").returncode == 0
            and run(*engine.compose, "version").returncode == 0
        ):
            return engine
    return None


@pytest.fixture(scope="module")
def engine() -> Engine:
    """A working engine with the base image, or else a skip that says what is missing."""
    if os.environ.get("QUORATE_CONTAINER_TESTS", "") != "1":
        pytest.skip(f"containers take minutes; {HOW_TO_RUN}")
    found = find_engine()
    if found is None:
        pytest.skip(
            "no container engine works here: podman with podman-compose, or docker with its "
            f"compose plugin, is needed; {HOW_TO_RUN}"
        )
    if not found.has_image(python_image()):
        pytest.skip(
            f"{found.name} has no image {python_image()}, and tests pull none: pull it, or name "
            f"another in QUORATE_TEST_PYTHON_IMAGE; {HOW_TO_RUN}"
        )
    return found


def python_image() -> str:
    return os.environ.get("QUORATE_TEST_PYTHON_IMAGE", DEFAULT_PYTHON_IMAGE)


# -- five containers -------------------------------------------------------------------------------


class Team:
    """What compose.yaml describes, under a project name that no other run has."""

    def __init__(self, engine: Engine, project: str, image: str) -> None:
        self.engine = engine
        self.project = project
        self.network = f"{project}_team"
        self._settings = {"QUORATE_SECRET": secrets.token_hex(16), "QUORATE_IMAGE": image}

    def compose(self, *verb: str, timeout_s: float = COMMAND_TIMEOUT_S) -> str:
        where = ("--project-name", self.project, "--file", str(COMPOSE_FILE))
        command = (*self.engine.compose, *where, *verb)
        return run_well(*command, timeout_s=timeout_s, **self._settings)

    def container(self, service: str) -> str:
        """The id of a service's container, running or not."""
        found = run_well(
            *(self.engine.name, "ps", "--all", "--quiet"),
            *("--filter", f"label=com.docker.compose.project={self.project}"),
            *("--filter", f"label=com.docker.compose.service={service}"),
        ).split()
        assert len(found) == 1, f"one container of {service}, not {found}"
        return found[0]

    def act(self, *verb: str, service: str) -> str:
        """`podman VERB CONTAINER`."""
        return run_well(self.engine.name, *verb, self.container(service))

    def quorate(self, service: str, *verb: str, timeout_s: float = COMMAND_TIMEOUT_S) -> str:
        """`quorate VERB` inside a container."""
        command = (self.engine.name, "exec", self.container(service), "quorate", *verb)
        return run_well(*command, timeout_s=timeout_s)

    def members(self, service: str) -> list[dict[str, Any]]:
        """The team as a node sees it; empty while the node does not answer."""
        command = ("exec", self.container(service), "quorate", "ps", "--json")
        ended = run(self.engine.name, *command)
        rows: list[dict[str, Any]] = json.loads(ended.stdout) if ended.returncode == 0 else []
        return rows

    def is_complete(self, service: str) -> bool:
        """Whether a node sees all five alive, and a leader among them."""
        rows = self.members(service)
        alive = {row["name"] for row in rows if row["state"] == "alive"}
        return alive == set(SERVICES) and any(row["leads"] for row in rows)

    def wait_complete(self, timeout_s: float) -> None:
        what = "every node sees all five and a leader"
        wait_until(what, lambda: all(map(self.is_complete, SERVICES)), timeout_s)

    def submit(self, service: str) -> str:
        """Give the job to a node; its id."""
        return self.quorate(service, "submit", JOB).strip()

    def job(self, service: str, job: str) -> dict[str, Any]:
        """A job as a node reports it; empty while the node does not know it."""
        command = ("exec", self.container(service), "quorate", "tasks", job, "--json")
        ended = run(self.engine.name, *command)
        view: dict[str, Any] = json.loads(ended.stdout) if ended.returncode == 0 else {}
        return view

    def wait_accepted(self, service: str, job: str, tasks: int) -> None:
        def holds() -> bool:
            rows: list[dict[str, Any]] = self.job(service, job).get("tasks", [])
            return [row["status"] for row in rows].count("accepted") >= tasks

        wait_until(f"{service} reports {tasks} accepted tasks of {job}", holds, JOB_TIMEOUT_S)

    def wait_finished(self, service: str, job: str, timeout_s: float = JOB_TIMEOUT_S) -> str:
        """The outcome that a node reports in the end."""
        what = f"{service} reports the end of {job}"
        wait_until(what, lambda: bool(self.job(service, job).get("finished")), timeout_s)
        view = self.job(service, job)
        assert view["succeeded"], view
        assert all(task["accepted"] for task in view["tasks"])
        return str(view["outcome"])

    def assert_agreed(self, job: str) -> None:
        """Every node reports the same acceptances and the same outcome."""
        outcomes = {service: self.wait_finished(service, job) for service in SERVICES}
        assert len(set(outcomes.values())) == 1, outcomes
        tokens = {
            json.dumps(
                [
                    (task["id"], task["accepted"]["node"], task["accepted"]["token"])
                    for task in self.job(service, job)["tasks"]
                ]
            )
            for service in SERVICES
        }
        assert len(tokens) == 1, tokens


@pytest.fixture(scope="module")
def image(engine: Engine) -> Iterator[str]:
    """The image, built from this tree; its layers stay in the engine's cache."""
    name = f"localhost/quorate-test-{secrets.token_hex(4)}"
    more = shlex.split(os.environ.get("QUORATE_TEST_BUILD_ARGS", ""))
    base = ("--build-arg", f"PYTHON_IMAGE={python_image()}")
    try:
        run_well(
            *(engine.name, "build", *more, *base, "--tag", name),
            *("--file", "docker/Dockerfile", "."),
            timeout_s=BUILD_TIMEOUT_S,
        )
        yield name
    finally:
        run(engine.name, "rmi", "--force", name)


@pytest.fixture(scope="module")
def team(engine: Engine, image: str) -> Iterator[Team]:
    """Five nodes that know each other."""
    running = Team(engine, f"quorate-test-{secrets.token_hex(4)}", image)
    try:
        running.compose("up", "--detach", "--no-build")
        running.wait_complete(TEAM_TIMEOUT_S)
        yield running
    finally:
        running.compose("down", "--volumes", "--timeout", "2")


# -- what holds ------------------------------------------------------------------------------------


def test_compose_asks_for_a_secret(engine: Engine) -> None:
    command = (*engine.compose, "--file", str(COMPOSE_FILE), "config")
    ended = run(*command, QUORATE_SECRET="")
    assert ended.returncode != 0
    assert "set it to 16 or more random characters" in ended.stdout + ended.stderr


def test_a_node_runs_without_rights_and_keeps_its_key_private(team: Team) -> None:
    shell = (team.engine.name, "exec", team.container("member-1"), "sh", "-c")
    assert run_well(*shell, "id -u").strip() != "0"
    assert run_well(*shell, "stat -c %a /data /data/identity.key").split() == ["700", "600"]
    assert run_well(*shell, "grep CapEff /proc/1/status").split()[1].strip("0") == ""


def test_every_container_reports_the_same_outcome(team: Team) -> None:
    line = team.quorate("seed", "submit", JOB, "--wait", timeout_s=JOB_TIMEOUT_S)
    assert "20 of 20 accepted" in line
    team.assert_agreed(line.partition(":")[0])


@pytest.mark.parametrize("lost", ["member-2", "seed"])
def test_a_container_cut_off_in_mid_job_catches_up_after_it_is_back(team: Team, lost: str) -> None:
    team.wait_complete(REJOIN_TIMEOUT_S)
    job = team.submit("member-1")
    team.wait_accepted("member-1", job, 3)
    team.act("network", "disconnect", team.network, service=lost)
    try:
        team.wait_finished("member-1", job)
        assert not team.job(lost, job)["finished"]  # it cannot know
    finally:
        # The engine may give it another address, and would forget the service's name.
        team.act("network", "connect", "--alias", lost, team.network, service=lost)
    team.wait_finished(lost, job, REJOIN_TIMEOUT_S)
    team.wait_complete(REJOIN_TIMEOUT_S)
    team.assert_agreed(job)


def test_a_killed_container_is_the_same_node_when_it_is_started_again(team: Team) -> None:
    team.wait_complete(REJOIN_TIMEOUT_S)
    before = {row["name"]: row["node"] for row in team.members("member-1")}
    job = team.submit("member-1")
    team.wait_accepted("member-1", job, 3)
    team.act("kill", "--signal", "KILL", service="member-3")
    team.wait_finished("member-1", job)
    team.act("start", service="member-3")
    team.wait_finished("member-3", job, REJOIN_TIMEOUT_S)
    team.wait_complete(REJOIN_TIMEOUT_S)
    assert {row["name"]: row["node"] for row in team.members("member-1")} == before
    team.assert_agreed(job)


def test_a_node_stops_in_good_order_when_its_container_is_stopped(team: Team) -> None:
    team.wait_complete(REJOIN_TIMEOUT_S)
    team.act("stop", "--time", "60", service="member-4")
    code = team.act("inspect", "--format", "{{.State.ExitCode}}", service="member-4")
    assert code.strip() == "0", "SIGTERM did not reach the node: it had to be killed"
    team.act("start", service="member-4")
    team.wait_complete(REJOIN_TIMEOUT_S)
