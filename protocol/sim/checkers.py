"""What must hold, checked while a run goes on, over facts and the machines' state.

Raft's five (Figure 3 of the paper): election safety, leader append-only, log matching, leader
completeness, state machine safety. Beside them: one vote per node and term, across crashes; a
task is accepted once, identically everywhere, and never from a holder that was fenced before;
stores with equal digests show equal values; what a node promises and what is committed lies on
the disks that it must lie on.
"""

from __future__ import annotations

from protocol.clocks import Nanoseconds
from protocol.configuration import Configuration
from protocol.facts import (
    EntryCommitted,
    Fact,
    JobFinished,
    LogTruncated,
    RoleChanged,
    TaskAccepted,
    TaskFenced,
    VoteGranted,
)
from protocol.identity import NodeId
from protocol.jobs import Job
from protocol.messages import Agreement, AppendReply, Message, VoteReply
from protocol.sim.world import Host


class InvariantBroken(Exception):
    """A property that must always hold does not: the checker's name and what it saw."""

    def __init__(self, checker: str, detail: str) -> None:
        super().__init__(f"{checker}: {detail}")
        self.checker = checker


class Checkers:
    """All of them; `see` is called for every fact, `check_logs` now and then."""

    def __init__(self) -> None:
        self._leaders: dict[int, NodeId] = {}
        self._votes: dict[tuple[NodeId, int], NodeId] = {}
        self._committed: dict[int, tuple[int, str]] = {}
        self._leading: dict[NodeId, int] = {}
        self._accepted: dict[tuple[str, str], TaskAccepted] = {}
        self._fences: dict[tuple[str, str], list[TaskFenced]] = {}
        self._outcomes: dict[str, JobFinished] = {}

    def see(self, at: Nanoseconds, host: Host, fact: Fact) -> None:
        """Take note of a fact at a node; InvariantBroken if it contradicts another."""
        node = host.identity.node
        match fact:
            case RoleChanged():
                self._see_role(host, node, fact)
            case VoteGranted():
                earlier = self._votes.setdefault((node, fact.term), fact.candidate)
                if earlier != fact.candidate:
                    raise InvariantBroken(
                        "one_vote_per_term",
                        f"{node} voted for {earlier} and {fact.candidate} in term {fact.term}",
                    )
            case LogTruncated():
                if self._leading.get(node) and host.peer and host.peer.raft.role.value == "leader":
                    raise InvariantBroken("leader_append_only", f"{node} truncated {fact.index}")
            case EntryCommitted():
                entry = (fact.term, fact.checksum)
                if fact.index not in self._committed:
                    self._see_commit(host, fact)
                known = self._committed.setdefault(fact.index, entry)
                if known != entry:
                    raise InvariantBroken(
                        "state_machine_safety", f"index {fact.index}: {known} and {entry}"
                    )
            case TaskAccepted():
                accepted = self._accepted.setdefault((fact.job, fact.task), fact)
                if accepted != fact:
                    raise InvariantBroken("single_acceptance", f"{accepted} and {fact}")
                self._see_acceptance(host, fact)
            case TaskFenced():
                self._fences.setdefault((fact.job, fact.task), []).append(fact)
            case JobFinished():
                finished = self._outcomes.setdefault(fact.job, fact)
                if finished != fact:
                    raise InvariantBroken("one_outcome", f"{finished} and {fact}")
            case _:
                pass

    def see_sent(self, host: Host, message: Message) -> None:
        """Durable before promised: a vote or an acknowledgement that leaves is on the disk."""
        match promise := message.message if isinstance(message, Agreement) else message:
            case VoteReply(granted=True, pre=False):
                kept = host.disk.hard_state
                if (kept.term, bool(kept.vote)) < (promise.asked, True):
                    raise InvariantBroken("durable_vote", f"n{host.number} keeps {kept}: {promise}")
            case AppendReply(success=True):
                if host.disk.last_index < promise.index:
                    kept_to = host.disk.last_index
                    raise InvariantBroken(
                        "durable_append", f"n{host.number} keeps 1 to {kept_to}: {promise}"
                    )
            case _:
                pass

    def _see_commit(self, host: Host, fact: EntryCommitted) -> None:
        """The first to commit an entry may do so when a majority's disks have it. Its step may
        have begun a change of the voters since, hence one of the two majorities is enough."""
        assert host.peer is not None
        keeping = [
            other.identity.node
            for other in host.world.hosts
            if other.disk.term_at(fact.index) == fact.term
            or (other.disk.snapshot and other.disk.snapshot.index >= fact.index)
        ]
        configuration = host.peer.raft.log.configuration
        majorities = [
            Configuration(voters).has_quorum(keeping)
            for voters in (configuration.voters, configuration.outgoing)
        ]
        if not any(majorities):
            raise InvariantBroken("durable_commit", f"{fact} is kept by {keeping} only")

    def _see_role(self, host: Host, node: NodeId, fact: RoleChanged) -> None:
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
        for index, (term, _) in self._committed.items():
            log = host.peer.raft.log
            if index >= log.first_index and term < fact.term and log.term_at(index) != term:
                raise InvariantBroken(
                    "leader_completeness",
                    f"{node} leads term {fact.term} without the entry {index} of term {term}",
                )

    def _see_acceptance(self, host: Host, fact: TaskAccepted) -> None:
        """A fence that lies earlier in the log holds. Of a task with several slots the fact does
        not say which one it accepted, hence only the others are looked at."""
        assert host.peer is not None
        slots = host.peer.ledger.jobs[fact.job].tasks[fact.task].slots
        for fence in self._fences.get((fact.job, fact.task), ()) if len(slots) == 1 else ():
            if fence.index < fact.index and fact.token < fence.token:
                raise InvariantBroken("fencing", f"{fence} and yet {fact}")

    def check_answer(self, hosts: list[Host], job: Job, answer: str | None) -> None:
        """What a client was told of its submission is so: success means that this very job is in
        the ledgers, a refusal that it is not."""
        for host in hosts:
            state = host.peer.ledger.jobs.get(job.id) if host.peer else None
            is_there = state is not None and state.job == job
            if answer == "" and state is not None and not is_there:
                raise InvariantBroken("acknowledged_job", f"n{host.number} has another {job.id}")
            if answer and is_there:
                raise InvariantBroken("refused_job", f"n{host.number} has {job.id}: {answer}")

    def check_stores(self, hosts: list[Host]) -> None:
        """Strong eventual consistency (Shapiro et al. 2011): who has received the same entries is
        in the same state, in whatever order they came."""
        seen: dict[bytes, Host] = {}
        for host in hosts:
            if host.peer is None:
                continue
            store = host.peer.store
            other = seen.setdefault(store.fingerprint(), host)
            assert other.peer is not None
            for key in store.scan():
                if store.read(key) != other.peer.store.read(key):
                    raise InvariantBroken(
                        "equal_values", f"n{host.number} and n{other.number} differ on {key}"
                    )

    def check_logs(self, hosts: list[Host]) -> None:
        """Log matching: equal index and term at two nodes means equal logs up to there."""
        logs = [host.peer.raft.log for host in hosts if host.peer]
        for at, one in enumerate(logs):
            for other in logs[at + 1 :]:
                index = min(one.last_index, other.last_index)
                first = max(one.first_index, other.first_index)
                while index >= first and one.term_at(index) != other.term_at(index):
                    index -= 1
                for below in range(first, index + 1):
                    if one.entry(below) != other.entry(below):
                        raise InvariantBroken(
                            "log_matching", f"equal at {index} but different at {below}"
                        )
