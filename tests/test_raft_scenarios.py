"""Scenes of Raft are what their transcripts say, line by line.

The scenes are in `raft_scenarios` and `raft_scenes_of_logs`, the transcripts in tests/transcripts/,
to be read like a play.
After a change that is meant, write them anew, and read the difference before it is committed:

    QUORATE_TRANSCRIPTS=write pytest tests/test_raft_scenarios.py
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import raft_scenarios
import raft_scenes_of_logs

TRANSCRIPTS = Path(__file__).parent / "transcripts"
SCENES = raft_scenarios.SCENES
assert raft_scenes_of_logs.figure_7 in SCENES.values(), "both files register what they have"


@pytest.mark.parametrize("name", list(SCENES))
def test_a_scene_goes_as_its_transcript_says(name: str) -> None:
    found = SCENES[name]().transcript()
    path = TRANSCRIPTS / f"{name}.txt"
    if os.environ.get("QUORATE_TRANSCRIPTS") == "write":
        path.write_text(found)
    assert found == path.read_text()


def test_no_transcript_is_left_over() -> None:
    assert {path.stem for path in TRANSCRIPTS.iterdir()} == set(SCENES)
