"""Every command of the README is run, as it stands there but for some waiting, and prints what
stands below it. So is its Python."""

from __future__ import annotations

import contextlib
import ctypes
import doctest
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from test_cli import odd_outcome

from node.cli.progress import print_outcome
from protocol.jobs import FILE_SIZE_MAX, RESULT_SIZE_MAX

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```sh\n(.*?)^```", README, flags=re.MULTILINE | re.DOTALL)
SESSIONS = re.findall(r"^```python\n(.*?)^```", README, flags=re.MULTILINE | re.DOTALL)
SHOWN = dict(  # what a block prints, where that is shown right below it
    re.findall(
        r"^```sh\n((?:(?!^```).)*)^```\n\n```text\n(.*?)^```",
        README,
        flags=re.MULTILINE | re.DOTALL,
    )
)
PR_SET_CHILD_SUBREAPER = 36
REAL_URL = "https://api.openai.com/v1"
QUICKER = {  # numbers that only make one wait, for a reader to look at what happens
    r"(scripts/run|quorate run mathutils_p05)\b(?!.*--speed)": r"\1 --speed 20",
    r"cut:2:10s": "cut:2:2s",
    r"--seconds 10": "--seconds 4",
}


def test_there_is_a_block_for_each_way_of_use() -> None:
    together = "\n".join(BLOCKS)
    for words in (
        "scripts/run", "OPENAI_BASE_URL", "run job.yaml", "run counts.yaml", "run suite.yaml",
        "merge: {run:",
        "quorate up", "cut:2", "trials.py cuts",
        "sim --seed", "--swarm", "--shrink", "--diagram", "--shiviz", "quorate explore",
        "quorate check", "quorate register", "quorate query", "quorate announce", "quorate entry",
        "quorate status", "quorate transfer", "quorate rescue", "sim --nodes", "--topology",
        "--critique --judge",
        "quorate why",
        "quorate plan",
        "quorate answer",
    ):  # fmt: skip
        assert words in together


def test_what_a_block_prints_is_shown_below_it() -> None:
    assert set(SHOWN) <= set(BLOCKS)
    printed = [printed.splitlines()[0] for printed in SHOWN.values()]
    assert printed == ["6 is", "tests 12", "ann"]


@pytest.mark.parametrize("session", SESSIONS, ids=lambda session: session.split("\n")[0][:40])
def test_python_prints_what_is_shown(session: str) -> None:
    example = doctest.DocTestParser().get_doctest(session, {}, "README", "README.md", 0)
    found = doctest.DocTestRunner().run(example)
    assert found.attempted > 0
    assert found.failed == 0


def test_vector_clocks_are_shown() -> None:
    shown = "\n".join(SESSIONS)
    for words in ("import Order, VersionVector", ".advance(", ".compare(", ".merge(", ".sees("):
        assert words in shown


def test_what_is_made_quicker_is_there() -> None:
    assert all(re.search(shown, README) for shown in QUICKER)


def test_the_first_run_is_shown_as_a_run_prints_it(capsys: pytest.CaptureFixture[str]) -> None:
    print_outcome(replace(odd_outcome(), simulated=True))
    said = capsys.readouterr().out
    (printed,) = re.findall(r"^tokens: .*races.*$", said, flags=re.MULTILINE)
    shown, *_ = re.findall(r"^tokens: .*$", README, flags=re.MULTILINE)
    assert re.sub(r"\d+", "N", shown) == re.sub(r"\d+", "N", printed)


def test_the_limits_of_a_result_are_named_as_they_are() -> None:
    whole, each = RESULT_SIZE_MAX // 1024**2, FILE_SIZE_MAX // 1024
    words = f"results of a task above {whole} MiB, or with a file above {each} KiB"
    assert words in " ".join(README.split())


@pytest.fixture
def real_model(tmp_path: Path) -> Iterator[str]:
    """Stands in for the endpoint that a user would pay for."""
    command = [sys.executable, "-P", "-m", "node.model", "--speed", "50", "--port", "0"]
    model = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert model.stdout is not None
    line = model.stdout.readline()
    assert line.startswith("listening ")
    yield line.split()[1]
    model.terminate()
    model.communicate(timeout=20)


@pytest.fixture
def orphans() -> Iterator[Callable[[], list[str]]]:
    """What outlives its parents becomes this process's child: the command lines of such, apart from
    zombies. Whatever is still there at the end is killed."""
    assert ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0
    before = set(_children())

    def left() -> list[str]:
        found = []
        for pid, state in _children().items():
            if pid not in before and state != "Z":
                with contextlib.suppress(OSError):  # it has ended since
                    words = Path(f"/proc/{pid}/cmdline").read_bytes()
                    found.append(words.replace(b"\0", b" ").decode(errors="replace"))
        return found

    yield left
    for pid in set(_children()) - before:
        with contextlib.suppress(ProcessLookupError, ChildProcessError):
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
    assert ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0) == 0


def _children() -> dict[int, str]:
    """Process id -> state of the children of this process."""
    found = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            state, parent = path.read_text().rpartition(")")[2].split()[:2]
            if int(parent) == os.getpid():
                found[int(path.parent.name)] = state
    return found


@pytest.mark.skipif(sys.platform != "linux", reason="looks for orphans in /proc")
def test_orphans_are_found(orphans: Callable[[], list[str]]) -> None:
    subprocess.run(["bash", "-c", "setsid sleep 300 < /dev/null &"], check=True)
    assert len(orphans()) == 1  # in the midst of its exec a process has no command line yet


@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: block.split("\n")[0][:40])
def test_the_commands_of_a_block_work(
    block: str, tmp_path: Path, real_model: str, orphans: Callable[[], list[str]]
) -> None:
    script = block
    for shown, taken in QUICKER.items():
        script = re.sub(shown, taken, script)
    script = re.sub(r"\bscripts/", f"{ROOT / 'scripts'}/", script)
    script = script.replace("source .venv/bin/activate", "")
    script = script.replace(REAL_URL, real_model).replace("gpt-4o-mini", "simulated")
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith("OPENAI_")
    }
    programs = Path(sys.executable).parent
    environment["PATH"] = f"{programs}:{environment['PATH']}"
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, f"{script}\n{done.stdout}\n{done.stderr}"
    assert orphans() == [], "a README block leaves nothing running"
    assert SHOWN.get(block, "") in done.stdout
    if "words/both.txt" in block:
        assert "\n42\n" in done.stdout, "40 lines and 2 lines"
