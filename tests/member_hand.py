"""Membership machines on a fake network whose time only the test moves.

    town = Town(3)
    town.run(5 * SECOND)
    assert town.state(0, 1) is State.ALIVE

Links work or do not (`cut`), a stopped node refuses calls, and every message passes the codec.
"""

from __future__ import annotations

import heapq
from random import Random

from protocol import codec
from protocol.clocks import MILLISECOND, SECOND, Nanoseconds
from protocol.config import MembershipConfig
from protocol.events import LinkFault
from protocol.facts import Fact
from protocol.identity import NOBODY, Identity, NodeId
from protocol.membership import Membership, State
from protocol.messages import Message
from protocol.messages.membership import (
    MemberRecord,
    MemberSync,
    Probe,
    ProbeAck,
    ProbeNack,
    ProbeRequest,
    Rumor,
    ViewSummary,
    Word,
)
from protocol.turn import Outgoing, Turn

CONFIG = MembershipConfig()
CLUSTER = "town"
HOP: Nanoseconds = 5 * MILLISECOND
STEPS_MAX = 200_000


def endpoint_of(number: int) -> str:
    return f"house-{number}:1"


def accusation(town: Town, of: int, word: Word = Word.SUSPECTED, accuser: int = 0) -> Rumor:
    """What is said of this version of a node's record."""
    return Rumor(town.nodes[of], *town.machine(of).own.version, town.nodes[accuser], word)


class Town:
    """`size` nodes, the first of which is everybody's seed."""

    def __init__(
        self, size: int, config: MembershipConfig = CONFIG, hop: Nanoseconds = HOP
    ) -> None:
        """`hop`: how long a message takes."""
        self.now: Nanoseconds = 0
        self.config = config
        self.hop = hop
        self.identities = [Identity(bytes([number + 1]) * 32) for number in range(size)]
        self.nodes = [identity.node for identity in self.identities]
        self.machines: list[Membership | None] = [None] * size
        self.epochs = [0] * size
        self.cut: set[tuple[int, int]] = set()
        self.asleep: set[int] = set()  # their timers are not served, and their mail waits
        self.facts: list[tuple[Nanoseconds, int, Fact]] = []
        self.sent: list[tuple[int, int, Message]] = []
        self._mail: list[tuple[Nanoseconds, int, int, int, bytes | LinkFault]] = []
        self._count = 0
        for number in range(size):
            self.start(number)

    def machine(self, number: int) -> Membership:
        found = self.machines[number]
        assert found is not None
        return found

    def start(self, number: int, known: tuple[MemberRecord, ...] = ()) -> None:
        """Start, or start again in a new epoch with what was remembered."""
        self.epochs[number] += 1
        identity = self.identities[number]
        record = MemberRecord(
            identity.public_key,
            f"n{number}",
            (endpoint_of(number),),
            self.epochs[number],
            0,
            False,
            (),
            b"",
        )
        self.machines[number] = Membership(
            identity,
            CLUSTER,
            record,
            (endpoint_of(0),),
            known,
            self.config,
            Random(f"{number}/{self.epochs[number]}"),
            self.now,
        )

    def stop(self, number: int) -> tuple[MemberRecord, ...]:
        """Stop a node; what it would remember is returned."""
        known = tuple(member.record for member in self.machine(number).members().values())
        self.machines[number] = None
        return known

    def isolate(self, number: int) -> None:
        for other in range(len(self.nodes)):
            self.cut |= {(number, other), (other, number)}

    # -- time and messages ---------------------------------------------------------------------

    def run(self, duration: Nanoseconds) -> None:
        """Let everything happen that is due within `duration`."""
        end = self.now + duration
        for _ in range(STEPS_MAX):
            timers = [
                (machine.deadline(), number)
                for number, machine in enumerate(self.machines)
                if machine is not None and number not in self.asleep
            ]
            due = [*(at for at, _ in timers), *(mail[0] for mail in self._mail[:1])]
            at = min(due, default=end + 1)
            if at > end:
                self.now = end
                return
            self.now = max(self.now, at)
            if self._mail and self._mail[0][0] <= self.now:
                _, count, sender, to, letter = heapq.heappop(self._mail)
                if to in self.asleep:
                    heapq.heappush(self._mail, (self.now + self.hop, count, sender, to, letter))
                else:
                    self._arrive(sender, to, letter)
                continue
            number = min(timers)[1]
            turn = self.turn()
            self.machine(number).tick(turn)
            self.end(number, turn)
        raise AssertionError("the town never rests")

    def turn(self) -> Turn:
        return Turn(self.now, self.now, 1)

    def end(self, number: int, turn: Turn) -> None:
        """The end of a step: flush, and post what is to be sent."""
        self.machine(number).flush(turn)
        self.facts += [(self.now, number, fact) for fact in turn.facts]
        for item in [*turn.before, *turn.after]:
            assert isinstance(item, tuple)
            self._post(number, item)

    def _post(self, sender: int, item: Outgoing) -> None:
        destination, endpoint, message = item
        if destination != NOBODY and destination not in self.nodes:
            return  # a stranger that a test made up
        to = (
            int(endpoint.removeprefix("house-").removesuffix(":1"))
            if destination == NOBODY
            else self.nodes.index(destination)
        )
        self.sent.append((sender, to, message))
        if (sender, to) in self.cut or sender == to:
            return
        letter = codec.encode(message) if self.machines[to] else LinkFault.REFUSED
        self._count += 1
        heapq.heappush(self._mail, (self.now + self.hop, self._count, sender, to, letter))

    def _arrive(self, sender: int, to: int, letter: bytes | LinkFault) -> None:
        if isinstance(letter, LinkFault):
            if self.machines[sender]:
                turn = self.turn()
                node = self.nodes[to]
                self.machine(sender).undeliverable(turn, node, endpoint_of(to), letter, "")
                self.end(sender, turn)
        elif self.machines[to]:
            self.receive(to, self.nodes[sender], codec.decode(letter))

    def receive(self, number: int, sender: NodeId, message: Message) -> Turn:
        wanted = (Probe, ProbeAck, ProbeRequest, ProbeNack, MemberSync, ViewSummary)
        assert isinstance(message, wanted)
        turn = self.turn()
        self.machine(number).heard(sender, self.now)
        self.machine(number).receive(turn, sender, message)
        self.end(number, turn)
        return turn

    # -- what came of it -----------------------------------------------------------------------

    def state(self, at: int, of: int) -> State | None:
        return self.machine(at).state_of(self.nodes[of])

    def told(self, kind: type[Fact], at: int | None = None) -> list[Fact]:
        return [
            fact
            for _, number, fact in self.facts
            if isinstance(fact, kind) and at in (None, number)
        ]

    def settle_in(self) -> None:
        """Let everybody find each other, then forget what was told so far."""
        self.run(5 * SECOND)
        for number in range(len(self.nodes)):
            assert len(self.machine(number).alive()) == len(self.nodes) - 1
        self.facts.clear()
        self.sent.clear()
