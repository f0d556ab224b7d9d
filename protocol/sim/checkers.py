"""What must hold, checked while a run goes on, over facts and the machines' state.

All checkers together; each has a name, and `InvariantBroken` says which one it was:

    agreement_checks   Raft's five, votes and acknowledgements durable, configurations overlap
    job_checks         single acceptance, fences, outcomes, honest quorums, clients' answers, budget
    register_checks    histories are linearizable, writes happen once, what failed is not seen
    store_checks       gap-free authors, causal order, equal digests show equal values
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from protocol.clocks import Nanoseconds
from protocol.effects import Reply
from protocol.facts import Fact
from protocol.jobs import Job
from protocol.messages import Message
from protocol.sim.agreement_checks import AgreementChecks
from protocol.sim.host import Host
from protocol.sim.job_checks import JobChecks
from protocol.sim.register_checks import RegisterChecks
from protocol.sim.store_checks import StoreChecks
from protocol.sim.watch import InvariantBroken, Watcher
from protocol.sim.workload import Client

__all__ = ["Checkers", "InvariantBroken"]


class Checkers(Watcher):
    """Look on at one run; raise InvariantBroken as soon as something contradicts."""

    def __init__(self) -> None:
        self.agreement = AgreementChecks()
        self.jobs = JobChecks()
        self.store = StoreChecks()
        self.registers = RegisterChecks()
        self._by_fact: dict[type[Fact], list[Callable[[Host, Any], None]]] = {}
        for part in (self.agreement, self.jobs, self.store):
            for kind, check in part.by_fact().items():
                self._by_fact.setdefault(kind, []).append(check)
        self._see_sent = self.agreement.see_sent

    def see(self, at: Nanoseconds, host: Host, fact: Fact) -> None:
        for check in self._by_fact.get(type(fact), ()):
            check(host, fact)

    def see_sent(
        self, at: Nanoseconds, number: int, sender: Host, receiver: Host, message: Message
    ) -> None:
        self._see_sent(sender, message)

    def see_reply(self, at: Nanoseconds, host: Host, reply: Reply) -> None:
        self.agreement.see_reply(host, reply)

    def see_started(self, at: Nanoseconds, host: Host) -> None:
        self.agreement.see_started(host)
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
        for client in clients:
            self.jobs.check_kept(hosts, client.job, client.answer)
