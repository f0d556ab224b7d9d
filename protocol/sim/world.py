"""The world: a heap of things to happen, the network, and the hosts.

An event is a thing that was popped from the heap and acted upon: a frame that arrives, well or
damaged, a write that is done, a timer, a fault, an agent's or a client's doing. What turned out to
be void (the timer of an earlier deadline, a write of a machine that has crashed since) is none, nor
is a frame that was lost on the way, for it never was in the heap. A step is a call of `Peer.step`.

Invariant: everything that happens is popped from one heap in (time, number) order, and every
draw comes from a `Random` seeded by the run's seed, so the same seed gives the same trace, byte
for byte, under any PYTHONHASHSEED.
"""

from __future__ import annotations

import hashlib
import heapq
from abc import ABC, abstractmethod
from collections import Counter, deque
from collections.abc import Callable
from typing import Any, TypeAlias

from protocol import codec
from protocol.clocks import MILLISECOND, SECOND, Nanoseconds
from protocol.config import Config
from protocol.effects import Assignment
from protocol.events import AgentFailed, Completed
from protocol.identity import Identity, NodeId
from protocol.jobs import Amount, Usage
from protocol.messages import Message
from protocol.peer import Peer
from protocol.sim.clock import ClockConditions
from protocol.sim.host import Host
from protocol.sim.network import Network
from protocol.sim.signatures import Secrets, SimulatedIdentity
from protocol.sim.watch import Fate, Hooks, Watcher

CLUSTER = "simulated"
TRACE_MAX = 200_000  # lines kept; the digest covers all
STEPS_MAX = 1_000_000  # of one run: more is a storm that would never end
LOOK_EVERY: Nanoseconds = 50 * MILLISECOND  # how often `run` asks whether it is done

_Thing: TypeAlias = tuple[Nanoseconds, int, Callable[..., None], tuple[Any, ...]]

__all__ = ["CLUSTER", "AgentModel", "Host", "Letter", "World"]


class AgentModel(ABC):
    """How long a simulated agent takes and how it ends. `rate` is how many calls its model takes in
    1,000 s, 0 for any number; `price` is millionths of a dollar for a million tokens."""

    rate = 0
    price = 0

    def cost(self, usage: Usage) -> Amount:
        """What a call that uses so much costs."""
        tokens = usage.tokens_in + usage.tokens_out
        return Amount(tokens, -(-tokens * self.price // 1_000_000))

    @abstractmethod
    def perform(self, assignment: Assignment) -> tuple[Nanoseconds, Completed | AgentFailed]:
        """The agent's time, and its end."""

    def refuses(self, now: Nanoseconds) -> Nanoseconds:
        """0 if the model takes a call now, which then counts; else how long to leave it alone."""
        return 0


class Letter:
    """A frame on its way. Messages are immutable, so that a frame that goes to several nodes, or
    arrives twice, is decoded once."""

    __slots__ = ("_message", "frame")

    def __init__(self, frame: bytes) -> None:
        self.frame = frame
        self._message: Message | None = None

    def read(self) -> Message:
        """The message; RemoteProtocolError if the frame is none."""
        if self._message is None:
            self._message = codec.decode(self.frame)
        return self._message


class World:
    """Time, the heap, the network, and the hosts."""

    def __init__(
        self,
        seed: int,
        config: Config,
        network: Network,
        agents: AgentModel,
        clocks: ClockConditions | None = None,
        peer: type[Peer] | None = None,
        real_signatures: bool = False,
    ) -> None:
        self.seed = seed
        self.config = config
        self.network = network
        self.agents = agents
        self.clocks = clocks or ClockConditions()
        self.peer_class = peer or Peer  # tests put a broken one in its place
        self.real_signatures = real_signatures
        self.now: Nanoseconds = 0
        self.steps = 0
        self.steps_max = STEPS_MAX
        self.messages = 0
        self.fates: Counter[Fate] = Counter()
        self.hosts: list[Host] = []
        self.by_node: dict[NodeId, Host] = {}
        self.by_endpoint: dict[str, Host] = {}
        self.watchers: list[Watcher] = []
        self.hooks = Hooks()
        self.trace: deque[str] = deque(maxlen=TRACE_MAX)
        self._trace_hash = hashlib.sha256()
        self._secrets: Secrets = {}
        self._heap: list[_Thing] = []
        self._count = 0
        self._void = 0
        self._last_message: Message | None = None
        self._last_letter = Letter(b"")

    def add_host(self, found: bool, expected: int, seeds: tuple[int, ...] = (0,)) -> Host:
        """A new node, not started yet. The numbers of the nodes whose addresses it is given."""
        host = Host(self, len(self.hosts), found, expected, seeds)
        self.hosts.append(host)
        self.by_node[host.identity.node] = host
        self.by_endpoint[host.endpoint] = host
        return host

    def new_identity(self, name: str) -> Identity:
        """The identity of this name in this world, the same in every run of the seed."""
        seed = hashlib.sha256(f"{self.seed}/{name}".encode()).digest()
        return Identity(seed) if self.real_signatures else SimulatedIdentity(seed, self._secrets)

    # -- time --------------------------------------------------------------------------------------

    def at(self, when: Nanoseconds, action: Callable[..., None], *arguments: Any) -> None:
        """Do something at a time not in the past."""
        assert when >= self.now
        self._count += 1
        heapq.heappush(self._heap, (when, self._count, action, arguments))

    def after(self, delay: Nanoseconds, action: Callable[..., None], *arguments: Any) -> None:
        """Do something in a while."""
        assert delay >= 0
        self._count += 1
        heapq.heappush(self._heap, (self.now + delay, self._count, action, arguments))

    def run(self, until: Nanoseconds, done: Callable[[], bool] | None = None) -> bool:
        """Let things happen up to a time, or until `done` (looked at now and then): whether it came
        to that."""
        heap, pop = self._heap, heapq.heappop
        look_at = self.now if done else until + 1
        while heap and heap[0][0] <= until:
            self.now, _, action, arguments = pop(heap)
            action(*arguments)
            if self.now >= look_at:
                look_at = self.now + LOOK_EVERY
                if done and done():
                    return True
        self.now = until
        return done() if done else False

    @property
    def events(self) -> int:
        """How many there were; see the module's text."""
        return self._count - len(self._heap) - self._void

    def was_void(self) -> None:
        """What was popped just now had lost its meaning."""
        self._void += 1

    # -- what is seen --------------------------------------------------------------------------

    def watch(self, *watchers: Watcher) -> None:
        """Let them see all that happens from now on."""
        self.watchers += watchers
        self.hooks = Hooks(self.watchers)

    def unwatch(self, watcher: Watcher) -> None:
        """Let it see no more."""
        self.watchers.remove(watcher)
        self.hooks = Hooks(self.watchers)

    def letter(self, message: Message) -> Letter:
        """The message as bytes, encoded once while the same one goes to several nodes."""
        if message is not self._last_message:
            self._last_message = message
            self._last_letter = Letter(codec.encode(message))
        return self._last_letter

    def arrived(self, number: int, receiver: Host, fate: Fate) -> None:
        """Tell what became of a copy of a message."""
        self.fates[fate] += 1
        for see in self.hooks.see_arrived:
            see(self.now, number, receiver, fate)

    def note(self, host: Host, text: str) -> None:
        """A line of the trace about one node."""
        self._write(f"n{host.number} {text}")

    def note_fault(self, text: str) -> None:
        """A line of the trace about the world."""
        self._write(f"-- {text}")
        for see in self.hooks.see_fault:
            see(self.now, text)

    def _write(self, text: str) -> None:
        line = f"{self.now // SECOND:5d}.{self.now % SECOND // 1000:06d} {text}"
        self.trace.append(line)
        self._trace_hash.update(line.encode() + b"\n")

    def trace_digest(self) -> str:
        """SHA-256 (hex) over all lines of the trace."""
        return self._trace_hash.hexdigest()
