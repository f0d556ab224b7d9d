"""One seed, one trace, byte for byte: whatever seed Python hashes strings with, and whichever
Python it is. The other ones are those that `scripts/test` has made environments for."""

from __future__ import annotations

import os
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SEEDS = (15, 18)
MINORS = [minor for minor in (11, 12, 13, 14) if minor != sys.version_info.minor]


@cache
def replayed(python: str, seed: int, hash_seed: str) -> bytes:
    """What `quorate sim` prints."""
    done = subprocess.run(
        [python, "-c", "from node.cli import main; main()", "sim", "--seed", str(seed), "--trace"],
        env={**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode()
    assert len(done.stdout) > 10_000, "a whole trace"
    return done.stdout


def other_python(minor: int) -> str:
    """Skips, and says why, where there is none."""
    place = ROOT / f".venv-3.{minor}"
    if not (place / "installed").exists():
        pytest.skip(f"no {place.name}: scripts/test makes it if Python 3.{minor} is installed")
    return str(place / "bin" / "python")


@pytest.mark.parametrize("seed", SEEDS)
def test_a_run_is_the_same_byte_for_byte_under_any_hash_seed(seed: int) -> None:
    assert replayed(sys.executable, seed, "1") == replayed(sys.executable, seed, "4711")


@pytest.mark.parametrize("minor", MINORS, ids=lambda minor: f"3.{minor}")
def test_another_python_replays_the_same_trace(minor: int) -> None:
    python = other_python(minor)
    for seed in SEEDS:
        assert replayed(python, seed, "0") == replayed(sys.executable, seed, "1")
