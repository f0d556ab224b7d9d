"""What `quorate run` leaves in the temporary folder, however it ends: nothing."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

# As from a terminal: what a script starts in its background, or with nohup, ignores some signals.
RUN = """
import signal
signal.signal(signal.SIGHUP, signal.SIG_DFL)
from node.cli import main
main()
"""
JOB = """
job: slow
defaults: {agent: command}
tasks: [{id: a, run: echo a}, {id: b, run: sleep LONG; echo b, needs: [a]}]
"""


def started(folder: Path, long: str, *arguments: str) -> subprocess.Popen[str]:
    """A run whose temporary folder is `temporary`."""
    (folder / "slow.yaml").write_text(JOB.replace("LONG", long))
    (folder / "temporary").mkdir()
    return subprocess.Popen(
        [sys.executable, "-c", RUN, "run", "slow.yaml", *arguments],
        cwd=folder,
        env={**os.environ, "TMPDIR": str(folder / "temporary")},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_run_that_is_told_to_end_clears_up(number: int, tmp_path: Path) -> None:
    run = started(tmp_path, "600", "-n", "2")
    try:
        assert run.stdout is not None
        for line in run.stdout:
            if line.startswith("1 of 2 accepted"):
                break
        assert any((tmp_path / "temporary").iterdir())
        run.send_signal(number)
        assert run.wait(timeout=60) == 128 + number
        assert list((tmp_path / "temporary").iterdir()) == []
    finally:
        run.kill()
        run.communicate()


def test_the_working_folders_of_a_node_that_was_killed_go_with_the_team(tmp_path: Path) -> None:
    run = started(tmp_path, "1", "-n", "3", "--fault", "kill-followers:1@50%")
    said, _ = run.communicate(timeout=100)
    assert run.returncode == 0, said
    assert "fault: kill-followers:1" in said
    assert list((tmp_path / "temporary").iterdir()) == []
