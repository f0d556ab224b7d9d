"""A peer's state as JSON, for the client door. Reading only."""

from __future__ import annotations

from typing import Any

from node.doors.costs import budget_view, cost_rows, usage_view
from node.doors.trouble import trouble_view
from node.doors.versions import merges_view, siblings_view
from node.links import features
from protocol import graph
from protocol.clocks import MILLISECOND, SECOND, Nanoseconds
from protocol.conclusion import conclusion_of
from protocol.diagnosis import is_majority_lost, name_of, names_apart, why_no_leader
from protocol.identity import NodeId
from protocol.jobs import Compare, manifest
from protocol.ledger import Answer, JobState, Place, TaskState, why_anew
from protocol.membership import State, tags_of
from protocol.messages.membership import MemberRecord
from protocol.peer import Peer
from protocol.team.costs import spent_on

TEXT_LENGTH_MAX = 10_000  # characters of an answer that are shown; `length` is that of the whole


def status_view(peer: Peer, now: Nanoseconds) -> dict[str, Any]:
    """Who this node is, what it takes for the leader, whom it knows, what it does."""
    return {
        "node": peer.node,
        "name": peer.settings.name,
        "cluster": peer.settings.cluster,
        **_agreement_view(peer, now),
        "alive": 1 + len(peer.membership.alive()),
        "running": [list(attempt.unit) for attempt in peer.team.running.values()],
        "jobs": {
            job_id: {"finished": state.is_finished, "outcome": state.outcome}
            for job_id, state in peer.ledger.jobs.items()
        },
        "tags": tags_of(peer.membership.own),
        "membership": _membership_view(peer),
        "trouble": trouble_view(peer.membership, _names_of_all(peer)),
        "store": _store_view(peer),
        "blobs": {"refused": dict(peer.blobs.refused)},
    }


def _names_of_all(peer: Peer) -> dict[NodeId, str]:
    return names_apart(peer, [peer.node, *peer.membership.members()])


def _membership_view(peer: Peer) -> dict[str, Any]:
    """How well this node is, whom of those that are there it does not reach, and how often others
    brought what it did not take, by reason."""
    membership = peer.membership
    return {
        "health": membership.health.score,
        "health_max": membership.config.health_max,
        "seeds": list(membership.seeds),
        "silent_seeds": membership.silent_seeds(),
        "unreached": [name_of(peer, node) for node in membership.reach.troubled()],
        "refused": dict(membership.refused),
    }


def _store_view(peer: Peer) -> dict[str, Any]:
    """What nodes share by gossip: `lag_ms` is how old each author's latest batch was when it came,
    by the clocks of both; `limit` is how many entries a second this node may write while the team
    is overloaded; `refused` counts what was not taken, by reason."""
    vector, gossip = peer.store.vector(), peer.gossip
    names = names_apart(peer, gossip.lag)
    lag = {names[node]: round(ns / MILLISECOND, 1) for node, ns in gossip.lag.items()}
    return {
        "entries": sum(vector.values()),
        "authors": len(vector),
        "lag_ms": lag,
        "limit": gossip.pace.limit,
        "waiting": gossip.pace.waiting,
        "refused": dict(gossip.refused),
        "is_late": gossip.returning.is_late,
    }


def _agreement_view(peer: Peer, now: Nanoseconds) -> dict[str, Any]:
    """The log and its voters as this node sees them; at the leader also how far the others are."""
    raft, status = peer.raft, peer.status()
    waits_since = raft.writes.waiting_since()
    progress = raft.leadership.progress if raft.leadership else {}
    return {
        "role": status.role,
        "term": status.term,
        "epoch": raft.configuration.epoch,
        "leader": status.leader,
        "leader_name": name_of(peer, status.leader),
        "why_no_leader": why_no_leader(peer, now),
        "voters": list(status.voters),
        "changing_from": list(status.outgoing),
        "learners": list(status.learners),
        "names": {node: name_of(peer, node) for node in raft.configuration.everybody},
        "lost": [
            node
            for node in raft.configuration.everybody
            if peer.membership.state_of(node) in (State.FAILED, State.LEFT)
        ],
        "is_majority_lost": is_majority_lost(peer),
        "commit": status.commit,
        "applied": peer.consensus.replicated.applied,
        "first_index": status.first_index,
        "snapshot_index": raft.log.snapshot_index,
        "last_index": status.last_index,
        "progress": [
            {
                "node": node,
                "name": name_of(peer, node),
                "pace": each.pace.value,
                "match": each.match_index,
                "lacks": raft.log.last_index - each.match_index,
                "inflight": each.inflight,
                "silent_s": round((now - each.heard_at) / SECOND, 3),
            }
            for node, each in progress.items()
        ],
        "transferring_to": raft.leadership.transferee if raft.leadership else "",
        "impaired": status.impaired,
        "disk_waits_s": round((now - waits_since) / SECOND, 3) if waits_since is not None else 0.0,
        "relayed": peer.relaying.relayed,
        "registers": {
            "keys": len(peer.registers),
            "revision": peer.registers.revision,
            "sessions": len(peer.registers.sessions),
        },
    }


def members_view(peer: Peer) -> list[dict[str, Any]]:
    """Every node ever known, this one first."""
    own = peer.membership.own
    rows = [
        {
            "node": peer.node,
            "name": own.name,
            "state": "left" if own.left else "alive",
            "endpoints": list(own.endpoints),
            **_said(own),
        }
    ]
    for node, member in peer.membership.members().items():
        record = member.record
        rows.append(
            {
                "node": node,
                "name": record.name,
                "state": member.state.value,
                "evidence": member.evidence.value if member.evidence else "",
                "degraded": member.degraded,
                "endpoints": list(record.endpoints),
                **_said(record),
            }
        )
    return rows


def _said(record: MemberRecord) -> dict[str, Any]:
    """What a node says of itself. `protocol`: the oldest and the newest version that it speaks;
    `features`: what it does beyond that if the other end does; `preset`: the times it keeps."""
    metadata = dict(record.metadata)
    return {
        "door": metadata.get("door", ""),
        "protocol": metadata.get("protocol", ""),
        "features": features.names(features.read(metadata.get("features", ""))),
        "preset": metadata.get("preset", ""),
        "tags": tags_of(record),
        "epoch": record.epoch,
        "incarnation": record.incarnation,
    }


def job_row(job: JobState) -> dict[str, Any]:
    """How far a job is."""
    return {
        "id": job.job.id,
        "name": job.job.name,
        "claims": job.job.claims.value,
        "tasks": len(job.tasks),
        "files": sum(len(task.writes) for task in job.job.tasks),
        "accepted": sum(task.accepted is not None for task in job.tasks.values()),
        "finished": job.is_finished,
        "succeeded": job.succeeded,
        "outcome": job.outcome,
    }


def job_view(peer: Peer, job: JobState, now: Nanoseconds) -> dict[str, Any]:
    """A job with all its tasks."""
    usage = job.usage()
    spent = spent_on(job, peer.team.notes)
    return {
        "id": job.job.id,
        "name": job.job.name,
        "claims": job.job.claims.value,
        "index": job.index,
        "finished": job.is_finished,
        "succeeded": job.succeeded,
        "outcome": job.outcome,
        "finished_index": job.finished.index,
        "committed": _place_view(peer, job.finished),
        "budget": budget_view(peer, job),
        "usage": usage_view(usage),
        "spent": usage_view(spent),  # also by what was stopped, failed, or came late
        "costs": cost_rows(peer, job),
        "siblings": siblings_view(peer, job),
        "merges": merges_view(peer, job),
        "resumed": _resumed_view(peer, job),
        "tasks": [task_view(peer, job, job.tasks[task.id], now) for task in job.job.tasks],
    }


def _resumed_view(peer: Peer, job: JobState) -> dict[str, Any] | None:
    """Of a job that goes on with another: the tasks whose results were taken over, and for each of
    the others why it is done anew; nothing of these if the other job is forgotten."""
    if not job.job.resumes:
        return None
    earlier = peer.ledger.jobs.get(job.job.resumes)
    reasons = why_anew(job, earlier) if earlier is not None else {}
    accepted = {name: job.tasks[name].accepted for name in job.order}
    kept = [name for name, answer in accepted.items() if answer and answer.index < job.index]
    return {
        "job": job.job.resumes,
        "kept": kept,
        "anew": {name: why for name, why in reasons.items() if name not in kept},
    }


def _place_view(peer: Peer, place: Place) -> dict[str, Any]:
    """Which log entry decided something, and who led its term: index 0 if none has yet."""
    leader = name_of(peer, place.leader) if place.leader else ""
    return {"index": place.index, "term": place.term, "leader": leader}


def task_view(peer: Peer, job: JobState, state: TaskState, now: Nanoseconds) -> dict[str, Any]:
    """A task as the log has it, and who works on it as far as is known here."""
    units = [(job.job.id, state.task.id, number) for number in range(len(state.slots))]
    racers = [node for unit in units for node in peer.team.racers_of(peer.view(), unit, now)]
    holders = [peer.team.holder_of(unit) for unit in units] if state.is_open else []
    if state.accepted:
        status = "accepted"
    elif state.abandoned:
        status = "abandoned"
    elif not job.is_ready(state):
        status = "waiting"
    else:
        status = "working" if any(holders) else "ready"
    return {
        "id": state.task.id,
        "title": state.task.title,
        "needs": list(state.task.needs),
        "writes": list(state.task.writes),
        "status": status,
        "abandoned": state.abandoned,
        "holders": [name_of(peer, holder) for holder in holders if holder],
        "racers": [name_of(peer, node) for node in racers],
        "accepted": _answer_view(peer, state.accepted) if state.accepted else None,
        "committed": _place_view(peer, state.committed),
        "agreed": [name_of(peer, answer.node) for answer in state.agreeing()],
        "dissent": [_answer_view(peer, answer) for answer in state.dissenting()],
        "judge": name_of(peer, state.judge) if state.judge else "",
        "asked": len(state.slots),
        "answers": _answers_view(peer, state),
        "unreviewed": [
            _answer_view(peer, answer) for slot in state.slots for answer in slot.candidates
        ],
        "late": [
            {**_compared_view(peer, answer), "spare": state.is_spare(answer)}
            for answer in state.late
        ],
        "failures": [
            {"node": name_of(peer, note.node), "reason": note.reason, "detail": note.detail}
            for note in peer.team.notes_of(job.job.id, state.task.id)
        ],
    }


def _answers_view(peer: Peer, state: TaskState) -> list[dict[str, Any]]:
    """The answers to a task that several nodes answer, slot by slot, and what each comes to. Those
    of one `group` agree; a judge that has not spoken yet has grouped none."""
    answers = [slot.answer for slot in state.slots if slot.answer]
    if len(state.slots) == 1:
        return []
    alike = [state.likeness(answer) for answer in answers]
    is_judged = state.task.quorum.compare is not Compare.JUDGE or bool(state.groups)
    return [
        {
            **_compared_view(peer, answer),
            "group": alike.index(likeness) if is_judged else None,
        }
        for answer, likeness in zip(answers, alike, strict=True)
    ]


def _compared_view(peer: Peer, answer: Answer) -> dict[str, Any]:
    conclusion = conclusion_of(answer.text)[:TEXT_LENGTH_MAX]
    return {**_answer_view(peer, answer), "slot": answer.slot, "conclusion": conclusion}


def _answer_view(peer: Peer, answer: Answer) -> dict[str, Any]:
    return {
        "node": answer.node,
        "name": name_of(peer, answer.node),
        "slot": answer.slot,
        "token": answer.token,
        "digest": answer.digest,
        "index": answer.index,
        "term": answer.term,
        "text": answer.text[:TEXT_LENGTH_MAX],
        "length": len(answer.text),
        "files": manifest(answer.files),
        "tokens_in": answer.took.tokens_in,
        "tokens_out": answer.took.tokens_out,
        "simulated": answer.took.simulated,
        "reviewer": name_of(peer, answer.reviewer) if answer.reviewer else "",
        "fault": answer.fault,
    }


def bounds_view(job: JobState, agents: int) -> dict[str, Any]:
    """The graph's longest chain and the two bounds on speed-up."""
    needs = job.job.needs
    return {
        "tasks": len(needs),
        "critical_path": graph.critical_path(needs),
        "amdahl": graph.amdahl_bound(needs, agents),
        "work_span": graph.work_span_bound(needs, agents),
    }


__all__ = ["bounds_view", "job_view", "members_view", "status_view", "task_view"]
