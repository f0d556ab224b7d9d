"""Clearing up: what nodes said of a job in the store goes when the ledger has forgotten the job.

Each author deletes its own, and the leader what those left behind who are gone. Nobody looks twice:
what is lost of it (a node that was away) takes some room, and does no harm.
"""

from __future__ import annotations

from protocol.claims import CLAIM_PREFIX, NOTE_PREFIX, PART_PREFIX, RACE_PREFIX
from protocol.identity import NodeId
from protocol.store import Store
from protocol.team.lore import LORE_PREFIX
from protocol.team.spending import ACCOUNT_PREFIX
from protocol.team.view import View
from protocol.turn import Turn

PREFIXES = (CLAIM_PREFIX, RACE_PREFIX, PART_PREFIX, NOTE_PREFIX, ACCOUNT_PREFIX, LORE_PREFIX)


class Clearing:
    """The jobs that were forgotten since the last decision, at one node."""

    def __init__(self, node: NodeId, store: Store) -> None:
        self.node = node
        self._store = store
        self._forgotten: list[str] = []

    def forgotten(self, job: str) -> None:
        """The ledger has this job no more."""
        self._forgotten.append(job)

    def clear(self, turn: Turn, view: View) -> None:
        """Delete what is left of them."""
        for job in self._forgotten:
            for prefix in PREFIXES:
                for key in self._store.scan(f"{prefix}{job}/"):
                    if self._is_ours(view, key):
                        turn.write(key, None)
        self._forgotten.clear()

    def _is_ours(self, view: View, key: str) -> bool:
        authors = {version.author for version in self._store.read(key)}
        if self._store.families.is_per_author(key):
            return self.node in authors
        return self.node in authors or (view.leader == self.node and not authors & view.alive)
