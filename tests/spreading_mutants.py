"""Membership, store and gossip with one rule removed at a time, as in `mutants`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from breeding import Breeder

from protocol.config import MembershipConfig
from protocol.gossip import Gossip
from protocol.identity import Identity, NodeId
from protocol.membership import Member, Membership, State, verdicts
from protocol.membership.comparing import Comparing
from protocol.membership.local_health import LocalHealth
from protocol.membership.members import Members
from protocol.membership.probing import Probing
from protocol.membership.reach import Reach
from protocol.membership.verdicts import Verdicts
from protocol.messages import Message
from protocol.messages.membership import MemberRecord, ReachRow, Rumor
from protocol.messages.sharing import (
    Collected,
    Delta,
    Digest,
    Forked,
    Holding,
    PartDigest,
    Push,
    Summary,
)
from protocol.returning import Returning
from protocol.store import Equivocation, Matrix, Store
from protocol.store.batches import Entry, Opened, open_batch
from protocol.store.core import _mark
from protocol.store.families import Families
from protocol.store.histories import History, Kept
from protocol.store.keys import Keys
from protocol.turn import Turn

BREEDER = Breeder()
MUTANTS = BREEDER.mutants
instead_of = BREEDER.instead_of

# -- membership -----------------------------------------------------------------------------------


@instead_of("NeverRefutes", "a living suspect refutes", (Membership, "_refute"))
def never_refute(self: Membership, turn: Turn, rumor: Rumor) -> None:
    pass


@instead_of("OneWitness", "one refused connection is no proof", (Verdicts, "refused"))
def believe_one_witness(
    self: Verdicts, turn: Turn, node: NodeId, member: Member, witness: NodeId
) -> None:
    self._fail(turn, node, member, witness)


@instead_of("OldWitnesses", "a refusal is about one version of a record", (Members, "put"))
def keep_witnesses(self: Members, record: MemberRecord, state: State, now: int) -> Member:
    old = self.get(record.node)
    member = _put(self, record, state, now)
    if old is not None:
        member.witnesses |= old.witnesses
    return member


_put = Members.put


def short_timeout(config: MembershipConfig, team_size: int, confirmations: int, wanted: int) -> int:
    return int(config.suspicion_alpha * config.probe_interval_ns)


BREEDER.add(
    "AccusesAlone",
    "who accuses alone waits longer",
    (verdicts, "suspicion_timeout", short_timeout),
)


@instead_of(
    "BlamesAfterPause", "who stood still gives suspects more time", (Verdicts, "stood_still")
)
def blame_after_pause(self: Verdicts, late: int) -> None:
    pass


@instead_of(
    "ConcludesUnheard", "what came is heard before late timers", (Membership, "_listen_first")
)
def conclude_unheard(self: Membership, turn: Turn, late: int) -> None:
    self._listens_until = turn.now
    self.health.worse()


@instead_of("ExpectsTheUsual", "a probe waits for as long as answers take", (Probing, "_timeout"))
def expect_the_usual(self: Probing) -> int:
    return self._config.probe_timeout_ns


@instead_of(
    "LetsTheForgottenKnock", "the forgotten are told to count on", (Membership, "_tell_forgotten")
)
def let_the_forgotten_knock(self: Membership, turn: Turn, sender: NodeId) -> None:
    pass


@instead_of("NeverDoubtsItself", "waits grow with a node's own trouble", (LocalHealth, "stretch"))
def never_stretch(self: LocalHealth, wait: int) -> int:
    return wait


@instead_of("TakesOldRows", "an older row changes nothing", (Reach, "take"))
def take_any_row(self: Reach, row: ReachRow, now: int) -> bool:
    self._rows[row.node] = (row, now)
    return True


@instead_of(
    "RemembersForEver", "who was forgotten is back by a newer record only", (Members, "is_newer")
)
def forget_forgetting(self: Members, record: MemberRecord) -> bool:
    member = self.get(record.node)
    return member is None or record.version > member.record.version


@instead_of(
    "BelievesTheOtherSide",
    "a failure that comes as a surprise is a suspicion",
    (Verdicts, "_hear_of_failure"),
)
def believe_other_side(
    self: Verdicts, turn: Turn, node: NodeId, member: Member, accuser: NodeId
) -> None:
    self._fail(turn, node, member, accuser)


@instead_of("NeverCompares", "views are compared by hash", (Comparing, "look"))
def never_compare(self: Comparing, turn: Turn, sender: NodeId, fingerprint: bytes) -> None:
    pass


# -- store ----------------------------------------------------------------------------------------


@instead_of("DropsDots", "a write replaces what its author had seen", (Keys, "take"))
def see_less(self: Keys, author: NodeId, sequence: int, entry: Entry) -> object:
    context = {each: max(0, last - 1) for each, last in entry.context.items()}
    return _take(self, author, sequence, replace(entry, context=context))


_take = Keys.take


@instead_of("CollectsEarly", "only what every member has is collected", (Matrix, "stable"))
def all_is_stable(
    self: Matrix, own: Mapping[str, int], members: Iterable[NodeId]
) -> dict[str, int]:
    return dict(own)


@instead_of("BuriesEarly", "a deletion stays as long as anything of its key", (Store, "_is_spent"))
def bury_early(self: Store, batch: Kept, stable: Mapping[str, int]) -> bool:
    opened = open_batch(batch.encoded)
    return all(
        entry.deletes or not _shows(self, entry.key, opened.author, sequence)
        for sequence, entry in enumerate(opened.entries, start=batch.first)
    )


@instead_of(
    "CollectsUnseen",
    "a deletion stays until all have what it deleted",
    (Store, "_is_spent"),
)
def collect_unseen(self: Store, batch: Kept, stable: Mapping[str, int]) -> bool:
    return _is_spent(self, batch, _All())


class _All(dict[str, int]):
    """Everybody has everything."""

    def get(self, author: str, default: int = 0) -> int:  # type: ignore[override]
        return 2**62


_is_spent = Store._is_spent


def _shows(store: Store, key: str, author: NodeId, sequence: int) -> bool:
    return any((each.author, each.sequence) == (author, sequence) for each in store.read(key))


@instead_of("NeverReconciles", "a late returner asks what still counts", (Store, "reconcile"))
def never_reconcile(self: Store, holding: Holding) -> list[tuple[NodeId, int]]:
    return []


@instead_of("ForgetsLateness", "who skipped something asks until answered", (Returning, "asks"))
def ask_once(self: Returning, node: NodeId, now: int) -> bool:
    self.is_late = False
    return False


@instead_of("BelievesAnyHoldings", "only who was asked makes a node drop", (Returning, "awaits"))
def believe_holdings(self: Returning, node: NodeId) -> bool:
    return True


@instead_of("ClaimsEarly", "a digest tells only of what is durable", (Turn, "send_durable"))
def claim_early(self: Turn, destination: NodeId, message: Message) -> None:
    if isinstance(message, Summary | Digest | PartDigest):
        self.send(destination, message)
    else:
        _send_durable(self, destination, message)


_send_durable = Turn.send_durable


@instead_of("SkipsAnywhere", "only what follows what is held is skipped", (Store, "skip"))
def skip_anywhere(self: Store, gap: Collected) -> bool:
    if gap.last <= self.last_of(gap.author):
        return False
    self._skip(gap.author, gap.last, gap.link)
    return True


@instead_of("NoQuota", "a quota bounds every author", (Store, "__init__"))
def no_quota(
    self: Store,
    identity: Identity,
    cluster: str,
    entries: int,
    size: int = 0,
    families: Families | None = None,
) -> None:
    _init(self, identity, cluster, 2**62, 2**62, families)


_init = Store.__init__


@instead_of(
    "OverlooksForks", "two histories of an author prove that it lies", (Store, "_compare_with_held")
)
def overlook(self: Store, history: History, opened: Opened, encoded: bytes) -> None:
    pass


_fork = Store._fork


@instead_of("KeepsForked", "the others agree without a liar", (Store, "_fork"))
def keep_forked(self: Store, author: NodeId, one: bytes, other: bytes) -> Equivocation:
    history = self._histories.get(author)
    proof = _fork(self, author, one, other)
    if history is not None:
        self._sums.change(author, 0, _mark(history))
    return proof


@instead_of("ForgetsForks", "a proof against a liar outlasts a restart", (Store, "restore"))
def restore_without_proofs(
    self: Store,
    batches: Iterable[bytes],
    collected: Iterable[Collected] = (),
    proofs: Iterable[tuple[NodeId, Forked]] = (),
) -> None:
    _restore(self, batches, collected)


_restore = Store.restore


# -- gossip ---------------------------------------------------------------------------------------


@instead_of(
    "AnswersWhatWaits",
    "each write of a client is an entry of its own",
    (Gossip, "write_for_client"),
)
def answer_what_waits(self: Gossip, turn: Turn, key: str, value: bytes | None) -> str:
    turn.write(key, value)
    return ""


@instead_of("ForgesMatch", "equal fingerprints mean equal stores", (Store, "fingerprint"))
def forged_fingerprint(self: Store) -> bytes:
    return bytes(16)


@instead_of("PushesAnySize", "what is large is fetched and not pushed", (Gossip, "_push"))
def push_any_size(
    self: Gossip,
    turn: Turn,
    member: NodeId,
    batches: tuple[bytes, ...],
    summary: Summary,
    is_own: bool,
) -> None:
    turn.send(member, Push(batches))


@instead_of(
    "AnswersEndlessly", "a delta that brings nothing ends the exchange", (Gossip, "_take_delta")
)
def answer_endlessly(self: Gossip, turn: Turn, sender: NodeId, message: Delta) -> None:
    self._merge(turn, sender, message.batches, message.collected)
    if message.more:
        turn.send(sender, Digest(self.store.vector(), wants_answer=False))


@instead_of(
    "DropsBeforeReplaced",
    "what replaced it is everywhere before it goes",
    (Kept, "is_replaced_for"),
)
def believe_replaced(self: Kept, stable: Mapping[str, int]) -> bool:
    return True
