"""What was confirmed is there after whatever happened; what is not sound is refused."""

from __future__ import annotations

import asyncio
import os
import shutil
import sqlite3
import threading
import time
import tracemalloc
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from node import journal as journal_module
from node.database import Database
from node.journal import TRANSACTION_SIZE_MAX, Journal
from node.journal_file import (
    FILE,
    JournalDamaged,
    JournalForeign,
    JournalInUse,
    JournalNewer,
    JournalOlder,
    JournalUnwritable,
)
from protocol.effects import (
    AppendEntries,
    DropBatches,
    DropLog,
    ForgetMember,
    HardState,
    KeepBatch,
    KeepCollected,
    KeepImpairment,
    KeepMember,
    KeepProof,
    KeepSnapshot,
    Record,
    Restored,
)
from protocol.identity import Identity, NodeId
from protocol.messages.sharing import Collected, Forked
from protocol.store import Store
from tests.journal_hand import (
    CLUSTER,
    NODE,
    WAIT_S,
    batch,
    change,
    entries,
    entry,
    member,
    opened,
    snapshot,
    written,
)

# -- keeping ---------------------------------------------------------------------------------


async def test_every_kind_of_record_is_there_after_reopening(tmp_path: Path) -> None:
    author, other = NodeId("bb"), NodeId("aa")
    with opened(tmp_path) as journal:
        assert journal.load() == Restored()
        await written(
            journal,
            (HardState(1, NODE), AppendEntries((entry(1), entry(2)))),
            (KeepBatch(author, 1, 2, b"b1"), KeepBatch(author, 3, 9, b"b3")),
            (KeepBatch(other, 1, 1, b"a1"), KeepMember(member(1)), KeepMember(member(1, 5))),
            (HardState(2, NodeId("")), KeepBatch(author, 10, 10, b"b10"), KeepMember(member(2))),
            (KeepMember(member(3)), ForgetMember(member(3).node)),
            (KeepCollected(Collected(NodeId("cc"), 1, 7, b"link")),),
            (KeepProof(NodeId("dd"), Forked(b"one", b"other")),),
        )
    with opened(tmp_path) as journal:
        kept = journal.load()
    assert kept.hard_state == HardState(2, NodeId(""))
    assert kept.entries == (entry(1), entry(2))
    assert kept.batches == (b"a1", b"b1", b"b3", b"b10")
    assert kept.collected == (Collected(NodeId("cc"), 1, 7, b"link"),)
    assert kept.proofs == ((NodeId("dd"), Forked(b"one", b"other")),)
    assert set(kept.members) == {member(1, 5), member(2)}


async def test_an_append_replaces_everything_at_or_above_its_first_index(tmp_path: Path) -> None:
    with opened(tmp_path) as journal:
        await written(
            journal,
            (AppendEntries(tuple(entry(index) for index in range(1, 10))),),
            (AppendEntries((entry(4, 2), entry(5, 2))),),
            (AppendEntries(()),),
        )
    with opened(tmp_path) as journal:
        terms = [(each.index, each.term) for each in journal.load().entries]
    assert terms == [(1, 1), (2, 1), (3, 1), (4, 2), (5, 2)]


async def test_a_snapshot_takes_the_place_of_the_entries_below_and_of_the_one_before(
    tmp_path: Path,
) -> None:
    with opened(tmp_path) as journal:
        await written(
            journal,
            (AppendEntries(entries(1, 20)),),
            (KeepSnapshot(snapshot(8, b"eight"), 5, replace=False),),
            (AppendEntries(entries(21, 30)), KeepSnapshot(snapshot(25, b"x" * 9), 22, False)),
        )
    with opened(tmp_path) as journal:
        kept = journal.load()
        assert kept == Restored(snapshot=snapshot(25, b"x" * 9), entries=entries(22, 30))
        await written(journal, (AppendEntries(entries(31, 32)),))
    with opened(tmp_path) as journal:
        assert journal.load().entries == entries(22, 32)
        assert not journal.damage


async def test_the_log_goes_on_after_a_snapshot_of_all_of_it(tmp_path: Path) -> None:
    with opened(tmp_path) as journal:
        await written(
            journal,
            (AppendEntries(entries(1, 9)), KeepSnapshot(snapshot(9), 10, replace=False)),
            (KeepSnapshot(snapshot(9), 10, replace=False),),
        )
    with opened(tmp_path) as journal:
        assert journal.load() == Restored(snapshot=snapshot(9))
        await written(journal, (AppendEntries(entries(10, 11)),))
    with opened(tmp_path) as journal:
        assert journal.load() == Restored(snapshot=snapshot(9), entries=entries(10, 11))


async def test_a_snapshot_from_elsewhere_takes_the_place_of_the_whole_log(tmp_path: Path) -> None:
    with opened(tmp_path) as journal:
        await written(
            journal,
            (AppendEntries(entries(1, 20)), KeepSnapshot(snapshot(100, b""), 101, replace=True)),
        )
    with opened(tmp_path) as journal:
        assert journal.load() == Restored(snapshot=snapshot(100, b""))
        await written(journal, (AppendEntries(entries(101, 101, 4)),))
    with opened(tmp_path) as journal:
        assert journal.load().entries == entries(101, 101, 4)


async def test_another_log_begins_where_one_was_dropped(tmp_path: Path) -> None:
    with opened(tmp_path) as journal:
        await written(
            journal,
            (HardState(7, NODE), KeepSnapshot(snapshot(100), 101, replace=True)),
            (AppendEntries(entries(101, 110)), DropLog(), AppendEntries(entries(1, 3, 9))),
        )
    with opened(tmp_path) as journal:
        assert journal.load() == Restored(HardState(7, NODE), None, entries(1, 3, 9))


async def test_entries_may_be_replaced_from_below_the_lowest_that_is_kept(tmp_path: Path) -> None:
    with opened(tmp_path) as journal:
        await written(
            journal,
            (KeepSnapshot(snapshot(100), 101, replace=True), AppendEntries(entries(101, 110))),
            (AppendEntries(entries(101, 102, 2)),),
            (AppendEntries(entries(99, 104, 3)),),
        )
    with opened(tmp_path) as journal:
        assert journal.load().entries == entries(99, 104, 3)


async def test_impairment_lasts_until_it_is_lifted(tmp_path: Path) -> None:
    for impaired in (True, False):
        with opened(tmp_path) as journal:
            await written(journal, (KeepImpairment(impaired), HardState(2, NODE)))
        for _ in range(2):
            with opened(tmp_path) as journal:
                assert journal.load() == Restored(HardState(2, NODE), impaired=impaired)


@pytest.mark.parametrize(
    "gap",
    [
        AppendEntries(entries(4, 4)),
        AppendEntries((entry(3), entry(5))),
        KeepSnapshot(snapshot(9), 10, replace=False),
        KeepSnapshot(snapshot(2), 4, replace=False),
        batch(3, 3),
    ],
    ids=lambda record: type(record).__name__,
)
def test_a_gap_is_never_written(tmp_path: Path, gap: Record) -> None:
    database = Database(tmp_path, CLUSTER, NODE)
    database.write([(AppendEntries(entries(1, 2)), batch(1, 1))])
    with pytest.raises(AssertionError):
        database.write([(HardState(9, NODE), gap)])
    database.close()
    with opened(tmp_path) as journal:
        assert journal.load() == Restored(entries=entries(1, 2), batches=(batch(1, 1).encoded,))


async def test_a_large_state_is_in_memory_once(tmp_path: Path) -> None:
    state = bytes(range(256)) * (128 * 1024) + b"end"
    kept = snapshot(4, state)
    with opened(tmp_path) as journal:
        tracemalloc.start()
        try:
            await written(journal, (KeepSnapshot(kept, 5, replace=True),))
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert peak < len(state) / 4
    tracemalloc.start()
    try:
        with opened(tmp_path) as journal:
            restored = journal.load()
            assert restored.snapshot == kept
            now, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert now < len(state) * 1.1
    assert peak < len(state) * 1.5


async def test_what_a_large_snapshot_needed_is_given_back(tmp_path: Path) -> None:
    with opened(tmp_path) as journal:
        await written(journal, (KeepSnapshot(snapshot(4, bytes(20_000_000)), 5, True),))
        for sequence in range(2, 6):
            await written(journal, (HardState(sequence, NODE),), first=sequence)
        log = tmp_path / f"{FILE}-wal"
        assert log.stat().st_size <= journal_module.FOLD_SIZE_MAX * 2


def test_starts_count_every_opening(tmp_path: Path) -> None:
    starts = []
    for _ in range(3):
        with opened(tmp_path / "new" / "folder") as journal:
            starts.append(journal.starts)
    assert starts == [1, 2, 3]


async def test_many_writes_share_few_transactions_and_are_confirmed_in_order(
    tmp_path: Path,
) -> None:
    with opened(tmp_path) as journal:
        writes = [(AppendEntries((entry(index),)),) for index in range(1, 3_001)]
        confirmed = await written(journal, *writes)
        assert confirmed == sorted(set(confirmed))
        assert confirmed[-1] == 3_000
        assert journal.transactions <= 100
        assert len(confirmed) == journal.transactions
    with opened(tmp_path) as journal:
        assert len(journal.load().entries) == 3_000


async def test_what_was_asked_for_before_a_large_snapshot_does_not_wait_for_it(
    tmp_path: Path,
) -> None:
    large = snapshot(20, bytes(TRANSACTION_SIZE_MAX))
    with opened(tmp_path) as journal:
        writes = [(AppendEntries((entry(index),)),) for index in range(1, 21)]
        confirmed = await written(
            journal, *writes, (KeepSnapshot(large, 21, replace=False),), (HardState(1, NODE),)
        )
        assert 20 in confirmed
        assert confirmed[-1] == 22
    with opened(tmp_path) as journal:
        assert journal.load().snapshot == large


async def test_writes_with_different_callbacks_are_confirmed_in_order(tmp_path: Path) -> None:
    confirmed: list[tuple[str, int]] = []
    with opened(tmp_path) as journal:
        for sequence in (1, 2):
            journal.write(sequence, (), lambda number: confirmed.append(("first", number)))
        last = asyncio.get_running_loop().create_future()
        journal.write(3, (HardState(1, NODE),), last.set_result)
        async with asyncio.timeout(WAIT_S):
            assert await last == 3
    assert confirmed == [("first", 1), ("first", 2)]


async def test_an_empty_write_is_confirmed_after_what_came_before(tmp_path: Path) -> None:
    with opened(tmp_path) as journal:
        assert (await written(journal, (HardState(1, NODE),), ()))[-1] == 2
        before = journal.transactions
        assert await written(journal, (), first=3) == [3]
        assert journal.transactions == before


async def test_close_writes_what_waits(tmp_path: Path) -> None:
    with opened(tmp_path) as journal:
        for index in range(1, 1_001):
            journal.write(index, (AppendEntries((entry(index),)),), lambda sequence: None)
    with opened(tmp_path) as journal:
        assert len(journal.load().entries) == 1_000
    assert not [each for each in threading.enumerate() if each.name == "journal"]


def until_idle(journal: Journal) -> None:
    """The writer confirms a write before it puts it away."""
    for _ in range(int(WAIT_S * 1_000)):
        if not journal.status().waiting:
            return
        time.sleep(0.001)
    raise AssertionError("the writer is never done")


async def test_a_full_backlog_is_seen_and_has_an_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal_module, "BACKLOG_MAX", 10)
    monkeypatch.setattr(journal_module, "BACKLOG_WRITES_EVER", 20)
    with opened(tmp_path) as journal:
        accepted = 0

        def write_until(full: Callable[[], bool]) -> None:
            nonlocal accepted
            while not full():
                journal.write(accepted + 1, (HardState(accepted, NODE),), lambda sequence: None)
                accepted += 1

        assert journal.status().waiting_s == 0
        with closing(sqlite3.connect(tmp_path / FILE, isolation_level=None)) as blocker:
            blocker.execute("BEGIN IMMEDIATE")  # a disk that does not answer
            write_until(lambda: journal.is_full)
            waits = journal.status()
            assert waits.waiting >= 10
            assert 0 < waits.waiting_s < journal.status().waiting_s
            with pytest.raises(JournalUnwritable, match="writes wait for the disk"):
                write_until(lambda: accepted == 1_000)
            blocker.execute("ROLLBACK")
        monkeypatch.undo()
        assert (await written(journal, (HardState(7, NODE),), first=accepted + 1))[-1] > accepted
        await asyncio.to_thread(until_idle, journal)
        assert not journal.is_full
    with opened(tmp_path) as journal:
        assert journal.load().hard_state.term == 7


async def test_a_backlog_is_full_by_its_bytes_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal_module, "BACKLOG_SIZE_MAX", 1_000)
    with opened(tmp_path) as journal:
        with closing(sqlite3.connect(tmp_path / FILE, isolation_level=None)) as blocker:
            blocker.execute("BEGIN IMMEDIATE")
            journal.write(1, (AppendEntries((entry(1, data=bytes(999)),)),), lambda sequence: None)
            assert not journal.is_full
            journal.write(2, (AppendEntries((entry(2),)),), lambda sequence: None)
            assert journal.is_full
            blocker.execute("ROLLBACK")
        await written(journal, (HardState(7, NODE),), first=3)
        await asyncio.to_thread(until_idle, journal)
        assert not journal.is_full


async def test_a_failed_write_is_never_confirmed_and_nothing_is_written_after(
    tmp_path: Path,
) -> None:
    journal = Journal.open(tmp_path, CLUSTER, NODE)
    await written(journal, (HardState(1, NODE),))
    connection = journal._database._connection
    (pages,) = connection.execute("PRAGMA page_count").fetchone()
    connection.execute(f"PRAGMA max_page_count={pages}").fetchone()  # a full disk
    told = asyncio.get_running_loop().create_future()
    journal.on_failure = told.set_result
    confirmed: list[int] = []
    journal.write(2, (KeepBatch(NODE, 1, 1, bytes(100_000)),), confirmed.append)
    async with asyncio.timeout(WAIT_S):
        failure = await told
    assert isinstance(failure, JournalUnwritable)
    assert "full" in str(failure)
    assert "make room" in str(failure)
    assert journal.failure is failure
    with pytest.raises(JournalUnwritable):
        journal.write(3, (HardState(2, NODE),), confirmed.append)
    with pytest.raises(JournalUnwritable):
        journal.close()
    assert confirmed == []
    with opened(tmp_path) as again:
        assert again.load() == Restored(hard_state=HardState(1, NODE))


# -- refusing --------------------------------------------------------------------------------


def test_the_directory_of_another_cluster_is_refused_with_both_names(tmp_path: Path) -> None:
    with opened(tmp_path, cluster="red"):
        pass
    with pytest.raises(JournalForeign, match=r"cluster 'red', not 'blue': give another"):
        Journal.open(tmp_path, "blue", NODE)
    with opened(tmp_path, cluster="red") as journal:
        assert journal.starts == 2


def test_the_directory_of_another_key_is_refused_with_both_ids(tmp_path: Path) -> None:
    other = Identity(bytes([1]) * 32).node
    with opened(tmp_path):
        pass
    with pytest.raises(JournalForeign, match=rf"{NODE}.*{other}: restore the key"):
        Journal.open(tmp_path, CLUSTER, other)


def test_a_directory_in_use_is_refused_with_the_process(tmp_path: Path) -> None:
    with opened(tmp_path), pytest.raises(JournalInUse, match=f"in use by process {os.getpid()}:"):
        Journal.open(tmp_path, CLUSTER, NODE)
    with opened(tmp_path) as journal:
        assert journal.starts == 2


def test_a_newer_format_is_refused(tmp_path: Path) -> None:
    with opened(tmp_path):
        pass
    change(tmp_path, "PRAGMA user_version=99")
    with pytest.raises(JournalNewer, match="format 99, this version knows up to 8"):
        Journal.open(tmp_path, CLUSTER, NODE)


def test_an_older_format_is_refused(tmp_path: Path) -> None:
    with opened(tmp_path):
        pass
    change(tmp_path, "PRAGMA user_version=1")
    with pytest.raises(JournalOlder, match="format 1, this version needs 8: finish with"):
        Journal.open(tmp_path, CLUSTER, NODE)


def test_a_file_that_is_no_database_is_refused_and_left_alone(tmp_path: Path) -> None:
    content = b"these are not the bytes you look for" * 200
    (tmp_path / FILE).write_bytes(content)
    with pytest.raises(JournalDamaged, match=r"journal\.db is damaged .*move the data directory"):
        Journal.open(tmp_path, CLUSTER, NODE)
    assert (tmp_path / FILE).read_bytes() == content


def test_a_database_of_something_else_is_refused(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / FILE, isolation_level=None)) as database:
        database.execute("CREATE TABLE bookmarks(url TEXT)")
    with pytest.raises(JournalDamaged, match="another kind"):
        Journal.open(tmp_path, CLUSTER, NODE)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_read_only_directory_is_refused(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(JournalUnwritable, match="give a data directory"):
        Journal.open(tmp_path, CLUSTER, NODE)


def test_a_directory_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(JournalUnwritable, match="give a data directory"):
        Journal.open(tmp_path / "file", CLUSTER, NODE)


def test_a_file_that_cannot_be_opened_is_refused(tmp_path: Path) -> None:
    (tmp_path / FILE).mkdir()
    with pytest.raises(JournalUnwritable, match=r"journal\.db cannot be written"):
        Journal.open(tmp_path, CLUSTER, NODE)
    shutil.rmtree(tmp_path / FILE)
    with opened(tmp_path) as journal:  # the lock was given back
        assert journal.starts == 1


# -- collected batches -----------------------------------------------------------------------------


def own_batches(identity: Identity, count: int) -> list[KeepBatch]:
    """So many batches of one entry each, as the store writes them."""
    store = Store(identity, "team", 1_000)
    kept = []
    for number in range(count):
        encoded, merged = store.write([(f"k{number}", b"v")], number)
        kept.append(KeepBatch(merged.author, merged.first, merged.last, encoded))
    return kept


@pytest.mark.parametrize("is_own", [True, False])
async def test_collected_batches_leave_one_place_and_the_history_goes_on(
    tmp_path: Path, is_own: bool
) -> None:
    identity = Identity(b"j" * 32)
    batches = own_batches(identity, 9)
    node = identity.node if is_own else NODE
    author = identity.node
    with opened(tmp_path, node=node) as journal:
        await written(
            journal,
            tuple(batches[:6]),
            (DropBatches(((author, 2), (author, 3))),),
            (batches[6], DropBatches(((author, 4),))),
            (DropBatches(((author, 1),)),),
        )
    with opened(tmp_path, node=node) as journal:
        kept = journal.load()
        assert not journal.damage
        assert kept.batches == tuple(batch.encoded for batch in batches[4:7])
        spans = [(gap.first, gap.last) for gap in kept.collected]
        assert spans == [(1, 4)], "neighbours become one"
        await written(journal, tuple(batches[7:]))
    with opened(tmp_path, node=node) as journal:
        store = Store(identity, "team", 1_000)
        again = journal.load()
        store.restore(again.batches, again.collected)
        assert store.last_of(author) == 9
        assert store.scan() == [f"k{number}" for number in range(4, 9)]


async def test_a_damaged_place_of_an_own_batch_is_noticed(tmp_path: Path) -> None:
    identity = Identity(b"j" * 32)
    batches = own_batches(identity, 4)
    with opened(tmp_path, node=identity.node) as journal:
        await written(journal, tuple(batches), (DropBatches(((identity.node, 2),)),))
    with closing(sqlite3.connect(tmp_path / "journal.db")) as connection:
        connection.execute("UPDATE batches SET last = 9 WHERE first = 2")
        connection.commit()
    with pytest.raises(JournalDamaged, match="own batches"), opened(tmp_path, node=identity.node):
        pass
