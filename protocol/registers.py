"""Named values on the log, with sessions that make every command happen exactly once.

A session (Ongaro's thesis, section 6.3) numbers its commands 1, 2, 3, ...; a command is applied if
its number is the next one, is a repetition if it is lower, and waits for the missing ones if it is
higher, so that a session's commands also take effect in their order. Its latest results are kept
until it says that it has them.

Invariants: two nodes that applied the same prefix of the log hold equal registers and sessions;
`revision` grows by one with each write that succeeds, so a result's revision is a fencing token.
Everything is bounded: keys, bytes, sessions (the one unused for longest is dropped, and its node
is told when it writes again).
"""

from __future__ import annotations

import heapq
import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any, NamedTuple

import msgpack

from protocol.errors import RemoteProtocolError
from protocol.facts import Fact, RequestRefused
from protocol.facts.agreement import BatchOutOfOrder, SessionExpired, SessionOpened
from protocol.identity import NodeId

KEY_LENGTH_MAX = 512  # characters
VALUE_SIZE_MAX = 64 * 1024  # bytes
NAME_SIZE_MAX = 64  # of a node id and of a nonce
KEYS_MAX = 200_000
SIZE_MAX = 128 * 1024 * 1024  # bytes of keys and values together
SESSIONS_MAX = 4_096
RESULTS_MAX = 20_000  # kept for one session: more than it may have unanswered
BATCH_COMMANDS_MAX = 5_000


class Verb(IntEnum):
    NOTHING = 0  # takes the number of a command that was given up
    PUT = 1
    DELETE = 2
    CAS = 3  # write if the value is the expected one (None: if there is none)


class Command(NamedTuple):
    """What a client wants done; on the wire as it is here, an array."""

    verb: int
    key: str
    value: bytes = b""
    expected: bytes | None = None


class Refusal(IntEnum):
    """A result that is no revision. The command happened and changed nothing."""

    UNEQUAL = 0  # the value is not the expected one
    FULL = -1  # no room for another key or byte
    MALFORMED = -2
    GIVEN_UP = -3


class Versioned(NamedTuple):
    """A value and the revision of the write that it comes from."""

    value: bytes
    revision: int


@dataclass(slots=True)
class Session:
    """`results` are those of the commands up to `last`, the newest at the end."""

    node: NodeId
    nonce: bytes
    last: int = 0
    used_at: int = 0  # log index
    results: list[int] = field(default_factory=list)


def fault_of(command: Command) -> str:
    """Why the command would be refused by every node; empty if it would not."""
    if not 0 < len(command.key) <= KEY_LENGTH_MAX:
        return f"a key has 1 to {KEY_LENGTH_MAX} characters"
    if not (command.key.isascii() or _is_unicode(command.key)):
        return "a key is Unicode text, without lone surrogates"
    if len(command.value) > VALUE_SIZE_MAX or len(command.expected or b"") > VALUE_SIZE_MAX:
        return f"a value has at most {VALUE_SIZE_MAX} bytes"
    return ""


def _is_unicode(text: str) -> bool:
    """Whether there are bytes for it: not for half of a surrogate pair, which JSON lets through."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def encode_opening(node: NodeId, nonce: bytes) -> bytes:
    """The log entry that opens a session; a repeated one opens the same."""
    return _pack([node, nonce])


def encode_batch(session: int, first: int, floor: int, commands: Sequence[Command]) -> bytes:
    """The log entry with commands `first`, `first` + 1, ...; results below `floor` are known."""
    return _pack([session, first, floor, commands])


class Registers:
    """The state machine. `revision` is that of the last write."""

    def __init__(self) -> None:
        self.revision = 0
        # By the log index that opened them, the one unused for longest first.
        self.sessions: dict[int, Session] = {}
        self._values: dict[str, Versioned] = {}
        self._size = 0

    def __repr__(self) -> str:
        return (
            f"<Registers {len(self._values)} keys at revision {self.revision}, "
            f"{len(self.sessions)} sessions>"
        )

    def __len__(self) -> int:
        return len(self._values)

    def get(self, key: str) -> Versioned | None:
        """The value of a key; None if there is none."""
        return self._values.get(key)

    def scan(
        self, prefix: str = "", after: str = "", count: int = KEYS_MAX
    ) -> list[tuple[str, Versioned]]:
        """The first `count` keys that begin with `prefix` and come after `after`, sorted, with
        their values."""
        keys = (key for key in self._values if key > after and key.startswith(prefix))
        return [(key, self._values[key]) for key in heapq.nsmallest(count, keys)]

    # -- from the log ----------------------------------------------------------------------------

    def open_session(self, index: int, data: bytes) -> list[Fact]:
        """Apply an entry that opens a session. A node's nonces grow, and it uses the latest session
        only: earlier ones would keep results that nobody asks for."""
        try:
            node, nonce = _unpack(data, 2)
        except RemoteProtocolError as fault:
            return [RequestRefused(f"log entry {index}: {fault}")]
        if not (type(node) is str and type(nonce) is bytes):
            return [RequestRefused(f"log entry {index}: a session is opened by a node and a nonce")]
        if max(len(node), len(nonce)) > NAME_SIZE_MAX:
            return [RequestRefused(f"log entry {index}: a name of over {NAME_SIZE_MAX}")]
        earlier = [(at, each) for at, each in self.sessions.items() if each.node == node]
        for number, session in earlier:
            if session.nonce == nonce:
                return [SessionOpened(NodeId(node), nonce.hex(), number)]
        for number, session in earlier:
            if session.nonce < nonce:
                del self.sessions[number]
        while len(self.sessions) >= SESSIONS_MAX:
            del self.sessions[next(iter(self.sessions))]
        self.sessions[index] = Session(NodeId(node), nonce, used_at=index)
        return [SessionOpened(NodeId(node), nonce.hex(), index)]

    def apply_batch(self, index: int, data: bytes) -> list[Fact]:
        """Apply an entry with commands of a session."""
        try:
            number, first, floor, commands = _unpack(data, 4)
        except RemoteProtocolError as fault:
            return [RequestRefused(f"log entry {index}: {fault}")]
        if not (type(number) is type(first) is type(floor) is int and type(commands) is list):
            return [RequestRefused(f"log entry {index}: a batch names its session and numbers")]
        session = self.sessions.pop(number, None)
        if session is None:
            return [SessionExpired(number)]
        self.sessions[number] = session  # most recently used
        session.used_at = index
        skip = session.last + 1 - first
        facts: list[Fact] = []
        if skip < 0:  # earlier ones are missing: they will come, and these again
            facts.append(BatchOutOfOrder(number, session.last + 1, first))
        else:
            results = session.results
            for command in commands[skip:] if skip else commands:
                results.append(self._apply(command))
            session.last = max(session.last, first + len(commands) - 1)
        known = max(floor - 1, session.last - RESULTS_MAX)
        first_kept = session.last - len(session.results) + 1
        if known >= first_kept:
            del session.results[: known - first_kept + 1]
        return facts

    def _apply(self, command: Any) -> int:
        try:
            verb, key, value, expected = command
        except (TypeError, ValueError):
            return Refusal.MALFORMED
        if type(key) is not str or type(value) is not bytes or len(value) > VALUE_SIZE_MAX:
            return Refusal.MALFORMED
        if not 0 < len(key) <= KEY_LENGTH_MAX:
            return Refusal.GIVEN_UP if verb == Verb.NOTHING else Refusal.MALFORMED
        held = self._values.get(key)
        if verb == Verb.PUT:
            return self._write(key, held, value)
        if verb == Verb.CAS:
            if (held.value if held else None) != expected:
                return Refusal.UNEQUAL
            return self._write(key, held, value)
        if verb == Verb.DELETE:
            if held is not None:
                del self._values[key]
                self._size -= len(key) + len(held.value)
            self.revision += 1
            return self.revision
        return Refusal.GIVEN_UP if verb == Verb.NOTHING else Refusal.MALFORMED

    def _write(self, key: str, held: Versioned | None, value: bytes) -> int:
        if held is None:
            size = self._size + len(key) + len(value)
            if len(self._values) >= KEYS_MAX or size > SIZE_MAX:
                return Refusal.FULL
        else:
            size = self._size + len(value) - len(held.value)
            if size > SIZE_MAX:
                return Refusal.FULL
        self._size = size
        self.revision += 1
        self._values[key] = Versioned(value, self.revision)
        return self.revision

    def restart(self) -> None:
        """Begin with another log."""
        self.revision = self._size = 0
        self.sessions.clear()
        self._values.clear()

    # -- for clients of this node ------------------------------------------------------------------

    def results_after(self, session: int, known: int) -> list[int] | None:
        """The results of the session's commands after number `known`, as far as applied; None if
        there is no such session (any more), or not all of them are kept."""
        found = self.sessions.get(session)
        if found is None or found.last - known > len(found.results):
            return None
        count = found.last - known
        return found.results[-count:] if count > 0 else []

    # -- snapshots -------------------------------------------------------------------------------

    def image(self) -> bytes:
        """Everything, as bytes that are equal on every node."""
        sessions = [
            [number, each.node, each.nonce, each.last, each.used_at, each.results]
            for number, each in self.sessions.items()
        ]
        return _pack([self.revision, sorted(self._values.items()), sessions])

    def restore(self, image: bytes) -> None:
        """Take over an image in place of what is here. RemoteProtocolError if it is none, and then
        nothing has changed."""
        self.take(read_image(image))

    def take(self, contents: Contents) -> None:
        """Take over what an image said, and use it up."""
        self.revision = contents.revision
        self._values, self.sessions, self._size = contents.values, contents.sessions, contents.size


@dataclass(frozen=True, slots=True)
class Contents:
    """What an image says. `size`: as `Registers` counts it."""

    revision: int
    values: dict[str, Versioned]
    sessions: dict[int, Session]
    size: int


def read_image(image: bytes) -> Contents:
    """What `Registers.image` has made; RemoteProtocolError if it is none."""
    revision, values, sessions = _unpack(image, 3)
    try:
        held = {key: Versioned(value, at) for key, (value, at) in values}
        opened = {
            number: Session(NodeId(node), nonce, last, used_at, list(results))
            for number, node, nonce, last, used_at, results in sessions
        }
        is_image = (
            type(revision) is int
            and all(type(key) is str for key in held)
            and all(type(each.value) is bytes for each in held.values())
            and all(type(each.revision) is int for each in held.values())
            and all(type(number) is int for number in opened)
            and all(_is_session(session) for session in opened.values())
        )
        if not is_image:
            raise TypeError("a value is of another type than it should be")
        size = sum(len(key) + len(each.value) for key, each in held.items())
    except (TypeError, ValueError) as fault:
        raise RemoteProtocolError(f"not an image of registers: {fault}") from None
    return Contents(revision, held, opened, size)


def _is_session(session: Session) -> bool:
    return (
        type(session.node) is str
        and type(session.nonce) is bytes
        and type(session.last) is int
        and type(session.used_at) is int
        and all(type(result) is int for result in session.results)
    )


def _pack(value: Any) -> bytes:
    packed: bytes = msgpack.packb(value, use_bin_type=True)
    return packed


def _unpack(data: bytes, size: int) -> list[Any]:
    try:
        value = msgpack.unpackb(data, raw=False, max_array_len=2**24)
    except (ValueError, TypeError, OverflowError, RecursionError, struct.error) as fault:
        raise RemoteProtocolError(f"not msgpack: {fault}") from None
    except msgpack.exceptions.UnpackException as fault:
        raise RemoteProtocolError(f"not msgpack: {fault}") from None
    if type(value) is not list or len(value) != size:
        raise RemoteProtocolError(f"not an array of {size}")
    return value
