"""A node's way out of the log that it follows: give it up for another one, or rescue it from a
majority that is lost. In the paper a log and its voters are for ever; an operator may know better.

    two logs that were founded apart     one gives way if nothing is lost with it
    two epochs of one log                the older one gives way: it has been declared lost
    epochs that were begun apart, by     neither gives way, until one more rescue says which one
    two operators at the same time       counts

Invariants: no two nodes take these for one log (`RaftLog.identity`); the term and the vote are not
given up with the log.
"""

from __future__ import annotations

from enum import Enum, auto
from typing import TYPE_CHECKING

from protocol import codec
from protocol.configuration import Configuration
from protocol.effects import DropLog, HardState
from protocol.identity import NOBODY
from protocol.messages.agreement import EntryKind, LogEntry
from protocol.raft.log import ORIGIN_SIZE, RaftLog, epoch_of
from protocol.turn import Turn

if TYPE_CHECKING:
    from protocol.raft.core import Raft


class Outcome(Enum):
    """What becomes of two logs whose nodes have met."""

    OURS_GIVES_WAY = auto()
    THEIRS_GIVES_WAY = auto()
    BOTH_STAY = auto()


def outcome_of_meeting(log: RaftLog, other: bytes, is_other_settled: bool) -> Outcome:
    """Which of them gives way, this node's `log` or the `other` one. Both nodes say the same."""
    own = log.identity
    assert own
    assert other
    assert own != other
    if own[:ORIGIN_SIZE] == other[:ORIGIN_SIZE]:
        if are_rivals(own, other):
            return Outcome.BOTH_STAY
        gives_way = epoch_of(own) < epoch_of(other)
    elif log.is_settled and is_other_settled:
        return Outcome.BOTH_STAY
    elif log.is_settled or is_other_settled:
        gives_way = is_other_settled
    else:
        gives_way = own < other
    return Outcome.OURS_GIVES_WAY if gives_way else Outcome.THEIRS_GIVES_WAY


def are_rivals(own: bytes, other: bytes) -> bool:
    """Whether these are identities of one log in epochs of the same number, begun apart."""
    return (
        own != other
        and own[:ORIGIN_SIZE] == other[:ORIGIN_SIZE]
        and epoch_of(own) == epoch_of(other)
    )


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
    raft.impairment.forget()
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
