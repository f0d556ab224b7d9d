"""Spending: a job's budget, of which every node may use only what is its own.

A bounded counter (Balegas et al. 2015, *Extending Eventually Consistent Cloud Databases for
Enforcing Numeric Invariants*): the right to spend is divided among the nodes. The log grants rights
from what is left of the budget, in portions; who has no use for its rights gives them to whoever
wants more, by gossip. So no call has to ask a majority, a minority spends only its share, and the
budget holds through every cut and crash.

    enough rights    reserve the most that the call may use; it begins once that is on the disk
    not enough       ask the log for a portion and, if the bank is empty, the others
    when it is over  what it used is spent, the rest is free again
    it leaves        what it has not spent is somebody else's
    denied           nobody who is there has enough, or has reserved anything, the bank is empty

Invariant: what a node has reserved, spent within its reservations and given away is at most what
it was granted and given. What was reserved when a node died counts as spent. A call that used more
than it had reserved counts in full, and who hears of it has so much less right to spend: an
endpoint that charges what it likes can overrun the budget by the excess of one call of each node.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from protocol import codec
from protocol.clocks import Alarm, Nanoseconds
from protocol.config import TeamConfig
from protocol.events import CallAsked
from protocol.identity import NOBODY, NodeId
from protocol.jobs import MODEL_KINDS, NOTHING, Amount, Task
from protocol.ledger import JobState
from protocol.store import Store, word_of
from protocol.team.view import View
from protocol.team.wishes import Wishes
from protocol.turn import Turn

ACCOUNT_PREFIX = "spent/"
AMOUNT_MAX = 10**16  # tokens or millionths of a dollar; above it a peer's account is nonsense
GIFTS_MAX = 4_096  # of one account
_LEAST = Amount(1, 1)


@dataclass(frozen=True, slots=True)
class Account:
    """The value of `spent/JOB/NODE`, written by that node alone. `number` counts its versions;
    `wants` is how much the node would like to have been granted and given, all in all, nothing if
    it lacks nothing; `gifts` is what it has given away, all in all."""

    node: NodeId
    number: int
    spent: Amount
    reserved: Amount
    wants: Amount
    gifts: tuple[tuple[NodeId, Amount], ...]

    def given_to(self, node: NodeId) -> Amount:
        return dict(self.gifts).get(node, NOTHING)


def _is_sound(account: Account) -> bool:
    """Whether its figures can be those of any budget."""
    amounts = [account.spent, account.reserved, account.wants]
    amounts += [amount for _, amount in account.gifts]
    return len(account.gifts) <= GIFTS_MAX and all(
        0 <= figure <= AMOUNT_MAX for each in amounts for figure in (each.tokens, each.microusd)
    )


def account_key(job: str, node: NodeId) -> str:
    return f"{ACCOUNT_PREFIX}{job}/{node}"


@dataclass(frozen=True, slots=True)
class Reservation:
    """What a call may use; it counts once the account's version `number` is in the store."""

    tokens_out: int
    amount: Amount
    number: int


@dataclass(slots=True)
class _Own:
    """This node's account of one job as it shall be; `number` is the last version that was to be
    written."""

    spent: Amount = NOTHING
    reserved: Amount = NOTHING
    wants: Amount = NOTHING
    gifts: dict[NodeId, Amount] = field(default_factory=dict)
    number: int = 0
    stored: int = 0  # the version that is in the store
    is_news: bool = False
    written_at: Nanoseconds = 0


@dataclass(slots=True)
class _Hopeless:
    """Since when nobody can pay for a call, and when that was last seen."""

    since: Nanoseconds
    seen_at: Nanoseconds


class Spending:
    """The accounts of one node, and what it knows of the others'."""

    def __init__(
        self,
        node: NodeId,
        config: TeamConfig,
        store: Store,
        wishes: Wishes,
        alarm: Alarm,
    ) -> None:
        self.node = node
        self.config = config
        self.leaves = False  # this node, for good, and keeps no rights
        self._alarm = alarm
        self._hopeless: dict[str, _Hopeless] = {}
        self._store = store
        self._wishes = wishes
        self._own: dict[str, _Own] = {}
        self._others: dict[str, dict[NodeId, Account]] = {}

    # -- what is known -------------------------------------------------------------------------

    def learn(self, key: str) -> bool:
        """Take note of what the store has under a key of an account; whether it counts."""
        parts = key.split("/")
        if len(parts) != 3:
            return False
        job, node = parts[1], NodeId(parts[2])
        found = word_of(node, self._store.read(key), Account)
        if found is None or not _is_sound(found[0]):
            self._others.get(job, {}).pop(node, None)
            return False
        account, _ = found
        if node != self.node:
            self._others.setdefault(job, {})[node] = account
        else:
            self._written(job, account)
        return True

    def _written(self, job: str, account: Account) -> None:
        """The own account, as it is in the store; or as an earlier life left it, and then what was
        reserved may have been used."""
        own = self._own.get(job)
        if own is None:
            spent = account.spent.plus(account.reserved)
            own = _Own(spent, gifts=dict(account.gifts), number=account.number, is_news=True)
            self._own[job] = own
        own.stored = max(own.stored, account.number)

    def rights(self, job: JobState) -> Amount:
        """What this node may still reserve: of what is its own, as much as all have left over, for
        some call may have used more than it had reserved."""
        return self._own_rights(job).at_most(self.left(job))

    def _own_rights(self, job: JobState) -> Amount:
        return self._rights_of(job, self.node, self._account(job.job.id))

    def left(self, job: JobState) -> Amount:
        """What of the budget nobody has spent or reserved, as far as is known here."""
        left = job.job.budget.whole
        for account in self.accounts(job.job.id).values():
            left = left.minus(account.spent).minus(account.reserved)
        return left

    def patience(
        self, now: Nanoseconds, view: View, job: JobState, task: Task
    ) -> Nanoseconds | None:
        """For how long to leave a task to those who can pay for it; None: until more is known. Who
        is cut off, or just comes back, takes a holder that works on its last rights for lost.
        Where nobody could pay for the last call that was asked, each further task is asked for at
        once: all of them are given up, unless there is one that is cheaper."""
        is_bought = job.job.budget.is_metered and task.agent in MODEL_KINDS
        lacks = job.limited(_LEAST.minus(self.rights(job))).at_least(NOTHING)
        if not is_bought or lacks == NOTHING:
            return 0
        if view.leader not in view.alive:
            return None
        hopeless = self._hopeless.get(job.job.id)
        is_hopeless = hopeless is not None and now - hopeless.since >= self.config.renew_ns
        return 0 if job.may_grant(lacks) or is_hopeless else self.config.renew_ns

    def _account(self, job: str) -> Account:
        own = self._own.get(job, _Own())
        gifts = tuple(sorted(own.gifts.items()))
        return Account(self.node, own.number, own.spent, own.reserved, own.wants, gifts)

    def accounts(self, job: str) -> Mapping[NodeId, Account]:
        """Every node's account of a job, as far as is known here."""
        return {**self._others.get(job, {}), self.node: self._account(job)}

    def _inflow(self, job: JobState, node: NodeId) -> Amount:
        """What a node has been granted and given, all in all."""
        amount = job.granted(node)
        for giver, account in self.accounts(job.job.id).items():
            if giver != node:
                amount = amount.plus(account.given_to(node))
        return amount

    def _rights_of(self, job: JobState, node: NodeId, account: Account) -> Amount:
        free = self._inflow(job, node).minus(account.spent).minus(account.reserved)
        for _, gift in account.gifts:
            free = free.minus(gift)
        return free

    def forget(self, job: str) -> None:
        """Nothing more is asked for a finished job; what it has cost is kept."""
        self._hopeless.pop(job, None)

    def drop(self, job: str) -> None:
        """The log has the job no more, or not yet."""
        self.forget(job)
        self._others.pop(job, None)
        self._own.pop(job, None)

    # -- reserving -----------------------------------------------------------------------------

    def reserve(
        self, turn: Turn, view: View, job: JobState, asked: CallAsked
    ) -> Reservation | str | None:
        """Take what the call may use out of the own rights, or see where more may come from: None
        if it has to wait, a text if there is nothing to wait for."""
        free, own_rights = self.rights(job), self._own_rights(job)
        most = asked.cost(asked.tokens_out_max)
        lacks = most.minus(own_rights).at_least(NOTHING)
        if job.may_grant(lacks):
            portion = job.bank().part(4 * len(view.alive))
            if not self._wishes.has("grant", job.job.id):
                self._wishes.grant(turn.now, job, self.node, lacks.at_least(portion))
            if view.leader:  # a moment, and there is more
                return None
        tokens_out = asked.affordable(free)
        if tokens_out < asked.tokens_out_min:
            is_over = self._stays_hopeless(turn.now, view, job, asked)
            return self._why_denied(job, asked) if is_over else None
        self._hopeless.pop(job.job.id, None)
        own = self._own.setdefault(job.job.id, _Own())
        amount = asked.cost(tokens_out)
        own.reserved, own.is_news = own.reserved.plus(amount), True
        return Reservation(tokens_out, amount, own.number + 1)

    def _why_denied(self, job: JobState, asked: CallAsked) -> str:
        """For people: that the budget is used up, or too small from the beginning."""
        budget, least = job.job.budget, asked.cost(asked.tokens_out_min)
        if not budget.whole.covers(least):
            return budget.too_small_for(least)
        left = self.left(job)
        overrun = NOTHING.minus(left).at_least(NOTHING)
        return (
            budget.used_up(overrun) if overrun != NOTHING else budget.leaves_too_little(left, least)
        )

    def has_written(self, job: str, reservation: Reservation) -> bool:
        """Whether it would survive a crash, once what this step persists is durable."""
        own = self._own.get(job)
        return own is not None and own.stored >= reservation.number

    def close(self, job: str, reserved: Amount, used: Amount) -> None:
        """A call is over."""
        own = self._own.get(job)
        if own is not None:
            own.reserved = own.reserved.minus(reserved).at_least(NOTHING)
            own.spent = own.spent.plus(used)
            own.is_news = True

    def _stays_hopeless(
        self, now: Nanoseconds, view: View, job: JobState, asked: CallAsked
    ) -> bool:
        """Whether it has been hopeless for a while, and not only as a node sees it that is cut off
        or just comes back."""
        if view.leader not in view.alive or not self._is_hopeless(view, job, asked):
            self._hopeless.pop(job.job.id, None)
            return False
        known = self._hopeless.get(job.job.id)
        if known is None or now - known.seen_at > 2 * self.config.renew_ns:  # of another call
            known = self._hopeless[job.job.id] = _Hopeless(now, now)
        known.seen_at = now
        over_at = known.since + self.config.renew_ns
        if now < over_at:
            self._alarm.ask(over_at)
        return now >= over_at

    def _is_hopeless(self, view: View, job: JobState, asked: CallAsked) -> bool:
        """Whether all who are there have too little together with what is in the bank, and no call
        of theirs could leave anything over. Of a grant one may hear before its node's account has
        come."""
        accounts = self.accounts(job.job.id)
        total = job.bank()
        for node in sorted({*accounts, *job.grants} & view.alive):
            account = accounts.get(node, Account(node, 0, NOTHING, NOTHING, NOTHING, ()))
            if account.reserved != NOTHING:
                return False
            total = total.plus(self._rights_of(job, node, account).at_least(NOTHING))
        return not total.at_most(self.left(job)).covers(asked.cost(asked.tokens_out_min))

    # -- telling -------------------------------------------------------------------------------

    def tell(self, turn: Turn, view: View, job: JobState, waiting: Sequence[CallAsked]) -> None:
        """Let the others know what calls that wait here lack, give them what is not needed here,
        and write the account down if there is news."""
        self._want(job, waiting)
        rights = self.rights(job)
        if self.leaves:
            self._bequeath(view, job, rights)
        elif not any(asked.affordable(rights) >= asked.tokens_out_min for asked in waiting):
            self._give(view, job, only_before=self.node if waiting else "")
        self._write(turn, job.job.id)

    def close_books(self, turn: Turn, active: Collection[str]) -> None:
        """Write down what came after the end of a job, so that everybody knows what it has cost."""
        for job, own in self._own.items():
            if own.is_news and job not in active:
                own.wants = NOTHING
                self._write(turn, job)

    def _write(self, turn: Turn, job: str) -> None:
        own = self._own.get(job)
        if own is None:
            return
        if own.stored < own.number and not own.is_news:  # the store had no room for it
            again_at = own.written_at + self.config.renew_ns
            own.is_news = turn.now >= again_at
            self._alarm.ask(again_at)
        if own.is_news:
            own.is_news = False
            own.written_at = turn.now
            own.number += 1
            turn.write(account_key(job, self.node), codec.pack_value(self._account(job)))

    def _want(self, job: JobState, waiting: Sequence[CallAsked]) -> None:
        """Only what the bank has nothing of."""
        own = self._own.get(job.job.id)
        lacks = NOTHING
        for asked in waiting:
            lacks = lacks.plus(asked.cost(asked.tokens_out_max))
        lacks = lacks.minus(self._own_rights(job)).at_least(NOTHING) if waiting else NOTHING
        wants = NOTHING
        if job.limited(lacks) != NOTHING and not job.may_grant(lacks):
            wants = job.limited(self._inflow(job, self.node).plus(lacks))
            own = own or self._own.setdefault(job.job.id, _Own())
        if own is not None and own.wants != wants:
            own.wants, own.is_news = wants, True

    def _bequeath(self, view: View, job: JobState, rights: Amount) -> None:
        """Give all that is not spent to somebody who stays: the leader, if there is one."""
        others = view.alive - {self.node}
        heir = view.leader if view.leader in others else min(others, default=NOBODY)
        gift = job.limited(rights.at_least(NOTHING))
        if heir and gift != NOTHING:
            self._give_to(job, heir, gift)

    def _give_to(self, job: JobState, node: NodeId, gift: Amount) -> None:
        own = self._own.setdefault(job.job.id, _Own())
        own.gifts[node] = own.gifts.get(node, NOTHING).plus(gift)
        own.is_news = True

    def _give(self, view: View, job: JobState, only_before: NodeId | str) -> None:
        """Who lacks nothing gives to everybody. Who waits itself for more than it has gives to
        those before it in a fixed order: what many have that is enough for none comes together."""
        for node, account in sorted(self._others.get(job.job.id, {}).items()):
            if account.wants == NOTHING or node not in view.alive:
                continue
            if only_before and node >= only_before:
                break
            lacks = account.wants.minus(self._inflow(job, node)).at_least(NOTHING)
            gift = job.limited(lacks.at_most(self.rights(job).at_least(NOTHING)))
            if gift != NOTHING:
                self._give_to(job, node, gift)
