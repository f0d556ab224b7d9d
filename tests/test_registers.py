"""The registers: a session's commands take effect once and in order, whatever the log repeats; and
nothing that lies in a log entry can make two nodes differ, or one fall over."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st
from properties import bounded

from protocol import registers as module
from protocol.errors import RemoteProtocolError
from protocol.facts import Fact, RequestRefused
from protocol.facts.agreement import BatchOutOfOrder, SessionExpired, SessionOpened
from protocol.identity import NodeId
from protocol.registers import (
    KEY_LENGTH_MAX,
    NAME_SIZE_MAX,
    VALUE_SIZE_MAX,
    Command,
    Refusal,
    Registers,
    Verb,
    Versioned,
    encode_batch,
    encode_opening,
    fault_of,
)

ADA = NodeId("ada")
BOB = NodeId("bob")


def put(key: str, value: bytes = b"x") -> Command:
    return Command(Verb.PUT, key, value)


def cas(key: str, expected: bytes | None, value: bytes) -> Command:
    return Command(Verb.CAS, key, value, expected)


class Log:
    """Registers, and the log that feeds them."""

    def __init__(self) -> None:
        self.registers = Registers()
        self.index = 0

    def open(self, node: NodeId = ADA, nonce: bytes = b"1") -> int:
        """A session is opened: its number."""
        (fact,) = self.say_opening(encode_opening(node, nonce))
        assert isinstance(fact, SessionOpened)
        return fact.number

    def say_opening(self, data: bytes) -> list[Fact]:
        self.index += 1
        return self.registers.open_session(self.index, data)

    def say(self, data: bytes) -> list[Fact]:
        """An entry with a batch."""
        self.index += 1
        return self.registers.apply_batch(self.index, data)

    def batch(self, session: int, first: int, *commands: Command, floor: int = 1) -> list[Fact]:
        return self.say(encode_batch(session, first, floor, commands))

    def results(self, session: int, known: int = 0) -> list[int] | None:
        return self.registers.results_after(session, known)

    def value(self, key: str) -> bytes | None:
        found = self.registers.get(key)
        return found.value if found else None


@pytest.fixture
def log() -> Log:
    return Log()


# -- commands --------------------------------------------------------------------------------------


def test_each_write_has_the_next_revision(log: Log) -> None:
    session = log.open()
    log.batch(session, 1, put("a"), put("b"), put("a", b"y"), Command(Verb.DELETE, "b"))
    assert log.results(session) == [1, 2, 3, 4]
    assert log.registers.get("a") == Versioned(b"y", 3)
    assert log.registers.get("b") is None
    assert log.registers.revision == 4


def test_compare_and_set_writes_where_the_value_is_the_expected_one(log: Log) -> None:
    session = log.open()
    log.batch(
        session, 1, cas("a", None, b"1"), cas("a", None, b"2"), cas("a", b"1", b"3"),
        cas("a", b"1", b"4"), cas("b", b"", b"5"),
    )  # fmt: skip
    unequal = Refusal.UNEQUAL
    assert log.results(session) == [1, unequal, 2, unequal, unequal]
    assert log.value("a") == b"3"


def test_a_refused_command_takes_no_revision(log: Log) -> None:
    session = log.open()
    log.batch(session, 1, cas("a", b"no", b"1"), Command(Verb.NOTHING, ""), put("a"))
    assert log.results(session) == [Refusal.UNEQUAL, Refusal.GIVEN_UP, 1]


def test_keys_are_listed_in_order(log: Log) -> None:
    session = log.open()
    log.batch(session, 1, put("b/2"), put("a"), put("b/1"))
    assert [key for key, _ in log.registers.scan("b/")] == ["b/1", "b/2"]
    assert len(log.registers.scan()) == len(log.registers) == 3


def test_there_is_a_limit_to_keys_and_to_bytes(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "KEYS_MAX", 2)
    monkeypatch.setattr(module, "SIZE_MAX", 10)
    session = log.open()
    full = Refusal.FULL
    log.batch(session, 1, put("a", b"1"), put("b", b"1"), put("c", b"1"), put("a", b"1234567"))
    assert log.results(session) == [1, 2, full, 3]
    log.batch(session, 5, put("b", b"12"), Command(Verb.DELETE, "a"), put("c", b"1234"))
    assert log.results(session, 4) == [full, 4, 5], "what is deleted makes room"


def test_a_door_can_ask_what_would_be_refused() -> None:
    assert not fault_of(put("a"))
    assert not fault_of(cas("ä" * KEY_LENGTH_MAX, None, b"x" * VALUE_SIZE_MAX))
    for bad in (
        put(""), put("a" * (KEY_LENGTH_MAX + 1)), put("a", b"x" * (VALUE_SIZE_MAX + 1)),
        put("\ud800"), cas("a", b"x" * (VALUE_SIZE_MAX + 1), b""),
    ):  # fmt: skip
        assert fault_of(bad), bad


# -- sessions (thesis, 6.3) ------------------------------------------------------------------------


def test_a_repeated_command_happens_once(log: Log) -> None:
    """Thesis 6.3: "the state machine ... responds immediately without re-executing the request"."""
    session = log.open()
    log.batch(session, 1, put("a", b"1"), put("b", b"1"))
    log.batch(session, 1, put("a", b"1"), put("b", b"1"))
    log.batch(session, 2, put("b", b"1"), put("c", b"1"))
    assert log.registers.revision == 3
    assert log.results(session) == [1, 2, 3]


def test_a_command_waits_for_the_ones_before_it(log: Log) -> None:
    session = log.open()
    assert log.batch(session, 2, put("a", b"second")) == [BatchOutOfOrder(session, 1, 2)]
    assert log.value("a") is None
    log.batch(session, 1, put("a", b"first"))
    log.batch(session, 2, put("a", b"second"))
    assert log.value("a") == b"second"


def test_a_session_that_is_opened_again_is_the_same(log: Log) -> None:
    session = log.open(ADA, b"1")
    assert log.open(BOB, b"1") != session
    assert log.open(ADA, b"1") == session


def test_a_node_has_one_session_the_latest(log: Log) -> None:
    """One that was restarted often would else leave a trail of results behind."""
    first = log.open(ADA, b"1")
    other = log.open(BOB, b"1")
    second = log.open(ADA, b"2")
    assert list(log.registers.sessions) == [other, second]
    assert log.batch(first, 1, put("a")) == [SessionExpired(first)]
    assert log.value("a") is None


def test_an_opening_of_an_earlier_life_that_comes_late_ends_no_session(log: Log) -> None:
    second = log.open(ADA, b"2")
    log.open(ADA, b"1")
    log.batch(second, 1, put("a"))
    assert log.results(second) == [1]


def test_what_is_known_to_the_client_is_forgotten(log: Log) -> None:
    session = log.open()
    log.batch(session, 1, put("a"), put("b"), put("c"))
    log.batch(session, 4, put("d"), floor=3)
    assert log.registers.sessions[session].results == [3, 4]
    assert log.results(session, 2) == [3, 4]
    assert log.results(session, 3) == [4]
    assert log.results(session, 4) == []
    assert log.results(session, 9) == []
    assert log.results(session, 1) is None, "some of them are not here any more"


def test_a_floor_out_of_the_blue_does_no_harm(log: Log) -> None:
    session = log.open()
    for floor in (-5, 0, 2**62, 1):
        log.batch(session, log.registers.sessions[session].last + 1, put("a"), floor=floor)
    assert log.registers.revision == 4
    assert log.results(session, 3) == [4]


def test_results_that_nobody_asks_for_have_a_limit(
    log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "RESULTS_MAX", 3)
    session = log.open()
    for number in range(1, 8):
        log.batch(session, number, put("a"))
    assert log.registers.sessions[session].results == [5, 6, 7]


def test_the_session_unused_for_longest_is_dropped(
    log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "SESSIONS_MAX", 2)
    first, second = log.open(NodeId("1")), log.open(NodeId("2"))
    log.batch(first, 1, put("a"))
    third = log.open(NodeId("3"))
    assert list(log.registers.sessions) == [first, third]
    assert log.batch(second, 1, put("b")) == [SessionExpired(second)]
    assert log.results(second) is None
    assert log.value("b") is None


def test_which_session_is_dropped_is_the_same_on_a_node_that_took_a_snapshot(
    log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "SESSIONS_MAX", 3)
    sessions = [log.open(NodeId(name)) for name in "abc"]
    for session in (sessions[1], sessions[0]):
        log.batch(session, 1, put("a"))
    other = Log()
    other.registers.restore(log.registers.image())
    other.index = log.index
    for each in (log, other):
        each.open(NodeId("d"))
        each.open(NodeId("e"))
    assert list(log.registers.sessions) == list(other.registers.sessions)
    assert log.registers.image() == other.registers.image()


def test_a_negative_number_is_a_repetition_of_nothing(log: Log) -> None:
    session = log.open()
    log.batch(session, -1, put("x"), put("y"), put("a"))
    assert (log.value("x"), log.value("a")) == (None, b"x")
    assert log.results(session) == [1]


# -- whatever lies in the log ----------------------------------------------------------------------


def pack(value: Any) -> bytes:
    packed: bytes = msgpack.packb(value)
    return packed


@pytest.mark.parametrize(
    "data",
    [
        b"", b"\xc1", pack(1), pack([1, 2, 3]), pack(["1", 1, 1, []]), pack([True, 1, 1, []]),
        pack([1, 1.0, 1, []]), pack([1, 1, None, []]), pack([1, 1, 1, {}]), pack([1, 1, 1, "abcd"]),
        b"\x94" + b"\x01" * 3, b"\xdf\xff\xff\xff\xff", b"\x91" * 3_000,
    ],
)  # fmt: skip
def test_an_entry_that_is_no_batch_is_refused(log: Log, data: bytes) -> None:
    session = log.open()
    assert session == 1
    (fact,) = log.say(data)
    assert isinstance(fact, RequestRefused)
    assert log.results(session) == []


@pytest.mark.parametrize(
    "command",
    [
        1, "abcd", b"abcd", None, [], [1], [1, "k", b"v"], [1, "k", b"v", None, 5],
        [1, b"k", b"v", None], [1, "k", "v", None], [9, "k", b"v", None], ["x", "k", b"v", None],
        [1, "", b"v", None], [1, "k" * (KEY_LENGTH_MAX + 1), b"v", None],
        [1, "k", b"v" * (VALUE_SIZE_MAX + 1), None], {"a": 1, "b": 2, "c": 3, "d": 4},
    ],
)  # fmt: skip
def test_a_malformed_command_takes_its_number_and_does_nothing(log: Log, command: object) -> None:
    session = log.open()
    log.say(pack([session, 1, 1, [command, put("a")]]))
    assert log.results(session) == [Refusal.MALFORMED, 1]
    assert len(log.registers) == 1


def test_an_opening_has_bounds(log: Log) -> None:
    long = b"n" * (NAME_SIZE_MAX + 1)
    for data in (
        b"", pack([1, b""]), pack(["a", "b"]), pack(["a"]), encode_opening(ADA, long),
        encode_opening(NodeId(long.decode()), b"1"),
    ):  # fmt: skip
        (fact,) = log.say_opening(data)
        assert isinstance(fact, RequestRefused)
    assert not log.registers.sessions


anything = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.text()
    | st.binary(max_size=20),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=12,
)  # fmt: skip
numbers = st.integers(-3, 6) | st.sampled_from([2**62, -(2**62), 2**64 - 1])


@bounded
@given(
    st.lists(
        st.one_of(
            st.binary(max_size=40),
            anything.map(pack),
            st.tuples(st.just(1), numbers, numbers, st.lists(anything, max_size=4)).map(pack),
        ),
        max_size=8,
    )
)
def test_no_entry_makes_a_node_fall_over_or_differ(entries: list[bytes]) -> None:
    one, other = Log(), Log()
    for each in (one, other):
        each.open()
    for data in entries:
        assert one.say(data) == other.say(data)
        image = one.registers.image()
        other.registers = Registers()
        other.registers.restore(image)
        assert other.registers.image() == image
        one.registers.results_after(1, 0)


# -- the property ----------------------------------------------------------------------------------

keys = st.sampled_from(["a", "b", "c"])
values = st.sampled_from([b"", b"1", b"2"])
commands = st.one_of(
    st.builds(put, keys, values),
    st.builds(cas, keys, st.none() | values, values),
    st.builds(lambda key: Command(Verb.DELETE, key), keys),
    st.just(Command(Verb.NOTHING, "")),
)


def once_in_order(*streams: Sequence[Command]) -> list[list[int]]:
    """The results of commands that are each applied once, stream after stream."""
    log = Log()
    sessions = [log.open(NodeId(str(number))) for number in range(len(streams))]
    for session, stream in zip(sessions, streams, strict=True):
        for number, command in enumerate(stream, start=1):
            log.batch(session, number, command)
    return [log.results(session) or [] for session in sessions]


@bounded
@given(st.lists(commands, min_size=1, max_size=12), st.data())
def test_however_a_session_is_cut_repeated_and_overtaken_it_happens_once_in_order(
    stream: list[Command], data: st.DataObject
) -> None:
    log = Log()
    session = log.open()
    for _ in range(data.draw(st.integers(0, 12))):
        first = data.draw(st.integers(1, len(stream)))
        last = data.draw(st.integers(first, len(stream)))
        log.batch(session, first, *stream[first - 1 : last])
        if data.draw(st.booleans()):  # a snapshot makes no difference
            image = log.registers.image()
            log.registers = Registers()
            log.registers.restore(image)
            assert log.registers.image() == image
    log.batch(session, 1, *stream)  # the client insists
    plain = Log()
    plain.open()
    for number, command in enumerate(stream, start=1):
        plain.batch(1, number, command)
    assert [log.results(session)] == once_in_order(stream)
    assert log.registers.scan() == plain.registers.scan()
    assert log.registers.revision == plain.registers.revision


def test_an_image_that_is_none_changes_nothing(log: Log) -> None:
    session = log.open()
    log.batch(session, 1, put("a"))
    before = log.registers.image()
    good = msgpack.unpackb(before)
    for bad in (
        b"", pack(1), pack([1, 2, 3]), pack([1, [["a", 1]], []]), pack([1, [], [[1, 2]]]),
        pack([good[0], [["a", ["x", 1]], 5], good[2]]), pack([9, good[1], [1]]),
    ):  # fmt: skip
        with pytest.raises(RemoteProtocolError):
            log.registers.restore(bad)
        assert log.registers.image() == before


def test_a_restart_leaves_nothing(log: Log) -> None:
    session = log.open()
    log.batch(session, 1, put("a"))
    log.registers.restart()
    assert log.registers.image() == Registers().image()
    assert len(log.registers) == log.registers.revision == 0
