"""Running a program: what is left of it when we are cancelled, killed, or asked to hide."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
import uvloop

from node.agents import process
from node.agents.process import Ended, run_process

CANCELLATIONS = 200
GONE_TIMEOUT_S = 5.0
Run = Callable[[Coroutine[Any, Any, None]], None]
LOOPS = pytest.mark.parametrize("run", [asyncio.run, uvloop.run], ids=["asyncio", "uvloop"])


def descriptors() -> set[str]:
    """The file descriptors of this process, but for the one that this listing takes."""
    return {number for number in os.listdir("/proc/self/fd") if number.isdecimal()}


def marked(mark: str) -> list[int]:
    """The living processes whose command line or environment holds the mark."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            seen = (folder / "cmdline").read_bytes() + (folder / "environ").read_bytes()
            state = (folder / "stat").read_text().rpartition(")")[2].split()[0]
        except (OSError, IndexError):
            continue
        if mark.encode() in seen and state != "Z":
            found.append(int(folder.name))
    return found


def wait_gone(mark: str) -> None:
    """Processes that were killed leave the list a moment later."""
    deadline = time.monotonic() + GONE_TIMEOUT_S
    while left := marked(mark):
        if time.monotonic() > deadline:
            for process in left:
                os.kill(process, signal.SIGKILL)
            pytest.fail(f"processes {left} were left")
        time.sleep(0.01)


@pytest.fixture
def mark(tmp_path: Path) -> str:
    """What tells the programs of this test from all others."""
    return f"{tmp_path}-{os.getpid()}-{random.getrandbits(64)}"


@LOOPS
def test_cancellations_at_any_moment_leave_nothing(run: Run, tmp_path: Path, mark: str) -> None:
    async def cancel_many() -> None:
        randomness = random.Random(1)
        environment = {"MARK": mark}
        await run_process("true", tmp_path, environment)  # whatever the loop opens, it has now
        before = descriptors()
        for number in range(CANCELLATIONS):
            work = asyncio.ensure_future(
                run_process("sleep 600 & sleep 600", tmp_path, environment)
            )
            if number % 2:
                for _ in range(randomness.randrange(6)):
                    await asyncio.sleep(0)
            else:
                await asyncio.sleep(randomness.uniform(0.0, 0.006))
            work.cancel()
            if number % 5 == 0:
                await asyncio.sleep(0)
                work.cancel()  # in the middle of the ending
            assert isinstance(
                (await asyncio.gather(work, return_exceptions=True))[0], BaseException
            )
        assert descriptors() == before
        after = await run_process("echo well", tmp_path, environment)
        assert after == Ended(0, b"well\n", b"")

    run(cancel_many())
    wait_gone(mark)


@LOOPS
def test_a_cancellation_after_the_end_is_not_lost(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While a last look at the folder is still under way."""

    async def cancel() -> None:
        looking, seen = asyncio.Event(), asyncio.Event()

        async def outgrown(folder: Path, size_max: int) -> str:
            try:
                return await asyncio.get_running_loop().create_future()
            finally:
                looking.set()
                await seen.wait()

        monkeypatch.setattr(process, "outgrown", outgrown)
        work = asyncio.ensure_future(run_process("true", tmp_path, {}))
        await looking.wait()
        work.cancel()
        await asyncio.sleep(0)
        seen.set()
        with pytest.raises(asyncio.CancelledError):
            await work

    run(cancel())


@LOOPS
def test_a_program_that_cannot_start_leaves_nothing(run: Run, tmp_path: Path) -> None:
    async def fail() -> None:
        await run_process("true", tmp_path, {})
        before = descriptors()
        with pytest.raises(FileNotFoundError):
            await run_process("true", tmp_path / "nowhere", {})
        with pytest.raises(ValueError, match="null byte"):
            await run_process("a\0b", tmp_path, {})
        assert descriptors() == before
        ended = await run_process(("no-such-program",), tmp_path, {})
        assert ended.code == 127
        assert ended.last_lines(200).endswith("no-such-program: not found")

    run(fail())


@LOOPS
def test_many_programs_at_once_keep_their_output_apart(run: Run, tmp_path: Path) -> None:
    async def run_many() -> None:
        line = "cat; head -c 200000 /dev/zero | tr '\\0' y; echo $MINE >&2; exit $MINE"
        ended = await asyncio.gather(
            *(
                run_process(line, tmp_path, {**os.environ, "MINE": str(n)}, b"given %d" % n)
                for n in range(8)
            )
        )
        assert ended == [Ended(n, b"given %d" % n + b"y" * 200_000, b"%d\n" % n) for n in range(8)]

    run(run_many())


async def test_a_program_has_no_children_it_did_not_start(tmp_path: Path) -> None:
    program = "import os\ntry:\n os.wait()\nexcept ChildProcessError:\n print('none')"
    async with asyncio.timeout(20):
        ended = await run_process((sys.executable, "-c", program), tmp_path, dict(os.environ))
    assert ended.output == b"none\n"


async def test_a_program_leads_its_own_group_and_session(tmp_path: Path) -> None:
    program = "import os\nprint(os.getpid() == os.getpgid(0) == os.getsid(0))"
    ended = await run_process((sys.executable, "-c", program), tmp_path, dict(os.environ))
    assert ended.output == b"True\n"


async def test_a_descendant_that_holds_the_output_open_does_not_hold_us(tmp_path: Path) -> None:
    line = f"setsid sh -c 'echo $$ > {tmp_path}/pid; exec sleep 600' & " + (
        f"while ! test -s {tmp_path}/pid; do sleep 0.01; done; echo done"
    )
    ended = await run_process(line, tmp_path, dict(os.environ))
    assert ended.output == b"done\n"
    os.kill(int((tmp_path / "pid").read_text()), signal.SIGKILL)  # it left the group: ours to end


NODE = """
import asyncio, os, sys
from pathlib import Path
from node.agents.process import run_process

folder = Path(sys.argv[1])
line = f"trap '' HUP TERM; sleep 600 & (sleep 600; :) & echo > {folder}/started; wait"
asyncio.run(run_process(line, folder, {"PATH": os.environ["PATH"], "MARK": sys.argv[2]}))
"""


def test_a_node_that_is_killed_takes_its_programs_along(tmp_path: Path, mark: str) -> None:
    with subprocess.Popen([sys.executable, "-c", NODE, str(tmp_path), mark]) as node:
        deadline = time.monotonic() + 20.0
        while not (tmp_path / "started").exists():
            assert time.monotonic() < deadline, "the program did not start"
            time.sleep(0.01)
        assert len(marked(mark)) >= 4  # the node, the program, its two children
        node.kill()
    wait_gone(mark)


HEIR = """
import asyncio, ctypes, os, sys
from pathlib import Path
from node.agents.process import run_process

assert ctypes.CDLL(None).prctl(36, 1, 0, 0, 0) == 0  # PR_SET_CHILD_SUBREAPER: as if process 1
for _ in range(5):
    asyncio.run(run_process("sleep 600 & (sleep 600 &)", Path(sys.argv[1]), dict(os.environ)))
try:
    print(os.waitpid(-1, os.WNOHANG), "is left to reap")
except ChildProcessError:
    print("none")
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has subreapers")
def test_process_1_of_a_container_reaps_what_it_inherits(tmp_path: Path) -> None:
    command = [sys.executable, "-c", HEIR, str(tmp_path)]
    ended = subprocess.run(command, capture_output=True, timeout=20)
    assert ended.stdout == b"none\n", ended


HIDDEN = """
import ctypes, os, subprocess
from node.hiding import hide_from_programs

if os.getuid() == 0:  # nothing can be hidden from root
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)
    ctypes.CDLL(None).prctl(4, 1, 0, 0, 0)  # the change of user has closed it already
look = ["/bin/sh", "-c", "cat /proc/$PPID/environ"]
before = subprocess.run(look, capture_output=True, env={})
assert b"QUORATE_SECRET=hush" in before.stdout, before
del os.environ["QUORATE_SECRET"]
assert b"QUORATE_SECRET=hush" in subprocess.run(look, capture_output=True, env={}).stdout
assert hide_from_programs()
after = subprocess.run(look, capture_output=True, env={})
assert not after.stdout, after
assert b"Permission denied" in after.stderr, after
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has /proc/PID/environ")
def test_a_hidden_process_shows_its_environment_to_nobody() -> None:
    environment = {**os.environ, "QUORATE_SECRET": "hush"}
    subprocess.run([sys.executable, "-c", HIDDEN], env=environment, check=True, timeout=20)


EXPOSED = """
import ctypes, sys
from node.cli import main

def look(*_, **__):
    print("exposed" if ctypes.CDLL(None).prctl(3, 0, 0, 0, 0) else "hidden")  # PR_GET_DUMPABLE
    raise SystemExit(0)

import node.cli.question, node.lab.run_job, node.model.__main__
node.cli.question.ask_team_of_its_own = node.lab.run_job.run_job = look
node.model.__main__._serve = look
ctypes.CDLL(None).prctl(4, 1, 0, 0, 0)
node.model.__main__.main() if sys.argv[1:] == [] else main()
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has /proc/PID/environ")
@pytest.mark.parametrize("arguments", [(), ("run",), ("ask", "Why?", "--run", "true")], ids=str)
def test_what_stands_beside_a_node_is_hidden_before_programs_run(
    arguments: tuple[str, ...], tmp_path: Path
) -> None:
    """The model's process, and those that start a team and may hold the key that it works with."""
    command = [sys.executable, "-c", EXPOSED, *arguments]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    ended = subprocess.run(
        command, capture_output=True, timeout=20, cwd=tmp_path, env=environment, text=True
    )
    assert ended.stdout.endswith("hidden\n"), ended
