"""What a node process is told: command line and environment, checked before anything starts.

Secrets and keys come from the environment or files, never from the command line, where any user
of the machine could read them; they stay out of messages and reprs too.

Invariant: settings that exist are valid, as far as this process alone can tell. What is not is one
line that names the option or the variable, and what it may be.
"""

from __future__ import annotations

import argparse
import ipaddress
import os
import re
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn
from urllib.parse import urlsplit

from node.model.knobs import SPEED_MAX
from node.token import checked_token
from protocol import config as presets
from protocol.announcing import NAME_LENGTH_MAX as QUERY_LENGTH_MAX
from protocol.errors import QuorateError
from protocol.jobs import shown
from protocol.membership import ENDPOINTS_MAX, NAME_LENGTH_MAX, fault_of_tags

DEFAULT_PORT = 7400
DEFAULT_CLUSTER = "quorate"
PORT_MAX = 65_535
SLOTS_MAX = 64  # agents at a time: each may be a program of its own
EXPECTED_MAX = presets.MembershipConfig().members_max
SEED_LENGTH_MAX = 200
SECRET_LENGTH_MIN = 16
SECRET_SIZE_MAX = 4096  # bytes
DESCRIPTOR_MAX = 2**20
SECRET_VARIABLE = "QUORATE_SECRET"
TOKEN_VARIABLE = "QUORATE_TOKEN"
_HOST_NAME = re.compile(r"[\w]([\w.-]{0,252})")


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
    def parse(cls, text: str, default_port: int, port_min: int = 0) -> Address:
        """'host', 'host:port', '[v6]' or '[v6]:port'; SettingsError otherwise."""
        bracketed = re.fullmatch(r"\[(.*)\](?::(.*))?", text)
        plain = re.fullmatch(r"([^:]*)(?::([^:]*))?", text)
        found = bracketed or plain
        if found is None:
            remedy = "write host:port, or [host]:port for IPv6, e.g. 127.0.0.1:7400"
            raise SettingsError(f"{shown(text)} is no address: {remedy}")
        host, port = found[1], found[2]
        if not (_is_ipv6(host) if bracketed else _HOST_NAME.fullmatch(host)):
            what = "an IPv6 address, as in [::1]:7400" if bracketed else "a host name or address"
            raise SettingsError(f"{shown(text)} is no address: {shown(host)} is not {what}")
        number = default_port
        if port is not None:
            number = int(port) if re.fullmatch("[0-9]{1,5}", port) else -1
        if not port_min <= number <= PORT_MAX:
            raise SettingsError(
                f"{shown(text)} is no address: the port must be {port_min} to {PORT_MAX}"
            )
        return cls(host, number)

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
        try:
            return ipaddress.ip_address(self.host).is_unspecified
        except ValueError:
            return False


@dataclass(frozen=True, slots=True)
class NodeSettings:
    """One node. `listen_fd` and `door_fd` are sockets inherited from a launcher, or -1."""

    name: str
    data_dir: Path
    cluster: str
    secret: str = field(repr=False)
    listen: Address
    advertise: tuple[str, ...]
    tags: tuple[tuple[str, str], ...]
    door: Address
    token: str = field(repr=False)
    seeds: tuple[str, ...]
    answers: tuple[tuple[str, str], ...]
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


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        line = " ".join(message.removeprefix("argument ").split())
        raise SettingsError(f"{line}; see quorate node --help")


def parser() -> argparse.ArgumentParser:
    """The options of `quorate node`; it raises SettingsError for what it cannot take."""
    p = _Parser(
        prog="quorate node",
        description="Run one node of a team in the foreground.",
        epilog="The team's secret, 16 characters or more and best drawn at random, is read from "
        "QUORATE_SECRET or --secret-file; the client door's token from QUORATE_TOKEN. A model is "
        "chosen by OPENAI_BASE_URL, OPENAI_API_KEY and OPENAI_MODEL.",
    )
    add = p.add_argument
    add("--name", type=_label, default=_host_name(), help="how people call this node")
    add("--data-dir", type=_folder, required=True, help="journal, key and logs")
    add("--cluster", type=_label, default=DEFAULT_CLUSTER, help="the team's name")
    add("--secret-file", type=Path, help="a file with the team's secret")
    add("--listen", type=_address(DEFAULT_PORT), default="127.0.0.1", help="for the other nodes")
    add(
        "--advertise",
        action="append",
        default=[],
        metavar="HOST:PORT",
        help="what others shall dial; may be given several times, the best first",
    )
    add(
        "--tag",
        type=_tag,
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="what all members shall know of this node, e.g. role=gpu; several times",
    )
    add(
        "--door",
        type=_address(0),
        default="127.0.0.1",
        help="for clients; beyond loopback only with QUORATE_TOKEN",
    )
    add(
        "--join",
        type=_address(DEFAULT_PORT, 1),
        action="append",
        default=[],
        metavar="HOST:PORT",
        help="a seed: any node of the team; may be given several times",
    )
    add(
        "--answer",
        action="append",
        default=[],
        metavar="NAME=PROGRAM",
        help="a shell line that answers queries of this name: the payload is its standard input, "
        "the answer what it prints; several times",
    )
    add("--found", action="store_true", help="be the first node of a new team")
    add("--expect", type=_whole(1, EXPECTED_MAX), default=1, help="how many nodes will come")
    add(
        "--preset",
        choices=sorted(presets.PRESETS),
        default="lan",
        help="how long to wait for others: local, all on one machine; lan (the default), one site; "
        "wan, several sites; the same for all nodes of a team",
    )
    add("--slots", type=_whole(1, SLOTS_MAX), default=1, help="agents that run at a time")
    add("--seed", type=_seed, default="", help="feeds the node's random choices; for studies")
    add("--allow-faults", action="store_true", help="let clients cut this node's links")
    add("--simulated-url", type=_url, default="", help="a running simulated model to use")
    add("--speed", type=_speed, default=4.0, help="of a simulated model of its own")
    add("--listen-fd", type=_whole(-1, DESCRIPTOR_MAX), default=-1, help=argparse.SUPPRESS)
    add("--door-fd", type=_whole(-1, DESCRIPTOR_MAX), default=-1, help=argparse.SUPPRESS)
    add("--stop-with-parent", action="store_true", help=argparse.SUPPRESS)
    return p


def from_arguments(arguments: Sequence[str]) -> NodeSettings:
    """Settings from a command line and the environment; SettingsError or
    TokenError names what is wrong."""
    given = parser().parse_args(arguments)
    token = checked_token(os.environ.get(TOKEN_VARIABLE, ""), TOKEN_VARIABLE)
    if not given.door.is_loopback and not token:
        raise SettingsError(
            f"--door: clients would reach {given.door} from other machines without a token: "
            f"set {TOKEN_VARIABLE}, or use a loopback address"
        )
    if not given.found and not given.join and not os.path.exists(given.data_dir / "journal.db"):
        raise SettingsError("nobody to join: give --join HOST:PORT, or --found for the first node")
    return NodeSettings(
        name=given.name,
        data_dir=given.data_dir,
        cluster=given.cluster,
        secret=_secret(given.secret_file),
        listen=given.listen,
        advertise=_advertised(given.advertise, given.listen),
        tags=_tags(given.tag),
        door=given.door,
        token=token,
        seeds=tuple(str(seed) for seed in given.join),
        answers=answers_given(given.answer),
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


def answers_given(texts: Sequence[str]) -> tuple[tuple[str, str], ...]:
    """For each NAME=PROGRAM the name of a query and the shell line that answers it; SettingsError
    if it is something else."""
    found: dict[str, str] = {}
    for text in texts:
        name, _, program = text.partition("=")
        if not 0 < len(name) <= QUERY_LENGTH_MAX or not name.isprintable() or not program.strip():
            raise SettingsError(
                f"--answer: write NAME=PROGRAM, the name in 1 to {QUERY_LENGTH_MAX} printable "
                f"characters, not {shown(text)}"
            )
        if name in found:
            raise SettingsError(f"--answer: there are two programs for {shown(name)}: give it one")
        found[name] = program
    return tuple(found.items())


# -- one option each: a value, or argparse's error, which argparse prefixes with the option -------


def _whole(low: int, high: int) -> Callable[[str], int]:
    def whole(text: str) -> int:
        value = int(text) if re.fullmatch("[-+]?[0-9]{1,9}", text) else low - 1
        if not low <= value <= high:
            raise argparse.ArgumentTypeError(
                f"must be a whole number from {low} to {high}, not {shown(text)}"
            )
        return value

    return whole


def _speed(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0.0 < value <= SPEED_MAX:
        raise argparse.ArgumentTypeError(
            f"must be a number above 0 and at most {SPEED_MAX:.0f}, not {shown(text)}"
        )
    return value


def _address(default_port: int, port_min: int = 0) -> Callable[[str], Address]:
    def address(text: str) -> Address:
        try:
            return Address.parse(text, default_port, port_min)
        except SettingsError as fault:
            raise argparse.ArgumentTypeError(str(fault)) from None

    return address


def _label(text: str) -> str:
    if not 0 < len(text) <= NAME_LENGTH_MAX or not text.isprintable() or not text.strip():
        raise argparse.ArgumentTypeError(
            f"must be 1 to {NAME_LENGTH_MAX} printable characters, not {shown(text)}"
        )
    return text


def _seed(text: str) -> str:
    if len(text) > SEED_LENGTH_MAX or not text.isprintable():
        raise argparse.ArgumentTypeError(
            f"must be at most {SEED_LENGTH_MAX} printable characters, not {shown(text)}"
        )
    return text


def _folder(text: str) -> Path:
    if not text.strip():
        raise argparse.ArgumentTypeError("must be a folder's path, not empty")
    return Path(text)


def _url(text: str) -> str:
    try:
        parts = urlsplit(text)
        is_url = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # brackets or a port that cannot be
        is_url = False
    if text and not (is_url and text.isprintable() and " " not in text):
        raise argparse.ArgumentTypeError(
            f"must be like http://127.0.0.1:8000/v1, not {shown(text)}"
        )
    return text


def _tag(text: str) -> tuple[str, str]:
    key, _, value = text.partition("=")
    if not value:
        raise argparse.ArgumentTypeError(f"write KEY=VALUE, not {shown(text)}")
    return key, value


def _tags(given: Sequence[tuple[str, str]]) -> tuple[tuple[str, str], ...]:
    fault = fault_of_tags(dict(given))
    if fault:
        raise SettingsError(f"--tag: {fault}")
    return tuple(dict(given).items())


def _advertised(given: Sequence[str], listen: Address) -> tuple[str, ...]:
    """What others shall dial; nothing if that is where this node listens."""
    if not given and listen.is_everywhere:
        raise SettingsError(f"other nodes cannot dial {listen}: give --advertise HOST:PORT")
    if len(given) > ENDPOINTS_MAX:
        raise SettingsError(f"--advertise: {ENDPOINTS_MAX} addresses at most")
    return tuple(_advertised_address(text, listen) for text in given)


def _advertised_address(text: str, listen: Address) -> str:
    """The port may be left out if it is that of `listen`."""
    try:
        address = Address.parse(text, listen.port, port_min=1)
    except SettingsError as fault:
        raise SettingsError(f"--advertise: {fault}") from None
    if address.is_everywhere:
        raise SettingsError(f"--advertise: other nodes cannot dial {address}: name one address")
    return str(address)


def _host_name() -> str:
    """This machine's name as far as it may name a node."""
    letters = [letter for letter in socket.gethostname() if letter.isprintable()]
    return "".join(letters)[:NAME_LENGTH_MAX].strip() or "node"


def _is_ipv6(host: str) -> bool:
    try:
        ipaddress.IPv6Address(host)
    except ValueError:
        return False
    return True


# -- secrets ---------------------------------------------------------------------------------------


def _secret(path: Path | None) -> str:
    if path is None:
        source = SECRET_VARIABLE
        secret = os.environ.get(SECRET_VARIABLE, "").strip()
        if not secret:
            raise SettingsError(
                f"the team's secret is missing: set {SECRET_VARIABLE} or give --secret-file"
            )
    else:
        source = f"--secret-file {path}"
        secret = _text_of(path)
    is_text = all(letter.isprintable() for letter in secret)
    if not is_text or len(secret) < SECRET_LENGTH_MIN or len(secret) > SECRET_SIZE_MAX:
        raise SettingsError(
            f"{source}: the team's secret must be {SECRET_LENGTH_MIN} to {SECRET_SIZE_MAX} "
            f"printable characters, not {len(secret)}{'' if is_text else ' with others among them'}"
            ": draw one with python3 -c 'import secrets; print(secrets.token_hex(32))'"
        )
    return secret


def _text_of(path: Path) -> str:
    try:
        with open(path, "rb") as file:
            return file.read(SECRET_SIZE_MAX + 2).decode().strip()
    except OSError as fault:
        raise SettingsError(f"--secret-file {path} cannot be read: {fault.strerror}") from None
    except ValueError:  # not UTF-8
        raise SettingsError(f"--secret-file {path} cannot be read: it is not text") from None
