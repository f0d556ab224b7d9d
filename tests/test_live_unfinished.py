"""Real processes, killed in the middle of an attempt: who goes on has what was written."""

# ruff: noqa: ASYNC110 -- programs announce themselves by files, which only polling sees
from __future__ import annotations

import asyncio
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from node.lab.cluster import Cluster, ModelOptions, NodeEntry
from node.lab.door import Doors
from protocol.jobs import ClaimMode, Job, Task


@pytest.fixture
def team(tmp_path: Path) -> Iterator[Cluster]:
    cluster = Cluster.create(tmp_path / "team", 3)
    try:
        cluster.start(ModelOptions(speed=25.0))
        yield cluster
    finally:
        cluster.stop()


async def holder_of(team: Cluster, job: str) -> NodeEntry:
    """Who works on the job's only task."""
    async with asyncio.timeout(60):
        while True:
            (task,) = (await team.doors().get(f"/v1/jobs/{job}"))["tasks"]
            for node in team.nodes:
                if node.name in task["holders"]:
                    return node
            await asyncio.sleep(0.05)


async def end_elsewhere(team: Cluster, killed: NodeEntry, job: str) -> dict[str, Any]:
    """The end of the job as those tell it that are left."""
    doors = [team.door(node) for node in team.nodes if node is not killed]
    async with asyncio.timeout(120):
        view: dict[str, Any] = await Doors(
            [door.address for door in doors], doors[0].token
        ).await_end(job)
    return view


async def test_a_program_that_is_killed_half_way_is_gone_on_with(team: Cluster) -> None:
    line = (
        "if [ -e .partial/at ]; then cat .partial/at .partial/t.txt > t.txt; exit; fi; "
        "mkdir .partial; echo seven > .partial/at; echo half > t.txt; sleep 600"
    )
    task = Task("t", "", writes=("t.txt",), agent="command", program=line)
    await team.doors().submit(Job("job", "job", (task,), claims=ClaimMode.RAFT))
    holder = await holder_of(team, "job")
    others = [node for node in team.nodes if node is not holder]
    async with asyncio.timeout(60):
        for node in others:
            async with team.door(node) as door:
                while not await door.get("/v1/jobs/job/partials/t.txt"):
                    await asyncio.sleep(0.05)
    holder.process.signal(signal.SIGKILL)
    view = await end_elsewhere(team, holder, "job")
    assert view["succeeded"]
    async with team.door(others[0]) as door:
        assert await door.get_bytes("/v1/jobs/job/files/t.txt") == b"seven\nhalf\n"


async def test_an_answer_whose_check_was_killed_is_handed_in_without_a_second_call(
    team: Cluster, tmp_path: Path
) -> None:
    mark = tmp_path / "checked"
    task = Task(
        "t",
        "How many voters of five must agree?",
        agent="simulated",
        verify=f"[ -e {mark} ] && exit; touch {mark}; sleep 600",
    )
    await team.doors().submit(Job("job", "job", (task,), claims=ClaimMode.RAFT))
    holder = await holder_of(team, "job")
    others = [node for node in team.nodes if node is not holder]
    async with asyncio.timeout(60):
        while not mark.exists() or not all(knows(team, node, b"part/job/t/0/") for node in others):
            await asyncio.sleep(0.05)
    holder.process.signal(signal.SIGKILL)
    assert team.model is not None
    team.model.process.signal(signal.SIGKILL)  # whoever asks it again gets no answer
    view = await end_elsewhere(team, holder, "job")
    assert view["succeeded"]
    assert view["tasks"][0]["accepted"]["name"] in {node.name for node in others}
    assert view["tasks"][0]["accepted"]["tokens_out"] > 0, "what the first attempt has used"


def knows(team: Cluster, node: NodeEntry, key: bytes) -> bool:
    """Whether a key of the store is on this node's disk."""
    files = [path for path in team.data_dir(node).iterdir() if path.is_file()]
    return any(key in path.read_bytes() for path in files)
