"""Large values by their hash: kept in parts, fetched from whoever has them, part by part.

    put      the content is cut into parts; its manifest (size and the parts' hashes) is named by
             its own hash, and that is the blob's id
    fetch    BlobRequest -> BlobPart from several members at a time; what does not match the
             manifest is thrown away, who does not answer is asked no more for a while, and after a
             crash it goes on with the parts that are still missing

Nobody has to be trusted: an id says exactly which bytes are meant. The contents are not in memory
here; the host reads a part when somebody wants it (`ReadPart`), and keeps it (`KeepPart`).
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from random import Random

from protocol import codec
from protocol.clocks import SECOND, Alarm, Nanoseconds
from protocol.effects import DropBlob, KeepManifest, KeepPart, ReadPart, Reply
from protocol.errors import RemoteProtocolError
from protocol.events import BlobAsked, BlobDropped, BlobPut, PartRead
from protocol.facts.sharing import BlobComplete
from protocol.identity import NodeId
from protocol.messages.sharing import BlobMissing, BlobPart, BlobRequest
from protocol.turn import Turn

PART_SIZE = 256 * 1024
BLOB_SIZE_MAX = 64 * 1024 * 1024
BLOBS_MAX = 10_000
SIZE_MAX = 4 * 1024 * 1024 * 1024  # bytes of all blobs of a node
FETCHES_MAX = 64
PARALLEL_MAX = 4  # parts on their way for one blob
PART_TIMEOUT_NS: Nanoseconds = 2 * SECOND
SHUN_NS: Nanoseconds = (
    5 * SECOND
)  # who did not answer, or has not got it, is not asked so soon again
ID_SIZE = 32  # bytes; 64 characters of hex
UNASKED = "a part that was not asked for, or came too late"
WRONG_MANIFEST = "a manifest that is not the blob's"
WRONG_PART = "a part that is not the manifest's"


@dataclass(frozen=True, slots=True)
class Manifest:
    """`hashes` are SHA-256 of each part, in order; all parts but the last have PART_SIZE bytes."""

    size: int
    hashes: tuple[bytes, ...]


@dataclass(slots=True)
class _Blob:
    manifest: Manifest
    lacks: set[int]


@dataclass(slots=True)
class _Fetch:
    """`asked`: part -> whom, and until when."""

    until: Nanoseconds
    requests: list[int] = field(default_factory=list)
    asked: dict[int, tuple[NodeId, Nanoseconds]] = field(default_factory=dict)
    shunned: dict[NodeId, Nanoseconds] = field(default_factory=dict)


MANIFEST = 0  # stands for the manifest where parts are numbered: they begin with 1


class Blobs:
    """See the module's text. `refused` counts what was not taken, by reason, each a fixed text."""

    def __init__(self, held: Iterable[tuple[str, bytes, frozenset[int]]], random: Random) -> None:
        """`held`: of each blob its id, its manifest encoded, and the parts on the disk."""
        self._blobs: dict[str, _Blob] = {}
        self._fetches: dict[str, _Fetch] = {}
        self._random = random
        self._alarm = Alarm()
        self._size = 0
        self.refused: Counter[str] = Counter()
        for blob, encoded, parts in held:
            manifest = codec.unpack_value(Manifest, encoded)
            self._blobs[blob] = _Blob(manifest, _numbers(manifest) - parts)
            self._size += manifest.size

    def deadline(self) -> Nanoseconds | None:
        """When a fetch has something to do."""
        return self._alarm.at

    def size_of(self, blob: str) -> int | None:
        """Bytes of a blob that is here with all its parts; None if it is not."""
        held = self._blobs.get(blob)
        return held.manifest.size if held is not None and not held.lacks else None

    def held(self) -> dict[str, tuple[int, int]]:
        """Of each blob its bytes, and how many parts are missing."""
        return {blob: (held.manifest.size, len(held.lacks)) for blob, held in self._blobs.items()}

    # -- clients -----------------------------------------------------------------------------------

    def put(self, turn: Turn, event: BlobPut) -> None:
        """Keep a content; answered with its id once it is on the disk."""
        parts = [
            event.content[at : at + PART_SIZE] for at in range(0, len(event.content), PART_SIZE)
        ]
        manifest = Manifest(len(event.content), tuple(map(_hash, parts)))
        encoded = codec.pack_value(manifest)
        blob = _hash(encoded).hex()
        if self.size_of(blob) is None:
            if not self._has_room(manifest):
                detail = f"this node has no room for {manifest.size} bytes more: drop some blobs"
                turn.perform(Reply(event.request, "Busy", detail))
                return
            self._begin(turn, blob, encoded, manifest)
            for number, part in enumerate(parts, 1):
                self._keep(turn, blob, number, part)
        turn.answer_durable(Reply(event.request, "", blob))

    def ask(self, turn: Turn, event: BlobAsked, others: Sequence[NodeId]) -> None:
        """See to it that a blob is here; answered when it is, or when time is over."""
        if self.size_of(event.blob) is not None:
            turn.answer_durable(Reply(event.request, "", event.blob))
            return
        fetch = self._fetches.get(event.blob)
        if fetch is None:
            if len(self._fetches) >= FETCHES_MAX:
                detail = f"{FETCHES_MAX} blobs are being fetched already: try again"
                turn.perform(Reply(event.request, "Busy", detail))
                return
            fetch = self._fetches[event.blob] = _Fetch(0)
        fetch.until = max(fetch.until, turn.now + event.timeout_ns)
        fetch.requests.append(event.request)
        self._go_on(turn, event.blob, fetch, others)

    def drop(self, turn: Turn, event: BlobDropped) -> None:
        """Do without a blob."""
        held = self._blobs.pop(event.blob, None)
        if held is None:
            turn.perform(Reply(event.request, "NotPossible", "this node has no such blob"))
            return
        self._size -= held.manifest.size
        turn.persist(DropBlob(event.blob))
        turn.answer_durable(Reply(event.request, "", ""))

    # -- others ------------------------------------------------------------------------------------

    def requested(self, turn: Turn, sender: NodeId, message: BlobRequest) -> None:
        """Somebody wants a part, or the manifest."""
        held = self._blobs.get(message.blob)
        if held is None or message.part in held.lacks or message.part > len(held.manifest.hashes):
            turn.send(sender, BlobMissing(message.blob, message.part))
        elif message.part == MANIFEST:
            encoded = codec.pack_value(held.manifest)
            turn.send(sender, BlobPart(message.blob, MANIFEST, encoded))
        else:
            turn.perform(ReadPart(message.blob, message.part, sender))

    def read(self, turn: Turn, event: PartRead) -> None:
        """The host has read a part that somebody wants; nothing, if its disk has lost it."""
        if event.data is None:
            turn.send(event.destination, BlobMissing(event.blob, event.part))
            held = self._blobs.get(event.blob)
            if held is not None:
                held.lacks.add(event.part)
        else:
            turn.send(event.destination, BlobPart(event.blob, event.part, event.data))

    def arrived(
        self, turn: Turn, sender: NodeId, message: BlobPart, others: Sequence[NodeId]
    ) -> None:
        """A part, or a manifest, that was asked for."""
        fetch = self._fetches.get(message.blob)
        if fetch is None or message.part not in fetch.asked:
            self.refused[UNASKED] += 1
            return
        if message.part == MANIFEST:
            self._take_manifest(turn, sender, message, fetch)
        else:
            self._take_part(turn, sender, message, fetch)
        self._go_on(turn, message.blob, fetch, others)

    def missing(
        self, turn: Turn, sender: NodeId, message: BlobMissing, others: Sequence[NodeId]
    ) -> None:
        """Who was asked has not got it."""
        fetch = self._fetches.get(message.blob)
        if fetch is not None and fetch.asked.get(message.part, ("", 0))[0] == sender:
            del fetch.asked[message.part]
            fetch.shunned[sender] = turn.now + SHUN_NS
            self._go_on(turn, message.blob, fetch, others)

    def tick(self, turn: Turn, others: Sequence[NodeId]) -> None:
        """Ask others for what did not come, and give up what took too long."""
        if self._alarm.at is None or turn.now < self._alarm.at:
            return
        self._alarm.clear()
        for blob, fetch in list(self._fetches.items()):
            for part, (node, until) in list(fetch.asked.items()):
                if until <= turn.now:
                    del fetch.asked[part]
                    fetch.shunned[node] = turn.now + SHUN_NS
            self._go_on(turn, blob, fetch, others)

    # -- details -----------------------------------------------------------------------------------

    def _take_manifest(self, turn: Turn, sender: NodeId, message: BlobPart, fetch: _Fetch) -> None:
        try:
            manifest = codec.unpack_value(Manifest, message.data)
        except RemoteProtocolError:
            manifest = None
        if manifest is None or _hash(message.data).hex() != message.blob or not _is_sane(manifest):
            self.refused[WRONG_MANIFEST] += 1
            fetch.shunned[sender] = turn.now + SHUN_NS
        elif self._has_room(manifest):
            self._begin(turn, message.blob, message.data, manifest)
        else:
            self._end(turn, message.blob, "Busy", "this node has no room for it: drop some blobs")
        fetch.asked.pop(MANIFEST, None)

    def _take_part(self, turn: Turn, sender: NodeId, message: BlobPart, fetch: _Fetch) -> None:
        held = self._blobs[message.blob]
        del fetch.asked[message.part]
        if _hash(message.data) != held.manifest.hashes[message.part - 1]:
            self.refused[WRONG_PART] += 1
            fetch.shunned[sender] = turn.now + SHUN_NS
        elif message.part in held.lacks:
            self._keep(turn, message.blob, message.part, message.data)

    def _go_on(self, turn: Turn, blob: str, fetch: _Fetch, others: Sequence[NodeId]) -> None:
        """Ask for what is missing and not on its way."""
        if blob not in self._fetches:
            return
        if self.size_of(blob) is not None:
            self._end(turn, blob, "", blob)
            return
        if turn.now >= fetch.until:
            detail = "nobody who is there has sent it whole in time; what came is kept"
            self._end(turn, blob, "TimedOut", detail)
            return
        held = self._blobs.get(blob)
        lacks = [MANIFEST] if held is None else sorted(held.lacks)
        able = [node for node in others if fetch.shunned.get(node, 0) <= turn.now]
        for part in lacks:
            if len(fetch.asked) >= PARALLEL_MAX or not able:
                break
            if part not in fetch.asked:
                node = able[self._random.randrange(len(able))]
                fetch.asked[part] = (node, turn.now + PART_TIMEOUT_NS)
                turn.send(node, BlobRequest(blob, part))
        waits = [until for _, until in fetch.asked.values()]
        back = [until for until in fetch.shunned.values() if until > turn.now]
        self._alarm.ask(min([*waits, *back, fetch.until]))

    def _begin(self, turn: Turn, blob: str, encoded: bytes, manifest: Manifest) -> None:
        if blob not in self._blobs:
            self._blobs[blob] = _Blob(manifest, _numbers(manifest))
            self._size += manifest.size
            turn.persist(KeepManifest(blob, encoded))

    def _keep(self, turn: Turn, blob: str, number: int, part: bytes) -> None:
        held = self._blobs[blob]
        held.lacks.discard(number)
        turn.persist(KeepPart(blob, number, part))
        if not held.lacks:
            turn.report(BlobComplete(blob, held.manifest.size))

    def _end(self, turn: Turn, blob: str, error: str, detail: str) -> None:
        for request in self._fetches.pop(blob).requests:
            turn.answer_durable(Reply(request, error, detail))

    def _has_room(self, manifest: Manifest) -> bool:
        return len(self._blobs) < BLOBS_MAX and self._size + manifest.size <= SIZE_MAX


def _numbers(manifest: Manifest) -> set[int]:
    """Of its parts."""
    return set(range(1, len(manifest.hashes) + 1))


def fault_of(blob: str) -> str:
    """Why this is no blob's id; empty if it is one."""
    is_hex = len(blob) == 2 * ID_SIZE and all(letter in "0123456789abcdef" for letter in blob)
    return "" if is_hex else f"a blob's id is {2 * ID_SIZE} hexadecimal digits"


def _is_sane(manifest: Manifest) -> bool:
    parts = -(-manifest.size // PART_SIZE)
    return manifest.size <= BLOB_SIZE_MAX and len(manifest.hashes) == parts


def _hash(content: bytes) -> bytes:
    return hashlib.sha256(content).digest()
