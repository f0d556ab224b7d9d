"""A budget over HTTP: real nodes, and a server that counts more than anybody can foresee."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest
from command_line import QUORATE
from foreign_server import Foreign, ForeignServer, foreign_servers, plain

from node.agents.prices import PRICES_VARIABLE

foreign = pytest.fixture(foreign_servers, name="foreign")
Count = Callable[[int], int]  # the tokens of a prompt of so many bytes


class Till:
    """What a server has counted of its requests."""

    def __init__(self, count: Count, written: int = 12) -> None:
        self.tokens_in: list[int] = []
        self.written = written
        self._count = count

    def play(self, handler: BaseHTTPRequestHandler, asked: dict[str, Any]) -> None:
        """The answer to any question is 'Yes.'."""
        size = sum(len(message["content"].encode()) for message in asked["messages"])
        self.tokens_in.append(self._count(size))
        answer = {
            "choices": [
                {
                    "index": 0,
                    "message": {"role": "assistant", "content": "Yes."},
                    "finish_reason": "stop",
                }
            ],
            "usage": {
                "prompt_tokens": self.tokens_in[-1],
                "completion_tokens": self.written,
            },
        }
        plain(200, answer)(handler)

    @property
    def tokens(self) -> int:
        return sum(self.tokens_in) + self.written * len(self.tokens_in)

    @property
    def usd(self) -> float:
        return (sum(self.tokens_in) + self.written * len(self.tokens_in) * 0.1) / 1e6


def do(server: ForeignServer, budget: str, folder: Path, nodes: int = 3) -> dict[str, Any]:
    """A team's outcome of eight questions."""
    tasks = [f"{{id: t{n}, prompt: 'Is {n} a number? {'x' * 40 * n}'}}" for n in range(8)]
    job = f"job: questions\nbudget: {budget}\ntasks: [{', '.join(tasks)}]\n"
    (folder / "job.yaml").write_text(job)
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("OPENAI_")},
        "OPENAI_BASE_URL": server.url,
        "OPENAI_API_KEY": "sk-test",
        "OPENAI_MODEL": "local-llm",
        PRICES_VARIABLE: "local-llm=1/0.1",
    }
    done = subprocess.run(
        [*QUORATE, "run", "job.yaml", "-n", str(nodes), "--json"],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode in (0, 1), done.stderr
    outcome: dict[str, Any] = json.loads(done.stdout)
    return outcome


def hides_much(size: int) -> int:
    return 3_000 + 2 * size


@pytest.mark.parametrize(
    ("budget", "limit"), [("{tokens: 24_000}", 24_000.0), ("{usd: 0.024}", 0.024)]
)
def test_a_budget_holds_though_the_server_hides_a_prompt_and_counts_twice(
    foreign: Foreign, tmp_path: Path, budget: str, limit: float
) -> None:
    """It suffices for some of the questions, and as many are asked as surely fit."""
    till = Till(hides_much)
    outcome = do(foreign(always=till.play), budget, tmp_path)
    assert not outcome["succeeded"]
    used = till.tokens if "tokens" in budget else till.usd
    assert limit / 4 < used <= limit
    reasons = {task["abandoned"] for task in outcome["tasks"] if task["status"] != "accepted"}
    assert all("is used up" in reason for reason in reasons), reasons
    assert outcome["spent"]["usd"] == pytest.approx(till.usd, abs=1e-6 * len(till.tokens_in))
    assert outcome["spent"]["unpriced_tokens"] == 0
    assert outcome["budget"]["spent_tokens"] == till.tokens
    assert {row["model"] for row in outcome["costs"]} == {"local-llm"}
    assert not any("more were used" in reason for reason in reasons), reasons


def test_a_server_that_charges_what_it_likes_does_so_once_to_each_node(
    foreign: Foreign, tmp_path: Path
) -> None:
    till = Till(lambda size: 30_000)
    outcome = do(foreign(always=till.play), "{tokens: 40_000}", tmp_path)
    assert len(till.tokens_in) <= 3
    assert till.tokens > 40_000
    reasons = {task["abandoned"] for task in outcome["tasks"] if task["abandoned"]}
    assert any("tokens more were used" in reason for reason in reasons), reasons
    assert outcome["budget"]["overrun_tokens"] > 0
