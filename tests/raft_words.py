"""Raft's messages, records and states in words, for transcripts and for people."""

from __future__ import annotations

from collections.abc import Sequence

from protocol.configuration import Configuration
from protocol.effects import (
    AppendEntries,
    DropLog,
    HardState,
    KeepImpairment,
    KeepSnapshot,
    Record,
)
from protocol.messages.agreement import (
    Append,
    AppendReply,
    EntryKind,
    Learned,
    LearnRequest,
    LogEntry,
    OfRaft,
    Resigned,
    SnapshotPart,
    SnapshotReply,
    TimeoutNow,
    VoteReply,
    VoteRequest,
)
from protocol.raft.by_hand import RaftNode


def told(message: OfRaft) -> str:
    """A message in words."""
    match message:
        case VoteRequest():
            kind = "would you vote" if message.pre else "vote"
            transfer = ", by the leader's wish" if message.transfer else ""
            end = f"{message.last_index}/{message.last_term}"
            return f"{kind} in term {message.term}? log ends {end}{transfer}"
        case VoteReply():
            word = "yes" if message.granted else f"no, my term is {message.term}"
            return f"{'pre-vote' if message.pre else 'vote'} of {message.asked}: {word}"
        case Append():
            number = f"append {message.request}" if message.request else "news"
            after = f"{message.previous_index}/{message.previous_term}"
            entries = told_entries(message.entries) or "nothing"
            return (
                f"{number} of term {message.term}: after {after} {entries}, commit {message.commit}"
            )
        case AppendReply(success=True):
            return f"answer {message.request}: match to {message.index}"
        case AppendReply():
            return (
                f"answer {message.request} of term {message.term}: no, try {message.index}, "
                f"log ends {message.last_index}"
            )
        case SnapshotPart():
            end = message.offset + len(message.data)
            number = f"part {message.request}" if message.request else "lesson"
            piece = f"bytes {message.offset}-{end} of {message.size}"
            return f"{number}: snapshot {message.index}, {piece}"
        case SnapshotReply():
            return (
                f"answer {message.request}: snapshot {message.index}, have {message.offset} bytes"
            )
        case TimeoutNow():
            return f"campaign at once, my term is {message.term}"
        case Resigned():
            return f"I lead term {message.term} no more"
        case LearnRequest():
            return f"teach me from {message.first}; snapshot {message.snapshot}@{message.offset}"
        case Learned():
            return f"learn {told_entries(message.entries)}, committed {message.committed}"


def told_entries(entries: Sequence[LogEntry]) -> str:
    words = []
    for entry in entries:
        what = entry.data.decode() if entry.kind is EntryKind.COMMAND else entry.kind.name.lower()
        words.append(f"{entry.index}/{entry.term}:{what}")
    return " ".join(words)


def told_record(record: Record) -> str:
    match record:
        case HardState():
            return f"term {record.term} vote {record.vote or '-'}"
        case AppendEntries():
            return told_entries(record.entries)
        case KeepSnapshot():
            rest = "nothing else" if record.replace else f"entries from {record.keep_from}"
            return f"snapshot {record.snapshot.index}, keeping {rest}"
        case KeepImpairment():
            return f"impaired {record.impaired}"
        case DropLog():
            return "no log"
        case _:
            raise AssertionError("not of Raft")


def told_log(node: RaftNode) -> str:
    """Runs of equal terms: 1x1 2x3 is one entry of term 1, then three of term 2."""
    log = node.raft.log
    head = f"[to {log.snapshot_index}]" if log.snapshot_index else ""
    words: list[tuple[int, int]] = []
    for index in range(log.first_index, log.last_index + 1):
        term = log.entry(index).term
        if words and words[-1][0] == term:
            words[-1] = (term, words[-1][1] + 1)
        else:
            words.append((term, 1))
    return head + ",".join(f"{term}x{count}" for term, count in words) or "empty"


def told_voters(node: RaftNode) -> str:
    return told_configuration(node.raft.configuration)


def told_configuration(configuration: Configuration) -> str:
    """voters, &outgoing, +learners, (learners to be)"""
    words = "voters=" + ("".join(configuration.voters) or "-")
    if configuration.outgoing:
        words += "&" + "".join(configuration.outgoing)
    if configuration.learners:
        words += "+" + "".join(configuration.learners)
    if configuration.learners_next:
        words += "(" + "".join(configuration.learners_next) + ")"
    return words
