"""sqlite's write-ahead log after a crash: what was torn may vanish, what was confirmed may not."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from node import write_ahead
from node.database import WITNESS_FILE
from node.journal import Journal
from node.journal_file import FILE, JournalDamaged
from protocol.effects import AppendEntries
from tests.journal_hand import CLUSTER, NODE, entries, entry, opened, written

LOG = write_ahead.log_of(Path(FILE)).name


async def crashed(folder: Path, writes: int) -> Path:
    """The files of a node that crashed after that many transactions of one entry each."""
    with opened(folder / "running") as journal:
        for index in range(1, writes + 1):
            await written(journal, (AppendEntries((entry(index),)),), first=index)
        files = (FILE, LOG, WITNESS_FILE)
        (folder / "crashed").mkdir()
        for name in files:
            shutil.copyfile(folder / "running" / name, folder / "crashed" / name)
    return folder / "crashed"


def spoil(log: Path, frame: int, at: int = 100) -> None:
    content = bytearray(log.read_bytes())
    content[32 + (frame - 1) * (24 + 4096) + at] ^= 0xFF
    log.write_bytes(content)


def last_frame(log: Path) -> int:
    content = log.read_bytes()
    steps = range(32, len(content) - 4120, 4120)
    return sum(content[at : at + 4] != bytes(4) for at in steps)


async def test_a_crash_loses_nothing(tmp_path: Path) -> None:
    folder = await crashed(tmp_path, 20)
    with opened(folder) as journal:
        assert not journal.damage
        assert journal.load().entries == entries(1, 20)


async def test_a_torn_transaction_vanishes_as_a_whole(tmp_path: Path) -> None:
    folder = await crashed(tmp_path, 20)
    (folder / WITNESS_FILE).unlink()  # it has not been confirmed, so nobody knows of it
    spoil(folder / LOG, last_frame(folder / LOG))
    with opened(folder) as journal:
        assert not journal.damage
        assert journal.load().entries == entries(1, 19)


async def test_confirmed_transactions_that_vanish_with_a_frame_are_noticed(tmp_path: Path) -> None:
    folder = await crashed(tmp_path, 20)
    (folder / WITNESS_FILE).unlink()
    spoil(folder / LOG, 9)
    before = (folder / LOG).read_bytes(), (folder / FILE).read_bytes()
    for _ in range(2):
        with pytest.raises(JournalDamaged, match=r"breaks off after frame 8, with \d+ transact"):
            Journal.open(folder, CLUSTER, NODE)
    assert ((folder / LOG).read_bytes(), (folder / FILE).read_bytes()) == before


def zero(log: Path) -> None:
    log.write_bytes(bytes(32) + log.read_bytes()[32:])


def flip_header(log: Path) -> None:
    spoil(log, 1, -12)


def empty(log: Path) -> None:
    log.write_bytes(b"")


def spoil_last(log: Path) -> None:
    spoil(log, last_frame(log))


@pytest.mark.parametrize("spoiled", [zero, flip_header, empty, spoil_last, Path.unlink])
async def test_a_lost_write_ahead_log_is_noticed(
    tmp_path: Path, spoiled: Callable[[Path], None]
) -> None:
    folder = await crashed(tmp_path, 20)
    spoiled(folder / LOG)
    for _ in range(2):
        with pytest.raises(JournalDamaged, match=r"write-ahead log|transactions are missing"):
            Journal.open(folder, CLUSTER, NODE)


async def test_looking_into_a_crashed_nodes_file_does_no_harm(tmp_path: Path) -> None:
    folder = await crashed(tmp_path, 20)
    with closing(sqlite3.connect(folder / FILE)) as client:
        assert client.execute("SELECT max(key) FROM log").fetchone() == (20,)
    assert not (folder / LOG).exists()  # folded by whoever closes the file last
    with opened(folder) as journal:
        assert not journal.damage
        assert journal.load().entries == entries(1, 20)
