"""A merge passes the checks of all tasks whose versions go into it, if need be on two nodes."""

# ruff: noqa: ASYNC240 -- small folders of the tests themselves

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
from agent_setup import Watched, quick, text_file
from ledger_hand import ADA, BOB, CAT
from small_world import Scripted, SmallWorld
from test_merging import BASE, BOTH, FIRST, SECOND_ONE, Edited, editor, editors, result

from node.doors.versions import merges_view
from protocol.clocks import SECOND, Nanoseconds
from protocol.effects import Assignment, Proposal, Purpose
from protocol.errors import RemoteProtocolError
from protocol.events import AgentFailed, Completed, Event, Failure
from protocol.facts import Fact
from protocol.facts.work import (
    FileMerged,
    JobFinished,
    MergeProposed,
    MergeReviewed,
    TaskAbandoned,
)
from protocol.identity import NOBODY, NodeId
from protocol.jobs import NO_USAGE, Budget, ClaimMode, File, Job, Task, VerifyBy
from protocol.ledger import AcceptResult, MergeFile, ReviewMerge, ReviewResult
from protocol.ledger.retention import size_of
from protocol.ledger_image import image_of, jobs_of
from protocol.team.merging import check_assignment, checks_of

ALL_MODES = list(ClaimMode)
AB = ("a", "b")


def checked(name: str, *needs: str, attempts_max: int = 5) -> Task:
    """A task that writes the shared file, and whose check another node has to run."""
    task = editor(name, *needs, verify=f"check {name}")
    return replace(task, verify_by=VerifyBy.OTHER, attempts_max=attempts_max)


# -- in the ledger ---------------------------------------------------------------------------------


class Witnessed(Edited):
    """Whose results and merges other nodes check: ADA works, BOB merges."""

    def write(self, name: str, content: bytes, job: str = "job") -> list[Fact]:
        facts = super().write(name, content, job)
        if self.task(name).task.verify_by is VerifyBy.OTHER:
            facts = self.say(ReviewResult(job, name, 0, ADA, 1, CAT, ""))
        return facts

    def propose(self, content: bytes, number: int = 0, node: NodeId = BOB) -> list[Fact]:
        return self.say(MergeFile("job", "shared", AB, node, False, content, "", number))

    def review(self, reviewer: NodeId, fault: str = "", number: int = 0) -> list[Fact]:
        return self.say(ReviewMerge("job", "shared", AB, number, reviewer, fault))


def two_edits(attempts_max: int = 5) -> Witnessed:
    """Two edits side by side, one of them by a task whose check others run, too, and a task that
    builds on both."""
    book = Witnessed()
    last = checked("b", attempts_max=attempts_max)
    book.submit(editors(editor("a"), last, editor("c", "a", "b")))
    book.write("a", FIRST)
    book.write("b", SECOND_ONE)
    return book


def test_no_merge_counts_before_another_node_has_checked_it() -> None:
    book = two_edits()
    assert book.propose(BOTH) == [MergeProposed("job", "shared", AB, BOB, False, 5)]
    assert not book.is_ready("c")
    assert book.contents() == {"shared.a": FIRST, "shared.b": SECOND_ONE}
    assert book.state.merges_due() == [], "nobody need make another one meanwhile"
    assert book.review(BOB) == [], "nobody is the witness of its own merge"
    reviewed, merged = book.review(CAT)
    assert reviewed == MergeReviewed("job", "shared", AB, BOB, CAT, "", 7)
    assert merged == FileMerged("job", "shared", AB, BOB, False, "", 7, CAT)
    assert book.is_ready("c")
    assert book.contents() == {"shared": BOTH}


def test_where_no_task_asks_for_it_a_merge_counts_at_once() -> None:
    book = Witnessed()
    book.submit(editors(editor("a", verify="check a"), editor("b", verify="check b")))
    book.write("a", FIRST)
    book.write("b", SECOND_ONE)
    merged, finished = book.propose(BOTH)
    assert merged == FileMerged("job", "shared", AB, BOB, False, "", 4, NOBODY)
    assert isinstance(finished, JobFinished)


def test_a_merge_that_is_wrong_is_made_anew() -> None:
    book = two_edits()
    book.propose(b"wrong")
    (reviewed,) = book.review(CAT, "a test fails")
    assert isinstance(reviewed, MergeReviewed)
    assert reviewed.fault == "a test fails"
    assert book.state.merges_due() == [("shared", AB)]
    assert book.propose(b"wrong") == [], "the same, proposed again"
    assert book.propose(BOTH, number=1)
    assert book.review(CAT, "a test fails") == [], "that was said of the first"
    assert book.review(CAT, number=1)
    assert book.contents() == {"shared": BOTH}


def test_merges_that_are_always_wrong_are_given_up() -> None:
    book = two_edits(attempts_max=2)
    book.propose(b"wrong")
    book.review(CAT, "no")
    book.propose(b"wrong again", number=1)
    _, merged, abandoned, finished = book.review(CAT, "the check of task 'a' fails", number=1)
    assert isinstance(merged, FileMerged)
    assert merged.fault == "2 merges were wrong, the last: the check of task 'a' fails"
    assert isinstance(abandoned, TaskAbandoned)
    assert merged.fault in abandoned.reason
    assert isinstance(finished, JobFinished)
    assert not finished.succeeded
    assert book.contents() == {"shared.a": FIRST, "shared.b": SECOND_ONE}


def test_a_word_on_what_does_not_wait_changes_nothing() -> None:
    book = two_edits()
    assert book.review(CAT) == []
    assert book.say(ReviewMerge("no job", "shared", AB, 0, CAT, "")) == []
    assert book.say(ReviewMerge("job", "shared", ("a", "nobody"), 0, CAT, "")) == []
    book.propose(BOTH)
    book.review(CAT)
    assert book.review(ADA, "wrong") == []


def test_a_merge_that_nobody_will_check_does_not_count() -> None:
    book = two_edits()
    book.propose(BOTH)
    assert book.review(NOBODY) == [], "nobody's word is none"
    merged, abandoned, _ = book.review(NOBODY, "the time is over")
    assert merged == FileMerged("job", "shared", AB, BOB, False, "the time is over", 7)
    assert isinstance(abandoned, TaskAbandoned)
    assert book.contents() == {"shared.a": FIRST, "shared.b": SECOND_ONE}


def test_proposed_merges_are_in_a_snapshot() -> None:
    book = two_edits()
    before = size_of(book.state)
    book.propose(b"wrong")
    book.review(CAT, "no")
    assert size_of(book.state) == before, "what was wrong is not kept"
    book.propose(BOTH, number=1)
    assert size_of(book.state) == before + len(BOTH)
    (state,) = jobs_of(image_of(book.ledger))
    assert state == book.state
    assert state.waiting_merge(("shared", AB)) == book.state.waiting_merge(("shared", AB))
    assert [merge.fault for merge in state.proposed["shared", AB].refuted] == ["no"]


def test_a_snapshot_with_merges_of_no_task_is_refused() -> None:
    book = two_edits()
    book.propose(BOTH)
    book.state.proposed["shared", ("a", "nobody")] = book.state.proposed.pop(("shared", AB))
    with pytest.raises(RemoteProtocolError, match="does not fit"):
        jobs_of(image_of(book.ledger))


# -- what is beside a merge when it is checked -----------------------------------------------------


def test_a_check_sees_the_accepted_inputs_and_results_of_all_tasks_and_nothing_else() -> None:
    book = Edited()
    names = ("p", "q", "r")
    plain = [Task(name, name, writes=(name,)) for name in names]
    one = replace(editor("a", "p", verify="check {id}"), writes=("shared", "by-a"))
    book.submit(editors(*plain, one, editor("b", "q", verify="check b")))
    for name in names:
        book.say(AcceptResult("job", name, 0, ADA, 1, (File(name, b""),), "", NO_USAGE))
    files = (File("shared", FIRST), File("by-a", b"x"))
    book.say(AcceptResult("job", "a", 0, ADA, 1, files, "said", NO_USAGE))
    book.write("b", SECOND_ONE)
    of_a, of_b = checks_of(book.state, ("shared", AB))
    assert [file.path for file in of_a.inputs] == ["by-a", "p", "q"]
    assert of_a.inputs == of_b.inputs
    assert (of_a.task.id, of_a.text, of_b.task.id, of_b.text) == ("a", "said", "b", "")
    asked = check_assignment(book.state, ("shared", AB), BOTH)
    assert asked.purpose is Purpose.REVIEW
    assert asked.proposals == (Proposal((File("shared", BOTH),), ""),)


def test_another_shared_file_is_as_merged_or_before_that_as_the_checks_own_task_made_it() -> None:
    book = Edited()
    one, other = (
        replace(editor(name, verify=f"check {name}"), writes=("other", "shared")) for name in AB
    )
    book.submit(editors(one, other))
    for name, content in (("a", FIRST), ("b", SECOND_ONE)):
        files = (File("shared", content), File("other", name.encode()))
        book.say(AcceptResult("job", name, 0, ADA, 1, files, "", NO_USAGE))
    seen = [check.inputs for check in checks_of(book.state, ("shared", AB))]
    assert seen == [(File("other", b"a"),), (File("other", b"b"),)]
    book.say(MergeFile("job", "other", AB, BOB, True, b"a and b", ""))
    seen = [check.inputs for check in checks_of(book.state, ("shared", AB))]
    assert seen == [(File("other", b"a and b"),)] * 2


# -- in the simulated team -------------------------------------------------------------------------


class Editors:
    """Each task changes the first line or the last. What merges give in order is `made`; a check of
    a merge passes if it is `BOTH`, or `wanted`."""

    def __init__(self, *made: bytes, wanted: bytes = BOTH, clash: bool = False) -> None:
        self.made = list(made)
        self.wanted = wanted
        self.clash = clash
        self.asked: list[Assignment] = []
        self.checked: list[Assignment] = []

    def __call__(self, assignment: Assignment) -> tuple[Nanoseconds, Completed | AgentFailed]:
        match assignment.purpose:
            case Purpose.WORK:
                content = FIRST if assignment.task.id == "a" else SECOND_ONE
                if self.clash:
                    content += assignment.task.id.encode()
                return SECOND, Completed(0, (File("shared", content),), "", NO_USAGE)
            case Purpose.MERGE:
                self.asked.append(assignment)
                content = self.made.pop(0) if self.made else self.wanted
                return SECOND, Completed(0, (File("shared", content),), "", NO_USAGE)
            case Purpose.REVIEW if assignment.checks:
                self.checked.append(assignment)
                (proposal,) = assignment.proposals
                if proposal.files == (File("shared", self.wanted),):
                    return SECOND // 10, Completed(0, (), "", NO_USAGE)
                detail = "the check of task 'b' (check b): no"
                return SECOND // 10, AgentFailed(0, Failure.VERIFY, detail, (), NO_USAGE)
        return SECOND // 10, Completed(0, (), "", NO_USAGE)


def seen(world: SmallWorld, kind: type[MergeReviewed] | type[FileMerged]) -> list[Fact]:
    found = {fact for _, _, fact in world.diary.of(kind)}
    return sorted(found, key=lambda fact: fact.index)


@pytest.mark.parametrize("claims", ALL_MODES)
def test_what_two_tasks_wrote_counts_once_another_node_has_checked_the_merge(
    claims: ClaimMode,
) -> None:
    agents = Editors()
    world = SmallWorld(3, agents)
    world.do(replace(editors(checked("a"), editor("b")), claims=claims))
    assert result(world) == {"shared": BOTH}
    (merged,) = seen(world, FileMerged)
    assert isinstance(merged, FileMerged)
    assert merged.reviewer not in (NOBODY, merged.node)
    assert not agents.asked
    assert len(agents.checked) == 2, "by who made it, and by the witness"


@pytest.mark.parametrize("claims", ALL_MODES)
def test_a_node_that_merges_wrongly_is_found_out(claims: ClaimMode) -> None:
    """Its own word is that the checks pass."""
    agents = Editors(b"a lie", clash=True)
    world = SmallWorld(3, agents)
    world.do(replace(editors(checked("a"), checked("b")), claims=claims))
    assert result(world) == {"shared": BOTH}
    refuted, passed = seen(world, MergeReviewed)
    assert isinstance(refuted, MergeReviewed)
    assert isinstance(passed, MergeReviewed)
    assert refuted.fault == "the check of task 'b' (check b): no"
    assert passed.fault == ""
    assert passed.node != refuted.node, "somebody else merges next"
    assert passed.reviewer not in (passed.node, refuted.reviewer)
    assert agents.asked[1].notes == (refuted.fault,)
    peer = world.hosts[0].peer
    assert peer is not None
    (row,) = merges_view(peer, peer.ledger.jobs["job"])
    assert row["reviewer"]
    assert not row["waits"]
    assert [each["fault"] for each in row["refuted"]] == [refuted.fault]


def test_a_merge_that_needs_nobody_is_checked_and_if_it_is_wrong_a_model_is_asked() -> None:
    agents = Editors(wanted=b"as the model wrote it")
    world = SmallWorld(3, agents)
    world.do(editors(editor("a"), editor("b", verify="check b")))
    assert result(world) == {"shared": b"as the model wrote it"}
    (check,) = agents.checked
    assert check.proposals[0].files == (File("shared", BOTH),)
    (asked,) = agents.asked
    assert asked.notes == ("the check of task 'b' (check b): no",)
    (merged,) = seen(world, FileMerged)
    assert isinstance(merged, FileMerged)
    assert (merged.by_agent, merged.fault) == (True, "")


def test_programs_whose_merge_does_not_pass_end_the_job_with_the_check_that_said_no() -> None:
    agents = Editors(wanted=b"nothing that there is")
    world = SmallWorld(3, agents)
    tasks = tuple(
        replace(task, agent="command", program="true", attempts_max=3)
        for task in (editor("a"), editor("b", verify="check b"))
    )
    world.do(editors(*tasks))
    assert result(world) == {"shared.a": FIRST, "shared.b": SECOND_ONE}
    (merged,) = seen(world, FileMerged)
    assert isinstance(merged, FileMerged)
    assert merged.fault.startswith("put together line by line it is wrong, verify: the check of ")
    assert merged.fault.endswith("task 'b' (check b): no")
    assert not merged.by_agent
    assert len(agents.checked) == 3, "as often as the task may be tried"
    (finished,) = {fact.succeeded for _, _, fact in world.diary.of(JobFinished)}
    assert not finished


def test_a_witness_that_dies_is_replaced() -> None:
    agents = Editors()
    world = SmallWorld(4, agents)
    world.submit(editors(checked("a"), checked("b")))
    assert world.run(60 * SECOND, lambda: len(agents.checked) == 2)
    at_work = [host for host in world.hosts if host.peer and host.peer.team._reviewing.running]
    at_work[0].crash("killed")
    assert world.run(120 * SECOND, lambda: bool(world.diary.of(FileMerged)))
    at_work[0].start_again()
    assert world.run(120 * SECOND, world.is_finished)


@pytest.mark.parametrize("lacking", [1, 2, 3])
def test_who_has_not_got_the_check_of_a_merge_leaves_it_to_who_has(lacking: int) -> None:
    """Where nobody else has it, the merge is given up for that reason, and nobody is called a
    liar."""
    agents = Editors()

    def script(assignment: Assignment) -> tuple[Nanoseconds, Completed | AgentFailed]:
        if assignment.checks:
            return SECOND // 10, AgentFailed(0, Failure.NO_CHECK, "no jq here", (), NO_USAGE)
        return agents(assignment)

    world = SmallWorld(3, agents)
    for host in world.hosts[:lacking]:
        host.agents = Scripted(script)
    world.do(editors(checked("a"), checked("b", attempts_max=1)))
    (merged,) = seen(world, FileMerged)
    assert isinstance(merged, FileMerged)
    assert not any(isinstance(f, MergeReviewed) and f.fault for f in seen(world, MergeReviewed))
    who = {1: "", 2: "no other node", 3: "no node"}[lacking]
    assert merged.fault == (f"{who} can check it: no jq here" if who else "")


def test_who_lacks_the_check_of_one_task_merges_what_only_others_made() -> None:
    """It has not got that of task 'a', and finds it out before 'c' is done."""

    def script(assignment: Assignment) -> tuple[Nanoseconds, Completed | AgentFailed]:
        if any(check.task.id == "a" for check in assignment.checks):
            return SECOND // 10, AgentFailed(0, Failure.NO_CHECK, "no jq here", (), NO_USAGE)
        if assignment.purpose is Purpose.REVIEW:
            return SECOND // 10, Completed(0, (), "", NO_USAGE)
        content = FIRST if assignment.task.id != "b" else SECOND_ONE
        files = tuple(File(path, content) for path in assignment.task.writes)
        took = 10 * SECOND if assignment.task.id == "c" else SECOND
        return took, Completed(0, files, "", NO_USAGE)

    world = SmallWorld(1, script)
    writes = {"a": ("first",), "b": ("first", "last"), "c": ("last",)}
    tasks = tuple(
        replace(editor(name, verify=f"check {name}"), writes=paths)
        for name, paths in writes.items()
    )
    both = Task("d", "on both", needs=AB)  # so that they are merged at once
    world.submit(Job("job", "job", (*tasks, both), files=(File("first", BASE), File("last", BASE))))
    assert world.run(60 * SECOND, lambda: bool(world.diary.of(FileMerged)))
    peer = world.hosts[0].peer
    assert peer is not None
    assert not any(peer.team.notes_of("job", name) for name in writes), "it can do each of them"
    assert world.run(60 * SECOND, world.is_finished)
    faults = {fact.path: fact.fault for _, _, fact in world.diary.of(FileMerged)}
    assert faults == {"first": "no node can check it: no jq here", "last": ""}
    assert result(world) == {"first.a": FIRST, "first.b": SECOND_ONE, "last": BOTH}


@pytest.mark.parametrize("seen_before", [0, 1])
def test_what_waits_for_a_check_when_the_time_is_over_is_not_merged(seen_before: int) -> None:
    """Whether the check is that of who merges or that of the witness."""
    agents = Editors()

    def script(assignment: Assignment) -> tuple[Nanoseconds, Completed | AgentFailed]:
        took, end = agents(assignment)
        is_endless = bool(assignment.checks) and len(agents.checked) > seen_before
        return (1_000 * SECOND if is_endless else took), end

    world = SmallWorld(3, script)
    world.submit(replace(editors(checked("a"), checked("b")), budget=Budget(wall_s=20.0)))
    assert world.run(30 * SECOND, world.is_finished)
    assert bool(world.diary.of(MergeProposed)) == bool(seen_before)
    (merged,) = seen(world, FileMerged)
    assert isinstance(merged, FileMerged)
    assert merged.fault == "the budget of 20 s is used up"
    assert result(world) == {"shared.a": FIRST, "shared.b": SECOND_ONE}


# -- on a real node --------------------------------------------------------------------------------


@pytest.fixture
async def node(tmp_path: Path) -> AsyncIterator[Watched]:
    """A node's agents; whatever a test did, no folder may be left."""
    watched = Watched(quick(tmp_path / "scratch"))
    yield watched
    await watched.invocations.close()
    assert not list(tmp_path.glob("scratch/*"))


async def run_checks(node: Watched, job: Job, content: bytes, number: int = 1) -> Event:
    """What a node says of a merge by the tasks a and b, which wrote FIRST and SECOND_ONE."""
    book = Edited()
    book.submit(job)
    book.write("a", FIRST)
    book.write("b", SECOND_ONE)
    return await node.run(check_assignment(book.state, ("shared", AB), content), number)


async def test_a_node_runs_the_check_of_every_task_under_its_own_name(node: Watched) -> None:
    lines = "ls > {id}.listed; test $(cat {id}.listed | wc -l) = 3; grep -q "
    tasks = (editor("a", verify=f"{lines} ONE shared"), editor("b", verify=f"{lines} FIVE shared"))
    job = editors(*tasks)
    job = replace(job, files=(*job.files, text_file("fixture", "x")))
    assert isinstance(await run_checks(node, job, BOTH), Completed)
    for number, content, name, word in ((2, FIRST, "b", "FIVE"), (3, SECOND_ONE, "a", "ONE")):
        end = await run_checks(node, job, content, number)
        assert isinstance(end, AgentFailed)
        assert end.reason is Failure.VERIFY
        assert end.detail.startswith(f"the check of task {name!r} ({lines} {word} shared): ")


async def test_each_check_of_a_merge_has_the_time_of_its_own_task(node: Watched) -> None:
    endless = replace(editor("b", verify="sleep 600"), verify_timeout_s=0.3)
    end = await run_checks(node, editors(editor("a", verify="true"), endless), BASE)
    assert isinstance(end, AgentFailed)
    assert "task 'b' (sleep 600): the check did not end within its verify_timeout" in end.detail
