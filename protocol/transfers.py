"""What becomes of an operator's wish that another voter shall lead (leadership transfer; Ongaro,
thesis, 3.10). It may be told to any node, and is answered there.

    asked here     ──▶ HandOver ──▶  the leader: begins, or refuses
    answered here  ◀── HandedOver ◀──  somebody else leads, or why it was given up

Whoever asked also sees who leads, so that it need not hear from a leader that was deposed. Messages
may be lost; then it is told TimedOut in the end: the transfer may have happened, or may yet.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from protocol.clocks import Nanoseconds
from protocol.effects import Reply
from protocol.errors import Busy, ChangeRefused, NotLeader, RemoteProtocolError, TimedOut
from protocol.facts import Fact
from protocol.facts.agreement import LeaderElected, TransferEnded
from protocol.identity import NOBODY, NodeId
from protocol.messages.agreement import HandedOver, HandOver
from protocol.raft import Raft
from protocol.turn import Turn

WISHES_MAX = 1_000  # that wait at a node, or are owed an answer by a leader
ERRORS = ("", NotLeader.__name__, ChangeRefused.__name__, Busy.__name__)  # a leader may answer


@dataclass(frozen=True, slots=True)
class _Begun:
    """A transfer to `to` that an operator at `node` has asked for, under that node's number."""

    node: NodeId
    request: int
    to: NodeId
    term: int


class Transfers:
    """See the module's text. An operator waits for `timeout_ns` at most."""

    def __init__(self, node: NodeId, raft: Raft, timeout_ns: Nanoseconds) -> None:
        self.node = node
        self._raft = raft
        self._timeout_ns = timeout_ns
        self._asked: dict[int, tuple[int, Nanoseconds]] = {}  # here: request -> term, until when
        self._begun: list[_Begun] = []  # by this leader

    def deadline(self) -> Nanoseconds | None:
        """When `tick` is due."""
        return next(iter(self._asked.values()))[1] if self._asked else None

    def tick(self, turn: Turn) -> None:
        """Tell who has waited too long that nothing is known."""
        for request, (_, until) in list(self._asked.items()):
            if until <= turn.now:
                detail = "nobody else is known to lead yet; it may have happened"
                self._reply(turn, request, TimedOut.__name__, detail)

    # -- where it is asked -----------------------------------------------------------------------

    def ask(self, turn: Turn, request: int, to: NodeId) -> None:
        """An operator at this node wants `to` to lead, or whoever is furthest if that is empty."""
        raft = self._raft
        self._asked.pop(request, None)
        self._asked[request] = (raft.term, turn.now + self._timeout_ns)
        if len(self._asked) > WISHES_MAX:
            self._reply(turn, request, Busy.__name__, f"{WISHES_MAX} transfers wait here already")
        elif to and to == raft.leader:
            self._reply(turn, request, "", to)
        elif raft.leader and raft.leadership is None:
            turn.send(raft.leader, HandOver(request, to))
        else:
            self._begin(turn, self.node, request, to)

    def receive_answer(self, turn: Turn, sender: NodeId, message: HandedOver) -> None:
        """The leader says what became of it."""
        if message.error not in ERRORS:
            raise RemoteProtocolError(f"{sender} answers a transfer by {message.error}")
        self._reply(turn, message.request, message.error, message.detail)

    def _reply(self, turn: Turn, request: int, error: str, detail: str) -> None:
        """Tell the operator, once."""
        if self._asked.pop(request, None) is not None:
            turn.perform(Reply(request, error, detail))

    # -- where it is done ------------------------------------------------------------------------

    def receive_wish(self, turn: Turn, sender: NodeId, message: HandOver) -> None:
        """An operator at another node wants this leader to hand over."""
        self._begin(turn, sender, message.request, message.to)

    def _begin(self, turn: Turn, node: NodeId, request: int, to: NodeId) -> None:
        raft = self._raft
        if to == raft.node and raft.leadership is not None:  # since the wish was sent
            self._answer(turn, node, request, "", to)
            return
        to = to or self.successor()
        try:
            if len(self._begun) >= WISHES_MAX:
                raise Busy(f"the leader has {WISHES_MAX} transfers to answer for already")
            if not to and raft.leadership is not None:
                raise ChangeRefused("no other voter has answered this leader yet")
            raft.transfer(turn, to)
        except (NotLeader, ChangeRefused, Busy) as fault:
            self._answer(turn, node, request, type(fault).__name__, str(fault))
        else:
            self._begun.append(_Begun(node, request, to, raft.term))

    def successor(self) -> NodeId:
        """The voter that is furthest, of those that can be reached; nobody if this node does not
        lead."""
        leadership = self._raft.leadership
        if leadership is None:
            return NOBODY
        progress = leadership.progress
        voters = [
            node
            for node in self._raft.configuration.voters
            if node in progress and progress[node].confirmed and progress[node].is_reached
        ]
        return max(voters, key=lambda node: progress[node].match_index, default=NOBODY)

    def _answer(self, turn: Turn, node: NodeId, request: int, error: str, detail: str) -> None:
        if node == self.node:
            self._reply(turn, request, error, detail)
        else:
            turn.send(node, HandedOver(request, error, detail))

    # -- how it ends -----------------------------------------------------------------------------

    def learn(self, turn: Turn, fact: Fact) -> None:
        """A transfer was given up, or somebody leads a later term."""
        match fact:
            case TransferEnded():
                detail = f"{fact.to} does not take over: {fact.reason}"
                for each in self._take(lambda begun: begun.to == fact.to):
                    self._answer(turn, each.node, each.request, ChangeRefused.__name__, detail)
            case LeaderElected() if fact.leader:
                for each in self._take(lambda begun: begun.term < fact.term):
                    self._answer(turn, each.node, each.request, "", fact.leader)
                for request, (term, _) in list(self._asked.items()):
                    if term < fact.term:
                        self._reply(turn, request, "", fact.leader)
            case _:
                pass

    def _take(self, is_over: Callable[[_Begun], bool]) -> list[_Begun]:
        """Those that are over: they are answered for once."""
        over = [begun for begun in self._begun if is_over(begun)]
        self._begun = [begun for begun in self._begun if not is_over(begun)]
        return over
