"""What nodes say of a task, written by hand: facts by their own clocks, and a door's view."""

from __future__ import annotations

from typing import Any

from node.lab.story.moments import Moment, Report, in_causal_order
from node.lab.story.telling import Account, Line, Part, Story, tell
from node.telemetry import fact_as_json
from protocol.facts import Fact
from protocol.identity import NodeId

NAMES = {"ada": "n1", "bob": "n2", "cat": "n3"}
ADA, BOB, CAT = NodeId("ada"), NodeId("bob"), NodeId("cat")
UNIT = ("job", "t", 0)


class Team:
    """Three nodes and what each of them has written down."""

    def __init__(self) -> None:
        self.facts: dict[NodeId, list[tuple[float, Fact]]] = {ADA: [], BOB: [], CAT: []}

    def say(self, at_s: float, fact: Fact, *nodes: NodeId) -> Team:
        """These nodes write a fact down, each a millisecond after the one before."""
        for number, node in enumerate(nodes):
            self.facts[node].append((at_s + number / 1000, fact))
        return self

    def all_say(self, at_s: float, fact: Fact) -> Team:
        return self.say(at_s, fact, ADA, BOB, CAT)

    def moments(self) -> list[Moment]:
        """In causal order."""
        return in_causal_order(
            {
                node: [Report(fact, node, at_s) for at_s, fact in facts]
                for node, facts in self.facts.items()
            }
        )

    def account(self, node: NodeId, view: dict[str, Any] | None = None, **known: Any) -> Account:
        """What one node says."""
        records = [fact_as_json(fact, node, NAMES[node], at_s) for at_s, fact in self.facts[node]]
        return Account(NAMES[node], records, view, **known)

    def story(self, view: dict[str, Any] | None = None) -> Story:
        """Told by all three; one of them has this view of the log."""
        accounts = [self.account(ADA, view), self.account(BOB), self.account(CAT)]
        return tell("job", "t", accounts)


def texts(part: Part) -> list[str]:
    """Who did what."""
    return [f"{line.who} {line.text}" for line in part.lines]


def line_of(story: Story, text: str) -> Line:
    """The only line with this text in it."""
    lines = [line for part in story.parts for line in part.lines]
    (found,) = [line for line in lines if text in line.text]
    return found


def slot_view(**said: Any) -> dict[str, Any]:
    """A slot as a door shows it; nobody is at it."""
    return {
        "slot": 0,
        "fence": 0,
        "holder": "",
        "token": 0,
        "phase": "",
        "held_s": None,
        "heard_s": None,
        "racers": [],
        "answered": False,
        "unreviewed": [],
        **said,
    }


def held_by(name: str, held_s: float = 4.2, **said: Any) -> dict[str, Any]:
    """A slot at which this node works."""
    at = {"holder": name, "token": 1, "phase": "working", "held_s": held_s, "heard_s": 0.1}
    return slot_view(**{**at, **said})


def row(name: str, *slots: dict[str, Any], **said: Any) -> dict[str, Any]:
    """A task that is waited for."""
    return {"id": name, "abandoned": "", "needs": [], "slots": list(slots), **said}


def view_of(*slots: dict[str, Any], task: dict[str, Any] | None = None, **said: Any) -> Any:
    """What a door says of a task (`node.doors.stories.story_view`), without its facts."""
    return {
        "name": "n1",
        "applied": 9,
        "job": "job",
        "submitted_index": 3,
        "resumes": "",
        "lease_s": 10.0,
        "names": dict(NAMES),
        "task": {
            "id": "t",
            "writes": [],
            "accepted": None,
            "committed": {"index": 0, "term": 0, "leader": ""},
            "abandoned": "",
            "agreed": [],
            "dissent": [],
            "verify": "",
            "verify_by": "self",
            "quorum": {"of": max(1, len(slots)), "agree": 1},
            "waits_for_judge": False,
            **(task or {}),
        },
        "needs": [],
        "slots": list(slots),
        "waits_for": [],
        "notes": [],
        "parts": [],
        **said,
    }
