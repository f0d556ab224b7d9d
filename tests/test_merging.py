"""Files that several tasks write: nothing is replaced by what has not seen it."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from ledger_hand import ADA, BOB, Book
from small_world import Scripted, SmallWorld

from node.doors.versions import versions_view
from protocol import config as presets
from protocol.clocks import SECOND, Nanoseconds
from protocol.effects import Assignment, Purpose
from protocol.errors import InvalidJob
from protocol.events import AgentFailed, Completed, Failure
from protocol.facts import Fact
from protocol.facts.work import FileMerged, JobFinished, TaskAbandoned, TaskAccepted
from protocol.job_rules import validate
from protocol.jobs import NO_USAGE, ClaimMode, File, Job, Task, Usage
from protocol.ledger import AcceptResult, MergeFile
from protocol.ledger_image import image_of, jobs_of
from protocol.team.merging import merge_assignment, merged_alone
from protocol.team.reviewing import UNASKED

ALL_MODES = list(ClaimMode)
BASE = b"one\ntwo\nthree\nfour\nfive\n"


def editor(name: str, *needs: str, verify: str = "") -> Task:
    """A task that writes the shared file."""
    return Task(name, f"edit for {name}", needs=needs, writes=("shared",), verify=verify)


def editors(*tasks: Task, base: bytes = BASE) -> Job:
    return Job("job", "job", tasks, files=(File("shared", base),))


class Edited(Book):
    """A ledger whose tasks write `shared`."""

    def write(self, name: str, content: bytes, job: str = "job") -> list[Fact]:
        files = (File("shared", content),)
        return self.say(AcceptResult(job, name, 0, ADA, 1, files, "", NO_USAGE))

    def merge(
        self, tasks: tuple[str, ...], content: bytes, fault: str = "", job: str = "job"
    ) -> list[Fact]:
        return self.say(MergeFile(job, "shared", tasks, BOB, False, content, fault))

    def contents(self) -> dict[str, bytes]:
        return {file.path: file.content for file in self.state.files()}

    def is_ready(self, name: str) -> bool:
        return self.state.is_ready(self.task(name))


FIRST = BASE.replace(b"one", b"ONE")
SECOND_ONE = BASE.replace(b"five", b"FIVE")
BOTH = FIRST.replace(b"five", b"FIVE")


def two_edits() -> Edited:
    """Two edits side by side, and a task that builds on both."""
    book = Edited()
    book.submit(editors(editor("a"), editor("b"), editor("c", "a", "b")))
    book.write("a", FIRST)
    book.write("b", SECOND_ONE)
    return book


# -- in the ledger ---------------------------------------------------------------------------------


def test_who_has_seen_a_version_replaces_it() -> None:
    book = Edited()
    book.submit(editors(editor("a"), editor("b", "a"), editor("c", "b")))
    book.write("a", b"1")
    assert [file.content for file in book.state.inputs_of(book.task("b").task)] == [b"1"]
    book.write("b", b"2")
    finished = book.write("c", b"3")[-1]
    assert isinstance(finished, JobFinished)
    assert book.contents() == {"shared": b"3"}
    assert book.state.merges_due() == []


def test_nobody_builds_on_versions_that_have_not_seen_each_other() -> None:
    book = two_edits()
    assert not book.is_ready("c")
    assert book.state.merges_due() == [("shared", ("a", "b"))]
    assert book.contents() == {"shared.a": FIRST, "shared.b": SECOND_ONE}
    book.merge(("a", "b"), BOTH)
    assert book.is_ready("c")
    assert [file.content for file in book.state.inputs_of(book.task("c").task)] == [BOTH]
    finished = book.write("c", b"built on both")[-1]
    assert isinstance(finished, JobFinished)
    assert finished.succeeded
    assert book.contents() == {"shared": b"built on both"}


def test_equal_versions_need_no_merge() -> None:
    book = Edited()
    book.submit(editors(editor("a"), editor("b"), editor("c", "a", "b")))
    book.write("a", b"same")
    book.write("b", b"same")
    assert book.is_ready("c")
    assert [file.content for file in book.state.inputs_of(book.task("c").task)] == [b"same"]


def test_the_job_ends_once_what_stands_side_by_side_is_merged() -> None:
    book = Edited()
    book.submit(editors(editor("a"), editor("b")))
    book.write("a", FIRST)
    assert not any(isinstance(fact, JobFinished) for fact in book.write("b", SECOND_ONE))
    (merged, finished) = book.merge(("a", "b"), BOTH)
    assert merged == FileMerged("job", "shared", ("a", "b"), BOB, False, "", 4)
    assert isinstance(finished, JobFinished)
    assert finished.succeeded
    assert book.contents() == {"shared": BOTH}


def test_the_first_merge_counts_and_none_that_is_not_due() -> None:
    book = two_edits()
    assert book.merge(("a",), b"x") == []
    assert book.merge(("b", "a"), b"x") == []
    assert book.say(MergeFile("job", "other", ("a", "b"), BOB, False, b"x", "")) == []
    book.merge(("a", "b"), BOTH)
    assert book.merge(("a", "b"), b"another") == []
    assert [file.content for file in book.state.inputs_of(book.task("c").task)] == [BOTH]


def test_what_cannot_be_merged_stands_under_the_names_of_its_tasks() -> None:
    book = two_edits()
    _, abandoned, finished = book.merge(("a", "b"), b"", "they contradict each other")
    assert isinstance(abandoned, TaskAbandoned)
    assert abandoned.task == "c"
    assert abandoned.reason == "it needs shared as a and b made it: they contradict each other"
    assert isinstance(finished, JobFinished)
    assert not finished.succeeded
    assert book.contents() == {"shared.a": FIRST, "shared.b": SECOND_ONE}


def test_the_merge_of_a_merge_begins_with_it() -> None:
    book = Edited()
    tasks = (editor("a"), editor("b"), editor("c", "a", "b"), editor("d", "a", "b"))
    book.submit(editors(*tasks))
    book.write("a", FIRST)
    book.write("b", SECOND_ONE)
    book.merge(("a", "b"), BOTH)
    book.write("c", BOTH.replace(b"two", b"TWO"))
    book.write("d", BOTH.replace(b"four", b"FOUR"))
    siblings = ("shared", ("c", "d"))
    assert book.state.merges_due() == [siblings]
    assert book.state.edits.base(siblings) == BOTH
    assert merged_alone(book.state, siblings) == b"ONE\nTWO\nthree\nFOUR\nFIVE\n"


def test_merges_are_in_a_snapshot_and_in_the_outcome() -> None:
    book = two_edits()
    book.merge(("a", "b"), BOTH)
    (state,) = jobs_of(image_of(book.ledger))
    assert state == book.state
    assert state.is_ready(state.tasks["c"])
    other = two_edits()
    other.merge(("a", "b"), b"another")
    assert book.write("c", b"x")[-1] != other.write("c", b"x")[-1]


def test_a_resumed_job_takes_merges_over_with_their_versions() -> None:
    tasks = (editor("a"), editor("b"), editor("c", "a", "b"))
    book = two_edits()
    book.merge(("a", "b"), BOTH)
    book.submit(replace(editors(*tasks), id="again", resumes="job"))
    again = book.ledger.jobs["again"]
    assert again.is_ready(again.tasks["c"])
    changed = (tasks[0], replace(tasks[1], prompt="another"), tasks[2])
    book.submit(replace(editors(*changed), id="changed", resumes="job"))
    assert book.ledger.jobs["changed"].merges == {}


def test_no_file_may_have_the_name_that_a_version_may_get() -> None:
    clash = Task("c", "x", writes=("shared.a",))
    with pytest.raises(InvalidJob, match=r"shared\.a"):
        validate(editors(editor("a"), editor("b"), replace(clash, writes=("shared.a/inner",))))


def test_what_was_taken_back_does_not_come_again() -> None:
    """Three versions may have more in common two by two than all together."""
    book = Edited()
    tasks = (editor("x"), editor("a", "x"), editor("b", "x"), editor("c"))
    book.submit(editors(*tasks, base=b"1\n2\n3\n4\n5\n6\n"))
    book.write("x", b"1\nBAD\n2\n3\n4\n5\n6\n")
    book.write("a", b"1\n2\n3\n4\n5\n6\n")
    book.write("b", b"1\nBAD\n2\n3\nfour\n5\n6\n")
    book.write("c", b"1\n2\n3\n4\n5\nsix\n")
    (siblings,) = book.state.merges_due()
    assert siblings[0] == "shared"
    assert sorted(siblings[1]) == ["a", "b", "c"]
    assert merged_alone(book.state, siblings) == b"1\n2\n3\nfour\n5\nsix\n"


def test_only_what_needs_a_merge_that_failed_is_given_up() -> None:
    book = Edited()
    tasks = (editor("a"), editor("b"), editor("c", "a"), editor("u", "a", "b"))
    book.submit(editors(*tasks, editor("t", "b", "c")))
    book.write("a", b"one\n")
    book.write("b", b"two\n")
    facts = book.merge(("a", "b"), b"", "they contradict each other")
    assert [fact.task for fact in facts if isinstance(fact, TaskAbandoned)] == ["u"]
    book.write("c", b"three\n")
    assert book.state.merges_due() == [("shared", ("b", "c"))]
    book.merge(("b", "c"), b"two\nthree\n")
    assert book.is_ready("t")


def test_what_needs_a_merge_that_failed_long_ago_is_given_up_as_well() -> None:
    book = Edited()
    plain = Task("p", "plain", writes=("p",))
    tasks = (editor("a"), editor("b"), plain, editor("u", "a", "b"), editor("v", "a", "b", "p"))
    book.submit(editors(*tasks))
    book.write("a", b"one\n")
    book.write("b", b"two\n")
    book.merge(("a", "b"), b"", "no")
    assert book.task("v").is_open
    facts = book.say(AcceptResult("job", "p", 0, ADA, 1, (File("p", b""),), "", NO_USAGE))
    assert [fact.task for fact in facts if isinstance(fact, TaskAbandoned)] == ["v"]
    assert book.state.is_finished


# -- what a model is asked -------------------------------------------------------------------------


def test_a_model_is_shown_all_versions_and_what_they_began_with() -> None:
    book = Edited()
    plain = Task("p", "plain", writes=("p",))
    tasks = (plain, editor("a", "p", verify="check a"), editor("b", verify="check b # x"))
    book.submit(editors(*tasks))
    book.say(AcceptResult("job", "p", 0, ADA, 1, (File("p", b"p"),), "", NO_USAGE))
    book.write("a", b"mine\n")
    book.write("b", b"yours\n")
    ((path, names),) = book.state.merges_due()
    assert merged_alone(book.state, (path, names)) is None
    asked = merge_assignment(book.state, (path, names), ("why",))
    assert asked.purpose is Purpose.MERGE
    assert asked.partial == (File("shared", BASE),)
    assert [proposal.files for proposal in asked.proposals] == [
        (File("shared", b"mine\n"),),
        (File("shared", b"yours\n"),),
    ]
    assert [proposal.text for proposal in asked.proposals] == [
        "a\n\nedit for a",
        "b\n\nedit for b",
    ]
    assert asked.task.writes == ("shared",)
    assert asked.inputs == (File("p", b"p"),)
    assert asked.notes == ("why",)
    assert asked.task.verify == ""
    assert [(check.task.verify, check.inputs) for check in asked.checks] == [
        ("check a", asked.inputs),
        ("check b # x", asked.inputs),
    ]


# -- in the simulated team -------------------------------------------------------------------------


class Editors:
    """Each task changes the line of its own name; `clash` has all change the first one as well. A
    model that merges takes all versions' words, or fails."""

    def __init__(self, clash: bool = False, merges: bool = True) -> None:
        self.clash = clash
        self.merges = merges
        self.merged: list[Assignment] = []

    def __call__(self, assignment: Assignment) -> tuple[Nanoseconds, Completed | AgentFailed]:
        if assignment.purpose is Purpose.MERGE:
            self.merged.append(assignment)
            if not self.merges:
                return SECOND, AgentFailed(0, Failure.VERIFY, "a test fails", (), Usage(1, 5, 5))
            words = b" ".join(each.files[0].content for each in assignment.proposals).split()
            content = b"\n".join(dict.fromkeys(words))
            return SECOND, Completed(0, (File("shared", content),), "", Usage(1, 7, 3))
        seen = {file.path: file.content for file in (*assignment.fixtures, *assignment.inputs)}
        name = assignment.task.id.encode()
        content = seen["shared"].replace(name + b"\n", name.upper() + b"\n")
        if self.clash:
            content = content.replace(b"first", b"by-" + name)
        return SECOND, Completed(0, (File("shared", content),), "", NO_USAGE)


LINES = b"first\n\n\na\n\n\nb\n\n\nc\n\n\nd\n"


def shared_job(claims: ClaimMode) -> Job:
    tasks = (editor("a"), editor("b"), editor("c"), editor("d", "a", "b"))
    return replace(editors(*tasks, base=LINES), claims=claims)


def result(world: SmallWorld) -> dict[str, bytes]:
    """What the first node has in the end; all others have the same outcome."""
    (finished,) = {fact.outcome for _, _, fact in world.diary.of(JobFinished)}
    assert finished
    peer = world.hosts[0].peer
    assert peer is not None
    return {file.path: file.content for file in peer.ledger.jobs["job"].files()}


def test_the_story_of_a_file_has_a_limited_size(monkeypatch: pytest.MonkeyPatch) -> None:
    world = SmallWorld(1, Editors())
    world.do(shared_job(ClaimMode.LEASE))
    peer = world.hosts[0].peer
    assert peer is not None
    job = peer.ledger.jobs["job"]
    whole = json.dumps(versions_view(peer, job, "shared"))
    assert "null" not in whole
    monkeypatch.setattr("node.doors.versions.CONTENTS_SIZE_MAX", 3 * len(LINES))
    view = versions_view(peer, job, "shared")
    assert view["base"] == LINES.decode()
    assert view["contents"]["shared"] is not None
    assert [row["size"] for row in view["accepted"]] == [len(LINES)] * 4
    assert [row["content"] is None for row in view["accepted"]] == [False, True, True, True]
    assert len(json.dumps(view)) < len(whole)


@pytest.mark.parametrize("claims", ALL_MODES)
def test_disjoint_edits_come_together_without_an_agent(claims: ClaimMode) -> None:
    agents = Editors()
    world = SmallWorld(3, agents)
    world.do(shared_job(claims))
    assert result(world) == {"shared": b"first\n\n\nA\n\n\nB\n\n\nC\n\n\nD\n"}
    assert not agents.merged
    merges = {fact.tasks for _, _, fact in world.diary.of(FileMerged)}
    assert merges == {("a", "b"), ("c", "d")}


@pytest.mark.parametrize("claims", ALL_MODES)
def test_edits_that_touch_each_other_are_for_a_model(claims: ClaimMode) -> None:
    agents = Editors(clash=True)
    world = SmallWorld(3, agents)
    world.do(shared_job(claims))
    words = result(world)["shared"].split()
    assert {b"A", b"B", b"C", b"D", b"by-a", b"by-b", b"by-c"} <= set(words)
    assert [each.purpose for each in agents.merged] == [Purpose.MERGE] * len(agents.merged)
    assert all(fact.by_agent for _, _, fact in world.diary.of(FileMerged))


def test_a_merge_that_nobody_can_make_ends_the_job_and_loses_nothing() -> None:
    agents = Editors(clash=True, merges=False)
    world = SmallWorld(3, agents)
    world.do(shared_job(ClaimMode.LEASE), within=400 * SECOND)
    (finished,) = {fact.succeeded for _, _, fact in world.diary.of(JobFinished)}
    assert not finished
    assert sorted(result(world)) == ["shared.a", "shared.b", "shared.c"]
    assert len({fact.task for _, _, fact in world.diary.of(TaskAccepted)}) == 3
    assert len(agents.merged) >= 3, "every node tried"


def test_programs_are_not_asked_to_merge() -> None:
    agents = Editors(clash=True)
    world = SmallWorld(3, agents)
    job = shared_job(ClaimMode.LEASE)
    tasks = tuple(replace(task, agent="command", program="true") for task in job.tasks)
    world.do(replace(job, tasks=tasks))
    assert not agents.merged
    faults = {fact.fault for _, _, fact in world.diary.of(FileMerged)}
    assert faults == {UNASKED}


@pytest.mark.parametrize("claims", list(ClaimMode))
def test_the_program_of_a_job_merges_what_touches_each_other(claims: ClaimMode) -> None:
    agents = Editors(clash=True)
    world = SmallWorld(3, agents)
    job = shared_job(claims)
    tasks = tuple(replace(task, agent="command", program="true") for task in job.tasks)
    world.do(replace(job, tasks=tasks, merge_program="sort -u"))
    words = result(world)["shared"].split()
    assert {b"A", b"B", b"C", b"D", b"by-a", b"by-b", b"by-c"} <= set(words)
    assert {(each.task.agent, each.task.program) for each in agents.merged} == {
        ("command", "sort -u")
    }
    assert all(fact.by_agent for _, _, fact in world.diary.of(FileMerged))


def test_a_program_that_cannot_merge_is_asked_as_often_as_a_model() -> None:
    agents = Editors(clash=True, merges=False)
    world = SmallWorld(3, agents)
    tasks = (replace(each, agent="command", program="true") for each in (editor("a"), editor("b")))
    world.do(replace(editors(*tasks, base=LINES), merge_program="false"), within=400 * SECOND)
    (merged,) = {fact for _, _, fact in world.diary.of(FileMerged)}
    assert merged.fault == "no program merged it, verify: a test fails"
    assert len(agents.merged) == 5
    assert sorted(result(world)) == ["shared.a", "shared.b"]


def without(agents: Editors, reason: Failure) -> Scripted:
    """A node that does its tasks, and on which this becomes of every merge."""

    def script(assignment: Assignment) -> tuple[Nanoseconds, Completed | AgentFailed]:
        if assignment.purpose is not Purpose.MERGE:
            return agents(assignment)
        return SECOND // 10, AgentFailed(0, reason, "it is not here", (), NO_USAGE)

    return Scripted(script)


def clashing(reason: Failure) -> Job:
    """Two edits that touch each other, for the job's program to merge, or for a model, and a task
    that builds on both."""
    program = "sort -u" if reason is Failure.NO_PROGRAM else ""
    tasks = (replace(editor(name), attempts_max=3) for name in ("a", "b"))
    return replace(editors(*tasks, editor("c", "a", "b"), base=LINES), merge_program=program)


@pytest.mark.parametrize("capable", range(5))
@pytest.mark.parametrize("reason", [Failure.NO_PROGRAM, Failure.NO_MODEL])
def test_who_can_merge_is_asked_however_many_cannot(reason: Failure, capable: int) -> None:
    """And a node that lacks what a merge takes can still do the tasks."""
    agents = Editors(clash=True)
    world = SmallWorld(5, agents)
    others = [host for host in world.hosts if host.number != capable]
    for host in others:
        host.agents = without(agents, reason)
    world.submit(clashing(reason))
    assert world.run(60 * SECOND, lambda: bool(world.diary.of(FileMerged)))
    (merged,) = {fact for _, _, fact in world.diary.of(FileMerged)}
    assert (merged.node, merged.fault) == (world.hosts[capable].identity.node, "")
    for host in others:
        assert isinstance(host.agents, Scripted)
        assert [each.purpose for each in host.agents.given].count(Purpose.MERGE) <= 1
        assert host.peer is not None
        assert not any(host.peer.team.notes_of("job", task) for task in ("a", "b"))
    assert world.run(60 * SECOND, world.is_finished)
    assert all(fact.succeeded for _, _, fact in world.diary.of(JobFinished))


@pytest.mark.parametrize("reason", [Failure.NO_PROGRAM, Failure.NO_MODEL])
def test_what_no_node_can_merge_is_given_up_with_that_reason(reason: Failure) -> None:
    agents = Editors(clash=True)
    world = SmallWorld(5, agents)
    for host in world.hosts:
        host.agents = without(agents, reason)
    world.do(clashing(reason))
    (merged,) = {fact for _, _, fact in world.diary.of(FileMerged)}
    assert merged.fault == "no node can merge it: it is not here"
    assert sorted(result(world)) == ["shared.a", "shared.b"]


def test_who_has_not_got_the_program_still_merges_what_needs_none() -> None:
    """Of several files by the same tasks, here the one that has to wait for the others."""
    clashing = ("clash-1", "clash-2")
    assert len(clashing) >= presets.local().team.reviews_max

    def script(assignment: Assignment) -> tuple[Nanoseconds, Completed | AgentFailed]:
        if assignment.purpose is Purpose.MERGE:
            return SECOND // 10, AgentFailed(0, Failure.NO_PROGRAM, "no sort", (), NO_USAGE)
        name = assignment.task.id
        apart = File("then", FIRST if name == "a" else SECOND_ONE)
        files = (*(File(path, name.encode()) for path in clashing), apart)
        return SECOND, Completed(0, files, "", NO_USAGE)

    world = SmallWorld(1, script)
    paths = (*clashing, "then")
    tasks = tuple(replace(editor(name), writes=paths) for name in ("a", "b"))
    given = tuple(File(path, BASE) for path in paths)
    world.do(Job("job", "job", tasks, files=given, merge_program="sort -u"))
    merges = {fact.path: fact.fault for _, _, fact in world.diary.of(FileMerged)}
    lacks = "no node can merge it: no sort"
    assert merges == {"clash-1": lacks, "clash-2": lacks, "then": ""}
    assert result(world)["then"] == BOTH


def test_a_program_finds_each_version_under_a_name_of_its_own() -> None:
    book = two_edits()
    book.state.job = replace(book.state.job, merge_program="sort -u")
    (siblings,) = book.state.merges_due()
    asked = merge_assignment(book.state, siblings, ())
    assert [file.path for each in asked.proposals for file in each.files] == [
        "shared.a",
        "shared.b",
    ]
    assert asked.task.writes == ("shared",)


def test_who_was_to_merge_and_died_is_replaced() -> None:
    agents = Editors(clash=True)
    world = SmallWorld(3, agents)
    world.submit(shared_job(ClaimMode.LEASE))
    assert world.run(30 * SECOND, lambda: bool(agents.merged))
    (busy,) = [host for host in world.hosts if host.peer and host.peer.team._reviewing.running]
    busy.crash("killed")
    assert world.run(120 * SECOND, lambda: bool(world.diary.of(FileMerged)))
    busy.start_again()
    assert world.run(120 * SECOND, world.is_finished)
