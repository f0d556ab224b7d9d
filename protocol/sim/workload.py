"""What a simulated team is asked to do: drawn jobs, agents that take a drawn time and may fail,
hang or lie, and clients that insist.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from random import Random

from protocol.clocks import SECOND, Nanoseconds
from protocol.effects import Assignment, Purpose
from protocol.events import AgentFailed, Completed, Failure, Submitted
from protocol.jobs import (
    NO_USAGE,
    Budget,
    ClaimMode,
    Compare,
    File,
    Job,
    Quorum,
    Speculation,
    Task,
    Usage,
    VerifyBy,
)
from protocol.sim.world import AgentModel, World

CLIENT_RETRY_NS: Nanoseconds = 3 * SECOND
AGENT_TIMEOUT_NS: Nanoseconds = 30 * SECOND  # a hung agent is stopped by its node
SLOW_FACTOR = 10
BAD_SHARE = 1 / 8  # of the seeds have a node whose agents always fail
TOKENS_PER_ATTEMPT = 1_000  # on average
PRICE = 3_000_000  # millionths of a dollar for a million tokens, where a budget limits money
ATTEMPTS = 50
ATTEMPTS_BESIDE_LIAR = 10  # who lies alone beside one other finds all of them wrong
SHARED = "shared.txt"  # the file that many tasks edit
HEADING = b"what was done"
LIE = "not "  # what a wrong result begins with
SIMULATED = "simulated"  # the prompt of a drawn task


@dataclass(frozen=True, slots=True)
class WorkloadOptions:
    """The sizes of a workload, and the probabilities that an agent fails, is slow, or hangs.
    `liar`: one node's agents report a wrong result as done, each time another one. `rival`: a
    second client asks for another job under the first one's id. `tokens`, `usd` and `wall_s` are
    each job's budget, 0 for none. `shared`: every other task edits one file that all of them have.
    `bad`: one node's agents always fail. `outage_ns`: the model is away for so long.
    """

    jobs: int
    tasks: int
    claims: ClaimMode
    quorum: int
    slots: int
    agent_failures: float
    agent_slow: float
    agent_hangs: float
    liar: bool
    result_size: int
    tokens: int
    rival: bool
    speculation: Speculation
    verify_by: VerifyBy
    compare: Compare
    shared: bool
    usd: float
    wall_s: float
    bad: bool
    outage_ns: Nanoseconds

    def __str__(self) -> str:
        return (
            f"jobs={self.jobs} tasks={self.tasks} claims={self.claims.value} "
            f"quorum={self.quorum} slots={self.slots} agent_failures={self.agent_failures:.2f} "
            f"agent_slow={self.agent_slow:.2f} agent_hangs={self.agent_hangs:.2f} "
            f"liar={self.liar} result_size={self.result_size} tokens={self.tokens} "
            f"rival={self.rival} clones={self.speculation.clones} "
            f"after=p{self.speculation.percentile} verify_by={self.verify_by.value} "
            f"compare={self.compare.value} shared={self.shared} "
            f"usd={self.usd:g} wall={self.wall_s:g}s bad={self.bad} "
            f"outage={self.outage_ns / SECOND:g}s"
        )


PLAIN = WorkloadOptions(
    jobs=1,
    tasks=6,
    claims=ClaimMode.LEASE,
    quorum=1,
    slots=1,
    agent_failures=0.0,
    agent_slow=0.0,
    agent_hangs=0.0,
    liar=False,
    result_size=20,
    tokens=0,
    rival=False,
    speculation=Speculation(),
    verify_by=VerifyBy.SELF,
    compare=Compare.NORMALISED,
    shared=False,
    usd=0.0,
    wall_s=0.0,
    bad=False,
    outage_ns=0,
)


def draw_workload(random: Random, purse: Random) -> WorkloadOptions:
    """Mostly plain, sometimes odd; and from `purse` what may be spent beside tokens."""
    return WorkloadOptions(
        jobs=random.choice((1, 1, 1, 2, 3)),
        tasks=random.randint(1, 14),
        claims=random.choice(tuple(ClaimMode)),
        quorum=random.choice((1, 1, 1, 3)),
        slots=random.choice((1, 1, 1, 2, 4)),
        agent_failures=random.choice((0.0, 0.0, 0.1, 0.3)),
        agent_slow=random.choice((0.0, 0.0, 0.1, 0.5)),
        agent_hangs=random.choice((0.0, 0.0, 0.0, 0.1)),
        liar=random.choice((False, False, False, True)),
        result_size=random.choice((20, 20, 20, 50_000)),
        tokens=random.choice((0, 0, 0, 5 * TOKENS_PER_ATTEMPT)),
        rival=random.choice((False, False, True)),
        speculation=Speculation(random.choice((0, 0, 1, 2)), random.choice((0, 0, 50, 90))),
        verify_by=random.choice((VerifyBy.SELF, VerifyBy.SELF, VerifyBy.OTHER)),
        compare=random.choice((Compare.NORMALISED, Compare.EXACT, Compare.JUDGE)),
        shared=random.choice((False, False, True)),
        usd=purse.choice((0.0,) * 7 + (5 * TOKENS_PER_ATTEMPT * PRICE / 1e12,)),
        wall_s=purse.choice((0.0,) * 6 + (5.0, 20.0)),
        bad=False,
        outage_ns=0,
    )


def with_failures(random: Random, work: WorkloadOptions, nodes: int) -> WorkloadOptions:
    """The workload with a bad node and an outage, in some seeds. Beside a liar, or with one other
    node, a bad one would leave too few for what takes several."""
    return replace(
        work,
        bad=random.random() < BAD_SHARE and nodes > 2 and not work.liar,
        outage_ns=random.choice((0, 0, 0, 0, 0, 0, 2, 8)) * SECOND,
    )


def mark_of(task: str) -> bytes:
    """What an honest edit of the shared file by a task leaves in it."""
    return f"{task} was here".encode()


def _place_of(task: str) -> bytes:
    """Where in the shared file that is put."""
    return f"a place for {task}".encode()


def honest_text(task: str) -> str:
    """What a task that is answered by quorum has for its answer."""
    return f"the honest answer to {task}"


class SimulatedAgents(AgentModel):
    """Agents that answer differently each time, unless the task is answered by quorum. Those that
    start once `is_calm` is set do not hang and are not slow."""

    def __init__(self, random: Random, options: WorkloadOptions, lies: bool = False) -> None:
        self.random = random
        self.options = options
        self.lies = lies
        self.price = PRICE if options.usd else 0
        self.is_calm = False
        self.is_away = False

    def perform(self, assignment: Assignment) -> tuple[Nanoseconds, Completed | AgentFailed]:
        if self.is_away and assignment.purpose is not Purpose.REVIEW:
            return SECOND // 2, AgentFailed(0, Failure.UNREACHABLE, "it is away", (), NO_USAGE)
        if assignment.purpose is not Purpose.WORK:
            return SECOND // 10, self._look(assignment)
        random, options = self.random, self.options
        duration = int(random.lognormvariate(-0.5, 0.6) * SECOND)
        tokens = TOKENS_PER_ATTEMPT * random.choice((1, 5, 9)) // 5
        usage = Usage(1, 0, tokens, simulated=True)
        if not self.is_calm:
            if random.random() < options.agent_hangs:
                end = AgentFailed(0, Failure.TIMEOUT, "it hung", (), usage)
                return AGENT_TIMEOUT_NS, end
            if random.random() < options.agent_slow:
                duration *= SLOW_FACTOR
        if random.random() < options.agent_failures:
            return duration, AgentFailed(0, Failure.VERIFY, "a drawn failure", (), usage)
        task = assignment.task
        is_alike = task.quorum.of > 1 and not self.lies
        mark = "" if is_alike else f" {random.getrandbits(32)}"
        text = (LIE if self.lies else "") + honest_text(task.id) + mark
        content = text.encode().ljust(options.result_size)
        files = tuple(
            File(path, self._edited(assignment) if path == SHARED else content)
            for path in task.writes
        )
        return duration, Completed(0, files, text, usage)

    def _edited(self, assignment: Assignment) -> bytes:
        """The shared file with a line of the task's own. Some edits touch each other."""
        seen = {file.path: file.content for file in (*assignment.fixtures, *assignment.inputs)}
        name = assignment.task.id
        edited = seen[SHARED].replace(_place_of(name), mark_of(name))
        if int(name[1:]) % 4 == 0:
            edited = edited.replace(HEADING, HEADING + b" and " + name.encode())
        return seen[SHARED] if self.lies else edited

    def _merged(self, assignment: Assignment) -> bytes:
        """All lines of all versions; a liar, where another node looks at what it made, leaves all
        versions but the first out."""
        versions = [each.files[0].content for each in assignment.proposals]
        is_reviewed = any(check.task.verify_by is VerifyBy.OTHER for check in assignment.checks)
        if self.lies and is_reviewed:
            return versions[0]
        return b"\n".join(dict.fromkeys(b"\n".join(versions).split(b"\n")))

    def _look(self, assignment: Assignment) -> Completed | AgentFailed:
        """Lies are found out, except by a liar, who finds nothing else."""
        if assignment.purpose is Purpose.MERGE:
            if self.random.random() < self.options.agent_failures:
                return AgentFailed(0, Failure.VERIFY, "a drawn failure", (), NO_USAGE)
            return Completed(0, (File(SHARED, self._merged(assignment)),), "", NO_USAGE)
        if assignment.checks:
            if _is_whole(assignment) is not self.lies:
                return Completed(0, (), "", NO_USAGE)
            return AgentFailed(0, Failure.VERIFY, "it lacks something", (), NO_USAGE)
        texts = [proposal.text for proposal in assignment.proposals]
        if assignment.purpose is Purpose.JUDGE:
            groups = " ".join(str(texts.index(text)) for text in texts)
            return Completed(0, (), "0" if self.lies else groups, NO_USAGE)
        if texts[0].startswith(LIE) is self.lies:
            if assignment.purpose is Purpose.FINISH:
                return Completed(0, assignment.proposals[0].files, texts[0], NO_USAGE)
            return Completed(0, (), "", NO_USAGE)
        return AgentFailed(0, Failure.VERIFY, "it is a lie", (), NO_USAGE)


def _is_whole(assignment: Assignment) -> bool:
    """Whether a merge passes the checks of its tasks: nothing that they wrote is lost."""
    content = assignment.proposals[0].files[0].content
    return all(mark_of(check.task.id) in content for check in assignment.checks)


def random_job(random: Random, options: WorkloadOptions, name: str = "job") -> Job:
    """A job whose tasks each need a few of the earlier ones."""
    tasks: list[Task] = []
    for number in range(options.tasks):
        names = [task.id for task in tasks]
        needs = random.sample(names, min(len(names), random.choice((0, 0, 1, 1, 2))))
        quorum = Quorum(options.quorum, 1 + options.quorum // 2, options.compare)
        if number % 3:
            quorum = Quorum()
        edits = options.shared and number % 2 == 0
        tasks.append(
            Task(
                id=f"t{number}",
                prompt=SIMULATED,
                needs=tuple(sorted(needs)),
                writes=(f"t{number}.txt", SHARED) if edits else (f"t{number}.txt",),
                quorum=quorum,
                attempts_max=ATTEMPTS_BESIDE_LIAR if options.liar else ATTEMPTS,
                verify="true" if options.verify_by is VerifyBy.OTHER else "",
                verify_by=options.verify_by,
            )
        )
    budget = Budget(options.tokens, options.usd, options.wall_s)
    places = (_place_of(task.id) for task in tasks)
    shared = File(SHARED, b"\n\n".join((HEADING, *places)))
    return Job(
        id=name,
        name=name,
        tasks=tuple(tasks),
        claims=options.claims,
        files=(shared,) if options.shared else (),
        budget=budget,
        speculation=options.speculation,
    )


class Client:
    """Asks one node after another for its job until one gives a definite answer.

    `answer` is None until then, "" for success, and the reason for a refusal.
    """

    def __init__(self, world: World, random: Random, request: int, job: Job) -> None:
        self.world = world
        self.random = random
        self.request = request
        self.job = job
        self.answer: str | None = None
        self.knows: set[int] | None = None  # the nodes that it may ask; None for all

    def ask(self) -> None:
        """Look for an answer, else ask the next node."""
        for host in self.world.hosts:
            reply = host.replies.pop(self.request, None)
            if reply is not None and reply.error in ("", "InvalidJob"):
                self.answer = reply.detail if reply.error else ""
        if self.answer is not None:
            return
        up = [host for host in self.world.hosts if host.is_up]
        if self.knows is not None:
            up = [host for host in up if host.number in self.knows]
        if up:
            self.random.choice(up).submit(Submitted(self.request, self.job))
        self.world.after(CLIENT_RETRY_NS, self.ask)


def clients_of(world: World, random: Random, options: WorkloadOptions) -> list[Client]:
    """One client a job, of which the third resumes the first, and perhaps a rival of the first."""
    jobs = [random_job(random, options, f"job{number}") for number in range(min(2, options.jobs))]
    if options.jobs > 2:  # what the first got done by then is taken over
        jobs.append(replace(jobs[0], id="job2", resumes=jobs[0].id))
    if options.rival:
        jobs.append(Job(jobs[0].id, "rival", (Task("other", SIMULATED),)))
    return [Client(world, random, request, job) for request, job in enumerate(jobs, start=1)]
