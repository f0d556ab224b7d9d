"""Reading back what a node wrote down: what is found, what is bounded, what is passed over."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from node import recollection
from node.recollection import fact_of, recollect, tasks_in
from node.telemetry import RECORD, Telemetry, fact_as_json
from protocol.facts import Fact, RequestRefused
from protocol.facts.agreement import LeaderElected
from protocol.facts.membership import MemberFailed
from protocol.facts.work import (
    AnswersJudged,
    AttemptFailed,
    JobFinished,
    JobSubmitted,
    TaskAccepted,
    TaskClaimed,
    TaskStarted,
)
from protocol.identity import NodeId

ADA = NodeId("ada")
STORY: list[Fact] = [
    JobSubmitted("job", 3, 2),
    TaskStarted("job", "a", 0, 1, False),
    TaskClaimed("job", "a", 0, ADA, 1, 0),
    AttemptFailed("job", "a", 0, 1, "verify", 'it said "job": "job", "task": "b"\nand no'),
    MemberFailed(ADA, NodeId("bob"), "refused"),
    AnswersJudged("job", "a", ADA, (0, 0, 1), 7),
    TaskAccepted("job", "a", ADA, 2, "d1ge57", 8),
    JobFinished("job", True, "0a", 8),
]
OTHERS: list[Fact] = [
    TaskStarted("job", "b", 0, 1, False),
    TaskStarted("other", "a", 0, 1, False),
    JobSubmitted("other", 4, 2),
    RequestRefused("no"),
]


def written(folder: Path, facts: list[Fact]) -> Path:
    """A data folder in which a node has written these down."""
    telemetry = Telemetry(ADA, "n1", folder)
    for fact in facts:
        telemetry.report(fact)
    telemetry.close()
    assert telemetry.lost == 0
    return folder


@pytest.mark.parametrize("fact", STORY, ids=lambda fact: type(fact).__name__)
def test_a_record_is_read_back_as_the_fact_that_it_was_made_of(fact: Fact) -> None:
    record = json.loads(json.dumps(fact_as_json(fact, ADA, "n1", 1.5)))
    assert fact_of(record) == fact
    for name in set(record) - {"ts", "happened", "agent", "at"}:
        assert fact_of({**record, name: None}) is None
        assert fact_of({each: record[each] for each in record if each != name}) is None


def test_the_facts_of_one_task_are_found_and_what_explains_them(tmp_path: Path) -> None:
    election = LeaderElected(2, ADA)
    mixed = [election, *(fact for pair in zip(STORY, OTHERS * 2, strict=True) for fact in pair)]
    found = recollect(written(tmp_path, mixed), "job", "a")
    assert [fact_of(record) for record in found.records] == [election, *STORY]
    assert found.dropped == 0
    assert found.begins_s == found.records[0]["happened"]


def test_a_task_that_nobody_wrote_of_has_no_facts(tmp_path: Path) -> None:
    assert recollect(tmp_path, "job", "a") == recollection.Recollection()
    found = recollect(written(tmp_path, OTHERS), "job", "a.b")
    assert found.records == ()
    assert found.begins_s > 0.0


def test_a_torn_line_and_a_strange_one_are_passed_over(tmp_path: Path) -> None:
    written(tmp_path, STORY[:3])
    with (tmp_path / RECORD).open("ab") as file:
        file.write(b'{"ts": 1.0, "type": "TaskStarted", "job": "job", "task": "a", "\n\xff\n[]\n')
        strange = {
            "happened": 2.0,
            "type": "TaskStarted",
            "job": "job",
            "task": "a",
            "slot": "first",
        }
        file.write(json.dumps(strange).encode() + b"\n")
    written(tmp_path, STORY[3:])
    assert [fact_of(record) for record in recollect(tmp_path, "job", "a").records] == STORY


def test_what_was_put_aside_is_read_first(tmp_path: Path) -> None:
    written(tmp_path, STORY[:4])
    (tmp_path / RECORD).rename(tmp_path / f"{RECORD}.1")
    written(tmp_path, STORY[4:])
    assert [fact_of(record) for record in recollect(tmp_path, "job", "a").records] == STORY


def test_what_waited_for_the_disk_is_read_where_it_happened(tmp_path: Path) -> None:
    telemetry = Telemetry(ADA, "n1", tmp_path)
    for fact, happened_s in ((STORY[2], 7.5), (STORY[0], 7.0), (STORY[1], 7.0)):
        telemetry.report(fact, happened_s)
    telemetry.close()
    found = recollect(tmp_path, "job", "a")
    assert [fact_of(record) for record in found.records] == STORY[:3]


def test_a_file_that_is_put_aside_while_it_is_read_counts_once(tmp_path: Path) -> None:
    written(tmp_path, STORY)
    (tmp_path / f"{RECORD}.1").hardlink_to(tmp_path / RECORD)
    assert len(recollect(tmp_path, "job", "a").records) == len(STORY)


def test_the_newest_are_kept_and_the_others_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recollection, "FACTS_MAX", 2)
    monkeypatch.setattr(recollection, "CONTEXT_MAX", 1)
    elections: list[Fact] = [LeaderElected(term, ADA) for term in (1, 2, 3)]
    found = recollect(written(tmp_path, [*STORY, *elections]), "job", "a")
    assert [fact_of(record) for record in found.records] == [*STORY[-2:], elections[-1]]
    assert found.dropped == len(STORY) - 1 - 2, "losses of members are none of the task's"


def test_of_a_huge_file_the_end_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written(tmp_path, STORY)
    last = (tmp_path / RECORD).read_bytes().splitlines(keepends=True)[-2:]
    monkeypatch.setattr(recollection, "READ_SIZE_MAX", len(b"".join(last)) + 1)
    assert [fact_of(each) for each in recollect(tmp_path, "job", "a").records] == STORY[-2:]


def test_tasks_are_listed_with_their_jobs_the_latest_last(tmp_path: Path) -> None:
    written(tmp_path, [*STORY, *OTHERS, TaskStarted("job", "a", 0, 3, False)])
    assert tasks_in(tmp_path) == {"a": ["other", "job"], "b": ["job"]}
