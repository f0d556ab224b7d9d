"""Who submits a job and waits for it is told what it waits for, how it goes on, and where it is
followed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from lone_node import TOKEN, lone_node
from test_client_door import closed_address, simple

from node.lab import following
from node.lab.door import DoorError, Doors
from node.lab.following import Following, doors_to_follow, follow_to_end, submit, take_view
from node.lab.watch import Progress


@pytest.fixture
async def address(tmp_path: Path) -> AsyncIterator[str]:
    async with lone_node(tmp_path) as (address, _):
        yield address


class WithoutMajority(Doors):
    """Nobody confirms anything, until it was told why."""

    def __init__(self) -> None:
        super().__init__([], "")
        self.told: list[str] = []
        self.was_told_why = asyncio.Event()

    def tell(self, line: str) -> None:
        self.told.append(line)
        if line.startswith("  - "):
            self.was_told_why.set()

    async def submit(self, job: object, timeout_s: float = 0.0) -> str:
        await self.was_told_why.wait()
        raise DoorError("TimedOut", "no majority confirmed it in time; it may still happen")

    async def cancel(self, job: str, reason: str) -> None:
        await self.submit(job)

    async def gather(self, path: str, timeout_s: float = 0.0) -> list[Any]:
        return [None, {"name": "n1", "why_no_leader": ["2 of 3 voters are down: n2, n3"]}]


async def test_who_submits_without_a_majority_is_told_what_it_waits_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(following, "PATIENCE_S", 0.0)
    doors = WithoutMajority()
    with pytest.raises(DoorError) as caught:
        await submit(doors, simple(), doors.tell)
    assert doors.told == [
        "waiting for a majority of the team to confirm job ...",
        "no leader, as n1 sees it:",
        "  - 2 of 3 voters are down: n2, n3",
    ]
    assert caught.value.kind == "TimedOut"
    assert str(caught.value).startswith("job: no majority confirmed it in time")
    for hint in ("'quorate status'", "'quorate tasks job'"):
        assert hint in str(caught.value)


async def test_who_cancels_without_a_majority_is_told_what_it_waits_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(following, "PATIENCE_S", 0.0)
    doors = WithoutMajority()
    with pytest.raises(DoorError, match="'quorate tasks job' whether it has ended"):
        await following.cancel(doors, "job", "", doors.tell)
    assert doors.told[0] == "waiting for a majority of the team to confirm the end of job ..."
    assert len(doors.told) == 3


async def test_a_submission_that_is_taken_at_once_says_nothing(address: str) -> None:
    told: list[str] = []
    assert await submit(Doors([address], TOKEN), simple(), told.append) == "job"
    assert told == []


async def test_a_job_is_followed_at_another_door_if_the_first_is_away(
    address: str, tmp_path: Path
) -> None:
    closed = closed_address()
    told: list[str] = []
    await Doors([address], TOKEN).submit(simple())
    doors = doors_to_follow(Doors([closed], TOKEN), [closed, address])
    shown: list[str] = []
    view = await follow_to_end(
        Following(simple(), "job", doors, tmp_path),
        {closed: "n2", address: "n1"},
        lambda run: shown.append(run.progress.job),
        told.append,
    )
    assert view["finished"]
    assert told == ["n2 does not answer: following job at n1"]


async def test_a_job_that_goes_on_is_shown_as_a_node_tells_it(address: str, tmp_path: Path) -> None:
    doors = Doors([address], TOKEN)
    await doors.submit(simple())
    await doors.await_end("job")
    run = Following(simple(), "job", doors, tmp_path)
    await run.look()
    assert [node.name for node in run.cluster.running()] == ["n1"]
    assert run.progress.name(run.progress.leader) == "n1"
    assert run.progress.is_led


def test_what_works_and_what_has_failed_is_in_the_view() -> None:
    progress = Progress("job", {})
    plain = {"accepted": None, "holders": [], "abandoned": "", "failures": []}
    failed = [{"reason": "agent", "detail": "why"}]
    rows = [
        {**plain, "id": "a", "holders": ["n2"]},
        {**plain, "id": "b", "accepted": {"node": "x", "name": "n1"}},
        {**plain, "id": "c", "failures": failed},
    ]
    take_view(progress, {"tasks": rows}, 5.0)
    assert progress.working == {"a"}
    assert progress.accepted == 1
    assert progress.name(progress.tasks["b"].accepted_by) == "n1"
    assert progress.last_failure == "c: agent: why"
