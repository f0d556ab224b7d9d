"""What was said of a job is gone from the store when the ledger has forgotten the job."""

from __future__ import annotations

import pytest
from ledger_hand import job, task
from small_world import SmallWorld, done, failed

from protocol.clocks import SECOND
from protocol.effects import Assignment
from protocol.ledger import retention
from protocol.team.clearing import PREFIXES


def keys_of(world: SmallWorld, name: str) -> set[str]:
    """What any node that is up still shows of a job."""
    return {
        key
        for host in world.up
        if host.peer is not None
        for prefix in PREFIXES
        for key in host.peer.store.scan(f"{prefix}{name}/")
    }


@pytest.fixture(autouse=True)
def _forgetful(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "JOBS_MAX", 2)


def work(world: SmallWorld, *names: str) -> None:
    for name in names:
        world.do(job(*(task(f"t{number}") for number in range(6)), name=name))


def test_nothing_is_left_of_a_job_that_is_forgotten() -> None:
    tries = iter(range(100))
    world = SmallWorld(3, lambda given: failed() if next(tries) == 0 else done(given))
    work(world, "one", "two")
    assert {key.split("/")[0] for key in keys_of(world, "one")} == {"claim", "part", "note"}
    work(world, "three")
    world.run(5 * SECOND)
    assert keys_of(world, "one") == set()
    assert keys_of(world, "two") != set()
    for host in world.hosts:
        assert host.peer is not None
        assert list(host.peer.ledger.jobs) == ["two", "three"]
        assert host.peer.team.notes.usage("one").calls == 0


def test_what_a_dead_node_left_is_cleared_up_as_well() -> None:
    def slow(assignment: Assignment) -> object:
        return done(assignment, after=SECOND)

    world = SmallWorld(4, slow)  # type: ignore[arg-type]
    work(world, "one")
    leader = world.leader()
    victim = next(host for host in world.hosts if host is not leader)
    mine = [key for key in keys_of(world, "one") if author_is(world, key, victim.identity.node)]
    assert mine
    victim.crash()
    world.run(20 * SECOND)
    work(world, "two", "three")
    world.run(5 * SECOND)
    assert keys_of(world, "one") == set()


def author_is(world: SmallWorld, key: str, node: str) -> bool:
    peer = world.hosts[0].peer
    assert peer is not None
    return {version.author for version in peer.store.read(key)} == {node}
