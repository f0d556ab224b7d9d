"""What a node says on its terminal while it waits for a seed."""

from __future__ import annotations

from pathlib import Path

import pytest

from node import telemetry as module
from node.telemetry import ALARMS_MAX, Telemetry
from protocol.facts.agreement import LeaderElected
from protocol.facts.membership import SeedUnreachable
from protocol.identity import NodeId

DEAD = SeedUnreachable("box:7400", "nobody listens")


def test_an_unreachable_seed_is_told_once_in_a_while(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    telemetry = Telemetry(NodeId("a"), "n1", tmp_path)
    for _ in range(5):
        telemetry.report(DEAD)
    telemetry.report(SeedUnreachable("other:7400", "nobody listens"))
    telemetry.close()
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2, "each seed once"
    assert "the seed box:7400 does not answer (nobody listens)" in lines[0]
    assert telemetry.counts == {"SeedUnreachable": 6}


def test_a_terminal_that_nobody_reads_is_not_filled_for_ever(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "ALARM_EVERY_S", 0.0)
    telemetry = Telemetry(NodeId("a"), "n1", tmp_path)
    for _ in range(2 * ALARMS_MAX):
        telemetry.report(DEAD)
    telemetry.close()
    assert len(capsys.readouterr().err.splitlines()) == ALARMS_MAX


def test_other_facts_are_for_the_log(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    telemetry = Telemetry(NodeId("a"), "n1", tmp_path)
    telemetry.report(LeaderElected(NodeId("a"), 1))
    telemetry.close()
    assert capsys.readouterr().err == ""
