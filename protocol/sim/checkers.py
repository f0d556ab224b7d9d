"""What must hold, checked while a run goes on, over facts and the machines' state.

All checkers together; each has a name, and `InvariantBroken` says which one it was:

    agreement_checks   Raft's five, votes and acknowledgements durable, configurations overlap
    office_checks      terms are asked for, leases over in time, reads confirmed and high enough
    promise_checks     leaders are protected, promises kept, damaged journals do not vote
    change_checks      voters change when the term is settled and most are in sight
    cost_checks        nothing is sent or answered over and over
    member_checks      accusations and records are whose they are
    job_checks         acceptances, fences, outcomes, honest quorums, clients' answers
    spending_checks    budgets are kept, and each attempt is counted once
    register_checks    histories are linearizable, writes happen once, what failed is not seen
    store_checks       gap-free authors, causal order, equal digests show equal values, what is
                       answered is kept, quotas bound what is held
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from protocol.clocks import Nanoseconds
from protocol.effects import Assignment, Record, Reply
from protocol.facts import Fact
from protocol.facts.agreement import ImpairmentEnded, RoleChanged
from protocol.facts.membership import MemberChanged, MemberJoined, MemberLeft, MemberRefuted
from protocol.facts.work import JobFinished, TaskAccepted
from protocol.jobs import Job, Usage
from protocol.messages import Message
from protocol.messages.agreement import (
    Agreement,
    Append,
    AppendReply,
    OfLog,
    Relay,
    SnapshotPart,
    SnapshotReply,
    VoteReply,
    VoteRequest,
)
from protocol.messages.membership import MemberSync, Probe, ProbeAck, ProbeRequest
from protocol.sim.agreement_checks import AgreementChecks
from protocol.sim.change_checks import ChangeChecks
from protocol.sim.cost_checks import CostChecks
from protocol.sim.host import Host
from protocol.sim.job_checks import JobChecks
from protocol.sim.member_checks import MemberChecks
from protocol.sim.office_checks import OfficeChecks
from protocol.sim.promise_checks import PromiseChecks
from protocol.sim.register_checks import RegisterChecks
from protocol.sim.spending_checks import SpendingChecks
from protocol.sim.store_checks import StoreChecks
from protocol.sim.watch import Fate, InvariantBroken, Watcher
from protocol.sim.workload import Client

__all__ = ["Checkers", "InvariantBroken"]


class Checkers(Watcher):
    """Look on at one run; raise InvariantBroken as soon as something contradicts."""

    def __init__(self) -> None:
        self.agreement = AgreementChecks()
        self.office = OfficeChecks(self.agreement)
        self.promises = PromiseChecks(self.agreement)
        self.jobs = JobChecks()
        self.spending = SpendingChecks()
        self.store = StoreChecks()
        self.registers = RegisterChecks()
        self.changes = ChangeChecks()
        self.costs = CostChecks()
        members = MemberChecks()
        self._of_log: dict[type[Fact], Callable[[Host, Any], None]] = {
            **self.agreement.by_fact(),
            **self.jobs.by_fact(),
            ImpairmentEnded: self.promises.see_readmission,
        }
        self._of_team: dict[type[Fact], Callable[[Host, Any], None]] = {
            **self.store.by_fact(),
            MemberJoined: members.see_news,
            MemberRefuted: members.see_news,
            MemberChanged: members.see_news,
            MemberLeft: members.see_news,
        }
        # Each with the message's number, its sender, and its receiver.
        self._of_said: dict[type, tuple[Callable[[int, Host, Host, Any], None], ...]] = {
            VoteRequest: (self.promises.see_request,),
            VoteReply: (self.promises.see_vote,),
            Append: (self.changes.see_append, self.office.see_append, self.costs.see_append),
            AppendReply: (
                self.promises.see_answer,
                self.office.see_answer,
                self.costs.see_answer,
            ),
            SnapshotPart: (self.costs.see_part,),
            SnapshotReply: (self.promises.see_answer, self.office.see_answer),
            Relay: (self.promises.see_relay,),
            Probe: (members.see_rumors,),
            ProbeAck: (members.see_rumors,),
            ProbeRequest: (members.see_rumors,),
            MemberSync: (members.see_rumors,),
        }
        self._epoch = 0

    def see(self, at: Nanoseconds, host: Host, fact: Fact) -> None:
        kind = type(fact)
        if kind in self._of_log:
            if self._is_in_epoch(host):
                self._of_log[kind](host, fact)
                if isinstance(fact, RoleChanged):
                    self.office.see_role(host, fact)
                elif isinstance(fact, TaskAccepted | JobFinished):
                    self.spending.see_told(host, fact.job)
        elif kind in self._of_team:
            self._of_team[kind](host, fact)

    def _is_in_epoch(self, host: Host) -> bool:
        """Whether what happens at this node's log counts. What an older epoch goes on to decide,
        after an operator has rescued the log elsewhere, binds nobody."""
        assert host.peer is not None
        log = host.peer.raft.log
        epoch = log.configuration.epoch
        if epoch > self._epoch:
            self._epoch = epoch
            self.agreement.begin_epoch(log)
            self.office.begin_epoch()
            self.promises.begin_epoch()
            self.jobs.begin_epoch()
            self.spending.begin_epoch()
        return epoch == self._epoch or not log.last_index

    def see_kept(self, at: Nanoseconds, host: Host, records: Sequence[Record]) -> None:
        self.store.see_kept(host, records)

    def see_sent(
        self, at: Nanoseconds, number: int, sender: Host, receiver: Host, message: Message
    ) -> None:
        if not self._is_in_epoch(sender):
            return
        said: Message | OfLog = message
        if type(message) is Agreement:
            said = message.message
            self.agreement.see_sent(sender, said)
            self.office.see_sent(sender, receiver, said)
        for see in self._of_said.get(type(said), ()):
            see(number, sender, receiver, said)
        self.changes.see_sent(sender)

    def see_arrived(self, at: Nanoseconds, number: int, receiver: Host, fate: Fate) -> None:
        if fate is Fate.DELIVERED:
            self.promises.see_arrived(number, receiver)

    def see_reply(self, at: Nanoseconds, host: Host, reply: Reply) -> None:
        self.agreement.see_reply(host, reply)
        self.store.see_reply(host, reply)

    def see_spent(self, at: Nanoseconds, host: Host, assignment: Assignment, usage: Usage) -> None:
        self.spending.see_spent(host, assignment, usage)

    def see_at_work(self, at: Nanoseconds, host: Host, job: str) -> None:
        self.spending.see_at_work(host, job)

    def see_started(self, at: Nanoseconds, host: Host) -> None:
        self.agreement.see_started(host)
        self.promises.see_started(host)
        self.costs.see_started(host)
        self.store.see_started(host)

    # -- now and then, and at the end ----------------------------------------------------------

    def check_logs(self, hosts: Sequence[Host]) -> None:
        """Log matching."""
        self.agreement.check_logs(hosts)

    def check_stores(self, hosts: Sequence[Host]) -> None:
        """Equal digests, equal values."""
        self.store.check_stores(hosts)

    def check_answer(self, hosts: Sequence[Host], job: Job, answer: str | None) -> None:
        """What a client was told of its submission is so."""
        self.jobs.check_answer(hosts, job, answer)

    def check_kept(self, hosts: Sequence[Host], clients: Sequence[Client]) -> None:
        """After all is healed: whatever was acknowledged is still there, at everybody's."""
        self.agreement.check_kept(hosts)
        self.spending.check_told(hosts)
        for client in clients:
            self.jobs.check_kept(hosts, client.job, client.answer)
