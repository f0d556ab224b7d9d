"""What is left of a job on the disk of a node that does not run: its log.

A task that nobody has begun is in no record of facts; its job is in the log as it was submitted,
with what became of the tasks that it waits for. The journal is only read, and not repaired.

The end of a log may never have been confirmed by a majority: it is told as it stands there.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

from node.doors.stories import chain_of
from node.journal_file import FILE, JournalDamaged
from node.salvage import Survey, read_meta
from protocol.errors import RemoteProtocolError
from protocol.identity import NodeId
from protocol.ledger import JobState, Ledger, TaskState
from protocol.replicated import Replicated


def ledger_of(folder: Path) -> Ledger:
    """What the log in this data folder leads to; nothing if there is none that can be read."""
    state = Replicated()
    try:
        with closing(_opened(folder.absolute() / FILE)) as journal:
            owner = NodeId(read_meta(journal).get("node", ""))
            restored = Survey(journal, owner).restored
        if restored.snapshot is not None:
            state.restore(restored.snapshot)
        for entry in restored.entries:
            if entry.index == state.applied + 1:
                state.apply(entry)
    except (sqlite3.Error, JournalDamaged, RemoteProtocolError):
        return Ledger()  # others may have more
    return state.ledger


def _opened(path: Path) -> sqlite3.Connection:
    """The journal, for reading. Where nothing waits to be folded into it, sqlite need not be told
    of by other readers, nor leave files of its own."""
    is_folded = not path.with_name(f"{FILE}-wal").exists()
    connection = sqlite3.connect(
        f"{path.as_uri()}?{'immutable=1' if is_folded else 'mode=ro'}", uri=True
    )
    connection.text_factory = lambda text: text.decode(errors="replace")  # judged by checksums
    return connection


def remains_view(
    ledger: Ledger, job: JobState, state: TaskState, names: Mapping[NodeId, str]
) -> dict[str, Any]:
    """The task as a door shows it (`node.doors.stories.story_view`), but for all that only who runs
    can tell: nobody holds anything. `names` are those of nodes."""
    task, accepted, committed = state.task, state.accepted, state.committed

    def name(node: NodeId) -> str:
        return names.get(node, node)

    return {
        "applied": ledger.applied,
        "job": job.job.id,
        "submitted_index": job.index,
        "resumes": job.job.resumes,
        "lease_s": 0.0,
        "names": {},
        "task": {
            "id": task.id,
            "writes": list(task.writes),
            "verify": task.verify,
            "verify_by": task.verify_by.value,
            "quorum": {"of": task.quorum.of, "agree": task.quorum.agree},
            "accepted": accepted
            and {
                "name": name(accepted.node),
                "token": accepted.token,
                "reviewer": accepted.reviewer and name(accepted.reviewer),
            },
            "agreed": [name(answer.node) for answer in state.agreeing()],
            "dissent": [{"name": name(answer.node)} for answer in state.dissenting()],
            "abandoned": state.abandoned,
            "committed": {
                "index": committed.index,
                "term": committed.term,
                "leader": committed.leader and name(committed.leader),
            },
            "waits_for_judge": state.waits_for_judge(),
        },
        "needs": [_need_view(job.tasks[need], names) for need in task.needs],
        "slots": _slot_views(state),
        "waits_for": [
            {
                "id": each.task.id,
                "abandoned": each.abandoned,
                "needs": missing,
                "slots": _slot_views(each),
            }
            for each, missing in chain_of(job, state)
        ],
        "notes": [],
        "parts": [],
    }


def _need_view(need: TaskState, names: Mapping[NodeId, str]) -> dict[str, Any]:
    accepted = need.accepted
    return {
        "id": need.task.id,
        "accepted_from": names.get(accepted.node, accepted.node) if accepted else "",
        "index": accepted.index if accepted else 0,
    }


def _slot_views(state: TaskState) -> list[dict[str, Any]]:
    return [
        {
            "slot": number,
            "holder": "",
            "held_s": None,
            "answered": slot.answer is not None,
            "unreviewed": [],
        }
        for number, slot in enumerate(state.slots)
    ]
