"""Which members vote: the leader keeps a council of 1, 3, 5 or 7 of them, and in good health.

    growth       members are made learners, and voters when they have the log
    replacement  a voter that failed some time ago gives way to a learner that is stable and
                 caught up; with nobody to take its place it stays, and may come back
    leave        a voter that says goodbye is let go at once, and an even rest made odd
    impairment   a voter whose disk lost something is made a learner, and a voter again once it
                 knows that it is none

Invariants: only the leader proposes a change, one at a time and by joint consensus where more than
one voter differs; none while a majority of the team is out of sight, for then it may be this side
that is cut off; none after which fewer voters than a quorum would be in good health.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from protocol.clocks import Nanoseconds
from protocol.config import RaftConfig
from protocol.configuration import Change, ChangeKind, Configuration
from protocol.errors import ChangeRefused
from protocol.facts import Fact
from protocol.facts.agreement import ImpairmentEnded, LeaderElected, VotersChanged
from protocol.facts.membership import (
    MemberChanged,
    MemberFailed,
    MemberJoined,
    MemberLeft,
    MemberRefuted,
)
from protocol.identity import NodeId
from protocol.raft import Raft
from protocol.turn import Turn


@dataclass(frozen=True, slots=True)
class Standing:
    """What the membership knows of another node. `since`: it has been in this state since then.
    `follows`: it follows this log, or none."""

    healthy: bool = False
    failed: bool = False
    left: bool = False
    leaving: bool = False
    impaired: bool = False
    follows: bool = True
    since: Nanoseconds = 0


class Council:
    """`expected` is how many nodes the operator said would come: no need to wait once they did."""

    def __init__(self, config: RaftConfig, expected: int, now: Nanoseconds) -> None:
        self.config = config
        self.expected = expected
        self._joined_at = now
        self.due_at: Nanoseconds | None = None
        self.leaves = False  # this node itself, and asks for somebody in its place
        self._lost_by: Nanoseconds | None = None  # who had failed then is lost, says the operator

    def learn(self, turn: Turn, fact: Fact) -> None:
        """Something happened that may call for a change."""
        match fact:
            case MemberJoined():
                self._joined_at = turn.now
                self.due_at = turn.now
            case MemberFailed():
                self._look_again(turn.now + self.config.replace_after_ns)
            case (
                MemberRefuted()
                | MemberLeft()
                | MemberChanged()
                | LeaderElected()
                | VotersChanged()
                | ImpairmentEnded()
            ):
                self.due_at = turn.now
            case _:
                pass

    def begin_epoch(self, now: Nanoseconds) -> None:
        """An operator has declared the majority lost: nobody is to wait for it any more."""
        self._lost_by = now + self.config.replace_after_ns
        self.due_at = now

    def look_again(self, now: Nanoseconds) -> None:
        """Somebody may have become a candidate."""
        self.due_at = now

    def _look_again(self, at: Nanoseconds) -> None:
        self.due_at = at if self.due_at is None else min(self.due_at, at)

    def decide(self, turn: Turn, raft: Raft, team: Mapping[NodeId, Standing]) -> None:
        """Propose the next change, if this node leads and there is one to make. `team` is
        everybody else ever heard of."""
        if self.due_at is None or turn.now < self.due_at:
            return
        self.due_at = None
        leadership = raft.leadership
        if leadership is None:
            return
        changes = self._next_changes(turn, raft, team)
        if changes:
            try:
                raft.change(turn, changes)
            except ChangeRefused:  # a change or a term is not settled
                self._look_again(turn.now + self.config.heartbeat_ns)

    def _next_changes(
        self, turn: Turn, raft: Raft, team: Mapping[NodeId, Standing]
    ) -> list[Change]:
        if raft.configuration.is_joint:
            return []
        present = 1 + sum(each.healthy for each in team.values())
        known = 1 + sum(not (each.left or self._is_lost(each)) for each in team.values())
        if 2 * present <= known and known > 2:
            return []  # most of the team is out of sight
        return (
            self._demote_impaired(raft, team)
            or self._go(turn, raft, team)
            or self._let_go(turn, raft, team)
            or self._grow(turn, raft, team)
            or self._replace(turn, raft, team)
            or self._tidy_learners(raft, team)
        )

    def _is_lost(self, standing: Standing) -> bool:
        return self._lost_by is not None and standing.failed and standing.since <= self._lost_by

    # -- the kinds of changes ----------------------------------------------------------------------

    def _demote_impaired(self, raft: Raft, team: Mapping[NodeId, Standing]) -> list[Change]:
        assert raft.leadership is not None
        for node in raft.configuration.voters:
            progress = raft.leadership.progress.get(node)
            lost = progress is not None and progress.lost
            if (lost or team.get(node, Standing()).impaired) and self._is_safe(raft, team, {node}):
                if progress is not None:
                    progress.lost = False
                return [Change(ChangeKind.ADD_LEARNER, node)]
        return []

    def _go(self, turn: Turn, raft: Raft, team: Mapping[NodeId, Standing]) -> list[Change]:
        """The only voter cannot hand over to another: it makes one first, and goes with that."""
        configuration = raft.configuration
        if not self.leaves or configuration.voters != (raft.node,):
            return []
        ready = self._ready(turn, raft, team, stable=False)
        if ready:
            return [Change(ChangeKind.ADD_VOTER, ready[0]), Change(ChangeKind.REMOVE, raft.node)]
        candidates = self._candidates(configuration, team)
        return self._want_learners(turn, configuration, candidates, 1) if candidates else []

    def _let_go(self, turn: Turn, raft: Raft, team: Mapping[NodeId, Standing]) -> list[Change]:
        """Who leaves makes room at once: for somebody ready if there is one, else for nobody, and
        then the council shrinks to the next odd size."""
        voters = raft.configuration.voters
        going = [
            node for node in voters if (found := team.get(node)) and (found.left or found.leaving)
        ]
        if not going:
            return []
        changes = [Change(ChangeKind.REMOVE, node) for node in going]
        ready = self._ready(turn, raft, team, stable=False)[: len(going)]
        changes += [Change(ChangeKind.ADD_VOTER, node) for node in ready]
        size = len(voters) - len(going) + len(ready)
        if size > 1 and size % 2 == 0:
            rest = [node for node in voters if node not in going and node != raft.node]
            weakest = min(rest, key=lambda node: (team.get(node, Standing()).healthy, node))
            changes.append(Change(ChangeKind.ADD_LEARNER, weakest))
        return changes

    def _grow(self, turn: Turn, raft: Raft, team: Mapping[NodeId, Standing]) -> list[Change]:
        configuration = raft.configuration
        candidates = self._candidates(configuration, team)
        wanted = min(self.config.council_size, len(configuration.voters) + len(candidates))
        wanted -= 1 - wanted % 2
        if wanted <= len(configuration.voters):
            return []
        present = 1 + sum(each.healthy for each in team.values())
        settled_at = self._joined_at + self.config.settle_ns
        if present < self.expected and turn.now < settled_at:
            self._look_again(settled_at)
            return []
        needed = wanted - len(configuration.voters)
        ready = self._ready(turn, raft, team, stable=False)
        if len(ready) >= needed:
            return [Change(ChangeKind.ADD_VOTER, node) for node in ready[:needed]]
        return self._want_learners(turn, configuration, candidates, needed)

    def _replace(self, turn: Turn, raft: Raft, team: Mapping[NodeId, Standing]) -> list[Change]:
        configuration = raft.configuration
        failed = []
        for node in configuration.voters:
            found = team.get(node)
            if found is None or not found.failed:
                continue
            due_at = found.since + self.config.replace_after_ns
            if turn.now >= due_at:
                failed.append(node)
            else:
                self._look_again(due_at)
        candidates = self._candidates(configuration, team)
        if not failed or not candidates:
            return []
        ready = self._ready(turn, raft, team, stable=True)
        if not ready:
            return self._want_learners(turn, configuration, candidates, 1)
        return [  # one at a time: the next when this one is settled
            Change(ChangeKind.REMOVE, failed[0]),
            Change(ChangeKind.ADD_VOTER, ready[0]),
        ]

    def _tidy_learners(self, raft: Raft, team: Mapping[NodeId, Standing]) -> list[Change]:
        """Learners that are gone, or are not needed, are none any more."""
        configuration = raft.configuration
        gone = [
            node
            for node in configuration.learners
            if (found := team.get(node)) and (found.failed or found.left)
        ]
        return [Change(ChangeKind.REMOVE, node) for node in gone]

    # -- who may ---------------------------------------------------------------------------------

    def _candidates(
        self, configuration: Configuration, team: Mapping[NodeId, Standing]
    ) -> list[NodeId]:
        """Who may become a voter, learners first."""
        found = [
            node
            for node, each in sorted(team.items())
            if each.healthy
            and each.follows
            and not (each.leaving or each.impaired)
            and node not in configuration
        ]
        return sorted(found, key=lambda node: node not in configuration.learners)

    def _ready(
        self, turn: Turn, raft: Raft, team: Mapping[NodeId, Standing], stable: bool
    ) -> list[NodeId]:
        """Learners that have the log, and have been there for a while if they shall be stable."""
        assert raft.leadership is not None
        ready = []
        enough = raft.log.last_index - self.config.caught_up_entries
        for node in self._candidates(raft.configuration, team):
            progress = raft.leadership.progress.get(node)
            if progress is None or progress.match_index < max(enough, 1):
                continue
            stable_at = team[node].since + self.config.stable_ns
            if stable and turn.now < stable_at:
                self._look_again(stable_at)
                continue
            ready.append(node)
        return ready

    def _want_learners(
        self, turn: Turn, configuration: Configuration, candidates: list[NodeId], needed: int
    ) -> list[Change]:
        fresh = [node for node in candidates[:needed] if node not in configuration.learners]
        if not fresh:  # they are learning
            self._look_again(turn.now + self.config.heartbeat_ns // 4)
        return [Change(ChangeKind.ADD_LEARNER, node) for node in fresh]

    def _is_safe(self, raft: Raft, team: Mapping[NodeId, Standing], without: set[NodeId]) -> bool:
        """Whether those voters can be spared: the rest has a quorum in good health."""
        rest = [node for node in raft.configuration.voters if node not in without]
        well = sum(node == raft.node or team.get(node, Standing()).healthy for node in rest)
        return bool(rest) and well > len(rest) // 2
