"""The versions of a file as JSON, for the client door: who wrote them, and who has seen which.

There are two kinds. What tasks have handed in and the log has accepted is replaced by a task that
has seen it and merged with what has not. What agents have finished meanwhile goes by gossip, and
concurrent versions of that are kept beside each other.

Invariant: the contents in a story of versions are CONTENTS_SIZE_MAX bytes at most, however many
tasks have written the file; of what finds no room there is the size.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Iterator
from typing import Any

from protocol import claims, codec
from protocol.claims import Partial
from protocol.clocks import HybridClock
from protocol.diagnosis import name_of
from protocol.errors import RemoteProtocolError
from protocol.ledger import JobState, Siblings, TaskState, Unit
from protocol.peer import Peer
from protocol.store import Version

CONTENTS_SIZE_MAX = 2 * 1024 * 1024  # bytes, all of them are made JSON at once


def siblings_view(peer: Peer, job: JobState) -> list[dict[str, Any]]:
    """Files of which attempts at one slot of a task have written different versions without
    knowledge of each other. What other tasks, and other slots, have made of the same path is no
    conflict with it."""
    found = []
    for task in job.tasks.values():
        for unit in _units_of(job, task):
            for path in task.task.writes:
                rows = list(_rows(peer, unit, path, None))
                if len({row["sha256"] for row in rows}) > 1:
                    found.append({"path": path, "versions": rows})
    return found


def _units_of(job: JobState, task: TaskState) -> list[Unit]:
    return [(job.job.id, task.task.id, number) for number in range(len(task.slots))]


def _text(content: bytes) -> str:
    return content.decode("utf-8", "replace")


def parts_view(
    peer: Peer, job: JobState, path: str, text: Callable[[bytes], str | None] | None = _text
) -> list[dict[str, Any]]:
    """Every current version of a partial result, whatever task and slot it is of, with who wrote it
    and when by their clock; with the `text` of its content, if any is wanted. Where all of a
    content is shown that is no UTF-8, `base64` has it exactly."""
    return [
        row
        for task in job.tasks.values()
        if path in task.task.writes
        for row in task_parts_view(peer, job, task, path, text)
    ]


def task_parts_view(
    peer: Peer,
    job: JobState,
    task: TaskState,
    path: str,
    text: Callable[[bytes], str | None] | None = None,
) -> list[dict[str, Any]]:
    """Those of one task, slot by slot."""
    return [row for unit in _units_of(job, task) for row in _rows(peer, unit, path, text)]


def _rows(
    peer: Peer, unit: Unit, path: str, text: Callable[[bytes], str | None] | None
) -> Iterator[dict[str, Any]]:
    _, task, slot = unit
    for version in peer.store.read(claims.part_key(unit, path)):
        try:
            part = codec.unpack_value(Partial, version.value)
        except RemoteProtocolError:
            continue  # illegible: a node of another version wrote it
        row = {
            "node": version.author,
            "name": name_of(peer, version.author),
            "sequence": version.sequence,
            "seen_by": _seen_by(peer, version),
            "wall_ms": HybridClock.milliseconds(version.stamp),
            "task": task,
            "slot": slot,
            "token": part.token,
            "size": len(part.content),
            "sha256": hashlib.sha256(part.content).hexdigest(),
        }
        if text is not None:
            row["content"] = text(part.content)
        if text is _text and _text(part.content).encode() != part.content:
            row["base64"] = base64.b64encode(part.content).decode()
        yield row


def _seen_by(peer: Peer, version: Version) -> list[str]:
    """Who is known to have it: its author, this node, and whose digests say so."""
    nodes = peer.gossip.matrix.who_has(version.author, version.sequence)
    return [name_of(peer, node) for node in dict.fromkeys([version.author, peer.node, *nodes])]


def merges_view(peer: Peer, job: JobState) -> list[dict[str, Any]]:
    """What became of versions that had not seen each other, in the order of the log, also what
    `waits` for another node's word; with those that were `refuted` before, by whom and why."""
    known = [*job.merges.items(), *job.merges_to_review()]
    merges = sorted(known, key=lambda found: found[1].index)
    return [
        {
            "path": path,
            "tasks": list(tasks),
            "node": merge.node,
            "name": name_of(peer, merge.node),
            "by_agent": merge.by_agent,
            "fault": merge.fault,
            "index": merge.index,
            "reviewer": name_of(peer, merge.reviewer) if merge.reviewer else "",
            "waits": (path, tasks) not in job.merges,
            "refuted": _refuted(peer, job, (path, tasks)),
        }
        for (path, tasks), merge in merges
    ]


def _refuted(peer: Peer, job: JobState, siblings: Siblings) -> list[dict[str, Any]]:
    """Merges of these that another node found wrong."""
    proposed = job.proposed.get(siblings)
    return [
        {
            "name": name_of(peer, merge.node),
            "reviewer": name_of(peer, merge.reviewer),
            "fault": merge.fault,
        }
        for merge in (proposed.refuted if proposed else ())
    ]


def _content_of(job: JobState, siblings: Siblings) -> bytes:
    """That of the merge that counts, or else of the one that waits."""
    merge = job.merges.get(siblings) or job.waiting_merge(siblings)
    return merge.content if merge else b""


def versions_view(peer: Peer, job: JobState, path: str) -> dict[str, Any]:
    """Every version of a file. `base` is what the job brought; of an accepted one `saw` names the
    tasks on whose versions it builds; a partial one was `seen_by` the nodes that are known to have
    it; `contents` is what the file is now, under other names if versions are not merged, and
    `sizes` are those of the same in bytes. A text is None where all would be too much."""
    room = _Room()
    base = next((file.content for file in job.job.files if file.path == path), b"")
    shown = room.text(base)
    names = {path, *(f"{path}.{task}" for task in job.tasks)}
    files = [file for file in job.files() if file.path in names]
    contents = {file.path: room.text(file.content) for file in files}
    accepted = [
        {
            "task": name,
            "node": state.accepted.node,
            "name": name_of(peer, state.accepted.node),
            "token": state.accepted.token,
            "index": state.accepted.index,
            "saw": job.edits.seen_by(path, name),
            "size": len(content),
            "content": room.text(content),
        }
        for name in job.order
        if (state := job.tasks[name]).accepted and (content := job.version(path, name)) is not None
    ]
    merges = [
        {**merge, "content": room.text(_content_of(job, (path, tuple(merge["tasks"]))))}
        for merge in merges_view(peer, job)
        if merge["path"] == path
    ]
    return {
        "path": path,
        "base": shown,
        "accepted": accepted,
        "merges": merges,
        "merge_program": job.job.merge_program,
        "partials": _unaccepted(job, parts_view(peer, job, path, room.text)),
        "contents": contents,
        "sizes": {file.path: len(file.content) for file in files},
    }


def _unaccepted(job: JobState, parts: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Those that are not the very files of what was accepted, which is shown already."""
    accepted = {name: state.accepted for name, state in job.tasks.items() if state.accepted}
    return [
        part
        for part in parts
        if (found := accepted.get(part["task"])) is None
        or (part["slot"], part["node"], part["token"]) != found.attempt
    ]


class _Room:
    """What is left for contents."""

    def __init__(self) -> None:
        self._left = CONTENTS_SIZE_MAX

    def text(self, content: bytes) -> str | None:
        """The content as text, None if there is no room for it."""
        if len(content) > self._left:
            return None
        self._left -= len(content)
        return _text(content)
