"""`quorate get` as a user meets it: the very bytes of a file, and a word of a job that failed."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from command_line import QUORATE, quorate, quorate_here

from node.cli import get_verb
from node.lab.door import DoorError

BYTES = bytes(range(256)) + b"no line end"
FAILING = """
job: half
defaults: {agent: command}
tasks: [{id: good, run: echo good, writes: [good.txt]}, {id: bad, run: exit 1}]
"""


@pytest.fixture(scope="module")
def team(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("team")
    (folder / "bytes.py").write_text(f"import sys; sys.stdout.buffer.write({BYTES!r})")
    (folder / "bytes.yaml").write_text(
        f"job: bytes\nfiles: [bytes.py]\ndefaults: {{agent: command}}\ntasks:\n"
        f"  - {{id: z, run: {sys.executable} bytes.py, writes: [z.bin]}}\n"
        f"  - {{id: u, run: printf a, writes: [u.txt]}}\n"
    )
    (folder / "half.yaml").write_text(FAILING)
    try:
        assert quorate("up", "-n", "2", folder=folder).returncode == 0
        done = quorate("submit", "bytes.yaml", "--wait", folder=folder)
        assert done.returncode == 0, done.stdout + done.stderr
        yield folder
    finally:
        quorate("down", folder=folder)


@pytest.mark.parametrize(("path", "content"), [("z.bin", BYTES), ("u.txt", b"a")])
def test_one_file_is_printed_as_it_is_and_whose_it_is_said_beside_it(
    team: Path, path: str, content: bytes
) -> None:
    done = subprocess.run(
        [*QUORATE, "get", "--file", path], cwd=team, capture_output=True, check=True, timeout=60
    )
    assert done.stdout == content
    assert done.stderr.decode().startswith(f"--- {path} by n")


def test_versions_of_text_are_told_apart_and_others_not_mixed(
    capfdbinary: pytest.CaptureFixture[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    def shown(*contents: dict[str, str]) -> None:
        rows = [
            {"task": "t", "name": f"n{number}", "node": f"{number}", "slot": 0, "token": 1, **each}
            for number, each in enumerate(contents)
        ]
        monkeypatch.setattr(get_verb, "execute", lambda _: rows)
        get_verb._print_file(_NoDoors(), {"id": "job", "tasks": []}, "f", as_json=False)  # type: ignore[arg-type]

    shown({"content": "one\r\n"}, {"content": "two"})
    assert capfdbinary.readouterr().out == (
        b"--- f by n0 (token 1)\none\r\n--- f by n1 (token 1)\ntwo\n"
    )
    with pytest.raises(DoorError, match="2 versions, and not all are text: 'quorate get job --out"):
        shown({"content": "one"}, {"content": "\ufffd", "base64": "/w=="})


class _NoDoors:
    def get(self, path: str) -> None: ...


def test_the_files_of_a_failed_job_come_with_the_word_that_it_failed(team: Path) -> None:
    assert quorate_here("submit", "half.yaml", "--wait", folder=team).returncode == 1
    done = quorate_here("get", "--out", "half", folder=team)
    assert done.returncode == 1
    assert "1 file in half" in done.stdout
    assert "the job has failed" in done.stderr
    assert (team / "half" / "good.txt").read_text() == "good\n"
