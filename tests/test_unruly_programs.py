"""Programs that go too far: floods, full disks, daemons, files that are none. What a task's author
is told of each, and that nothing of them is left."""

# ruff: noqa: ASYNC230, ASYNC240 -- small files of the tests themselves
from __future__ import annotations

import asyncio
import json
import os
import re
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from agent_setup import Watched, assigned, quick, text_file
from command_line import quorate
from test_run_process import marked, wait_gone

from node.agents import footprint, process, strays
from node.agents.footprint import outgrown
from node.agents.process import Ended, run_process
from protocol.events import AgentFailed, Completed, Failure

TOGETHER_TIMEOUT_S = 60
START_TIMEOUT_S = 20.0
ON_LINUX = pytest.mark.skipif(sys.platform != "linux", reason="only Linux has subreapers")


@pytest.fixture
async def node(tmp_path: Path) -> AsyncIterator[Watched]:
    """A node's agents; whatever a program did, no folder may be left."""
    watched = Watched(quick(tmp_path / "scratch"))
    yield watched
    await watched.invocations.close()
    assert not list(tmp_path.glob("scratch/*"))


@pytest.fixture
def long() -> str:
    """How many seconds the programs of this test would sleep: a number that no other test has."""
    return f"600.{secrets.randbits(48)}"


# -- what is said of them --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("touch it; ./it", "the program is not executable (status 126): name what runs it, as in"),
        ("exec no-such-program", "program not found (status 127)"),
        ("sh -c 'kill -9 $$'; exit $?", "the program ended with status 137 (signal 9)"),
        ("kill -SEGV $$", "the program was killed by signal 11"),
        ("exit 255", "the program ended with status 255"),
    ],
)
async def test_how_a_program_ended_is_told_by_name(node: Watched, line: str, words: str) -> None:
    for number, changes in enumerate(({"program": line}, {"program": "echo x", "verify": line})):
        node.invocations.start(number, assigned("command", **changes))
        end = await node.wait_end(number)
        assert isinstance(end, AgentFailed)
        if number:
            assert end.reason is (Failure.NO_CHECK if "no-such" in line else Failure.VERIFY)
            words = words.replace("the program ", "the check ").replace("program not", "was not")
        assert words in end.detail


async def test_a_program_that_closes_its_pipes_and_runs_on_is_waited_for(
    node: Watched, long: str
) -> None:
    closed = "exec <&- >&- 2>&-;"
    end = await node.run(assigned("command", program=f"{closed} echo 1 > add.py"))
    assert isinstance(end, Completed)
    endless = assigned("command", program=f"{closed} sleep {long}", timeout_s=0.3)
    node.invocations.start(2, endless)
    stopped = await node.wait_end(2)
    assert isinstance(stopped, AgentFailed)
    assert stopped.reason is Failure.TIMEOUT
    wait_gone(long)


async def test_a_check_that_never_ends_is_killed_with_its_group(node: Watched, long: str) -> None:
    check = f"trap '' TERM HUP; sleep {long} & (sleep {long}; :) & wait"
    end = await node.run(assigned("command", program="echo x", verify=check, verify_timeout_s=0.3))
    assert isinstance(end, AgentFailed)
    assert end.reason is Failure.VERIFY
    assert end.detail.startswith("the check did not end within its verify_timeout of 0.3 s: ")
    assert end.files == (text_file("add.py", "x\n"),), "kept, for whoever tries next"
    wait_gone(long)


# -- files that are none, and files elsewhere ------------------------------------------------------

SOCKET = "import socket; socket.socket(socket.AF_UNIX).bind('add.py')"


@pytest.mark.parametrize(
    "line",
    [
        "ln -s /etc/passwd add.py",
        "ln -s /dev/zero add.py",
        "ln -s nowhere add.py",
        "mkfifo add.py",
        "mkdir add.py",
        f'{sys.executable} -c "{SOCKET}"',
    ],
)
async def test_what_is_no_file_of_its_own_is_no_result(node: Watched, line: str) -> None:
    end = await node.run(assigned("command", program=f"{line}; echo not this"))
    assert isinstance(end, AgentFailed)
    assert (end.reason, end.detail) == (Failure.OUTPUT, "add.py is not a regular file")
    assert end.files == ()


async def test_a_device_is_no_result(node: Watched, tmp_path: Path) -> None:
    try:
        os.mknod(tmp_path / "null", 0o20600, os.makedev(1, 3))
    except PermissionError:
        pytest.skip("only root makes devices")
    end = await node.run(assigned("command", program="mknod add.py c 1 5; echo not this"))
    assert isinstance(end, AgentFailed)
    assert end.detail == "add.py is not a regular file"


async def test_what_lands_beside_the_folder_goes_away_with_it(
    node: Watched, tmp_path: Path
) -> None:
    line = f"echo 1 > add.py; echo 2 > ../escape; echo 3 > {tmp_path}/absolute; echo 4 > extra"
    end = await node.run(assigned("command", program=line, verify="! ls ../escape extra"))
    assert isinstance(end, Completed)
    assert end.files == (text_file("add.py", "1\n"),)
    assert not list((tmp_path / "scratch").rglob("*")), "this node's agents are still there"


# -- too much --------------------------------------------------------------------------------------

FLOODED = """
import asyncio, json, sys
from pathlib import Path
from agent_setup import Watched, assigned, quick
from node.agents import process

process.WRITTEN_SIZE_MAX = 8 * 1024**2

def peak_size():
    (line,) = [l for l in Path("/proc/self/status").read_text().splitlines() if "VmHWM" in l]
    return int(line.split()[1]) * 1024

async def main():
    node = Watched(quick(Path(sys.argv[1])))
    ends = []
    for number, line in enumerate(("echo x", *sys.argv[2:])):
        before = peak_size()
        node.invocations.start(number, assigned("command", program=line))
        end = await node.wait_end(number)
        ends.append([getattr(end, "detail", ""), peak_size() - before])
    await node.invocations.close()
    print(json.dumps(ends[1:]))

asyncio.run(main())
"""
GIBIBYTE = "head -c 1073741824 /dev/zero"
GROWTH_MAX = 16 * 1024**2  # bytes of the node's own memory, whatever a program prints or writes


@ON_LINUX
def test_a_gibibyte_costs_the_node_no_memory_and_is_cut_early(tmp_path: Path) -> None:
    """In a process of its own, which has a peak of its own."""
    lines = [GIBIBYTE, f"{GIBIBYTE} >&2", f"{GIBIBYTE} > add.py", f"{GIBIBYTE} > /{tmp_path}/other"]
    done = subprocess.run(
        [sys.executable, "-c", FLOODED, str(tmp_path / "scratch"), *lines],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        timeout=TOGETHER_TIMEOUT_S,
    )
    assert done.returncode == 0, done.stderr
    for (detail, growth), words in zip(
        json.loads(done.stdout),
        (
            "the program was stopped: it printed over 1048576 bytes",
            "the program was stopped: it printed over 67108864 bytes to standard error",
            "the program was stopped: it wrote a file of over 8388608 bytes (if it must, begin "
            "its line with 'ulimit -f unlimited;')",
            "the program was stopped: it wrote a file of over 8388608 bytes",
        ),
        strict=True,
    ):
        assert detail.startswith(words)
        assert growth < GROWTH_MAX, detail
    assert (tmp_path / "other").stat().st_size == 8 * 1024**2


async def test_a_line_may_lift_the_limit_of_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process, "WRITTEN_SIZE_MAX", 1024)
    for lift, code in (("", 153), ("ulimit -f unlimited; ", 0)):
        ended = await run_process(f"{lift}head -c 9999 /dev/zero > x", tmp_path, {})
        assert ended.code == code


async def test_a_limit_that_the_user_has_set_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The node itself runs under it, and so does what it starts."""
    program = (
        "import asyncio, pathlib, sys; from node.agents.process import run_process; "
        "print(asyncio.run(run_process('ulimit -f', pathlib.Path(sys.argv[1]), {})).output)"
    )
    started = await asyncio.create_subprocess_exec(
        *("sh", "-c", 'ulimit -f 7777; exec "$@"', "sh"),
        *(sys.executable, "-c", program, str(tmp_path)),
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        stdout=subprocess.PIPE,
    )
    output, _ = await started.communicate()
    assert output == b"b'7777\\n'\n"


async def test_a_folder_that_fills_up_ends_its_program(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(footprint, "LOOK_EVERY_S", 0.01)
    line = 'while :; do mkdir -p d/$n; head -c 50000 /dev/zero > "d/$n/f"; n=$((n + 1)); done'
    async with asyncio.timeout(TOGETHER_TIMEOUT_S):
        ended = await run_process(line, tmp_path, {}, folder_size_max=1024**2)
    assert ended == Ended(-9, b"", b"", "filled its folder with over 1048576 bytes")
    assert ended.fate == "was stopped: it filled its folder with over 1048576 bytes"


async def test_holes_take_no_room_and_empty_files_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(footprint, "LOOK_EVERY_S", 0.0)
    with open(tmp_path / "holes", "wb") as file:
        file.truncate(2**40)
    (tmp_path / "circle").symlink_to(".")
    watching = asyncio.ensure_future(outgrown(tmp_path, 100 * 4096))
    for number in range(97):
        (tmp_path / str(number)).touch()
    async with asyncio.timeout(TOGETHER_TIMEOUT_S):
        while not watching.done():  # two are there, and 97: the last is one too many
            number += 1
            (tmp_path / str(number)).touch()
            await asyncio.sleep(0)
    assert watching.result() == "filled its folder with over 409600 bytes"
    assert number >= 98


# -- daemons ---------------------------------------------------------------------------------------

DAEMON = """
import os, sys
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        os.closerange(0, 100)
        os.execvpe(sys.argv[1], sys.argv[1:], {"PATH": os.environ["PATH"]} if WIPE else os.environ)
    os._exit(0)
os.wait()
"""
ORPHANAGE = """
import asyncio, json, os, sys
from pathlib import Path
from node.agents.process import run_process
from node.agents.strays import strays
from test_run_process import marked

folder = Path(sys.argv[1])
given = json.load(sys.stdin)  # not on the command line: that is where they are looked for
marking, hiding, other = given["long"]

async def main():
    assert strays.inherit()
    bare = {"PATH": os.environ["PATH"]}

    async def daemon(is_hiding, long):
        environment = {**bare, "DAEMON": given["daemon"].replace("WIPE", str(is_hiding))}
        line = f'{sys.executable} -c "$DAEMON" sleep {long}; echo $?'
        ended = await run_process(line, folder, environment)
        assert (ended.output, ended.code) == (b"0\\n", 0), ended
        return len(marked(long))

    print("alone", await daemon(False, marking), await daemon(True, hiding))
    beside = asyncio.create_task(run_process(f"cat; sleep {other}", folder, bare))
    while not marked(other):
        await asyncio.sleep(0.01)
    print("beside", await daemon(False, marking), await daemon(True, hiding))
    print("unharmed", len(marked(other)) >= 1)
    beside.cancel()
    await asyncio.wait([beside])
    print("after all", len(marked(marking)), len(marked(hiding)), len(marked(other)))
    try:
        print(os.waitpid(-1, os.WNOHANG), "is left to reap")
    except ChildProcessError:
        print("none")

asyncio.run(main())
"""


def orphanage(folder: Path, *before: str) -> list[str]:
    """What becomes of daemons that keep their mark, and of others."""
    long = [f"600.{secrets.randbits(48)}" for _ in range(3)]
    done = subprocess.run(
        [*before, sys.executable, "-c", ORPHANAGE, str(folder)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        input=json.dumps({"long": long, "daemon": DAEMON}),
        capture_output=True,
        text=True,
        timeout=TOGETHER_TIMEOUT_S,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@ON_LINUX
def test_a_daemon_ends_with_its_program_or_with_the_last_one(tmp_path: Path) -> None:
    assert orphanage(tmp_path) == [
        "alone 0 0",
        "beside 0 1",
        "unharmed True",
        "after all 0 0 0",
        "none",
    ]


@ON_LINUX
def test_process_1_of_a_container_ends_only_what_bears_a_mark(tmp_path: Path) -> None:
    """What else it has for children may be somebody's who looks into the container."""
    container = ("unshare", "--pid", "--fork", "--mount-proc", "--kill-child")
    if subprocess.run([*container, "true"], capture_output=True).returncode != 0:
        pytest.skip("no right to make a namespace")
    assert orphanage(tmp_path, *container) == [
        "alone 0 1",
        "beside 0 2",
        "unharmed True",
        "after all 0 2 0",
        "(0, 0) is left to reap",
    ]


HELPED = """
import asyncio, os, sys
from pathlib import Path
from node.agents.process import run_process
from node.agents.strays import strays

assert strays.inherit()
ended = asyncio.run(run_process("echo done", Path(sys.argv[1]), {"PATH": os.environ["PATH"]}))
print(ended.output, os.waitpid(-1, os.WNOHANG))
"""


@ON_LINUX
def test_children_from_before_a_node_outlive_its_programs(tmp_path: Path, long: str) -> None:
    line = f'sleep {long} & exec "$0" -c "$1" "$2"'
    command = ["/bin/sh", "-c", line, sys.executable, HELPED, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, start_new_session=True) as node:
        try:
            assert node.stdout is not None
            assert node.stdout.readline() == b"b'done\\n' (0, 0)\n"
            assert len(marked(long)) >= 1
        finally:
            os.killpg(node.pid, signal.SIGKILL)


@ON_LINUX
def test_a_stray_that_another_thread_has_reaped_is_no_fault(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Between looking and killing, `_reap_orphans` of another program may be first."""
    with subprocess.Popen(["true"]) as gone:
        gone.wait()
    monkeypatch.setattr(strays, "_children", lambda: iter([gone.pid]))
    monkeypatch.setattr(strays, "_has_ended", lambda _: True)
    heirs = strays.Strays()
    heirs._inherits = True
    heirs.end(0, "mark")


KILLED = """
import asyncio, os, sys
from pathlib import Path
from node.agents.process import run_process

line = f"setsid sleep {sys.argv[2]} & touch started; wait"
asyncio.run(run_process(line, Path(sys.argv[1]), {"PATH": os.environ["PATH"]}))
"""


@ON_LINUX
def test_a_node_that_is_killed_takes_daemons_along(tmp_path: Path, long: str) -> None:
    with subprocess.Popen([sys.executable, "-c", KILLED, str(tmp_path), long]) as node:
        deadline = time.monotonic() + START_TIMEOUT_S
        while not (tmp_path / "started").exists() or len(marked(long)) < 3:
            assert time.monotonic() < deadline, "the daemon did not start"
            time.sleep(0.01)
        node.kill()
    wait_gone(long)


# -- a whole job -----------------------------------------------------------------------------------

JOB = """
job: unruly
defaults: {agent: command, attempts: 2}
tasks:
  - {id: good, run: "echo fine; touch spare.o", writes: [good.txt]}
  - {id: daemon, run: "setsid sleep LONG > /dev/null 2>&1 & echo fine", writes: [daemon.txt]}
  - {id: unchecked, run: "echo x", writes: [a], verify: no-such-check}
  - {id: missing, run: no-such-program, writes: [b]}
  - {id: link, run: "ln -s /etc/passwd c", writes: [c]}
  - {id: escape, run: "echo x > ../d", writes: [d]}
  - {id: flood, run: "yes", writes: [e]}
  - {id: killed, run: "kill -9 $$", writes: [f]}
  - {id: after, run: "echo never", needs: [unchecked], writes: [after.txt]}
"""


def test_a_job_of_bad_programs_ends_with_a_reason_for_each_and_keeps_the_rest(
    tmp_path: Path, long: str
) -> None:
    (tmp_path / "unruly.yaml").write_text(JOB.replace("LONG", long))
    done = quorate("run", "unruly.yaml", "-n", "2", "--out", "result", folder=tmp_path)
    assert done.returncode == 1, done.stderr
    assert "FAILED" in done.stdout
    for task, why in (
        ("link", "c is not a regular file"),
        ("escape", "the program did not write d"),
        ("flood", "the program was stopped: it printed over 1048576 bytes"),
        ("killed", "the program was killed by signal 9"),
    ):
        assert re.search(rf"{task} abandoned: [2-4] attempts failed, the last with ", done.stdout)
        assert why in done.stdout
    for task, what in (("missing", "program"), ("unchecked", "the check's command was")):
        why = rf"{task} abandoned: no node can run it: {what} not found \(status 127\)"
        assert re.search(why, done.stdout)
    assert "after out of reach: something it needs was abandoned" in done.stdout
    assert "not kept, for task good does not write it: spare.o" in done.stdout
    kept = {path.name for path in (tmp_path / "result").iterdir()}
    assert kept == {"good.txt", "daemon.txt", "manifest.json"}
    assert marked(long) == []
