"""Programs that answer queries: what they get, what becomes of their output, and of themselves."""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path
from typing import Any

import pytest
from lone_node import READ, ask, lone_node
from test_run_process import wait_gone

from node.answering import PROGRAMS_MAX, AnswerPrograms
from protocol.effects import Asked
from protocol.events import Answered, Event
from protocol.identity import NodeId

ORIGIN = NodeId("a" * 16)


def asked(name: str, payload: str = "", timeout_ms: int = 5_000, age_ms: int = 0) -> Asked:
    return Asked(ORIGIN, 7, name, payload, timeout_ms, age_ms)


class Bench:
    """Programs, and what they and the log have said."""

    def __init__(self, folder: Path, **programs: str) -> None:
        self.answers: asyncio.Queue[Event] = asyncio.Queue()
        self.said: asyncio.Queue[str] = asyncio.Queue()
        self.programs = AnswerPrograms(
            programs, folder, (), self.answers.put_nowait, self.said.put_nowait
        )

    async def answer_to(self, query: Asked) -> Event:
        self.programs.start(query)
        async with asyncio.timeout(20):
            return await self.answers.get()

    async def complaint_about(self, query: Asked) -> str:
        self.programs.start(query)
        async with asyncio.timeout(20):
            line = await self.said.get()
        assert self.answers.empty(), "who fails answers nothing"
        return line


async def test_a_program_reads_the_payload_and_prints_the_answer(tmp_path: Path) -> None:
    bench = Bench(
        tmp_path, shout='tr a-z A-Z; echo " $QUORATE_QUERY $QUORATE_ORIGIN"', quiet="true"
    )
    answer = await bench.answer_to(asked("shout", "hear me"))
    assert answer == Answered(ORIGIN, 7, f"HEAR ME shout {ORIGIN}")
    assert await bench.answer_to(asked("quiet")) == Answered(ORIGIN, 7, "ok")
    assert os.listdir(tmp_path) == [], "its folder goes away with it"


@pytest.mark.parametrize(
    ("program", "complaint"),
    [
        ("echo no disk >&2; exit 3", "the program ended with status 3: no disk"),
        ("head -c 9000 /dev/zero", "the program was stopped: it printed over 8192 bytes"),
        (
            "printf x; while true; do printf 'é%.0s' $(seq 100); done",
            "the program was stopped: it printed over 8192 bytes",
        ),
        ("printf '\\377'", "what is not UTF-8 text"),
    ],
)
async def test_a_program_that_fails_answers_nothing_and_the_log_says_why(
    program: str, complaint: str, tmp_path: Path
) -> None:
    line = await Bench(tmp_path, x=program).complaint_about(asked("x"))
    assert line.startswith(f"! query x of {ORIGIN} is not answered: ")
    assert complaint in line


async def test_a_program_ends_with_the_time_of_who_asks_and_all_it_started(tmp_path: Path) -> None:
    mark = f"mark-{tmp_path.name}"
    line = f"sh -c 'sleep 600 # {mark}' & sh -c 'sleep 600 # {mark}'; echo late"
    said = await Bench(tmp_path, x=line).complaint_about(asked("x", timeout_ms=300))
    assert "has not ended within 0.3 s" in said
    wait_gone(mark)


async def test_what_was_asked_long_ago_is_not_done_now(tmp_path: Path) -> None:
    """As by a node that was cut off, and hears of it when the cut heals."""
    bench = Bench(tmp_path, x="echo done")
    assert "it was asked 61 s ago" in await bench.complaint_about(asked("x", age_ms=61_000))
    assert await bench.answer_to(asked("x", age_ms=59_000)) == Answered(ORIGIN, 7, "done")


async def test_so_many_programs_run_at_a_time_and_end_with_the_node(tmp_path: Path) -> None:
    mark = f"mark-{tmp_path.name}"
    bench = Bench(tmp_path, x=f"sh -c 'sleep 600 # {mark}'; true")
    for _ in range(PROGRAMS_MAX):
        bench.programs.start(asked("x"))
    assert "8 others are being answered" in await bench.complaint_about(asked("x"))
    await bench.programs.close()
    wait_gone(mark)
    assert bench.answers.empty()


async def test_a_node_is_asked_what_a_program_of_its_user_answers(tmp_path: Path) -> None:
    programs = {"load": "echo much", "fails": "false"}
    async with lone_node(tmp_path, programs=programs) as (address, _):

        async def found(name: str, timeout_s: float = 10.0) -> dict[str, Any]:
            body = json.dumps({"name": name, "timeout_s": timeout_s}).encode()
            return (await ask(address, "POST", "/v1/query", body, **READ))[1]

        assert (await found("load"))["answers"] == {"n1": "much"}, "before what a node would say"
        assert (await found("ping"))["answers"] == {"n1": "pong"}
        assert (await found("fails", 0.5))["silent"] == ["n1"]
    assert "query fails of" in (tmp_path / "node.log").read_text(), "it says why"
