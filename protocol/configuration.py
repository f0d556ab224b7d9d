"""Who votes, who only follows, and how one such set becomes another.

While `outgoing` is not empty, a majority of it and a majority of `voters` must agree on everything:
joint consensus (Ongaro's thesis, section 4.3). Learners get the log and count for nothing
(section 4.2.1). Invariant: nobody is voter and learner at once, except that a voter of `outgoing`
who is to stay as a learner waits in `learners_next` until the joint configuration is left.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum

from protocol.errors import ChangeRefused
from protocol.identity import NodeId


@dataclass(frozen=True, slots=True)
class Configuration:
    """See the module's text. `explicit`: the leader does not leave the joint configuration by
    itself. `epoch` counts how often an operator has rescued the log from a lost majority."""

    voters: tuple[NodeId, ...]
    outgoing: tuple[NodeId, ...] = ()
    learners: tuple[NodeId, ...] = ()
    learners_next: tuple[NodeId, ...] = ()
    explicit: bool = False
    epoch: int = 0

    @property
    def members(self) -> tuple[NodeId, ...]:
        """Everybody who votes, in either set, sorted."""
        if not self.outgoing:
            return self.voters
        return tuple(sorted({*self.voters, *self.outgoing}))

    @property
    def everybody(self) -> tuple[NodeId, ...]:
        """All who get the log from the leader, sorted."""
        return tuple(sorted({*self.voters, *self.outgoing, *self.learners, *self.learners_next}))

    @property
    def is_joint(self) -> bool:
        return bool(self.outgoing)

    def __contains__(self, node: object) -> bool:
        return node in self.voters or node in self.outgoing

    def has_quorum(self, nodes: Collection[NodeId]) -> bool:
        """Whether `nodes` hold a majority of each set."""
        return _majority(self.voters, nodes) and (
            not self.outgoing or _majority(self.outgoing, nodes)
        )

    def spares(self, nodes: Collection[NodeId]) -> int:
        """How many of `nodes` may fail so that the rest holds a majority of each set, whoever they
        are; below 0 if all of them hold none."""
        sets = [voters for voters in (self.voters, self.outgoing) if voters]
        return min((_spares(voters, nodes) for voters in sets), default=-1)

    def agreed_index(self, indexes: Mapping[NodeId, int]) -> int:
        """The highest index (or time, or any number) that a majority of each set has reached."""
        agreed = _agreed(self.voters, indexes)
        return min(agreed, _agreed(self.outgoing, indexes)) if self.outgoing else agreed


def _majority(voters: tuple[NodeId, ...], nodes: Collection[NodeId]) -> bool:
    return _spares(voters, nodes) >= 0


def _spares(voters: tuple[NodeId, ...], nodes: Collection[NodeId]) -> int:
    return sum(voter in nodes for voter in voters) - (len(voters) // 2 + 1)


def _agreed(voters: tuple[NodeId, ...], indexes: Mapping[NodeId, int]) -> int:
    reached = sorted((indexes.get(voter, 0) for voter in voters), reverse=True)
    return reached[len(voters) // 2] if reached else 0


NO_CONFIGURATION = Configuration(())


# -- changes ---------------------------------------------------------------------------------------


class ChangeKind(Enum):
    ADD_VOTER = "add_voter"  # a learner is promoted
    ADD_LEARNER = "add_learner"  # a voter is demoted
    REMOVE = "remove"


@dataclass(frozen=True, slots=True)
class Change:
    """One step from a configuration to another."""

    kind: ChangeKind
    node: NodeId

    def __str__(self) -> str:
        return f"{self.kind.value} {self.node}"


class Transition(Enum):
    """How to get there. A single step is safe if it changes one voter at most (thesis, 4.1)."""

    AUTO = "auto"  # a single step if that is safe, else joint and left automatically
    IMPLICIT = "implicit"  # joint, left automatically
    EXPLICIT = "explicit"  # joint, until somebody says leave


def changed(
    configuration: Configuration, changes: Sequence[Change], transition: Transition
) -> Configuration:
    """The configuration that the changes lead to, joint if need be. ChangeRefused if they are
    impossible here and now."""
    if configuration.is_joint:
        raise ChangeRefused("a joint configuration is in force: leave it first")
    voters = set(configuration.voters)
    learners = set(configuration.learners)
    staying: set[NodeId] = set()  # learners that vote in the outgoing set
    for change in changes:
        voters.discard(change.node)
        learners.discard(change.node)
        staying.discard(change.node)
        if change.kind is ChangeKind.ADD_VOTER:
            voters.add(change.node)
        elif change.kind is ChangeKind.ADD_LEARNER:
            was_voter = change.node in configuration.voters
            (staying if was_voter else learners).add(change.node)
    if not voters:
        raise ChangeRefused("a configuration needs a voter")
    single = len(voters.symmetric_difference(configuration.voters)) <= 1
    if transition is Transition.AUTO and single:
        learners |= staying
        return replace(
            configuration,
            voters=tuple(sorted(voters)),
            learners=tuple(sorted(learners)),
            explicit=False,
        )
    return Configuration(
        voters=tuple(sorted(voters)),
        outgoing=configuration.voters,
        learners=tuple(sorted(learners)),
        learners_next=tuple(sorted(staying)),
        explicit=transition is Transition.EXPLICIT,
        epoch=configuration.epoch,
    )


def left(configuration: Configuration) -> Configuration:
    """What follows a joint configuration (thesis, 4.3: C-new)."""
    if not configuration.is_joint:
        raise ChangeRefused("no joint configuration is in force: there is nothing to leave")
    learners = {*configuration.learners, *configuration.learners_next}
    return Configuration(
        configuration.voters, learners=tuple(sorted(learners)), epoch=configuration.epoch
    )
