"""The answer in a text that may argue for it first, and when two such answers are alike.

Invariant: both are pure functions of the text, whatever the version of Python, so that every node
counts the same votes.

Reasoning does not count, only what it comes to: that is what self-consistency takes its majority of
(Wang et al. 2023, section 2). Models dress such a line in many ways; a text without one is its own
answer.
"""

from __future__ import annotations

import re

_MARK = re.compile(
    r"^[ \t>#-]{0,16}(?P<opened>[*_]{0,3})(?:final |my )?answer[ ]?(?P<closed>[*_]{0,3}):"
    r"(?P<closed_after>[*_]{0,3})",
    re.IGNORECASE | re.MULTILINE,
)
_STEADY = re.compile(r"[\0-\u1c7f\u1e00-\u1eff]+")  # whose small letters are known for good
_QUOTES = ("**", "*", "`", '"', "'")


def conclusion_of(text: str) -> str:
    """What follows the last line that begins with `Answer:`; the whole text if nothing does."""
    marks = list(_MARK.finditer(text))
    if not marks:
        return text.strip()
    mark = marks[-1]
    rest = text[mark.end() :].strip()
    if mark["opened"] and not mark["closed"] and not mark["closed_after"]:
        rest = rest.removesuffix(mark["opened"])  # of "**Answer: 3**"
    return rest.strip() or text.strip()


def has_conclusion(text: str) -> bool:
    """Whether it is clear which part of the text is the answer: marked, or a single line."""
    return conclusion_of(text) != text.strip() or len(text.strip().splitlines()) == 1


def folded_conclusion(text: str) -> str:
    """Equal for texts whose answers differ in case, white space, quotation marks around the whole,
    or a full stop at the end only."""
    words = lowered(" ".join(conclusion_of(text).split())).removesuffix(".")
    for quote in _QUOTES:
        if len(words) > 2 * len(quote) and words.startswith(quote) and words.endswith(quote):
            words = words[len(quote) : -len(quote)]
    return words.removesuffix(".")


def lowered(text: str) -> str:
    """In lower case, as far as all versions of Python agree on it: later ones know more letters of
    rare scripts. What a sigma becomes hangs on what stands around it."""
    sigmas_lowered = text.replace("\N{GREEK CAPITAL LETTER SIGMA}", "\N{GREEK SMALL LETTER SIGMA}")
    return _STEADY.sub(lambda run: run[0].lower(), sigmas_lowered)
