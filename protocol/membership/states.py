"""The states of a member."""

from __future__ import annotations

from enum import Enum

STOPPING = "stopping"  # metadata of the record of a node that is about to stop


class State(Enum):
    REMEMBERED = "remembered"  # from an earlier life of this node; not heard of yet
    ALIVE = "alive"
    SUSPECT = "suspect"
    FAILED = "failed"
    LEFT = "left"
