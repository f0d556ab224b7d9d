"""Ledger, store, gossip, membership and council with one rule removed at a time. A mutant says
which rule, and what takes its place; who notices is in `test_mutants` and `test_mutants_at_large`.
Raft's are in `raft_mutants`, those of the registers in `register_mutants`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from breeding import Breeder

from protocol.configuration import Change
from protocol.council import Council, Standing
from protocol.facts import Fact
from protocol.gossip import Gossip
from protocol.identity import NodeId
from protocol.ledger import AcceptResult, Answer, JobState, Ledger, TaskState
from protocol.membership.arrivals import Arrivals
from protocol.membership.members import Member
from protocol.membership.probing import Probing
from protocol.membership.verdicts import Verdicts
from protocol.messages.membership import MemberRecord, Rumor
from protocol.messages.sharing import Summary
from protocol.raft import Raft
from protocol.store import Entry, Gap, Merged, Store, Version
from protocol.store.batches import open_batch
from protocol.turn import Turn

BREEDER = Breeder()
MUTANTS = BREEDER.mutants
instead_of = BREEDER.instead_of

# -- ledger -------------------------------------------------------------------------------------

_accept = Ledger._accept


@instead_of("AcceptsTwice", "a task is accepted once", (Ledger, "_accept"))
def accept_twice(self: Ledger, command: AcceptResult, index: int) -> list[Fact]:
    found = self.slot(command.job, command.task, command.slot)
    if found:
        found[1].accepted = found[2].answer = None
    return _accept(self, command, index)


@instead_of("IgnoresFences", "a fencing token holds", (TaskState, "takes"))
def take_fenced(self: TaskState, slot: int, token: int) -> bool:
    return self.is_open and self.slots[slot].answer is None


@instead_of("AcceptsFromAnybody", "only the holder's result is accepted", (Ledger, "_accept"))
def accept_from_anybody(self: Ledger, command: AcceptResult, index: int) -> list[Fact]:
    found = self.slot(command.job, command.task, command.slot)
    if found:
        found[2].holder, found[2].token = command.node, command.token
    return _accept(self, command, index)


@instead_of("CountsResultsTwice", "a result proposed again is nothing new", (TaskState, "knows"))
def know_nothing(self: TaskState, attempt: tuple[int, NodeId, int]) -> bool:
    return False


@instead_of("IgnoresNeeds", "nothing is accepted before what it needs", (Ledger, "_fault_of"))
def find_no_fault(self: Ledger, job: JobState, task: TaskState, command: AcceptResult) -> str:
    return ""


_count_answers = Ledger._count_answers


@instead_of("BelievesOneAnswer", "a quorum of answers must agree", (Ledger, "_count_answers"))
def believe_one(
    self: Ledger, job: JobState, task: TaskState, new: Answer | None, index: int
) -> list[Fact]:
    others = [slot for slot in task.slots if slot.answer and slot.answer.index != index]
    kept = [slot.answer for slot in others]
    for slot in others:
        slot.answer = None
    agree = task.task.quorum.agree
    object.__setattr__(task.task.quorum, "agree", 1)
    try:
        return _count_answers(self, job, task, new, index)
    finally:
        object.__setattr__(task.task.quorum, "agree", agree)
        for slot, answer in zip(others, kept, strict=True):
            slot.answer = answer


# -- store and gossip ---------------------------------------------------------------------------

_merge = Store.merge
_store_apply = Store._apply
_flush = Gossip.flush


@instead_of("AcceptsGaps", "an author's entries come without a gap", (Store, "merge"))
def accept_gaps(self: Store, encoded: bytes) -> Merged | None:
    try:
        return _merge(self, encoded)
    except Gap:
        opened = open_batch(encoded)
        self._skip(opened.author, opened.batch.first - 1, opened.batch.previous)
        return self._take(opened, encoded)


@instead_of("LastArrivalWins", "concurrent values are siblings", (Store, "_apply"))
def last_wins(self: Store, author: NodeId, sequence: int, entry: Entry) -> None:
    _store_apply(self, author, sequence, entry)
    version = Version(author, sequence, entry.value, entry.stamp)
    self._keys._keys[entry.key].versions = (version,)


@instead_of("BelievesAnyBatch", "a batch is signed by its author", (Store, "merge"))
def believe_batch(self: Store, encoded: bytes) -> Merged | None:
    opened = open_batch(encoded)
    if opened.batch.first != self.last_of(opened.author) + 1:
        return _merge(self, encoded)
    return self._take(opened, encoded)


@instead_of("PushesEarly", "an own write is durable before it is told", (Gossip, "flush"))
def push_early(self: Gossip, turn: Turn, members: Sequence[NodeId], summary: Summary) -> None:
    others = len(turn.after)
    _flush(self, turn, members, summary)
    turn.before += turn.after[others:]
    del turn.after[others:]


# -- membership and council ---------------------------------------------------------------------

_hear = Verdicts.hear


@instead_of("BelievesAnybody", "a member's record is its own word", (Arrivals, "_is_acceptable"))
def believe_record(self: Arrivals, record: MemberRecord) -> bool:
    return True


@instead_of("HeedsOldRumors", "a refuted accusation is over", (Verdicts, "hear"))
def heed_old(self: Verdicts, turn: Turn, rumor: Rumor, teller: NodeId) -> None:
    member = self._members.get(rumor.node)
    if member is not None:
        record = member.record
        rumor = Rumor(rumor.node, record.epoch, record.incarnation, rumor.accuser, rumor.word)
    _hear(self, turn, rumor, teller)


@instead_of("HeedsTheOtherSide", "a cut's accusations end with it", (Verdicts, "_is_from_across"))
def believe_the_other_side(self: Verdicts, turn: Turn, rumor: Rumor, member: Member) -> bool:
    return False


@instead_of("AccusesAgain", "four accusers are enough", (Probing, "_is_settled"))
def accuse_again(self: Probing, node: NodeId) -> bool:
    return False


@instead_of("ReplacesBlindly", "no change while most are out of sight", (Council, "_next_changes"))
def replace_blindly(
    self: Council, turn: Turn, raft: Raft, team: Mapping[NodeId, Standing]
) -> list[Change]:
    if raft.configuration.is_joint:
        return []
    return (
        self._demote_impaired(raft, team)
        or self._go(turn, raft, team)
        or self._let_go(turn, raft, team)
        or self._grow(turn, raft, team)
        or self._replace(turn, raft, team)
        or self._tidy_learners(raft, team)
    )
