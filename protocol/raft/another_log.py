"""A node's way out of the log that it follows: give it up for another one, or rescue it from a
majority that is lost. In the paper a log and its voters are for ever; an operator may know better.

Invariant: the term and the vote are never given up with the log. Which of two logs gives way is
`Consensus`'s to say.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from protocol import codec
from protocol.configuration import Configuration
from protocol.effects import DropLog, HardState
from protocol.identity import NOBODY
from protocol.messages import EntryKind, LogEntry
from protocol.raft.log import RaftLog
from protocol.turn import Turn

if TYPE_CHECKING:
    from protocol.raft.core import Raft


def give_up_log(raft: Raft, turn: Turn) -> None:
    """Follow no log any more, to take another one from its beginning: one with which nothing
    is lost, or one that an operator has declared lost by rescuing the team elsewhere."""
    raft.become_follower(turn, raft.term, NOBODY)
    raft.set_leader(turn, NOBODY)
    raft.following.forget()
    raft.log = RaftLog()
    raft.commit = 0
    raft.writes.forget_above(0)
    raft.snapshots.forget()
    raft.writes.persist(turn, DropLog())


def rescue_log(raft: Raft, turn: Turn) -> None:
    """An operator's word that the majority is lost for good: take the own log for the agreed
    one, vote alone, and begin a new epoch, in which those of the old one have no say. Whatever
    only the others had is lost, and may have been acknowledged."""
    if raft.leadership is not None or raft.candidacy is not None:
        raft.become_follower(turn, raft.term, NOBODY)
    last, configuration = raft.log.last_index, raft.log.configuration
    assert last, "there is no log to rescue"
    # Votes of the old epoch mean nothing in the new one; a term that nobody has used does.
    raft.term, raft.vote = max(raft.term, raft.log.last_term) + 1, NOBODY
    raft.writes.persist(turn, HardState(raft.term, raft.vote))
    alone = Configuration((raft.node,), epoch=configuration.epoch + 1)
    data = codec.pack_value(alone)
    raft.append(turn, (LogEntry(last + 1, raft.term, EntryKind.VOTERS, data),))
    raft.impairment.end(turn)
    raft.elections.end_promise(turn.now)
    raft.elections.campaign(turn)
