"""What was confirmed is there after whatever happened; what is not sound is refused."""

from __future__ import annotations

import asyncio
import os
import random
import shutil
import sqlite3
import subprocess
import sys
import textwrap
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from node import journal as journal_module
from node.journal_file import (
    FILE,
    JournalDamaged,
    JournalError,
    JournalForeign,
    JournalInUse,
    JournalNewer,
    JournalUnwritable,
)
from node.journal import Journal
from protocol.effects import AppendEntries, HardState, KeepBatch, KeepMember, Record, Restored
from protocol.errors import Busy
from protocol.identity import Identity, NodeId
from protocol.messages import EntryKind, LogEntry, MemberRecord

CLUSTER = "test"
NODE = Identity(bytes(32)).node
WAIT_S = 10.0


@contextmanager
def opened(data_dir: Path, cluster: str = CLUSTER, node: NodeId = NODE) -> Iterator[Journal]:
    journal = Journal.open(data_dir, cluster, node)
    try:
        yield journal
    finally:
        journal.close()


def entry(index: int, term: int = 1, data: bytes = b"data") -> LogEntry:
    return LogEntry(index, term, EntryKind.COMMAND, data)


def member(number: int, incarnation: int = 0) -> MemberRecord:
    key = Identity(bytes([number]) * 32).public_key
    return MemberRecord(key, "n", ("h:1",), 1, incarnation, False, (("a", "b"),), bytes(64))


async def written(journal: Journal, *writes: tuple[Record, ...], first: int = 1) -> list[int]:
    """Write each and wait for the last; the sequences with which `done` was called."""
    loop = asyncio.get_running_loop()
    confirmed: list[int] = []
    last = loop.create_future()

    def done(sequence: int) -> None:
        confirmed.append(sequence)
        if sequence == first + len(writes) - 1:
            last.set_result(None)

    for sequence, records in enumerate(writes, first):
        journal.write(sequence, records, done)
    async with asyncio.timeout(WAIT_S):
        await last
    return confirmed


# -- keeping ---------------------------------------------------------------------------------


async def test_every_kind_of_record_is_there_after_reopening(tmp_path: Path) -> None:
    author, other = NodeId("bb"), NodeId("aa")
    with opened(tmp_path) as journal:
        assert journal.load() == Restored()
        await written(
            journal,
            (HardState(1, NODE), AppendEntries((entry(1), entry(2)))),
            (KeepBatch(author, 3, 9, b"b3"), KeepBatch(author, 1, 2, b"b1")),
            (KeepBatch(other, 1, 1, b"a1"), KeepMember(member(1)), KeepMember(member(1, 5))),
            (HardState(2, NodeId("")), KeepBatch(author, 10, 10, b"b10"), KeepMember(member(2))),
        )
    with opened(tmp_path) as journal:
        kept = journal.load()
    assert kept.hard_state == HardState(2, NodeId(""))
    assert kept.entries == (entry(1), entry(2))
    assert kept.batches == (b"a1", b"b1", b"b3", b"b10")
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


async def test_a_full_backlog_is_refused_and_may_be_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal_module, "BACKLOG_MAX", 10)
    with opened(tmp_path) as journal:
        accepted = 0

        def write_without_end() -> None:
            nonlocal accepted
            while accepted < 1_000:
                journal.write(accepted + 1, (HardState(accepted, NODE),), lambda sequence: None)
                accepted += 1

        with closing(sqlite3.connect(tmp_path / FILE, isolation_level=None)) as blocker:
            blocker.execute("BEGIN IMMEDIATE")  # a disk that does not answer
            with pytest.raises(Busy, match="wait for the disk"):
                write_without_end()
            blocker.execute("ROLLBACK")
        assert 10 <= accepted < 1_000
        monkeypatch.undo()
        assert (await written(journal, (HardState(7, NODE),), first=accepted + 1))[-1] > accepted
    with opened(tmp_path) as journal:
        assert journal.load().hard_state.term == 7


async def test_a_failed_write_is_never_confirmed_and_nothing_is_written_after(
    tmp_path: Path,
) -> None:
    journal = Journal.open(tmp_path, CLUSTER, NODE)
    await written(journal, (HardState(1, NODE),))
    pages = journal._database._number("PRAGMA page_count")
    journal._database._number(f"PRAGMA max_page_count={pages}")  # a full disk
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


WRITER_PROCESS = """
    import asyncio, sys
    from pathlib import Path
    from node.journal import Journal
    from protocol.effects import AppendEntries, HardState
    from protocol.identity import Identity, NodeId
    from protocol.messages import EntryKind, LogEntry

    async def main():
        journal = Journal.open(Path(sys.argv[1]), "test", Identity(bytes(32)).node)
        at = confirmed = len(journal.load().entries)
        def done(sequence):
            nonlocal confirmed
            confirmed = sequence
            sys.stdout.write(f"{sequence}\\n")
            sys.stdout.flush()
        while True:
            if at - confirmed < 100:
                at += 1
                entry = LogEntry(at, 1, EntryKind.COMMAND, bytes(at % 5000))
                journal.write(at, (HardState(at, NodeId("")), AppendEntries((entry,))), done)
            await asyncio.sleep(0)

    asyncio.run(main())
"""


def test_kill_minus_nine_never_loses_what_was_confirmed(tmp_path: Path) -> None:
    moments = random.Random(1)
    program = textwrap.dedent(WRITER_PROCESS)
    for _ in range(5):
        command = [sys.executable, "-c", program, str(tmp_path)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            lines = [process.stdout.readline() for _ in range(moments.randint(1, 40))]
            process.kill()
            lines += process.stdout.readlines()
            # A line that the kill cut short is a shorter number, so it asks for less.
            confirmed = max(int(line) for line in lines if line.strip())
        with opened(tmp_path) as journal:
            kept = journal.load()
            assert len(kept.entries) >= confirmed > 0
            assert kept.hard_state.term == len(kept.entries)


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
    with closing(sqlite3.connect(tmp_path / FILE, isolation_level=None)) as database:
        database.execute("PRAGMA user_version=99")
    with pytest.raises(JournalNewer, match="format 99, this version knows up to 1"):
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


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE log SET value = x'00' WHERE key = 2",
        "UPDATE log SET value = (SELECT value FROM log WHERE key = 1) WHERE key = 2",
        "UPDATE log SET value = NULL WHERE key = 2",
        "DELETE FROM log WHERE key = 2",
        "UPDATE batches SET last = last + 1",
        "UPDATE members SET checksum = checksum + 1",
        "UPDATE hard_state SET value = x'920000'",
        "UPDATE meta SET value = x'a139' WHERE key = 'starts'",
        "DROP TABLE members",
    ],
)
async def test_a_changed_row_is_refused_at_opening(tmp_path: Path, change: str) -> None:
    await fill(tmp_path)
    with closing(sqlite3.connect(tmp_path / FILE, isolation_level=None)) as database:
        database.execute(change)
    with pytest.raises(JournalDamaged, match=r"journal\.db is damaged .*join again"):
        Journal.open(tmp_path, CLUSTER, NODE)


async def fill(data_dir: Path) -> Restored:
    with opened(data_dir) as journal:
        await written(
            journal,
            (HardState(3, NODE), KeepMember(member(1)), KeepMember(member(2))),
            (
                AppendEntries(
                    tuple(entry(index, 3, bytes([index]) * 700) for index in range(1, 40))
                ),
            ),
            tuple(KeepBatch(NODE, at, at, bytes([at]) * 3_000) for at in range(1, 10)),
        )
    with opened(data_dir) as journal:
        return journal.load()


async def test_flipped_bytes_are_refused_or_harmless(tmp_path: Path) -> None:
    whole = await fill(tmp_path / "whole")
    content = (tmp_path / "whole" / FILE).read_bytes()
    places = random.Random(2)
    refused: list[str] = []
    for at in [*range(16, 100, 4), *(places.randrange(len(content)) for _ in range(150))]:
        folder = tmp_path / "flipped"
        folder.mkdir()
        flipped = bytearray(content)
        flipped[at] ^= 0xFF
        (folder / FILE).write_bytes(flipped)
        try:
            with opened(folder) as journal:
                assert journal.load() == whole, at
                assert journal.starts == 3
        except JournalError as error:
            refused.append(str(error))
        shutil.rmtree(folder)
    assert len(refused) > 75
    assert not [message for message in refused if "\n" in message]


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
