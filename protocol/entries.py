"""Values that clients share through the store: there on both sides of a cut, and merged afterwards.

    user/KEY        every value that nobody has overwritten knowingly (siblings)
    user/last/KEY   the one written last, by hybrid clock
    user/max/KEY    the greatest number
    user/sum/KEY    the sum of what each node has added
    user/set/KEY    the union of what was put in

A write replaces what its node has seen of the key, and is on this node's disk when it is answered,
also while all else waits because the team is overloaded (see `pace`). Reads are of what this node
has: nothing is asked of others, so a minority can read and write too. For values that must never
fork there are registers.
"""

from __future__ import annotations

from protocol import codec
from protocol.effects import Reply
from protocol.events import EntryWritten
from protocol.gossip import Gossip
from protocol.identity import NodeId
from protocol.store import VALUE_SIZE_MAX, Families, Join
from protocol.store.families import Members, Number
from protocol.turn import Turn

PREFIX = "user/"
KEY_LENGTH_MAX = 256  # characters, the prefix not counted
CLIENT_VALUE_SIZE_MAX = 256 * 1024
NUMBER_MAX = 2**53  # what every reader of JSON can hold
FAMILIES = Families(
    {
        "user/last/": Join.LAST_WRITER,
        "user/max/": Join.MAX,
        "user/sum/": Join.SUM,
        "user/set/": Join.UNION,
    }
)


class Entries:
    """See the module's text."""

    def __init__(self, own: NodeId, gossip: Gossip) -> None:
        self._own = own
        self._gossip = gossip
        self._store = gossip.store

    def write(self, turn: Turn, event: EntryWritten) -> None:
        """Write, or delete, one value; answered once it is on this node's disk."""
        key = PREFIX + event.key
        value: bytes | None = None
        fault = fault_of(event.key, event.value)
        if event.value is not None and not fault:
            value = self._encoded(key, event.value)
            fault = self._fault_of_whole(key, value)
        if fault:
            turn.perform(Reply(event.request, "InvalidEntry", fault))
            return
        refusal = self._gossip.write_for_client(turn, key, value)
        if refusal:
            turn.perform(Reply(event.request, "Busy", refusal))
        else:
            turn.answer_durable(Reply(event.request, "", ""))

    def _encoded(self, key: str, value: bytes) -> bytes:
        """What is written so that the family's join gives what the client means."""
        match FAMILIES.join_of(key):
            case Join.MAX:
                held = self._store.joined(key)
                assert held is None or isinstance(held, int)
                return codec.pack_value(Number(max(int(value), held or 0)))
            case Join.SUM:
                return codec.pack_value(Number(self._own_part(key) + int(value)))
            case Join.UNION:
                items = self._store.joined(key)
                assert isinstance(items, frozenset)
                return codec.pack_value(Members(tuple(sorted(items | {value}))))
            case Join.SIBLINGS | Join.LAST_WRITER:
                return value

    def _fault_of_whole(self, key: str, value: bytes) -> str:
        """Why what the value becomes, together with what is there, is too much."""
        if len(value) > VALUE_SIZE_MAX:
            return f"the set would have {len(value)} bytes, the limit is {VALUE_SIZE_MAX}"
        if FAMILIES.join_of(key) is Join.SUM and codec.unpack_value(Number, value).n > NUMBER_MAX:
            return f"what this node has added would be over {NUMBER_MAX}"
        return ""

    def _own_part(self, key: str) -> int:
        """What this node has added so far."""
        own = [version.value for version in self._store.read(key) if version.author == self._own]
        return codec.unpack_value(Number, own[-1]).n if own else 0


def fault_of(key: str, value: bytes | None) -> str:
    """Why nobody would take this; empty if there is no reason."""
    if not 0 < len(key) <= KEY_LENGTH_MAX:
        return f"a key has 1 to {KEY_LENGTH_MAX} characters"
    if value is None:
        return ""
    if len(value) > CLIENT_VALUE_SIZE_MAX:
        return f"the value has {len(value)} bytes, the limit is {CLIENT_VALUE_SIZE_MAX}"
    if FAMILIES.join_of(PREFIX + key) in (Join.MAX, Join.SUM):
        is_number = value.isdigit() and len(value) <= 16 and int(value) <= NUMBER_MAX
        return "" if is_number else f"a value of this family is a number from 0 to {NUMBER_MAX}"
    return ""
