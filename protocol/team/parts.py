"""Parts: files that an attempt has finished, verified or not, for whoever goes on with it.

Invariant: each slot of each task has its own, so that answers which shall be independent do not see
each other, and what is written of one file for one task never takes the place of another's.
"""

from __future__ import annotations

from collections.abc import Iterable

from protocol import claims, codec
from protocol.claims import Partial
from protocol.errors import RemoteProtocolError
from protocol.facts import RequestRefused
from protocol.identity import NodeId
from protocol.jobs import FILE_SIZE_MAX, File
from protocol.ledger import TaskState, Unit
from protocol.store import Store
from protocol.turn import Turn


class Parts:
    """Those that one node writes and reads."""

    def __init__(self, node: NodeId, store: Store) -> None:
        self.node = node
        self._store = store

    def write(
        self, turn: Turn, unit: Unit, token: int, files: Iterable[File], known: dict[str, bytes]
    ) -> None:
        """Let everybody have these files, but for those that are `known` already to be so."""
        for file in files:
            if len(file.content) > FILE_SIZE_MAX:
                turn.report(RequestRefused(f"{file.path} is over {FILE_SIZE_MAX} bytes"))
            elif known.get(file.path) != file.content:
                known[file.path] = file.content
                part = Partial(self.node, token, file.content)
                turn.write(claims.part_key(unit, file.path), codec.pack_value(part))

    def of(self, unit: Unit, task: TaskState) -> tuple[File, ...]:
        """What earlier attempts at this very slot left, the latest version of each file."""
        files = []
        for path in task.task.writes:
            versions = self._store.read(claims.part_key(unit, path))
            for version in sorted(versions, key=lambda v: (v.stamp, v.author), reverse=True):
                try:
                    part = codec.unpack_value(Partial, version.value)
                except RemoteProtocolError:
                    continue  # illegible: as if it were not there
                files.append(File(path, part.content))
                break
        return tuple(files)
