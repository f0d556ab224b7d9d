"""Scenes of Raft, each told from its first line: `test_raft_scenarios` compares what happens with
tests/transcripts/. They are meant to be read there."""

from __future__ import annotations

from collections.abc import Callable

from raft_hand import add, add_learner, log_of, remove
from raft_stage import CONFIG, Stage

from protocol.configuration import Transition

HEARTBEAT, TIMEOUT, LEASE = CONFIG.heartbeat_ns, CONFIG.election_timeout_ns, CONFIG.lease_ns

Scene = Callable[[], Stage]
SCENES: dict[str, Scene] = {}


def scene(function: Scene) -> Scene:
    SCENES[function.__name__] = function
    return function


def led(names: str = "abc", voters: str | None = None, config: object = CONFIG) -> Stage:
    """`a` leads, and everybody knows it."""
    assert isinstance(config, type(CONFIG))
    stage = Stage(names, voters=voters, config=config)
    stage.elect("a")
    return stage


# -- elections ---------------------------------------------------------------------------------


@scene
def campaign() -> Stage:
    stage = Stage("abc")
    stage.expire_promises()
    stage.note("First it asks whether it could win (thesis 9.6), then it raises the term.")
    stage.campaign("a")
    stage.run()
    stage.show()
    return stage


@scene
def campaign_with_a_shorter_log() -> Stage:
    stage = Stage("abc", logs={"b": log_of(1, 1), "c": log_of(1, 1)})
    stage.expire_promises()
    stage.note("a has not got entry 2, which may be committed (paper, 5.4.1).")
    stage.campaign("a")
    stage.run()
    stage.campaign("b")
    stage.run()
    stage.show()
    return stage


@scene
def pre_vote() -> Stage:
    stage = led()
    stage.isolate("c")
    stage.hush(lambda: stage.live("a", 8))
    stage.note("Alone it asks and asks, and its term stays.")
    stage.show()
    stage.heal()
    stage.note("On its return nobody wants another leader: they hear one (thesis 4.2.3).")
    stage.pass_time(CONFIG.vote_repeat_ns, "c")
    stage.run()
    stage.heartbeat("a")
    stage.show()
    stage.note("Asked to campaign, it waits until its own promise to the leader is over.")
    stage.campaign("c")
    stage.pass_time(LEASE, "c")
    stage.run()
    stage.note("It follows again when it hears the leader.")
    stage.heartbeat("a")
    stage.show()
    return stage


@scene
def check_quorum() -> Stage:
    stage = led()
    stage.isolate("a")
    stage.propose("a", b"lonely")
    stage.note("No majority answers for an election time-out (thesis 6.2).")
    stage.pass_time(2 * TIMEOUT, "a")
    stage.show("a")
    stage.propose("a", b"refused")
    stage.heal()
    stage.elect("b")
    stage.heartbeat("b")
    stage.show()
    return stage


@scene
def forget_leader() -> Stage:
    stage = led()
    stage.note("b forgets its leader and campaigns; c has not, and refuses.")
    stage.ask("b", "b forgets its leader", lambda node: node.forget_leader())
    stage.campaign("b")
    stage.note("What was promised to a lease is kept all the same: 100 ms.")
    stage.pass_time(LEASE, "b")
    stage.run()
    stage.heartbeat("a")
    stage.show()
    stage.note("Both forget it: now b wins, long before a time-out.")
    stage.ask("b", "b forgets its leader", lambda node: node.forget_leader())
    stage.ask("c", "c forgets its leader", lambda node: node.forget_leader())
    stage.hush(lambda: stage.campaign("b"))
    stage.pass_time(LEASE, "b")
    stage.run()
    stage.show()
    return stage


@scene
def single_node() -> Stage:
    stage = Stage("a")
    stage.slow_disks = {"a"}
    stage.expire_promises()
    stage.note("It needs nobody else, but its own vote must be durable, and then its own entry.")
    stage.campaign("a")
    stage.write("a")
    stage.write("a")
    stage.propose("a", b"x")
    stage.propose("a", b"y")
    stage.read("a", "before the disk is done")
    stage.write("a")
    stage.write("a")
    stage.read("a", "afterwards")
    stage.show()
    return stage


# -- changes in one step -----------------------------------------------------------------------


@scene
def change_adds_a_voter() -> Stage:
    stage = led("abcd", voters="abc")
    stage.change("a", add("d"))
    stage.run()
    stage.note("Two at once are refused, and what is there already.")
    stage.isolate("a")
    stage.change("a", remove("b"))
    stage.change("a", remove("c"))
    stage.change("a", add("d"))
    stage.show()
    return stage


@scene
def change_adds_a_learner() -> Stage:
    stage = led("abcd", voters="abc")
    stage.change("a", add_learner("d"))
    stage.run()
    stage.note("It has the log and counts for nothing (thesis 4.2.1): a and d are no majority.")
    stage.cut = {("b", "a"), ("c", "a")}
    stage.propose("a", b"x")
    stage.run()
    stage.show("a", "d")
    stage.note("Promoted, it counts.")
    stage.cut = set()
    stage.heartbeat("a")
    stage.change("a", add("d"))
    stage.run()
    stage.show()
    return stage


@scene
def change_removes_a_voter() -> Stage:
    stage = led()
    stage.isolate("c")
    stage.change("a", remove("c"))
    stage.run()
    stage.hush(lambda: stage.live("a", 8))
    stage.heal()
    stage.note("c does not know it, gets nothing any more, and campaigns: it disturbs nobody.")
    stage.pass_time(CONFIG.vote_repeat_ns, "c")
    stage.run()
    stage.show()
    stage.note("It asks the others for what it lacks, and learns it.")
    stage.ask("c", "c asks b", lambda node: stage.post("c", "b", node.lacking()))
    stage.run()
    stage.show("c")
    return stage


@scene
def change_removes_the_leader() -> Stage:
    stage = led()
    stage.note("It leads until its removal is committed, and does not count itself (4.2.2).")
    stage.change("a", remove("a"))
    stage.run()
    stage.show()
    return stage


@scene
def change_removes_a_leader_that_crashes() -> Stage:
    stage = led("ab")
    stage.cut = {("a", "b")}
    stage.change("a", remove("a"))
    stage.crash("a")
    stage.cut = set()
    stage.note("b has a shorter log, and by that log needs a's vote; it cannot win.")
    stage.expire_promises()
    stage.campaign("b")
    stage.run()
    stage.note("So a campaigns once more, without a vote of its own (4.2.2).")
    stage.campaign("a")
    stage.run()
    stage.show()
    return stage


# -- joint consensus ---------------------------------------------------------------------------


@scene
def joint_left_automatically() -> Stage:
    stage = led("abcd", voters="abc")
    stage.change("a", add("d"), transition=Transition.IMPLICIT)
    stage.run()
    stage.show()
    return stage


@scene
def joint_left_explicitly() -> Stage:
    stage = led("abcd", voters="abc")
    stage.change("a", add("d"), transition=Transition.EXPLICIT)
    stage.leave_joint("a")
    stage.run()
    stage.show("a", "d")
    stage.note("It lasts until somebody says so. Meanwhile nothing else is changed.")
    stage.heartbeat("a")
    stage.change("a", remove("b"))
    stage.leave_joint("a")
    stage.run()
    stage.show()
    return stage


@scene
def joint_adds_and_removes_two() -> Stage:
    stage = led("abcde", voters="abc")
    stage.note("With b and c out of reach all new voters have it, but one of the old only.")
    stage.cut = {("b", "a"), ("c", "a")}
    stage.change("a", add("d"), add("e"), remove("b"), remove("c"))
    stage.run()
    stage.show("a", "d")
    stage.cut = set()
    stage.heartbeat("a")
    stage.show()
    return stage


@scene
def joint_demotes_a_voter() -> Stage:
    stage = led("abcd", voters="abc")
    stage.note("c stays, as a learner: in brackets until the joint configuration is left.")
    stage.change("a", add_learner("c"), add("d"))
    stage.show("a")
    stage.run()
    stage.show()
    return stage


@scene
def joint_finished_by_another_leader() -> Stage:
    stage = led("abcde", voters="abc")
    stage.cut = {(name, "a") for name in "bcde"}
    stage.change("a", add("d"), add("e"))
    stage.run()
    stage.isolate("a")
    stage.elect("b")
    stage.show("b")
    stage.heartbeat("b")
    stage.show()
    return stage
