"""What names a job that the log does not have waits in the store, and is in no other memory."""

from __future__ import annotations

import pytest
from ledger_hand import ADA, BOB, job, task
from team_hand import Desk

from protocol import claims, codec
from protocol.claims import Claim, FailNote, Phase
from protocol.identity import Identity
from protocol.jobs import Amount, Usage
from protocol.ledger import Ledger, SubmitJob, encode_command, retention
from protocol.store import Store
from protocol.team import early
from protocol.team.early import Early, job_of
from protocol.team.spending import Account, account_key

OTHER = Identity(b"o" * 32)
NOTHING = Amount(0, 0)


class Listener(Desk):
    """A node that hears of jobs by gossip before the log has them."""

    def __init__(self) -> None:
        super().__init__()
        self.other = Store(OTHER, "team", 100_000)

    def hear(self, key: str, value: object) -> None:
        encoded, _ = self.other.write([(key, codec.pack_value(value))], 0)
        self.store.merge(encoded)
        turn = self.turn()
        self.team.hearing.learn_key(turn, key, self.now)
        self.settle(turn)

    def hear_all_of(self, name: str) -> None:
        """Somebody works on its task a, races its task b, has failed at a, and spends."""
        node = OTHER.node
        self.hear(claims.claim_key((name, "a", 0)), Claim(node, 1, Phase.WORKING))
        self.hear(claims.race_key((name, "b", 0), node), Claim(node, 1, Phase.WORKING))
        note = FailNote(node, 0, 1, "verify", "wrong", Usage(1, 10, 5))
        self.hear(claims.note_key(name, "a", node, 0), note)
        self.hear(account_key(name, node), Account(node, 1, Amount(7, 0), NOTHING, NOTHING, ()))

    def known_of(self, name: str) -> list[object]:
        """All that is in memory of the four."""
        team = self.team
        return [
            team.book.get((name, "a", 0)),
            team.book.races((name, "b", 0)),
            team.notes.usage(name).tokens_in,
            team.spending.accounts(name).get(OTHER.node),
        ]

    def submit_in_log(self, name: str) -> None:
        tasks = (task("a"), task("b"))
        self.now += 1
        self.commit(encode_command(SubmitJob(job(*tasks, name=name), ())))


def test_nothing_is_kept_of_jobs_that_the_log_does_not_have() -> None:
    """Found in an audit: whatever job a peer named, its claims and notes were kept for ever."""
    desk = Listener()
    for number in range(50):
        desk.hear_all_of(f"job{number}")
        assert desk.known_of(f"job{number}") == [None, {}, 0, None]
    assert not desk.team.book._held
    assert not desk.team.book._races


def test_what_was_said_of_a_job_is_known_once_the_log_has_it() -> None:
    desk = Listener()
    for name in ("first", "second"):
        desk.hear_all_of(name)
    desk.submit_in_log("first")
    claim, races, spent, account = desk.known_of("first")
    assert claim is not None
    assert (list(races), spent) == ([OTHER.node], 10)  # type: ignore[call-overload]
    assert account is not None
    assert desk.known_of("second") == [None, {}, 0, None]


def test_a_task_whose_claim_came_before_its_job_is_left_to_its_holder() -> None:
    desk = Listener()
    desk.hear(claims.claim_key(("job", "a", 0)), Claim(OTHER.node, 1, Phase.WORKING))
    desk.submit_in_log("job")
    assert [attempt.unit[1] for attempt in desk.team.running.values()] == ["b"]


def test_a_node_that_starts_again_reads_what_it_had_of_jobs_that_come_later() -> None:
    """Its log is read to it entry by entry, after its store."""
    desk = Listener()
    desk.hear_all_of("job")
    desk.submit_in_log("job")
    known = desk.known_of("job")
    desk.ledger = Ledger()
    desk.restart()
    assert desk.known_of("job") == [None, {}, 0, None]
    desk.submit_in_log("job")
    assert [type(each) for each in desk.known_of("job")] == [type(each) for each in known]


def test_what_the_log_has_forgotten_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "JOBS_MAX", 1)
    desk = Listener()
    desk.submit_in_log("old")
    desk.hear_all_of("old")
    for name in ("a", "b"):
        desk.ledger.jobs["old"].tasks[name].abandoned = "enough"
    desk.ledger.jobs["old"].outcome = "over"
    desk.submit_in_log("new")
    assert list(desk.ledger.jobs) == ["new"]
    desk.hear_all_of("old")
    assert desk.team.notes.usage("old") == Usage()
    assert desk.team.notes.of("old", "a") == []


def test_a_later_state_of_the_log_takes_along_what_is_known_of_jobs_it_does_not_have() -> None:
    """As in a snapshot, from which a job was forgotten that went on here."""
    desk = Listener()
    desk.submit_in_log("job")
    desk.hear_all_of("job")
    assert desk.known_of("job")[0] is not None
    del desk.ledger.jobs["job"]
    turn = desk.turn()
    desk.team.relearn(turn)
    desk.settle(turn)
    assert desk.known_of("job") == [None, {}, 0, None]


def test_names_are_bounded_and_then_every_new_job_is_looked_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(early, "NAMES_MAX", 3)
    heard = Early()
    heard.came("quiet")
    assert heard.take_due() == []
    for name in ("a", "b", "c", "c", "d"):
        heard.heard(name)
    assert len(heard) == 3
    heard.came("a")
    heard.came("d")
    assert heard.take_due() == ["a", "d"]
    assert heard.take_due() == []


def test_keys_name_their_jobs() -> None:
    unit = ("job", "a", 0)
    keys = [claims.claim_key(unit), claims.race_key(unit, ADA), account_key("job", BOB)]
    keys += [claims.note_key("job", "a", ADA, 1), f"fact/job/{ADA}/1"]
    assert {job_of(key) for key in keys} == {"job"}
    for key in ("", "claim", "rate/endpoint/x", "x/claim/job"):
        assert job_of(key) == ""
