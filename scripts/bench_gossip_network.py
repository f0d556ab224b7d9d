"""The network of one team under measurement: a namespace of its own, in which packets are lost.

Members of the first half have addresses 127.0.1.x, those of the second 127.0.2.x, and each process
runs with a group id of its own. When a connection is opened its packets are marked once and for all
with who dialled it and whether it crosses the line between the halves (the address alone would not
tell: what a node dials, the kernel sends from 127.0.0.1, and what a closed socket still sends is
nobody's). What is lost is dropped where it arrives: a packet dropped on its way out makes the send
fail, and then something else is measured.

Nothing outside of the namespace is touched, and the kernel takes it all back with the last process.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

GROUP = 20_000  # of the first member; the others follow
CROSSING = "0x1/0x1"
DIALLER_MASK = "0xfff0"


def dialler_mark(number: int) -> str:
    """On packets of connections that a member dialled."""
    return f"{hex((number + 1) << 4)}/{DIALLER_MASK}"


class Network:
    """Addresses and faults of a team of so many members."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.half = (size + 1) // 2

    def address(self, number: int) -> str:
        """The loopback address of a member."""
        if number < self.half:
            return f"127.0.1.{number + 1}"
        return f"127.0.2.{number - self.half + 1}"

    def group(self, number: int) -> int:
        """The group id that a member's process runs with."""
        return GROUP + number

    def open(self) -> None:
        """Raise the loopback device, and mark what is dialled from now on."""
        _run("ip", "link", "set", "lo", "up")
        _mangle("-N", "DIALLED")
        _mangle("-A", "OUTPUT", "-m", "conntrack", "--ctstate", "NEW", "-j", "DIALLED")
        for number in range(self.size):
            _mark(f"{self.group(number)}", dialler_mark(number))
        last = self.group(self.size - 1)
        line = self.group(self.half)
        _mark(f"{GROUP}-{line - 1}", CROSSING, "-d", "127.0.2.0/24")
        _mark(f"{line}-{last}", CROSSING, "-d", "127.0.1.0/24")

    def cut(self, on: bool) -> None:
        """Lose everything between the halves, or nothing any more."""
        _drop(on, "-m", "connmark", "--mark", CROSSING)

    def deafen(self, number: int, on: bool, dials: bool) -> None:
        """Lose everything that the others send to a member; if it still `dials`, all but what
        answers it on its own connections, as behind a firewall."""
        _drop(on, "-d", self.address(number), *_between_members())
        if dials:
            return
        answers = ("-m", "conntrack", "--ctdir", "REPLY")
        _drop(on, "-m", "connmark", "--mark", dialler_mark(number), *answers)

    def lose(self, share: float, on: bool) -> None:
        """Lose this share of the packets between members."""
        statistic = ("-m", "statistic", "--mode", "random", "--probability", f"{share:g}")
        _drop(on, *_between_members(), *statistic)

    def carried(self) -> int:
        """Bytes that the loopback device has carried."""
        for line in Path("/proc/net/dev").read_text().splitlines():
            if line.strip().startswith("lo:"):
                return int(line.partition(":")[2].split()[0])
        raise SystemExit("this namespace has no loopback device")


def _between_members() -> tuple[str, ...]:
    """Not what the measuring process says to them."""
    return ("-m", "connmark", "!", "--mark", f"0x0/{DIALLER_MASK}")


def _mark(groups: str, mark: str, *where: str) -> None:
    owner = ("-m", "owner", "--gid-owner", groups)
    _mangle("-A", "DIALLED", *owner, *where, "-j", "CONNMARK", "--set-xmark", mark)


def _mangle(*rule: str) -> None:
    _run("iptables", "-w", "-t", "mangle", *rule)


def _drop(on: bool, *what: str) -> None:
    _run("iptables", "-w", "-I" if on else "-D", "INPUT", *what, "-j", "DROP")


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True, text=True)
