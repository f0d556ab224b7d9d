"""What a job is: a graph of tasks, each with an agent, files to write and a check; and within which
limits. Whether one keeps to them is asked by `job_rules`."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum

from protocol import graph
from protocol.conclusion import folded_conclusion, lowered
from protocol.identity import NodeId

TASKS_MAX = 10_000
FILE_SIZE_MAX = 256 * 1024  # one file of a result, bytes
RESULT_SIZE_MAX = 1024 * 1024  # all files of a result
FIXTURES_SIZE_MAX = 4 * 1024 * 1024  # all files that travel with a job
FIXTURES_MAX = 2_000
JOB_SIZE_MAX = 6 * 1024 * 1024  # the whole job as it travels: it must fit into one frame
WRITES_MAX = 500  # files of one task: they fit into one batch of the store
PATH_LENGTH_MAX = 200  # characters, so that a path is part of a key of the store
ID_LENGTH_MAX = 100
TEXT_SIZE_MAX = 64 * 1024  # a prompt, a command, a verify line
ATTEMPTS_MAX = 100
SLOTS_MAX = 16  # independent answers to one task
CLONES_MAX = 4  # attempts that race one that takes long
TIMEOUT_MAX_S = 86_400.0
VERIFY_TIMEOUT_S = 60.0  # of one check, where the task does not say
WEIGHT_MAX = 1_000_000.0
TOKENS_MAX = 10**15
USD_MAX = 10**9
WALL_MAX_S = 10**8  # three years
SHOWN_LENGTH_MAX = 80  # of somebody's text in a message
PARTIAL_FOLDER = ".partial"  # of a scratch folder: what a program keeps there its successor finds
PARTIAL_FILES_MAX = 64  # in that folder
ANSWER_PATH = f"{PARTIAL_FOLDER}/answer.txt"  # what a model had said when its answer broke off
RESERVED_PATH = "manifest.json"  # what the output folder calls its list of files
AGENT_KINDS = ("simulated", "openai", "command", "python", "human")
MODEL_KINDS = ("simulated", "openai")
HUMAN = "human"
HUMAN_TIMEOUT_S = 3_600.0  # for a person to answer, where the task does not say


class ClaimMode(Enum):
    """How work is given out. All four enforce dependencies alike."""

    LEASE = "lease"  # gossiped optimistic claim; goes on in a minority
    RAFT = "raft"  # claim committed before work starts; one owner
    ASSIGNED = "assigned"  # the leader spreads all tasks before the start
    LEADER = "leader"  # the leader hands out a task when a node is idle


@dataclass(frozen=True, slots=True)
class File:
    """A file as it travels: a path relative to the output folder, and its bytes."""

    path: str
    content: bytes


class Compare(Enum):
    """When answers of independent nodes agree."""

    EXACT = "exact"  # byte for byte
    NORMALISED = "normalised"  # but for white space; of texts see `protocol.conclusion`
    TESTS = "tests"  # if both pass the task's check
    JUDGE = "judge"  # if a model, or the job's judge, finds that they say the same


class VerifyBy(Enum):
    """Whose word it takes that a result passes the task's check."""

    SELF = "self"  # that of the node whose agent made it
    OTHER = "other"  # also another node's, which checks it again


@dataclass(frozen=True, slots=True)
class Quorum:
    """`of` nodes answer the task independently; it is accepted when `agree` answers agree."""

    of: int = 1
    agree: int = 1
    compare: Compare = Compare.NORMALISED


@dataclass(frozen=True, slots=True)
class Speculation:
    """How idle nodes race what takes long (backup tasks: Dean and Ghemawat 2004, section 3.6): up
    to `clones` more attempts at a task of the critical path, once it has taken longer than
    `percentile` of 100 attempts of this job took, and `after_s` seconds. Percentile 0: at once."""

    clones: int = 0
    percentile: int = 90
    after_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Amount:
    """Tokens, and money in millionths of a dollar."""

    tokens: int = 0
    microusd: int = 0

    def plus(self, other: Amount) -> Amount:
        return Amount(self.tokens + other.tokens, self.microusd + other.microusd)

    def minus(self, other: Amount) -> Amount:
        return Amount(self.tokens - other.tokens, self.microusd - other.microusd)

    def covers(self, other: Amount) -> bool:
        """Whether it is enough of both."""
        return self.tokens >= other.tokens and self.microusd >= other.microusd

    def at_least(self, other: Amount) -> Amount:
        """The larger of each."""
        return Amount(max(self.tokens, other.tokens), max(self.microusd, other.microusd))

    def at_most(self, other: Amount) -> Amount:
        """The smaller of each."""
        return Amount(min(self.tokens, other.tokens), min(self.microusd, other.microusd))

    def part(self, divisor: int) -> Amount:
        return Amount(self.tokens // divisor, self.microusd // divisor)


NOTHING = Amount()
UNLIMITED = 2**61  # of what a budget does not limit


@dataclass(frozen=True, slots=True)
class Budget:
    """Limits of a job; 0 means none."""

    tokens: int = 0
    usd: float = 0.0
    wall_s: float = 0.0

    @property
    def is_metered(self) -> bool:
        """Whether model calls need a right to what they may use."""
        return bool(self.tokens or self.usd)

    @property
    def whole(self) -> Amount:
        """All that may be used."""
        microusd = max(1, int(self.usd * 1_000_000)) if self.usd else UNLIMITED
        return Amount(self.tokens or UNLIMITED, microusd)

    def used_up(self, overrun: Amount = NOTHING) -> str:
        """Why nothing more may be spent, for people; `overrun` is what was used beyond it."""
        more = self._limited_text(overrun)
        return f"{self._named()} is used up" + (f", and {more} more were used" if more else "")

    def leaves_too_little(self, left: Amount, needed: Amount) -> str:
        """Why the next call may not be made, for people."""
        rest, call = self._limited_text(left) or "nothing", self._limited_text(needed)
        return f"{self._named()} is used up: {rest} left, and a call may use {call}"

    def too_small_for(self, needed: Amount) -> str:
        """Why no call at all may be made, for people."""
        return f"{self._named()} is too small for a call that may use {self._limited_text(needed)}"

    def _named(self) -> str:
        limits = [f"{self.tokens} tokens"] if self.tokens else []
        limits += [f"{self.usd:g} USD (estimated)"] if self.usd else []
        return f"the budget of {' and '.join(limits)}"

    def _limited_text(self, amount: Amount) -> str:
        """What of an amount the budget limits; empty if that is nothing."""
        parts = [f"{amount.tokens} tokens"] if self.tokens and amount.tokens else []
        is_money = self.usd and amount.microusd
        parts += [f"{amount.microusd / 1_000_000:g} USD (estimated)"] if is_money else []
        return " and ".join(parts)


@dataclass(frozen=True, slots=True)
class Task:
    """One unit of work.

    `agent` is simulated, openai, command, python or human; `program` is the command line of a
    `command` agent or the `module:function` of a `python` agent, else empty. `verify` is a shell
    command run in a scratch copy; empty means that any answer passes, and it has `verify_timeout_s`
    to end. `weight` is how long the task is expected to take beside the other tasks. Of several
    tasks that ask the same, `number` tells which it is: a program finds it, with its slot added, as
    it does that of one of several answers.
    """

    id: str
    prompt: str
    title: str = ""
    needs: tuple[str, ...] = ()
    writes: tuple[str, ...] = ()
    agent: str = "simulated"
    program: str = ""
    verify: str = ""
    attempts_max: int = 5
    timeout_s: float = 300.0
    quorum: Quorum = Quorum()
    verify_by: VerifyBy = VerifyBy.SELF
    weight: float = 1.0
    verify_timeout_s: float = VERIFY_TIMEOUT_S
    number: int = 0

    @property
    def asks_person(self) -> bool:
        """Whether its node only waits for somebody's answer, and can work on something else."""
        return self.agent == HUMAN


@dataclass(frozen=True, slots=True)
class Job:
    """A graph of tasks. `files` (tests, data) travel with it and lie in every scratch folder.
    `resumes` is the id of an earlier job, of which it takes over what was accepted for tasks that
    are the same; empty if none. `merge_program` and `judge_program` are command lines that merge
    versions of a file, and say which answers agree, in the place of models; empty for models."""

    id: str
    name: str
    tasks: tuple[Task, ...]
    description: str = ""
    claims: ClaimMode = ClaimMode.LEASE
    files: tuple[File, ...] = ()
    budget: Budget = Budget()
    speculation: Speculation = Speculation()
    resumes: str = ""
    merge_program: str = ""
    judge_program: str = ""

    def task(self, task_id: str) -> Task:
        """The task of this id; KeyError if there is none."""
        for task in self.tasks:
            if task.id == task_id:
                return task
        raise KeyError(task_id)

    @property
    def needs(self) -> dict[str, tuple[str, ...]]:
        """The graph: task id -> ids it needs."""
        return {task.id: task.needs for task in self.tasks}

    @property
    def weights(self) -> dict[str, float]:
        """How long each task is expected to take beside the others: the lengths of the graph."""
        return {task.id: task.weight for task in self.tasks}


SEVERAL_MODELS = "several models"


@dataclass(frozen=True, slots=True)
class Usage:
    """What one attempt consumed. `simulated` marks figures of the embedded model. `microusd` is
    what that costs, an estimate, in millionths of a dollar; `unpriced` are the tokens among these
    whose price nobody knows. `model` is who was asked, as its endpoint calls it; empty if nobody
    was."""

    calls: int = 0
    tokens_in: int = 0
    tokens_out: int = 0
    simulated: bool = False
    microusd: int = 0
    unpriced: int = 0
    model: str = ""

    def plus(self, other: Usage) -> Usage:
        """The sum; simulated if either is."""
        model = self.model or other.model
        return Usage(
            self.calls + other.calls,
            self.tokens_in + other.tokens_in,
            self.tokens_out + other.tokens_out,
            self.simulated or other.simulated,
            self.microusd + other.microusd,
            self.unpriced + other.unpriced,
            model if other.model in ("", model) else SEVERAL_MODELS,
        )

    def at_least(self, other: Usage) -> Usage:
        """Of two figures of one attempt the later one, as far as it tells more."""
        return max(self, other, key=lambda each: (each.tokens_in + each.tokens_out, each.calls))


NO_USAGE = Usage()
SHARES_MAX = 16  # of one answer; what came before them is forgotten


@dataclass(frozen=True, slots=True)
class Share:
    """What the attempt of `node` under `token` used for an answer that a later one finished."""

    node: NodeId
    token: int
    usage: Usage


def manifest(files: Iterable[File]) -> dict[str, str]:
    """path -> SHA-256 of the content (hex), sorted by path."""
    return {
        file.path: hashlib.sha256(file.content).hexdigest()
        for file in sorted(files, key=lambda file: file.path)
    }


def digest_of(files: Iterable[File], text: str = "") -> str:
    """The SHA-256 (hex) by which two results are compared: of the manifest, or of the text with
    white space folded when there are no files."""
    lines = [f"{path} {checksum}" for path, checksum in manifest(files).items()]
    whole = "\n".join(lines) if lines else lowered(" ".join(text.split()))
    return hashlib.sha256(whole.encode()).hexdigest()


def likeness_of(compare: Compare, files: Iterable[File], text: str) -> str:
    """Equal for results that agree. What a judge decides is not in it."""
    if compare is Compare.TESTS:
        return ""
    if compare is Compare.EXACT:
        plain = [f"{path} {checksum}" for path, checksum in manifest(files).items()]
        return (
            digest_of((), "\n".join(plain)) if plain else hashlib.sha256(text.encode()).hexdigest()
        )
    alike = [File(file.path, _folded_lines(file.content)) for file in files]
    return digest_of(alike, folded_conclusion(text))


def _folded_lines(content: bytes) -> bytes:
    """Without the white space at the ends of lines and without empty lines."""
    lines = [line.rstrip() for line in content.splitlines()]
    return b"\n".join(line for line in lines if line)


def shown(value: object) -> str:
    """Somebody's text as it stands in a message: quoted, on one line, and of bounded length."""
    text = repr(value)
    return text if len(text) <= SHOWN_LENGTH_MAX else f"{text[:SHOWN_LENGTH_MAX]}..."


def shared_paths(job: Job) -> dict[str, tuple[str, ...]]:
    """What more than one task writes, with those tasks in topological order."""
    writers: dict[str, list[str]] = {}
    for task in job.tasks:
        for path in task.writes:
            writers.setdefault(path, []).append(task.id)
    shared = {path: tasks for path, tasks in writers.items() if len(tasks) > 1}
    order = graph.topological_order(job.needs) if shared else []
    place = {task: at for at, task in enumerate(order)}
    return {path: tuple(sorted(tasks, key=place.__getitem__)) for path, tasks in shared.items()}


def kept_path(path: str) -> str:
    """Where a program finds what an earlier attempt has left of this path."""
    folder = f"{PARTIAL_FOLDER}/"
    return path if path.startswith(folder) else folder + path


def name_of_version(path: str, task: str) -> str:
    """Where a task's version of a file lies that could not be merged with the others'."""
    return f"{path}.{task}"
