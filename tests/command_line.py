"""Running `quorate` verbs as a user does: in a separate process, or here where that is the same."""

from __future__ import annotations

import contextlib
import io
import subprocess
import sys
from pathlib import Path
from unittest import mock

import pytest

from node.cli import main

QUORATE = [sys.executable, "-c", "from node.cli import main; main()"]


def quorate(*arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a verb in `folder` and wait for its end."""
    return subprocess.run(
        [*QUORATE, *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def quorate_here(*arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """The same in this process, without the half second that an interpreter takes to start: for
    what starts nothing. What `main` does not catch comes out of here."""
    said, errors = io.BytesIO(), io.StringIO()
    text = io.TextIOWrapper(said, "utf-8", write_through=True)  # some is written below it
    with (
        contextlib.chdir(folder),
        contextlib.redirect_stdout(text),
        contextlib.redirect_stderr(errors),
        mock.patch.object(sys, "argv", ["quorate", *arguments]),
        pytest.raises(SystemExit) as ended,
    ):
        main()
    code = ended.value.code or 0
    assert isinstance(code, int)
    return subprocess.CompletedProcess(arguments, code, said.getvalue().decode(), errors.getvalue())
