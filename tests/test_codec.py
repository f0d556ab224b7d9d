"""What goes in comes out; what no peer would send raises RemoteProtocolError and nothing else."""

from __future__ import annotations

import types
import typing
import zlib
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from enum import Enum
from random import Random
from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st
from properties import bounded

from protocol import codec
from protocol.claims import Claim, FailNote, Partial
from protocol.configuration import Configuration
from protocol.errors import RemoteProtocolError
from protocol.identity import NodeId
from protocol.jobs import Job
from protocol.ledger import AcceptResult, SubmitJob
from protocol.messages import Message
from protocol.messages.agreement import Agreement, EntryKind, Propose, VoteReply
from protocol.messages.membership import News, Probe, Rumor, Word
from protocol.messages.sharing import Summary
from protocol.store import Batch, Body

TEXT = st.text(st.characters(codec="utf-8"), max_size=5)
FRAMES = 1_000_000  # that no peer would send; each kind of message has its share, in three tests


def strategy_of(hint: Any) -> st.SearchStrategy[Any]:
    """Values of an annotated type, derived as the codec derives its forms."""
    if is_dataclass(hint) and isinstance(hint, type):
        hints = typing.get_type_hints(hint)
        return st.builds(hint, **{f.name: strategy_of(hints[f.name]) for f in fields(hint)})
    if isinstance(hint, type) and issubclass(hint, Enum):
        return st.sampled_from(list(hint))
    if isinstance(hint, typing.NewType):
        return strategy_of(hint.__supertype__)
    plain: dict[Any, st.SearchStrategy[Any]] = {
        int: st.integers(0, codec.INTEGER_MAX),
        str: TEXT,
        bytes: st.binary(max_size=8),
        bool: st.booleans(),
        float: st.floats(allow_nan=False),
    }
    if hint in plain:
        return plain[hint]
    arguments = typing.get_args(hint)
    match typing.get_origin(hint):
        case origin if origin is tuple and arguments[1:] == (Ellipsis,):
            return st.lists(strategy_of(arguments[0]), max_size=3).map(tuple)
        case origin if origin is tuple:
            return st.tuples(*[strategy_of(argument) for argument in arguments])
        case origin if origin is Mapping:
            return st.dictionaries(*[strategy_of(a) for a in arguments], max_size=3)
        case origin if origin in (typing.Union, types.UnionType):
            return st.one_of(*[strategy_of(argument) for argument in arguments])
    raise TypeError(f"no strategy for {hint!r}")


KINDS = list(codec.MESSAGES.values())
FRAMES_EACH = -(-FRAMES // (3 * len(KINDS)))
VALUES = [Configuration, Claim, Partial, FailNote, Batch, Body, Job, SubmitJob, AcceptResult]


def example(kind: type[Any], seed: int = 7) -> Any:
    """One message of a class, the same in every run."""
    return _plain_value(kind, Random(f"{kind.__name__}/{seed}"))


def _plain_value(hint: Any, random: Random) -> Any:
    if is_dataclass(hint) and isinstance(hint, type):
        hints = typing.get_type_hints(hint)
        return hint(*[_plain_value(hints[f.name], random) for f in fields(hint)])
    if isinstance(hint, type) and issubclass(hint, Enum):
        return random.choice(list(hint))
    if isinstance(hint, typing.NewType):
        return _plain_value(hint.__supertype__, random)
    arguments = typing.get_args(hint)
    origin = typing.get_origin(hint)
    if origin is tuple and arguments[1:] == (Ellipsis,):
        return tuple(_plain_value(arguments[0], random) for _ in range(2))
    if origin is tuple:
        return tuple(_plain_value(argument, random) for argument in arguments)
    if origin is Mapping:
        return {f"k{n}": _plain_value(arguments[1], random) for n in range(2)}
    if origin in (typing.Union, types.UnionType):
        return _plain_value(random.choice(arguments), random)
    return {int: random.getrandbits(40), str: "word", bytes: b"bytes", bool: True}[hint]


def test_every_message_has_a_number() -> None:
    assert set(KINDS) == set(typing.get_args(Message))
    assert len(KINDS) == len(set(KINDS))


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_a_message_comes_out_as_it_went_in(kind: type[Any]) -> None:
    @bounded
    @given(strategy_of(kind))
    def round_trip(message: Any) -> None:
        assert codec.decode(codec.encode(message)) == message

    round_trip()


@pytest.mark.parametrize("kind", VALUES, ids=lambda kind: kind.__name__)
def test_a_value_comes_out_as_it_went_in(kind: type[Any]) -> None:
    @bounded
    @given(strategy_of(kind))
    def round_trip(value: Any) -> None:
        assert codec.unpack_value(kind, codec.pack_value(value)) == value

    round_trip()


@bounded
@given(st.binary(max_size=60))
def test_random_bytes_raise_only_the_protocol_s_error(frame: bytes) -> None:
    try:
        codec.decode(frame)
    except RemoteProtocolError:
        return


@bounded
@given(st.recursive(st.none() | st.booleans() | st.integers(-5, 5) | st.text(max_size=3), st.lists))
def test_well_formed_nonsense_raises_only_the_protocol_s_error(body: Any) -> None:
    for number in (*codec.MESSAGES, 99):
        try:
            codec.decode(_framed(msgpack.packb([codec.VERSION, number, body])))
        except RemoteProtocolError:
            continue
        assert number in codec.MESSAGES


def _framed(packed: bytes) -> bytes:
    return zlib.crc32(packed).to_bytes(codec.CHECKSUM_SIZE, "big") + packed


def _damaged(frame: bytes, random: Random) -> bytes:
    damaged = bytearray(frame)
    at = random.randrange(len(damaged))
    match random.randrange(3):
        case 0:
            damaged[at] ^= 1 << random.randrange(8)
        case 1:
            del damaged[at:]
        case _:
            damaged[at:at] = random.randbytes(3)
    return bytes(damaged)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_a_damaged_frame_is_refused(kind: type[Any]) -> None:
    random = Random(f"damage/{kind.__name__}")
    frame = codec.encode(example(kind))
    for _ in range(FRAMES_EACH):
        with pytest.raises(RemoteProtocolError):
            codec.decode(_damaged(frame, random))


@pytest.mark.parametrize(("number", "kind"), codec.MESSAGES.items())
def test_a_random_body_raises_only_the_protocol_s_error(number: int, kind: type[Any]) -> None:
    """What comes is the right version and kind, an array of the right length, then anything."""
    random = Random(f"random/{number}")
    packer = msgpack.Packer()
    head = packer.pack_array_header(3) + packer.pack(codec.VERSION) + packer.pack(number)
    head += packer.pack_array_header(len(fields(kind)))
    refused = 0
    for _ in range(FRAMES_EACH):
        try:
            codec.decode(_framed(head + random.randbytes(random.randrange(40))))
        except RemoteProtocolError:
            refused += 1
    assert refused > FRAMES_EACH // 2


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_nonsense_under_a_good_checksum_raises_only_the_protocol_s_error(kind: type[Any]) -> None:
    """And what is decoded in spite of the damage is a message that can be encoded again."""
    random = Random(f"damage/{kind.__name__}")
    packed = codec.encode(example(kind))[codec.CHECKSUM_SIZE :]
    refused = 0
    for _ in range(FRAMES_EACH):
        try:
            message = codec.decode(_framed(_damaged(packed, random)))
        except RemoteProtocolError:
            refused += 1
        else:
            assert codec.decode(codec.encode(message)) == message
    assert refused > 0


def test_every_flipped_bit_is_noticed() -> None:
    frame = codec.encode(example(Summary))
    for bit in range(8 * len(frame)):
        flipped = bytearray(frame)
        flipped[bit // 8] ^= 1 << (bit % 8)
        with pytest.raises(RemoteProtocolError, match="damaged"):
            codec.decode(bytes(flipped))


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_every_field_is_checked(kind: type[Any]) -> None:
    """No field takes a value of another type, and none may be missing or too many."""
    version, number, body = msgpack.unpackb(codec.encode(example(kind))[codec.CHECKSUM_SIZE :])
    for place in range(len(body)):
        for wrong in (None, -1, 2**63, 1.5, {1: 2}):
            changed = [*body[:place], wrong, *body[place + 1 :]]
            with pytest.raises(RemoteProtocolError):
                _decode_packed([version, number, changed])
    bodies: list[object] = [*([body[:-1]] if body else []), [*body, 0], None, {}]
    for malformed in bodies:
        with pytest.raises(RemoteProtocolError):
            _decode_packed([version, number, malformed])


def _decode_packed(value: Any) -> Message:
    try:
        frame = msgpack.packb(value)
    except OverflowError:
        raise RemoteProtocolError("msgpack itself cannot say this") from None
    return codec.decode(_framed(frame))


def test_another_version_is_refused_by_name() -> None:
    frame = _framed(msgpack.packb([codec.VERSION + 1, 1, []]))
    with pytest.raises(RemoteProtocolError, match=f"protocol version {codec.VERSION + 1}"):
        codec.decode(frame)


def test_true_is_not_one() -> None:
    frame = _framed(msgpack.packb([codec.VERSION, True, [1, [], []]]))
    with pytest.raises(RemoteProtocolError):
        codec.decode(frame)


def test_a_frame_over_the_limit_is_not_looked_at() -> None:
    with pytest.raises(RemoteProtocolError, match="the limit is"):
        codec.decode(bytes(codec.FRAME_SIZE_MAX + 1))


def test_a_deep_frame_does_not_exhaust_the_stack() -> None:
    with pytest.raises(RemoteProtocolError):
        codec.decode(_framed(b"\x91" * 100_000))


def test_an_unhashable_map_key_is_refused() -> None:
    with pytest.raises(RemoteProtocolError):
        codec.decode(_framed(b"\x93\x04\x0c\x92\x81\x91\x01\x02\xc2"))


def test_the_frame_of_a_message_is_stable() -> None:
    """The wire format: whoever changes it raises VERSION."""
    reply = Agreement(b"log", VoteReply(3, 2, True, False))
    assert codec.encode(reply).hex() == "499a51e593091492c4036c6f679201940302c3c2"
    rumor = Rumor(NodeId("n"), 1, 2, NodeId("m"), Word.SUSPECTED)
    assert (
        codec.encode(Probe(1, b"f", News((), (rumor,)))).hex()
        == "4b6f15c59309019301c4016693909195a16e0102a16d0190"
    )


def test_a_type_without_a_form_is_a_bug() -> None:
    with pytest.raises(TypeError, match="no form"):
        codec.unpack_value(complex, b"\x01")


@pytest.mark.parametrize(
    "note",
    [
        FailNote(NodeId("n"), -1, 0, "r", "d"),
        FailNote(NodeId("n"), 2**63, 0, "r", "d"),
        FailNote(NodeId("n"), True, 0, "r", "d"),
        FailNote(NodeId("n"), 0, 0, "r", "x" * (codec.STRING_SIZE_MAX + 1)),
        FailNote(NodeId("n"), 0, 0, "r", "\ud83d"),
    ],
)
def test_what_would_not_be_decoded_does_not_pack(note: FailNote) -> None:
    with pytest.raises(ValueError, match=r"63-bit|size limit|surrogates"):
        codec.pack_value(note)


def test_a_frame_over_the_limit_does_not_leave(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(codec, "FRAME_SIZE_MAX", 20)
    with pytest.raises(ValueError, match="limit is 20"):
        codec.encode(Agreement(b"", Propose(EntryKind.COMMAND, bytes(30), 0)))
