"""What a program is given that merges versions of a file, or judges answers, for a whole job."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
from agent_setup import Watched, assigned, quick, text_file

from protocol.effects import Assignment, Proposal, Purpose
from protocol.events import AgentFailed, Completed, Failure
from protocol.jobs import File

BASE = "one\ntwo\nthree\n"


@pytest.fixture
async def node(tmp_path: Path) -> AsyncIterator[Watched]:
    watched = Watched(quick(tmp_path / "scratch"))
    yield watched
    await watched.invocations.close()


def merging(program: str, base: str = BASE) -> Assignment:
    """Two tasks wrote the file, each after its own fashion."""
    work = assigned("command", program=program, writes=("doc/f.txt",), notes=("a check said no",))
    versions = (("left", "One\ntwo\nthree\n"), ("right", "ONE\ntwo\nthree\n"))
    return replace(
        work,
        purpose=Purpose.MERGE,
        partial=(text_file("doc/f.txt", base),) if base else (),
        proposals=tuple(
            Proposal((text_file(f"doc/f.txt.{name}", text),), f"to the {name}")
            for name, text in versions
        ),
    )


@pytest.mark.parametrize("more", ["", ' > "$QUORATE_FILE"; echo noise', " > .m; mv .m doc/f.txt"])
async def test_a_program_that_merges_writes_the_file_or_prints_it(node: Watched, more: str) -> None:
    program = f"cat $QUORATE_BASE $QUORATE_VERSIONS{more}"
    end = await node.run(merging(program))
    assert isinstance(end, Completed), end
    assert end.files == (text_file("doc/f.txt", f"{BASE}One\ntwo\nthree\nONE\ntwo\nthree\n"),)
    assert end.left == ""


async def test_a_program_that_merges_is_told_what_each_version_was_for(node: Watched) -> None:
    program = 'cat; echo "$QUORATE_VERSIONS"; cat $QUORATE_BASE'
    end = await node.run(merging(program, base=""))
    assert isinstance(end, Completed), end
    (file,) = end.files
    words = file.content.decode()
    assert words.startswith("# Merge doc/f.txt\n\n")
    assert "# Version doc/f.txt.left\n\nIt was written for this task:\n\nto the left\n" in words
    assert "- a check said no" in words
    assert words.endswith("doc/f.txt.left\ndoc/f.txt.right\n"), "what was nothing before is empty"


async def test_no_version_or_answer_takes_the_place_of_a_file_of_the_job(node: Watched) -> None:
    own = ["doc/f.txt.left", "doc/f.txt.left_/x", ".partial/doc/f.txt", ".answers/1"]
    files = tuple(text_file(path, f"{path}\n") for path in own)
    reading = f"cat {' '.join(own)}"
    program = f"{reading} $QUORATE_BASE $QUORATE_VERSIONS"
    merged = await node.run(replace(merging(program), fixtures=files))
    assert isinstance(merged, Completed), merged
    versions = f"{BASE}One\ntwo\nthree\nONE\ntwo\nthree\n"
    assert merged.files[0].content.decode() == "".join(f"{path}\n" for path in own) + versions
    told = await node.run(replace(merging('cat; echo "$QUORATE_VERSIONS"'), fixtures=files), 2)
    assert isinstance(told, Completed), told
    assert b"# Version doc/f.txt.left__\n" in told.files[0].content
    assert told.files[0].content.endswith(b"doc/f.txt.left__\ndoc/f.txt.right\n")
    nothing_lost = f'test "$({reading})" = "{chr(10).join(own)}"'
    judge = replace(judging(f"{nothing_lost} && {{ {JUDGE} }}", *ANSWERS), fixtures=files)
    end = await node.run(judge, 3)
    assert isinstance(end, Completed), end
    assert end.text == "0 1 0"


async def test_a_program_that_cannot_merge_has_no_result(node: Watched) -> None:
    end = await node.run(merging("echo no; exit 3"))
    assert isinstance(end, AgentFailed)
    assert (end.reason, end.detail) == (Failure.AGENT, "the program ended with status 3: no")


@pytest.mark.parametrize("kind", ["merge", "judge"])
async def test_a_program_that_is_not_there_is_called_by_its_line_of_the_job_file(
    node: Watched, kind: str
) -> None:
    given = merging("no-such") if kind == "merge" else judging("no-such", *ANSWERS)
    end = await node.run(given)
    assert isinstance(end, AgentFailed)
    assert end.reason is Failure.NO_PROGRAM
    assert f"install it or correct '{kind}.run' (" in end.detail


def judging(program: str, *proposals: Proposal) -> Assignment:
    given = assigned("command", program=program, prompt="Which?", writes=())
    return replace(given, purpose=Purpose.JUDGE, proposals=proposals)


ANSWERS = tuple(Proposal((), f"I think.\nAnswer: {text}") for text in ("Rome", "Paris", "rome"))
JUDGE = """
n=0
for answer in $QUORATE_ANSWERS; do
    n=$((n + 1))
    case $(tr A-Z a-z < $answer) in rome) echo "$n: A";; *) echo "$n: B";; esac
done
"""


async def test_a_program_says_which_answers_agree_as_a_model_does(node: Watched) -> None:
    end = await node.run(judging(JUDGE, *ANSWERS))
    assert isinstance(end, Completed), end
    assert (end.files, end.text) == ((), "0 1 0")


async def test_a_judge_reads_what_was_asked_and_all_answers(node: Watched) -> None:
    program = "cat > all; grep -q 'Which?' all && grep -q Paris all && printf '1: A\\n2: A\\n3: A'"
    end = await node.run(judging(program, *ANSWERS))
    assert isinstance(end, Completed), end
    assert end.text == "0 0 0"


async def test_answers_that_are_files_lie_in_a_folder_each(node: Watched) -> None:
    program = "for a in $QUORATE_ANSWERS; do i=$((i + 1)); echo $i: $(cat $a/d/add.py); done"
    made = [Proposal((File("d/add.py", letter),), "") for letter in (b"A", b"B")]
    end = await node.run(replace(judging(program, *made), task=judging(program).task))
    assert isinstance(end, Completed), end
    assert end.text == "0 1"


async def test_a_judge_that_does_not_say_enough_is_told_what_to_print(node: Watched) -> None:
    end = await node.run(judging("echo 1: A", *ANSWERS))
    assert isinstance(end, AgentFailed)
    assert end.reason is Failure.OUTPUT
    assert end.detail == (
        "the judge does not say which answers agree: print for each its number, a colon and a "
        "letter, as in '1: A' (it printed: 1: A)"
    )
