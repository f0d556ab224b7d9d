"""The kinds of faults that have been found in systems of this kind, by name; each has its tests.

The first test of a row is the one that stands for it. A test of each row must fail where a rule is
missing that keeps the fault away: else the row would be names, and prove nothing.
"""

from __future__ import annotations

import importlib
import inspect
from functools import partial

import pytest
import test_availability
import test_bug_classes
import test_codec
import test_ledger
import test_raft_bug_classes
import test_raft_membership
import test_raft_snapshots
import test_register_team
from test_mutants import MUTANTS, Test, call, whole

from protocol.events import Consistency
from protocol.jobs import ClaimMode
from protocol.sim.watch import InvariantBroken

CLASSES: dict[str, tuple[str, ...]] = {
    "stale read from a paused or deposed leader": (
        "bug_classes: a leader that does not know of its successor reads nothing old",
        "bug_classes: a leader that slept reads nothing old",
        "register_team: a leader that is cut off answers no read from what it has",
        "raft_reads: a deposed leader that does not know it answers no read",
        "raft_bug_classes: a leader that wakes from a long pause answers no read",
    ),
    "duplicate apply on retry": (
        "bug_classes: a command whose acknowledgement is lost happens once and is acknowledged",
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
        "raft_membership: no change before an entry of the own term is committed",
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
        "raft_bug_classes: a lost acknowledgement is made good",
        "bug_classes: a command whose acknowledgement is lost happens once and is acknowledged",
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


# The class, the mutant that lacks the rule, and the test of the row that must fail with it.
NOTICED: list[tuple[str, str, Test]] = [
    (
        "stale read from a paused or deposed leader",
        "ReadsAlone",
        partial(
            test_bug_classes.test_a_leader_that_does_not_know_of_its_successor_reads_nothing_old,
            Consistency.LINEARIZABLE,
        ),
    ),
    (
        "duplicate apply on retry",
        "AppliesTwice",
        partial(
            test_bug_classes.test_a_command_whose_acknowledgement_is_lost_happens_once_and_is_acknowledged,
            2,
        ),
    ),
    (
        '"failed" operation that commits later',
        "DeniesWhatItSent",
        partial(test_bug_classes.test_what_a_client_was_told_did_not_happen_never_does, 3),
    ),
    (
        "acknowledgement before fsync",
        "AcknowledgesEarly",
        partial(test_bug_classes.test_what_was_acknowledged_survives_a_power_cut_everywhere, 5),
    ),
    (
        "fsync error, then false success",
        "AcknowledgesAgain",
        test_raft_bug_classes.test_a_disk_that_never_says_done_is_never_taken_at_its_word,
    ),
    (
        "a corrupt minority spreading",
        "VotesImpaired",
        partial(
            test_bug_classes.test_a_disk_that_forgot_what_it_acknowledged_takes_it_from_nobody_else,
            3,
        ),
    ),
    (
        "split brain in membership change",
        "ChangesTooSoon",
        test_raft_membership.test_no_change_before_an_entry_of_the_own_term_is_committed,
    ),
    (
        "disruptive return of a removed node",
        "SkipsPreVote",
        partial(
            test_bug_classes.test_a_voter_that_was_replaced_returns_and_disturbs_nobody, "isolated"
        ),
    ),
    (
        "asymmetric cuts",
        "NeverGivesWay",
        partial(test_availability.test_a_leader_that_hears_nobody_gives_way, 3),
    ),
    (
        "no leader although a quorum is connected",
        "GoesDirectly",
        partial(test_availability.test_a_hub_is_enough, 1),
    ),
    (
        "leader with a hung disk",
        "WaitsForItsDisk",
        test_register_team.test_a_leader_whose_disk_hangs_gives_way,
    ),
    (
        "snapshot and compaction races",
        "TakesOldSnapshots",
        test_raft_snapshots.test_a_snapshot_of_what_is_committed_here_is_acknowledged_and_not_installed,
    ),
    (
        "lost acknowledgement",
        "ConfirmsOnce",
        test_raft_bug_classes.test_a_lost_acknowledgement_is_made_good,
    ),
    (
        "partial apply across a crash",
        "ForgetsNumbers",
        partial(test_bug_classes.test_a_crash_in_the_middle_of_a_batch_leaves_no_half_of_it, 5_400),
    ),
    (
        "lock without fencing",
        "IgnoresFences",
        partial(test_ledger.test_a_fenced_holder_is_not_accepted, ClaimMode.LEASE),
    ),
    (
        "unbounded uncommitted tail",
        "TakesAnyTail",
        test_bug_classes.test_a_leader_that_commits_nothing_takes_no_more_than_it_may_keep,
    ),
    (
        "clock jumps and long pauses",
        "SpeaksFirst",
        test_raft_bug_classes.test_a_leader_that_was_stopped_for_an_hour_steps_down_before_it_speaks,
    ),
    (
        "mixed versions",
        "SpeaksAllVersions",
        test_codec.test_another_version_is_refused_by_name,
    ),
]


def test_each_class_has_a_rule_that_keeps_it_away() -> None:
    assert [bug for bug, _, _ in NOTICED] == list(CLASSES)


@pytest.mark.parametrize(("bug", "mutant", "test"), NOTICED, ids=[row[1] for row in NOTICED])
def test_without_the_rule_the_bug_is_noticed(
    bug: str, mutant: str, test: Test, monkeypatch: pytest.MonkeyPatch
) -> None:
    named = whole(test)
    assert (named.__module__, named.__name__) in [place_of(line) for line in CLASSES[bug]]
    MUTANTS[mutant].breed(monkeypatch)
    with pytest.raises((AssertionError, pytest.fail.Exception, InvariantBroken)):
        call(test)
