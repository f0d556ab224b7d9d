"""The turns after an answer that cannot be used as it is: it was cut off, or lacks what was asked
for, or does not say which part of it is the answer.
"""

from __future__ import annotations

from collections.abc import Sequence

from node.prompt.shown import Message, shorten

ANCHOR_LINES_MAX = 8  # lines that a model is told to repeat when it goes on
CONTINUE_HEADING = "# Your answer was cut off at the length limit"
REPAIR_ANSWER_SIZE_MAX = 64 * 1024  # characters of a failed answer shown back to its author


def keep_lines(answer: str) -> str:
    """What of an answer that was cut off can be gone on with: its lines up to the last that is
    whole and not blank; empty, if there is none."""
    whole = answer[: answer.rfind("\n") + 1].rstrip()
    return answer[: answer.index("\n", len(whole)) + 1] if whole else ""


def anchor_of(kept: str) -> tuple[str, ...]:
    """The last lines of `kept`, as few as are needed for them to occur in it only once."""
    lines = kept.split("\n")[:-1]
    plain = [line.strip() for line in lines]
    anchor: tuple[str, ...] = ()
    for size in range(1, min(ANCHOR_LINES_MAX, len(lines)) + 1):
        anchor = tuple(lines[-size:])
        tail = plain[-size:]
        ends = (at for at in range(size, len(plain)) if plain[at - 1] == tail[-1])
        if not any(plain[at - size : at] == tail for at in ends):
            break
    return anchor


def continue_prompt(kept: str) -> tuple[Message, ...]:
    """The turn that asks a model to go on where its answer was cut off, after `kept`."""
    if not kept:
        said = "Nothing of it came through. Answer again, without thinking aloud, and briefly."
        return (
            Message("assistant", "(nothing)"),
            Message("user", f"{CONTINUE_HEADING}\n\n{said}\n"),
        )
    anchor = "\n".join(anchor_of(kept))
    wish = (
        "This is the end of what came through:\n\n"
        f"{anchor}\n\n"
        "Go on from there: repeat exactly these last lines, and then write the rest. Do not begin "
        "again, say nothing before, and open no fence that is open already."
    )
    return (
        Message("assistant", shorten(kept, REPAIR_ANSWER_SIZE_MAX)),
        Message("user", f"{CONTINUE_HEADING}\n\n{wish}\n"),
    )


def read_kept(messages: Sequence[Message]) -> str:
    """What a model has written already of the answer that these messages ask it to go on with."""
    if len(messages) < 2 or not messages[-1].content.startswith(CONTINUE_HEADING):
        return ""
    return messages[-2].content if messages[-2].role == "assistant" else ""


def repair_prompt(
    answer: str, faults: Sequence[str], missing: Sequence[str], as_json: bool = False
) -> tuple[Message, ...]:
    """The turn that shows a model its unusable answer and says what is still wanted."""
    complaint = "\n".join(f"- {fault}" for fault in faults)
    if missing:
        form = "each in a fenced block that names its path"
        if as_json:
            form = 'as {"files": [{"path": ..., "content": ...}]}'
        wish = f"Write these now, {form}:\n" + "\n".join(f"- {path}" for path in missing)
    else:
        wish = "Answer the question in plain text."
    return (
        Message("assistant", shorten(answer, REPAIR_ANSWER_SIZE_MAX) or "(nothing)"),
        Message("user", f"That answer cannot be used:\n{complaint}\n\n{wish}\n"),
    )


def mark_prompt(answer: str) -> tuple[Message, ...]:
    """The turn that asks which part of an answer is the answer."""
    wish = (
        "Which is your final answer? Write one line that begins with `Answer:`, and nothing else."
    )
    return (
        Message("assistant", shorten(answer, REPAIR_ANSWER_SIZE_MAX)),
        Message("user", f"{wish}\n"),
    )
