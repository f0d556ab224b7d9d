"""The state machine as bytes: who takes an image goes on exactly like who applied the log."""

from __future__ import annotations

from dataclasses import replace
from random import Random

import pytest
from ledger_hand import ADA, BOB, CAT, job, task

from protocol import codec, ledger_image
from protocol.configuration import Configuration
from protocol.effects import Snapshot
from protocol.errors import RemoteProtocolError
from protocol.identity import NOBODY
from protocol.jobs import ClaimMode, File, Job, Quorum, Usage
from protocol.ledger import (
    NOWHERE,
    AbandonTask,
    AcceptResult,
    ClaimTask,
    FenceTask,
    SubmitJob,
    encode_command,
)
from protocol.ledger_image import _JobImage, _TaskImage
from protocol.messages.agreement import EntryKind, LogEntry
from protocol.registers import Command, Verb, encode_batch, encode_opening
from protocol.replicated import Replicated, _Image

NODES = (ADA, BOB, CAT)


def snapshot_of(state: Replicated) -> Snapshot:
    """What a node that is so far would send."""
    voters = Configuration((ADA,))
    return Snapshot(state.applied, 1, voters, 1, bytes(16), bytes(8), state.image())


def restored(snapshot: Snapshot) -> Replicated:
    state = Replicated()
    state.restore(snapshot)
    return state


class RandomLog:
    """Entries of all kinds, sensible and not."""

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)
        self.index = 0
        self.term = 1
        self.jobs: list[Job] = []
        self.sessions: list[tuple[int, int]] = []

    def next(self) -> LogEntry:
        self.index += 1
        draw = self.random.randrange(12)
        if draw < 2 or not self.jobs:
            kind, data = EntryKind.COMMAND, encode_command(self._submit())
        elif draw < 8:
            kind, data = EntryKind.COMMAND, encode_command(self._about_a_task())
        elif draw == 8:
            kind, data = EntryKind.SESSION, self._opening()
        elif draw < 11:
            kind, data = EntryKind.BATCH, self._batch()
        else:
            kinds = (EntryKind.NOOP, EntryKind.COMMAND, EntryKind.BATCH, EntryKind.SESSION)
            kind, data = self.random.choice(kinds), self.random.randbytes(9)
        if kind is EntryKind.NOOP:
            self.term += self.random.randint(1, 2)
            data = self.random.choice((data, *(node.encode() for node in NODES)))
        return LogEntry(self.index, self.term, kind, data)

    def _submit(self) -> SubmitJob:
        random = self.random
        mode = random.choice(tuple(ClaimMode))
        quorum = random.choice((Quorum(), Quorum(3, 2)))
        made = job(
            task("a", quorum=quorum), task("b", "a"), task("c"),
            claims=mode, name=f"job{random.randrange(6)}",
        )  # fmt: skip
        self.jobs.append(made)
        by_plan = mode is ClaimMode.ASSIGNED
        assignment = (("a", 0, ADA), ("b", 0, BOB), ("z", 9, CAT)) if by_plan else ()
        return SubmitJob(made, assignment, random.randrange(2**40))

    def _about_a_task(self) -> ClaimTask | FenceTask | AcceptResult | AbandonTask:
        random = self.random
        unit = (random.choice(self.jobs).id, random.choice("aabc"), random.choice((0, 0, 1, 2)))
        node, token = random.choice(NODES), random.randint(1, 4)
        match random.randrange(8):
            case 0 | 1:
                return ClaimTask(*unit, node, token)
            case 2:
                return FenceTask(*unit, token)
            case 3:
                return AbandonTask(unit[0], unit[1], random.choice(("", "no use")))
            case _:
                text = random.choice(("yes", "no"))
                files = (File(unit[1], text.encode()),) if random.random() < 0.7 else ()
                usage = Usage(1, random.randrange(9), 5)
                return AcceptResult(*unit, node, token, files, text, usage)

    def _opening(self) -> bytes:
        self.sessions.append((self.index, 1))
        return encode_opening(self.random.choice(NODES), self.random.randbytes(2))

    def _batch(self) -> bytes:
        random = self.random
        if not self.sessions:
            return b""
        at = random.randrange(len(self.sessions))
        number, first = self.sessions[at]
        verbs = (Verb.PUT, Verb.PUT, Verb.CAS, Verb.DELETE, Verb.NOTHING)
        commands = [
            Command(random.choice(verbs), random.choice("kl"), random.choice((b"", b"v")), None)
            for _ in range(random.randint(1, 3))
        ]
        if random.random() < 0.7:
            self.sessions[at] = (number, first + len(commands))
        return encode_batch(number, first, max(1, first - random.randrange(4)), commands)


@pytest.mark.parametrize("seed", range(40))
def test_whoever_takes_an_image_goes_on_like_whoever_applied_the_log(seed: int) -> None:
    log = RandomLog(seed)
    state, other = Replicated(), Replicated()
    for number in range(120):
        entry = log.next()
        assert state.apply(entry) == other.apply(entry)
        if number % 7 == seed % 7:
            snapshot = snapshot_of(state)
            other = restored(snapshot)
            assert list(other.ledger.jobs.items()) == list(state.ledger.jobs.items())
            assert snapshot_of(other) == snapshot
    assert state.image() == other.image()
    assert len(state.ledger.jobs) > 2
    assert state.registers.revision > 0


def test_an_accepted_answer_is_the_one_of_its_slot_again() -> None:
    """Of a task with several slots it need not be the first."""
    state = Replicated()
    work = job(task("a", quorum=Quorum(3, 2)))
    commands = [SubmitJob(work, ())] + [
        AcceptResult("job", "a", slot, node, 1, (), text, Usage())
        for slot, node, text in ((0, ADA, "no"), (1, BOB, "yes"), (2, CAT, "yes"))
    ]
    for index, command in enumerate(commands, start=1):
        state.apply(LogEntry(index, 1, EntryKind.COMMAND, encode_command(command)))
    found = restored(snapshot_of(state)).ledger.jobs["job"].tasks["a"]
    assert found.accepted is found.slots[1].answer
    assert found.accepted is not None
    assert found.accepted.node == BOB


def grown(seed: int = 3) -> Replicated:
    log, state = RandomLog(seed), Replicated()
    for _ in range(100):
        state.apply(log.next())
    return state


def test_what_is_no_image_is_refused_and_changes_nothing() -> None:
    state = grown()
    good = snapshot_of(state)
    image = codec.unpack_value(_Image, good.state)
    bad = [
        b"", b"\xc1", good.state[:-1], codec.pack_value(replace(image, ledger=b"x")),
        codec.pack_value(replace(image, registers=b"x")),
    ]  # fmt: skip
    for each in bad:
        with pytest.raises(RemoteProtocolError):
            state.restore(replace(good, index=999, state=each))
        assert snapshot_of(state) == good


@pytest.mark.parametrize("seed", range(20))
def test_whatever_the_bytes_it_is_an_image_or_it_is_refused(seed: int) -> None:
    """A node that runs another version may make an image that is damaged in this one's eyes. What
    passes is taken, and can be made an image of again."""
    random = Random(seed)
    good = snapshot_of(grown(seed))
    image = codec.unpack_value(_Image, good.state)
    for _ in range(60):
        ledger, registers = bytearray(image.ledger), bytearray(image.registers)
        for data in (ledger, registers):
            for _ in range(random.randrange(3)):
                data[random.randrange(len(data))] = random.randrange(256)
        state = codec.pack_value(_Image(bytes(ledger), bytes(registers)))
        found = Replicated()
        try:
            found.restore(replace(good, state=state))
        except RemoteProtocolError:
            assert snapshot_of(found) == snapshot_of(Replicated())
        else:
            found.image()


def test_an_image_of_a_job_that_needs_what_is_not_there_is_refused() -> None:
    state = Replicated()
    odd = job(task("a", "elsewhere"), task("b"))
    with pytest.raises(RemoteProtocolError):
        ledger_image._job_of(
            _JobImage(
                odd,
                1,
                0,
                (_TaskImage((), 0, "", (), NOBODY, (), NOWHERE),) * 2,
                "",
                False,
                NOWHERE,
                (),
                (),
                (),
            )
        )
    assert state.image() == Replicated().image()


def test_what_was_there_before_is_gone() -> None:
    state = grown(4)
    small = Replicated()
    state.restore(snapshot_of(small))
    assert state.image() == small.image()
    assert state.applied == 0


def test_a_restart_leaves_nothing() -> None:
    state = grown()
    state.restart()
    assert state.applied == 0
    assert state.image() == Replicated().image()


def test_entries_and_bytes_are_counted_since_the_last_image() -> None:
    state = Replicated()
    for index in (1, 2):
        state.apply(LogEntry(index, 1, EntryKind.NOOP, b"12345"))
    assert (state.entries_since, state.size_since, state.image_size) == (2, 10, 0)
    size = len(state.image())
    assert (state.entries_since, state.size_since, state.image_size) == (0, 0, size)
    other = restored(snapshot_of(state))
    assert (other.entries_since, other.image_size) == (0, size)
