"""Checkers of changes of the voters: a leader makes none before it has committed an entry of its
own term (Ongaro's erratum to the change of single servers, raft-dev 2015), and none while most of
the team is out of its sight, for it may be its own side that is cut off.

Both are looked at when the leader first tells of the change, unless that was in its log already
when it last sent something: what has become known since does not count against it.
"""

from __future__ import annotations

from protocol.identity import NodeId
from protocol.membership import State
from protocol.messages.agreement import Append, EntryKind, LogEntry
from protocol.sim.host import Host
from protocol.sim.watch import InvariantBroken


class ChangeChecks:
    """See the module's text."""

    def __init__(self) -> None:
        self._seen: set[tuple[NodeId, int, int]] = set()  # leader, term, index of the change
        self._last: dict[int, int] = {}  # node -> how far its log went when it last sent something

    def see_append(self, number: int, sender: Host, receiver: Host, said: Append) -> None:
        for entry in said.entries:
            if entry.kind is EntryKind.VOTERS and entry.term == said.term:
                change = (sender.identity.node, entry.term, entry.index)
                if change not in self._seen:
                    self._seen.add(change)
                    if entry.index > self._last.get(sender.number, 0):
                        self._check(sender, entry)

    def see_sent(self, sender: Host) -> None:
        """What is in its log by now was decided before whatever it learns from here on."""
        assert sender.peer is not None
        self._last[sender.number] = sender.peer.raft.log.last_index

    def _check(self, leader: Host, entry: LogEntry) -> None:
        assert leader.peer is not None
        raft = leader.peer.raft
        if raft.log.term_at(raft.commit) != entry.term:
            raise InvariantBroken(
                "settled_before_change",
                f"n{leader.number} changes the voters at {entry.index}, and has committed nothing "
                f"of term {entry.term}",
            )
        if raft.log.configuration_at(entry.index - 1)[1].is_joint:
            return  # to leave a joint configuration is to end a change
        states = [member.state for member in leader.peer.membership.members().values()]
        present = 1 + states.count(State.ALIVE)
        known = 1 + sum(state not in (State.LEFT, State.REMEMBERED) for state in states)
        if known > 2 and 2 * present <= known:
            raise InvariantBroken(
                "in_sight_of_most",
                f"n{leader.number} sees {present} of {known}, and changes the voters",
            )
