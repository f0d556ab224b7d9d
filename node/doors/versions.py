"""The versions of a file as JSON, for the client door: who wrote them, and who has seen which.

There are two kinds. What tasks have handed in and the log has accepted is replaced by a task that
has seen it and merged with what has not. What agents have finished meanwhile goes by gossip, and
concurrent versions of that are kept beside each other.
"""

from __future__ import annotations

import hashlib
from typing import Any

from protocol import claims, codec
from protocol.claims import Partial
from protocol.clocks import HybridClock
from protocol.diagnosis import name_of
from protocol.errors import RemoteProtocolError
from protocol.ledger import JobState
from protocol.peer import Peer
from protocol.store import Version


def siblings_view(peer: Peer, job: str) -> list[dict[str, Any]]:
    """Files of which versions were written without knowledge of each other."""
    found = []
    for key in peer.store.scan(f"part/{job}/"):
        versions = peer.store.read(key)
        if len(versions) > 1:
            path = key.removeprefix(f"part/{job}/")
            found.append({"path": path, "versions": parts_view(peer, job, path, contents=False)})
    return found


def parts_view(peer: Peer, job: str, path: str, *, contents: bool = True) -> list[dict[str, Any]]:
    """Every current version of a partial result, with who wrote it and when by their clock."""
    rows = []
    for version in peer.store.read(claims.part_key(job, path)):
        try:
            part = codec.unpack_value(Partial, version.value)
        except RemoteProtocolError:
            continue  # illegible: a node of another version wrote it
        rows.append(
            {
                "node": version.author,
                "name": name_of(peer, version.author),
                "sequence": version.sequence,
                "seen_by": _seen_by(peer, version),
                "wall_ms": HybridClock.milliseconds(version.stamp),
                "task": part.task,
                "slot": part.slot,
                "token": part.token,
                "size": len(part.content),
                "sha256": hashlib.sha256(part.content).hexdigest(),
            }
        )
        if contents:
            rows[-1]["content"] = _text(part.content)
    return rows


def _seen_by(peer: Peer, version: Version) -> list[str]:
    """Who is known to have it: its author, this node, and whose digests say so."""
    nodes = peer.gossip.matrix.who_has(version.author, version.sequence)
    return [name_of(peer, node) for node in dict.fromkeys([version.author, peer.node, *nodes])]


def merges_view(peer: Peer, job: JobState) -> list[dict[str, Any]]:
    """What became of versions that had not seen each other, in the order of the log."""
    merges = sorted(job.merges.items(), key=lambda found: found[1].index)
    return [
        {
            "path": path,
            "tasks": list(tasks),
            "node": merge.node,
            "name": name_of(peer, merge.node),
            "by_agent": merge.by_agent,
            "fault": merge.fault,
            "index": merge.index,
        }
        for (path, tasks), merge in merges
    ]


def versions_view(peer: Peer, job: JobState, path: str) -> dict[str, Any]:
    """Every version of a file. `base` is what the job brought; of an accepted one `saw` names the
    tasks on whose versions it builds; a partial one was `seen_by` the nodes that are known to have
    it; `contents` is what the file is now, under other names if versions are not merged, and
    `sizes` are those of the same in bytes."""
    base = next((file.content for file in job.job.files if file.path == path), b"")
    accepted = [
        {
            "task": name,
            "node": state.accepted.node,
            "name": name_of(peer, state.accepted.node),
            "token": state.accepted.token,
            "index": state.accepted.index,
            "saw": job.edits.seen_by(path, name),
            "content": _text(content),
        }
        for name in job.order
        if (state := job.tasks[name]).accepted and (content := job.version(path, name)) is not None
    ]
    merges = [
        {**merge, "content": _text(job.merges[path, tuple(merge["tasks"])].content)}
        for merge in merges_view(peer, job)
        if merge["path"] == path
    ]
    names = {path, *(f"{path}.{task}" for task in job.tasks)}
    files = [file for file in job.files() if file.path in names]
    return {
        "path": path,
        "base": _text(base),
        "accepted": accepted,
        "merges": merges,
        "partials": parts_view(peer, job.job.id, path),
        "contents": {file.path: _text(file.content) for file in files},
        "sizes": {file.path: len(file.content) for file in files},
    }


def _text(content: bytes) -> str:
    return content.decode("utf-8", "replace")
