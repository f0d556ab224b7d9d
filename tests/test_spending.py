"""Budgets: nobody spends what is not its own, and what is left goes to where the work is."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ledger_hand import ADA, BOB, Book, job, task
from small_world import SmallWorld, done
from team_hand import CONFIG, SELF, Desk, commands

from protocol import codec
from protocol.clocks import SECOND, Nanoseconds
from protocol.effects import Assignment, CallDenied, CallGranted, Purpose
from protocol.events import AgentFailed, CallAsked, CallSettled, Completed, Failure, Leaving
from protocol.facts.work import (
    BudgetGranted,
    ReservationExceeded,
    TaskAbandoned,
    TaskAccepted,
    TaskStarted,
)
from protocol.identity import Identity, NodeId
from protocol.jobs import (
    NO_USAGE,
    NOTHING,
    Amount,
    Budget,
    ClaimMode,
    Job,
    Speculation,
    Task,
    Usage,
    VerifyBy,
)
from protocol.ledger import Grant, GrantBudget, decode_command, encode_command
from protocol.ledger_image import image_of, jobs_of
from protocol.sim.errands import ENDPOINT, Errands
from protocol.sim.watch import Watcher
from protocol.sim.world import AgentModel, Host
from protocol.store import Store
from protocol.team import View
from protocol.team.spending import Account, account_key
from protocol.turn import Turn

ALL_MODES = list(ClaimMode)
CALL = 1_000  # tokens of each call in the simulated teams


def metered(*tasks: Task, tokens: int, claims: ClaimMode = ClaimMode.LEASE) -> Job:
    return replace(job(*tasks, claims=claims), budget=Budget(tokens=tokens))


def uses(assignment: Assignment) -> tuple[Nanoseconds, Completed | AgentFailed]:
    """Each attempt is one call, of a second."""
    return done(assignment, SECOND, Usage(1, 0, CALL))


class Purse(Watcher):
    """What the calls used that began, node by node."""

    def __init__(self) -> None:
        self.used: dict[int, int] = {}

    def see_spent(self, at: Nanoseconds, host: Host, assignment: Assignment, usage: Usage) -> None:
        self.used[host.number] = self.used.get(host.number, 0) + usage.tokens_out

    @property
    def total(self) -> int:
        return sum(self.used.values())


def watched(size: int) -> tuple[SmallWorld, Purse]:
    world, purse = SmallWorld(size, uses), Purse()
    world.world.watch(purse)
    return world, purse


# -- one machine, by hand --------------------------------------------------------------------------


class Till(Desk):
    """A node with one task of a job that has a budget."""

    def __init__(self, tokens: int, usd: float = 0.0) -> None:
        super().__init__()
        poor = replace(job(task("a")), budget=Budget(tokens=tokens, usd=usd))
        (command,) = commands(self.submit(poor))
        self.commit(command)
        (self.invocation,) = self.team.running

    def ask(self, call: int, tokens_in: int, least: int, most: int, price: int = 0) -> Turn:
        turn = self.turn()
        asked = CallAsked(self.invocation, call, tokens_in, least, most, price, price)
        self.team.call_asked(turn, asked)
        return self.settle(turn)

    def settled(self, call: int, tokens: int) -> Turn:
        turn = self.turn()
        self.team.call_settled(turn, CallSettled(self.invocation, call, Amount(tokens)))
        return self.settle(turn)

    def hear(self, spent: Amount) -> None:
        """Another node tells what it has spent."""
        store = Store(Identity(b"x" * 32), "team", 100)
        node = store.identity.node
        account = codec.pack_value(Account(node, 1, spent, NOTHING, NOTHING, ()))
        encoded, _ = store.write([(account_key("job", node), account)], 1)
        self.store.merge(encoded)
        assert self.team.spending.learn(account_key("job", node))

    def grant(self, turn: Turn) -> Turn:
        """The wish for a portion comes true."""
        (wanted,) = [
            each for each in commands(turn) if isinstance(decode_command(each), GrantBudget)
        ]
        return self.commit(wanted)


def permits(turn: Turn) -> list[CallGranted | CallDenied]:
    effects = [*turn.before, *turn.after]
    return [effect for effect in effects if isinstance(effect, CallGranted | CallDenied)]


def test_a_call_begins_when_the_log_has_given_a_right_to_it() -> None:
    till = Till(10_000)
    turn = till.ask(1, 300, 100, 500)
    assert permits(turn) == []
    assert permits(till.grant(turn)) == [CallGranted(till.invocation, 1, 500)]


def test_the_reservation_is_on_the_disk_before_the_call_begins() -> None:
    till = Till(10_000)
    turn = till.grant(till.ask(1, 300, 100, 500))
    assert [type(each) for each in turn.after] == [CallGranted]
    account = till.team.spending.accounts("job")[SELF.node]
    assert account.reserved == Amount(800)
    till.settled(1, 450)
    till.is_overloaded = True  # what is written waits
    turn = till.ask(2, 300, 100, 500)
    assert permits(turn) == []


def test_what_was_not_used_is_free_again() -> None:
    till = Till(10_000)
    till.grant(till.ask(1, 300, 100, 500))
    before = till.team.spending.rights(till.ledger.jobs["job"])
    till.settled(1, 450)
    after = till.team.spending.rights(till.ledger.jobs["job"])
    assert after.minus(before) == Amount(350)
    till.settled(1, 450)
    assert till.team.spending.rights(till.ledger.jobs["job"]) == after, "once is enough"


def test_a_portion_is_asked_for_so_that_not_every_call_has_to() -> None:
    till = Till(80_000)
    till.grant(till.ask(1, 300, 100, 500))
    assert till.ledger.jobs["job"].granted(SELF.node) == Amount(20_000, 2**61)
    till.settled(1, 450)
    assert permits(till.ask(2, 300, 100, 500)) == [CallGranted(till.invocation, 2, 500)]


def test_an_answer_is_capped_by_what_is_left() -> None:
    till = Till(1_000)
    assert permits(till.grant(till.ask(1, 300, 100, 4_000))) == [
        CallGranted(till.invocation, 1, 700)
    ]


def test_what_nobody_has_is_denied() -> None:
    till = Till(1_000)
    turn = till.grant(till.ask(1, 950, 100, 500))
    assert permits(turn) == [], "others may yet be heard of"
    turn = till.wait(CONFIG.renew_ns)
    reason = "the budget of 1000 tokens is too small for a call that may use 1050 tokens"
    assert permits(turn) == [CallDenied(till.invocation, 1, reason)]


def test_money_limits_a_call_as_tokens_do() -> None:
    till = Till(0, usd=0.001)
    turn = till.grant(till.ask(1, 300, 100, 4_000, price=1_000_000))  # a dollar a million
    assert permits(turn) == [CallGranted(till.invocation, 1, 700)]
    assert till.team.spending.accounts("job")[SELF.node].reserved == Amount(1_000, 1_000)


def test_an_agent_that_ends_without_a_word_has_used_what_it_reserved() -> None:
    till = Till(10_000)
    till.grant(till.ask(1, 300, 100, 500))
    turn = till.turn()
    till.team.completed(turn, Completed(till.invocation, (), "done", Usage(1, 1, 1)))
    till.settle(turn)
    account = till.team.spending.accounts("job")[SELF.node]
    assert (account.spent, account.reserved) == (Amount(800), NOTHING)


def test_what_was_reserved_when_a_node_died_counts_as_spent() -> None:
    till = Till(10_000)
    till.grant(till.ask(1, 300, 100, 500))
    before = till.team.spending.rights(till.ledger.jobs["job"])
    till.restart()
    account = till.team.spending.accounts("job")[SELF.node]
    assert (account.spent, account.reserved) == (Amount(800), NOTHING)
    assert till.team.spending.rights(till.ledger.jobs["job"]) == before


# An endpoint can charge what it likes, and tells afterwards.


def test_one_call_at_a_time_is_under_way_where_it_is_paid_for() -> None:
    """So that an endpoint that charges too much can do so once before that is known."""
    till = Till(10_000)
    till.grant(till.ask(1, 300, 100, 500))
    assert permits(till.ask(2, 300, 100, 500)) == []
    assert permits(till.settled(1, 450)) == [CallGranted(till.invocation, 2, 500)]


def test_what_a_call_used_beyond_its_reservation_counts_and_is_told() -> None:
    till = Till(10_000)
    till.grant(till.ask(1, 300, 100, 500))
    turn = till.settled(1, 2_800)
    (told,) = [fact for fact in turn.facts if isinstance(fact, ReservationExceeded)]
    assert (told.job, told.endpoint, told.tokens) == ("job", "model", 2_000)
    assert till.team.spending.accounts("job")[SELF.node].spent == Amount(2_800)
    till.ask(2, 300, 100, 500)
    turn = till.settled(2, 800)
    assert not any(isinstance(fact, ReservationExceeded) for fact in turn.facts)


def test_an_overrun_stops_all_further_calls_and_is_told() -> None:
    till = Till(1_000)
    till.grant(till.ask(1, 300, 100, 500))
    till.settled(1, 1_700)
    till.grant(till.ask(2, 0, 1, 1))
    reason = "the budget of 1000 tokens is used up, and 700 tokens more were used"
    assert permits(till.wait(CONFIG.renew_ns)) == [CallDenied(till.invocation, 2, reason)]


def test_what_another_has_overrun_is_nobody_s_to_spend() -> None:
    till = Till(1_000)
    till.grant(till.ask(1, 300, 100, 700))
    till.settled(1, 100)
    job_state = till.ledger.jobs["job"]
    assert till.team.spending.rights(job_state).tokens == 900
    till.hear(Amount(950))
    assert till.team.spending.rights(job_state).tokens == -50
    till.ask(2, 0, 1, 1)
    reason = "the budget of 1000 tokens is used up, and 50 tokens more were used"
    assert permits(till.wait(CONFIG.renew_ns)) == [CallDenied(till.invocation, 2, reason)]


def test_an_overrun_ends_the_calls_though_not_all_rights_were_given_out() -> None:
    till = Till(10_000)
    till.grant(till.ask(1, 300, 100, 700))
    till.settled(1, 100)
    till.hear(Amount(9_950))
    assert till.ledger.jobs["job"].may_grant(Amount(1))
    assert till.ask(2, 0, 1, 1).proposals == [], "more rights would be of no use"
    reason = "the budget of 10000 tokens is used up, and 50 tokens more were used"
    assert permits(till.wait(CONFIG.renew_ns)) == [CallDenied(till.invocation, 2, reason)]


def test_without_a_budget_a_call_begins_at_once() -> None:
    till = Till(0)
    assert permits(till.ask(1, 300, 100, 500)) == [CallGranted(till.invocation, 1, 0)]


amounts = st.integers(0, 10**6)


@given(amounts, amounts, st.integers(0, 10**9), st.integers(0, 10**9), amounts, amounts)
def test_what_is_affordable_is_the_most_that_fits(
    tokens_in: int, most: int, price_in: int, price_out: int, tokens: int, money: int
) -> None:
    asked = CallAsked(1, 1, tokens_in, 0, most, price_in, price_out)
    rights = Amount(tokens, money)
    found = asked.affordable(rights)
    assert found <= most
    if found >= 0:
        assert rights.covers(asked.cost(found))
    if found < most:
        assert not rights.covers(asked.cost(max(0, found + 1)))


def test_nobody_gives_what_it_has_not() -> None:
    till = Till(1_000)
    turn = till.turn()
    wants = Account(BOB, 1, NOTHING, NOTHING, Amount(5_000, 0), ())
    till.team.spending._others["job"] = {BOB: wants}
    till.view = replace(till.view, alive=till.view.alive | {BOB})
    till.team.dirty = True
    till.settle(turn)
    job_state = till.ledger.jobs["job"]
    assert till.team.spending.accounts("job")[SELF.node].gifts == ()
    till.commit(encode_command(GrantBudget("job", SELF.node, 1, Amount(400))))
    assert till.team.spending.accounts("job")[SELF.node].gifts == ((BOB, Amount(400, 0)),)
    assert till.team.spending.rights(job_state).tokens == 0


# -- in the ledger ---------------------------------------------------------------------------------


def banked(tokens: int) -> Book:
    book = Book()
    book.submit(metered(task("a"), tokens=tokens))
    return book


def test_the_log_gives_out_what_there_is_and_no_more() -> None:
    book = banked(1_000)
    (fact,) = book.say(GrantBudget("job", ADA, 1, Amount(600, 5)))
    assert fact == BudgetGranted("job", ADA, 600, 0, 2)
    assert book.say(GrantBudget("job", ADA, 1, Amount(600))) == [], "the same, proposed again"
    (fact,) = book.say(GrantBudget("job", BOB, 1, Amount(600)))
    assert fact == BudgetGranted("job", BOB, 400, 0, 4)
    assert book.say(GrantBudget("job", BOB, 2, Amount(1))) == []
    assert not book.state.may_grant(Amount(1))


def test_what_was_given_out_is_in_a_snapshot() -> None:
    book = banked(1_000)
    book.say(GrantBudget("job", ADA, 1, Amount(600)))
    (state,) = jobs_of(image_of(book.ledger))
    assert state.grants == {ADA: Grant(1, Amount(600))}


# -- in the simulated team -------------------------------------------------------------------------


@pytest.mark.parametrize("claims", ALL_MODES)
def test_a_budget_that_suffices_is_used_to_its_end(claims: ClaimMode) -> None:
    """The last portions lie with many nodes, and come together where the work is. Where claims may
    collide, a call may be one too many."""
    spare = 1 if claims is ClaimMode.LEASE else 0
    world, purse = watched(5)
    names = [f"t{number}" for number in range(12)]
    world.do(metered(*map(task, names), tokens=(12 + spare) * CALL, claims=claims))
    assert len({fact.task for _, _, fact in world.diary.of(TaskAccepted)}) == 12
    assert purse.total <= (12 + spare) * CALL


@pytest.mark.parametrize("claims", ALL_MODES)
def test_a_budget_that_does_not_suffice_is_never_exceeded(claims: ClaimMode) -> None:
    world, purse = watched(4)
    names = [f"t{number}" for number in range(12)]
    world.do(metered(*map(task, names), tokens=7 * CALL + 500, claims=claims))
    assert purse.total == 7 * CALL
    assert len({fact.task for _, _, fact in world.diary.of(TaskAccepted)}) == 7
    reasons = {fact.reason for _, _, fact in world.diary.of(TaskAbandoned)}
    assert reasons == {
        "the budget of 7500 tokens is used up: 500 tokens left, and a call may use 1000 tokens"
    }


def test_once_a_budget_is_used_up_all_that_is_left_is_given_up_soon() -> None:
    """Not one task of each node after the other, each after the same wait."""
    world, _ = watched(2)
    world.do(metered(*(task(f"t{number}") for number in range(16)), tokens=2 * CALL))
    given_up = [at for at, number, _ in world.diary.of(TaskAbandoned) if number == 0]
    assert len(given_up) == 14
    assert given_up[-1] - given_up[0] < SECOND


def test_after_the_end_everybody_knows_what_was_spent_and_remembers_it() -> None:
    world, purse = watched(3)
    world.do(metered(*(task(f"t{number}") for number in range(6)), tokens=20 * CALL))
    world.run(5 * SECOND)
    for restarted in (False, True):
        for host in world.hosts:
            assert host.peer is not None
            spending = host.peer.team.spending
            accounts = spending.accounts("job").values()
            assert sum(account.spent.tokens for account in accounts) == purse.total
            assert sum(account.reserved.tokens for account in accounts) == 0
            left = spending.left(host.peer.ledger.jobs["job"])
            assert left.tokens == 20 * CALL - purse.total
        if not restarted:
            for host in world.hosts:
                host.crash()
                host.start_again()
            world.run(5 * SECOND)


def test_a_minority_spends_only_its_share() -> None:
    world, purse = watched(5)
    tasks = [task(f"t{number}") for number in range(40)]
    world.submit(metered(*tasks, tokens=40 * CALL))
    assert world.run(10 * SECOND, lambda: len(world.diary.of(TaskStarted)) >= 5)
    leader = world.leader()
    assert leader is not None
    few = [host.number for host in world.hosts if host is not leader][:2]
    rest = [host.number for host in world.hosts if host.number not in few]
    granted = sum(
        fact.tokens
        for _, number, fact in world.diary.of(BudgetGranted)
        if number == leader.number
        and fact.node in {world.hosts[few[0]].identity.node, world.hosts[few[1]].identity.node}
    )
    world.world.network.cut(few, rest)
    world.run(60 * SECOND)
    assert sum(purse.used.get(number, 0) for number in few) <= granted
    world.world.network.heal()
    assert world.run(120 * SECOND, world.is_finished)
    assert purse.total <= 40 * CALL


def test_what_two_have_that_is_enough_for_neither_comes_together() -> None:
    """Each has rights left and waits for a call that costs more; together it is enough for one."""
    costs = {"a": 60, "b": 60, "c": 650, "d": 650}

    def uneven(assignment: Assignment) -> tuple[Nanoseconds, Completed | AgentFailed]:
        return done(assignment, SECOND, Usage(1, 0, costs[assignment.task.id]))

    world, purse = SmallWorld(2, uneven), Purse()
    world.world.watch(purse)
    tasks = (task("a"), task("b"), task("c", "a", "b"), task("d", "a", "b"))
    world.do(metered(*tasks, tokens=800))
    assert purse.total == 60 + 60 + 650
    assert {fact.task for _, _, fact in world.diary.of(TaskAbandoned)} < {"c", "d"}


def test_who_is_cut_off_does_not_take_a_budget_for_used_up() -> None:
    """It sees its own rights alone, and what it made of that would count afterwards."""

    def long(assignment: Assignment) -> tuple[Nanoseconds, Completed | AgentFailed]:
        return done(assignment, 90 * SECOND, Usage(1, 0, CALL))

    world, purse = SmallWorld(3, long), Purse()
    world.world.watch(purse)
    world.submit(metered(task("d"), tokens=CALL))
    assert world.run(10 * SECOND, lambda: purse.total == CALL)
    (busy,) = purse.used
    idle = next(host.number for host in world.hosts if host.number != busy)
    world.world.network.cut([idle], [host.number for host in world.hosts if host.number != idle])
    world.run(25 * SECOND)
    world.world.network.heal()
    assert world.run(200 * SECOND, world.is_finished)
    assert world.diary.of(TaskAccepted)
    assert not world.diary.of(TaskAbandoned)


def test_a_review_is_waited_for_though_the_budget_is_used_exactly() -> None:
    def reviewed_for_nothing(
        assignment: Assignment,
    ) -> tuple[Nanoseconds, Completed | AgentFailed]:
        is_work = assignment.purpose is Purpose.WORK
        return done(assignment, SECOND, Usage(1, 0, CALL) if is_work else NO_USAGE)

    world = SmallWorld(2, reviewed_for_nothing)
    reviewed = replace(task("a"), verify="true", verify_by=VerifyBy.OTHER)
    world.do(metered(reviewed, tokens=CALL))
    assert world.diary.of(TaskAccepted)


@pytest.mark.parametrize(
    "gifts",
    [((SELF.node, Amount(0, 2**62)),), ((SELF.node, Amount(10**17, 0)),)],
)
def test_an_account_that_no_budget_could_have_counts_for_nothing(
    gifts: tuple[tuple[NodeId, Amount], ...],
) -> None:
    till = Till(1_000)
    store = Store(Identity(b"x" * 32), "team", 100)
    stranger = store.identity.node
    account = Account(stranger, 1, NOTHING, NOTHING, NOTHING, gifts)
    encoded, _ = store.write([(account_key("job", stranger), codec.pack_value(account))], 1)
    till.store.merge(encoded)
    assert not till.team.spending.learn(account_key("job", stranger))
    assert stranger not in till.team.spending.accounts("job")


def test_the_smallest_of_budgets_is_one() -> None:
    assert Budget(usd=1e-9).whole.microusd == 1


def test_nobody_races_once_a_budget_runs_low() -> None:
    world, purse = watched(4)
    rich = replace(metered(task("a"), tokens=100 * CALL), speculation=Speculation(1, 0))
    world.do(rich)
    assert purse.total == 2 * CALL
    world, purse = watched(4)
    poor = replace(metered(task("a"), tokens=CALL), speculation=Speculation(1, 0))
    world.do(poor)
    assert purse.total == CALL


# -- what is left is got ------------------------------------------------------------------------


def test_a_bank_that_has_no_money_left_still_gives_out_tokens() -> None:
    """Two nodes draw all the money with their first calls, and get most of it back unspent."""
    book = Book()
    book.submit(replace(job(task("a")), budget=Budget(tokens=1_000, usd=0.001)))
    book.say(GrantBudget("job", ADA, 1, Amount(100, 1_000)))
    assert not book.state.may_grant(Amount(0, 1))
    (fact,) = book.say(GrantBudget("job", BOB, 1, Amount(300, 50)))
    assert fact == BudgetGranted("job", BOB, 300, 0, 3)
    assert book.say(GrantBudget("job", BOB, 2, Amount(0, 50))) == []


def test_a_budget_of_tokens_and_money_lasts_as_long_as_either_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each call might be long, and reserves much more than it uses: of the money, of which there is
    little, all is given out at once, and comes back as rights."""
    spends = Usage(1, 1_000, 500)
    world = SmallWorld(5, lambda given: done(given, SECOND, spends))

    def ask(errands: Errands, number: int) -> None:
        errand = errands._errands.get(number)
        if errand is not None:
            errand.call += 1
            figures = (1_000, 500, 16_000, 3_000_000, 15_000_000)
            asked = CallAsked(number, errand.call, *figures, endpoint=ENDPOINT)
            errands._host.later(0, asked)

    monkeypatch.setattr(Errands, "_ask", ask)
    world.agents.price = 1
    monkeypatch.setattr(AgentModel, "cost", lambda _, used: _dollars(used))
    tasks = [task(f"t{number}") for number in range(80)]
    budget = Budget(tokens=200_000, usd=1.0)  # they use 120,000 and .84
    world.do(replace(job(*tasks), budget=budget), within=200 * SECOND)
    assert world.diary.of(TaskAbandoned) == []


def _dollars(used: Usage) -> Amount:
    return Amount(used.tokens_in + used.tokens_out, 3 * used.tokens_in + 15 * used.tokens_out)


def test_who_leaves_for_good_leaves_its_rights_behind() -> None:
    """The job needs nearly all of its budget."""
    world, _ = watched(4)
    tasks = [task(f"t{number}") for number in range(190)]
    world.submit(metered(*tasks, tokens=200 * CALL))
    world.run(5 * SECOND, lambda: len(world.diary.of(TaskAccepted)) > 4)
    leaver = next(host for host in world.hosts if host is not world.leader())
    assert leaver.peer is not None
    leaver.submit(Leaving())
    assert world.run(20 * SECOND, lambda: leaver.peer is not None and leaver.peer.has_left)
    state = leaver.peer.ledger.jobs["job"]
    assert leaver.peer.team.spending.rights(state).tokens == 0
    world.run(SECOND)
    leaver.crash()
    leaver.is_gone = True
    assert world.run(200 * SECOND, world.is_finished)
    assert world.diary.of(TaskAbandoned) == []


def test_what_another_call_could_not_get_long_ago_denies_nothing_now() -> None:
    """A call is hopeless for a moment, and its agent ends. Much later the one who has the rights is
    out of sight for a moment."""
    till = Till(10_000)
    rich = Identity(b"x" * 32).node
    both = View(frozenset({SELF.node, rich}), frozenset(), SELF.node)
    till.view = both
    till.commit(encode_command(GrantBudget("job", rich, 1, Amount(9_500))))
    till.grant(till.ask(1, 0, 500, 500))
    till.hear(Amount(500))
    till.settled(1, 100)
    assert permits(till.ask(2, 0, 9_950, 9_950)) == []
    till.now += SECOND
    turn = till.turn()
    ended = AgentFailed(till.invocation, Failure.TIMEOUT, "it hung", (), NO_USAGE)
    till.team.agent_failed(turn, ended)
    till.settle(turn)
    while not till.team.running:
        till.wait(60 * SECOND)
    (till.invocation,) = till.team.running
    till.view = View(frozenset({SELF.node}), frozenset({rich}), SELF.node)
    assert permits(till.ask(3, 0, 2_000, 2_000)) == []
    till.view = both
    assert permits(till.wait(till.config.renew_ns // 2)) == []


def test_an_account_that_the_store_had_no_room_for_is_written_again() -> None:
    """Else its call would wait for ever, and its agent with it."""
    till = Till(10_000)
    till.grant(till.ask(1, 0, 100, 500))
    till.settled(1, 100)
    turn = till.turn()
    till.team.call_asked(turn, CallAsked(till.invocation, 2, 0, 100, 100, 0, 0))
    till.team.decide(turn, till.view)
    turn.writes.clear()  # refused: this node's part of the store is full
    assert permits(till.settle(turn)) == []
    assert permits(till.wait(till.config.renew_ns)) == [CallGranted(till.invocation, 2, 100)]
