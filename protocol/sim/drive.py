"""The hardware below a simulated disk: how long a transaction takes, and how it may fail.

Whatever comes while a transaction is being written becomes the next one, as in the journal of a
real process. A transaction is one: wholly durable or wholly not. What was reported durable stays.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from random import Random
from typing import TYPE_CHECKING, TypeAlias

from protocol.clocks import MILLISECOND, Nanoseconds
from protocol.effects import Effect, Persist
from protocol.sim.disk import Disk

if TYPE_CHECKING:
    from protocol.sim.world import World

Transaction: TypeAlias = list[tuple[Persist, list[Effect]]]  # with what follows each Persist


class InFlight(Enum):
    """What becomes of the transaction that is being written while its node crashes."""

    LOST = "lost"  # also: a flush that never reached the platter
    KEPT = "kept"  # durable, though nobody was told
    TORN = "torn"  # half of it is there: the checksum shows that at the next start, and it is lost


class Drive:
    """Writes one node's transactions, one after the other."""

    def __init__(
        self,
        world: World,
        disk: Disk,
        random: Random,
        written: Callable[[Transaction], None],
        failed: Callable[[str], None],
    ) -> None:
        self.world = world
        self.disk = disk
        self.random = random
        self.delay_ns: Nanoseconds = MILLISECOND // 2
        self.is_full = False
        self.fails_next = False
        self.is_torn = False  # what the next start will notice
        self._written = written
        self._failed = failed
        self.hung_at: Nanoseconds | None = None  # it does nothing since then
        self._held_up = False  # the write would be over, were the drive not hung
        self._power_cycles = 0
        self._waiting: Transaction = []
        self._writing: Transaction | None = None

    @property
    def is_idle(self) -> bool:
        """Whether all that was to be written is."""
        return self._writing is None and not self._waiting

    def write(self, persist: Persist, rest: list[Effect]) -> None:
        """Make a Persist durable, then hand back what follows it."""
        self._waiting.append((persist, rest))
        if self._writing is None:
            self._begin()

    def hang(self) -> None:
        """Nothing that is being written gets done until `recover`."""
        self.hung_at = self.world.now

    def recover(self) -> None:
        """The drive works again, and has room."""
        self.is_full = self.fails_next = False
        self.hung_at = None
        if self._held_up:
            self._held_up = False
            self.world.after(1, self._end, self._power_cycles)

    def crash(self, in_flight: InFlight) -> None:
        """The node stops. What has not even been begun is lost in any case."""
        if self._writing is not None and in_flight is InFlight.KEPT and not self.is_full:
            self._commit(self._writing)
        self.is_torn = self._writing is not None and in_flight is InFlight.TORN
        self._power_cycles += 1
        self._waiting, self._writing, self._held_up = [], None, False

    def _begin(self) -> None:
        self._writing, self._waiting = self._waiting, []
        delay = int(self.random.expovariate(1.0) * self.delay_ns) + 1
        self.world.after(delay, self._end, self._power_cycles)

    def _end(self, power_cycles: int) -> None:
        if power_cycles != self._power_cycles or self._writing is None:
            self.world.was_void()
            return
        if self.hung_at is not None:
            self._held_up = True
            return
        if self.is_full or self.fails_next:
            self.fails_next = False
            self._failed("the disk is full" if self.is_full else "a write failed")
            return
        transaction, self._writing = self._writing, None
        self._commit(transaction)
        if self._waiting:
            self._begin()
        self._written(transaction)

    def _commit(self, transaction: Transaction) -> None:
        for persist, _ in transaction:
            self.disk.write(persist.records)
