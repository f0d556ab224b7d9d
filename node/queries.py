"""What a node answers when somebody asks all of them (`quorate query NAME`).

    ping      pong
    version   of the package
    load      the machine's load averages, 1, 5 and 15 minutes
    role      what it is in the agreement, its term, and how far its log is committed

A program of the node's user (`answering`) comes before these. To anything else a node answers with
nothing: it is there, and does not know.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from importlib.metadata import version

from protocol.peer import Peer


def answer_to(peer: Peer, name: str) -> str:
    """This node's answer; empty if it has none."""
    answer = _ANSWERS.get(name)
    return answer(peer) if answer is not None else ""


def _load() -> str:
    return " ".join(f"{average:.2f}" for average in os.getloadavg())


def _role(peer: Peer) -> str:
    status = peer.status()
    return f"{status.role} term {status.term} commit {status.commit}"


_ANSWERS: dict[str, Callable[[Peer], str]] = {
    "ping": lambda peer: "pong",
    "version": lambda peer: version("quorate"),
    "load": lambda peer: _load(),
    "role": _role,
}
