"""Jobs that something was heard of before the log told of them.

Gossip is often faster than the log, and the store has what came; what names a job that the log does
not know, or has forgotten, is in no other memory. When a job comes whose name was heard before, the
store is read for it, once for all that came since the last decision.

Invariant: at most `NAMES_MAX` names are kept. Once there were more, every new job is looked for.
"""

from __future__ import annotations

from protocol.claims import CLAIM_PREFIX, NOTE_PREFIX, PART_PREFIX, RACE_PREFIX
from protocol.team.lore import LORE_PREFIX
from protocol.team.spending import ACCOUNT_PREFIX

NAMES_MAX = 4_096
PREFIXES = (CLAIM_PREFIX, RACE_PREFIX, NOTE_PREFIX, PART_PREFIX, ACCOUNT_PREFIX, LORE_PREFIX)


def job_of(key: str) -> str:
    """The job that a key of the store is about; empty if it is about none."""
    prefix, _, rest = key.partition("/")
    return rest.partition("/")[0] if f"{prefix}/" in PREFIXES else ""


class Early:
    """The names that one node has heard."""

    def __init__(self) -> None:
        self._names: dict[str, None] = {}
        self._is_overfull = False
        self._due: dict[str, None] = {}

    def __len__(self) -> int:
        return len(self._names)

    def heard(self, job: str) -> None:
        """Something names a job that the log does not have."""
        self._names[job] = None
        if len(self._names) > NAMES_MAX:
            del self._names[next(iter(self._names))]
            self._is_overfull = True

    def came(self, job: str) -> None:
        """The log has this job now."""
        if job in self._names or self._is_overfull:
            self._names.pop(job, None)
            self._due[job] = None

    def take_due(self) -> list[str]:
        """The jobs that the store is to be read for, once."""
        due = list(self._due)
        self._due.clear()
        return due
