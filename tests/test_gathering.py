"""The team's commands go into the log together where there are many, and at once where there are
few."""

from __future__ import annotations

from dataclasses import replace

from raft_hand import CONFIG, Play

from protocol.gathering import Gathering
from protocol.messages.agreement import Append, EntryKind
from protocol.turn import Turn

GATHER_NS = CONFIG.gather_ns


class Desk:
    """A leader with two followers, and what waits to go into its log."""

    def __init__(self, uncommitted_max: int = CONFIG.uncommitted_max) -> None:
        config = replace(CONFIG, uncommitted_max=uncommitted_max)
        self.play = Play("abc", config=config)
        self.play.elect("a")
        self.play.heartbeat("a")
        self.gathering = Gathering(self.play["a"], config)

    def add(self, *commands: bytes, kind: EntryKind = EntryKind.COMMAND) -> Turn:
        def deed(turn: Turn) -> None:
            for command in commands:
                self.gathering.add(turn, kind, command)

        return self.play.act("a", deed)

    def wait(self, duration: int) -> Turn:
        self.play.now += duration
        return self.play.act("a", self.gathering.flush)

    def commit(self) -> None:
        self.play.settle()
        for entry in self.play.actors["a"].committed:
            self.gathering.committed(entry)


def appended(turn: Turn) -> list[list[bytes]]:
    """The commands in each message to one follower."""
    return [
        [entry.data for entry in item[2].entries]
        for item in turn.before
        if isinstance(item, tuple) and item[0] == "b" and isinstance(item[2], Append)
    ]


def test_what_comes_alone_goes_at_once() -> None:
    desk = Desk()
    assert appended(desk.add(b"one")) == [[b"one"]]
    assert desk.gathering.due_at is None
    desk.wait(GATHER_NS)
    assert appended(desk.add(b"two")) == [[b"two"]]


def test_what_comes_soon_after_goes_together() -> None:
    desk = Desk()
    desk.add(b"one")
    began = desk.play.now
    assert appended(desk.add(b"two")) == []
    desk.play.now += GATHER_NS // 2
    assert appended(desk.add(b"three")) == []
    assert desk.gathering.due_at == began + GATHER_NS
    assert appended(desk.wait(GATHER_NS // 2)) == [[b"two", b"three"]]
    assert desk.gathering.due_at is None


def test_what_is_on_its_way_is_not_appended_twice() -> None:
    desk = Desk()
    desk.add(b"one")
    desk.wait(GATHER_NS)
    assert appended(desk.add(b"one")) == []
    desk.commit()
    desk.wait(GATHER_NS)
    assert appended(desk.add(b"one")) == [[b"one"]], "committed: it is a new wish"


def test_one_that_waits_does_not_wait_twice() -> None:
    desk = Desk()
    desk.add(b"one")
    desk.add(b"two", b"two")
    assert appended(desk.wait(GATHER_NS)) == [[b"two"]]


def test_nothing_is_appended_by_who_does_not_lead_any_more() -> None:
    desk = Desk()
    desk.add(b"one")
    desk.add(b"two")
    desk.commit()
    desk.play.elect("b")
    assert appended(desk.wait(GATHER_NS)) == []
    desk.gathering.forget()
    assert desk.gathering.due_at is None


def test_what_finds_no_room_is_lost_and_may_come_again() -> None:
    desk = Desk(uncommitted_max=2)
    desk.add(b"one")
    desk.add(b"two", b"three")
    assert appended(desk.wait(GATHER_NS)) == [[b"two"]], "there is room for two that wait"
    desk.commit()
    desk.wait(GATHER_NS)
    assert appended(desk.add(b"three")) == [[b"three"]]
