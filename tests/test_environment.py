"""`scripts/environment` on machines that lack something, with a Python that only pretends."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parent.parent / "scripts" / "environment"
TIMEOUT_S = 20.0
TOOLS = ("bash", "cat", "rm", "mkdir", "touch", "cp", "sleep", "env")

# It notes every call, has the version and the modules that its folder says, and makes environments
# whose Python is a copy of itself. `pip install` waits while there is a file "slow".
FAKE_PYTHON = """#!/usr/bin/env bash
echo "${0##*/} $*" >>"$FAKE/calls"
case "$*" in
*version_info*) cat "$FAKE/version"; [[ $(cat "$FAKE/version") == 3.1[1-9] ]] ;;
*"import ensurepip"*) [[ ! -e $FAKE/no-ensurepip ]] ;;
*"import pip"*) [[ -e ${0%/*}/pip ]] ;;
"-m venv "*)
  mkdir -p "$3/bin" && cp "$0" "$3/bin/python"
  [[ ! -e $FAKE/no-ensurepip ]] && touch "$3/bin/pip" ;;
"-m ensurepip"*) [[ ! -e $FAKE/no-ensurepip ]] && touch "${0%/*}/pip" ;;
"-m pip install"*)
  trap 'trap - INT; kill -INT $$' INT # or bash goes on, if no sleep is there to be interrupted
  touch "$FAKE/installs"
  while [[ -e $FAKE/slow ]]; do sleep 0.02; done
  [[ ! -e $FAKE/offline ]] ;;
*) exit 9 ;;
esac
"""


def heed_interrupts() -> None:
    """Who runs the tests in the background of a script has them ignored, and so its children."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


class Machine:
    """A checkout, and a PATH on which there is nothing but a few tools and the fake Python."""

    def __init__(self, folder: Path) -> None:
        self.checkout = folder / "checkout"
        self.fake = folder / "fake"
        self.path = folder / "bin"
        for each in (self.checkout / "scripts", self.fake, self.path):
            each.mkdir(parents=True)
        shutil.copy(SCRIPT, self.checkout / "scripts")
        (self.checkout / "pyproject.toml").touch()
        os.utime(self.checkout / "pyproject.toml", (1, 1))
        for tool in TOOLS:
            found = shutil.which(tool)
            assert found is not None
            (self.path / tool).symlink_to(found)
        self.install("python3", "3.11")

    def install(self, name: str, version: str) -> Path:
        (self.fake / "version").write_text(version)
        (self.path / name).write_text(FAKE_PYTHON)
        (self.path / name).chmod(0o755)
        return self.path / name

    def start(self, extra: str = "", **environment: str) -> subprocess.Popen[str]:
        script = f"set -euo pipefail; source scripts/environment; prepare_environment {extra}"
        return subprocess.Popen(
            ["bash", "-c", script],
            cwd=self.checkout,
            env={"PATH": str(self.path), "FAKE": str(self.fake), **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
            preexec_fn=heed_interrupts,
        )

    def prepare(self, extra: str = "", **environment: str) -> tuple[int, str]:
        """(exit code, what it said)."""
        with self.start(extra, **environment) as process:
            said = ended(process)
        return process.returncode, said

    def calls(self) -> list[str]:
        """The fake's calls since this was last asked, without the looking around."""
        log = self.fake / "calls"
        lines = log.read_text().splitlines() if log.exists() else []
        log.write_text("")
        return [line for line in lines if " -m " in line]

    @property
    def venv(self) -> Path:
        return self.checkout / ".venv"

    def left(self) -> set[str]:
        return {path.name for path in self.venv.iterdir()}


def ended(process: subprocess.Popen[str]) -> str:
    """What it said, once it has ended; it is killed if it does not."""
    try:
        return process.communicate(timeout=TIMEOUT_S)[1]
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        raise


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


INSTALL = "python -m pip install --quiet --disable-pip-version-check -e ."


def test_an_environment_is_made_once(machine: Machine) -> None:
    assert machine.prepare() == (0, "making .venv ...\ninstalling into .venv ...\n")
    assert machine.calls() == ["python3 -m venv .venv", INSTALL]
    assert machine.left() == {"bin", "place", "installed"}
    assert machine.prepare() == (0, "")
    assert machine.calls() == []


def test_an_extra_is_added_and_a_changed_project_installed_again(machine: Machine) -> None:
    machine.prepare()
    machine.calls()
    machine.prepare("dev")
    assert machine.calls() == [f"{INSTALL}[dev]"]
    os.utime(machine.checkout / "pyproject.toml")
    for stamp in ("installed", "installed-dev"):
        os.utime(machine.venv / stamp, (2, 2))
    machine.prepare("dev")
    assert machine.calls() == [f"{INSTALL}[dev]"]


def test_an_old_python_is_one_clear_line(machine: Machine) -> None:
    machine.install("python3", "3.9")
    code, said = machine.prepare()
    assert code == 2
    assert said == (
        "error: Python 3.11 or newer is needed, python3 is 3.9: "
        "install one, or set PYTHON to where it is\n"
    )
    assert not machine.venv.exists()


def test_no_python_at_all_is_one_clear_line(machine: Machine) -> None:
    (machine.path / "python3").unlink()
    code, said = machine.prepare()
    assert (code, said.count("\n")) == (2, 1)
    assert "Python 3.11 or newer is needed, python3 is not there" in said


def test_a_python_that_cannot_make_environments_is_told_with_the_remedy(machine: Machine) -> None:
    """Debian keeps ensurepip in a package of its own."""
    (machine.fake / "no-ensurepip").touch()
    code, said = machine.prepare()
    assert (code, said.count("\n")) == (2, 1)
    assert "python3 cannot make virtual environments (it has no ensurepip)" in said
    assert "apt install python3.11-venv" in said
    assert not machine.venv.exists()
    (machine.fake / "no-ensurepip").unlink()
    assert machine.prepare()[0] == 0


def test_the_python_that_is_named_is_the_one_taken(machine: Machine) -> None:
    named = machine.install("my own python", "3.12")
    assert machine.prepare(PYTHON=str(named))[0] == 0
    assert machine.calls()[0] == "my own python -m venv .venv"
    code, said = machine.prepare(PYTHON="python4")
    assert (code, said) == (0, "")  # nothing to make


def test_a_python_named_wrongly_is_not_replaced_silently(machine: Machine) -> None:
    code, said = machine.prepare(PYTHON="python4")
    assert code == 2
    assert "python4 is not there" in said


def test_an_environment_without_pip_gets_one(machine: Machine) -> None:
    (machine.venv / "bin").mkdir(parents=True)
    shutil.copy(machine.path / "python3", machine.venv / "bin" / "python")
    assert machine.prepare()[0] == 0
    assert machine.calls() == ["python -m ensurepip", INSTALL]


@pytest.mark.parametrize("damage", ["no bin", "broken python", "moved"])
def test_an_environment_that_cannot_be_used_is_made_anew(machine: Machine, damage: str) -> None:
    machine.prepare()
    machine.calls()
    match damage:
        case "no bin":
            shutil.rmtree(machine.venv / "bin")
        case "broken python":
            (machine.venv / "bin" / "python").unlink()
            (machine.venv / "bin" / "python").symlink_to("/nonexistent/python3")
        case "moved":
            machine.checkout = machine.checkout.rename(machine.checkout.parent / "renamed")
    assert machine.prepare() == (0, "making .venv ...\ninstalling into .venv ...\n")
    assert machine.left() == {"bin", "place", "installed"}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_an_interrupted_install_heals(machine: Machine, number: signal.Signals) -> None:
    (machine.fake / "slow").touch()
    with machine.start() as process:
        while not (machine.fake / "installs").exists():
            assert process.poll() is None
        # Meanwhile another one keeps its hands off.
        code, said = machine.prepare()
        assert (code, said) == (
            2,
            f"error: process {process.pid} is installing into .venv: "
            "wait for it, or remove .venv\n",
        )
        os.killpg(process.pid, number)
        ended(process)
    assert "installing" in machine.left()
    (machine.fake / "slow").unlink()
    machine.calls()
    assert machine.prepare() == (0, "making .venv ...\ninstalling into .venv ...\n")
    assert machine.calls() == ["python3 -m venv .venv", INSTALL]
    assert machine.left() == {"bin", "place", "installed"}


def test_an_install_that_fails_is_tried_again_in_the_same_environment(machine: Machine) -> None:
    (machine.fake / "offline").touch()
    code, said = machine.prepare()
    assert code == 2
    assert said.splitlines()[-1].startswith("error: pip could not install the project (see above)")
    (machine.fake / "offline").unlink()
    machine.calls()
    assert machine.prepare() == (0, "installing into .venv ...\n")
    assert machine.calls() == [INSTALL]


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser may write everywhere")
def test_a_checkout_that_cannot_be_written_is_told(machine: Machine) -> None:
    machine.checkout.chmod(0o555)
    code, said = machine.prepare()
    machine.checkout.chmod(0o755)
    assert code == 2
    assert "cannot be made (see above): use a folder that you may write to" in said


# -- other Pythons --------------------------------------------------------------------------------


def prepare_others(machine: Machine) -> tuple[int, str]:
    """As `scripts/test` does it: (exit code, what it said)."""
    shutil.copy(SCRIPT.with_name("other_pythons"), machine.checkout / "scripts")
    script = "source scripts/environment; source scripts/other_pythons; prepare_other_pythons"
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        cwd=machine.checkout,
        env={"PATH": str(machine.path), "FAKE": str(machine.fake)},
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
    )
    return done.returncode, done.stderr


def with_another(machine: Machine, minor: int) -> None:
    program = FAKE_PYTHON.replace('cat "$FAKE/version"', f"echo 3.{minor}")
    (machine.path / f"python3.{minor}").write_text(program)
    (machine.path / f"python3.{minor}").chmod(0o755)


def test_each_other_python_gets_an_environment_of_its_own_once(machine: Machine) -> None:
    machine.prepare()
    for minor in (12, 14):
        with_another(machine, minor)
    said = "making .venv-3.12 ...\nmaking .venv-3.14 ...\n"
    assert prepare_others(machine) == (0, said)
    assert (machine.checkout / ".venv-3.12" / "installed").exists()
    assert prepare_others(machine) == (0, "")


def test_without_a_network_the_other_pythons_are_left_out(machine: Machine) -> None:
    machine.prepare()
    with_another(machine, 13)
    (machine.fake / "offline").touch()
    code, said = prepare_others(machine)
    assert code == 0
    assert "note: Python 3.13 is not tried" in said
    assert not (machine.checkout / ".venv-3.13").exists()


def test_where_there_is_no_other_python_nothing_is_made(machine: Machine) -> None:
    machine.prepare()
    assert prepare_others(machine) == (0, "")
