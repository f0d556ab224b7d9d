"""Who died while it worked on a task: a task that kills its nodes is given up before it has killed
the team. Such a node leaves no FAIL note, so the others note its death.

    DIED        its process has ended, as the others found out; most likely it will not be back soon
    LOST        it went silent: it may be cut off, hence it counts only while it is away, and once.
                One cut takes several nodes: those lost at different answers, or beside each other
                at one, are one death; what kills each node that takes it over makes more
    RESTARTED   it came back, and its store has the claim of its earlier life

A death may be innocent, so it takes DEATHS_MAX of them (as Dask's `allowed-failures`), or as many
nodes whose process has ended as the task has attempts. Who takes a task over notes what it knows in
the step in which it claims it, and whoever leads notes all, so that a successor knows how many
there were before it. Where one more would cost the majority, two that are not back are enough.
"""

from __future__ import annotations

from collections.abc import Mapping

from protocol.claims import ClaimBook, FailNote, Held, Phase
from protocol.facts.membership import Evidence, MemberFailed
from protocol.identity import NodeId
from protocol.jobs import ClaimMode
from protocol.ledger import JobState, Ledger, Slot, TaskState, Unit
from protocol.team.notes import DIED, LOST, RESTARTED, Death, Notes, more_certain
from protocol.team.view import View
from protocol.turn import Turn

DEATHS_MAX = 3


class Deaths:
    """Those that one node knows of, by task. Its entries up to `earlier` are of another life."""

    def __init__(
        self, node: NodeId, ledger: Ledger, book: ClaimBook, notes: Notes, earlier: int
    ) -> None:
        self.node = node
        self._earlier = earlier
        self._ledger = ledger
        self._book = book
        self._notes = notes
        self._gone: dict[NodeId, str] = {}  # who has failed and is not back, and how
        self._seen: dict[tuple[str, str], dict[Death, str]] = {}
        self._wary: set[str] = set()  # jobs during which somebody failed

    def forget(self, job: str) -> None:
        """Drop what is known of a finished job."""
        for task in [task for task in self._seen if task[0] == job]:
            del self._seen[task]
        self._wary.discard(job)

    # -- what is heard -------------------------------------------------------------------------

    def failed(self, fact: MemberFailed) -> None:
        """A member has failed: with it die the attempts that it was at, unless it was stopped in
        good order. Then it had let go of them."""
        if fact.evidence == Evidence.STOPPED:
            return
        how = DIED if fact.evidence == Evidence.REFUSED else LOST
        self._gone[fact.node] = how
        for job in self._ledger.active():
            self._wary.add(job.job.id)
            for task, slot, unit in job.ready_units():
                self._mark(job, task, slot, unit, fact.node, how)

    def is_back(self, node: NodeId) -> None:
        """A member is there again, or has left in good order."""
        self._gone.pop(node, None)

    def claimed(self, unit: Unit, held: Held) -> None:
        """A claim was heard of; of the living nothing follows, and who has let go did not die over
        it."""
        node = held.claim.node
        if held.claim.phase is Phase.RELEASED:
            self._seen.get(unit[:2], {}).pop(Death(unit[2], node, held.claim.token), None)
        how = self._gone.get(node, "")
        if node == self.node and held.sequence <= self._earlier:
            how = RESTARTED
        found = self._ledger.slot(*unit) if how else None
        if found is not None:
            self._mark(*found, unit, node, how)

    def _mark(
        self, job: JobState, task: TaskState, slot: Slot, unit: Unit, node: NodeId, how: str
    ) -> None:
        token = self._token_at_work(job, task, slot, unit, node)
        if token:
            seen = self._seen.setdefault(unit[:2], {})
            death = Death(unit[2], node, token)
            seen[death] = more_certain(how, seen.get(death, how))

    def _token_at_work(
        self, job: JobState, task: TaskState, slot: Slot, unit: Unit, node: NodeId
    ) -> int:
        """Under which token the node works on the unit, as holder or racer; 0 if it does not."""
        if not task.is_open or slot.answer or task.task.asks_person:
            return 0  # nobody dies of asking a person, and that may take days
        held = self._book.get(unit)
        race = self._book.races(unit).get(node)
        by_lease = job.job.claims is ClaimMode.LEASE
        for said in (held, race):
            if said is None or said.claim.node != node or said.claim.phase is not Phase.WORKING:
                continue
            token = said.claim.token
            counts = token >= slot.fence if by_lease else slot.has(node, token)
            if counts and not slot.proposes(node, token):
                return token
        return slot.token if self._was_just_given(job, slot, held, node) else 0

    def _was_just_given(self, job: JobState, slot: Slot, held: Held | None, node: NodeId) -> bool:
        """Whether the log gave it to a node that begins at once, and had no time to say so."""
        if job.job.claims not in (ClaimMode.RAFT, ClaimMode.LEADER) or slot.holder != node:
            return False
        return held is None or held.claim.token < slot.token

    # -- what follows --------------------------------------------------------------------------

    def is_wary(self, job: str) -> bool:
        """Whether to tell of each claim at once: a node that dies over one cannot any more."""
        return job in self._wary

    def are_enough(self, view: View, job: JobState, task: TaskState) -> bool:
        """Whether so many died that the task is given up."""
        deaths = self._of(job, task)
        if not deaths:
            return False
        attempts = task.task.attempts_max * len(task.slots)
        died = sum(how == DIED for how in deaths.values())
        away = {death.node for death in deaths} & self._gone.keys()
        risks_majority = view.spares <= 0 and len(away) >= DEATHS_MAX - 1
        return risks_majority or len(deaths) >= DEATHS_MAX or died >= min(attempts, DEATHS_MAX)

    def account_of(self, job: JobState, task: TaskState) -> str:
        """How many died, for people."""
        deaths = self._of(job, task)
        if len(deaths) == 1:
            return "a node died while it worked on it"
        if len({death.node for death in deaths}) < len(deaths):
            return f"{len(deaths)} times a node died while it worked on it"
        return f"{len(deaths)} nodes died while they worked on it"

    def _of(self, job: JobState, task: TaskState) -> Mapping[Death, str]:
        """How each died that counts."""
        name = (job.job.id, task.task.id)
        seen, noted = self._seen.get(name, {}), self._notes.deaths(*name)
        if not seen and not noted:
            return {}  # so it is of nearly all tasks, and each decision asks of many
        deaths = dict(noted)
        for death, how in seen.items():
            deaths[death] = more_certain(how, deaths.get(death, how))
        return {death: how for death, how in deaths.items() if how != LOST} | self._lost(deaths)

    def _lost(self, deaths: Mapping[Death, str]) -> dict[Death, str]:
        """Those who went silent one after the other, each under a token of its own, at the slot at
        which most did."""
        last = {death.node: death for death, how in deaths.items() if how == LOST}
        by_slot: dict[int, dict[int, Death]] = {}
        for node, death in sorted(last.items()):
            if node in self._gone:
                by_slot.setdefault(death.slot, {}).setdefault(death.token, death)
        most = max(by_slot.values(), key=len, default={})
        return dict.fromkeys(most.values(), LOST)

    def tell(self, turn: Turn, view: View) -> None:
        """Note what nobody else would: the own earlier deaths; and who leads, all that it saw, as
        does who leaves the task alone because of them, for the leader may know of fewer."""
        for task, seen in self._seen.items():
            is_own = any(death.node == self.node for death in seen)
            if view.leader == self.node or is_own or self._is_left(view, task):
                self.tell_of(turn, task)

    def _is_left(self, view: View, name: tuple[str, str]) -> bool:
        job = self._ledger.jobs.get(name[0])
        return job is not None and self.are_enough(view, job, job.tasks[name[1]])

    def tell_of(self, turn: Turn, task: tuple[str, str]) -> None:
        """Note who died at a task, as far as that is not noted."""
        noted = self._notes.deaths(*task)
        for death, how in self._seen.get(task, {}).items():
            said = noted.get(death)
            if said is None or said != more_certain(how, said):
                note = FailNote(self.node, death.slot, death.token, how, death.node)
                self._notes.write(turn, *task, note)
