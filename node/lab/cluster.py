"""A team of processes on this machine: its folder, its processes, its addresses.

The folder holds all there is to know: `cluster.json` (names, addresses, process ids), the team's
`secret`, the `token` of its client doors, and a data folder for each node. `start` on a folder that
was used before starts the same nodes on the same data; a node keeps its address, so the others find
it again.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from node.agents.process import environment_for_programs
from node.agents.scratch import remove_left
from node.lab.door import Door, Doors
from node.lab.processes import ProcessId, spawn, stop_all
from node.links.listening import CannotListen, endpoint_of, listen_on
from node.settings import TOKEN_VARIABLE
from node.token import read_token
from protocol.errors import QuorateError

HOST = "127.0.0.1"
NODES_MAX = 64
PRESET = "local"  # unless another is asked for: its nodes share a machine
READY_TIMEOUT_S = 30.0
STATE_FILE = "cluster.json"
TOKEN_FILE = "token"
PYTHON = (sys.executable, "-P", "-m")  # -P: a file in the user's folder is no module of ours
_POLL_S = 0.01


class ClusterError(QuorateError):
    """A team that cannot be made or found as it was asked for; one line with the remedy."""


class StartFailed(ClusterError):
    """A process of the team did not come up; one line with what it said."""


@dataclass(slots=True)
class NodeEntry:
    """One node of the team. Addresses are host:port."""

    name: str
    peer: str
    door: str
    pid: int = 0
    started: int = 0

    @property
    def process(self) -> ProcessId:
        return ProcessId(self.pid, self.started)


@dataclass(slots=True)
class ModelEntry:
    """The simulated model's process; `url` ends in /v1. `options` is how it was told to behave;
    None if the folder was made by a version that did not say."""

    url: str = ""
    pid: int = 0
    started: int = 0
    options: ModelOptions | None = None

    @property
    def process(self) -> ProcessId:
        return ProcessId(self.pid, self.started)


@dataclass(frozen=True, slots=True)
class ModelOptions:
    """How the simulated model behaves: see `python -m node.model --help`."""

    speed: float = 4.0
    seed: int = 1
    model: str = "gpt"
    wrong: float = 0.0
    extra: tuple[str, ...] = ()


def _model_entry(url: str, pid: int, started: int, options: Any = None) -> ModelEntry:
    """As the folder has it."""
    if options is not None:
        options = ModelOptions(**{**options, "extra": tuple(options["extra"])})
    return ModelEntry(url, pid, started, options)


@dataclass(slots=True)
class Cluster:
    """A team's folder and what is in it."""

    folder: Path
    name: str
    nodes: list[NodeEntry]
    model: ModelEntry = field(default_factory=ModelEntry)
    allow_faults: bool = False
    preset: str = PRESET
    children: list[subprocess.Popen[bytes]] = field(default_factory=list)  # started by this object
    answers: tuple[tuple[str, str], ...] = ()  # queries by name, each with its program

    # -- the folder ------------------------------------------------------------------------------

    @classmethod
    def create(
        cls, folder: Path, size: int, allow_faults: bool = False, preset: str = PRESET
    ) -> Cluster:
        """A new team's folder. ClusterError if anything is there already: it may be the user's."""
        check_size(size)
        nodes = [NodeEntry(f"n{number + 1}", "", "") for number in range(size)]
        name = f"local-{secrets.token_hex(4)}"
        cluster = cls(folder, name, nodes, ModelEntry(), allow_faults, preset)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            if any(folder.iterdir()):
                what = "a team" if (folder / STATE_FILE).exists() else "something else"
                raise ClusterError(f"{folder} holds {what} already: name a new folder")
            (folder / ".gitignore").write_text("*\n")
            _write_private(folder / "secret", secrets.token_hex(32))
            _write_private(folder / TOKEN_FILE, secrets.token_urlsafe(24))
            cluster.save()
        except FileExistsError:
            raise ClusterError(f"{folder} is a file: name a new folder") from None
        except OSError as fault:
            raise ClusterError(
                f"{folder} cannot be made ({fault.strerror}): name another folder"
            ) from None
        return cluster

    @classmethod
    def load(cls, folder: Path) -> Cluster:
        """The team of a folder; ClusterError if there is none."""
        path = folder / STATE_FILE
        try:
            content = json.loads(path.read_text())
            return cls(
                folder,
                content["name"],
                [NodeEntry(**node) for node in content["nodes"]],
                _model_entry(**content["model"]),
                content["allow_faults"],
                content.get("preset", PRESET),  # older versions had no other
                answers=tuple((name, program) for name, program in content.get("answers", ())),
            )
        except FileNotFoundError:
            raise ClusterError(
                f"there is no team in {folder}: start one with 'quorate up', or give --dir"
            ) from None
        except (ValueError, KeyError, TypeError, OSError) as fault:
            raise ClusterError(
                f"{path} is damaged ({fault}): remove {folder} and start anew"
            ) from None

    def save(self) -> None:
        content = {
            "name": self.name,
            "nodes": [asdict(node) for node in self.nodes],
            "model": asdict(self.model),
            "allow_faults": self.allow_faults,
            "preset": self.preset,
            "answers": self.answers,
        }
        draft = self.folder / (STATE_FILE + ".new")
        draft.write_text(json.dumps(content, indent=2))
        draft.replace(self.folder / STATE_FILE)

    def data_dir(self, node: NodeEntry) -> Path:
        return self.folder / node.name

    @property
    def token(self) -> str:
        """What the team's client doors ask for."""
        path = self.folder / TOKEN_FILE
        with contextlib.suppress(FileNotFoundError):
            if token := read_token(path, str(path)):
                return token
        draw = f"python3 -c 'import secrets; print(secrets.token_urlsafe())' > {path}"
        raise ClusterError(
            f"{path} is gone or empty, so the nodes would let nobody in: 'quorate down' if they "
            f"run, make a new one ({draw}), then 'quorate up'"
        )

    def doors(self) -> Doors:
        """The doors of the nodes that run."""
        return Doors([node.door for node in self.running()], self.token)

    def door(self, node: NodeEntry) -> Door:
        return Door(node.door, self.token)

    def running(self) -> list[NodeEntry]:
        """Nodes whose process is alive."""
        return [node for node in self.nodes if node.process.is_alive]

    # -- processes ---------------------------------------------------------------------------------

    def start(
        self,
        options: ModelOptions,
        attached: bool = False,
        environment: dict[str, str] | None = None,
    ) -> None:
        """Start the model and all nodes that do not run, and wait until their doors answer.
        Attached processes end with this one. If anything fails, what this call has started is
        stopped again, and nothing else."""
        environment = {**os.environ, **(environment or {}), TOKEN_VARIABLE: self.token}
        before = {process for process in self._processes() if process.is_alive}
        try:
            if not self.model.process.is_alive:
                self._start_model(options, attached, environment)
            for node in self.nodes:
                if not node.process.is_alive:
                    self._start_node(node, attached, environment)
            self.save()
            for node in self.nodes:
                self._await_door(node)
            self._await_model()
        except BaseException:
            stop_all([process for process in self._processes() if process not in before])
            self._bury()
            raise

    def _processes(self) -> dict[ProcessId, str]:
        return {self.model.process: "model"} | {node.process: node.name for node in self.nodes}

    def _start_model(
        self, options: ModelOptions, attached: bool, environment: dict[str, str]
    ) -> None:
        bound = self._bind(self.model.url.removeprefix("http://").removesuffix("/v1"))
        command = [*PYTHON, "node.model", "--listen-fd", str(bound.fileno())]
        command += ["--speed", str(options.speed), "--seed", str(options.seed)]
        command += ["--model", options.model, "--wrong", str(options.wrong), *options.extra]
        command += ["--stop-with-parent"] if attached else []
        output = self.folder / "model.log"
        output.write_bytes(b"")
        with bound:
            self.model.url = f"http://{endpoint_of(bound)}/v1"
            child = spawn(
                command, output, _without_secrets(environment), (bound.fileno(),), attached
            )
        self.children.append(child)
        process = ProcessId.of(child.pid)
        self.model.pid, self.model.started = process.pid, process.started
        self.model.options = options

    def _start_node(self, node: NodeEntry, attached: bool, environment: dict[str, str]) -> None:
        """Start one node's process. It inherits sockets that are bound here, so that no other
        process can take its port in between."""
        self.data_dir(node).mkdir(mode=0o700, exist_ok=True)
        with self._bind(node.peer) as peer, self._bind(node.door) as door:
            node.peer, node.door = endpoint_of(peer), endpoint_of(door)
            child = spawn(
                self._node_command(node, peer, door, attached),
                self.data_dir(node) / "output.log",
                environment,
                (peer.fileno(), door.fileno()),
                attached,
            )
        self.children.append(child)
        process = ProcessId.of(child.pid)
        node.pid, node.started = process.pid, process.started

    def _node_command(
        self, node: NodeEntry, peer: socket.socket, door: socket.socket, attached: bool
    ) -> list[str]:
        first = self.nodes[0]
        folder = self.folder.absolute()  # so that a list of processes tells whose they are
        command = [*PYTHON, "node.process", "--name", node.name]
        command += ["--data-dir", str(folder / node.name), "--cluster", self.name]
        command += ["--secret-file", str(folder / "secret"), "--preset", self.preset]
        command += ["--listen", node.peer, "--door", node.door]
        command += ["--listen-fd", str(peer.fileno()), "--door-fd", str(door.fileno())]
        command += ["--expect", str(len(self.nodes)), "--simulated-url", self.model.url]
        command += ["--found"] if node is first else ["--join", first.peer]
        for name, program in self.answers:
            command += ["--answer", f"{name}={program}"]
        command += ["--allow-faults"] if self.allow_faults else []
        command += ["--stop-with-parent"] if attached else []
        return command

    def _bind(self, address: str) -> socket.socket:
        """A bound socket at an address used before, or at a free port."""
        try:
            return listen_on(HOST, int(address.rpartition(":")[2]) if address else 0)
        except CannotListen:
            if not address:
                raise
            raise StartFailed(
                f"another process has taken {address}, which this team in {self.folder} goes by: "
                f"stop that process, or start a new team with another --dir"
            ) from None

    def _await_door(self, node: NodeEntry) -> None:
        deadline = time.monotonic() + READY_TIMEOUT_S
        ready = self.data_dir(node) / "ready"
        while not (ready.exists() and ready.read_text().strip() == str(node.pid)):
            if not node.process.is_alive:
                raise StartFailed(f"node {node.name} ended: {_last_line(self.data_dir(node))}")
            if time.monotonic() > deadline:
                raise StartFailed(f"node {node.name} is not ready after {READY_TIMEOUT_S:.0f} s")
            time.sleep(_POLL_S)

    def _await_model(self) -> None:
        """Until it says that it listens. Its address was known before: nobody had to wait."""
        deadline = time.monotonic() + READY_TIMEOUT_S
        output = self.folder / "model.log"
        while "listening " not in output.read_text(errors="replace"):
            if not self.model.process.is_alive:
                said = _last_line(self.folder, output.name)
                raise StartFailed(f"the simulated model ended: {said}")
            if time.monotonic() > deadline:
                raise StartFailed(f"the simulated model is not ready after {READY_TIMEOUT_S:.0f} s")
            time.sleep(_POLL_S)

    def stop(self) -> list[str]:
        """Stop exactly what was started: the names of those that had to be killed. What nodes have
        left in the temporary folder that were killed before is removed as well."""
        known = self._processes()
        killed = [known[process] for process in stop_all(known)]
        self._bury()
        for node in self.nodes:
            if not node.process.is_alive:
                remove_left(self.data_dir(node))
        return killed

    def _bury(self) -> None:
        """Forget those that this object has started and that have ended."""
        ended = [child for child in self.children if child.poll() is not None]
        for child in ended:
            if child.stdin:
                child.stdin.close()
            self.children.remove(child)


def check_size(size: int) -> None:
    """Raise ClusterError for a number of nodes that no local team has."""
    if not 1 <= size <= NODES_MAX:
        raise ClusterError(f"a local team has 1 to {NODES_MAX} nodes, not {size}")


def _without_secrets(environment: Mapping[str, str]) -> dict[str, str]:
    """What the simulated model gets: what programs get, and how Python finds its modules."""
    named = [name for name in environment if name.startswith("PYTHON")]
    return environment_for_programs(named, environment)


def _write_private(path: Path, text: str) -> None:
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)


def _last_line(folder: Path, name: str = "output.log") -> str:
    try:
        lines = (folder / name).read_text(errors="replace").strip().splitlines()
    except OSError:
        lines = []
    return lines[-1] if lines else "it said nothing"


def first_running(nodes: Sequence[NodeEntry]) -> NodeEntry:
    """A node that can be asked; ClusterError if none runs."""
    for node in nodes:
        if node.process.is_alive:
            return node
    raise ClusterError("no node of this team runs: start it with 'quorate up'")
