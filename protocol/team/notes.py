"""FAIL notes: why attempts at a task gave no result, for whoever tries next.

Invariant: a note is its author's own: what lies under another node's name counts for nothing.
"""

from __future__ import annotations

from collections.abc import Sequence

from protocol import claims, codec
from protocol.claims import FailNote
from protocol.errors import RemoteProtocolError
from protocol.identity import NodeId
from protocol.jobs import Usage
from protocol.ledger import Ledger
from protocol.store import Store
from protocol.turn import Turn


class Notes:
    """The notes of the jobs that go on, as far as they have come here."""

    def __init__(self, node: NodeId, ledger: Ledger, store: Store) -> None:
        self.node = node
        self._ledger = ledger
        self._store = store
        self._notes: dict[tuple[str, str], dict[str, FailNote]] = {}

    def of(self, job: str, task: str) -> Sequence[FailNote]:
        """What is known of failed attempts at a task."""
        return list(self._notes.get((job, task), {}).values())

    def write(self, turn: Turn, job: str, task: str, note: FailNote) -> None:
        """Leave a note of this node's."""
        number = sum(old.node == self.node for old in self.of(job, task))
        key = claims.note_key(job, task, self.node, number)
        turn.write(key, codec.pack_value(note))
        self._notes.setdefault((job, task), {})[key] = note

    def learn(self, key: str) -> bool:
        """Take note of what the store has under a key that begins with note/; whether it counts."""
        parts = key.split("/")
        versions = self._store.read(key)
        if len(parts) != 5 or not versions or versions[0].author != parts[3]:
            return False
        job = self._ledger.jobs.get(parts[1])
        if job and job.is_finished:
            return False  # nobody asks any more
        try:
            note = codec.unpack_value(FailNote, versions[0].value)
        except RemoteProtocolError:
            return False  # illegible: it counts for nothing
        self._notes.setdefault((parts[1], parts[2]), {})[key] = note
        return True

    def usage(self, job: str) -> Usage:
        """What failed attempts at the job consumed."""
        total = Usage()
        for noted, notes in self._notes.items():
            if noted[0] == job:
                for note in notes.values():
                    total = total.plus(note.usage)
        return total

    def forget(self, job: str) -> None:
        """Drop what concerns a finished job."""
        for noted in [noted for noted in self._notes if noted[0] == job]:
            del self._notes[noted]
