"""How the simulated model puts what it knows: in fenced blocks or as JSON, and from where its
answer was cut off on.

Invariant: a right answer stays right in any of these forms.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from node.prompt.follow_up import anchor_of
from node.prompt.opening import Request
from node.prompt.shown import shorten
from protocol.conclusion import conclusion_of

CLAIM_SIZE_MAX = 200  # characters of a draft that its critic quotes


def files_text(contents: Mapping[str, str], as_json: bool) -> str:
    """The answer that holds these files."""
    if as_json:
        files = [{"path": path, "content": content} for path, content in contents.items()]
        return json.dumps({"files": files})
    return "\n".join(_block(path, content) for path, content in contents.items())


def groups_text(answers: Sequence[str], as_json: bool) -> str:
    """A judge's answer: a letter for each, by the answers' words."""
    from node.model.book import normalised  # the book is large, and a test may have another

    alike = [normalised(answer) for answer in answers]
    letters = [chr(ord("A") + alike.index(each)) for each in alike]
    if as_json:
        return json.dumps({"groups": letters})
    return "\n".join(f"{number}: {letter}" for number, letter in enumerate(letters, 1))


def argued(asked: Request, answer: str) -> str:
    """The answer, in the shape that was asked for: what differs from it in a draft is wrong."""
    from node.model.book import normalised

    said = []
    for number, draft in enumerate(asked.drafts, 1):
        claim = conclusion_of(draft)
        if normalised(claim) == normalised(answer):
            said.append(f"Draft {number}: nothing is wrong with it.")
        else:
            said.append(f"Draft {number} says {shorten(claim, CLAIM_SIZE_MAX)!r}, which is wrong.")
    return "\n".join([*said, "", f"Answer: {answer}"]).strip() if asked.is_marked else answer


def rest_of(text: str, kept: str) -> str:
    """The answer from where it was cut off on, with the lines before that repeated as one is told
    to; all of it, where `kept` is no beginning of it."""
    if not kept or not text.startswith(kept):
        return text
    return "".join(f"{line}\n" for line in anchor_of(kept)) + text[len(kept) :]


def _block(path: str, content: str) -> str:
    fence = "```"
    while fence in content:
        fence += "`"
    language = "python " if path.endswith(".py") else ""
    newline = "" if content.endswith("\n") else "\n"
    return f"{fence}{language}path={path}\n{content}{newline}{fence}\n"
