"""A question as a job, and what came of it: the answer and where it comes from.

Each of k nodes answers without seeing another's words; what a majority of them says is accepted.
With a critique there are k drafts first; then k nodes see all of them, say what is wrong with each,
once, and answer. That costs as many calls again, and voting alone has most of the gain (Choi et al.
2025, *Debate or Vote*, arXiv 2508.17536), so it is done on demand only.

Invariant: whatever was answered is in the account, agreed on or not.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from node.agents.backends import check_backends, default_agent
from node.cli.console import say_beside
from node.cli.costs import calls_text, money_text
from node.lab.cluster import ModelOptions
from node.lab.door import DoorError, Doors
from node.lab.following import submit
from node.prompt.opening import MARK_REQUEST
from node.prompt.shown import shorten
from protocol.errors import InvalidJob
from protocol.job_rules import validate
from protocol.jobs import (
    MODEL_KINDS,
    SLOTS_MAX,
    TEXT_SIZE_MAX,
    ClaimMode,
    Compare,
    Job,
    Quorum,
    Task,
)

ANSWER_TIMEOUT_S = 600.0
READY_TIMEOUT_S = 20.0
QUESTION_SIZE_MAX = TEXT_SIZE_MAX - 1024  # bytes: a program is also told how to answer
LINE_SIZE_MAX = 300  # characters of an answer that is shown on one line
ANSWER, DRAFT = "answer", "draft-"


@dataclass(frozen=True, slots=True)
class Manner:
    """How a question is to be answered: by so many, by whom, and who says which answers agree."""

    answers: int = 3
    critique: bool = False
    judge: bool = False
    agent: str = ""
    program: str = ""
    judge_program: str = ""

    @property
    def is_judged(self) -> bool:
        """By a model, or by a program."""
        return self.judge or bool(self.judge_program)


def question_job(question: str, manner: Manner) -> Job:
    """The job; InvalidJob names what cannot be. A draft has the very words of the question: that is
    how a node knows what to criticise."""
    agent = manner.agent or ("command" if manner.program else default_agent())
    _check(question, manner, agent)
    prompt = question if agent in MODEL_KINDS else f"{question}\n\n{MARK_REQUEST}"
    count = manner.answers if manner.critique else 0
    drafts = tuple(
        Task(
            f"{DRAFT}{number + 1}",
            prompt,
            question[:80],
            agent=agent,
            program=manner.program,
            number=number,
        )
        for number in range(count)
    )
    compare = Compare.JUDGE if manner.is_judged else Compare.NORMALISED
    answer = Task(
        ANSWER,
        prompt,
        question[:80],
        needs=tuple(draft.id for draft in drafts),
        agent=agent,
        program=manner.program,
        quorum=Quorum(manner.answers, manner.answers // 2 + 1, compare),
    )
    # No call is made twice by mistake, and where there is no majority nothing could be agreed on.
    job = Job(
        f"ask-{secrets.token_hex(4)}",
        "ask",
        (*drafts, answer),
        claims=ClaimMode.RAFT,
        judge_program=manner.judge_program,
    )
    validate(job)
    check_backends(job)
    return job


def _check(question: str, manner: Manner, agent: str) -> None:
    fault = ""
    size = len(question.encode(errors="replace"))
    if not question.strip():
        fault = "the question is empty: write one"
    elif size > QUESTION_SIZE_MAX:
        fault = f"the question is {size} bytes, the limit is {QUESTION_SIZE_MAX}: shorten it"
    elif not 1 <= manner.answers <= SLOTS_MAX:
        fault = f"-k must be 1 to {SLOTS_MAX}"
    elif manner.answers == 1 and (manner.critique or manner.is_judged):
        what = "--critique" if manner.critique else "--judge" if manner.judge else "--judge-run"
        fault = f"{what} is about several answers: ask for -k 2 or more"
    elif manner.judge and not manner.judge_program and agent not in MODEL_KINDS:
        fault = (
            f"--judge asks a model, and a {agent} agent is none: use {' or '.join(MODEL_KINDS)}, "
            f"or name a program that judges, --judge-run 'sh judge.sh'"
        )
    elif manner.program and agent in MODEL_KINDS:
        fault = f"--run is for agents that are programs, and {agent} is none: leave one of them out"
    elif not manner.program and agent in ("command", "python"):
        example = "my-llm -q" if agent == "command" else "my_module:my_function"
        fault = f"--agent {agent} needs a program: add --run '{example}'"
    if fault:
        raise InvalidJob(fault)


async def ask_running_team(doors: Doors, job: Job) -> dict[str, Any]:
    """Submit to a team that runs, and wait: the job's view. DoorError if it takes too long."""
    await submit(doors, job, say_beside)
    try:
        async with asyncio.timeout(ANSWER_TIMEOUT_S):
            return await doors.await_end(job.id)
    except TimeoutError:
        raise DoorError(
            "TimedOut",
            f"no answer within {ANSWER_TIMEOUT_S:.0f} s; the team goes on: look with "
            f"'quorate tasks {job.id}'",
        ) from None


async def ask_team_of_its_own(job: Job, nodes: int, model: ModelOptions) -> dict[str, Any]:
    """Start a team for this question, and stop it: the job's view."""
    from node.lab.run_job import RunFailed, RunOptions, local_run

    async with local_run(job, RunOptions(nodes=nodes, model=model)) as run:
        await run.start()
        doors = run.cluster.doors()
        if not await doors.await_ready(READY_TIMEOUT_S):
            raise RunFailed(f"no leader after {READY_TIMEOUT_S:.0f} s")
        return await ask_running_team(doors, job)


# -- what came of it -------------------------------------------------------------------------------


def account_of(question: str, view: dict[str, Any]) -> dict[str, Any]:
    """The answer and its provenance, by a finished job's view. `answer` is None if there was no
    agreement, and `why_none` says why."""
    by_id = {task["id"]: task for task in view["tasks"]}
    task = by_id[ANSWER]
    accepted = task["accepted"]
    answers = task["answers"]
    if accepted and not answers:  # from one node alone
        answers = [{**accepted, "slot": 0, "group": 0, "conclusion": accepted["text"]}]
    chosen = next((each for each in answers if accepted and _is_same(each, accepted)), None)
    agreeing = [each for each in answers if chosen and each["group"] == chosen["group"]]
    faults = [f"{name}: {each['abandoned']}" for name, each in by_id.items() if each["abandoned"]]
    return {
        "job": view["id"],
        "question": question,
        "answer": chosen["conclusion"] if chosen else None,
        "is_cut": chosen is not None and _is_cut(chosen),
        "why_none": "" if chosen else task["abandoned"] or "; ".join(faults),
        "asked": task["asked"],
        "proposer": chosen,
        "agreed": agreeing,
        "dissent": [each for each in answers if each not in agreeing],
        "late": task["late"],
        "drafts": [
            each["accepted"]
            for name, each in by_id.items()
            if name.startswith(DRAFT) and each["accepted"]
        ],
        "judge": task["judge"],
        "committed": task["committed"] if task["committed"]["index"] else view["committed"],
        "usage": view["spent"],
    }


def _is_same(answer: dict[str, Any], other: dict[str, Any]) -> bool:
    return all(answer[key] == other[key] for key in ("node", "token", "index"))


def _is_cut(answer: dict[str, Any]) -> bool:
    """Whether a node shows only the beginning of it."""
    shown = len(answer["text"])
    return bool(answer["length"] > shown and len(answer["conclusion"]) >= shown)


def lines_of(account: dict[str, Any]) -> Iterator[str]:
    """Where an answer comes from, or why there is none, for people."""
    asked, agreed, dissent = account["asked"], account["agreed"], account["dissent"]
    if account["answer"] is None:
        yield f"{'no agreement' if dissent else 'no answer'}: {account['why_none']}"
    elif asked == 1:
        yield f"-- by {_who(account['proposer'])}"
    else:
        others = [_who(each) for each in agreed if each is not account["proposer"]]
        proposed = f"proposed by {_who(account['proposer'])}, agreed by {', '.join(others)}"
        yield f"-- {proposed}: {len(agreed)} of {asked}"
    for each in dissent:
        mark = "dissent, " if agreed else ""
        yield f"-- {mark}{_who(each)}: {_line(each['conclusion'])}"
    for each in account["late"]:
        mark = "not needed any more" if each["spare"] else "too late to count"
        yield f"-- {mark}, {_who(each)}: {_line(each['conclusion'])}"
    missing = asked - len(agreed) - len(dissent) - len(account["late"])
    if missing > 0 and agreed:
        yield f"-- not waited for: {missing} of {asked}"
    for number, each in enumerate(account["drafts"], 1):
        yield f"-- draft {number} by {_who(each)}: {_line(each['text'])}"
    if account["judge"]:
        yield f"-- which answers agree was judged by {account['judge']}"
    yield f"-- {_entry(account['committed'])}; {_cost(account['usage'])}"
    if account["is_cut"]:
        yield f"-- only the first {len(account['answer'])} characters of the answer are shown"


def _who(answer: dict[str, Any]) -> str:
    return f"{answer['name']} (token {answer['token']})"


def _line(text: str) -> str:
    return shorten(" ".join(text.split()), LINE_SIZE_MAX)


def _entry(committed: dict[str, Any]) -> str:
    entry = f"committed as log entry {committed['index']}"
    entry += f" of term {committed['term']}" if committed["term"] else ""
    return entry + (f" by leader {committed['leader']}" if committed["leader"] else "")


def _cost(usage: dict[str, Any]) -> str:
    money = money_text(usage)
    return calls_text(usage) + (f"; money: {money}" if money else "")
