"""Prompts that are too long: what servers say of them, and what is left out."""

from __future__ import annotations

from dataclasses import replace

import pytest
from agent_setup import assigned, text_file

from node.agents.overflow import ANSWER_ROOM, Overflow, read_overflow
from node.agents.shrinking import HEAD_MIN, JUDGED_MIN, shrink
from node.prompt.judging import judge_prompt
from node.prompt.opening import build_prompt
from protocol.effects import Answered, Proposal, Purpose
from protocol.events import Failure
from protocol.jobs import File

SAID = (  # status, words, tokens asked for, tokens that fit
    (400, "This model's maximum context length is 4097 tokens. However, you requested 5360 tokens "
     "(4336 in the messages, 1024 in the completion). Please reduce the length of the messages "
     "or completion.", 5360, 4097),
    (400, "This model's maximum context length is 128,000 tokens. However, your messages resulted "
     "in 130,123 tokens.", 130_123, 128_000),
    (400, "Input tokens exceed the configured limit of 272000 tokens. Your messages resulted in "
     "300000 tokens. Please reduce the length of the messages.", 300_000, 272_000),
    (400, "Your input exceeds the context window of this model. Please adjust your input and try "
     "again.", 0, 0),
    (400, "'max_tokens' or 'max_completion_tokens' is too large: 4096. This model's maximum "
     "context length is 4096 tokens and your request has 200 input tokens (4096 > 4096 - 200).",
     4296, 4096),
    (400, "This model's maximum context length is 8192 tokens. However, your request has 9000 "
     "input tokens. Please reduce the length of the input messages.", 9000, 8192),
    (400, "The decoder prompt (length 9000) is longer than the maximum model length of 8192. Make "
     "sure that `max_model_len` is no smaller than the number of text tokens.", 9000, 8192),
    (400, "The input (9000 tokens) is longer than the model's context length (8192 tokens).",
     9000, 8192),
    (400, "Requested token count exceeds the model's maximum context length of 8192 tokens. You "
     "requested a total of 9000 tokens: 8000 tokens from the input messages and 1000 tokens for "
     "the completion.", 9000, 8192),
    (400, "request (9000 tokens) exceeds the available context size (8192 tokens), try increasing "
     "it", 9000, 8192),
    (400, "the request exceeds the available context size. try increasing the context size", 0, 0),
    (400, "prompt is too long: 210000 tokens > 200000 maximum", 210_000, 200_000),
    (400, "input length and `max_tokens` exceed context limit: 190000 + 20000 > 200000, decrease "
     "input length or `max_tokens` and try again", 210_000, 200_000),
    (400, "Prompt contains 40000 tokens and 0 draft tokens, too large for model with 32768 maximum "
     "context length", 40_000, 32_768),
    (400, "The input token count (1100000) exceeds the maximum number of tokens allowed "
     "(1048576).", 1_100_000, 1_048_576),
    (400, "Trying to keep the first 5000 tokens when context the overflows. However, the model is "
     "loaded with context length of only 4096 tokens, which is not enough.", 5000, 4096),
    (422, "Input validation error: `inputs` tokens + `max_new_tokens` must be <= 4096. Given: 5000 "
     "`inputs` tokens and 100 `max_new_tokens`", 5100, 4096),
    (400, "Input is too long for requested model.", 0, 0),
    (400, "input length exceeds the context length", 0, 0),
    (413, "Request too large for model `m` on tokens per minute (TPM): Limit 6000, Requested 7000, "
     "please reduce your message size and try again.", 7000, 6000),
    (429, "Request too large for m on tokens per min (TPM): Limit 10000, Requested 12000.",
     12_000, 10_000),
    (413, "Payload Too Large", 0, 0),
)  # fmt: skip


@pytest.mark.parametrize(("status", "words", "asked", "limit"), SAID)
def test_what_servers_say_of_a_prompt_that_is_too_long_is_understood(
    status: int, words: str, asked: int, limit: int
) -> None:
    found = read_overflow(status, ("None", "invalid_request_error"), words)
    assert found is not None
    assert (found.asked, found.limit) == (asked, limit)
    assert found.reason is Failure.OVERFLOW
    assert words[:20] in found.detail
    assert (f"{asked - limit} tokens too many" in found.detail) == bool(asked)


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (429, "Rate limit reached for m on tokens per min (TPM): Limit 10000, Used 9000"),
        (400, "Unknown field: max_completion_tokens"),
        (400, "max_tokens must be at least 1"),
        (401, "your key is too long"),
        (404, "The model `context-32k` does not exist"),
        (503, "This model's maximum context length is busy"),
    ],
)
def test_other_complaints_are_not_taken_for_it(status: int, words: str) -> None:
    assert read_overflow(status, ("None", "None"), words) is None


def test_the_code_alone_tells_and_numbers_may_stand_beside_the_words() -> None:
    assert read_overflow(400, ("context_length_exceeded",), "no") is not None
    body = {"message": "no", "n_prompt_tokens": 9000, "n_ctx": 8192}
    told = read_overflow(400, ("400", "exceed_context_size_error"), "no", body)
    assert told is not None
    assert (told.asked, told.limit) == (9000, 8192)


def test_a_prompt_that_fits_leaves_room_for_a_shorter_answer() -> None:
    told = read_overflow(
        400, (), next(words for _, words, *_ in SAID if "too large: 4096" in words)
    )
    assert told is not None
    assert told.room == 3896
    assert Overflow("", 9000, 8192).room == 0


def test_what_is_left_out_makes_room_for_the_answer_too() -> None:
    assert Overflow("").excess(10_000) == 5_000
    told = Overflow("", asked=9_000, limit=8_000)
    excess = told.excess(36_000)
    assert (36_000 - excess) / 4 <= 8_000 - ANSWER_ROOM
    assert excess < 10_000
    assert Overflow("", asked=10, limit=8_000).excess(100) == 50, "numbers that make no sense"


# -- what is left out ----------------------------------------------------------------------------

FULL = assigned(
    "openai",
    prompt="Write add(a, b). " * 50,
    notes=("the first note " * 20, "the second note " * 20),
    partial=(text_file("add.py", "left = 1\n" * 100),),
    inputs=(
        text_file("base.py", "base = 1\n" * 400),
        text_file("small.py", "s = 1\n"),
        File("blob", b"\xff" * 2_000),
    ),
)


def size_of(assignment: object) -> int:
    return len(build_prompt(assignment)[1].content)  # type: ignore[arg-type]


def test_notes_go_first_then_what_is_left_then_the_ends_of_files() -> None:
    little = shrink(FULL, 100)
    assert little == replace(FULL, notes=())
    more = shrink(FULL, 1_000)
    assert more == replace(FULL, notes=(), partial=())
    most = shrink(FULL, 3_000)
    assert size_of(most) <= size_of(FULL) - 3_000 + 200
    base, small, blob = most.inputs
    assert base.content.startswith(b"base = 1\nbase = 1\n")
    assert base.content.endswith(b"more characters are left out here)\n")
    assert (small, blob) == FULL.inputs[1:]
    assert most.task == FULL.task


def test_it_ends_where_nothing_can_be_left_out_any_more() -> None:
    bare = shrink(FULL, 10**9)
    assert len(bare.inputs[0].content) < HEAD_MIN + 100
    assert shrink(FULL, 10**8) == bare
    assert shrink(assigned("openai"), 1) == assigned("openai")
    assert shrink(FULL, 0) == FULL


def test_a_file_that_is_cut_stays_a_text() -> None:
    wide = replace(FULL, notes=(), partial=(), inputs=(text_file("w.txt", "ü😀" * 3_000),))
    cut = shrink(wide, 4_000)
    assert cut.inputs[0].content.decode().startswith("ü😀ü😀")


def test_earlier_answers_and_drafts_lose_their_middle_after_the_files() -> None:
    own = "Which is it?"
    answered = (Answered(own, "left " + "a" * 3_000 + " right"), Answered("Else?", "no"))
    critic = replace(FULL, task=replace(FULL.task, writes=(), prompt=own), answered=answered)
    assert shrink(critic, 3_000).answered == answered
    rest = size_of(replace(critic, notes=(), partial=()))
    shorter = shrink(critic, size_of(critic) - rest + 5_000)
    assert size_of(shorter) <= rest - 5_000 + 200
    draft, no = shorter.answered
    assert draft.question == own
    assert draft.text.startswith("left a")
    assert draft.text.endswith("a right")
    assert no == answered[1]
    assert len(shrink(critic, 10**9).drafts[0]) < JUDGED_MIN + 100


def test_a_version_to_be_merged_is_never_cut() -> None:
    versions = tuple(Proposal((text_file("add.py", "a = 1\n" * 500),), why) for why in ("x", "y"))
    merge = replace(FULL, purpose=Purpose.MERGE, proposals=versions)
    assert shrink(merge, 10**9).proposals == versions


def test_answers_that_are_judged_lose_their_middle() -> None:
    proposals = (Proposal((text_file("a.py", "a = 1\n" * 500),), ""), Proposal((), "short"))
    judged = replace(FULL, purpose=Purpose.JUDGE, proposals=proposals)
    shorter = shrink(judged, 1_500)
    saved = len(judge_prompt(judged)[1].content) - len(judge_prompt(shorter)[1].content)
    assert 1_400 < saved < 1_800
    assert shorter.proposals[1].text == "short"
    assert shrink(judged, 10**9) == shrink(judged, 10**8)
