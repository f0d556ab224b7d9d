"""What has become of one answer: told apart, because each calls for something else.

Invariant: an answer with everything that was wanted is good, however it ended: the check decides.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum

from node.agents.answer import Answer
from node.agents.refusal import is_plain_refusal
from node.agents.reply import Reply
from protocol.events import Failure


class Verdict(Enum):
    """How an answer is, and why an attempt fails that ends with it."""

    GOOD = None
    REFUSED = Failure.REFUSED  # asked again, it would cost again and be refused again
    CUT_OFF = Failure.TRUNCATED  # it can be gone on with, once
    EMPTY = Failure.EMPTY  # asked again, once
    UNUSABLE = Failure.OUTPUT  # shown to its author, once


def verdict_of(reply: Reply, wanted: Sequence[str], missing: Sequence[str], found: bool) -> Verdict:
    """How the answer is; `missing` are the `wanted` files that have not come, in this answer or
    before, and `found` says whether any is in this one."""
    if wanted and not missing:
        return Verdict.GOOD
    if reply.refusal or reply.is_filtered:
        return Verdict.REFUSED
    if reply.is_cut_off:
        return Verdict.CUT_OFF
    if not reply.text.strip():
        return Verdict.UNUSABLE if reply.tools else Verdict.EMPTY
    if not found and is_plain_refusal(reply.text):
        return Verdict.REFUSED
    return Verdict.UNUSABLE if wanted else Verdict.GOOD


def faults_of(reply: Reply, answer: Answer) -> tuple[str, ...]:
    """What is wrong with an answer, the most telling thing first."""
    faults = []
    if reply.is_cut_off:
        faults.append(
            f"the answer was cut off at the endpoint's token limit ({reply.finish_reason})"
        )
    if reply.tools:
        faults.append(
            f"there are no tools to call, such as {', '.join(reply.tools)}: answer in text"
        )
    elif not reply.text.strip():
        faults.append("the answer is empty")
    return (*faults, *answer.faults)
