"""The world: a heap of things to happen, and the hosts that perform their peers' effects.

Invariant: everything that happens is popped from one heap in (time, number) order, and every
draw comes from a `Random` seeded by the run's seed, so the same seed gives the same trace, byte
for byte, under any PYTHONHASHSEED.
"""

from __future__ import annotations

import hashlib
import heapq
from collections import deque
from collections.abc import Callable
from random import Random
from typing import Protocol, TypeAlias

from protocol import codec
from protocol.clocks import MILLISECOND, SECOND, Nanoseconds
from protocol.config import Config
from protocol.effects import (
    Abort,
    Assignment,
    Effect,
    Invoke,
    Persist,
    ReadAnswered,
    Refused,
    Reply,
    Report,
    Results,
    Send,
)
from protocol.events import (
    AgentFailed,
    Completed,
    Event,
    Failure,
    LinkFault,
    Persisted,
    Progressed,
    Received,
    TimerFired,
    Undeliverable,
)
from protocol.facts import Fact
from protocol.identity import NOBODY, Identity, NodeId
from protocol.jobs import NO_USAGE
from protocol.messages import Message
from protocol.peer import Peer, PeerSettings
from protocol.sim.disk import Disk
from protocol.sim.network import Network

CLUSTER = "simulated"
WALL_START: Nanoseconds = 1_700_000_000 * SECOND
TRACE_MAX = 200_000  # lines kept; the digest covers all

Action: TypeAlias = Callable[[], None]


class Watcher(Protocol):
    """Sees every fact as it happens and every message as it leaves, e.g. a checker."""

    def see(self, at: Nanoseconds, host: Host, fact: Fact) -> None: ...

    def see_sent(self, host: Host, message: Message) -> None: ...


class AgentModel(Protocol):
    """How long a simulated agent takes and how it ends."""

    def perform(self, assignment: Assignment) -> tuple[Nanoseconds, Completed | AgentFailed]: ...


class World:
    """Time, the heap, the network, and the hosts."""

    def __init__(self, seed: int, config: Config, network: Network, agents: AgentModel) -> None:
        self.seed = seed
        self.config = config
        self.network = network
        self.agents = agents
        self.now: Nanoseconds = 0
        self.steps = 0
        self.hosts: list[Host] = []
        self.by_node: dict[NodeId, Host] = {}
        self.watchers: list[Watcher] = []
        self.trace: deque[str] = deque(maxlen=TRACE_MAX)
        self._trace_hash = hashlib.sha256()
        self._heap: list[tuple[Nanoseconds, int, Action]] = []
        self._count = 0

    def add_host(self, found: bool, expected: int) -> Host:
        """A new node, not started yet. The first one's address is everybody's seed."""
        host = Host(self, len(self.hosts), found, expected)
        self.hosts.append(host)
        self.by_node[host.identity.node] = host
        return host

    def at(self, when: Nanoseconds, action: Action) -> None:
        """Do something at a time not in the past."""
        assert when >= self.now
        self._count += 1
        heapq.heappush(self._heap, (when, self._count, action))

    def run(self, until: Nanoseconds, done: Callable[[], bool] | None = None) -> bool:
        """Let things happen up to a time, or until `done` (looked at every 50 ms): whether it
        came to that."""
        look_at = self.now
        while self._heap and self._heap[0][0] <= until:
            self.now, _, action = heapq.heappop(self._heap)
            action()
            if done and self.now >= look_at:
                look_at = self.now + 50 * MILLISECOND
                if done():
                    return True
        self.now = until
        return done() if done else False

    def note(self, host: Host, text: str) -> None:
        """A line of the trace."""
        line = f"{self.now / SECOND:12.6f} n{host.number} {text}"
        self.trace.append(line)
        self._trace_hash.update(line.encode() + b"\n")

    def trace_digest(self) -> str:
        """SHA-256 (hex) over all lines of the trace."""
        return self._trace_hash.hexdigest()


class Host:
    """One simulated process: a peer, a disk, a timer, running agents."""

    def __init__(self, world: World, number: int, found: bool, expected: int) -> None:
        self.world = world
        self.number = number
        self.found = found
        self.expected = expected
        self.identity = Identity(hashlib.sha256(f"{world.seed}/{number}".encode()).digest())
        self.random = Random(f"{world.seed}/host/{number}")
        self.disk = Disk()
        self.peer: Peer | None = None
        self.replies: dict[int, Reply] = {}
        self.answers: list[Results | ReadAnswered | Refused] = []
        self.disk_delay_ns: Nanoseconds = MILLISECOND // 2
        self._life = 0  # events of an earlier life are void
        self._timer: Nanoseconds | None = None
        self._writes: list[tuple[Persist, list[Effect]]] = []  # for the next transaction
        self._disk_is_busy = False
        self._agents: dict[int, bool] = {}  # invocation -> aborted

    @property
    def endpoint(self) -> str:
        return f"sim-{self.number}:1"

    @property
    def is_up(self) -> bool:
        return self.peer is not None

    def start(self) -> None:
        """Start, or start again with what the disk kept."""
        assert self.peer is None
        self._life += 1
        self.disk.starts += 1
        settings = PeerSettings(
            cluster=CLUSTER,
            name=f"n{self.number}",
            endpoints=(self.endpoint,),
            seeds=(self.world.hosts[0].endpoint,),
            epoch=self.disk.starts,
            found=self.found,
            expected=self.expected,
            seed=str(self.world.seed),
            wall_offset=WALL_START,
        )
        now = self.world.now
        self.peer = Peer(self.identity, settings, self.world.config, self.disk.restored(), now)
        self.world.note(self, f"# started epoch={self.disk.starts}")
        self._step(TimerFired())

    def crash(self) -> None:
        """Stop between two events: what was not durable is lost, and the others notice."""
        assert self.peer is not None
        self.world.note(self, "# crashed")
        self.peer = None
        self._timer = None
        self._life += 1
        self._writes.clear()
        self._disk_is_busy = False
        self._agents.clear()
        for other in self.world.hosts:
            if other.is_up and (self.number, other.number) not in self.world.network.blocked:
                fault = Undeliverable(self.identity.node, self.endpoint, LinkFault.RESET)
                other.later(self.world.network.delay(), fault)

    def submit(self, event: Event) -> None:
        """A local client's wish."""
        self._step(event)

    def later(self, delay: Nanoseconds, event: Event) -> None:
        """Let an event happen to this host unless it crashes before."""
        life = self._life
        self.world.at(self.world.now + delay, lambda: self._take(life, event))

    # -- stepping --------------------------------------------------------------------------------

    def _take(self, life: int, event: Event) -> None:
        if life == self._life and self.peer is not None:
            self._step(event)

    def _receive(self, sender: Host, frame: bytes, life: int) -> None:
        if self.peer is None or life != self._life:
            return
        self._step(Received(sender.identity.node, codec.decode(frame)))

    def _step(self, event: Event) -> None:
        assert self.peer is not None
        self.world.steps += 1
        effects = self.peer.step(event, self.world.now)
        self._perform(effects)
        if self.peer is not None:
            self._arm()

    def _arm(self) -> None:
        assert self.peer is not None
        deadline = self.peer.deadline()
        if deadline is None or (self._timer is not None and self._timer <= deadline):
            return  # the earlier timer will look again
        self._timer = deadline = max(deadline, self.world.now)
        life = self._life
        self.world.at(deadline, lambda: self._fire(life, deadline))

    def _fire(self, life: int, deadline: Nanoseconds) -> None:
        if life != self._life or self.peer is None or self._timer != deadline:
            return
        self._timer = None
        due = self.peer.deadline()
        if due is not None and due <= self.world.now:
            self._step(TimerFired())
        else:
            self._arm()

    # -- effects ---------------------------------------------------------------------------------

    def _perform(self, effects: list[Effect]) -> None:
        for at, effect in enumerate(effects):
            match effect:
                case Persist():
                    self._write(effect, effects[at + 1 :])
                    return
                case Send():
                    self._send(effect)
                case Invoke():
                    self._invoke(effect)
                case Abort():
                    self._abort(effect)
                case Reply():
                    self.replies[effect.request] = effect
                case Results() | ReadAnswered() | Refused():
                    self.answers.append(effect)
                case Report():
                    self.world.note(self, str(effect.fact))
                    for watcher in self.world.watchers:
                        watcher.see(self.world.now, self, effect.fact)

    def _write(self, persist: Persist, rest: list[Effect]) -> None:
        """Whatever comes while the disk is busy becomes the next transaction, as in the journal of
        a real process."""
        self._writes.append((persist, rest))
        if not self._disk_is_busy:
            self._begin_transaction()

    def _begin_transaction(self) -> None:
        self._disk_is_busy = True
        transaction, self._writes = self._writes, []
        delay = int(self.random.expovariate(1.0) * self.disk_delay_ns) + 1
        life = self._life
        self.world.at(self.world.now + delay, lambda: self._written(life, transaction))

    def _written(self, life: int, transaction: list[tuple[Persist, list[Effect]]]) -> None:
        if life != self._life:
            return
        for persist, _ in transaction:
            self.disk.write(persist.records)
        self._disk_is_busy = False
        if self._writes:
            self._begin_transaction()
        for _, rest in transaction:
            self._perform(rest)
        self._step(Persisted(transaction[-1][0].sequence))

    def _send(self, effect: Send) -> None:
        world = self.world
        for watcher in world.watchers:
            watcher.see_sent(self, effect.message)
        receiver = world.by_node.get(effect.destination)
        if effect.destination == NOBODY:
            receiver = next(host for host in world.hosts if host.endpoint == effect.endpoints[0])
        if receiver is None or receiver is self:
            return
        frame = codec.encode(effect.message)
        for delay in world.network.deliveries(self.number, receiver.number):
            if receiver.is_up:
                self._deliver(receiver, frame, delay)
            else:
                endpoint = receiver.endpoint
                fault = Undeliverable(effect.destination, endpoint, LinkFault.REFUSED)
                self.later(delay, fault)

    def _deliver(self, receiver: Host, frame: bytes, delay: Nanoseconds) -> None:
        life = receiver._life
        self.world.at(self.world.now + delay, lambda: receiver._receive(self, frame, life))

    def _invoke(self, effect: Invoke) -> None:
        self._agents[effect.invocation] = False
        delay, end = self.world.agents.perform(effect.assignment)
        life = self._life
        number = effect.invocation
        if isinstance(end, Completed) and end.files:  # the first file is there half-way
            progressed = Progressed(number, end.files[:1])
            self.later(delay // 2, progressed)
        self.world.at(self.world.now + delay, lambda: self._agent_ended(life, number, end))

    def _abort(self, effect: Abort) -> None:
        if effect.invocation in self._agents:
            self._agents[effect.invocation] = True
            end = AgentFailed(effect.invocation, Failure.ABORTED, effect.reason, (), NO_USAGE)
            self.later(MILLISECOND, end)

    def _agent_ended(self, life: int, number: int, end: Completed | AgentFailed) -> None:
        if life != self._life or self._agents.pop(number, True):
            return
        match end:
            case Completed():
                self._step(Completed(number, end.files, end.text, end.usage))
            case AgentFailed():
                failed = AgentFailed(number, end.reason, end.detail, end.files, end.usage)
                self._step(failed)
