"""One simulated process: a peer, its disk, clocks, timer and agents.

The host does what a real one does: performs effects in order, holds back what follows a `Persist`
until that is durable, keeps one timer. It may be stopped between any two effects, paused (nothing
runs, messages wait in a bounded buffer, timers fire late), or slow (every step takes a while).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from random import Random
from typing import TYPE_CHECKING, Any

from protocol.clocks import SECOND, Nanoseconds
from protocol.effects import (
    Abort,
    Asked,
    CallDenied,
    CallGranted,
    Effect,
    Gathered,
    Invoke,
    Persist,
    ReadAnswered,
    ReadPart,
    Refused,
    Reply,
    Report,
    Results,
    Send,
)
from protocol.errors import RemoteProtocolError
from protocol.events import (
    Answered,
    Event,
    LinkFault,
    PartRead,
    Persisted,
    Received,
    Stopping,
    TimerFired,
    Undeliverable,
)
from protocol.identity import NOBODY, NodeId
from protocol.messages import Message
from protocol.messages.agreement import Agreement, VoteReply, VoteRequest
from protocol.peer import Peer, PeerSettings
from protocol.sim.clock import HostClock
from protocol.sim.disk import Disk
from protocol.sim.drive import Drive, InFlight, Transaction
from protocol.sim.errands import Errands
from protocol.sim.garbling import garbled
from protocol.sim.watch import Fate, InvariantBroken

if TYPE_CHECKING:
    from protocol.sim.world import AgentModel, Letter, World

BACKLOG_MAX = 1_024  # messages that wait for a paused or slow process; more are lost
SUPERVISOR_NS: Nanoseconds = SECOND  # after so long a node that stopped by itself is started again

_Deed = Callable[[Any], None]
_TIMER_FIRED = TimerFired()


class Host:
    """See the module's text."""

    def __init__(
        self, world: World, number: int, found: bool, expected: int, seeds: tuple[int, ...]
    ) -> None:
        self.world = world
        self.number = number
        self.found = found
        self.expected = expected
        self.seeds = seeds
        self.endpoint = f"sim-{number}:1"
        self.identity = world.new_identity(str(number))
        self.random = Random(f"{world.seed}/host/{number}")
        self.agents: AgentModel = world.agents
        self.disk = Disk()
        self.drive = Drive(world, self.disk, self.random, self._written, self._disk_failed)
        self.clock = HostClock(world.clocks)
        self.peer: Peer | None = None
        self.replies: dict[int, Reply] = {}
        self.answers: list[Results | ReadAnswered | Refused] = []
        self.gathered: list[Gathered] = []
        self.is_gone = False  # left, or died for good
        self.is_silent = False  # down as a machine is, not as a process: refuses nothing
        self.fuse = 0  # effects until it crashes; 0 for never
        self.is_garbling = False  # what it passes on of others
        self.loses_next = ""  # the class of a message that will be lost, once
        self.crashes_after = ""  # the class of a message after which it crashes, once
        self.back_ns: Nanoseconds = 0  # how long after that it starts again
        self._life = 0  # what an earlier life began is void
        self._due: Nanoseconds | None = None  # the peer's deadline, by its own clock
        self._timer: Nanoseconds | None = None  # the world's time
        self._errands = Errands(self)
        self._retires = False  # it was told to stop
        self._is_paused = False
        self._step_ns: Nanoseconds = 0
        self._busy_until: Nanoseconds = 0
        self._queues = False  # whether what happens has to wait its turn
        self._backlog: deque[tuple[_Deed, Any]] = deque()

    def __repr__(self) -> str:
        return f"<Host n{self.number} {self.peer!r}>"

    @property
    def is_up(self) -> bool:
        return self.peer is not None

    @property
    def is_behind(self) -> bool:
        """Whether the process is stopped or slow, or has not done yet all that has happened."""
        return self._queues

    @property
    def own_time(self) -> Nanoseconds:
        """What its monotonic clock reads now."""
        now = self.world.now
        return now if self.clock.is_exact else self.clock.reading(now)

    @property
    def disk_delay_ns(self) -> Nanoseconds:
        """The mean time that a transaction takes."""
        return self.drive.delay_ns

    @disk_delay_ns.setter
    def disk_delay_ns(self, delay: Nanoseconds) -> None:
        self.drive.delay_ns = delay

    # -- life ------------------------------------------------------------------------------------

    def start(self) -> None:
        """Start, or start again with what the disk kept."""
        assert self.peer is None
        world = self.world
        self._life += 1
        self.disk.starts += 1
        self.clock.restart(world.now, self.random)
        self.is_silent = False
        settings = PeerSettings(
            cluster="simulated",
            name=f"n{self.number}",
            endpoints=(self.endpoint,),
            seeds=tuple(world.hosts[seed].endpoint for seed in self.seeds),
            epoch=self.disk.starts,
            found=self.found,
            expected=self.expected,
            seed=str(world.seed),
            wall_offset=self.clock.wall_offset,
        )
        now = self.own_time
        self.peer = world.peer_class(
            self.identity, settings, world.config, self.disk.restored(), now
        )
        torn, self.drive.is_torn = self.drive.is_torn, False
        world.note(self, f"# started epoch={self.disk.starts}{' torn' if torn else ''}")
        for see in world.hooks.see_started:
            see(world.now, self)
        self._step(_TIMER_FIRED)

    def retire(self) -> None:
        """SIGTERM: the process ends as soon as it has let go of everything."""
        self._retires = True
        self.submit(Stopping())

    def end_retirement(self) -> None:
        """Kill it if it has not."""
        if self._retires and self.peer is not None and not self.is_gone:
            self.crash("stopped", in_flight=InFlight.KEPT)

    def crash(
        self,
        why: str = "crashed",
        silent: bool = False,
        in_flight: InFlight = InFlight.LOST,
    ) -> None:
        """Stop between two events or effects: what was not durable is lost. Unless the machine
        went down `silent`, the others notice that their connections break."""
        assert self.peer is not None
        world = self.world
        world.note(self, f"# {why}")
        self.drive.crash(in_flight)
        self.peer = None
        self._retires = False
        self.is_silent = silent
        self.fuse = 0
        self._due = self._timer = None
        self._life += 1
        self._errands.clear()
        self._backlog.clear()
        self._is_paused = self._queues = False
        self._step_ns = self._busy_until = 0
        for see in world.hooks.see_stopped:
            see(world.now, self, why)
        for other in world.hosts if not silent else ():
            if other.is_up and (self.number, other.number) not in world.network.blocked:
                fault = Undeliverable(self.identity.node, self.endpoint, LinkFault.RESET)
                other.later(world.network.delay(), fault)

    def _disk_failed(self, why: str) -> None:
        """A process whose journal cannot be written stops; its supervisor tries again."""
        self.crash(f"stopped: {why}")
        self.world.after(SUPERVISOR_NS, self.start_again)

    def start_again(self) -> None:
        """Start unless it is up, or gone for good."""
        if self.peer is None and not self.is_gone:
            self.start()

    def submit(self, event: Event) -> None:
        """A local client's wish."""
        self._do(self._life, self._step, event)

    def later(self, delay: Nanoseconds, event: Event) -> None:
        """Let an event happen to this host unless it crashes before."""
        self.deed_after(delay, self._step, event)

    def deed_after(self, delay: Nanoseconds, deed: _Deed, argument: Any) -> None:
        """Let the process do something after a while, unless it crashes before."""
        self.world.after(delay, self._do, self._life, deed, argument)

    def take(self, event: Event) -> None:
        """Let an event happen to the process now, as part of what it does."""
        self._step(event)

    # -- a process that is stopped, or slow --------------------------------------------------------

    def pause(self) -> None:
        """SIGSTOP: the process does nothing, the machine goes on."""
        self._is_paused = self._queues = True

    def resume(self) -> None:
        """SIGCONT: all that has waited happens now."""
        if self._is_paused:
            self._is_paused = False
            self._drain(self._life)

    def slow_down(self, step_ns: Nanoseconds) -> None:
        """Every step takes this long from now on; 0 for no time at all."""
        self._step_ns = step_ns
        self._queues = True
        self._drain(self._life)

    def _do(self, life: int, deed: _Deed, argument: Any) -> None:
        """Let the process do something, unless it is not the same any more."""
        if life != self._life:
            if deed == self._receive:
                self.world.arrived(argument[2], self, Fate.LOST)
            else:
                self.world.was_void()
            return
        if not self._queues:
            deed(argument)
            return
        if deed == self._receive and len(self._backlog) >= BACKLOG_MAX:
            self.world.arrived(argument[2], self, Fate.LOST)
            return
        self._backlog.append((deed, argument))
        if len(self._backlog) == 1:  # else somebody waits for the first one already
            self._drain(life)

    def _drain(self, life: int) -> None:
        if life != self._life:
            return
        world, backlog = self.world, self._backlog
        while backlog and not self._is_paused and self.peer is not None:
            if world.now < self._busy_until:
                world.at(self._busy_until, self._drain, life)
                return
            deed, argument = backlog.popleft()
            deed(argument)
        if not backlog and not self._is_paused and not self._step_ns:
            self._queues = False

    def speak_clearly(self) -> None:
        """What it passes on is what it got, from now on."""
        self.is_garbling = False

    # -- stepping --------------------------------------------------------------------------------

    def _receive(self, arrival: tuple[NodeId, Letter, int]) -> None:
        sender, letter, number = arrival
        try:
            message = letter.read()
        except RemoteProtocolError:
            self.world.arrived(number, self, Fate.CORRUPTED)
            return
        self.world.arrived(number, self, Fate.DELIVERED)
        self._step(Received(sender, message))

    def _receive_damaged(self, arrival: tuple[NodeId, Letter, int]) -> None:
        """Whatever a bad line does to a frame, the codec notices."""
        try:
            message = arrival[1].read()
        except RemoteProtocolError:
            self.world.arrived(arrival[2], self, Fate.CORRUPTED)
            return
        raise InvariantBroken("corruption_noticed", f"a damaged frame gave {message}")

    def _step(self, event: Event) -> None:
        peer, world = self.peer, self.world
        assert peer is not None
        world.steps += 1
        assert world.steps <= world.steps_max, "a storm: the steps never end"
        now = self.own_time
        effects = peer.step(event, now)
        if effects:
            self._perform(effects)
        if self._retires and self.peer is peer and peer.is_over and self.drive.is_idle:
            self.end_retirement()
        if self.peer is peer:
            self._due = peer.deadline()
            self._arm()
            if self._step_ns:
                self._busy_until = world.now + self._step_ns

    def _arm(self) -> None:
        due = self._due
        if due is None:
            return
        at = due if self.clock.is_exact else self.clock.world_time(due)
        if self._timer is not None and self._timer <= at:
            return  # the earlier timer will look again
        world = self.world
        self._timer = at = max(at, world.now)
        world.at(at, self._do, self._life, self._fire, at)

    def _fire(self, at: Nanoseconds) -> None:
        if self._timer != at:
            self.world.was_void()
            return
        self._timer = None
        now = self.own_time
        if self._due is not None and self._due <= now:
            self._step(_TIMER_FIRED)
        else:
            self._arm()

    # -- effects ---------------------------------------------------------------------------------

    def _perform(self, effects: list[Effect]) -> None:
        life = self._life
        for at, effect in enumerate(effects):
            if self.fuse:
                self.fuse -= 1
                if not self.fuse:
                    self.crash(f"crashed before {type(effect).__name__}")
                    self.world.after(SUPERVISOR_NS, self.start_again)
                    return
            match effect:
                case Send():
                    self._send(effect)
                case Persist():
                    for see_kept in self.world.hooks.see_kept:
                        see_kept(self.world.now, self, effect.records)
                    self.drive.write(effect, effects[at + 1 :])
                    return
                case Report():
                    self.world.note(self, str(effect.fact))
                    for see in self.world.hooks.see:
                        see(self.world.now, self, effect.fact)
                case Invoke():
                    self._errands.start(effect)
                case Abort():
                    self._errands.abort(effect)
                case CallGranted() | CallDenied():
                    self._errands.permit(effect)
                case Reply():
                    self.replies[effect.request] = effect
                    for see in self.world.hooks.see_reply:
                        see(self.world.now, self, effect)
                case Asked():
                    self.submit(Answered(effect.origin, effect.number, "here"))
                case ReadPart():
                    _, parts = self.disk.blobs.get(effect.blob, (b"", {}))
                    data = parts.get(effect.part)
                    self.submit(PartRead(effect.blob, effect.part, effect.destination, data))
                case Gathered():
                    self.gathered.append(effect)
                case Results() | ReadAnswered() | Refused():
                    self.answers.append(effect)
                    for see in self.world.hooks.see_answer:
                        see(self.world.now, self, effect)
            if life != self._life:
                return

    def _written(self, transaction: Transaction) -> None:
        self._do(self._life, self._go_on, transaction)

    def _go_on(self, transaction: Transaction) -> None:
        """The process hears that a transaction is durable."""
        life = self._life
        for _, rest in transaction:
            self._perform(rest)
            if life != self._life:
                return
        self._step(Persisted(transaction[-1][0].sequence))

    def _send(self, effect: Send) -> None:
        world = self.world
        if effect.destination == NOBODY:
            receiver = world.by_endpoint.get(effect.endpoints[0])
        else:
            receiver = world.by_node.get(effect.destination)
        if receiver is None or receiver is self:
            return
        message = effect.message
        if self.is_garbling:
            message = garbled(message, self.identity.node)
        world.messages += 1
        number = world.messages
        for see in world.hooks.see_sent:
            see(world.now, number, self, receiver, message)
        letter = world.letter(message)
        network = world.network
        delays = network.deliveries(self.number, receiver.number, world.now)
        if self.loses_next and _name_of(effect.message) == self.loses_next:
            self.loses_next = ""
            delays = []
        if not delays:
            world.arrived(number, receiver, Fate.LOST)
        for delay in delays:
            if not receiver.is_up:
                self._fail_to_deliver(effect, receiver, number, delay)
                continue
            arrival = (self.identity.node, letter, number)
            deed: _Deed = receiver._receive
            if network.corruption and network.random.random() < network.corruption:
                arrival = (self.identity.node, type(letter)(network.damage(letter.frame)), number)
                deed = receiver._receive_damaged
            world.after(delay, receiver._do, receiver._life, deed, arrival)
        if self.crashes_after and _name_of(effect.message) == self.crashes_after:
            self.crashes_after = ""
            self.crash(f"crashed after {_name_of(effect.message)}")
            world.after(self.back_ns, self.start_again)

    def _fail_to_deliver(
        self, effect: Send, receiver: Host, number: int, delay: Nanoseconds
    ) -> None:
        if receiver.is_silent:
            self.world.arrived(number, receiver, Fate.LOST)
            return
        self.world.arrived(number, receiver, Fate.REFUSED)
        fault = Undeliverable(effect.destination, receiver.endpoint, LinkFault.REFUSED)
        self.later(delay, fault)


def _name_of(message: Message) -> str:
    """Its class, or that of what lies in the envelope; a pre-vote is told from a vote."""
    inner = message.message if isinstance(message, Agreement) else message
    name = type(inner).__name__
    return f"Pre{name}" if isinstance(inner, VoteRequest | VoteReply) and inner.pre else name
