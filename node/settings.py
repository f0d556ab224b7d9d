"""What a node process is told: command line and environment, checked before anything starts.

Secrets and keys come from the environment or files, never from the command line, where any user
of the machine could read them.
"""

from __future__ import annotations

import argparse
import ipaddress
import os
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from protocol import config as presets
from protocol.errors import QuorateError

DEFAULT_PORT = 7400
DEFAULT_CLUSTER = "quorate"


class SettingsError(QuorateError):
    """A setting that cannot be used. One line: what is wrong, and what to do."""


@dataclass(frozen=True, slots=True)
class Address:
    """Host and port to listen on; port 0 takes a free one."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @classmethod
    def parse(cls, text: str, default_port: int) -> Address:
        """'host', 'host:port' or '[v6]:port'; SettingsError otherwise."""
        if text.startswith("["):
            host, _, rest = text[1:].partition("]")
            port = rest.removeprefix(":")
        else:
            host, _, port = text.partition(":")
        if not port:
            return cls(host, default_port)
        if not host or not port.isdecimal() or int(port) > 65_535:
            raise SettingsError(f"{text!r} is no address: write host:port, e.g. 127.0.0.1:7400")
        return cls(host, int(port))

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine reaches it; a name counts only if it is 'localhost'."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False

    @property
    def is_everywhere(self) -> bool:
        """Whether it stands for all addresses of the machine, and so names none."""
        return self.host in ("", "0.0.0.0", "::")


@dataclass(frozen=True, slots=True)
class NodeSettings:
    """One node. `listen_fd` and `door_fd` are sockets inherited from a launcher, or -1."""

    name: str
    data_dir: Path
    cluster: str
    secret: str
    listen: Address
    advertise: str
    door: Address
    token: str
    seeds: tuple[str, ...]
    found: bool
    expected: int
    preset: str
    slots: int
    seed: str
    allow_faults: bool
    simulated_url: str
    speed: float
    listen_fd: int = -1
    door_fd: int = -1
    stop_with_parent: bool = False


def parser() -> argparse.ArgumentParser:
    """The options of `quorate node`."""
    p = argparse.ArgumentParser(
        prog="quorate node",
        description="Run one node of a team in the foreground.",
        epilog="The cluster's secret is read from QUORATE_SECRET or --secret-file; the client "
        "door's token from QUORATE_TOKEN. A model is chosen by OPENAI_BASE_URL, OPENAI_API_KEY "
        "and OPENAI_MODEL.",
    )
    p.add_argument("--name", default=socket.gethostname()[:64], help="how people call this node")
    p.add_argument("--data-dir", type=Path, required=True, help="journal, key and logs")
    p.add_argument("--cluster", default=DEFAULT_CLUSTER, help="the team's name")
    p.add_argument("--secret-file", type=Path, help="a file with the team's secret")
    p.add_argument("--listen", default=f"127.0.0.1:{DEFAULT_PORT}", help="for the other nodes")
    p.add_argument("--advertise", default="", help="host:port that others shall dial")
    p.add_argument("--door", default="127.0.0.1:0", help="for clients; loopback unless a token")
    p.add_argument("--join", action="append", default=[], metavar="HOST:PORT", help="a seed")
    p.add_argument("--found", action="store_true", help="be the first node of a new team")
    p.add_argument("--expect", type=int, default=1, help="how many nodes will come")
    p.add_argument("--preset", choices=sorted(presets.PRESETS), default="lan")
    p.add_argument("--slots", type=int, default=1, help="agents that run at a time")
    p.add_argument("--seed", default="", help="feeds the node's random choices; for studies")
    p.add_argument("--allow-faults", action="store_true", help="let clients cut this node's links")
    p.add_argument("--simulated-url", default="", help="a running simulated model to use")
    p.add_argument("--speed", type=float, default=4.0, help="of a simulated model of its own")
    p.add_argument("--listen-fd", type=int, default=-1, help=argparse.SUPPRESS)
    p.add_argument("--door-fd", type=int, default=-1, help=argparse.SUPPRESS)
    p.add_argument("--stop-with-parent", action="store_true", help=argparse.SUPPRESS)
    return p


def from_arguments(arguments: Sequence[str]) -> NodeSettings:
    """Settings from a command line and the environment; SettingsError names what is wrong."""
    given = parser().parse_args(arguments)
    listen = Address.parse(given.listen, DEFAULT_PORT)
    door = Address.parse(given.door, 0)
    token = os.environ.get("QUORATE_TOKEN", "")
    if not door.is_loopback and not token:
        raise SettingsError(
            f"the client door would listen on {door} without a token: "
            "set QUORATE_TOKEN, or use a loopback address"
        )
    if not given.found and not given.join and not (given.data_dir / "journal.db").exists():
        raise SettingsError("nobody to join: give --join HOST:PORT, or --found for the first node")
    if listen.is_everywhere and not given.advertise:
        raise SettingsError(f"other nodes cannot dial {listen}: give --advertise HOST:PORT")
    if given.slots < 1 or given.expect < 1:
        raise SettingsError("--slots and --expect must be at least 1")
    if not 0.0 < given.speed <= 1_000_000.0:
        raise SettingsError("--speed must be above 0 and at most 1000000")
    if len(given.name) > 64 or not given.name.isprintable() or not given.name:
        raise SettingsError("--name must be 1 to 64 printable characters")
    return NodeSettings(
        name=given.name,
        data_dir=given.data_dir,
        cluster=given.cluster,
        secret=_secret(given.secret_file),
        listen=listen,
        advertise=given.advertise,
        door=door,
        token=token,
        seeds=tuple(str(Address.parse(seed, DEFAULT_PORT)) for seed in given.join),
        found=given.found,
        expected=given.expect,
        preset=given.preset,
        slots=given.slots,
        seed=given.seed,
        allow_faults=given.allow_faults,
        simulated_url=given.simulated_url,
        speed=given.speed,
        listen_fd=given.listen_fd,
        door_fd=given.door_fd,
        stop_with_parent=given.stop_with_parent,
    )


def _secret(path: Path | None) -> str:
    if path is None:
        secret = os.environ.get("QUORATE_SECRET", "")
    else:
        try:
            secret = path.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as fault:
            raise SettingsError(f"--secret-file {path} cannot be read: {fault}") from None
    if len(secret) < 16:
        raise SettingsError(
            "the team's secret is missing or shorter than 16 characters: "
            "set QUORATE_SECRET or give --secret-file"
        )
    return secret
