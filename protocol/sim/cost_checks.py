"""Checkers of what is only wasteful: one part of a snapshot goes out again and again, since a
second stream of them has begun; one request is answered for every way by which it came; a leader
that commits nothing takes ever more.
"""

from __future__ import annotations

from protocol.clocks import Nanoseconds
from protocol.identity import NodeId
from protocol.messages.agreement import Append, AppendReply, SnapshotPart
from protocol.sim.host import Host
from protocol.sim.watch import InvariantBroken

PART_SENDS_MAX = 6  # within a heartbeat: it was lost, its answer was lost, its receiver began anew
CHANGES_MAX = 2  # of the voters, at once: the tail has room for them
WAYS_MAX = 2  # the direct one, and once for all that go around


class CostChecks:
    """See the module's text."""

    def __init__(self) -> None:
        self._parts: dict[tuple[NodeId, NodeId, int, int, int], tuple[Nanoseconds, int]] = {}
        self._answers: dict[tuple[NodeId, NodeId], tuple[int, int, int]] = {}
        self._net_repeats = False  # then an answer more means nothing

    def see_append(self, number: int, sender: Host, receiver: Host, said: Append) -> None:
        """The own tail, for what was inherited had room at another leader."""
        leadership = sender.peer.raft.leadership if sender.peer else None
        if leadership is None or not said.entries:
            return
        raft = leadership.raft
        tail = raft.log.last_index - max(raft.commit, leadership.began_index)
        if tail > raft.config.uncommitted_max + CHANGES_MAX:
            raise InvariantBroken(
                "tail_bounded", f"n{sender.number} has taken {tail} entries and commits nothing"
            )

    def see_part(self, number: int, sender: Host, receiver: Host, said: SnapshotPart) -> None:
        if not said.request:
            return  # a lesson: whoever asks twice is taught twice
        now, window = sender.world.now, sender.world.config.raft.heartbeat_ns
        place = (sender.identity.node, receiver.identity.node, said.term, said.index, said.offset)
        since, count = self._parts.get(place, (now, 0))
        if now - since > window:
            since, count = now, 0
        self._parts[place] = (since, count + 1)
        if count + 1 > PART_SENDS_MAX:
            raise InvariantBroken(
                "one_stream",
                f"n{sender.number} sends n{receiver.number} the part at {said.offset} of "
                f"{said.index} {count + 1} times in a heartbeat",
            )

    def see_started(self, host: Host) -> None:
        """It does not know what it has answered: a copy that comes another way is new to it."""
        for link in [link for link in self._answers if link[0] == host.identity.node]:
            del self._answers[link]

    def see_answer(self, number: int, sender: Host, receiver: Host, said: AppendReply) -> None:
        self._net_repeats = self._net_repeats or sender.world.network.duplication > 0
        if self._net_repeats or not said.request:
            return
        link = (sender.identity.node, receiver.identity.node)
        asked, request, count = self._answers.get(link, (0, 0, 0))
        count = count + 1 if (asked, request) == (said.asked, said.request) else 1
        self._answers[link] = (said.asked, said.request, count)
        if count > WAYS_MAX:
            raise InvariantBroken(
                "answered_once", f"n{sender.number} answers for the {count}. time: {said}"
            )
