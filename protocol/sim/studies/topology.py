"""Who knows whom in a study: a graph by name, of any number of nodes.

    full        everybody knows everybody
    ring:K      each knows the K next ones on either side
    star        node 0 is the hub, and all that the others know
    grid        rows as long as the square root of the number of nodes; each knows up to four
    random:D    drawn from the seed: D neighbours each, one less where it cannot be otherwise
    two:B       two halves in which everybody knows everybody, joined by B links

Every one is connected: what is written anywhere can get everywhere.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, sqrt
from random import Random
from typing import TypeAlias

from protocol.errors import InvalidStudy

NUMBERED = {"ring": "K", "random": "D", "two": "B"}  # and what the number is called
PLAIN = ("full", "star", "grid")
FORMS = "full, ring:K, star, grid, random:D or two:B"
MENDINGS_MAX = 1_000  # attempts to give the last nodes of a random graph their neighbours

Neighbours: TypeAlias = tuple[tuple[int, ...], ...]  # of each node, in order


@dataclass(frozen=True, slots=True)
class Topology:
    """See the module's text; `number` is 0 for those that have none."""

    name: str = "full"
    number: int = 0

    def __str__(self) -> str:
        return f"{self.name}:{self.number}" if self.number else self.name

    def check(self, nodes: int) -> None:
        """Refuse what so many nodes cannot form."""
        most = {"ring": (nodes - 1) // 2, "random": nodes - 1, "two": nodes // 2}
        least = {"random": min(2, nodes - 1)}
        if self.name not in NUMBERED:
            return
        low, high = least.get(self.name, 1), most[self.name]
        if high < low:
            raise InvalidStudy(f"topology {self}: {nodes} nodes form no {self.name}: take more")
        if not low <= self.number <= high:
            span = f"{low} to {high}" if low < high else str(low)
            letter = NUMBERED[self.name]
            raise InvalidStudy(f"topology {self}: with {nodes} nodes {letter} is {span}")

    def neighbours(self, nodes: int, random: Random) -> Neighbours:
        """Whom each node knows; both know each other."""
        self.check(nodes)
        match self.name:
            case "full":
                return tuple(_but(range(nodes), node) for node in range(nodes))
            case "two":
                return _two(nodes, self.number)
            case "ring":
                steps = range(1, self.number + 1)
                links = {(node, (node + step) % nodes) for node in range(nodes) for step in steps}
            case "star":
                links = {(0, node) for node in range(1, nodes)}
            case "grid":
                links = _grid(nodes)
            case _:
                links = _random(nodes, self.number, random)
        known: list[set[int]] = [set() for _ in range(nodes)]
        for one, other in links:
            known[one].add(other)
            known[other].add(one)
        return tuple(tuple(sorted(each)) for each in known)


FULL = Topology()


def topology_of(text: str) -> Topology:
    """Read one, like ring:2."""
    name, colon, number = text.partition(":")
    if name in PLAIN and not colon:
        return Topology(name)
    if name in NUMBERED and number.isascii() and number.isdecimal() and len(number) <= 4:
        return Topology(name, int(number)) if int(number) else _refuse(text)
    return _refuse(text)


def _refuse(text: str) -> Topology:
    name = text.partition(":")[0]
    if name in NUMBERED:
        raise InvalidStudy(
            f"topology {text!r}: {name} takes a number from 1, like {name}:2, and nothing else"
        )
    if name in PLAIN:
        raise InvalidStudy(f"topology {text!r}: {name} takes no number")
    raise InvalidStudy(f"topology {text!r}: there are {FORMS}")


def _but(nodes: range, node: int) -> tuple[int, ...]:
    return (*range(nodes.start, node), *range(node + 1, nodes.stop))


def _two(nodes: int, bridges: int) -> Neighbours:
    half = nodes // 2
    first, second = range(half), range(half, nodes)
    return (
        *(_but(first, node) + ((half + node,) if node < bridges else ()) for node in first),
        *(
            ((node - half,) if node - half < bridges else ()) + _but(second, node)
            for node in second
        ),
    )


def _grid(nodes: int) -> set[tuple[int, int]]:
    width = ceil(sqrt(nodes))
    beside = {(node - 1, node) for node in range(nodes) if node % width}
    return beside | {(node - width, node) for node in range(width, nodes)}


def _random(nodes: int, degree: int, random: Random) -> set[tuple[int, int]]:
    """A cycle through all in random order, for it to be connected; then random links between those
    that have too few. When these are linked with each other already, a link of two others is
    taken apart and each of its ends given one of them, which changes no other degree."""
    order = list(range(nodes))
    random.shuffle(order)
    cycle = {_pair(one, other) for one, other in zip(order, order[1:] + order[:1], strict=True)}
    links = dict.fromkeys(sorted(cycle))  # in order, for a choice to be the same again
    lacking = [node for node in range(nodes) for _ in range(degree - 2)]
    for _ in range(MENDINGS_MAX):
        random.shuffle(lacking)
        rest = []
        for one, other in zip(lacking[::2], lacking[1::2], strict=False):
            if one == other or _pair(one, other) in links:
                rest += [one, other]
            else:
                links[_pair(one, other)] = None
        rest += lacking[len(lacking) // 2 * 2 :]
        if len(rest) < 2:
            break
        if len(rest) == len(lacking):
            rest = _mended(rest, links, cycle, random)
        lacking = rest
    return set(links)


def _mended(
    lacking: list[int],
    links: dict[tuple[int, int], None],
    cycle: set[tuple[int, int]],
    random: Random,
) -> list[int]:
    """Give the first two their links through a link of two others; who still lacks some."""
    one, other = lacking[:2]
    loose = [link for link in links if link not in cycle]
    if loose:
        near, far = random.choice(loose)
        new = {_pair(one, near), _pair(other, far)}
        if one not in (near, far) and other not in (near, far) and not new & links.keys():
            del links[near, far]
            links.update(dict.fromkeys(sorted(new)))
            return lacking[2:]
    return lacking


def _pair(one: int, other: int) -> tuple[int, int]:
    return (one, other) if one < other else (other, one)
