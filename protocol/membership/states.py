"""The states of a member, and what made it fail."""

from __future__ import annotations

from enum import Enum

STOPPING = "stopping"  # metadata of the record of a node that is about to stop


class State(Enum):
    REMEMBERED = "remembered"  # from an earlier life of this node; not heard of yet
    ALIVE = "alive"
    SUSPECT = "suspect"
    FAILED = "failed"
    LEFT = "left"


class Evidence(Enum):
    """Why a member is held to have failed."""

    REFUSED = "refused"  # nobody listens at its addresses: its process has ended
    STOPPED = "stopped"  # it has said before that its process would end
    SILENCE = "silence"  # neither heard nor answering: it crashed, hangs, or is cut off
    DEAF = "deaf"  # it speaks and does not answer
