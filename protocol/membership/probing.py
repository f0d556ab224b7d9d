"""SWIM's failure detector: probe, ask others to probe, accuse.

    every interval         probe the next of a ring (4.3), but no stranger while newcomers come one
                           after the other; of those that it was trouble to reach,
                           and once others fell silent of those not heard from lately, some more
    no answer in time      ask k others to probe it too (3.1), unless it is accused by many; each
                           answers for it or says NACK
    no answer by then      it is `missed`: the caller suspects it

Times stretch with the local health (Lifeguard, section IV-A), and with what round trips take: where
all are short of time, for 64 share two cores, most are longer than any time-out that suits a team
that is well, and each accusation would cost the time of everybody. The median counts, so that a few
that are slow change nothing for the others. NACKs that do not come lower it only
if no helper says anything, of those that were in good health: in a large cut most helpers are
across it, and a node that blames itself for that detects the cut several times later.
"""

from __future__ import annotations

from bisect import bisect
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random

from protocol.clocks import Nanoseconds
from protocol.config import MembershipConfig
from protocol.identity import NOBODY, NodeId
from protocol.membership.bustle import Bustle
from protocol.membership.local_health import LocalHealth
from protocol.membership.members import Members
from protocol.membership.states import State
from protocol.messages.membership import News, Probe, ProbeAck, ProbeNack, ProbeRequest
from protocol.timers import Timers
from protocol.turn import Turn

PROBES_MAX = 256  # on their way at a time, those for others included
ROUND_TRIPS = 9  # that the median is taken of
FEW_ROUND_TRIPS = 3  # with fewer, at most so many time-outs: a single slow one tells little
ROUND_TRIP_SHARE = 4  # medians until a probe counts as unanswered
EXTRA_PROBES = 8  # that a silent member makes a node send beyond the one of each interval


@dataclass(slots=True)
class _Probing:
    """A probe on its way. `asked_by` and `asked_sequence` are set when it is for somebody else;
    `helpers` have been asked and have said nothing yet."""

    target: NodeId
    sent_at: Nanoseconds
    asked_by: NodeId = NOBODY
    asked_sequence: int = 0
    is_indirect: bool = False
    helpers: set[NodeId] = field(default_factory=set)
    is_helped: bool = False  # one of them has answered, if only that it has no answer
    is_settled: bool = False  # so many accused its target that nobody else was asked


class Probing:
    """See the module's text. `missed` is called with who did not answer at all, `unreached` with
    who did not answer directly (and whether since then anything was heard of it), `answered` with
    who did."""

    def __init__(
        self,
        own: NodeId,
        config: MembershipConfig,
        members: Members,
        health: LocalHealth,
        bustle: Bustle,
        timers: Timers,
        random: Random,
        fingerprint: Callable[[], bytes],
        news_for: Callable[[NodeId], News],
        missed: Callable[[Turn, NodeId], None],
        unreached: Callable[[Turn, NodeId, Nanoseconds], None],
        answered: Callable[[Turn, NodeId], None],
        avoids: Callable[[NodeId, NodeId], bool],
        in_touch: Callable[[], list[NodeId]],
    ) -> None:
        self._own = own
        self._config = config
        self._members = members
        self._health = health
        self._bustle = bustle
        self._timers = timers
        self._random = random
        self._fingerprint = fingerprint
        self._news_for = news_for
        self._missed = missed
        self._unreached = unreached
        self._answered = answered
        self._avoids = avoids
        self._in_touch = in_touch
        self._alive: list[NodeId] = []  # what the ring was made of
        self._ring: list[NodeId] = []  # the others in the order of their ids
        self._rank = 0  # where this node would be among them
        self._probes: dict[int, _Probing] = {}
        self._sequence = 0
        self._sent: dict[int, _Probing] = {}  # those that may still be answered, if too late
        self._round_trips: deque[Nanoseconds] = deque(maxlen=ROUND_TRIPS)
        self._answered_at: dict[NodeId, Nanoseconds] = {}
        self._extra: deque[NodeId] = deque()  # to be probed with the next interval

    @property
    def underway(self) -> int:
        """How many probes wait for an answer."""
        return len(self._probes)

    def start(self, now: Nanoseconds) -> None:
        """Begin at a random time of the first interval."""
        self._timers.set(now + self._random.randrange(self._config.probe_interval_ns), self._next)

    def probe(self, turn: Turn, target: NodeId) -> None:
        """Probe a member now, unless that is being done."""
        if all(probing.target != target or probing.asked_by for probing in self._probes.values()):
            self._send(turn, _Probing(target, turn.now))

    def ask(self, turn: Turn, target: NodeId) -> None:
        """Probe without drawing conclusions if no answer comes."""
        self._sequence += 1
        news = self._news_for(target)
        turn.send(target, Probe(self._sequence, self._fingerprint(), news))

    def probe_soon(self, target: NodeId) -> None:
        """Probe a member beside the next one in turn."""
        if target not in self._extra and len(self._extra) < EXTRA_PROBES:
            self._extra.append(target)

    def forget_all(self) -> None:
        """After a pause: nothing that was asked before it counts."""
        self._probes.clear()
        self._sent.clear()

    # -- messages --------------------------------------------------------------------------------

    def acknowledged(self, turn: Turn, sender: NodeId, message: ProbeAck) -> None:
        """An answer, of the target itself or by way of a helper."""
        sent = self._sent.pop(message.sequence, None)
        if sent is not None and message.direct and sender == sent.target:
            self._round_trips.append(turn.now - sent.sent_at)
        probing = self._probes.get(message.sequence)
        if probing is None:
            return
        if message.direct and sender != probing.target:
            return  # an answer to somebody else's probe, or a lie
        if not message.direct and sender not in probing.helpers:
            return
        del self._probes[message.sequence]
        if probing.asked_by:
            news = self._news_for(probing.asked_by)
            turn.send(probing.asked_by, ProbeAck(probing.asked_sequence, False, news))
        if message.direct:
            self._answered_at[probing.target] = turn.now
            self._answered(turn, probing.target)
        if not probing.asked_by:
            self._health.better()

    def not_acknowledged(self, sender: NodeId, message: ProbeNack) -> None:
        """A helper lives, and its target has not answered it."""
        probing = self._probes.get(message.sequence)
        if probing is not None:
            probing.helpers.discard(sender)
            probing.is_helped = True

    def asked(self, turn: Turn, sender: NodeId, message: ProbeRequest) -> None:
        """Probe for somebody else."""
        if message.target != self._own:
            self._send(turn, _Probing(message.target, turn.now, sender, message.sequence))

    def failed_to_send(self, turn: Turn, target: NodeId) -> None:
        """No need to wait for an answer to what could not even be sent."""
        underway = [n for n, each in self._probes.items() if each.target == target]
        for sequence in underway:
            self._no_direct_answer(turn, sequence)

    # -- timers ----------------------------------------------------------------------------------

    def _next(self, turn: Turn) -> None:
        interval = self._config.probe_interval_ns
        self._timers.set(turn.now + self._health.stretch(interval), self._next)
        target = self._next_target(turn)
        if target is not None and not self._can_wait(turn, target):
            self.probe(turn, target)
        while self._extra:
            extra = self._extra.popleft()
            member = self._members.get(extra)
            if member is not None and member.is_here:
                self.probe(turn, extra)

    def _next_target(self, turn: Turn) -> NodeId | None:
        """The member in turn. All are thought of in a ring, by their ids; in each interval of the
        wall clock everybody probes the one that is so many steps on as there were intervals. So
        each is probed by just one other in every interval, as far as clocks agree, and by each of
        the others in as many intervals as there are (4.3). Where each draws an order of its own,
        one in twelve is probed by nobody for two intervals and a half."""
        alive = self._members.alive()
        if alive is not self._alive:
            self._alive = alive
            self._ring = sorted(alive)
            self._rank = bisect(self._ring, self._own)
        if not alive:
            return None
        steps = turn.wall // self._config.probe_interval_ns
        return self._ring[(self._rank + steps) % len(alive)]

    def _can_wait(self, turn: Turn, target: NodeId) -> bool:
        """It is new, most likely, and its turn comes again; there are others to hear from."""
        if not self._bustle.is_on(turn.now):
            return False
        in_touch = self._in_touch()
        return bool(in_touch) and target not in in_touch

    def _send(self, turn: Turn, probing: _Probing) -> None:
        if self._members.get(probing.target) is None or len(self._probes) >= PROBES_MAX:
            return
        self._sequence += 1
        self._probes[self._sequence] = probing
        self._sent[self._sequence] = probing
        if len(self._sent) > PROBES_MAX:
            del self._sent[next(iter(self._sent))]
        news = self._news_for(probing.target)
        turn.send(probing.target, Probe(self._sequence, self._fingerprint(), news))
        wait = self._timeout()
        if not probing.asked_by:
            wait = self._health.stretch(wait)
        self._timers.set(turn.now + wait, self._no_direct_answer, self._sequence)

    def _timeout(self) -> Nanoseconds:
        """How long a node that is well waits for an answer."""
        least = self._config.probe_timeout_ns
        known = sorted(self._round_trips)
        if not known:
            return least
        most = self._config.probe_timeout_max if len(known) >= FEW_ROUND_TRIPS else FEW_ROUND_TRIPS
        return min(max(least, ROUND_TRIP_SHARE * known[(len(known) - 1) // 2]), most * least)

    def _no_direct_answer(self, turn: Turn, sequence: int) -> None:
        probing = self._probes.get(sequence)
        if probing is None or probing.is_indirect:
            return
        if probing.asked_by:
            turn.send(probing.asked_by, ProbeNack(probing.asked_sequence))
            del self._probes[sequence]
            return
        probing.is_indirect = True
        self._unreached(turn, probing.target, probing.sent_at)
        probing.is_settled = self._is_settled(probing.target)
        helpers = [] if probing.is_settled else self._helpers_for(probing.target)
        probing.helpers.update(helpers)
        for helper in helpers:
            news = self._news_for(helper)
            turn.send(helper, ProbeRequest(sequence, probing.target, news))
        # The helper's own time-out, and the two ways to it and back.
        wait = 2 * self._timeout() if helpers or probing.is_settled else 0
        self._timers.set(turn.now + wait, self._no_answer, sequence)
        if not probing.is_settled:
            self._look_around(turn)

    def _no_answer(self, turn: Turn, sequence: int) -> None:
        probing = self._probes.pop(sequence, None)
        if probing is None or (probing.is_settled and not self._is_settled(probing.target)):
            return  # in the second case it has refuted, and nobody was asked to help
        if not probing.is_helped:  # else what is sent here comes, and the others are to blame
            self._health.worse(sum(map(self._is_well, probing.helpers)))
        member = self._members.get(probing.target)
        if member is not None and member.is_here:
            self._missed(turn, probing.target)

    def _helpers_for(self, target: NodeId) -> list[NodeId]:
        """Those that seem to be well and to reach the target; of those with a connection, if they
        are enough: to open three more would take most of the time that there is."""
        wanted = self._config.indirect_probes
        others = [
            node
            for node in self._members.healthy()
            if node != target and not self._avoids(node, target)
        ]
        if len(others) > wanted:
            in_touch = set(self._in_touch())
            near = [node for node in others if node in in_touch]
            others = near if len(near) >= wanted else others
        return self._random.sample(others, min(wanted, len(others)))

    def _is_settled(self, node: NodeId) -> bool:
        """Whether so many accuse it that one more changes nothing."""
        member = self._members.get(node)
        return member is not None and len(member.accusers) > self._config.confirmations_max

    def _is_well(self, node: NodeId) -> bool:
        member = self._members.get(node)
        return member is not None and member.state is State.ALIVE and not member.degraded

    def _look_around(self, turn: Turn) -> None:
        """Somebody is silent: perhaps others are too, and then it is a cut. Those that have not
        answered for longest are asked at once, a few more for each that stays silent: of those to
        whom there was a connection, and only if this node is well itself. Else a team that is
        short of time would spend it on this."""
        if self._health.score:
            return
        asked = {probing.target for probing in self._probes.values()}
        recent = turn.now - self._config.probe_interval_ns
        unsure = [
            node
            for node in self._in_touch()
            if node not in asked
            and self._answered_at.get(node, -1) < recent
            and not self._is_settled(node)
        ]
        for node in self._random.sample(unsure, min(EXTRA_PROBES, len(unsure))):
            self.probe(turn, node)
