"""What can be wrong with an answer, each case from the wire: what is asked again and what is not,
what the note says, and what is counted."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from agent_setup import ADD, assigned, text_file
from foreign_server import (
    FENCED,
    Bench,
    Foreign,
    Play,
    foreign_servers,
    message,
    plain,
    refused,
    streamed,
    unpriced,
    whole,
)

from node.agents.permits import Meter, Permits
from node.agents.settings import AnswerFormat
from node.prompt.follow_up import CONTINUE_HEADING
from protocol.effects import CallGranted, Proposal, Purpose
from protocol.events import CallAsked, CallSettled, Event

foreign = pytest.fixture(foreign_servers, name="foreign")

SORRY = "I'm sorry, but I can't help with that."
ONE_CALL = unpriced(calls=1, tokens_in=40, tokens_out=12)
TWO_CALLS = unpriced(calls=2, tokens_in=80, tokens_out=24)
SUB = "```python path=sub.py\ny = 1\n```\n"


# -- refusals ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("play", "end"),
    [
        (message({"content": None, "refusal": SORRY}), f"REFUSED: the model refuses: {SORRY}"),
        (whole(SORRY), f"REFUSED: the model refuses: {SORRY}"),
        (
            whole("", "content_filter"),
            "REFUSED: the endpoint's filter stopped the answer (content_filter): reword it",
        ),
    ],
)
async def test_a_refusal_is_not_asked_again_and_its_words_are_kept(
    foreign: Foreign, play: Play, end: str
) -> None:
    server = foreign(play)
    bench = Bench(Path(), server.url, stream=False)
    assert await bench.run() == end
    assert len(server.asked) == 1
    assert bench.progress.usage == ONE_CALL


async def test_a_refusal_in_a_stream_is_one(foreign: Foreign) -> None:
    chunks = [{"delta": {"refusal": words}, "finish_reason": None} for words in ("I'd ", "not.")]
    chunks.append({"delta": {}, "finish_reason": "stop"})
    body = b"".join(b"data: %s\n\n" % json.dumps({"choices": [each]}).encode() for each in chunks)
    server = foreign(plain(200, body, {"Content-Type": "text/event-stream"}))
    bench = Bench(Path(), server.url)
    assert await bench.run() == "REFUSED: the model refuses: I'd not."
    assert bench.progress.usage.tokens_out == len("I'd not.") // 4, "nobody has told, and it wrote"


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("content_filter", "The response was filtered"),
        ("invalid_prompt", "Your prompt was flagged"),
        (None, "Content Exists Risk"),
    ],
)
async def test_a_prompt_that_is_refused_is_not_sent_again(
    foreign: Foreign, code: str | None, words: str
) -> None:
    server = foreign(refused(400, words, code))
    bench = Bench(Path(), server.url)
    assert await bench.run() == f"REFUSED: the endpoint refuses the prompt: {words}"
    assert bench.progress.usage == unpriced(calls=1), "a request that is refused costs nothing"


async def test_a_filter_that_stops_an_answer_leaves_the_files_that_are_whole(
    foreign: Foreign,
) -> None:
    server = foreign(whole(FENCED + "```python path=sub.py\ny =", "content_filter"))
    bench = Bench(Path(), server.url, stream=False)
    end = await bench.run(assigned("openai", writes=("add.py", "sub.py")))
    assert end.startswith("REFUSED: ")
    assert bench.progress.files == (text_file("add.py", ADD),)


async def test_words_of_refusal_around_a_file_are_none(foreign: Foreign) -> None:
    server = foreign(whole(f"{SORRY} But here is what I can do.\n{FENCED}"))
    assert await Bench(Path(), server.url, stream=False).run() == ADD


# -- answers that are cut off --------------------------------------------------------------------


@pytest.mark.parametrize("stream", [False, True])
async def test_an_answer_that_was_cut_off_is_gone_on_with(foreign: Foreign, stream: bool) -> None:
    line = FENCED.index("    return")
    first, repeated = FENCED[: line + 6], "def add(a, b):\n" + FENCED[line:]
    plays = (streamed(*first, finish_reason="length"), streamed(*repeated))
    if not stream:
        plays = (whole(first, "length"), whole(repeated))
    server = foreign(*plays)
    bench = Bench(Path(), server.url, stream=stream)
    assert await bench.run() == ADD
    assert bench.progress.usage == TWO_CALLS
    *_, kept, asked = server.said(1)
    assert kept == {"role": "assistant", "content": FENCED[:line]}
    assert asked["content"].startswith(CONTINUE_HEADING)
    assert "\n\ndef add(a, b):\n\n" in asked["content"]


@pytest.mark.parametrize("reason", ["length", "max_tokens", "MAX_TOKENS", "model_length"])
async def test_an_answer_is_gone_on_with_only_once(foreign: Foreign, reason: str) -> None:
    begun = FENCED + "```python path=sub.py\nz = 1\n"
    server = foreign(whole(begun, reason), whole("z = 1\nz = 2\n", reason))
    bench = Bench(Path(), server.url, stream=False)
    end = await bench.run(assigned("openai", writes=("add.py", "sub.py")))
    assert end == (
        f"TRUNCATED: the answer was cut off at the endpoint's token limit ({reason}); sub.py is "
        "cut off: its fence is not closed, also when asked to go on: ask for less at once"
    )
    assert bench.progress.files == (text_file("add.py", ADD),), "what was whole is kept"
    assert bench.progress.usage == TWO_CALLS


async def test_what_is_wrong_after_going_on_is_repaired(foreign: Foreign) -> None:
    server = foreign(
        whole("```python path=add.py\nx = 0\n", "length"),
        whole("x = 0\n```\n```python path=other.py\n```\n"),
        whole(SUB),
    )
    bench = Bench(Path(), server.url, stream=False)
    assert await bench.run(assigned("openai", writes=("add.py", "sub.py"))) == "x = 0\n"
    *_, answer, complaint = server.said(2)
    assert answer["content"] == "```python path=add.py\nx = 0\n```\n```python path=other.py\n```\n"
    assert "- sub.py is missing\n- nobody asked for other.py" in complaint["content"]


async def test_an_answer_cut_off_after_its_last_file_is_whole(foreign: Foreign) -> None:
    server = foreign(whole(FENCED + "I hope that", "length"))
    assert await Bench(Path(), server.url, stream=False).run() == ADD
    assert len(server.asked) == 1


async def test_thoughts_that_use_up_the_limit_are_asked_to_be_brief(foreign: Foreign) -> None:
    thinking = message({"content": None, "reasoning_content": "Hm. " * 50}, "length")
    server = foreign(thinking, whole(FENCED))
    bench = Bench(Path(), server.url, stream=False)
    assert await bench.run() == ADD
    assert "without thinking aloud" in server.said(1)[-1]["content"]


async def test_a_text_that_was_cut_off_is_joined(foreign: Foreign) -> None:
    server = foreign(whole("One.\nTwo.\nThr", "length"), whole("Two.\nThree.\n"))
    bench = Bench(Path(), server.url, stream=False)
    assert await bench.run(assigned("openai", writes=())) == "One.\nTwo.\nThree."


@pytest.mark.parametrize(
    ("rest", "end"), [("", "One. Two. Three."), ("I'm sorry, but I can't help.", "REFUSED: ")]
)
async def test_a_text_that_nobody_goes_on_with_is_no_answer(
    foreign: Foreign, rest: str, end: str
) -> None:
    server = foreign(whole("One.\nTwo", "length"), whole(rest), whole("One. Two. Three."))
    bench = Bench(Path(), server.url, stream=False)
    assert (await bench.run(assigned("openai", writes=()))).startswith(end)


async def test_json_that_was_cut_off_is_completed_in_fences(foreign: Foreign) -> None:
    files = [{"path": "add.py", "content": ADD}, {"path": "sub.py", "content": "y = 1\n"}]
    text = json.dumps({"files": files})
    server = foreign(whole(text[:-12], "length"), whole(SUB))
    bench = Bench(Path(), server.url, stream=False, answer_format=AnswerFormat.JSON)
    assert await bench.run(assigned("openai", writes=("add.py", "sub.py"))) == ADD
    assert "response_format" in server.asked[0]
    assert "response_format" not in server.asked[1]
    assert server.said(1)[-1]["content"].endswith("names its path:\n- sub.py\n")


# -- prompts that are too long -------------------------------------------------------------------


def too_long(asked: int, limit: int) -> Play:
    return refused(
        400,
        f"This model's maximum context length is {limit} tokens. However, your messages resulted "
        f"in {asked} tokens.",
        "context_length_exceeded",
    )


async def test_a_prompt_that_is_too_long_is_shortened_where_it_hurts_least(
    foreign: Foreign,
) -> None:
    server = foreign(too_long(9_000, 8_900), too_long(8_950, 8_000), whole(FENCED))
    bench = Bench(Path(), server.url, stream=False)
    assignment = assigned(
        "openai",
        notes=("the note\n" * 300,),
        partial=(text_file("add.py", "left = 1\n" * 300),),
        inputs=(text_file("base.py", "base = 1\n" * 2_000),),
    )
    assert await bench.run(assignment) == ADD
    first, second, third = (server.said(number)[1]["content"] for number in range(3))
    assert "the note" in first
    assert "left = 1" in first
    assert "the note" not in second
    assert "left = 1" not in third
    assert "more characters are left out here" in third
    assert third.count("base = 1") < 2_000 * 8_000 / 8_950
    assert third.endswith("- add.py\n")
    assert "Write add(a, b)." in third
    assert bench.progress.usage == unpriced(calls=3, tokens_in=40, tokens_out=12)


async def test_a_prompt_is_shortened_twice_at_most(foreign: Foreign) -> None:
    server = foreign(*[too_long(9_000, 8_000)] * 3)
    bench = Bench(Path(), server.url)
    inputs = (text_file("base.py", "base = 1\n" * 2_000),)
    assert (await bench.run(assigned("openai", inputs=inputs))).startswith(
        "OVERFLOW: the prompt is too long for the model: 1000 tokens too many (This model's"
    )
    assert bench.waits == []
    assert bench.progress.usage == unpriced(calls=3), "a request that is refused costs nothing"


async def test_a_prompt_of_which_nothing_can_be_left_out_is_given_up_at_once(
    foreign: Foreign,
) -> None:
    server = foreign(refused(413, "Payload Too Large"))
    end = await Bench(Path(), server.url).run()
    assert end == "OVERFLOW: the prompt is too long for the model (Payload Too Large)"
    assert len(server.asked) == 1


async def test_a_complaint_in_the_middle_of_a_stream_is_one(foreign: Foreign) -> None:
    body = b'data: {"error": {"message": "context length exceeded", "code": 400}}\n\n'
    server = foreign(plain(200, body, {"Content-Type": "text/event-stream"}), streamed(*FENCED))
    bench = Bench(Path(), server.url)
    assert await bench.run(assigned("openai", notes=("a note",))) == ADD
    assert bench.waits == []
    assert "a note" not in server.said(1)[1]["content"]


async def test_answers_that_are_too_long_to_be_judged_are_shortened(foreign: Foreign) -> None:
    server = foreign(refused(400, "prompt is too long"), whole("1: A\n2: A"))
    judged = replace(
        assigned("openai", writes=()),
        purpose=Purpose.JUDGE,
        proposals=(Proposal((), "one " * 1_000), Proposal((), "two " * 1_000)),
    )
    assert await Bench(Path(), server.url, stream=False).run(judged) == "0 0"
    lengths = [len(server.said(number)[1]["content"]) for number in range(2)]
    assert lengths[1] < lengths[0] / 1.8


# -- nothing at all ------------------------------------------------------------------------------


@pytest.mark.parametrize("content", ["", " \n", None, [1], [{"type": "thinking", "thinking": "x"}]])
async def test_an_empty_answer_is_asked_for_once_more(foreign: Foreign, content: object) -> None:
    server = foreign(message({"content": content}), message({"content": content}))
    bench = Bench(Path(), server.url, stream=False)
    assert await bench.run() == "EMPTY: the answer is empty, also when asked again"
    assert "- the answer is empty\n" in server.said(1)[-1]["content"]
    assert bench.progress.usage == TWO_CALLS


async def test_an_empty_answer_may_be_followed_by_a_good_one(foreign: Foreign) -> None:
    server = foreign(whole(""), whole("42"))
    assert await Bench(Path(), server.url, stream=False).run(assigned("openai", writes=())) == "42"


async def test_a_model_that_wants_to_call_tools_is_told_that_there_are_none(
    foreign: Foreign,
) -> None:
    call = {"id": "1", "type": "function", "function": {"name": "write_file", "arguments": "{}"}}
    server = foreign(*[message({"content": None, "tool_calls": [call]}, "tool_calls")] * 2)
    end = await Bench(Path(), server.url, stream=False).run()
    assert end.startswith("OUTPUT: ")
    assert "there are no tools to call, such as write_file: answer in text" in end
    assert "such as write_file" in server.said(1)[-1]["content"]


# -- shapes --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "content",
    [
        [{"type": "text", "text": FENCED[:30]}, {"type": "text", "text": FENCED[30:]}],
        [{"type": "thinking", "thinking": [{"type": "text", "text": "```\n"}]},
         {"type": "text", "text": FENCED}],
        f"<think>\n```python path=add.py\ndraft\n```\n</think>\n{FENCED}",
    ],
)  # fmt: skip
async def test_an_answer_in_parts_or_after_thoughts_is_read(
    foreign: Foreign, content: object
) -> None:
    server = foreign(message({"content": content}))
    assert await Bench(Path(), server.url, stream=False).run() == ADD


async def test_reasoning_beside_the_answer_is_no_part_of_it(foreign: Foreign) -> None:
    server = foreign(message({"content": "42", "reasoning_content": "It could be 41."}))
    assert await Bench(Path(), server.url, stream=False).run(assigned("openai", writes=())) == "42"


async def test_an_answer_without_a_count_is_estimated(foreign: Foreign) -> None:
    choice = {"message": {"role": "assistant", "content": FENCED}, "finish_reason": "stop"}
    server = foreign(plain(200, {"choices": [{"index": 0, **choice}], "usage": None}))
    bench = Bench(Path(), server.url, stream=False)
    assert await bench.run() == ADD
    assert bench.progress.usage.tokens_out == len(FENCED) // 4
    asked = sum(len(each["content"]) for each in server.said(0))
    assert bench.progress.usage.tokens_in == asked // 4


async def test_a_thought_that_nobody_counts_is_charged_for(foreign: Foreign) -> None:
    said = f"<think>{'x' * 1_000}</think>hi"
    server = foreign(streamed(said[:5], said[5:], usage=False))
    bench = Bench(Path(), server.url)
    settled = metered(bench, 4_096)
    assert await bench.run(assigned("openai", writes=())) == "hi"
    assert bench.progress.usage.tokens_out == len(said) // 4
    assert settled[0] > len(said), "what was read, and each byte that was written"


# -- JSON by a schema ----------------------------------------------------------------------------

AS_JSON = json.dumps({"files": [{"path": "add.py", "content": ADD}]})


async def test_a_schema_is_asked_for_and_read(foreign: Foreign) -> None:
    server = foreign(streamed(*AS_JSON))
    assert await Bench(Path(), server.url, answer_format=AnswerFormat.JSON).run() == ADD
    form = server.asked[0]["response_format"]
    assert isinstance(form, dict)
    assert form["type"] == "json_schema"
    assert "add.py" in json.dumps(form)
    assert "JSON object" in server.said(0)[0]["content"]


@pytest.mark.parametrize(
    "refusal",
    [
        refused(400, "Invalid parameter: 'response_format' of type 'json_schema' is not supported"),
        refused(400, "This model does not support response format `json_schema`"),
        plain(422, {"detail": [{"loc": ["body", "response_format"], "msg": "Extra inputs"}]}),
    ],
)
async def test_an_endpoint_without_schemas_is_asked_for_fences_from_then_on(
    foreign: Foreign, refusal: Play
) -> None:
    server = foreign(refusal, whole(FENCED), whole(FENCED))
    bench = Bench(Path(), server.url, stream=False, answer_format=AnswerFormat.JSON)
    assert await bench.run() == ADD
    assert await bench.run() == ADD
    assert ["response_format" in asked for asked in server.asked] == [True, False, False]
    assert "JSON" not in server.said(1)[0]["content"]
    assert bench.progress.usage == unpriced(calls=3, tokens_in=80, tokens_out=24)


@pytest.mark.parametrize("text", [FENCED, f"Here:\n```json\n{AS_JSON}\n```\n", f"Sure! {AS_JSON}"])
@pytest.mark.parametrize("answer_format", AnswerFormat)
async def test_whatever_was_asked_for_either_form_is_read(
    foreign: Foreign, text: str, answer_format: AnswerFormat
) -> None:
    server = foreign(whole(text))
    bench = Bench(Path(), server.url, stream=False, answer_format=answer_format)
    assert await bench.run() == ADD


@pytest.mark.parametrize(
    ("answer_format", "has_schema"),
    [
        (AnswerFormat.FENCED, [False, False]),
        (AnswerFormat.AUTO, [False, True]),
        (AnswerFormat.JSON, [True, True]),
    ],
)
async def test_a_schema_helps_where_the_settings_say_so(
    foreign: Foreign, answer_format: AnswerFormat, has_schema: list[bool]
) -> None:
    server = foreign(whole("No idea what you mean."), whole(AS_JSON))
    bench = Bench(Path(), server.url, stream=False, answer_format=answer_format)
    assert await bench.run() == ADD
    assert ["response_format" in asked for asked in server.asked] == has_schema


@pytest.mark.parametrize(
    ("said", "groups"), [('{"groups": ["B", "A", "B"]}', "0 1 0"), ("1: A\n2: B\n3: B", "0 1 1")]
)
async def test_a_judge_may_answer_by_a_schema(foreign: Foreign, said: str, groups: str) -> None:
    server = foreign(whole(said))
    proposals = tuple(Proposal((), text) for text in ("x", "y", "z"))
    judged = replace(assigned("openai", writes=()), purpose=Purpose.JUDGE, proposals=proposals)
    assert await Bench(Path(), server.url, stream=False).run(judged) == groups
    assert "groups" in json.dumps(server.asked[0]["response_format"])


# -- parameters that an endpoint does not know ---------------------------------------------------


async def test_unknown_parameters_are_left_out_one_by_one_and_cost_no_try(
    foreign: Foreign,
) -> None:
    server = foreign(
        refused(400, "Unknown field: stream_options"),
        refused(400, "response_format is not supported"),
        streamed(*FENCED),
    )
    bench = Bench(Path(), server.url, tries_max=1, answer_format=AnswerFormat.JSON)
    assert await bench.run() == ADD
    assert bench.waits == []
    assert not server.asked[2].keys() & {"stream_options", "response_format"}


async def test_a_parameter_that_was_not_sent_is_not_to_blame(foreign: Foreign) -> None:
    server = foreign(refused(400, "response_format: bad luck"))
    end = await Bench(Path(), server.url, stream=False).run()
    assert end == "BACKEND: the endpoint rejects the request with 400 (response_format: bad luck)"


# -- what a budget is charged --------------------------------------------------------------------


def metered(bench: Bench, tokens_out: int) -> list[int]:
    """Grants every call an answer of so many tokens; the tokens that each was settled with."""
    settled: list[int] = []

    def deliver(event: Event) -> None:
        if isinstance(event, CallAsked):
            permits.answer(CallGranted(event.invocation, event.call, tokens_out))
        elif isinstance(event, CallSettled):
            settled.append(event.used.tokens)

    permits = Permits(deliver)
    bench.progress.meter = Meter(permits, 1, counts=True)
    return settled


async def test_an_answer_for_which_there_is_no_room_is_asked_for_shorter(foreign: Foreign) -> None:
    words = (
        "'max_completion_tokens' is too large: 4096. This model's maximum context length is 4096 "
        "tokens and your request has 200 input tokens (4096 > 4096 - 200)."
    )
    server = foreign(refused(400, words), whole(FENCED))
    bench = Bench(Path(), server.url, stream=False)
    settled = metered(bench, 4_096)
    assert await bench.run() == ADD
    assert [asked["max_completion_tokens"] for asked in server.asked] == [4_096, 3_896]
    assert server.said(0) == server.said(1)
    assert settled == [0, 52]


@pytest.mark.parametrize(
    "play", [refused(429, "slow down"), refused(400, "Unknown field: max_completion_tokens")]
)
async def test_a_request_that_was_not_taken_on_is_charged_to_no_budget(
    foreign: Foreign, play: Play
) -> None:
    server = foreign(play, whole(FENCED))
    bench = Bench(Path(), server.url, stream=False)
    settled = metered(bench, 100)
    assert await bench.run() == ADD
    assert settled == [0, 52]
