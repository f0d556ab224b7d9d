"""Checkers of the agreement. Raft's five (Figure 3 of the paper): election safety, leader
append-only, log matching, leader completeness, state machine safety. Beside them: one vote per
node and term, across crashes; what a node promises and what is committed or acknowledged lies on
the disks that it must lie on; consecutive configurations share a quorum.

A log may have been compacted: nothing here looks below its first index.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from itertools import combinations, pairwise
from typing import Any

from protocol import codec
from protocol.configuration import Configuration
from protocol.effects import Reply
from protocol.facts import Fact
from protocol.facts.agreement import (
    EntryCommitted,
    LogTruncated,
    RoleChanged,
    VoteGranted,
    VotersChanged,
)
from protocol.identity import NodeId
from protocol.messages.agreement import Append, AppendReply, EntryKind, OfLog, VoteReply
from protocol.raft.log import RaftLog
from protocol.sim.host import Host
from protocol.sim.watch import InvariantBroken


class AgreementChecks:
    """See the module's text."""

    def __init__(self) -> None:
        self._leaders: dict[int, NodeId] = {}
        self._votes: dict[tuple[NodeId, int], NodeId] = {}
        self._committed: dict[int, tuple[int, str]] = {}
        self._committed_in: dict[int, int] = {}  # the term in which that was seen first
        self._leading: dict[NodeId, int] = {}

    def by_fact(self) -> dict[type[Fact], Callable[[Host, Any], None]]:
        """Who wants to see which facts."""
        return {
            RoleChanged: self._see_role,
            VoteGranted: self._see_vote,
            LogTruncated: self._see_truncation,
            EntryCommitted: self._see_commit,
            VotersChanged: self._see_voters,
        }

    @property
    def last_committed(self) -> int:
        """The highest index that anybody has seen committed."""
        return max(self._committed, default=0)

    def begin_epoch(self, log: RaftLog) -> None:
        """An operator has rescued this log: of what was committed, that counts which it has."""
        self._leaders.clear()
        self._votes.clear()
        self._committed = {
            index: entry
            for index, entry in self._committed.items()
            if index < log.first_index or log.term_at(index) == entry[0]
        }

    # -- facts -------------------------------------------------------------------------------------

    def _see_vote(self, host: Host, fact: VoteGranted) -> None:
        node = host.identity.node
        earlier = self._votes.setdefault((node, fact.term), fact.candidate)
        if earlier != fact.candidate:
            raise InvariantBroken(
                "one_vote_per_term",
                f"{node} voted for {earlier} and {fact.candidate} in term {fact.term}",
            )

    def _see_role(self, host: Host, fact: RoleChanged) -> None:
        node = host.identity.node
        self._leading.pop(node, None)
        if fact.role != "leader":
            return
        self._leading[node] = fact.term
        leader = self._leaders.setdefault(fact.term, node)
        if leader != node:
            raise InvariantBroken(
                "election_safety", f"{leader} and {node} both lead term {fact.term}"
            )
        assert host.peer is not None
        log = host.peer.raft.log
        for index, (term, _) in self._committed.items():
            # Who won an earlier term than that in which it was committed may do so late.
            is_bound = self._committed_in[index] < fact.term
            if is_bound and index >= log.first_index and log.term_at(index) != term:
                raise InvariantBroken(
                    "leader_completeness",
                    f"{node} leads term {fact.term} without the entry {index} of term {term}",
                )

    def _see_truncation(self, host: Host, fact: LogTruncated) -> None:
        node = host.identity.node
        if self._leading.get(node) and host.peer and host.peer.raft.role.value == "leader":
            raise InvariantBroken("leader_append_only", f"{node} truncated {fact.index}")

    def _see_commit(self, host: Host, fact: EntryCommitted) -> None:
        entry = (fact.term, fact.checksum)
        if fact.index not in self._committed:
            assert host.peer is not None
            self._committed_in[fact.index] = max(fact.term, host.peer.raft.term)
            self._check_durable("durable_commit", host, fact.index, fact.term)
        known = self._committed.setdefault(fact.index, entry)
        if known != entry:
            raise InvariantBroken(
                "state_machine_safety", f"index {fact.index}: {known} and {entry}"
            )

    def _check_durable(self, checker: str, host: Host, index: int, term: int | None) -> None:
        """A majority's disks have the entry. Who says so may have changed the voters in the same
        step, or have it from a leader that did: a majority by any configuration since the entry,
        here or at a leader, is enough."""
        keeping = [
            other.identity.node for other in host.world.hosts if other.disk.keeps(index, term)
        ]
        deciding = [
            other.peer.raft.log.configuration_at(at)[1]
            for other in host.world.hosts
            if other.peer and (other is host or other.peer.raft.leadership)
            for at in range(index, max(index, other.peer.raft.log.last_index) + 1)
        ]
        if not any(has_a_majority(found, keeping) for found in deciding):
            raise InvariantBroken(
                checker,
                f"n{host.number}: entry {index} of term {term} is kept by {keeping} only, "
                f"and so decides {deciding[-1]}",
            )

    def _see_voters(self, host: Host, fact: VotersChanged) -> None:
        """Any two configurations that are in force one after the other share a quorum, unless an
        operator began a new epoch in between. They are read from the log: who receives several at
        once reports the last."""
        assert host.peer is not None
        log = host.peer.raft.log
        entries = [log.entry(index) for index in range(log.first_index, log.last_index + 1)]
        found = [
            (entry.index, codec.unpack_value(Configuration, entry.data))
            for entry in entries
            if entry.kind is EntryKind.VOTERS
        ]
        for (_, one), (index, other) in pairwise(found):
            if one.epoch == other.epoch and not overlap(one, other):
                raise InvariantBroken(
                    "configurations_overlap", f"{one} and then {other} at {index} share no quorum"
                )

    def see_started(self, host: Host) -> None:
        """Whatever it was in its earlier life, it is no leader now."""
        self._leading.pop(host.identity.node, None)
        if host.disk.impaired:  # it has forgotten its votes, and is known not to vote
            for vote in [vote for vote in self._votes if vote[0] == host.identity.node]:
                del self._votes[vote]

    # -- promises ----------------------------------------------------------------------------------

    def see_sent(self, host: Host, promise: OfLog) -> None:
        """Durable before promised: a vote or an acknowledgement that leaves is on the disk, and so
        is the term of whoever leads, with its vote for itself. A disk that is in a later term
        already may hold what that term's leader put in the place of what is acknowledged."""
        if type(promise) is AppendReply:
            is_of_now = host.disk.hard_state.term <= promise.asked
            if promise.success and is_of_now and host.disk.last_index < promise.index:
                raise InvariantBroken(
                    "durable_append",
                    f"n{host.number} keeps all up to {host.disk.last_index}: {promise}",
                )
        elif type(promise) is VoteReply and promise.granted and not promise.pre:
            kept = host.disk.hard_state
            if (kept.term, bool(kept.vote)) < (promise.asked, True):
                raise InvariantBroken("durable_vote", f"n{host.number} keeps {kept}: {promise}")
        elif type(promise) is Append and host.disk.hard_state.term < promise.term:
            raise InvariantBroken(
                "durable_term", f"n{host.number} keeps {host.disk.hard_state}: {promise}"
            )

    def see_reply(self, host: Host, reply: Reply) -> None:
        """A client hears of success only when a majority's disks have what it asked for."""
        state = host.peer.ledger.jobs.get(reply.detail) if host.peer else None
        if not reply.error and state is not None:
            self._check_durable("durable_acknowledgement", host, state.index, None)

    # -- logs --------------------------------------------------------------------------------------

    def check_logs(self, hosts: Sequence[Host]) -> None:
        """Log matching: equal index and term at two nodes means equal logs up to there."""
        for one, other in combinations([host.peer.raft.log for host in hosts if host.peer], 2):
            least = max(one.first_index, other.first_index)
            index = min(one.last_index, other.last_index)
            while index >= least and one.term_at(index) != other.term_at(index):
                index -= 1
            for below in range(least, index + 1):
                if one.entry(below) != other.entry(below):
                    raise InvariantBroken(
                        "log_matching", f"equal at {index} but different at {below}"
                    )

    def check_kept(self, hosts: Sequence[Host]) -> None:
        """Whatever anybody has seen committed is in everybody's log, or in a snapshot of it."""
        for host in hosts:
            assert host.peer is not None
            log = host.peer.raft.log
            for index, (term, _) in self._committed.items():
                if index >= log.first_index and log.term_at(index) != term:
                    raise InvariantBroken(
                        "committed_kept", f"n{host.number} lacks the entry {index} of term {term}"
                    )


def has_a_majority(configuration: Configuration, nodes: Collection[NodeId]) -> bool:
    """Whether `nodes` are a majority of the voters or, in a change, of those before: it may have
    begun or ended since they were counted."""
    return any(
        Configuration(voters).has_quorum(nodes)
        for voters in (configuration.voters, configuration.outgoing)
        if voters
    )


def overlap(one: Configuration, other: Configuration) -> bool:
    """Whether any quorum of one configuration meets any quorum of the other. That is so if some
    majority, which every quorum of the one contains, meets one that every quorum of the other
    contains."""
    return any(
        _majorities_meet(set(these), set(those))
        for these in (one.voters, one.outgoing)
        for those in (other.voters, other.outgoing)
        if these and those
    )


def _majorities_meet(one: set[NodeId], other: set[NodeId]) -> bool:
    """Two majorities can avoid each other only if each finds enough nodes beside the shared ones,
    or splits those with the other."""
    shared = len(one & other)
    needed = sum(max(0, len(s) // 2 + 1 - (len(s) - shared)) for s in (one, other))
    return needed > shared
