"""A model that does not want to do what it is asked: by an error's code, or in plain words.

Invariant: only what is plainly a refusal counts as one. Who takes an excuse for an answer lets a
check decide; who takes an answer for a refusal throws work away.
"""

from __future__ import annotations

import re

REFUSAL_SIZE_MAX = 1_500  # characters: who refuses does not write more
_OPENING = 300  # characters in which it says so
# OpenAI and Azure; of what else there is, DeepSeek says "Content Exists Risk".
_CODES = frozenset(
    ("content_filter", "content_policy_violation", "invalid_prompt", "ResponsibleAIPolicyViolation")
)
_SAYINGS = re.compile(r"content management policy|content exists risk", re.IGNORECASE)

_I_CANNOT = (
    r"\b(?:i|we)(?: am|['’]?m)? ?(?:can ?not|can['’]?t|won['’]?t|will not|(?:un|not )able to)"
)
_PLAIN = re.compile(
    rf"{_I_CANNOT} (?:help|assist|comply|engage)(?: you)?(?: with)?\b"
    rf"|{_I_CANNOT} (?:fulfil+|complete|do|provide|support) (?:that|this|your|the|such)"
    r"(?: kind of| type of)? (?:request|assistance|content|information)\b"
    r"|\b(?:i|we) (?:must|have to|need to) (?:decline|refuse)\b|\b(?:i|we) (?:decline|refuse) to\b"
    r"|\b(?:against|violates?) (?:my|our|the) (?:\w+ )?(?:guidelines|polic(?:y|ies)|principles)\b",
    re.IGNORECASE,
)


def is_refused_request(kinds: tuple[str, ...], words: str) -> bool:
    """Whether an error says that the prompt itself is refused. `kinds` are its code and type."""
    return bool(_CODES.intersection(kinds)) or bool(_SAYINGS.search(words))


def is_plain_refusal(text: str) -> bool:
    """Whether this text, in which no file was found, refuses to do what was asked."""
    if len(text) > REFUSAL_SIZE_MAX or "```" in text:
        return False
    return bool(_PLAIN.search(text[:_OPENING]))
