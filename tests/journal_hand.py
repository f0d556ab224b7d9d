"""A journal by hand: opening it, writing and waiting, and what there is to write."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from node.journal import Journal
from node.journal_file import FILE
from protocol.configuration import Configuration
from protocol.effects import KeepBatch, Record, Snapshot
from protocol.identity import Identity, NodeId
from protocol.messages.agreement import EntryKind, LogEntry
from protocol.messages.membership import MemberRecord

CLUSTER = "test"
NODE = Identity(bytes(32)).node
OTHER = NodeId("other")
WAIT_S = 30.0


@contextmanager
def opened(data_dir: Path, cluster: str = CLUSTER, node: NodeId = NODE) -> Iterator[Journal]:
    journal = Journal.open(data_dir, cluster, node)
    try:
        yield journal
    finally:
        journal.close()


def entry(index: int, term: int = 1, data: bytes = b"data") -> LogEntry:
    return LogEntry(index, term, EntryKind.COMMAND, data)


def entries(first: int, last: int, term: int = 1) -> tuple[LogEntry, ...]:
    return tuple(entry(index, term) for index in range(first, last + 1))


def snapshot(index: int, state: bytes = b"state", term: int = 1) -> Snapshot:
    voters = Configuration((NODE, OTHER), learners=(NodeId("learner"),))
    return Snapshot(index, term, voters, 1, bytes(16), b"origin", state)


def batch(first: int, last: int, author: NodeId = NODE) -> KeepBatch:
    return KeepBatch(author, first, last, f"{author} {first}-{last}".encode())


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


def change(data_dir: Path, *statements: str) -> None:
    """Do this to a closed journal's file behind its back."""
    with closing(sqlite3.connect(data_dir / FILE, isolation_level=None)) as database:
        for statement in statements:
            database.execute(statement)
