"""The runtime around a peer: order of effects, what waits for the disk, bounds, stopping."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path

import pytest

from node.log_files import LogFiles
from node.runtime import Runtime
from node.telemetry import Telemetry
from protocol import config as presets
from protocol.effects import Assignment, Record, Restored
from protocol.errors import Busy, InvalidJob, NoLeader, TimedOut
from protocol.events import Completed, Consistency, Event, Received
from protocol.identity import Identity, NodeId
from protocol.jobs import NO_USAGE, Job, Task
from protocol.membership import sign_record
from protocol.messages import Message
from protocol.messages.agreement import Agreement, Append
from protocol.messages.membership import NO_NEWS, MemberRecord, MemberSync, News, Probe
from protocol.peer import Peer, PeerSettings
from protocol.registers import Command, Verb


class Wire:
    """Remembers what was sent."""

    def __init__(self) -> None:
        self.sent: list[Message] = []

    def send(self, destination: NodeId, endpoints: tuple[str, ...], message: Message) -> None:
        self.sent.append(message)


class SlowDisk:
    """Holds every write until it is told to let go."""

    def __init__(self) -> None:
        self.held: list[tuple[int, Callable[[int], None]]] = []
        self.records: list[Record] = []
        self.immediate = False
        self.is_full = False

    def write(
        self, sequence: int, records: tuple[Record, ...], done: Callable[[int], None]
    ) -> None:
        self.records.extend(records)
        self.held.append((sequence, done))
        if self.immediate:
            asyncio.get_running_loop().call_soon(self.let_go)

    def let_go(self) -> None:
        held, self.held = self.held, []
        for sequence, done in held:
            done(sequence)


class Agents:
    """Answers each assignment at once, by delivering to whoever is set."""

    def __init__(self) -> None:
        self.started: list[Assignment] = []
        self.deliver: Callable[[Event], None] | None = None

    def start(self, invocation: int, assignment: Assignment) -> None:
        self.started.append(assignment)
        if self.deliver:
            self.deliver(Completed(invocation, (), "an answer", NO_USAGE))

    def abort(self, invocation: int, reason: str) -> None:
        raise AssertionError("nothing is aborted here")


class Bench:
    """A runtime with all its parts under control."""

    def __init__(self, tmp_path: Path) -> None:
        self.wire, self.disk, self.agents = Wire(), SlowDisk(), Agents()
        identity = Identity(hashlib.sha256(b"runtime").digest())
        base = presets.local()
        settings = PeerSettings("test", "n1", ("127.0.0.1:1",), found=True, seed="1")
        config = replace(
            base,
            team=replace(base.team, submit_timeout_ns=300_000_000),
            clerk=replace(base.clerk, timeout_ns=300_000_000),
        )
        peer = Peer(identity, settings, config, Restored(), 0)
        self.telemetry = Telemetry(identity.node, "n1", tmp_path)
        self.runtime = Runtime(peer, self.wire, self.disk, self.agents, self.telemetry)
        self.agents.deliver = self.runtime.deliver


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    made = Bench(tmp_path)
    yield made
    made.runtime.stop()
    made.telemetry.close()


async def turns(count: int = 20) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


JOB = Job("job", "job", (Task("t", "A question."),))


async def test_nothing_is_promised_before_the_disk_has_it(bench: Bench) -> None:
    bench.runtime.start()
    await turns()
    assert bench.disk.held, "founding writes the term and the first entries"
    assert bench.runtime.peer.raft.role.value == "candidate", "its own vote counts when durable"
    assert bench.runtime.peer.raft.commit == 0
    assert "EntryCommitted" not in bench.telemetry.counts
    for _ in range(2):  # the vote, and then what the leader appends
        bench.disk.let_go()
        await turns()
    assert bench.runtime.peer.raft.commit == 2


async def test_a_slow_disk_does_not_hold_up_other_steps(bench: Bench) -> None:
    bench.runtime.start()
    await turns()
    stranger = Identity(hashlib.sha256(b"stranger").digest()).node
    bench.runtime.deliver(Received(stranger, Probe(7, b"", NO_NEWS)))
    await turns()
    assert bench.disk.held, "the disk has not answered yet"
    assert any(type(message).__name__ == "ProbeAck" for message in bench.wire.sent)


async def test_a_fact_that_waited_for_the_disk_is_told_of_its_step(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[float] = []
    monkeypatch.setattr(bench.telemetry, "report", lambda fact, happened_s: told.append(happened_s))
    before = time.monotonic()
    bench.runtime.start()
    await turns()
    assert bench.disk.held, "founding writes first"
    assert told == []
    confirmed_at = time.monotonic()
    bench.disk.let_go()
    assert told
    assert all(before <= happened_s <= confirmed_at for happened_s in told)


async def test_who_finds_no_leader_is_told_why_there_is_none(bench: Bench) -> None:
    """In the words of the status."""
    bench.runtime.start()
    await turns()
    written = bench.runtime.command(Command(Verb.PUT, "k", b"v"))
    read = bench.runtime.read("k", Consistency.LINEARIZABLE)
    for request in (written, read):
        with pytest.raises(NoLeader, match="for too long") as refusal:
            await request
        assert "; this node asks for votes in term 2: 0 of 1 agree" in str(refusal.value)


async def test_while_the_disk_has_too_much_to_do_nothing_is_taken_on_but_probes_are_answered(
    bench: Bench,
) -> None:
    bench.disk.immediate = True
    bench.runtime.start()
    await turns(60)
    assert bench.runtime.peer.raft.leadership is not None
    written, log = len(bench.disk.records), bench.runtime.peer.raft.log
    bench.disk.is_full = True
    stranger = Identity(hashlib.sha256(b"stranger").digest()).node
    append = Append(9, 1, log.last_index, log.last_term, (), 0)
    bench.runtime.deliver(Received(stranger, Agreement(log.identity, append)))
    bench.runtime.deliver(Received(stranger, Probe(7, b"", NO_NEWS)))
    with pytest.raises(Busy, match="disk"):
        await bench.runtime.submit(JOB)
    with pytest.raises(Busy, match="disk"):
        bench.runtime.command(Command(Verb.PUT, "k", b"v"))
    await turns()
    assert bench.runtime.dropped == 1
    assert bench.runtime.peer.raft.term < 9
    assert any(type(message).__name__ == "ProbeAck" for message in bench.wire.sent)
    assert len(bench.disk.records) == written
    bench.disk.is_full = False
    assert isinstance(await bench.runtime.command(Command(Verb.PUT, "k", b"v")), int)


async def test_a_job_is_taken_done_and_answered(bench: Bench) -> None:
    bench.disk.immediate = True
    bench.runtime.start()
    assert await bench.runtime.submit(JOB) == "job"
    for _ in range(2_000):  # results are gathered for a moment on their way into the log
        if bench.runtime.peer.ledger.jobs["job"].is_finished:
            break
        await asyncio.sleep(0.005)
    assert [assignment.task.id for assignment in bench.agents.started] == ["t"]
    assert bench.runtime.peer.ledger.jobs["job"].succeeded


async def test_a_job_that_cannot_be_is_definitely_refused(bench: Bench) -> None:
    bench.runtime.start()
    with pytest.raises(InvalidJob, match="no tasks"):
        await bench.runtime.submit(Job("job", "job", ()))


async def test_without_a_majority_a_client_is_told_that_it_may_have_happened(bench: Bench) -> None:
    bench.runtime.start()  # its disk never answers, so nothing is ever committed
    with pytest.raises(TimedOut, match="may still happen"):
        await bench.runtime.submit(JOB)


async def test_stopping_answers_every_waiting_client(bench: Bench) -> None:
    bench.runtime.start()
    waiting = asyncio.create_task(bench.runtime.submit(JOB))
    await turns()
    bench.runtime.stop()
    with pytest.raises(TimedOut, match="stopping"):
        await waiting


async def test_a_step_that_raises_stops_the_node(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(event: Event, now: int) -> list[object]:
        raise RuntimeError("a bug")

    monkeypatch.setattr(bench.runtime.peer, "step", broken)
    bench.runtime.start()
    with pytest.raises(RuntimeError, match="a bug"):
        await bench.runtime.stopped


async def test_a_full_inbox_drops_what_peers_will_repeat_and_nothing_else(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("node.runtime.INBOX_MAX", 3)
    stranger = Identity(hashlib.sha256(b"stranger").digest()).node
    for number in range(5):
        bench.runtime.deliver(Received(stranger, Probe(number, b"", NO_NEWS)))
    assert bench.runtime.dropped == 2
    bench.runtime.start()
    await turns()
    acks = [message for message in bench.wire.sent if type(message).__name__ == "ProbeAck"]
    assert len(acks) == 3


async def test_subscribers_get_facts_and_are_told_what_they_lost(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("node.telemetry.SUBSCRIBER_QUEUE_MAX", 2)
    bench.disk.immediate = True
    with bench.telemetry.subscribe() as facts:
        bench.runtime.start()
        await turns(50)
        assert facts.full()
        first = facts.get_nowait()
        assert first["agent"] == "n1"
        facts.get_nowait()
        await bench.runtime.submit(JOB)
        await turns(200)
        assert facts.get_nowait()["lost_before"]


async def test_facts_are_written_down_as_lines_and_as_records(bench: Bench, tmp_path: Path) -> None:
    bench.disk.immediate = True
    bench.runtime.start()
    await bench.runtime.submit(JOB)
    await turns(200)
    bench.telemetry.close()
    log = (tmp_path / "node.log").read_text()
    assert " = LeaderElected term=2 " in log
    assert " * JobSubmitted job=job " in log
    assert '"type": "JobSubmitted"' in (tmp_path / "facts.jsonl").read_text()


async def test_leaving_says_goodbye_and_then_stops(bench: Bench) -> None:
    bench.runtime.start()
    bench.disk.immediate = True
    friend = Identity(hashlib.sha256(b"friend").digest())
    draft = MemberRecord(friend.public_key, "f", ("f:1",), 1, 0, False, (), b"")
    record = sign_record(friend, "test", draft)
    bench.runtime.deliver(Received(friend.node, MemberSync(News((record,)))))
    await turns()
    bench.runtime.leave()
    await asyncio.wait_for(bench.runtime.stopped, 5)
    last = [message for message in bench.wire.sent if isinstance(message, MemberSync)][-1]
    assert last.news.records[0].left


async def test_a_disk_that_hangs_does_not_keep_a_node_from_leaving(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("node.runtime.LEAVE_TIMEOUT_S", 0.01)
    bench.runtime.start()
    await turns()
    bench.runtime.leave()
    await asyncio.wait_for(bench.runtime.stopped, 5)
    assert bench.disk.held, "the disk never answered"


async def test_nothing_is_performed_after_the_stop(bench: Bench) -> None:
    bench.runtime.start()
    await turns()
    sent = len(bench.wire.sent)
    bench.runtime.stop()
    bench.disk.let_go()
    await turns()
    assert len(bench.wire.sent) == sent
    assert "EntryCommitted" not in bench.telemetry.counts


# -- logs ----------------------------------------------------------------------------------------


def test_a_log_that_cannot_be_written_counts_its_lines(tmp_path: Path) -> None:
    (tmp_path / "node.log").mkdir()
    files = LogFiles(tmp_path)
    files.write("node.log", "nowhere to go")
    files.write("facts.jsonl", "{}")
    files.close()
    assert files.lost == 1
    assert (tmp_path / "facts.jsonl").read_text() == "{}\n"


def test_a_log_on_a_full_disk_counts_its_lines() -> None:
    files = LogFiles(Path("/dev"))
    files.write("full", "no room")
    files.close()
    assert files.lost == 1


def test_a_log_is_put_aside_at_its_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("node.log_files.FILE_SIZE_MAX", 10)
    files = LogFiles(tmp_path)
    files.write("node.log", "more than ten bytes")
    while not (tmp_path / "node.log.1").exists():
        time.sleep(0.001)
    files.write("node.log", "anew")
    files.close()
    assert (tmp_path / "node.log").read_text() == "anew\n"


def test_lines_that_come_faster_than_the_disk_takes_them_are_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("node.log_files.WAITING_MAX", 0)
    files = LogFiles(tmp_path)
    files.write("node.log", "one too many")
    files.close()
    assert files.lost == 1
