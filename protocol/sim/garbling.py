"""A node that passes on something else than it got: the words of others are changed, and what
vouches for them, a signature, a digest or a chain, is left as it was. Whoever gets them notices.

What a node says for itself is never changed: against a voter that lies about Raft nothing helps.
"""

from __future__ import annotations

from dataclasses import replace

from protocol import codec
from protocol.identity import NodeId, node_id_of
from protocol.messages import Message
from protocol.messages.agreement import (
    Agreement,
    Append,
    EntryKind,
    Learned,
    LogEntry,
    Relay,
    SnapshotPart,
)
from protocol.messages.membership import MemberRecord, MemberSync, Probe, ProbeAck, ProbeRequest
from protocol.messages.sharing import Delta, Push
from protocol.store import Batch, Body

LEGIBLE = (EntryKind.COMMAND, EntryKind.BATCH)  # of which any bytes can be taken


def garbled(message: Message, own: NodeId) -> Message:
    """What leaves the node `own` in the place of a message."""
    match message:
        case Push() | Delta():
            return replace(message, batches=tuple(_batch(each, own) for each in message.batches))
        case Probe() | ProbeAck() | ProbeRequest() | MemberSync():
            records = tuple(_record(each, own) for each in message.news.records)
            return replace(message, news=replace(message.news, records=records))
        case Relay() if message.origin != own:
            return replace(message, frame=_frame(message.frame))
        case Agreement(message=Learned() as lesson):
            return replace(message, message=replace(lesson, entries=_entries(lesson.entries)))
        case Agreement(message=SnapshotPart(request=0) as part) if part.data:
            data = part.data[:-1] + bytes((part.data[-1] ^ 1,))
            return replace(message, message=replace(part, data=data))
        case _:
            return message


def _batch(encoded: bytes, own: NodeId) -> bytes:
    batch = codec.unpack_value(Batch, encoded)
    if node_id_of(batch.public_key) == own:
        return encoded
    first, *others = codec.unpack_value(Body, batch.body).entries
    later = replace(first, stamp=first.stamp + 1)
    return codec.pack_value(replace(batch, body=codec.pack_value(Body((later, *others)))))


def _record(record: MemberRecord, own: NodeId) -> MemberRecord:
    """It has left, says who only brings the news."""
    if record.node == own:
        return record
    return replace(record, incarnation=record.incarnation + 1, left=True)


def _frame(frame: bytes) -> bytes:
    inner = codec.decode(frame)
    if not (isinstance(inner, Agreement) and isinstance(inner.message, Append)):
        return frame
    append = replace(inner.message, entries=_entries(inner.message.entries))
    return codec.encode(replace(inner, message=append))


def _entries(entries: tuple[LogEntry, ...]) -> tuple[LogEntry, ...]:
    return tuple(
        replace(entry, data=entry.data + b"!") if entry.kind in LEGIBLE else entry
        for entry in entries
    )
