"""Invocations and the agents that are programs: what they deliver, and what they leave behind."""

# ruff: noqa: ASYNC110, ASYNC240 -- processes announce themselves by files, which only polling sees
from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
from agent_setup import ADD, Watched, assigned, quick, text_file

from node.agents import Progress, process
from node.agents.backends import check_backends
from node.agents.command_agent import TALK_SIZE_MAX, CommandAgent
from node.agents.invocation import WAITING_MAX
from node.agents.python_agent import PythonAgent
from node.agents.scratch import ROOT_PREFIX, ROOT_RECORD, scratch_folder, scratch_root
from node.agents.settings import AgentSettings
from node.agents.verify import Finding, Verifier
from node.lab.run_job import check_output
from node.lists import load
from protocol.effects import Assignment, Check, Proposal, Purpose
from protocol.errors import InvalidJob
from protocol.events import AgentFailed, Completed, Failure, FoundOut
from protocol.jobs import FILE_SIZE_MAX, RESULT_SIZE_MAX, File, Job, Task, Usage
from protocol.ledger import fault_of_result

PASSES = "{python} -c 'from add import add; assert add(2, 3) == 5'"


@pytest.fixture
async def node(tmp_path: Path) -> AsyncIterator[Watched]:
    """A node's agents; whatever a test did, no folder may be left."""
    watched = Watched(quick(tmp_path / "scratch"))
    yield watched
    await watched.invocations.close()
    assert not list(tmp_path.glob("scratch/*"))


async def gone(pid: int) -> bool:
    """Whether the process ends; a killed one may be seen until its parent has reaped it."""
    async with asyncio.timeout(5):
        while True:
            try:
                state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
            except (FileNotFoundError, ProcessLookupError):
                return True
            if state == "Z":
                return True
            await asyncio.sleep(0.005)


async def started_pid(path: Path) -> int:
    """The number that a program writes to `path` when it has started."""
    async with asyncio.timeout(10):
        while not path.exists() or not path.read_text().endswith("\n"):
            await asyncio.sleep(0.005)
    return int(path.read_text())


# -- command -------------------------------------------------------------------------------------


async def test_program_result_is_the_files_it_wrote(node: Watched) -> None:
    write = (
        "printf 'def add(a, b):\\n    return a + b\\n' > add.py; echo noise > other.txt; echo done"
    )
    end = await node.run(assigned("command", program=write, verify=PASSES))
    assert end == Completed(1, (text_file("add.py", ADD),), "done", Usage(calls=1), "other.txt")
    assert node.progressed()[0].files == (text_file("add.py", ADD),)
    assert node.events[-1] is end


async def test_program_reads_prompt_inputs_fixtures_and_names(node: Watched) -> None:
    line = 'cat - in.txt fix.txt; echo "$QUORATE_JOB $QUORATE_TASK $QUORATE_SLOT $QUORATE_ATTEMPT"'
    assignment = assigned(
        "command",
        program=line,
        prompt="prompt\n",
        writes=(),
        inputs=(text_file("in.txt", "input\n"),),
        fixtures=(text_file("fix.txt", "fixture\n"),),
    )
    end = await node.run(assignment)
    assert isinstance(end, Completed)
    assert end.text == "prompt\ninput\nfixture\njob add 0 7"


async def test_standard_output_is_the_one_file_that_was_not_written(node: Watched) -> None:
    end = await node.run(assigned("command", program="printf 'x = 1\\n'"))
    assert isinstance(end, Completed)
    assert end.files == (text_file("add.py", "x = 1\n"),)


async def test_what_a_program_says_it_found_out_is_told_to_the_team(node: Watched) -> None:
    line = "echo x > add.py; echo 'FACT: a'; echo ' FACT:'; echo 'no FACT: b'; echo ' FACT:  c '"
    assert isinstance(await node.run(assigned("command", program=line)), Completed)
    assert [event for event in node.events if isinstance(event, FoundOut)] == [
        FoundOut(1, "a"),
        FoundOut(1, "c"),
    ]
    assert isinstance(node.events[-1], Completed), "what it found out comes before its end"
    question = assigned("command", program="echo 'FACT: an answer'", writes=())
    await node.run(question, 2)
    assert node.events[-1] == Completed(2, (), "FACT: an answer", Usage(calls=1))
    printed = assigned("command", program="echo 'FACT: a line of the file'")
    assert isinstance(await node.run(printed, 4), Completed)
    assert not any(event.invocation == 4 for event in node.events if isinstance(event, FoundOut))
    many = "echo x > add.py; for n in 1 2 3 4 5 6 7; do echo FACT: $n; done"
    await node.run(assigned("command", program=many), 3)
    assert sum(event.invocation == 3 and isinstance(event, FoundOut) for event in node.events) == 5


@pytest.mark.parametrize("end", ["exit 1", "sleep 600"])
async def test_what_a_program_found_out_is_told_however_it_ends(node: Watched, end: str) -> None:
    line = f"echo 'FACT: the server is down'; echo 'FACT: the server is down'; echo > told; {end}"
    program = assigned("command", program=line, writes=("told", "b"), timeout_s=2.0)
    assert isinstance(await node.run(program), AgentFailed)
    found = [event for event in node.events if isinstance(event, FoundOut)]
    assert found == [FoundOut(1, "the server is down")]


async def test_what_an_aborted_program_found_out_is_told(node: Watched, tmp_path: Path) -> None:
    said = tmp_path / "said"
    line = f"echo 'FACT: the server is down'; echo $$ > {said}; sleep 600"
    node.invocations.start(1, assigned("command", program=line))
    await started_pid(said)
    node.invocations.abort(1, "the task is settled")
    await node.wait_end()
    assert FoundOut(1, "the server is down") in node.events


async def test_what_a_function_prints_is_searched_for_what_it_found_out(
    node: Watched, tmp_path: Path
) -> None:
    source = "def work(prompt, folder):\n    print('FACT: ids are odd')\n    raise ValueError('no')"
    module = (File("found.py", source.encode()),)
    end = await node.run(assigned("python", program="found:work", fixtures=module))
    assert isinstance(end, AgentFailed)
    assert FoundOut(1, "ids are odd") in node.events


async def test_an_input_left_as_it_was_is_not_a_result(node: Watched) -> None:
    assignment = assigned("command", program=":", inputs=(text_file("add.py", "old\n"),))
    end = await node.run(assignment)
    assert isinstance(end, AgentFailed)
    assert (end.reason, end.detail) == (Failure.OUTPUT, "the program did not write add.py")


async def test_missing_one_of_two_files_is_an_output_failure_that_keeps_the_other(
    node: Watched,
) -> None:
    end = await node.run(
        assigned("command", program="echo 1 > a.py; echo hello", writes=("a.py", "b.py"))
    )
    assert isinstance(end, AgentFailed)
    assert (end.reason, end.detail) == (Failure.OUTPUT, "the program did not write b.py")
    assert end.files == (text_file("a.py", "1\n"),)


@pytest.mark.parametrize(
    ("line", "reason", "words"),
    [
        ("no-such-program-here", Failure.NO_PROGRAM, "program not found"),
        ("echo broken >&2; exit 3", Failure.AGENT, "status 3: broken"),
        ("kill -9 $$", Failure.AGENT, "killed by signal 9"),
        ("yes", Failure.AGENT, "printed over 1048576 bytes"),
        ("ln -s /etc/passwd add.py", Failure.OUTPUT, "add.py is not a regular file"),
        ("mkfifo add.py", Failure.OUTPUT, "add.py is not a regular file"),
        (f"head -c {FILE_SIZE_MAX + 1} /dev/zero > add.py", Failure.OUTPUT, "too large"),
        (":", Failure.OUTPUT, "did not write add.py"),
    ],
)
async def test_a_program_that_fails_says_how(
    node: Watched, line: str, reason: Failure, words: str
) -> None:
    end = await node.run(assigned("command", program=line))
    assert isinstance(end, AgentFailed)
    assert end.reason is reason
    assert words in end.detail


async def test_a_link_on_the_way_to_a_file_leads_nowhere(node: Watched, tmp_path: Path) -> None:
    (tmp_path / "secret.py").write_text("secret")
    end = await node.run(
        assigned("command", program=f"ln -s {tmp_path} d", writes=("d/secret.py",))
    )
    assert isinstance(end, AgentFailed)
    assert end.reason is Failure.OUTPUT
    assert end.files == ()


async def test_a_flood_on_standard_error_is_cut_to_its_end(node: Watched) -> None:
    line = "head -c 3000000 /dev/zero | tr '\\0' x >&2; echo the end >&2; exit 1"
    end = await node.run(assigned("command", program=line))
    assert isinstance(end, AgentFailed)
    assert end.detail.endswith("the end")


async def test_abort_kills_the_whole_process_group(node: Watched, tmp_path: Path) -> None:
    child, parent = tmp_path / "child", tmp_path / "parent"
    line = (
        f"echo 'x = 1' > add.py; sleep 600 & echo $! > {child}; echo $$ > {parent}; "
        "trap '' TERM; wait"
    )
    node.invocations.start(1, assigned("command", program=line))
    pids = [await started_pid(child), await started_pid(parent)]
    node.invocations.abort(1, "lease lost")
    node.invocations.abort(1, "again")
    end = await node.wait_end()
    assert isinstance(end, AgentFailed)
    assert (end.reason, end.detail) == (Failure.ABORTED, "lease lost")
    assert end.files == (text_file("add.py", "x = 1\n"),)
    assert [await gone(pid) for pid in pids] == [True, True]


async def test_a_background_child_does_not_outlive_its_program(
    node: Watched, tmp_path: Path
) -> None:
    child = tmp_path / "child"
    line = f"sleep 600 & echo $! > {child}; echo done"
    end = await node.run(assigned("command", program=line, writes=()))
    assert isinstance(end, Completed)
    assert await gone(await started_pid(child))


async def test_a_program_over_time_is_killed_and_reported(node: Watched, tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    line = f"echo $$ > {pid}; exec sleep 600"
    end = await node.run(assigned("command", program=line, timeout_s=0.3))
    assert isinstance(end, AgentFailed)
    assert (end.reason, end.detail) == (Failure.TIMEOUT, "no result within the task's 0.3 s")
    assert await gone(await started_pid(pid))


async def test_a_path_that_is_file_and_folder_is_an_output_failure(node: Watched) -> None:
    for number, changes in enumerate(
        (
            {"program": "mkdir add.py"},
            {"program": "echo 1 > x; echo", "writes": ("x", "x/y")},
            {"program": "echo", "inputs": (text_file("x", "1"), text_file("x/y", "2"))},
        )
    ):
        node.invocations.start(number, assigned("command", **changes))
        end = await node.wait_end(number)
        assert isinstance(end, AgentFailed)
        assert end.reason is Failure.OUTPUT
        assert any(
            words in end.detail
            for words in ("not a regular file", "did not write x/y", "both a file and a folder")
        ), end.detail


@pytest.mark.parametrize("agent", ["command", "python"])
async def test_files_that_the_task_does_not_write_are_named(node: Watched, agent: str) -> None:
    """As they are lost. What is usual litter is passed over."""
    lines = "mkdir d .git; touch d/b.o a.o .git/x __pycache__ n1 n2 n3 n4"
    wrapped = "import os\ndef f(prompt, workspace):\n    os.chdir(workspace); os.system(prompt)"
    given = {"fixtures": (text_file("m.py", wrapped),), "inputs": (text_file("in", "1"),)}
    for number, (more, writes) in enumerate(
        ((";echo 1 > add.py", ("add.py",)), ("", ("add.py", "x")), ("", ()))
    ):
        program = {"command": lines + more, "python": "m:f"}[agent]
        changes = {"program": program, "prompt": lines + more, "writes": writes, **given}
        node.invocations.start(number, assigned(agent, **changes))
    made, missing, unanswered = [await node.wait_end(number) for number in range(3)]
    assert isinstance(made, Completed)
    assert made.left == "a.o, n1, n2, n3, n4 and 1 more"
    assert isinstance(missing, AgentFailed)
    remedy = f"it wrote {made.left}, which the task does not write: list it under 'writes'"
    assert missing.detail == f"the program did not write add.py, x; {remedy}"
    assert isinstance(unanswered, AgentFailed)
    assert unanswered.detail.startswith("no answer: print it to standard output; it wrote a.o, n1")


async def test_an_endless_talk_beside_files_is_cut_to_its_end(node: Watched) -> None:
    line = "echo 1 > add.py; head -c 900000 /dev/zero | tr '\\0' x; echo the end"
    end = await node.run(assigned("command", program=line))
    assert isinstance(end, Completed)
    assert end.text.startswith("... x")
    assert end.text.endswith("the end")
    assert len(end.text) == TALK_SIZE_MAX


@pytest.mark.parametrize("letter", ["x", "\\377"])
async def test_files_up_to_the_limit_leave_no_room_for_talk(node: Watched, letter: str) -> None:
    task = assigned(
        "command",
        program=f"for f in a b c d; do head -c {FILE_SIZE_MAX} /dev/zero > $f; done; "
        f"rm d; head -c {FILE_SIZE_MAX - 100} /dev/zero > d; "
        f"head -c 1000 /dev/zero | tr '\\0' '{letter}'",
        writes=("a", "b", "c", "d"),
    )
    end = await node.run(task)
    assert isinstance(end, Completed)
    assert fault_of_result(task.task, end.files, end.text) == ""
    assert 90 <= len(end.text.encode()) <= 100
    assert sum(len(file.content) for file in end.files) == RESULT_SIZE_MAX - 100


async def test_an_answer_that_cannot_travel_is_refused(node: Watched) -> None:
    end = await node.run(assigned("command", program="head -c 300000 /dev/zero", writes=()))
    assert isinstance(end, AgentFailed)
    assert (end.reason, end.detail) == (
        Failure.OUTPUT,
        "the answer is over the limit of 262144 bytes: let the task write a file",
    )


async def test_output_that_is_no_text_is_kept_as_a_file_and_replaced_in_texts(
    node: Watched,
) -> None:
    for number, (writes, line) in enumerate(
        ((("add.py",), ""), ((), ""), (("add.py",), "; echo 1 > add.py"), ((), "; exit 1"))
    ):
        program = f"printf 'a\\355\\240\\200\\377b'{line}"  # half a character, and no character
        node.invocations.start(number, assigned("command", program=program, writes=writes))
    file, answer, talk, failed = [await node.wait_end(number) for number in range(4)]
    assert isinstance(file, Completed)
    assert file.files == (File("add.py", b"a\xed\xa0\x80\xffb"),)
    replaced = "a\ufffd\ufffd\ufffd\ufffdb"
    assert isinstance(answer, Completed)
    assert isinstance(talk, Completed)
    assert isinstance(failed, AgentFailed)
    assert (answer.text, talk.text) == (replaced, replaced)
    assert failed.detail == f"the program ended with status 1: {replaced}"


@pytest.fixture
def secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    """A node's environment."""
    for name in ("QUORATE_SECRET", "QUORATE_TOKEN", "OPENAI_API_KEY", "JAVA_HOME"):
        monkeypatch.setenv(name, f"value of {name}")
    monkeypatch.setenv("LC_TIME", "C")


ENVIRONMENT = """
def environment(prompt, workspace):
    import os
    return "\\n".join(f"{name}={value}" for name, value in os.environ.items())
"""


@pytest.mark.usefixtures("secrets")
async def test_programs_get_no_secrets_but_those_that_the_settings_name(tmp_path: Path) -> None:
    environment = {"QUORATE_PROGRAM_ENV": "OPENAI_API_KEY, JAVA_HOME"}
    named = AgentSettings.from_environment(environment, tmp_path).program_variables
    fixtures = (text_file("my_module.py", ENVIRONMENT),)
    for make, program in ((CommandAgent, "env"), (PythonAgent, "my_module:environment")):
        for variables in ((), named):
            async with scratch_folder(tmp_path) as workspace:
                assignment = assigned("any", program=program, writes=(), fixtures=fixtures)
                result = await make(variables).run(assignment, workspace, Progress(lambda _: None))
            lines = result.text.splitlines()
            assert {"LC_TIME=C", "QUORATE_TASK=add"} <= set(lines)
            assert [line for line in lines if "value of" in line] == [
                f"{name}=value of {name}" for name in os.environ if name in variables
            ]


@pytest.mark.usefixtures("secrets")
async def test_checks_get_no_secrets_whatever_the_settings_name(tmp_path: Path) -> None:
    verify = "env | sort | grep 'value of'; exit 1"
    assignment = assigned("any", verify=verify, writes=())
    for variables, seen in (
        ((), f"the check said no without a word (exit 1): {verify}"),
        (("JAVA_HOME", "OPENAI_API_KEY"), "JAVA_HOME=value of JAVA_HOME"),
    ):
        assert await Verifier(tmp_path, variables=variables).check(assignment, ()) == Finding(seen)


async def test_the_last_check_of_a_run_gets_what_the_nodes_checks_get(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("QUORATE_PROGRAM_ENV", "MY_SETTING")
    monkeypatch.setenv("MY_SETTING", "on")
    checked = replace(assigned("any").task, verify='test "$MY_SETTING" = on')
    job = Job("job", "job", (checked,))
    assert await check_output(job, [text_file("add.py", ADD)], tmp_path, ["add"]) == {"add": ""}


# -- python --------------------------------------------------------------------------------------

MODULE = """
import os, sys, time
def answer(prompt, workspace):
    print("noise that must not matter")
    return prompt.upper()
def files(prompt, workspace):
    return {"add.py": "x = 1\\n"}
def writer(prompt, workspace):
    with open(os.path.join(workspace, "add.py"), "w") as file:
        file.write("x = 2\\n")
def strange(prompt, workspace):
    return {"../evil.py": ""}
def fails(prompt, workspace):
    raise ValueError("no such luck")
def leaves(prompt, workspace):
    raise SystemExit(0)
def half(prompt, workspace):
    return "a\\ud800b"
def half_file(prompt, workspace):
    return {"add.py": "a\\ud800b"}
def half_fault(prompt, workspace):
    raise ValueError("a\\ud800b")
def number(prompt, workspace):
    return 42
def dies(prompt, workspace):
    os._exit(7)
def floods(prompt, workspace):
    while True:
        print("x" * 10_000, file=getattr(sys, prompt))
def hangs(prompt, workspace):
    with open(prompt, "w") as file:
        file.write(f"{os.getpid()}\\n")
    time.sleep(600)
"""


def called(function: str, **changes: object) -> Assignment:
    fixtures = (text_file("my_module.py", MODULE),)
    return assigned("python", program=f"my_module:{function}", fixtures=fixtures, **changes)


async def test_function_may_return_a_text_or_files_or_write_them(node: Watched) -> None:
    for number, (function, expected) in enumerate(
        (("answer", "WRITE ADD(A, B)."), ("files", "x = 1\n"), ("writer", "x = 2\n"))
    ):
        node.invocations.start(number, called(function))
        end = await node.wait_end(number)
        assert isinstance(end, Completed), end
        assert end.files == (text_file("add.py", expected),)


@pytest.mark.parametrize(
    ("function", "reason", "words"),
    [
        ("strange", Failure.OUTPUT, "returned ../evil.py, which the task does not write"),
        ("fails", Failure.AGENT, "my_module:fails: ValueError: no such luck"),
        ("leaves", Failure.AGENT, "my_module:leaves: SystemExit: 0"),
        ("number", Failure.AGENT, "returned a int: return a str, a dict or None"),
        ("dies", Failure.AGENT, "the worker ended with status 7"),
        ("absent", Failure.AGENT, "has no attribute 'absent'"),
    ],
)
async def test_a_function_that_fails_gives_its_last_line(
    node: Watched, function: str, reason: Failure, words: str
) -> None:
    end = await node.run(called(function))
    assert isinstance(end, AgentFailed)
    assert end.reason is reason
    assert words in end.detail


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
async def test_a_function_that_floods_is_told_where_it_printed(
    node: Watched, monkeypatch: pytest.MonkeyPatch, stream: str
) -> None:
    """What it prints, and what it says to standard error, come by one pipe."""
    monkeypatch.setattr(process, "ERROR_SIZE_MAX", 100_000)
    end = await node.run(called("floods", prompt=stream))
    assert isinstance(end, AgentFailed)
    told = "it printed over 100000 bytes to standard output and standard error together"
    assert end.detail.startswith(f"the worker was stopped: {told}")


async def test_half_characters_of_a_function_do_not_come_out(node: Watched) -> None:
    for number, (function, writes) in enumerate(
        (("half", ()), ("half_file", ("add.py",)), ("half_fault", ()))
    ):
        node.invocations.start(number, called(function, writes=writes))
    text, file, failed = [await node.wait_end(number) for number in range(3)]
    assert isinstance(text, Completed)
    assert text.text == "a\ufffdb"
    assert isinstance(file, Completed)
    assert file.files == (text_file("add.py", "a\ufffdb"),)
    assert isinstance(failed, AgentFailed)
    assert failed.detail.endswith("ValueError: a\ufffdb")


async def test_abort_kills_the_worker(node: Watched, tmp_path: Path) -> None:
    node.invocations.start(1, called("hangs", prompt=str(tmp_path / "pid")))
    pid = await started_pid(tmp_path / "pid")
    node.invocations.abort(1, "job over")
    end = await node.wait_end()
    assert isinstance(end, AgentFailed)
    assert end.reason is Failure.ABORTED
    assert await gone(pid)


# -- invocations ---------------------------------------------------------------------------------


async def test_an_abort_before_the_first_step_is_still_reported(node: Watched) -> None:
    node.invocations.start(1, assigned("command", program="echo"))
    node.invocations.abort(1, "changed my mind")
    end = await node.wait_end()
    assert isinstance(end, AgentFailed)
    assert (end.reason, end.detail) == (Failure.ABORTED, "changed my mind")


async def test_an_abort_after_the_end_changes_nothing(node: Watched) -> None:
    await node.run(assigned("command", program="echo x"))
    node.invocations.abort(1, "late")
    assert len(node.ends()) == 1
    assert node.invocations.running == ()


async def test_closing_aborts_all_and_refuses_more(node: Watched) -> None:
    for number in range(12):  # more than may work at once
        node.invocations.start(number, assigned("command", program="sleep 600"))
    await node.invocations.close()
    node.invocations.start(99, assigned("command", program="echo"))
    ends = [node.ends(number) for number in (*range(12), 99)]
    assert all(len(end) == 1 for end in ends)
    assert {end[0].reason for end in ends if isinstance(end[0], AgentFailed)} == {Failure.ABORTED}


async def test_not_more_agents_work_at_once_than_allowed(tmp_path: Path) -> None:
    node = Watched(quick(tmp_path / "scratch", invocations_max=2))
    count = "mkdir run.$$ && ls -d ../../*/*/run.* | wc -l && rmdir run.$$"
    for number in range(6):
        node.invocations.start(number, assigned("command", program=count, writes=()))
    for number in range(6):
        end = await node.wait_end(number)
        assert isinstance(end, Completed), end
        assert int(end.text) <= 2
    await node.invocations.close()


async def test_an_invocation_beyond_the_waiting_room_is_refused(tmp_path: Path) -> None:
    node = Watched(quick(tmp_path / "scratch", invocations_max=1))
    for number in range(WAITING_MAX + 2):
        node.invocations.start(number, assigned("command", program="sleep 600"))
    (refused,) = node.ends(WAITING_MAX + 1)
    assert isinstance(refused, AgentFailed)
    assert f"{WAITING_MAX + 1} agents are at work or wait" in refused.detail
    await node.invocations.close()


async def test_an_exception_in_an_agent_ends_only_its_attempt(
    node: Watched, caplog: pytest.LogCaptureFixture
) -> None:
    unplain = (text_file("a//b", ""),)  # no job that was validated has such a path
    end = await node.run(assigned("command", program="echo", fixtures=unplain))
    assert isinstance(end, AgentFailed)
    assert end.reason is Failure.AGENT
    assert "\n" not in end.detail
    assert "InvalidJob: path 'a//b'" in end.detail
    assert "invocation 1 failed" in caplog.text


async def test_an_unknown_kind_of_agent_is_named(node: Watched) -> None:
    end = await node.run(assigned("oracle"))
    assert isinstance(end, AgentFailed)
    assert "there is no agent 'oracle': use one of simulated, openai" in end.detail


# -- verification --------------------------------------------------------------------------------


async def test_a_result_that_fails_its_check_is_kept_as_evidence(node: Watched) -> None:
    wrong = "echo 'def add(a, b): return a - b'"
    end = await node.run(assigned("command", program=wrong, verify=PASSES))
    assert isinstance(end, AgentFailed)
    assert end.reason is Failure.VERIFY
    assert end.detail.endswith("AssertionError")
    assert end.files == (text_file("add.py", "def add(a, b): return a - b\n"),)


async def test_the_check_sees_exactly_fixtures_inputs_and_result(node: Watched) -> None:
    end = await node.run(
        assigned(
            "command",
            program="echo x > add.py; echo y > leftover",
            verify="find . -type f | sort; echo {id}; exit 9",
            inputs=(text_file("in/a.py", ""),),
            fixtures=(text_file("tests/t.py", ""),),
        )
    )
    assert isinstance(end, AgentFailed)
    assert end.detail == "./add.py\n./in/a.py\n./tests/t.py\nadd"


async def test_the_check_of_a_question_reads_the_text(node: Watched) -> None:
    end = await node.run(
        assigned("command", program="echo three", writes=(), verify="grep -q three")
    )
    assert isinstance(end, Completed)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("no-such-check", "the check's command was not found (status 127): install it or correct"),
        ("sh -c no-such-check", "something that the check calls was not found (status 127): sh -c"),
        ("yes", "the check was stopped: it printed over 1048576 bytes: yes"),
        ("sleep 600", "the check did not end within its verify_timeout of 0.3 s: sleep 600"),
        ("exit 5", "the check said no without a word (exit 5)"),
        ("kill -9 $$", "the check was killed by signal 9"),
    ],
)
async def test_a_check_that_goes_wrong_says_how(tmp_path: Path, line: str, words: str) -> None:
    node = Watched(quick(tmp_path / "scratch"))
    timeout_s = 0.3 if "sleep" in line else 10.0
    end = await node.run(
        assigned("command", program="echo x", verify=line, verify_timeout_s=timeout_s)
    )
    assert isinstance(end, AgentFailed)
    assert end.reason is (Failure.NO_CHECK if line == "no-such-check" else Failure.VERIFY)
    assert words in end.detail
    await node.invocations.close()
    assert not list(tmp_path.glob("scratch/*"))


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("exit 5", Failure.VERIFY),
        ("yes", Failure.VERIFY),
        ("no-such-check", Failure.NO_CHECK),
        ("cd / && no-such-check", Failure.NO_CHECK),
        ("sh -c no-such-check", Failure.AGENT),
        ("touch it; ./it", Failure.AGENT),
        ("sleep 600", Failure.TIMEOUT),
    ],
)
async def test_a_reviewer_gives_no_verdict_where_its_check_comes_to_no_end(
    node: Watched, line: str, reason: Failure
) -> None:
    timeout_s = 0.3 if "sleep" in line else 10.0
    work = assigned("command", program="echo x", verify=line, verify_timeout_s=timeout_s)
    made = Proposal((text_file("add.py", "x"),), "")
    check = Check(work.task, (), "")
    for number, checks in enumerate(((), (check,))):  # of a result, and of a merge
        node.invocations.start(
            number, replace(work, purpose=Purpose.REVIEW, proposals=(made,), checks=checks)
        )
        end = await node.wait_end(number)
        assert isinstance(end, AgentFailed)
        assert end.reason is reason


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("no-such-check", Failure.NO_CHECK),
        ("(exec 'no-such-check' add.py)", Failure.NO_CHECK),
        ("no-such-check <<'END'\nit's\nEND", Failure.NO_CHECK),
        (". ./add.py; f", Failure.VERIFY),
        ('eval "$(cat add.py)"; f', Failure.VERIFY),
        ("./tool.sh", Failure.VERIFY),
        ("add.py", Failure.VERIFY),
        ("sh ./add.py", Failure.VERIFY),
        ("$(cat add.py)", Failure.VERIFY),
        ("echo '/bin/sh: 1: sh: not found' >&2; sh -c 'exit 127'", Failure.VERIFY),
    ],
)
async def test_a_check_is_missing_only_if_its_own_line_names_it(
    node: Watched, line: str, reason: Failure
) -> None:
    """What the answer does, or has not got, is the answer's own fault."""
    end = await node.run(assigned("command", program="echo no-such-thing", verify=line))
    assert isinstance(end, AgentFailed)
    assert end.reason is reason, end.detail


async def test_abort_kills_a_check_under_way(node: Watched, tmp_path: Path) -> None:
    line = f"echo $$ > {tmp_path}/pid; exec sleep 600"
    node.invocations.start(1, assigned("command", program="echo x", verify=line))
    pid = await started_pid(tmp_path / "pid")
    assert node.progressed()[0].files == (text_file("add.py", "x\n"),)
    node.invocations.abort(1, "accepted elsewhere")
    end = await node.wait_end()
    assert isinstance(end, AgentFailed)
    assert end.reason is Failure.ABORTED
    assert await gone(pid)


async def test_a_folder_made_read_only_is_removed_all_the_same(node: Watched) -> None:
    line = "mkdir -p d/e; echo > d/e/f; chmod 500 d/e d; echo x"
    assert isinstance(await node.run(assigned("command", program=line)), Completed)


@pytest.mark.parametrize(
    "content",
    [
        "import os\nos._exit(0)\n",
        "import sys\nsys.exit(0)\n",
        "import atexit, os\natexit.register(os._exit, 0)\ndef double(x):\n    return 3\n",
        "import os\ndef double(x):\n    os._exit(0)\n",
        "import os, signal\ndef double(x):\n    os.kill(os.getpid(), signal.SIGKILL)\n",
        "import os\nfor fd in range(3, 20):\n    try:\n        os.write(fd, bytes(17))\n"
        "    except OSError:\n        pass\nos._exit(0)\n",
    ],
)
async def test_a_file_that_ends_the_process_does_not_pass_a_packaged_check(
    node: Watched, content: str
) -> None:
    job = load("mathutils_p09")
    task = job.task("double")
    written = File("double.py", content.encode())
    end = await node.run(
        assigned(
            "command",
            program="cat wrong.py",
            writes=task.writes,
            verify=task.verify,
            fixtures=(*job.files, File("wrong.py", written.content)),
        )
    )
    assert isinstance(end, AgentFailed), content
    assert end.reason is Failure.VERIFY
    assert end.files == (written,)


# -- before anything starts ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("environment", "fault"),
    [
        ({}, "task 'add' has no model to ask: set OPENAI_BASE_URL"),
        ({"OPENAI_BASE_URL": "http://h/v1"}, "has no model chosen: set OPENAI_MODEL to one that"),
        ({"OPENAI_API_KEY": "sk-x"}, "set OPENAI_MODEL to one that https://api.openai.com/v1 has"),
        ({"OPENAI_BASE_URL": "http://h/v1", "OPENAI_MODEL": " "}, "set OPENAI_MODEL"),
        (
            {"OPENAI_BASE_URL": "https://api.openai.com/v1", "OPENAI_MODEL": "m"},
            "set OPENAI_API_KEY",
        ),
        ({"OPENAI_BASE_URL": "h:8000/v1", "OPENAI_MODEL": "m"}, "OPENAI_BASE_URL must be like"),
        ({"OPENAI_BASE_URL": "http://[h", "OPENAI_MODEL": "m"}, "OPENAI_BASE_URL must be like"),
        ({"OPENAI_BASE_URL": "http://h:99999/v1", "OPENAI_MODEL": "m"}, "must be like"),
        ({"OPENAI_BASE_URL": "http://a b/v1", "OPENAI_MODEL": "m"}, "must be like"),
        ({"OPENAI_BASE_URL": "http://a\nb/v1", "OPENAI_MODEL": "m"}, "must be like"),
    ],
)
def test_an_endpoint_that_cannot_be_asked_is_named_before_the_start(
    environment: dict[str, str], fault: str
) -> None:
    job = Job(id="j", name="j", tasks=(Task(id="add", prompt="?", agent="openai"),))
    with pytest.raises(InvalidJob) as refusal:
        check_backends(job, environment)
    assert fault in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_a_server_of_ones_own_needs_no_key() -> None:
    job = Job(id="j", name="j", tasks=(Task(id="add", prompt="?", agent="openai"),))
    check_backends(job, {"OPENAI_BASE_URL": "http://127.0.0.1:8000/v1", "OPENAI_MODEL": "m"})


@pytest.mark.parametrize("program", ["json", "json:", ":dumps", "a b:c", "a.:c", "a:b:c"])
def test_what_names_no_function_is_refused_before_the_start(program: str) -> None:
    job = Job(id="j", name="j", tasks=(Task(id="t", prompt="", agent="python", program=program),))
    with pytest.raises(InvalidJob, match=r"names no function: write run: 'my_module:my_function'"):
        check_backends(job, {})


# -- the folder of the folders -------------------------------------------------------------------


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A temporary folder for this test alone."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    return folder


def test_working_folders_lie_outside_of_the_data_directory(temporary: Path, tmp_path: Path) -> None:
    with scratch_root(tmp_path) as root:
        assert root.parent == temporary
        assert root.stat().st_mode & 0o777 == 0o700
        (root / "work").mkdir()
    assert not list(temporary.iterdir())
    assert not (tmp_path / ROOT_RECORD).exists()


def test_what_a_killed_life_left_is_removed_by_the_next(temporary: Path, tmp_path: Path) -> None:
    left = temporary / f"{ROOT_PREFIX}left"
    (left / "work" / "deep").mkdir(parents=True)
    (tmp_path / ROOT_RECORD).write_text(str(left))
    with scratch_root(tmp_path) as root:
        assert list(temporary.iterdir()) == [root]


def test_a_record_of_something_else_removes_nothing(temporary: Path, tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.mkdir()
    link = temporary / f"{ROOT_PREFIX}link"
    link.symlink_to(precious)
    for record in (str(precious), str(link), "", "a\0b", f"{ROOT_PREFIX}x", "/" + "x" * 5000):
        (tmp_path / ROOT_RECORD).write_text(record)
        with scratch_root(tmp_path):
            pass
        assert precious.is_dir()
        assert link.is_symlink()
