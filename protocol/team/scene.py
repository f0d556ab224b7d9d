"""A job as one node sees it at the moment in which it chooses its work."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum

from protocol.clocks import Nanoseconds
from protocol.identity import NodeId
from protocol.ledger import JobState, Slot, TaskState, Unit
from protocol.team.view import View

PEOPLE_MAX = 16  # open questions of one job to people, for each node


class Hands(Enum):
    """What a node has to do."""

    FREE = "free"
    RACING = "racing"  # and nothing else: it drops that for a task
    AT_WORK = "at work"  # and may have room for more


@dataclass(frozen=True, slots=True)
class Scene:
    """A job as one node sees it at one moment. `own` is what this node is at already, `ready` what
    could be worked on; in a `quick` job a task takes no longer than to agree on it would."""

    now: Nanoseconds
    view: View
    job: JobState
    own: Collection[Unit]
    hands: Hands
    ready: Sequence[tuple[TaskState, Slot, Unit]]
    quick: bool

    def able(self, task: TaskState) -> frozenset[NodeId]:
        """Who is there, without those whose result of the task another node found wrong."""
        return self.view.alive - {answer.node for answer in task.refuted()}

    def levels(self) -> Mapping[str, float]:
        """How urgent tasks are; where they are over in no time, all are as good as equal."""
        return {} if self.quick else self.job.levels
