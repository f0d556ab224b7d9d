"""A journal that is not what was written: whatever is not certainly sound is noticed."""

from __future__ import annotations

import random
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from node import write_ahead
from node.database import DAMAGED_KEPT_MAX, WITNESS_FILE
from node.journal import Journal
from node.journal_file import FILE, JournalDamaged, JournalError
from protocol.effects import (
    AppendEntries,
    HardState,
    KeepImpairment,
    KeepMember,
    KeepSnapshot,
    Restored,
)
from protocol.identity import NodeId
from tests.journal_hand import (
    CLUSTER,
    NODE,
    OTHER,
    batch,
    change,
    entries,
    entry,
    member,
    opened,
    snapshot,
    written,
)


async def fill(data_dir: Path, compacted: bool = False) -> Restored:
    """A journal with some of everything; what is in it."""
    with opened(data_dir) as journal:
        await written(
            journal,
            (HardState(3, NODE), KeepMember(member(1)), KeepMember(member(2))),
            (AppendEntries(tuple(entry(at, 3, bytes([at]) * 700) for at in range(1, 41))),),
            tuple(batch(at, at) for at in range(1, 10)),
            tuple(batch(at, at, OTHER) for at in range(1, 10)),
        )
        if compacted:
            kept = KeepSnapshot(snapshot(30, bytes(3_000_000)), 21, replace=False)
            await written(journal, (kept,), first=5)
    with opened(data_dir) as journal:
        assert not journal.damage
        return journal.load()


def put_back(table: str, key: str, past: str, columns: str = "*") -> str:
    """What a write that the disk has lost leaves in the file: the row as it was."""
    return f"REPLACE INTO {table} SELECT {columns} FROM {past} WHERE key = {key}"


def files(data_dir: Path, pattern: str) -> list[str]:
    return sorted(each.name for each in data_dir.glob(pattern))


# -- Raft's part -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("statement", "kept_to", "found"),
    [
        ("UPDATE log SET data = x'00' WHERE key = 20", 19, "log entry 20 of 1..40: wrong"),
        ("UPDATE log SET data = NULL WHERE key = 20", 19, "log entry 20"),
        ("UPDATE log SET term = 4 WHERE key = 20", 19, "log entry 20"),
        ("UPDATE log SET kind = 99 WHERE key = 20", 19, "log entry 20"),
        ("UPDATE log SET key = key + 100 WHERE key = 20", 19, "log entry 20"),
        ("DELETE FROM log WHERE key = 1", 0, "log entry 1 of 1..40: it is missing"),
        ("DELETE FROM log WHERE key = 20", 19, "log entry 20 of 1..40: it is missing"),
        ("DELETE FROM log WHERE key >= 35", 34, "log entry 35 of 1..40: it is missing"),
        ("DELETE FROM log", 0, "log entry 1"),
        ("INSERT INTO log SELECT 41, term, kind, data, checksum FROM log LIMIT 1", 40, "beyond"),
        (
            "REPLACE INTO log SELECT 20, term, kind, data, checksum FROM log WHERE key = 21",
            19,
            "log entry 20",
        ),
    ],
)
async def test_entries_are_kept_up_to_the_damage(
    tmp_path: Path, statement: str, kept_to: int, found: str
) -> None:
    whole = await fill(tmp_path)
    change(tmp_path, statement)
    with opened(tmp_path) as journal:
        kept = journal.load()
        assert found in journal.damage
        assert f"kept as {FILE}.damaged-1" in journal.damage
        assert "\n" not in journal.damage
        assert journal.starts == 3
    assert kept.impaired
    assert kept.entries == whole.entries[:kept_to]
    assert kept.hard_state == whole.hard_state
    assert kept.batches == whole.batches
    assert set(kept.members) == set(whole.members)


async def test_a_damaged_node_is_impaired_until_it_is_told_that_it_is_whole(tmp_path: Path) -> None:
    await fill(tmp_path)
    change(tmp_path, "DELETE FROM log WHERE key = 20")
    with opened(tmp_path) as journal:
        assert journal.damage
        assert journal.load().impaired
    with opened(tmp_path) as journal:
        assert not journal.damage
        assert journal.load().impaired
        refill = AppendEntries(tuple(entry(at, 3) for at in range(20, 60)))
        await written(journal, (refill, KeepImpairment(False)))
    with opened(tmp_path) as journal:
        assert not journal.damage
        kept = journal.load()
        assert not kept.impaired
        assert len(kept.entries) == 59
    assert files(tmp_path, "*damaged*") == [f"{FILE}.damaged-1"]


async def test_the_damaged_file_is_kept_as_it_was(tmp_path: Path) -> None:
    await fill(tmp_path)
    change(tmp_path, "DELETE FROM log WHERE key = 20", "PRAGMA journal_mode=DELETE")
    content = (tmp_path / FILE).read_bytes()
    with opened(tmp_path):
        pass
    aside = tmp_path / f"{FILE}.damaged-1"
    same = sum(a == b for a, b in zip(content, aside.read_bytes(), strict=True))
    assert same > len(content) - 64  # the write-ahead mode is noted in its head
    with closing(sqlite3.connect(aside)) as database:
        assert database.execute("SELECT count(*) FROM log").fetchone() == (39,)


async def test_the_number_of_files_kept_aside_is_bounded(tmp_path: Path) -> None:
    await fill(tmp_path)
    of_others = tmp_path / f"{FILE}.damaged-\N{SUPERSCRIPT TWO}"
    of_others.touch()
    for left in range(30, 20, -1):
        change(tmp_path, f"DELETE FROM log WHERE key = {left}")
        with opened(tmp_path) as journal:
            assert f"damaged-{31 - left}" in journal.damage
            assert len(journal.load().entries) == left - 1
    of_others.unlink()
    names = files(tmp_path, f"{FILE}*")
    assert names == [FILE, *(f"{FILE}.damaged-{number}" for number in (10, 8, 9))]
    assert len(names) == 1 + DAMAGED_KEPT_MAX


async def test_one_sound_copy_of_term_and_vote_is_enough_to_keep_them(tmp_path: Path) -> None:
    for table in ("voting", "voting_copy"):
        whole = await fill(tmp_path / table)
        change(tmp_path / table, f"UPDATE {table} SET value = x'9401a0c2'")
        with opened(tmp_path / table) as journal:
            assert f"term and vote in {table}: wrong checksum" in journal.damage
            kept = journal.load()
        assert kept.impaired
        assert kept.hard_state == whole.hard_state
        assert kept.entries == whole.entries


async def test_a_vote_that_the_disk_has_taken_back_is_noticed(tmp_path: Path) -> None:
    await fill(tmp_path)
    for number, stale in enumerate(("voting", "voting_copy"), 4):
        change(
            tmp_path,
            f"ATTACH '{tmp_path}/past' AS p",
            f"CREATE TABLE p.t{number} AS SELECT * FROM {stale}",
        )
        with opened(tmp_path) as journal:
            await written(journal, (HardState(number, OTHER), KeepImpairment(False)))
        change(tmp_path, f"ATTACH '{tmp_path}/past' AS p", put_back(stale, "0", f"p.t{number}"))
        with opened(tmp_path) as journal:
            assert "one of two copies is out of date" in journal.damage
            kept = journal.load()
            assert kept.impaired
            assert kept.hard_state == HardState(number, OTHER)


@pytest.mark.parametrize("key", ["extent", "log"])
async def test_an_append_that_the_disk_has_taken_back_is_noticed(tmp_path: Path, key: str) -> None:
    whole = await fill(tmp_path)
    change(
        tmp_path, f"ATTACH '{tmp_path}/past' AS p", f"CREATE TABLE p.past AS SELECT * FROM {key}"
    )
    with opened(tmp_path) as journal:
        await written(journal, (AppendEntries(entries(41, 50)),))
        starts = journal.starts
    change(
        tmp_path,
        f"ATTACH '{tmp_path}/past' AS p",
        f"DELETE FROM {key}",
        f"INSERT INTO {key} SELECT * FROM p.past",
    )
    (tmp_path / WITNESS_FILE).unlink()
    if key == "extent":  # it lies in another page than the count of starts
        with pytest.raises(JournalDamaged, match=f"{starts} starts counted, {starts - 1} made"):
            Journal.open(tmp_path, CLUSTER, NODE)
        return
    with opened(tmp_path) as journal:
        assert "log entry 41 of 1..50: it is missing" in journal.damage
        kept = journal.load()
    assert kept.impaired
    assert kept.entries == whole.entries


async def test_without_term_and_vote_nothing_of_the_log_is_kept(tmp_path: Path) -> None:
    whole = await fill(tmp_path, compacted=True)
    change(tmp_path, "DELETE FROM voting", "UPDATE voting_copy SET checksum = 1")
    with opened(tmp_path) as journal:
        kept = journal.load()
    assert kept.impaired
    assert (kept.hard_state, kept.snapshot, kept.entries) == (HardState(0, NodeId("")), None, ())
    assert kept.batches == whole.batches


async def test_without_the_extent_nothing_of_the_log_is_kept(tmp_path: Path) -> None:
    whole = await fill(tmp_path, compacted=True)
    change(tmp_path, "UPDATE extent SET last = last + 1")
    with opened(tmp_path) as journal:
        kept = journal.load()
    assert kept.impaired
    assert (kept.hard_state, kept.snapshot, kept.entries) == (whole.hard_state, None, ())


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE snapshot SET value = zeroblob(1048576) WHERE key = 0",
        "UPDATE snapshot SET value = x'01' WHERE key = 2",
        "DELETE FROM snapshot WHERE key = 1",
        "DELETE FROM snapshot WHERE key = 3",
        "DELETE FROM snapshot",
        "UPDATE snapshot SET key = key + 10 WHERE key > 1",
    ],
)
async def test_without_its_snapshot_a_compacted_log_is_not_kept(
    tmp_path: Path, statement: str
) -> None:
    whole = await fill(tmp_path, compacted=True)
    assert whole.snapshot is not None
    change(tmp_path, statement)
    with opened(tmp_path) as journal:
        assert "snapshot 30: " in journal.damage
        kept = journal.load()
    assert kept.impaired
    assert (kept.hard_state, kept.snapshot, kept.entries) == (whole.hard_state, None, ())


async def test_a_sound_snapshot_is_kept_and_the_entries_that_still_touch_it(tmp_path: Path) -> None:
    for lost, kept_to in ((40, 39), (32, 31), (31, 30), (29, None), (21, None)):
        folder = tmp_path / str(lost)
        whole = await fill(folder, compacted=True)
        change(folder, f"DELETE FROM log WHERE key = {lost}")
        with opened(folder) as journal:
            kept = journal.load()
        assert kept.impaired
        assert kept.snapshot == whole.snapshot
        assert kept.entries == tuple(each for each in whole.entries if each.index <= (kept_to or 0))
        with opened(folder) as journal:
            assert not journal.damage
            assert journal.load().snapshot == whole.snapshot


# -- gossip's part ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("statement", "kept_of_other"),
    [
        (f"UPDATE batches SET last = last + 1 WHERE author = '{OTHER}' AND first = 4", 3),
        (f"UPDATE batches SET value = NULL WHERE author = '{OTHER}' AND first = 4", 3),
        (f"UPDATE batches SET author = x'ff' WHERE author = '{OTHER}' AND first = 4", 3),
        (f"DELETE FROM batches WHERE author = '{OTHER}' AND first = 4", 3),
    ],
)
async def test_batches_of_others_are_dropped_from_the_damage_on(
    tmp_path: Path, statement: str, kept_of_other: int
) -> None:
    whole = await fill(tmp_path)
    change(tmp_path, statement)
    with opened(tmp_path) as journal:
        assert "of other nodes were dropped" in journal.damage
        kept = journal.load()
    own = tuple(batch(at, at).encoded for at in range(1, 10))
    others = tuple(batch(at, at, OTHER).encoded for at in range(1, kept_of_other + 1))
    assert sorted(kept.batches) == sorted(own + others)
    assert not kept.impaired
    assert kept.entries == whole.entries
    assert kept.late, "it may be given what it had deleted (seed 8644)"
    assert not whole.late
    with opened(tmp_path) as journal:
        assert not journal.damage
        assert journal.load().late, "until somebody has told it what counts"


async def test_members_records_are_dropped_if_damaged(tmp_path: Path) -> None:
    await fill(tmp_path)
    change(tmp_path, f"UPDATE members SET value = x'00' WHERE key = '{member(1).node}'")
    with opened(tmp_path) as journal:
        assert "members: 1 records were dropped" in journal.damage
        kept = journal.load()
    assert kept.members == (member(2),)
    assert not kept.impaired


# -- what a node cannot do without -----------------------------------------------------------------


@pytest.mark.parametrize(
    "statement",
    [
        f"UPDATE batches SET value = x'00' WHERE author = '{NODE}' AND first = 4",
        f"UPDATE batches SET author = 'else' WHERE author = '{NODE}' AND first = 9",
        f"DELETE FROM batches WHERE author = '{NODE}' AND first = 4",
        f"DELETE FROM batches WHERE author = '{NODE}' AND first = 9",
        f"DELETE FROM batches WHERE author = '{NODE}'",
        "DELETE FROM meta WHERE key = 'own'",
        "UPDATE meta SET value = x'a139' WHERE key = 'starts'",
        "DELETE FROM meta WHERE key = 'starts'",
        "DELETE FROM meta",
        "DROP TABLE members",
        "DROP TABLE log",
        "CREATE INDEX more ON log(term)",
    ],
)
async def test_a_node_does_not_go_on_without_what_it_alone_knows(
    tmp_path: Path, statement: str
) -> None:
    await fill(tmp_path)
    change(tmp_path, statement)
    before = (tmp_path / FILE).read_bytes()
    for _ in range(2):
        with pytest.raises(JournalDamaged, match=r"journal\.db is damaged .*join again"):
            Journal.open(tmp_path, CLUSTER, NODE)
    assert (tmp_path / FILE).read_bytes() == before
    assert not files(tmp_path, "*damaged*")


async def test_an_older_copy_of_the_file_is_refused(tmp_path: Path) -> None:
    await fill(tmp_path)
    older = (tmp_path / FILE).read_bytes()
    with opened(tmp_path) as journal:
        await written(journal, (HardState(4, OTHER),), (HardState(5, OTHER),))
    (tmp_path / FILE).write_bytes(older)
    for _ in range(2):
        with pytest.raises(JournalDamaged, match=r"the last \d transactions are missing"):
            Journal.open(tmp_path, CLUSTER, NODE)


# -- bytes -----------------------------------------------------------------------------------------


def judge(folder: Path, whole: Restored) -> str:
    """Open a file that may be damaged: how that went. Nothing may be wrong that is not said."""
    try:
        with opened(folder) as journal:
            kept = journal.load()
            damage = journal.damage
    except JournalError as error:
        return "refused" if str(error).count("\n") == 0 else str(error)
    if not damage:
        assert kept == whole
        return "whole"
    assert set(kept.members) <= set(whole.members)
    assert {batch(at, at).encoded for at in range(1, 10)} <= set(kept.batches) <= set(whole.batches)
    if not kept.impaired:
        assert (kept.hard_state, kept.entries) == (whole.hard_state, whole.entries)
        return "mended"
    assert kept.hard_state in (whole.hard_state, HardState(0, NodeId("")))
    assert kept.entries == whole.entries[: len(kept.entries)]
    return "impaired"


async def test_a_flipped_byte_is_harmless_or_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(write_ahead, "SIZE", 4096)  # to open many files fast
    whole = await fill(tmp_path / "whole")
    content = (tmp_path / "whole" / FILE).read_bytes()
    places = random.Random(2)
    went: dict[str, int] = {}
    for at in [*range(16, 100, 4), *(places.randrange(len(content)) for _ in range(150))]:
        flipped = bytearray(content)
        flipped[at] ^= 0xFF
        verdict = judge_content(tmp_path / "flipped", bytes(flipped), whole)
        went[verdict] = went.get(verdict, 0) + 1
    assert went.keys() - {"mended"} == {"whole", "impaired", "refused"}
    assert went["impaired"] > 50


async def test_a_page_that_is_lost_or_misplaced_is_harmless_or_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(write_ahead, "SIZE", 4096)  # to open many files fast
    whole = await fill(tmp_path / "whole")
    content = (tmp_path / "whole" / FILE).read_bytes()
    pages = [content[at : at + 4096] for at in range(0, len(content), 4096)]
    for at in range(len(pages)):
        for wrong in (bytes(4096), pages[at - 1]):
            damaged = b"".join([*pages[:at], wrong, *pages[at + 1 :]])
            judge_content(tmp_path / "damaged", damaged, whole)
    for size in range(0, len(content), 4096 * 3):
        judge_content(tmp_path / "damaged", content[: size + 4096], whole)


def judge_content(folder: Path, content: bytes, whole: Restored) -> str:
    folder.mkdir()
    (folder / FILE).write_bytes(content)
    try:
        return judge(folder, whole)
    finally:
        shutil.rmtree(folder)
