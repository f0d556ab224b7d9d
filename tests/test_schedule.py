"""Faults as data."""

from __future__ import annotations

import pytest

from node.lab.schedule import Fault, FaultKind, FaultSpecError, percentage


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("kill-leader@30%", Fault(FaultKind.KILL_LEADER, 0.3)),
        ("kill-followers:2@50%", Fault(FaultKind.KILL_FOLLOWERS, 0.5, 2)),
        ("kill-all@40%", Fault(FaultKind.KILL_ALL, 0.4)),
        ("stop:1:20s@30%", Fault(FaultKind.STOP, 0.3, 1, 20.0)),
        ("stop:20s@30%", Fault(FaultKind.STOP, 0.3, 1, 20.0)),
        ("cut:2:10.5s@0%", Fault(FaultKind.CUT, 0.0, 2, 10.5)),
    ],
)
def test_a_fault_says_what_to_whom_and_when(text: str, fault: Fault) -> None:
    assert Fault.parse(text) == fault
    assert Fault.parse(str(fault)) == fault


@pytest.mark.parametrize(
    "text", ["", "kill", "kill-leader", "cut:0:1s@5%", "cut:2:1s@101%", "stop:9999s@1%", "stop@x%"]
)
def test_what_is_no_fault_is_refused_in_one_line(text: str) -> None:
    with pytest.raises(FaultSpecError) as caught:
        Fault.parse(text)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("kill-leader@30%", "kill-leader@30%"),
        ("kill-all@40%", "kill-all@40%"),
        ("kill-followers@50%", "kill-followers:1@50%"),
        ("stop@30%", "stop:1:10s@30%"),
    ],
)
def test_a_fault_is_shown_with_what_matters_to_it(text: str, shown: str) -> None:
    assert str(Fault.parse(text)) == shown


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("kill-leader:2@30%", "number"),
        ("kill-all:2@30%", "number"),
        ("kill-leader:5s@30%", "time"),
        ("kill-followers:2:5s@30%", "time"),
    ],
)
def test_what_a_fault_cannot_have_is_refused(text: str, what: str) -> None:
    with pytest.raises(FaultSpecError, match=f"takes no {what}: leave it out"):
        Fault.parse(text)


def test_a_percentage_is_a_share() -> None:
    assert percentage("30%") == percentage("30") == 0.3
    for text in ("", "a", "101%", "-1"):
        with pytest.raises(FaultSpecError):
            percentage(text)
