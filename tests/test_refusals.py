"""What others bring and a node does not take is counted, each under a reason that is a fixed text:
however many lies there are, a counter holds a few lines, and `/v1/status` shows them."""

from __future__ import annotations

from dataclasses import replace
from random import Random

import pytest
from member_hand import CLUSTER, CONFIG, Town
from test_blobs import ADA, BOB, asking
from test_membership import STRANGER, news, stranger_record

from node.doors.views import status_view
from protocol import blobs, codec
from protocol.blobs import UNASKED, WRONG_MANIFEST, WRONG_PART, Blobs, Manifest
from protocol.clocks import SECOND
from protocol.identity import Identity
from protocol.membership import NAME_LENGTH_MAX, sign_record
from protocol.membership.arrivals import FORGED, NO_ROOM
from protocol.membership.reach import NUMBER_MAX, ROW_MAX
from protocol.membership.records import ENDPOINTS_MAX, METADATA_MAX, RECORD_TEXT_MAX, VERSION_MAX
from protocol.messages.membership import MemberSync, News, ReachRow
from protocol.messages.sharing import BlobPart
from protocol.sim.settled import settled_world
from protocol.turn import Turn


def refused(town: Town) -> dict[str, int]:
    return dict(town.machine(0).refused)


# -- members ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"public_key": b"short"}, "a public key has 32 bytes"),
        ({"name": "n" * (NAME_LENGTH_MAX + 1)}, "the name is over 64 characters"),
        ({"endpoints": ("e:1",) * (ENDPOINTS_MAX + 1)}, "there are over 8 endpoints"),
        ({"metadata": (("k", "v"),) * (METADATA_MAX + 1)}, "there are over 16 items of metadata"),
        (
            {"metadata": (("k", "v" * RECORD_TEXT_MAX),)},
            "endpoints and metadata are over 4000 characters together",
        ),
        ({"epoch": VERSION_MAX + 1}, f"epoch and incarnation end at {2**62}"),
    ],
    ids=["key", "name", "endpoints", "metadata", "text", "version"],
)
def test_a_malformed_record_is_counted(changes: dict[str, object], reason: str) -> None:
    town = Town(2)
    for _ in range(2):
        town.receive(0, town.nodes[1], news(replace(stranger_record(), **changes)))  # type: ignore[arg-type]
    assert refused(town) == {reason: 2}


def test_a_forged_record_is_counted() -> None:
    town = Town(3)
    town.settle_in()
    forged = replace(town.machine(2).own, incarnation=9)
    foreign = sign_record(STRANGER, "another town", stranger_record())
    of_this_node = replace(town.machine(0).own, incarnation=9)
    for record in (forged, sign_record(town.identities[1], CLUSTER, forged), foreign, of_this_node):
        town.receive(0, town.nodes[1], news(record))
    assert refused(town) == {FORGED: 4}


def test_a_member_for_whom_there_is_no_room_is_counted() -> None:
    town = Town(3, replace(CONFIG, members_max=2))
    town.settle_in()
    assert refused(town) == {}
    town.receive(0, town.nodes[1], news(stranger_record()))
    assert refused(town) == {NO_ROOM: 1}


def test_a_row_out_of_bounds_is_counted_and_not_believed() -> None:
    town = Town(3)
    town.settle_in()
    known = town.nodes[1]
    many = tuple(town.nodes[:1] * (ROW_MAX + 1))
    rows = (
        ReachRow(known, 1, 1, 0, many, ()),
        ReachRow(known, 1, 1, 0, (), many),
        ReachRow(known, 1, NUMBER_MAX + 1, 0, (), ()),
    )
    town.receive(0, known, MemberSync(News((), (), rows)))
    assert town.machine(0).reach.rows() == []
    assert refused(town) == {
        "a row names over 64 members of a kind": 2,
        f"the number of a row ends at {2**62}": 1,
    }


def test_many_different_lies_make_few_reasons() -> None:
    town = Town(2)
    town.settle_in()
    for number in range(100):
        liar = Identity(Random(number).randbytes(32))
        record = replace(stranger_record(), public_key=liar.public_key, name=f"n{number}")
        long_name = replace(record, name=f"{number:0100}")
        town.receive(0, town.nodes[1], news(record, long_name))
    assert refused(town) == {FORGED: 100, "the name is over 64 characters": 100}


# -- blobs -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "data",
    [b"garbage", codec.pack_value(Manifest(3, (bytes(32),)))],
    ids=["no manifest", "another manifest"],
)
def test_a_wrong_manifest_is_counted(data: bytes) -> None:
    machine = asking("ab" * 32)
    machine.arrived(Turn(1, 1, 1), ADA, BlobPart("ab" * 32, 0, data), [ADA, BOB])
    assert machine.refused == {WRONG_MANIFEST: 1}


def test_a_wrong_part_is_counted() -> None:
    data = codec.pack_value(Manifest(3, (blobs._hash(b"yes"),)))
    blob = blobs._hash(data).hex()
    machine = asking(blob)
    machine.arrived(Turn(1, 1, 1), ADA, BlobPart(blob, 0, data), [ADA])
    assert machine.refused == {}
    machine.arrived(Turn(2, 2, 1), ADA, BlobPart(blob, 1, b"no!"), [ADA, BOB])
    assert machine.refused == {WRONG_PART: 1}


def test_a_part_that_nobody_waits_for_is_counted() -> None:
    machine = Blobs((), Random(1))
    machine.arrived(Turn(1, 1, 1), ADA, BlobPart("ab" * 32, 0, b""), [ADA])
    assert machine.refused == {UNASKED: 1}


# -- where it is shown -----------------------------------------------------------------------------


def test_the_status_tells_what_was_refused() -> None:
    world = settled_world(2, seed=1)
    host, other = world.hosts
    peer = host.peer
    assert peer is not None
    turn = Turn(world.now, world.now, 1)
    forged = replace(peer.membership.members()[other.identity.node].record, incarnation=9)
    peer.membership.receive(turn, other.identity.node, news(forged))
    peer.blobs.arrived(turn, other.identity.node, BlobPart("ab" * 32, 1, b""), [])
    status = status_view(peer, world.now + SECOND)
    assert status["membership"]["refused"] == {FORGED: 1}
    assert status["blobs"]["refused"] == {UNASKED: 1}
    assert status["store"]["refused"] == {}
