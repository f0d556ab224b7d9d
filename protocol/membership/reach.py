"""Who reaches whom directly: each node gossips one row of what it finds, and only when it changes.

    A's row: deaf {B}      B is heard here and does not answer
             silent {C}    C is neither heard nor does it answer
    A deaf {B} and B silent {A}      the link from A to B is broken: one way
    A silent {C} and C silent {A}    the link between A and C is broken

Judgements need the rows of both ends, so that one node alone can blame no link. A row that is only
that of the node's own isolation says so by naming nearly everybody.
"""

from __future__ import annotations

from dataclasses import replace

from protocol.clocks import Nanoseconds
from protocol.facts import Fact
from protocol.facts.membership import LinkBroken, LinkMended, LinkOneWay
from protocol.identity import NodeId
from protocol.membership.members import Members
from protocol.messages.membership import ReachRow

ROW_MAX = 64  # members of each kind that a row names
NUMBER_MAX = 2**62

_Pair = tuple[NodeId, NodeId]


class Reach:
    """See the module's text."""

    def __init__(self, own: NodeId, epoch: int, members: Members) -> None:
        self._own = own
        self._members = members
        self._row = ReachRow(own, epoch, 0, 0, (), ())
        self._unreached: dict[NodeId, bool] = {}  # -> whether it was heard since
        self._heard_at: dict[NodeId, Nanoseconds] = {}
        self._in_touch: dict[NodeId, None] = {}  # in the order of their first word
        self._row_at: Nanoseconds = 0
        self._rows: dict[NodeId, tuple[ReachRow, Nanoseconds]] = {}  # and since when it says so
        self._broken: dict[_Pair, LinkBroken | LinkOneWay] = {}
        self.is_changed = False

    # -- what this node finds ----------------------------------------------------------------------

    def heard(self, node: NodeId, now: Nanoseconds) -> None:
        """Any message of it came directly."""
        self._heard_at[node] = now
        self._in_touch[node] = None
        if self._unreached.get(node) is False:
            self._unreached[node] = True
            self.is_changed = True

    @property
    def team_size(self) -> int:
        """Members that are there, this one included."""
        return len(self._members.alive()) + 1

    def heard_at(self, node: NodeId) -> Nanoseconds:
        """When the last one did."""
        return self._heard_at.get(node, -(2**62))

    def in_touch(self) -> list[NodeId]:
        """Members that have been heard directly, and to which no send has failed since: there is a
        connection with them, as far as one can know."""
        return [node for node in self._in_touch if self._is_here(node)]

    def lost_touch(self, node: NodeId) -> None:
        """A send to it failed, or it did."""
        self._in_touch.pop(node, None)

    def answered(self, node: NodeId) -> None:
        """It answered a probe directly."""
        if self._unreached.pop(node, None) is not None:
            self.is_changed = True

    def unreached(self, node: NodeId, since: Nanoseconds) -> None:
        """It did not answer what was sent `since`."""
        heard = self.heard_at(node) > since
        if self._unreached.get(node) != heard:
            self._unreached[node] = heard
            self.is_changed = True

    def troubled(self) -> list[NodeId]:
        """Those that the team holds to be there and that do not answer here."""
        return [node for node in self._unreached if self._is_here(node)]

    def new_row(self, now: Nanoseconds) -> ReachRow | None:
        """The row to gossip, if it has changed since the last time."""
        if not self.is_changed:
            return None
        self.is_changed = False
        for node in [node for node in self._unreached if self._members.get(node) is None]:
            del self._unreached[node]
        here = {node: heard for node, heard in self._unreached.items() if self._is_here(node)}
        deaf = tuple(sorted(node for node, heard in here.items() if heard)[:ROW_MAX])
        silent = tuple(sorted(node for node, heard in here.items() if not heard)[:ROW_MAX])
        if (deaf, silent) == (self._row.deaf, self._row.silent):
            return None
        reached = len(self._members.alive()) - len(here)
        self._row = replace(
            self._row, number=self._row.number + 1, reached=reached, deaf=deaf, silent=silent
        )
        self._row_at = now
        return self._row

    # -- what the others find --------------------------------------------------------------------

    def take(self, row: ReachRow, now: Nanoseconds) -> bool:
        """Whether a row of another node is new; then it counts."""
        if row.node == self._own or self._members.get(row.node) is None:
            return False
        known = self._rows.get(row.node)
        if known is not None and row.version <= known[0].version:
            return False
        self._rows[row.node] = (row, now)
        return True

    def rows(self) -> list[ReachRow]:
        """All that are known, this node's first if it has said anything."""
        own = [self._row] if self._row.number else []
        return own + [row for node, (row, _) in self._rows.items() if self._members.get(node)]

    def avoids(self, node: NodeId, target: NodeId) -> bool:
        """Whether `node` says that it does not reach `target`."""
        if node not in self._rows:
            return False
        row, _ = self._rows[node]
        return target in row.deaf or target in row.silent

    def doubts_us(self, row: ReachRow) -> bool:
        """Whether another node gets no answer from this one."""
        return self._own in row.deaf or self._own in row.silent

    def forget(self, node: NodeId) -> None:
        """The node is out of the team, or known by a newer record: its row and ours of it are of
        an earlier time."""
        self._rows.pop(node, None)
        for pair in [pair for pair in self._broken if node in pair]:
            del self._broken[pair]
        if self._unreached.pop(node, None) is not None:
            self.is_changed = True

    def judge(self, settled: Nanoseconds) -> list[Fact]:
        """What follows from the rows of both ends, as far as it is new. A row counts that has said
        the same since the time `settled`: a new one may be of before the other end was tried."""
        rows = {
            node: row
            for node, (row, since) in self._rows.items()
            if self._is_here(node) and since <= settled
        }
        if self._row_at <= settled:
            rows[self._own] = self._row
        found: dict[_Pair, LinkBroken | LinkOneWay] = {}
        for row in rows.values():
            for other in (*row.deaf, *row.silent):
                facing = rows.get(other)
                pair = (min(row.node, other), max(row.node, other))
                if facing is not None and pair not in found:
                    fact = _judgement(row, facing)
                    if fact is not None:
                        found[pair] = fact
        mended = [
            pair
            for pair in self._broken
            if pair not in found and all(node in rows for node in pair)
        ]
        news: list[Fact] = [LinkMended(*pair) for pair in mended]
        news += [fact for pair, fact in found.items() if self._broken.get(pair) != fact]
        for pair in mended:
            del self._broken[pair]
        self._broken.update(found)
        return news

    def broken(self) -> list[LinkBroken | LinkOneWay]:
        """The links between nodes that are there which do not work, as they were reported."""
        return [
            fault
            for pair, fault in self._broken.items()
            if all(node == self._own or self._is_here(node) for node in pair)
        ]

    def _is_here(self, node: NodeId) -> bool:
        member = self._members.get(node)
        return member is not None and member.is_here


def fault_of_row(row: ReachRow) -> str:
    """Why no node would say this, whoever brings it; empty if one might."""
    if max(len(row.deaf), len(row.silent)) > ROW_MAX:
        return f"a row names over {ROW_MAX} members of a kind"
    if row.number > NUMBER_MAX:
        return f"the number of a row ends at {NUMBER_MAX}"
    return ""


def _judgement(row: ReachRow, facing: ReachRow) -> LinkBroken | LinkOneWay | None:
    """What two nodes that do not answer each other say together."""
    one, other = row.node, facing.node
    if other in row.deaf and one in facing.silent:
        return LinkOneWay(speaker=other, hearer=one)
    if other in row.silent and one in facing.deaf:
        return LinkOneWay(speaker=one, hearer=other)
    if other in row.silent and one in facing.silent:
        return LinkBroken(min(one, other), max(one, other))
    return None
