"""Who led when the log decided something: told by the log itself, and the same to all."""

from __future__ import annotations

from dataclasses import replace

import pytest
from ledger_hand import ADA, BOB, CAT, job, task

from protocol.configuration import Configuration
from protocol.effects import Snapshot
from protocol.identity import NOBODY, NodeId
from protocol.jobs import NO_USAGE, File, Quorum, VerifyBy
from protocol.ledger import (
    NOWHERE,
    AbandonTask,
    AcceptResult,
    Command,
    JobState,
    Place,
    ReviewResult,
    SubmitJob,
    decode_leader,
    encode_command,
)
from protocol.messages.agreement import EntryKind, LogEntry
from protocol.replicated import Replicated


class Log:
    """A log that is applied as it grows, under one leader after the other."""

    def __init__(self) -> None:
        self.state = Replicated()
        self.term = 1

    def led_by(self, name: bytes) -> None:
        """The next term begins."""
        self.term += 1
        self._append(EntryKind.NOOP, name)

    def say(self, command: Command) -> int:
        """Commit a command: its index."""
        return self._append(EntryKind.COMMAND, encode_command(command))

    def _append(self, kind: EntryKind, data: bytes) -> int:
        index = self.state.applied + 1
        self.state.apply(LogEntry(index, self.term, kind, data))
        return index

    def answer(self, name: str, node: NodeId, slot: int = 0, text: str = "good") -> int:
        files = (File(name, text.encode()),)
        return self.say(AcceptResult("job", name, slot, node, 1, files, text, NO_USAGE))

    @property
    def job(self) -> JobState:
        return self.state.ledger.jobs["job"]


def test_every_decision_names_its_entry_its_term_and_who_led() -> None:
    log = Log()
    log.led_by(b"ada")
    log.say(SubmitJob(job(task("a"), task("b"), task("c")), ()))
    first = log.answer("a", BOB)
    log.led_by(b"cat")
    second = log.say(AbandonTask("job", "b", "no use"))
    assert log.job.finished == NOWHERE
    assert log.job.tasks["c"].committed == NOWHERE
    last = log.answer("c", BOB)
    assert log.job.tasks["a"].committed == Place(first, 2, ADA)
    assert log.job.tasks["b"].committed == Place(second, 3, CAT)
    assert log.job.tasks["c"].committed == log.job.finished == Place(last, 3, CAT)


def test_a_vote_is_decided_by_the_leader_under_whom_the_last_one_came() -> None:
    """Every answer keeps the term of its own entry, the one that does not agree as well."""
    log = Log()
    log.led_by(b"ada")
    log.say(SubmitJob(job(task("a", quorum=Quorum(3, 2))), ()))
    log.answer("a", ADA, 0, "2")
    log.answer("a", BOB, 1, "3")
    log.led_by(b"bob")
    last = log.answer("a", CAT, 2, "3")
    state = log.job.tasks["a"]
    assert [answer.term for answer in state.answers] == [2, 2, 3]
    assert [answer.node for answer in state.agreeing()] == [BOB, CAT]
    assert [(answer.node, answer.term) for answer in state.dissenting()] == [(ADA, 2)]
    assert state.committed == Place(last, 3, BOB)


def test_a_leader_is_known_to_who_began_with_a_snapshot() -> None:
    log, other = Log(), Log()
    log.led_by(b"ada")
    log.say(SubmitJob(job(task("a"), task("b")), ()))
    log.answer("a", BOB)
    image = log.state.image()
    voters = Configuration((ADA,))
    other.state.restore(Snapshot(3, log.term, voters, 1, bytes(8), bytes(16), image))
    other.term = log.term
    assert [each.answer("b", CAT) for each in (log, other)] == [4, 4]
    assert other.job == log.job
    assert other.job.finished == Place(4, 2, ADA)
    assert other.state.image() == log.state.image()


def test_of_a_term_that_nobody_has_begun_no_leader_is_known() -> None:
    """The leader of another term is not taken for its own: a lone founder's log begins so."""
    log = Log()
    log.led_by(b"ada")
    log.say(SubmitJob(job(task("a")), ()))
    log.term += 1
    log.answer("a", BOB)
    assert log.job.finished == Place(3, 3, NOBODY)
    log.state.restart()
    assert (log.state.term, log.state.leader) == (0, NOBODY)


@pytest.mark.parametrize("data", [b"", b"\xff\x00", b"x" * 65])
def test_what_names_no_node_is_nobody(data: bytes) -> None:
    assert decode_leader(data) == NOBODY


def test_what_another_node_has_checked_is_committed_by_its_word() -> None:
    log = Log()
    log.led_by(b"ada")
    reviewed = replace(task("a"), verify="true", verify_by=VerifyBy.OTHER)
    log.say(SubmitJob(job(reviewed), ()))
    proposed = log.answer("a", BOB)
    assert log.job.tasks["a"].committed == NOWHERE
    word = log.say(ReviewResult("job", "a", 0, BOB, 1, CAT, ""))
    state = log.job.tasks["a"]
    assert state.accepted is not None
    assert (state.accepted.index, state.accepted.term) == (proposed, 2)
    assert state.committed == Place(word, 2, ADA)
