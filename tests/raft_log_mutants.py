"""Raft's configurations, snapshots and damaged journals with one rule removed at a time. A mutant
says which rule, and what takes its place; the rest of Raft is in `raft_mutants`."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from breeding import Breeder

from protocol.configuration import Configuration, _agreed, _majority
from protocol.effects import KeepSnapshot, Snapshot
from protocol.errors import ChangeRefused
from protocol.identity import NodeId
from protocol.messages.agreement import SnapshotPart, SnapshotReply
from protocol.raft import Raft
from protocol.raft.following import Following, _Intake
from protocol.raft.impairment import Impairment
from protocol.raft.leadership import Leadership
from protocol.raft.log import RaftLog
from protocol.raft.progress import Progress
from protocol.turn import Turn

BREEDER = Breeder()
MUTANTS = BREEDER.mutants
instead_of = BREEDER.instead_of

_init = Raft.__init__

# -- configurations -------------------------------------------------------------------------------


def one_majority(configuration: Configuration, nodes: Collection[NodeId]) -> bool:
    return _majority(configuration.voters, nodes)


def one_agreed_index(configuration: Configuration, indexes: Mapping[NodeId, int]) -> int:
    return _agreed(configuration.voters, indexes)


BREEDER.add(
    "OneMajority",
    "joint consensus needs both majorities",
    (Configuration, "has_quorum", one_majority),
    (Configuration, "agreed_index", one_agreed_index),
)


def any_majority(configuration: Configuration, nodes: Collection[NodeId]) -> bool:
    agreeing = sum(node in nodes for node in configuration.everybody)
    return agreeing > len(configuration.voters) // 2


def any_agreed_index(configuration: Configuration, indexes: Mapping[NodeId, int]) -> int:
    reached = sorted((indexes.get(node, 0) for node in configuration.everybody), reverse=True)
    return reached[len(configuration.voters) // 2]


BREEDER.add(
    "CountsLearners",
    "learners count for nothing",
    (Configuration, "has_quorum", any_majority),
    (Configuration, "agreed_index", any_agreed_index),
)


@instead_of("ChangesTwice", "one change at a time", (Leadership, "check_change"))
def change_anyway(self: Leadership) -> None:
    return


@instead_of(
    "ChangesTooSoon",
    "no change before the own term's first commit",
    (Leadership, "check_change"),
)
def change_soon(self: Leadership) -> None:
    if self.raft.log.configuration_index > self.raft.commit:
        raise ChangeRefused("a change is under way")


_compact = RaftLog.compact


@instead_of("LosesConfiguration", "a snapshot has the configuration", (RaftLog, "compact"))
def lose_configuration(self: RaftLog, snapshot: Snapshot, keep_from: int) -> None:
    _compact(self, snapshot, keep_from)
    self._configurations = [found for found in self._configurations if found[0] >= keep_from]


# -- snapshots and damaged journals ---------------------------------------------------------------


@instead_of("DropsWhatFollows", "entries behind a snapshot stay", (Following, "_install"))
def install_over(self: Following, turn: Turn, sender: NodeId, snapshot: Snapshot) -> None:
    raft = self.raft
    before = raft.log.configuration_index
    raft.log.install(snapshot)
    raft.writes.forget_above(raft.commit)
    raft.writes.persist(
        turn, KeepSnapshot(snapshot, snapshot.index + 1, replace=True), snapshot.index
    )
    raft.install(turn, snapshot, configuration_before=before)


_receive_part = Following.receive_snapshot_part


@instead_of(
    "TakesOldSnapshots",
    "a snapshot never takes a node back",
    (Following, "receive_snapshot_part"),
)
def take_old(self: Following, turn: Turn, sender: NodeId, message: SnapshotPart) -> None:
    self.raft.commit = min(self.raft.commit, message.index - 1)
    _receive_part(self, turn, sender, message)


@instead_of("BelievesParts", "a snapshot's digest is checked", (Following, "_open"))
def open_anything(self: Following, intake: _Intake) -> bytes:
    return bytes(intake.data)


@instead_of(
    "AnswersEveryAnswer",
    "a repeated answer starts no second stream",
    (Leadership, "_snapshot_answered"),
)
def answer_all(
    self: Leadership, turn: Turn, sender: NodeId, progress: Progress, message: SnapshotReply
) -> None:
    snapshot = progress.snapshot
    if snapshot is None or message.index != snapshot.index:
        return
    if message.offset >= len(snapshot.data):
        self._matched(turn, sender, progress, snapshot.index)
    else:
        progress.offset = message.offset
        self._send_part(turn, sender, progress)


@instead_of("VotesImpaired", "a damaged journal does not vote", (Raft, "__init__"))
def ignore_damage(self: Raft, *arguments: Any, **named: Any) -> None:
    _init(self, *arguments, **named)
    self.impaired = False


@instead_of("BelievesHistory", "an old configuration ends no impairment", (Impairment, "confirmed"))
def believe_history(self: Impairment, turn: Turn, index: int) -> None:
    if self.raft.impaired and not self.raft.is_voter:
        self.end(turn)
