"""One team under measurement, for `bench.py gossip`: PROGRAM SIZE FOLDER, in namespaces of its own.

Takes orders as JSON lines on standard input, each a cell of the table with its arguments, and
answers each with the cell's figures: {"op": "join"} -> {"join_full_s": [0.21], ...}. It ends with
its standard input, and as the first process of its namespace takes every member along.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import shutil
import signal
import sys
import time
from collections.abc import Awaitable, Callable, Collection, Iterable
from pathlib import Path
from typing import Any

from bench_gossip_members import PROGRAMS, Member
from bench_gossip_network import Network

Figures = dict[str, list[float]]

CELL_S = 600.0  # after which a cell is given up, beside the time that it is told to wait
STARTED_AT_A_TIME = 8
SEEN_S = 120.0  # for everybody to see what happened; what is not seen by then counts as this long
EVENT_S = 15.0
SETTLE_S = 3.0
QUIET_S = 15.0  # before a team is called idle
STALL_S, RUN_S = 4.0, 1.0
STALLED_SHARE = 8
NEWCOMER_VALUE = 10_000  # bytes of an entry
EVENT_EVERY_S = 2.0


class Team:
    """The members and what is done to them. Each cell leaves a whole team behind."""

    def __init__(self, program: str, size: int, folder: Path) -> None:
        self.kind = PROGRAMS[program]
        self.size = size
        self.folder = folder
        self.network = Network(size)
        self.members: list[Member] = []
        self.random = random.Random(1)
        self._events = 0
        self._runs = 0

    # -- cells -------------------------------------------------------------------------------------

    async def join(self) -> Figures:
        """A new team: all started, then all but the seed join the seed at once."""
        await self.stop()
        self._runs += 1
        folder = self.folder / f"run{self._runs}"
        folder.mkdir(parents=True)
        self.members = [
            self.kind(number, self.size, self.network, folder) for number in range(self.size)
        ]
        for at in range(0, self.size, STARTED_AT_A_TIME):
            some = self.members[at : at + STARTED_AT_A_TIME]
            await asyncio.gather(*(member.start() for member in some))
        await asyncio.sleep(1.0)
        begun = time.time()
        await asyncio.gather(*(member.join() for member in self.members[1:]))
        full = await self._seen(self._whole)
        names = self._names(self.members)
        last = max(member.last("joined", begun, names) for member in self.members)
        await asyncio.sleep(SETTLE_S)
        return {
            "join_full_s": [last - begun if full else SEEN_S],
            "join_false": [self._failures(self.members, names, begun)],
        }

    async def idle(self, seconds: float) -> Figures:
        await asyncio.sleep(QUIET_S)
        pids = [member.process.pid for member in self.members]
        carried, used, begun = self.network.carried(), sum(map(_cpu_s, pids)), time.time()
        await asyncio.sleep(seconds)
        lasted = time.time() - begun
        held = sum(map(_pss_mib, pids)) / self.size
        figures = {
            "idle_cpu_percent": [100 * (sum(map(_cpu_s, pids)) - used) / lasted / self.size],
            "idle_bytes_s": [(self.network.carried() - carried) / lasted / self.size],
            "pss_mib": [held],
        }
        if self.kind.is_python:
            figures["pss_above_python_mib"] = [held - await _bare_python_mib()]
        return figures

    async def event(self, count: int) -> Figures:
        """64 bytes told to everybody: until half and all of the others know."""
        half: list[float] = []
        all_of_them: list[float] = []
        missed = 0
        for _ in range(count):
            origin = self.random.choice(self.members)
            others = [member for member in self.members if member is not origin]
            begun, name = time.time(), self._new_event()
            await origin.announce(name)
            await self._seen(lambda name=name: self._heard_by_all(name), EVENT_S)
            times = sorted(
                member.last("event", begun, {name}) - begun
                for member in others
                if member.count("event", begun, {name})
            )
            missed += len(others) - len(times)
            if len(times) == len(others):
                half.append(1e3 * times[len(times) // 2])
                all_of_them.append(1e3 * times[-1])
            await asyncio.sleep(0.3)
        return {"event_half_ms": half, "event_all_ms": all_of_them, "event_missed": [missed]}

    async def crash(self) -> Figures:
        """kill -9, and back again with the same name, address and data."""
        victim = self.random.choice(self.members[1:])
        others = self._without(victim)
        await asyncio.sleep(self.random.random())
        begun = time.time()
        await victim.kill()
        figures = await self._failure_of(victim, begun, "crash")
        launched = time.time()
        await victim.start()
        ready = time.time()
        await victim.join()
        full = await self._seen(self._whole)
        names = self._names(self.members)
        last = max(member.last("joined", launched, names) for member in self.members)
        await asyncio.sleep(SETTLE_S)
        healthy = self._names(others)
        figures["crash_false"] = [self._failures(others, healthy, begun)]
        figures["rejoin_s"] = [max(0.0, last - ready) if full else SEEN_S]
        figures["restart_s"] = [last - launched if full else SEEN_S]
        return figures

    async def silence(self) -> Figures:
        """A member that is stopped, as one whose packets are all lost."""
        victim = self.random.choice(self.members[1:])
        begun = time.time()
        victim.signal(signal.SIGSTOP)
        figures = await self._failure_of(victim, begun, "silence")
        victim.signal(signal.SIGCONT)
        figures["silence_false"] = [
            self._failures(self._without(victim), self._names(self._without(victim)), begun)
        ]
        await self._recover()
        return figures

    async def cut(self, hold_s: float, seed_dies: bool) -> Figures:
        """A cut through the middle; healed, if so wished, without the seed."""
        here, there = self.members[: self.network.half], self.members[self.network.half :]
        sides = [(here, there), (there, here)]
        begun = time.time()
        self.network.cut(True)
        seen = await self._seen(
            lambda: all(
                not member.view & self._names(lost) for side, lost in sides for member in side
            )
        )
        known = max(
            member.last("failed", begun, self._names(lost))
            for side, lost in sides
            for member in side
        )
        false = sum(self._failures(side, self._names(side), begun) for side, _ in sides)
        living = self.members
        if seed_dies:
            living = self.members[1:]
            await self.members[0].kill()
        await asyncio.sleep(hold_s)
        healed = time.time()
        self.network.cut(False)
        whole = await self._seen(lambda: self._whole(living))
        last = max(member.last("joined", healed, self._names(living)) for member in living)
        kind = "cut_seedless" if seed_dies else "cut"
        figures = {f"{kind}_healed_s": [last - healed if whole else SEEN_S]}
        if not seed_dies:
            figures["cut_known_s"] = [known - begun if seen else SEEN_S]
            figures["cut_false"] = [false]
        else:
            await self.members[0].start()
            await asyncio.gather(*(member.join() for member in self.members[1:]))
        await self._recover()
        return figures

    async def deaf(self, seconds: float, dials: bool) -> Figures:
        """What is sent to one member is lost, all of it or what does not answer its own dials:
        what the others report of it meanwhile."""
        victim = self.random.choice(self.members[1:])
        others = self._without(victim)
        begun = time.time()
        self.network.deafen(victim.number, True, dials)
        await asyncio.sleep(seconds)
        kind = "walled" if dials else "deaf"
        figures: Figures = {
            f"{kind}_failures": [self._failures(others, {victim.name}, begun)],
            f"{kind}_rejoins": [sum(each.count("joined", begun, {victim.name}) for each in others)],
            f"{kind}_false": [self._failures(others, self._names(others), begun)],
        }
        self.network.deafen(victim.number, False, dials)
        await self._recover()
        return figures

    async def stalls(self, seconds: float) -> Figures:
        """An eighth of the members stand still most of the time."""
        victims = self.random.sample(self.members[1:], max(1, self.size // STALLED_SHARE))
        healthy = [member for member in self.members if member not in victims]
        begun = time.time()
        while time.time() < begun + seconds:
            for wait_s, number in ((STALL_S, signal.SIGSTOP), (RUN_S, signal.SIGCONT)):
                for victim in victims:
                    victim.signal(number)
                await asyncio.sleep(wait_s)
        await self._recover()
        return {"stalls_false": [self._failures(healthy, self._names(healthy), begun)]}

    async def loss(self, share: float, seconds: float) -> Figures:
        """This share of all packets between members is lost; events are told meanwhile."""
        self.network.lose(share, True)
        figures = await self._watch(f"loss{round(100 * share)}", seconds)
        self.network.lose(share, False)
        await self._recover()
        return figures

    async def loaded(self, seconds: float) -> Figures:
        """As many processes as there are cores want all of them; events are told meanwhile."""
        busy = [
            await asyncio.create_subprocess_exec(sys.executable, "-c", "while True: pass")
            for _ in range(os.cpu_count() or 1)
        ]
        try:
            figures = await self._watch("loaded", seconds)
        finally:
            for process in busy:
                process.kill()
                await process.wait()
        await self._recover()
        return figures

    async def calm(self, seconds: float) -> Figures:
        """Nothing happens."""
        begun = time.time()
        await asyncio.sleep(seconds)
        return {"calm_false": [self._failures(self.members, self._names(self.members), begun)]}

    async def newcomer(self, size: int) -> Figures:
        """In a new team one member loses its disk, and comes again as somebody else. What a member
        had that is gone is kept for it, so that a second one would find more than was shared."""
        await self.join()
        first, *_, last = self.members
        if not await first.share(b"x" * NEWCOMER_VALUE, size // NEWCOMER_VALUE):
            return {}
        assert await self._counts_equal(), "not everybody has what is shared"
        last_folder = last.folder
        await last.kill()
        shutil.rmtree(last_folder)
        last_folder.mkdir()
        last.heard.clear()
        await last.start()
        before = await first.term()
        begun = time.time()
        await last.join()
        has_all = await self._counts_equal()
        took = time.time() - begun
        await asyncio.sleep(SETTLE_S)
        return {
            "newcomer_has_all_s": [took if has_all else SEEN_S],
            "newcomer_terms": [await first.term() - before],
        }

    async def _counts_equal(self) -> bool:
        """Wait until all have as many entries as the first one."""
        until = time.time() + SEEN_S
        while time.time() < until:
            counts = await asyncio.gather(*(member.shared() for member in self.members))
            if len(set(counts)) == 1:
                return True
            await asyncio.sleep(0.05)
        return False

    # -- what they have in common ----------------------------------------------------------------

    async def stop(self) -> None:
        """End all members."""
        for member in self.members:
            await member.kill()
        self.members = []

    async def _failure_of(self, victim: Member, begun: float, kind: str) -> Figures:
        others = self._without(victim)
        seen = await self._seen(lambda: all(victim.name not in each.view for each in others))
        times = sorted(each.last("failed", begun, {victim.name}) - begun for each in others)
        return {
            f"{kind}_known_by_half_s": [times[len(times) // 2] if seen else SEEN_S],
            f"{kind}_known_s": [times[-1] if seen else SEEN_S],
        }

    async def _watch(self, kind: str, seconds: float) -> Figures:
        """Events are told now and then for so long: how late they come, and who is called failed
        meanwhile."""
        names = self._names(self.members)
        begun = time.time()
        told: dict[str, tuple[float, Member]] = {}
        while time.time() < begun + seconds:
            name, origin = self._new_event(), self.random.choice(self.members)
            told[name] = time.time(), origin
            await origin.announce(name)
            await asyncio.sleep(EVENT_EVERY_S)
        await self._seen(lambda: all(map(self._heard_by_all, told)), EVENT_S)
        late, missed = [], 0
        for name, (at, origin) in told.items():
            others = self._without(origin)
            missed += sum(not member.count("event", at, {name}) for member in others)
            late.append(1e3 * (max(member.last("event", at, {name}) for member in others) - at))
        return {
            f"{kind}_false": [self._failures(self.members, names, begun)],
            f"{kind}_event_all_ms": late,
            f"{kind}_event_missed": [missed],
        }

    async def _recover(self) -> None:
        """Until the team is whole; a team that does not get there is not measured any further."""
        if not await self._seen(self._whole):
            lost = {each.name: sorted(self._missing(each)) for each in self.members}
            raise RuntimeError(f"the team is not whole again: {lost}")
        await asyncio.sleep(SETTLE_S)

    async def _seen(self, what: Callable[[], bool], limit_s: float = SEEN_S) -> bool:
        until = time.time() + limit_s
        while not what():
            if time.time() > until:
                return False
            await asyncio.sleep(0.01)
        return True

    def _whole(self, members: Collection[Member] = ()) -> bool:
        living = members or self.members
        return all(member.view >= self._names(living) for member in living)

    def _missing(self, member: Member) -> set[str]:
        return self._names(self.members) - member.view

    def _heard_by_all(self, event: str) -> bool:
        return all(member.count("event", 0.0, {event}) for member in self.members)

    def _without(self, member: Member) -> list[Member]:
        return [each for each in self.members if each is not member]

    @staticmethod
    def _names(members: Iterable[Member]) -> set[str]:
        return {member.name for member in members}

    @staticmethod
    def _failures(members: Iterable[Member], who: set[str], since: float) -> int:
        """How often these members reported the failure of one of those."""
        return sum(member.count("failed", since, who) for member in members)

    def _new_event(self) -> str:
        self._events += 1
        return f"event{self._events}"


def _cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _pss_mib(pid: int) -> float:
    """Memory that a process has for itself, and its share of what it has with others."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) / 1024
    raise RuntimeError(f"no Pss for process {pid}")


async def _bare_python_mib() -> float:
    """What an interpreter takes that does nothing."""
    pipe = asyncio.subprocess.PIPE
    program = "import sys; print(flush=True); sys.stdin.read()"
    bare = await asyncio.create_subprocess_exec(
        sys.executable, "-c", program, stdin=pipe, stdout=pipe
    )
    assert bare.stdout is not None
    await bare.stdout.readline()
    found = _pss_mib(bare.pid)
    bare.kill()
    await bare.wait()
    return found


async def obey(team: Team, order: dict[str, Any]) -> dict[str, Any]:
    """One order, within a bound."""
    cell: Callable[..., Awaitable[Figures]] = getattr(team, order.pop("op"))
    try:
        async with asyncio.timeout(CELL_S + order.get("seconds", 0.0)):
            return {"figures": await cell(**order)}
    except Exception as fault:  # the other teams go on
        return {"fault": f"{type(fault).__name__}: {fault}"}


async def main(program: str, size: int, folder: Path) -> None:
    team = Team(program, size, folder)
    team.network.open()
    orders = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(orders), sys.stdin
    )
    ended = asyncio.create_task(_obey_all(team, orders))
    try:
        await ended
    finally:
        await team.stop()
        shutil.rmtree(folder, ignore_errors=True)
        with contextlib.suppress(OSError):  # the other teams have theirs there
            folder.parent.rmdir()


async def _obey_all(team: Team, orders: asyncio.StreamReader) -> None:
    """Until no more orders can come, whatever is being done then."""
    while line := await orders.readline():
        work = asyncio.create_task(obey(team, json.loads(line)))
        while not work.done():
            await asyncio.wait({work}, timeout=0.2)
            if orders.at_eof():
                work.cancel()
                return
        print(json.dumps(work.result()), flush=True)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2]), Path(sys.argv[3])))
