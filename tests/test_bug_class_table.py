"""The kinds of faults that have been found in systems of this kind, by name; each has its tests.

The first test of a row is the one that stands for it.
"""

from __future__ import annotations

import importlib
import inspect

import pytest
import test_bug_classes

CLASSES: dict[str, tuple[str, ...]] = {
    "stale read from a paused or deposed leader": (
        "bug_classes: a leader that slept reads nothing old",
        "register_team: a leader that is cut off answers no read from what it has",
        "raft_reads: a deposed leader that does not know it answers no read",
        "raft_bug_classes: a leader that wakes from a long pause answers no read",
    ),
    "duplicate apply on retry": (
        "registers: a repeated command happens once",
        "clerk: a command that was given up happens once at most if it comes late",
        "register_team: commands through any node happen once whatever is lost and whoever dies",
    ),
    '"failed" operation that commits later': (
        "bug_classes: what a client was told did not happen never does",
        "clerk: what was never sent definitely did not happen",
        "raft_bug_classes: what nobody acknowledged may be committed later",
    ),
    "acknowledgement before fsync": (
        "bug_classes: what was acknowledged survives a power cut everywhere",
        "raft_disk: an append is on disk before it is acknowledged",
        "sim_checkers: a promise that no disk keeps is found",
    ),
    "fsync error, then false success": (
        "journal_faults: after a failed fsync nothing is confirmed",
        "raft_bug_classes: a disk that never says done is never taken at its word",
    ),
    "a corrupt minority spreading": (
        "bug_classes: a disk that forgot what it acknowledged takes it from nobody else",
        "register_team: a node whose journal was damaged is filled again and votes again",
    ),
    "split brain in membership change": (
        "raft_membership: the scenario of the erratum loses nothing",
        "raft_joint: a joint election needs both majorities",
        "sim_checkers: a change of voters without a common quorum is found",
    ),
    "disruptive return of a removed node": (
        "bug_classes: a voter that was replaced returns and disturbs nobody",
        "raft_bug_classes: a removed node that returns disturbs nobody",
    ),
    "asymmetric cuts": (
        "availability: a leader that hears nobody gives way",
        "raft_bug_classes: whoever hears and is not heard raises no term",
    ),
    "no leader although a quorum is connected": (
        "availability: a hub is enough",
        "availability: the newest log wins though its owner sees the hub only",
        "raft_bug_classes: a chain of three keeps its leader",
    ),
    "leader with a hung disk": (
        "register_team: a leader whose disk hangs gives way",
        "raft_disk: a leader whose disk hangs lets somebody else lead",
    ),
    "snapshot and compaction races": (
        "snapshots: the leader may die between two parts",
        "raft_snapshots: a leader compacts again while it sends",
        "raft_snapshots: a snapshot of what is committed here is acknowledged and not installed",
    ),
    "lost acknowledgement": (
        "bug_classes: a command whose acknowledgement is lost happens once and is acknowledged",
        "raft_bug_classes: a lost acknowledgement is made good",
    ),
    "partial apply across a crash": (
        "bug_classes: a crash in the middle of a batch leaves no half of it",
        "raft_bug_classes: a crash between writes applies nothing twice and nothing half",
    ),
    "lock without fencing": (
        "bug_classes: the revision of a lock is its fencing token",
        "ledger: a fenced holder is not accepted",
    ),
    "unbounded uncommitted tail": (
        "bug_classes: a leader that commits nothing takes no more than it may keep",
        "raft_flow: a leader that cannot commit takes a bounded number of proposals",
    ),
    "clock jumps and long pauses": (
        "bug_classes: a node that slept for a minute answers its clients and goes on",
        "raft_bug_classes: a clock that jumps ahead deposes nobody",
        "raft_bug_classes: a leader that was stopped for an hour steps down before it speaks",
    ),
    "mixed versions": (
        "bug_classes: a frame of another version is refused and the node goes on",
        "codec: another version is refused by name",
        "transport: another protocol version is refused",
    ),
}


def place_of(line: str) -> tuple[str, str]:
    """The module and the function that a line of the table names."""
    module, _, sentence = line.partition(": ")
    return f"test_{module}", "test_" + sentence.replace(" ", "_")


def test_there_are_eighteen() -> None:
    assert len(CLASSES) == 18


@pytest.mark.parametrize("bug", CLASSES)
def test_each_test_that_is_named_exists(bug: str) -> None:
    assert CLASSES[bug]
    for line in CLASSES[bug]:
        module, function = place_of(line)
        found = getattr(importlib.import_module(module), function, None)
        assert inspect.isfunction(found), f"{module} has no {function}"
        assert found.__module__ == module
        marks = [mark.name for mark in getattr(found, "pytestmark", ())]
        assert "skip" not in marks
        assert "xfail" not in marks


def test_a_test_stands_for_one_class() -> None:
    first = [lines[0] for lines in CLASSES.values()]
    assert len(set(first)) == len(CLASSES)


def test_whatever_is_tested_as_a_class_is_in_the_table() -> None:
    named = {place_of(line) for lines in CLASSES.values() for line in lines}
    written = {name for name in vars(test_bug_classes) if name.startswith("test_")}
    assert {("test_bug_classes", name) for name in written} <= named
