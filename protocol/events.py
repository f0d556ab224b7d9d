"""Everything that can happen to a peer. A run is fully described by its list of events."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TypeAlias

from protocol.clocks import SECOND, Nanoseconds
from protocol.identity import NodeId
from protocol.jobs import Amount, File, Job, Usage
from protocol.messages import Message
from protocol.registers import Command


@dataclass(frozen=True, slots=True)
class Received:
    """A decoded message from a node whose identity the link has proven."""

    sender: NodeId
    message: Message


@dataclass(frozen=True, slots=True)
class TimerFired:
    """The time of `Peer.deadline()` has come."""


@dataclass(frozen=True, slots=True)
class Submitted:
    """A local client submits a job; answered by `Reply` with the same request number."""

    request: int
    job: Job


@dataclass(frozen=True, slots=True)
class Commanded:
    """Local clients want these done to the registers, in this order. They are the requests `first`,
    `first` + 1, ..., answered by `Results` or `Refused`."""

    first: int
    commands: tuple[Command, ...]


class Consistency(Enum):
    """How fresh a read has to be."""

    LINEARIZABLE = "linearizable"  # a majority is asked whether the leader still leads
    LEASE = "lease"  # the same, if clocks' rates differ by less than the lease's margin
    LOCAL = "local"  # what this node has: perhaps old, never torn


@dataclass(frozen=True, slots=True)
class ReadAsked:
    """A local client reads a register; answered by `ReadAnswered` or `Refused`."""

    request: int
    key: str
    consistency: Consistency


@dataclass(frozen=True, slots=True)
class Rescued:
    """The operator says that the majority is lost for good, and that this node's log shall be the
    team's. Answered by `Reply`."""

    request: int


@dataclass(frozen=True, slots=True)
class Transferred:
    """The operator wants another voter to lead: `to`, or whoever is furthest if that is empty.
    Answered by `Reply` when somebody else leads, or with the reason why nobody does."""

    request: int
    to: NodeId


@dataclass(frozen=True, slots=True)
class Announced:
    """A local client tells every member something; answered by `Reply` once it is on its way."""

    request: int
    name: str
    payload: str


@dataclass(frozen=True, slots=True)
class Queried:
    """A local client asks every member something; answered by `Gathered`."""

    request: int
    name: str
    payload: str
    timeout_ns: Nanoseconds


@dataclass(frozen=True, slots=True)
class Answered:
    """The host answers the query `number` of `origin` (see `protocol.effects.Asked`)."""

    origin: NodeId
    number: int
    payload: str


@dataclass(frozen=True, slots=True)
class EntryWritten:
    """A local client writes a shared value, or deletes it (None). Answered by `Reply`."""

    request: int
    key: str
    value: bytes | None


@dataclass(frozen=True, slots=True)
class BlobPut:
    """A local client brings a content; answered by `Reply` with the blob's id."""

    request: int
    content: bytes


@dataclass(frozen=True, slots=True)
class BlobAsked:
    """A local client wants a blob to be here; answered by `Reply` once it is."""

    request: int
    blob: str
    timeout_ns: Nanoseconds


@dataclass(frozen=True, slots=True)
class BlobDropped:
    """A local client does without a blob on this node. Answered by `Reply`."""

    request: int
    blob: str


@dataclass(frozen=True, slots=True)
class PartRead:
    """What the host found when it was told to `ReadPart`; None if the part is gone or damaged."""

    blob: str
    part: int
    destination: NodeId
    data: bytes | None


@dataclass(frozen=True, slots=True)
class JoinAsked:
    """The operator names more addresses of the team; they are called at once, and never forgotten
    while this node runs. Answered by `Reply`."""

    request: int
    endpoints: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Tagged:
    """The operator says something of this node, for all members to know while it runs; an empty
    value takes a word back. Answered by `Reply`: InvalidTag."""

    request: int
    tags: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class ForgetAsked:
    """The operator wants to hear no more of a node that has failed or left. Answered by `Reply`."""

    request: int
    node: NodeId


@dataclass(frozen=True, slots=True)
class Progressed:
    """A running agent has finished these files; they are not verified yet."""

    invocation: int
    files: tuple[File, ...]


@dataclass(frozen=True, slots=True)
class WrittenSoFar:
    """What a running agent has not finished, as it is now: those of its task's `files` that have
    changed, and all that it `keeps` under PARTIAL_FOLDER for whoever goes on with its work."""

    invocation: int
    files: tuple[File, ...]
    keeps: tuple[File, ...]


@dataclass(frozen=True, slots=True)
class AnswerMade:
    """A running agent is done: this is its answer, which is checked from now on."""

    invocation: int
    files: tuple[File, ...]
    text: str
    usage: Usage


@dataclass(frozen=True, slots=True)
class FoundOut:
    """A running agent says something that others of its job may need."""

    invocation: int
    text: str


@dataclass(frozen=True, slots=True)
class Noted:
    """A local client says something that the agents of a job may need: about the job, or about one
    of its tasks or paths (`about`), for so long (0: as long as the job); answered by `Reply`."""

    request: int
    job: str
    scope: str
    about: str
    text: str
    lifetime_ns: Nanoseconds


@dataclass(frozen=True, slots=True)
class CancelAsked:
    """A local client wants a job to end: what is open of it is given up, for this reason, and what
    was accepted stays; answered by `Reply` once it is on its way."""

    request: int
    job: str
    reason: str


@dataclass(frozen=True, slots=True)
class Completed:
    """An agent ended and its result passed the task's check. `left` names files that it wrote and
    that the task does not."""

    invocation: int
    files: tuple[File, ...]
    text: str
    usage: Usage
    left: str = ""


@dataclass(frozen=True, slots=True)
class CallAsked:
    """An agent wants to call its model, for the `call`th time. It sends `tokens_in` at most and is
    content with an answer of `tokens_out_min` tokens; prices are millionths of a dollar for a
    million tokens. `endpoint` names where, with as many letters and digits as are needed to tell it
    from others, and `rate` is how many calls it takes in 1,000 s (0: nobody has said). Answered by
    `CallGranted` or `CallDenied`."""

    invocation: int
    call: int
    tokens_in: int
    tokens_out_min: int
    tokens_out_max: int
    price_in: int = 0
    price_out: int = 0
    endpoint: str = "model"
    rate: int = 0

    def cost(self, tokens_out: int) -> Amount:
        """What the call uses at most if its answer has so many tokens."""
        money = self.tokens_in * self.price_in + tokens_out * self.price_out
        return Amount(self.tokens_in + tokens_out, -(-money // 1_000_000))

    def affordable(self, rights: Amount) -> int:
        """How many tokens its answer may have for so much; below 0 if it may not be asked."""
        tokens = rights.tokens - self.tokens_in
        if self.price_out:
            money = rights.microusd * 1_000_000 - self.tokens_in * self.price_in
            tokens = min(tokens, money // self.price_out)
        elif not rights.covers(Amount(0, self.cost(0).microusd)):
            return -1
        return min(tokens, self.tokens_out_max)


RETRY_MAX: Nanoseconds = 120 * SECOND  # however long an endpoint wants to be left alone


@dataclass(frozen=True, slots=True)
class RateLimited:
    """An endpoint refuses calls because there are too many (429), and wants to be left alone for so
    long; 0 if it has not said. The team leaves it alone for RETRY_MAX at most."""

    endpoint: str
    retry_after_ns: Nanoseconds


@dataclass(frozen=True, slots=True)
class CallSettled:
    """A call that was granted is over, and this is what it used."""

    invocation: int
    call: int
    used: Amount


class Failure(Enum):
    """Why an attempt gave no accepted result."""

    ABORTED = "aborted"  # the peer asked for it
    AGENT = "agent"  # the agent raised, or exited non-zero
    BACKEND = "backend"  # the model endpoint refuses the request, or keeps failing
    NO_PROGRAM = "no_program"  # this node has not got the agent's program; another one may
    NO_MODEL = "no_model"  # this node has no model, no valid key for it, or no price; another may
    OUTPUT = "output"  # no usable answer: garbage, or files that were not asked for
    EMPTY = "empty"  # the model answered nothing, also when it was asked again
    REFUSED = "refused"  # the model, or its filter, does not want to do this
    TRUNCATED = "truncated"  # the answer ended at the model's token limit, also when it went on
    OVERFLOW = "overflow"  # the prompt is too long for the model, even shortened
    TIMEOUT = "timeout"
    BUDGET = "budget"  # nobody who is there has a right to so much any more
    VERIFY = "verify"  # the check said no
    UNKNOWN_TASK = "unknown_task"  # the simulated model has no worked answer
    UNREACHABLE = "unreachable"  # the model endpoint is away, for now: no fault of the task
    AWAY = "away"  # the same, for longer than anybody waits
    NO_CHECK = "no_check"  # this node has not got the program of the check; another one may


@dataclass(frozen=True, slots=True)
class AgentFailed:
    """An agent ended without a verified result; `files` is what it had made by then."""

    invocation: int
    reason: Failure
    detail: str
    files: tuple[File, ...]
    usage: Usage


class LinkFault(Enum):
    """What kind of undeliverable."""

    REFUSED = "refused"  # the address answered that nobody listens
    RESET = "reset"  # an open connection broke
    TIMEOUT = "timeout"  # no connection within the limit
    REJECTED = "rejected"  # the other side is not of this cluster
    OVERFLOW = "overflow"  # the outbox was full; the message was dropped


@dataclass(frozen=True, slots=True)
class Undeliverable:
    """A message to (or the connection with) a node or a seed endpoint could not be had."""

    destination: NodeId
    endpoint: str
    fault: LinkFault
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Persisted:
    """All `Persist` effects up to and including this sequence are durable."""

    sequence: int


@dataclass(frozen=True, slots=True)
class Leaving:
    """The operator asks this node to leave the team in good order."""


@dataclass(frozen=True, slots=True)
class Stopping:
    """This process is about to stop, most often to start again: what it has in hand is for others,
    at once."""


Event: TypeAlias = (
    Received
    | TimerFired
    | Submitted
    | Commanded
    | ReadAsked
    | Rescued
    | Transferred
    | Announced
    | Queried
    | Answered
    | EntryWritten
    | BlobPut
    | BlobAsked
    | BlobDropped
    | PartRead
    | JoinAsked
    | Tagged
    | ForgetAsked
    | Progressed
    | WrittenSoFar
    | AnswerMade
    | FoundOut
    | Noted
    | CancelAsked
    | CallAsked
    | CallSettled
    | RateLimited
    | Completed
    | AgentFailed
    | Undeliverable
    | Persisted
    | Leaving
    | Stopping
)
