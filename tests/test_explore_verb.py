"""The verb around the exhaustive search."""

from __future__ import annotations

import json

import pytest
import typer
from raft_mutants import flatter
from typer.testing import CliRunner

from node.cli.explore_verb import explore
from protocol.raft.elections import Elections

app = typer.Typer()
app.command()(explore)
RUNNER = CliRunner()


def test_all_seen_and_nothing_broken_is_told() -> None:
    result = RUNNER.invoke(app, ["--terms", "1", "--entries", "0", "--no-pre-votes"])
    assert result.exit_code == 0, result.output
    assert "bounds: nodes=3 terms=1 entries=0 pre_votes=False" in result.output
    assert "exhausted" in result.output
    assert "states/s" in result.output


def test_a_search_that_was_cut_short_is_no_success() -> None:
    result = RUNNER.invoke(app, ["--states-max", "100", "--json"])
    assert result.exit_code == 1, result.output
    found = json.loads(result.stdout)
    assert (found["exhausted"], found["invariant"]) == (False, "")
    assert found["bounds"]["terms"] == 2
    assert found["elapsed_s"] >= 0


def test_a_violation_is_told_with_its_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Elections, "_is_up_to_date", flatter)
    result = RUNNER.invoke(app, ["--entries", "0", "--no-pre-votes"])
    assert result.exit_code == 5, result.output
    assert "BROKEN: leader completeness" in result.output
    assert "breaks leader completeness" in result.output.splitlines()[-2]
