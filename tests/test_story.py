"""The story of a task, from facts written by hand."""

from __future__ import annotations

import pytest
from story_hand import (
    ADA,
    BOB,
    CAT,
    UNIT,
    Team,
    held_by,
    line_of,
    row,
    slot_view,
    texts,
    view_of,
)

from node.cli.why_verb import FOOTNOTE, lines_of
from node.lab.story.sentences import DETAIL_LINES_MAX
from node.lab.story.telling import tell
from protocol.facts.agreement import LeaderElected
from protocol.facts.membership import MemberFailed, MemberJoined, MemberLeft
from protocol.facts.work import (
    AnswerGiven,
    AnswersJudged,
    AttemptAborted,
    AttemptFailed,
    ClaimLost,
    JobFinished,
    JobSubmitted,
    LeaseExpired,
    ResultLate,
    ResultProposed,
    ResultReviewed,
    TaskAbandoned,
    TaskAccepted,
    TaskClaimed,
    TaskCloned,
    TaskCompleted,
    TaskFenced,
    TaskStarted,
)
from protocol.identity import NOBODY, NodeId


def begun(team: Team, at_s: float, node: NodeId, token: int = 1, slot: int = 0) -> Team:
    """A node claims the task in the store and starts; the two others hear of it."""
    unit = ("job", "t", slot)
    team.say(at_s, TaskStarted(*unit, token, False), node)
    others = [each for each in (ADA, BOB, CAT) if each != node]
    return team.say(at_s + 0.01, TaskClaimed(*unit, node, token, 0), node, *others)


def done(team: Team, at_s: float, node: NodeId, token: int, index: int) -> Team:
    """It has a result, and that is accepted."""
    team.say(at_s, TaskCompleted(*UNIT, token, "0123456789abcdef"), node)
    accepted = TaskAccepted("job", "t", node, token, "0123456789abcdef", index)
    return team.all_say(at_s + 0.1, accepted)


def submitted() -> Team:
    """A job, under a leader."""
    team = Team().all_say(99.0, LeaderElected(2, ADA))
    return team.all_say(100.0, JobSubmitted("job", 3, 1))


# -- attempts --------------------------------------------------------------------------------------


def test_a_task_that_went_well_has_one_attempt() -> None:
    story = done(begun(submitted(), 101.0, BOB), 105.0, BOB, 1, 4).story()
    assert [part.title for part in story.parts] == ["", "attempt 1 (token 1)"]
    assert texts(story.parts[1]) == [
        "n2 claims it and starts (heard by n1 after 11 ms, n3 after 12 ms)",
        "n2 has a result, 0123456789ab",
        "log 4 the result of n2 is accepted, by leader n1 of term 2",
    ]
    assert story.state == "accepted"
    said = "accepted from n2 (token 1) at log index 4, by leader n1 of term 2, after 1 attempt"
    assert story.summary == said
    assert not any(line.is_concurrent for part in story.parts for line in part.lines)
    assert story.remarks == ()


def takeover() -> Team:
    """n2 stops; n3 takes over and is accepted; then n2 goes on, and its result is late."""
    team = begun(submitted(), 101.0, BOB)
    team.say(111.5, LeaseExpired(*UNIT, BOB, 1), CAT)
    team.say(111.5, TaskStarted(*UNIT, 2, False), CAT)
    team.say(111.51, TaskClaimed(*UNIT, CAT, 2, 0), CAT, ADA)
    team.say(111.6, TaskFenced(*UNIT, 2, 4), ADA, CAT)
    team.say(115.0, TaskCompleted(*UNIT, 2, "good"), CAT)
    team.say(115.1, TaskAccepted("job", "t", CAT, 2, "good", 5), ADA, CAT)
    team.say(120.0, TaskCompleted(*UNIT, 1, "zombie"), BOB)
    team.say(120.1, ResultLate("job", "t", BOB, 1, "zombie", 6), ADA, CAT, BOB)
    return team.say(121.1, TaskFenced(*UNIT, 2, 4), BOB)


def test_what_a_program_wrote_in_vain_is_named() -> None:
    team = begun(submitted(), 101.0, BOB)
    team.say(115.0, TaskCompleted(*UNIT, 1, "good", "a.o, b.o"), BOB)
    (part,) = team.story(view_of()).parts[1:]
    assert texts(part)[-1].endswith(
        "has a result, good; not kept, for the task does not write it: a.o, b.o"
    )


def test_who_could_not_check_the_result_of_another_is_no_attempt() -> None:
    team = begun(submitted(), 101.0, BOB)
    lacking = {"slot": 0, "token": 0, "reason": "no_check", "detail": "mychk: not found"}
    note = {"node": "somebody", "sequence": 1, "wall_ms": 103_000, **lacking}
    before, attempt = team.story(view_of(notes=[note])).parts
    assert texts(before)[-1] == "somebo it has not got the program of the check:"
    assert before.lines[-1].said == ("mychk: not found",)
    assert attempt.title == "attempt 1 (token 1)"


def test_a_takeover_tells_why_and_what_became_of_the_late_result() -> None:
    story = takeover().story(view_of())
    first, second = story.parts[1:]
    assert texts(first) == [
        "n2 claims it and starts (heard by n1 after 11 ms, n3 after 12 ms)",
        "n3 gives up on n2: not heard of for a lease of 10 s",
        "log 4 from here on results under a token below 2 do not count "
        "(read only later by n2 after 9.5 s)",
        "n2 has a result, zombie",
        "log 6 the result of n2 comes late: the task was accepted at log index 5; "
        "it is kept as evidence",
    ]
    assert texts(second)[0] == (
        "n3 takes over from n2 and starts (heard by n1 after 11 ms; no word of it at n2)"
    )
    assert story.summary == (
        "accepted from n3 (token 2) at log index 5, by leader n1 of term 2, after 2 attempts"
    )
    assert [line.who for line in first.lines if line.is_concurrent] == ["n2"]


def test_a_late_result_below_the_fence_is_told_as_such() -> None:
    team = begun(submitted(), 101.0, BOB)
    team.all_say(111.6, TaskFenced(*UNIT, 2, 4))
    team.all_say(112.0, ResultLate("job", "t", BOB, 1, "zombie", 5))
    late = line_of(team.story(), "comes late")
    assert "its token 1 is below the fence of log index 4" in late.text


@pytest.mark.parametrize(
    ("loss", "why"),
    [
        (MemberFailed(BOB, ADA, "refused"), "it has failed (its process has ended)"),
        (MemberFailed(BOB, ADA, "silence"), "it has failed (it was silent)"),
        (MemberLeft(BOB), "it has left the team"),
    ],
)
def test_who_gave_up_on_a_lost_node_says_how_it_was_lost(
    loss: MemberFailed | MemberLeft, why: str
) -> None:
    def gives_up(*facts: MemberFailed | MemberLeft | MemberJoined) -> str:
        team = begun(submitted(), 101.0, BOB)
        for fact in facts:
            team.say(103.0, fact, CAT)
        team.say(104.0, LeaseExpired(*UNIT, BOB, 1), CAT)
        return line_of(team.story(), "gives up on n2").text

    assert gives_up(loss) == f"gives up on n2: {why}"
    back = MemberJoined(BOB, "n2", "127.0.0.1:1")
    assert gives_up(loss, back) == "gives up on n2: not heard of for a lease"


def test_a_check_that_says_no_is_told_with_its_output() -> None:
    output = "\n".join(f"line {number}" for number in range(DETAIL_LINES_MAX + 3))
    team = begun(submitted(), 101.0, BOB)
    team.say(102.0, AttemptFailed(*UNIT, 1, "verify", output), BOB)
    begun(team, 103.0, CAT, 2)
    team.say(104.0, AttemptFailed(*UNIT, 2, "timeout", ""), CAT)
    begun(team, 105.0, CAT, 3)
    story = team.story()
    failed = line_of(story, "its result does not pass the check:")
    assert failed.mark == "!"
    assert failed.said[0] == "... 3 lines before ..."
    assert failed.said[1:] == tuple(output.splitlines()[3:])
    assert line_of(story, "gets no result in time").said == ()
    assert texts(story.parts[2])[0].startswith("n3 takes over from n2 and starts")
    assert texts(story.parts[3])[0].startswith("n3 tries again")
    assert not line_of(story, "takes over").is_concurrent


def test_a_node_that_starts_anew_has_crashed() -> None:
    story = begun(begun(submitted(), 101.0, BOB), 104.0, BOB, 2).story()
    assert "its attempt before has no end, as after a crash" in line_of(story, "starts anew").text


def test_two_claims_at_once_are_concurrent_and_one_gives_way() -> None:
    team = submitted()
    team.say(101.0, TaskStarted(*UNIT, 1, False), BOB)
    begun(team, 101.005, CAT)
    team.say(101.01, TaskClaimed(*UNIT, BOB, 1, 0), BOB, ADA, CAT)
    team.say(101.02, ClaimLost(*UNIT, BOB), CAT)
    team.say(101.03, AttemptAborted(*UNIT, 1, f"{BOB} holds the task"), CAT)
    part = team.story().parts[1]
    assert [line.is_concurrent for line in part.lines] == [False, True, False, False]
    assert texts(part) == [
        "n2 claims it and starts (heard by n1 after 11 ms, n3 after 12 ms)",
        "n3 claims it and starts (heard by n1 after 11 ms, n2 after 12 ms)",
        "n3 gives way to n2, whose claim goes before its own",
        "n3 stops its agent: n2 holds the task",
    ]


def test_a_race_is_told_with_who_wins() -> None:
    team = begun(submitted(), 101.0, BOB)
    team.say(103.0, TaskStarted(*UNIT, 1, True), CAT)
    team.say(103.01, TaskCloned(*UNIT, CAT, 1, 0), CAT, ADA, BOB)
    done(team, 105.0, CAT, 1, 4)
    team.say(105.2, AttemptAborted(*UNIT, 1, "the task is settled"), BOB)
    story = team.story()
    assert texts(story.parts[1])[1:] == [
        "n3 starts as well, to race n2 (heard by n1 after 11 ms, n2 after 12 ms)",
        "n3 has a result, 0123456789ab",
        "log 4 the result of n3 is accepted, by leader n1 of term 2",
        "n2 stops its agent: the task is settled",
    ]
    assert story.summary.endswith("after 1 attempt (1 race)")


def test_claims_that_cross_are_one_attempt() -> None:
    team = submitted()
    team.say(101.0, TaskStarted(*UNIT, 1, False), BOB)
    begun(team, 101.005, CAT)
    team.say(101.01, TaskClaimed(*UNIT, BOB, 1, 0), BOB, ADA, CAT)
    team.say(101.03, AttemptAborted(*UNIT, 1, f"{BOB} holds the task"), CAT)
    story = done(team, 105.0, BOB, 1, 4).story()
    assert [part.title for part in story.parts] == ["", "attempt 1 (token 1)"]
    assert story.summary.endswith("after 1 attempt (1 claim that crossed another)")


def test_an_attempt_that_was_given_and_never_begun_counts_as_it_is_told() -> None:
    team = submitted().all_say(101.0, TaskClaimed(*UNIT, BOB, 1, 4))
    team.all_say(102.0, TaskFenced(*UNIT, 2, 5)).all_say(102.1, TaskClaimed(*UNIT, CAT, 2, 6))
    team.say(102.2, TaskStarted(*UNIT, 2, False), CAT)
    story = done(team, 105.0, CAT, 2, 7).story()
    assert [part.title for part in story.parts[1:]] == [
        "attempt 1 (token 1)",
        "attempt 2 (token 2)",
    ]
    assert story.summary.endswith("after 2 attempts")


def test_who_went_on_without_knowing_of_the_end_is_counted_apart() -> None:
    team = done(begun(submitted(), 101.0, BOB), 105.0, BOB, 1, 4)
    team.facts[CAT] = team.facts[CAT][:2]  # cut off before it could hear of anything
    team.say(111.0, LeaseExpired(*UNIT, BOB, 1), CAT).say(111.0, TaskStarted(*UNIT, 2, False), CAT)
    assert team.story().summary.endswith("after 1 attempt, while 1 more was under way")


def test_a_racer_takes_the_place_of_a_holder_that_is_lost() -> None:
    team = begun(submitted(), 101.0, BOB)
    team.say(103.0, TaskStarted(*UNIT, 1, True), CAT)
    team.say(103.01, TaskCloned(*UNIT, CAT, 1, 0), CAT, ADA, BOB)
    team.say(104.0, LeaseExpired(*UNIT, BOB, 1), CAT)
    team.say(104.0, TaskClaimed(*UNIT, CAT, 2, 0), CAT, ADA)
    story = done(team, 105.0, CAT, 2, 5).story()
    assert texts(story.parts[2])[0].startswith("n3 takes the place of n2, with what it had done")
    assert story.summary.endswith("after 2 attempts (1 race)")


def test_claims_of_the_log_are_told_as_such() -> None:
    team = submitted().all_say(101.0, TaskClaimed(*UNIT, BOB, 1, 4))
    team.say(101.1, TaskStarted(*UNIT, 1, False), BOB)
    team.all_say(102.0, TaskCloned(*UNIT, CAT, 1, 5))
    assert texts(team.story().parts[1]) == [
        "log 4 the task is given to n2",
        "n2 starts",
        "log 5 n3 may race the holder",
    ]


def test_another_nodes_check_is_told_whatever_it_says() -> None:
    team = begun(submitted(), 101.0, BOB)
    team.say(102.0, TaskCompleted(*UNIT, 1, "bad"), BOB)
    team.all_say(102.1, ResultProposed(*UNIT, BOB, 1, 4))
    team.all_say(103.0, ResultReviewed(*UNIT, BOB, 1, ADA, "2 != 3\n", 5))
    begun(team, 104.0, CAT, 2)
    team.all_say(105.0, ResultReviewed(*UNIT, CAT, 2, ADA, "", 6))
    team.all_say(105.0, TaskAccepted("job", "t", CAT, 2, "good", 6))
    story = team.story()
    wrong = line_of(story, "it is wrong")
    assert (wrong.who, wrong.text) == ("log 5", "n1 has checked the result of n2: it is wrong:")
    assert wrong.said == ("2 != 3",)
    assert texts(story.parts[1])[2] == "log 4 the result of n2 waits for another node's check"
    assert texts(story.parts[2])[1] == "log 6 n1 has checked the result of n3: it is right"


def test_answers_of_several_nodes_are_told_one_by_one() -> None:
    team = submitted()
    for slot, node in enumerate((ADA, BOB, CAT)):
        begun(team, 101.0 + slot, node, slot=slot)
        team.all_say(110.0 + slot, AnswerGiven("job", "t", slot, node, 1, 4 + slot))
    team.all_say(114.0, AnswersJudged("job", "t", BOB, (0, 1, 0), 7))
    team.all_say(114.0, TaskAccepted("job", "t", ADA, 1, "0", 7))
    task = {"agreed": ["n1", "n3"], "dissent": [{"name": "n2"}], "quorum": {"of": 3, "agree": 2}}
    story = team.story(view_of(task=task))
    assert [part.title for part in story.parts] == [
        "",
        "answer 1, attempt 1 (token 1)",
        "answer 2, attempt 1 (token 1)",
        "answer 3, attempt 1 (token 1)",
        "in the end",
    ]
    assert texts(story.parts[4]) == [
        "log 7 n2's judge finds that of the answers agree: 1 = 3, 2",
        "log 7 the result of n1 is accepted, by leader n1 of term 2",
    ]
    assert story.summary.endswith("; 2 of 3 answers agree (n1, n3), and not that of n2")
    assert story.heading == ("3 independent answers, 2 of them must agree",)


def test_the_answer_that_decides_is_told_as_the_others_are() -> None:
    team = submitted()
    for slot, node in enumerate((ADA, BOB)):
        begun(team, 101.0 + slot, node, slot=slot)
        team.say(105.0 + slot, TaskCompleted("job", "t", slot, 1, "0"), node)
        team.all_say(110.0 + slot, AnswerGiven("job", "t", slot, node, 1, 4 + slot))
    team.all_say(111.0, TaskAccepted("job", "t", ADA, 1, "0", 5))
    task = {"agreed": ["n1", "n2"], "quorum": {"of": 3, "agree": 2}}
    story = team.story(view_of(task=task))
    assert [texts(part)[-1] for part in story.parts[1:]] == [
        "log 4 the answer of n1 is in; it takes more of them",
        "log 5 the answer of n2 is in; with it there are enough",
        "log 5 the result of n1 is accepted, by leader n1 of term 2",
    ]
    assert story.summary.endswith("after 2 attempts; 2 of 3 answers agree (n1, n2)")


def test_if_no_model_could_judge_nobody_is_named() -> None:
    story = submitted().all_say(104.0, AnswersJudged("job", "t", NOBODY, (0, 0, 2), 7)).story()
    assert texts(story.parts[-1]) == [
        "log 7 no judge could say; as they stand: 1 = 2, 3",
    ]


def test_an_abandoned_task_ends_with_the_reason() -> None:
    team = begun(submitted(), 101.0, BOB)
    team.say(102.0, AttemptFailed(*UNIT, 1, "verify", "no"), BOB)
    team.all_say(103.0, TaskAbandoned("job", "t", "1 attempt failed, the last:\nno", 4))
    story = team.all_say(103.0, JobFinished("job", False, "0a", 4)).story()
    assert texts(story.parts[-1]) == ["log 4 the task is abandoned:"]
    assert story.state == "abandoned"
    assert story.summary == (
        "abandoned at log index 4, by leader n1 of term 2: 1 attempt failed, the last:; no"
    )


# -- what is missing -------------------------------------------------------------------------------


def test_what_is_missing_is_told() -> None:
    team = begun(submitted(), 101.0, BOB)
    view = view_of(held_by("n2"), notes=[])
    accounts = [team.account(ADA, view, dropped=7), team.account(CAT, lines_lost=2)]
    story = tell("job", "t", accounts, ["n2"])
    assert story.remarks == (
        "no answer from n2: what nobody else saw is not here",
        "no answer from n3: what is told of them is from files",
        "n1: 7 older facts are left out",
        "n3: its disk did not take 2 lines of its log",
    )
    assert texts(story.parts[1]) == [
        "n2 claimed it, as others heard; its own record of that is not here "
        "(heard by n1 after 0 ms, n3 after 1 ms)"
    ]
    team.all_say(105.0, TaskAccepted("job", "t", BOB, 1, "0", 4))
    accounts = [team.account(ADA, view, begins_s=102.0)]
    story = tell("job", "t", accounts)
    assert story.remarks == (
        "not asked: n2, n3: what nobody else saw is not here",
        "n1: its record begins only after this did",
    )
    assert story.summary.endswith("after at least 1 attempt")


def test_a_note_tells_of_a_failure_at_a_node_that_is_gone() -> None:
    note = {"node": BOB, "slot": 0, "token": 1, "detail": "no luck", "wall_ms": 103_000}
    notes = [
        {**note, "reason": "verify"},
        {**note, "reason": "judged"},
        {**note, "reason": "aborted", "token": 2},
    ]
    team = begun(submitted(), 101.0, BOB)
    view = view_of(notes=notes)
    story = tell("job", "t", [team.account(ADA, view), team.account(CAT)], ["n2"])
    assert line_of(story, "does not pass the check").said == ("no luck",)
    assert line_of(story, "stops its agent").text == "stops its agent: no luck"
    whole = team.story(view)
    kinds = [line.kind for part in whole.parts for line in part.lines]
    assert "AttemptFailed" not in kinds, "the node itself was asked and knows better"


def test_who_died_at_a_task_is_told_by_those_who_noted_it() -> None:
    note = {"slot": 0, "token": 1, "detail": BOB}
    notes = [
        {**note, "node": ADA, "reason": "died", "wall_ms": 102_000},
        {**note, "node": CAT, "reason": "died", "wall_ms": 102_100},
    ]
    team = begun(submitted(), 101.0, BOB)
    view = view_of(notes=notes)
    story = tell("job", "t", [team.account(ADA, view), team.account(CAT)], ["n2"])
    said = "its process has ended in the middle of it, as others noted"
    lines = [line for part in story.parts for line in part.lines if line.text == said]
    assert [(line.who, line.at_s) for line in lines] == [("n2", 102.0)]


def test_files_are_told_of_attempts_that_came_to_nothing() -> None:
    part = {"path": "t.py", "node": BOB, "slot": 0, "token": 1, "size": 7, "wall_ms": 102_500}
    team = begun(submitted(), 101.0, BOB)
    view = view_of(held_by("n2"), parts=[part])
    assert texts(team.story(view).parts[1])[-1] == "n2 has shared t.py, 7 bytes"
    team.say(102.7, AttemptFailed(*UNIT, 1, "agent", ""), BOB)
    team.say(102.1, LeaseExpired(*UNIT, BOB, 1), CAT)
    assert [line.kind for line in team.story(view).parts[1].lines] == [
        "TaskStarted",
        "LeaseExpired",
        "Partial",
        "AttemptFailed",
    ]
    early = view_of(held_by("n2"), parts=[part | {"wall_ms": 100_500}])  # by a clock set back
    assert team.story(early).parts[1].lines[0].kind == "Partial"
    team.say(103.0, TaskCompleted(*UNIT, 1, "0"), BOB)
    assert "shared" not in str(team.story(view).parts)


# -- how it stands ---------------------------------------------------------------------------------


def test_a_task_that_is_worked_on_says_by_whom() -> None:
    for slot, said in (
        (held_by("n2"), "open, held by n2 for 4 s"),
        (held_by("n2", racers=["n3"]), "open, held by n2 for 4 s, raced by n3"),
        (held_by("n2", phase="done"), "done by n2, whose result is on its way into the log"),
        (slot_view(holder="n2"), "given to n2, not begun"),
        (slot_view(unreviewed=["n2"]), "the result of n2 waits for another node's check"),
        (
            held_by("n2", heard_s=12.3),
            "open, n2 was not heard of for 12 s, longer than a lease",
        ),
    ):
        story = submitted().story(view_of(slot))
        assert (story.state, story.summary) == ("working", said)
    assert submitted().story(view_of(slot_view())).summary == "open, held by nobody"


def test_answers_that_are_missing_are_counted() -> None:
    slots = [slot_view(answered=True), held_by("n2"), slot_view()]
    task = {"quorum": {"of": 3, "agree": 2}}
    assert submitted().story(view_of(*slots, task=task)).summary == (
        "1 of 3 answers are in, 2 must agree; open, held by n2 for 4 s; open, held by nobody"
    )
    judged = {**task, "waits_for_judge": True}
    story = submitted().story(view_of(*([slot_view(answered=True)] * 3), task=judged))
    assert story.summary == "all answers are in; which of them agree is for a judge to say"


def need(name: str, index: int = 0) -> dict[str, object]:
    return {"id": name, "accepted_from": "n1" if index else "", "index": index}


def test_a_task_that_waits_leads_to_whoever_works() -> None:
    view = view_of(
        slot_view(),
        needs=[need("read", 4), need("parse"), need("split")],
        waits_for=[
            row("parse", slot_view(), needs=["scan"]),
            row("split", held_by("n3")),
            row("scan", slot_view(), needs=["fetch", "far"]),
            row("fetch", held_by("n2", 61.0)),
        ],
    )
    story = submitted().story(view)
    assert story.state == "waiting"
    assert (
        story.summary == "waits for: parse (which waits itself), split (open, held by n3 for 4 s)"
    )
    assert story.waits_for == (
        "parse waits for: scan (which waits itself)",
        "scan waits for: fetch (open, held by n2 for 61 s), far",
    )
    assert story.heading == (
        "needs read: accepted from n1 at log index 4",
        "needs parse: not accepted yet",
        "needs split: not accepted yet",
    )


def test_a_task_behind_an_abandoned_one_cannot_be_done() -> None:
    view = view_of(
        slot_view(),
        needs=[need("parse")],
        waits_for=[
            row("parse", slot_view(), needs=["scan"]),
            row("scan", abandoned="5 attempts\nfailed"),
        ],
    )
    story = submitted().story(view)
    assert story.state == "out of reach"
    assert story.summary == "cannot be done: scan was abandoned: 5 attempts; failed"
    assert story.waits_for == ("parse waits for: scan (abandoned)",)


def test_what_an_earlier_job_had_done_is_told_as_such() -> None:
    team = submitted().all_say(100.0, TaskAccepted("job", "t", BOB, 2, "0", 3))
    story = team.story(view_of(resumes="job-before"))
    assert story.summary == (
        "accepted from the start: taken over from job job-before, done by n2 (token 2)"
    )


def test_the_log_knows_what_the_record_has_lost() -> None:
    accepted = {"name": "n2", "token": 3, "index": 8, "reviewer": "n3"}
    committed = {"index": 9, "term": 4, "leader": "n1"}
    story = submitted().story(view_of(task={"accepted": accepted, "committed": committed}))
    assert story.summary == (
        "accepted from n2 (token 3) at log index 9, by leader n1 of term 4; checked again by n3"
    )
    story = submitted().story(view_of(task={"abandoned": "no\nmore", "committed": committed}))
    assert story.state == "abandoned"
    assert story.summary == "abandoned at log index 9, by leader n1 of term 4: no; more"


def test_files_alone_tell_as_far_as_they_go() -> None:
    assert submitted().story().summary == (
        "not settled, as far as the files tell: nobody has begun it"
    )
    team = begun(submitted(), 101.0, BOB, 2)
    assert team.story().summary == (
        "not settled, as far as the files tell: n2 (token 2) began last"
    )
    team.all_say(109.0, JobFinished("job", False, "0a", 9))
    assert team.story().summary.startswith("out of reach: the job ended without it")


# -- for people ------------------------------------------------------------------------------------


def test_the_story_reads_from_top_to_bottom(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "UTC")
    lines = list(
        lines_of(takeover().story(view_of(task={"verify": "pytest -q\n", "writes": ["t"]})))
    )
    assert lines[:6] == [
        "job, task t, 1970-01-01",
        "  writes t",
        "  check: pytest -q",
        "",
        "  00:01:40.000    log 3   * the job is submitted, 1 task",
        "",
    ]
    assert "  00:02:00.000 || n2      * has a result that passes the check, zombie" in lines
    assert lines[-3] == FOOTNOTE
    assert lines[-2].startswith("no answer from n2, n3")
    assert lines[-1].startswith("accepted from n3 (token 2) at log index 5")
