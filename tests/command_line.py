"""Running `quorate` verbs as a user does: in a separate process."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

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
