"""What calls send, as far as it is known before there are any: the prompt that opens an attempt at
a task, with the files of the tasks that it needs where the simulated model's book has them. Of what
others will write nothing is known.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from node.agents.chat import ANSWER_MIN
from node.agents.count import TOKEN_LENGTH
from node.agents.estimate import Estimate, size_of
from node.agents.permits import NO_PRICES, Prices
from node.model import book
from node.model.latency import READ_MAX
from node.prompt.opening import build_prompt
from node.prompt.shown import Message
from protocol import graph
from protocol.effects import Assignment
from protocol.jobs import MODEL_KINDS, Amount, File, Job, Task


def counted_when_stopped(job: Job) -> dict[str, tuple[float, float]]:
    """By task, the tokens read and, of a whole answer, written that are counted of a call which is
    stopped before its end. Nobody tells them: they are estimated from the words (`agents.count`),
    while the simulated model tells means of other prompts. Without the tasks of real models, whose
    own count comes near."""
    return {
        task.id: (
            sum(len(message.content) for message in opening) // TOKEN_LENGTH,
            sum(len(file.content) for file in _written_by(task)) // TOKEN_LENGTH,
        )
        for task, opening in _openings(job)
        if task.agent == "simulated"
    }


def least_reserved(job: Job, prices: Prices | None) -> Amount | None:
    """What a call reserves of the budget before it begins, at the least: the cheapest first call of
    any task. None if no task asks a model."""
    asked = [_reserved(task, opening, prices or NO_PRICES) for task, opening in _openings(job)]
    return min(asked, key=lambda each: (each.tokens, each.microusd), default=None)


def _reserved(task: Task, opening: Sequence[Message], prices: Prices) -> Amount:
    """As `ChatEndpoint` asks for it."""
    size = size_of(opening)
    is_simulated = task.agent == "simulated"
    read = max(size, READ_MAX) if is_simulated else Estimate().tokens(size)
    return Amount(read + ANSWER_MIN, 0 if is_simulated else prices.cost(read, ANSWER_MIN))


def _openings(job: Job) -> Iterator[tuple[Task, tuple[Message, ...]]]:
    """Each task that asks a model, and the prompt of its first attempt."""
    needs = job.needs
    written = {task.id: _written_by(task) for task in job.tasks if task.agent == "simulated"}
    known = {task for task, files in written.items() if files}
    for task in job.tasks:
        if task.agent in MODEL_KINDS:
            before = graph.ancestors_of(needs, task.id) & known if known else ()
            inputs = tuple(file for each in sorted(before) for file in written[each])
            yield (
                task,
                build_prompt(Assignment(job.id, task, 0, 1, inputs, description=job.description)),
            )


def _written_by(task: Task) -> list[File]:
    """Its files, as far as the book has them."""
    found = ((path, book.answer(path, task.prompt)) for path in task.writes)
    return [File(path, content.encode()) for path, content in found if content is not None]
