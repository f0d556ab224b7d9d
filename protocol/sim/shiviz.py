"""A recording as a log for ShiViz (Beschastnikh et al., *Debugging Distributed Systems*, 2016),
which draws it as a graph that can be searched and compared.

ShiViz asks for the regular expression that parses the log. It is

    (?<host>\\S*) (?<clock>{.*})\\n(?<event>.*)

Each event has two lines: the node with its vector clock as JSON, then the text. Sending, receiving
and each fact are an event of their node; a receipt has seen whatever its sender had seen when it
sent. Losses are nobody's event: they are told in the text of what was sent. Faults of the network
are no node's either, and left out.
"""

from __future__ import annotations

import json
from collections.abc import Iterator

from protocol.clocks import SECOND, VersionVector
from protocol.sim.record import (
    TEXT_MAX,
    Delivered,
    Fault,
    Happened,
    Lost,
    Recorded,
    Recording,
    RoleTaken,
    Sent,
)

EXPRESSION = r"(?<host>\S*) (?<clock>{.*})\n(?<event>.*)"


def to_shiviz(recording: Recording) -> str:
    """The log's text."""
    names = _host_names(recording.nodes)
    lines = []
    for host, clock, text in clocked(recording):
        counts = json.dumps({names[node]: clock[node] for node in sorted(clock)})
        lines += [f"{names[host]} {counts}", text]
    return "\n".join([*lines, ""])


def clocked(recording: Recording) -> Iterator[tuple[str, VersionVector, str]]:
    """Each event of a node, in order of time: the node, its clock after the event, the text."""
    clocks = {node: VersionVector() for node in recording.nodes}
    carried: dict[int, VersionVector] = {}
    messages = {event.number: event for event in recording.events if isinstance(event, Sent)}
    losses = {event.number: event.reason for event in recording.events if isinstance(event, Lost)}
    for event in recording.events:
        node = _node_of(event, messages)
        if node is None:
            continue
        clock = clocks[node]
        if isinstance(event, Delivered):
            clock = clock.merge(carried[event.number])
        clock = clocks[node] = clock.advance(node, clock.get(node, 0) + 1)
        if isinstance(event, Sent):
            carried[event.number] = clock
        yield node, clock, f"{event.at_ns / SECOND:.6f} {_text(event, messages, losses)}"


def _node_of(event: Recorded, messages: dict[int, Sent]) -> str | None:
    match event:
        case Sent():
            return event.sender
        case Delivered():
            return messages[event.number].receiver
        case Lost():
            return None
        case Happened() | RoleTaken() | Fault():
            return event.node


def _text(event: Recorded, messages: dict[int, Sent], losses: dict[int, str]) -> str:
    match event:
        case Sent():
            loss = f" (lost: {losses[event.number]})" if event.number in losses else ""
            text = f"> {event.receiver} {event.kind.value} {event.detail}{loss}"
        case Delivered():
            message = messages[event.number]
            text = f"< {message.sender} {message.kind.value} {message.detail}"
        case RoleTaken():
            text = f"= {event.role} of term {event.term}"
        case Fault():
            text = f"# {event.kind.value} {event.text}"
        case Happened():
            text = event.text
        case Lost():
            text = event.reason
    return " ".join(text.split())[:TEXT_MAX]


def _host_names(nodes: tuple[str, ...]) -> dict[str, str]:
    """Names without white space, each still one node's."""
    found: dict[str, str] = {}
    for number, node in enumerate(nodes):
        name = "_".join(node.split()) or "node"
        while name in found.values():
            name += f"_{number}"
        found[node] = name
    return found
