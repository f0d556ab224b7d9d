"""What an operator asks of the agreement over HTTP: its status, another leader, a rescue."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from lone_node import ALLOWED, READ, ask, lone_node

from node.runtime import Runtime
from protocol.codec import pack_value
from protocol.configuration import Configuration
from protocol.events import Consistency, Received
from protocol.identity import Identity, NodeId
from protocol.membership import sign_record
from protocol.messages.agreement import Agreement, Append, EntryKind, HandedOver, LogEntry
from protocol.messages.membership import MemberRecord, MemberSync, News
from protocol.registers import Command, Verb
from protocol.transfers import Transfers
from protocol.turn import Turn

CLUSTER = "doors"


@pytest.fixture
async def node(tmp_path: Path) -> AsyncIterator[tuple[str, Runtime]]:
    async with lone_node(tmp_path) as found:
        yield found


async def post(address: str, path: str, content: object) -> tuple[int, dict[str, object]]:
    return await ask(address, "POST", path, json.dumps(content).encode(), **READ)


async def test_the_status_tells_how_the_agreement_stands(node: tuple[str, Runtime]) -> None:
    address, runtime = node
    await runtime.command(Command(Verb.PUT, "k", b"v"))
    _, status = await ask(address, "GET", "/v1/status", b"", **ALLOWED)
    own = runtime.peer.node
    for name, value in {
        "role": "leader",
        "epoch": 0,
        "leader_name": "n1",
        "why_no_leader": [],
        "voters": [own],
        "changing_from": [],
        "learners": [],
        "names": {own: "n1"},
        "first_index": 1,
        "snapshot_index": 0,
        "progress": [],
        "transferring_to": "",
        "impaired": False,
        "relayed": 0,
        "registers": {"keys": 1, "revision": 1, "sessions": 1},
    }.items():
        assert status[name] == value, name
    assert status["commit"] == status["applied"] == status["last_index"]


async def test_a_node_without_a_log_says_why_there_is_no_leader(tmp_path: Path) -> None:
    async with lone_node(tmp_path, found=False) as (address, _):
        _, status = await ask(address, "GET", "/v1/status", b"", **ALLOWED)
        reasons = status["why_no_leader"]
        assert isinstance(reasons, list)
        assert reasons[0].startswith("this node follows no log")


# -- transfer --------------------------------------------------------------------------------------


@pytest.mark.parametrize("content", [{}, {"to": ""}])
async def test_a_leader_without_other_voters_leads_on(
    node: tuple[str, Runtime], content: object
) -> None:
    status, answer = await post(node[0], "/v1/transfer", content)
    assert (status, answer["error"]) == (409, "ChangeRefused")
    assert "no other voter" in str(answer["detail"])


async def test_who_leads_already_need_not_be_handed_over_to(node: tuple[str, Runtime]) -> None:
    own = node[1].peer.node
    for name in ("n1", own):
        answer = await post(node[0], "/v1/transfer", {"to": name})
        assert answer == (200, {"leader": own, "leader_name": "n1"})


async def test_an_unknown_node_cannot_lead(node: tuple[str, Runtime]) -> None:
    status, answer = await post(node[0], "/v1/transfer", {"to": "n9"})
    assert (status, answer["error"]) == (404, "NotFound")


async def test_only_a_leader_hands_over(tmp_path: Path) -> None:
    async with lone_node(tmp_path, found=False) as (address, _):
        status, answer = await post(address, "/v1/transfer", {})
        assert (status, answer["error"]) == (503, "NotLeader")


def meet(runtime: Runtime, seed: bytes, name: str) -> NodeId:
    """The node hears of another one: its id."""
    identity = Identity(seed * 32)
    record = MemberRecord(identity.public_key, name, ("x:1",), 1, 0, False, (), b"")
    signed = sign_record(identity, CLUSTER, record)
    runtime.deliver(Received(identity.node, MemberSync(News((signed,)))))
    return identity.node


async def test_a_node_that_does_not_lead_tells_the_leader_s_reason_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with lone_node(tmp_path, found=False) as (address, runtime):
        n2, n3 = meet(runtime, b"2", "n2"), meet(runtime, b"3", "n3")
        voters = pack_value(Configuration(tuple(sorted((runtime.peer.node, n2, n3)))))
        entry = LogEntry(1, 1, EntryKind.VOTERS, voters)
        runtime.deliver(Received(n2, Agreement(b"", Append(1, 1, 0, 0, (entry,), 1))))
        await runtime.read("k", Consistency.LOCAL)
        transfers = runtime.peer.consensus.transfers
        asked: asyncio.Queue[int] = asyncio.Queue()

        def ask(turn: Turn, request: int, to: NodeId) -> None:
            Transfers.ask(transfers, turn, request, to)
            asked.put_nowait(request)

        monkeypatch.setattr(transfers, "ask", ask)
        asking = asyncio.create_task(post(address, "/v1/transfer", {"to": "n3"}))
        why = HandedOver(await asked.get(), "ChangeRefused", f"{n3} does not take over: it sleeps")
        runtime.deliver(Received(n2, Agreement(runtime.peer.raft.log.identity, why)))
        async with asyncio.timeout(1):
            status, answer = await asking
        assert (status, answer["error"]) == (409, "ChangeRefused")
        assert answer["detail"] == "n3 does not take over: it sleeps"


async def test_a_node_that_does_not_vote_cannot_lead(node: tuple[str, Runtime]) -> None:
    meet(node[1], b"2", "n2")
    await node[1].read("k", Consistency.LOCAL)
    status, answer = await post(node[0], "/v1/transfer", {"to": "n2"})
    assert (status, answer["detail"]) == (409, "n2 is no voter, so it cannot lead")


async def test_a_name_that_two_nodes_bear_is_none(node: tuple[str, Runtime]) -> None:
    ids = [meet(node[1], b"2", "twin"), meet(node[1], b"3", "twin")]
    await node[1].read("k", Consistency.LOCAL)
    status, answer = await post(node[0], "/v1/transfer", {"to": "twin"})
    assert status == 409
    assert all(one in str(answer["detail"]) for one in ids)


# -- rescue ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "content", [{}, {"confirm": ""}, {"confirm": "another"}, {"confirm": True}]
)
async def test_a_rescue_is_confirmed_by_the_name_of_the_cluster(
    node: tuple[str, Runtime], content: object
) -> None:
    status, answer = await post(node[0], "/v1/rescue", content)
    assert (status, answer["error"]) == (400, "BadRequest")
    assert f'"confirm": "{CLUSTER}"' in str(answer["detail"])


async def test_a_team_with_a_leader_is_not_rescued(node: tuple[str, Runtime]) -> None:
    for force, words in (
        (False, "a majority of the voters is in sight"),
        (True, "leads a majority"),
    ):
        content = {"confirm": CLUSTER, "force": force}
        status, answer = await post(node[0], "/v1/rescue", content)
        assert (status, answer["error"]) == (409, "NotPossible")
        assert words in str(answer["detail"])


async def test_a_node_without_a_log_rescues_nothing(tmp_path: Path) -> None:
    async with lone_node(tmp_path, found=False) as (address, _):
        status, answer = await post(address, "/v1/rescue", {"confirm": CLUSTER})
        assert (status, answer["error"]) == (409, "NotPossible")
        assert "this node has no log" in str(answer["detail"])


@pytest.mark.parametrize("path", ["/v1/transfer", "/v1/rescue"])
@pytest.mark.parametrize("content", [[], 7, "x", {"too": "n1"}])
async def test_what_is_not_understood_does_nothing(
    node: tuple[str, Runtime], path: str, content: object
) -> None:
    status, answer = await post(node[0], path, content)
    assert (status, answer["error"]) == (400, "BadRequest")
    assert node[1].peer.raft.leadership is not None
    assert node[1].peer.raft.configuration.epoch == 0
