"""More scenes of Raft: replication, snapshots, disks, handing over, reading."""

from __future__ import annotations

from dataclasses import replace

from raft_hand import entry, log_of, remove
from raft_scenarios import HEARTBEAT, LEASE, TIMEOUT, led, scene
from raft_stage import CONFIG, Letter, Stage

from protocol.messages.agreement import Append, OfRaft

SMALL = replace(CONFIG, trailing_entries=0, snapshot_part_size=48)


# -- replication -------------------------------------------------------------------------------


@scene
def figure_7() -> Stage:
    """The logs of Figure 7 of the paper; the leader is l, and its term 8."""
    voters = "abcdefl"
    terms = {
        "l": (1, 1, 1, 4, 4, 5, 5, 6, 6, 6),
        "a": (1, 1, 1, 4, 4, 5, 5, 6, 6),
        "b": (1, 1, 1, 4),
        "c": (1, 1, 1, 4, 4, 5, 5, 6, 6, 6, 6),
        "d": (1, 1, 1, 4, 4, 5, 5, 6, 6, 6, 7, 7),
        "e": (1, 1, 1, 4, 4, 4, 4),
        "f": (1, 1, 1, 2, 2, 2, 3, 3, 3, 3, 3),
    }
    logs = {name: log_of(*found, voters=voters) for name, found in terms.items()}
    stage = Stage(voters, logs=logs, terms=dict.fromkeys(voters, 7))
    stage.show()
    stage.expire_promises()
    stage.campaign("l")
    stage.is_quiet = True
    while stage["l"].status().role != "leader":
        stage.deliver()
    stage.is_quiet = False
    stage.note("Elected by a, b, e and f. Every log is tried at the end of the leader's.")
    stage.show("l")
    for name in "abcdef":
        stage.note(f"-- {name}")
        while stage.deliver("l", name) or stage.deliver(name, "l"):
            pass
    stage.show()
    return stage


@scene
def a_slow_and_a_paused_follower() -> Stage:
    config = replace(CONFIG, inflight_max=3)
    stage = led(config=config)
    stage.note("c does not answer: its window fills, and b's does not.")
    for number in range(5):
        stage.propose("a", b"%d" % number)
        while stage.deliver("a", "b") or stage.deliver("b", "a"):
            pass
    stage.show("a")
    stage.note("Its messages come back: one at a time now, and that one waits for an answer.")
    stage.lose("a", "c")
    stage.ask("a", "c cannot be reached", lambda node: node.unreachable("c"))
    stage.propose("a", b"5")
    stage.propose("a", b"6")
    while stage.deliver("a", "b") or stage.deliver("b", "a"):
        pass
    stage.show("a")
    stage.note("A probe is lost; the next heartbeat asks again.")
    stage.lose("a", "c")
    stage.heartbeat("a")
    stage.show()
    return stage


@scene
def lagging_commit() -> Stage:
    stage = led()
    stage.note("c gets the entry, and not the news that it is committed.")
    stage.propose("a", b"x")
    stage.deliver("a", "c")
    stage.deliver("c", "a")
    stage.lose("a", "c")
    stage.deliver("a", "b")
    stage.deliver("b", "a")
    stage.run()
    stage.show("a", "b", "c")
    stage.note("A heartbeat tells it.")
    stage.heartbeat("a")
    stage.show("c")
    return stage


# -- snapshots ---------------------------------------------------------------------------------


def far_behind(names: str = "abc") -> Stage:
    """`c` lacks what `a` (and `b`) have compacted away."""
    stage = led(names, config=SMALL)
    stage.is_quiet = True
    stage.isolate("c")
    for number in range(4):
        stage.propose("a", b"%d" % number)
    stage.run()
    stage.compact("a")
    stage.compact("b")
    stage.is_quiet = False
    stage.note("c was cut off; the others have compacted what it lacks.")
    stage.heal()
    stage.show()
    return stage


@scene
def snapshot_for_a_follower_far_behind() -> Stage:
    stage = far_behind()
    stage.heartbeat("a")
    stage.show()
    return stage


def until_part(stage: Stage, number: int) -> None:
    """Deliver until so many parts of the snapshot have gone to c."""
    count = 0
    while count < number:
        assert stage.deliver()
        count = sum("> c  part" in line for line in stage.lines)


@scene
def snapshot_with_lost_parts() -> Stage:
    stage = far_behind()
    stage.pass_time(HEARTBEAT, "a")
    until_part(stage, 2)
    stage.lose("a", "c")
    stage.note("A heartbeat is small. Its answer shows that the part before it is lost.")
    stage.heartbeat("a")
    stage.show("a", "c")
    return stage


@scene
def snapshot_that_a_restart_interrupts() -> Stage:
    stage = far_behind()
    stage.pass_time(HEARTBEAT, "a")
    until_part(stage, 3)
    stage.crash("c")
    stage.note("What was there of it is gone, and the answer says so.")
    stage.run()
    stage.show("a", "c")
    return stage


@scene
def snapshot_that_another_leader_finishes() -> Stage:
    stage = far_behind()
    stage.pass_time(HEARTBEAT, "a")
    until_part(stage, 3)
    stage.lose()
    stage.isolate("a")
    stage.expire_promises()
    stage.hush(lambda: stage.campaign("b"))
    while stage["b"].status().role != "leader":
        assert stage.deliver()
    stage.note("Snapshots of one index are equal byte for byte: b goes on where a stopped.")
    stage.run()
    stage.show("b", "c")
    return stage


@scene
def snapshot_made_needless_by_entries() -> Stage:
    stage = led(config=SMALL)
    stage.note("c has the entries, and its answers are late.")
    stage.cut = {("c", "a")}
    for number in range(3):
        stage.propose("a", b"%d" % number)
    stage.run()
    stage.compact("a")
    stage.ask("a", "c cannot be reached, so a believes", lambda node: node.unreachable("c"))
    stage.lose()
    stage.pass_time(HEARTBEAT, "a")
    stage.show("a")
    stage.cut = set()
    stage.note("Any answer that shows it to have what is compacted away ends the snapshot.")
    stage.run()
    stage.show("a")
    return stage


# -- asynchronous storage ----------------------------------------------------------------------


@scene
def slow_disks() -> Stage:
    stage = led()
    stage.note("The leader's disk is slow: a majority without it commits (thesis 10.2.1).")
    stage.slow_disks = {"a"}
    stage.propose("a", b"x")
    stage.run()
    stage.show("a")
    stage.note("With one follower it has to wait for its own disk.")
    stage.isolate("c")
    stage.propose("a", b"y")
    stage.run()
    stage.show("a")
    stage.write("a")
    stage.write("a")
    stage.heal()
    stage.note("A follower's disk is slow: its answers wait, each for its write.")
    stage.slow_disks = {"b"}
    stage.propose("a", b"z")
    stage.pass_time(HEARTBEAT, "a")
    while stage.deliver("a", "b"):
        pass
    stage.write("b")
    while stage.seats["b"].writes:
        stage.write("b")
    stage.run()
    stage.show()
    return stage


@scene
def replaced_while_it_is_written() -> Stage:
    """The ABA problem: an entry gives way to another of its index while its write is under way."""
    stage = Stage("abc")
    stage.expire_promises()
    stage.slow_disks = {"c"}
    c = stage["c"].raft

    def hear(sender: str, message: OfRaft) -> None:
        stage.hand_over(Letter(sender, "c", message))
        stage.say(f"   c holds 1 to {c.log.last_index}, durable to {c.writes.durable}")

    def write() -> None:
        stage.write("c")
        stage.say(f"   c holds 1 to {c.log.last_index}, durable to {c.writes.durable}")

    stage.note("The leader of term 2 sends entries 2 and 3; c's disk is slow.")
    hear("a", Append(2, 1, 1, 1, (entry(2, 2, b"A2"), entry(3, 2, b"A3")), 0))
    stage.note("The one of term 3 sends others in their place.")
    hear("b", Append(3, 1, 1, 1, (entry(2, 3, b"B2"), entry(3, 3, b"B3")), 0))
    stage.note("And the one of term 4 has the first ones.")
    hear("a", Append(4, 1, 1, 1, (entry(2, 2, b"A2"), entry(3, 2, b"A3")), 0))
    stage.note("Each write proves what it wrote, and nothing that took its place; each answer")
    stage.say("# goes when its own write is done, to whom it concerns.")
    write()
    write()
    stage.note("A crash here comes back with B, and with the term of that write.")
    stage.crash("c")
    stage.show("c")
    stage.note("The leader of term 4 has no answer, and sends again.")
    stage.slow_disks = set()
    stage.hand_over(Letter("a", "c", Append(4, 2, 3, 2, (), 0)))
    again = (entry(2, 2, b"A2"), entry(3, 2, b"A3"))
    stage.hand_over(Letter("a", "c", Append(4, 3, 1, 1, again, 3)))
    stage.show("c")
    return stage


# -- handing over, reading ---------------------------------------------------------------------


@scene
def transfer() -> Stage:
    stage = led()
    stage.transfer("a", "b")
    stage.run()
    stage.show()
    return stage


@scene
def transfer_to_one_that_lags() -> Stage:
    stage = led()
    stage.cut = {("a", "b")}
    stage.propose("a", b"x")
    stage.run()
    stage.cut = set()
    stage.transfer("a", "b")
    stage.propose("a", b"refused meanwhile")
    stage.run()
    stage.show()
    return stage


@scene
def transfer_that_is_given_up() -> Stage:
    stage = led()
    stage.isolate("b")
    stage.transfer("a", "b")
    stage.change("a", remove("c"))
    for _ in range(TIMEOUT // HEARTBEAT + 1):
        stage.heartbeat("a")
    stage.propose("a", b"x")
    stage.run()
    stage.show("a")
    return stage


@scene
def reads() -> Stage:
    stage = led()
    stage.hush(lambda: stage.live("a", 1))
    stage.note("By lease, at once; and by asking a majority.")
    stage.read("a", "one", lease=True)
    stage.read("a", "two")
    stage.run()
    stage.note("The lease is over, and a is cut off: it cannot know whether it still leads.")
    stage.isolate("a")
    stage.pass_time(LEASE)
    stage.read("a", "three", lease=True)
    stage.run()
    stage.show("a")
    stage.note("The next heartbeat that a majority answers also answers the read.")
    stage.heal()
    stage.heartbeat("a")
    return stage


@scene
def reads_of_a_deposed_leader() -> Stage:
    stage = led()
    stage.isolate("a")
    stage.hush(lambda: stage.pass_time(TIMEOUT, "b", "c"))
    stage.elect("b")
    stage.propose("b", b"newer")
    stage.run()
    stage.note("a has not noticed. Its lease is long over, and no majority answers it.")
    stage.read("a", "by lease", lease=True)
    stage.read("a", "by index")
    stage.run()
    stage.show()
    return stage
