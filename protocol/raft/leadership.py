"""What a leader does and knows, as long as it leads: replication, commitment, its own end.

    thesis 3.5, 10.2.1   replicate: probe, then pipeline, or send a snapshot
    paper 5.3, 5.4.2     commit what a majority has, if it is of the own term
    thesis 6.2           step down when no majority answers
    thesis 3.10          hand over to somebody who has the whole log
    thesis 4.2.2, 4.3    finish a joint change; leave when no longer a voter

Invariant: `request` numbers everything this leader sends in its term; an answer to it proves that
its sender followed this leader after it was sent.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from protocol import codec
from protocol.clocks import Nanoseconds
from protocol.configuration import left
from protocol.errors import ChangeRefused, RemoteProtocolError
from protocol.facts.agreement import EntriesLost, TransferBegan, TransferEnded
from protocol.identity import NOBODY, NodeId
from protocol.messages.agreement import (
    Append,
    AppendReply,
    EntryKind,
    LogEntry,
    SnapshotPart,
    SnapshotReply,
    TimeoutNow,
)
from protocol.raft.log import ENTRY_OVERHEAD
from protocol.raft.progress import Pace, Progress
from protocol.raft.reads import Reads
from protocol.turn import Turn

if TYPE_CHECKING:
    from protocol.raft.core import Raft


class Leadership:
    """See the module's text."""

    def __init__(self, raft: Raft, now: Nanoseconds) -> None:
        self.raft = raft
        self.request = 0
        self.began_index = raft.log.last_index + 1  # of the no-op
        self.progress: dict[NodeId, Progress] = {}
        self.reads = Reads(self)
        self.transferee: NodeId = NOBODY
        self._transfer_until: Nanoseconds = 0
        self._told_to_campaign = False
        self._heartbeat_at = now + raft.config.heartbeat_ns  # the no-op goes at once
        self._quorum_check_at = now + raft.config.election_timeout_ns
        self._uncommitted_size = 0
        self._notice_at: Nanoseconds | None = None  # when a commit that was held back is told
        self._no_notice_before = now
        self._meet(now, self.began_index)

    def _meet(self, now: Nanoseconds, next_index: int) -> None:
        """Keep progress for all who get the log. Who is new is sent `next_index` next."""
        for node in self.raft.log.configuration.everybody:
            if node != self.raft.node and node not in self.progress:
                self.progress[node] = Progress(next_index, 0, now)

    def _part(self) -> None:
        """Whoever is in no configuration any more has been told so, and gets nothing more."""
        if self.raft.log.configuration_index <= self.raft.commit:
            wanted = self.raft.log.configuration.everybody
            for node in [node for node in self.progress if node not in wanted]:
                del self.progress[node]

    def deadline(self) -> Nanoseconds:
        due = min(self._heartbeat_at, self._quorum_check_at)
        return due if self._notice_at is None else min(due, self._notice_at)

    def tick(self, turn: Turn) -> None:
        """Serve the timers that are due."""
        if turn.now >= self._quorum_check_at and not self._has_quorum(turn):
            self.raft.resign(turn, "no majority answers")
            return
        if self.raft.writes.is_stalled(turn.now):
            self.give_way(turn, "the disk does not answer")
            return
        if self.transferee and turn.now >= self._transfer_until:
            self._end_transfer(turn, self._why_not_over())
        if turn.now >= self._heartbeat_at:
            self._heartbeat_at = turn.now + self.raft.config.heartbeat_ns
            self.broadcast(turn, heartbeat=True)
        elif self._notice_at is not None and turn.now >= self._notice_at:
            self._tell_commits(turn)

    def _has_quorum(self, turn: Turn) -> bool:
        """Whether a majority answered lately (thesis, 6.2)."""
        timeout = self.raft.config.election_timeout_ns
        heard = {node: each.heard_at for node, each in self.progress.items()}
        heard[self.raft.node] = turn.now
        since = self.raft.log.configuration.agreed_index(heard)
        self._quorum_check_at = since + timeout  # the very moment: the others wait for it
        return turn.now < self._quorum_check_at

    # -- sending ---------------------------------------------------------------------------------

    def appended(self, turn: Turn, entries: Sequence[LogEntry]) -> None:
        """Own entries are in the log: send them."""
        self._uncommitted_size += sum(len(entry.data) + ENTRY_OVERHEAD for entry in entries)
        changes_voters = any(entry.kind is EntryKind.VOTERS for entry in entries)
        if changes_voters:
            self._meet(turn.now, entries[0].index)
        self.broadcast(turn)
        self.advance_commit(turn)
        if changes_voters and self.raft.leadership is self:
            self.reads.confirm(turn)  # fewer may have to answer now

    def room_for(self, sizes: Sequence[int]) -> int:
        """How many of commands of these sizes the uncommitted tail has room for (one that is alone
        always goes)."""
        config, log = self.raft.config, self.raft.log
        uncommitted = log.last_index - self.raft.commit
        if uncommitted == 0:
            self._uncommitted_size = 0
        size, count = self._uncommitted_size, 0
        for each in sizes:
            size += each
            if uncommitted and (
                uncommitted >= config.uncommitted_max or size > config.uncommitted_size_max
            ):
                break
            uncommitted += 1
            count += 1
        return count

    def broadcast(self, turn: Turn, heartbeat: bool = False, commit: bool = False) -> None:
        """Send everybody what they lack. A heartbeat goes in any case; so does news of the commit
        index, which is not to be answered."""
        for node, progress in self.progress.items():
            self._replicate(turn, node, progress, heartbeat, commit)

    def _replicate(
        self,
        turn: Turn,
        node: NodeId,
        progress: Progress,
        heartbeat: bool = False,
        commit: bool = False,
    ) -> None:
        """Send what the follower lacks, as far as its window allows."""
        config, log = self.raft.config, self.raft.log
        if progress.pace is Pace.SNAPSHOT:
            if heartbeat:
                self._send_nothing(turn, node, progress)
            return
        sent = False
        while progress.next_index <= log.last_index and progress.may_send(
            config.inflight_max, config.inflight_size_max
        ):
            if log.term_at(progress.next_index - 1) is None:
                self._begin_snapshot(turn, node, progress)
                return
            entries = log.slice(progress.next_index, config.append_size_max)
            self._send_append(turn, node, progress, entries)
            sent = True
        if sent or not (heartbeat or commit):
            return
        if log.term_at(progress.next_index - 1) is None:
            self._begin_snapshot(turn, node, progress)
        elif heartbeat:
            self._send_append(turn, node, progress, ())
        elif progress.pace is Pace.REPLICATE and progress.is_news(self.raft.commit):
            self._tell_commit(turn, node, progress)

    def _send_append(
        self, turn: Turn, node: NodeId, progress: Progress, entries: tuple[LogEntry, ...]
    ) -> None:
        previous = progress.next_index - 1
        previous_term = self.raft.log.term_at(previous)
        assert previous_term is not None
        self.request += 1
        size = sum(len(entry.data) + ENTRY_OVERHEAD for entry in entries)
        progress.sent(self.request, turn.now, len(entries), size)
        progress.told(self.raft.commit, previous + len(entries))
        turn.send(
            node,
            Append(
                self.raft.term, self.request, previous, previous_term, entries, self.raft.commit
            ),
        )

    def _send_nothing(self, turn: Turn, node: NodeId, progress: Progress) -> None:
        """An Append that matches any log, to be answered and no more: the part of a snapshot that
        is on its way is too large to be repeated for that."""
        self.request += 1
        progress.sent(self.request, turn.now, 0, 0)
        turn.send(node, Append(self.raft.term, self.request, 0, 0, (), 0))

    def _tell_commit(self, turn: Turn, node: NodeId, progress: Progress) -> None:
        previous = progress.next_index - 1
        previous_term = self.raft.log.term_at(previous)
        assert previous_term is not None
        progress.told(self.raft.commit, previous)
        turn.send(node, Append(self.raft.term, 0, previous, previous_term, (), self.raft.commit))

    def _begin_snapshot(self, turn: Turn, node: NodeId, progress: Progress) -> None:
        progress.become_snapshot(self.raft.snapshots.encoded())
        self._send_part(turn, node, progress)

    def _send_part(self, turn: Turn, node: NodeId, progress: Progress) -> None:
        """The part that the follower waits for."""
        snapshot = progress.snapshot
        assert snapshot is not None
        self.request += 1
        progress.sent_part(self.request, turn.now, self.raft.config.heartbeat_ns)
        progress.sent(self.request, turn.now, 0, 0)
        end = progress.offset + self.raft.config.snapshot_part_size
        turn.send(
            node,
            SnapshotPart(
                self.raft.term,
                self.request,
                snapshot.index,
                snapshot.digest,
                len(snapshot.data),
                progress.offset,
                snapshot.data[progress.offset : end],
            ),
        )

    def unreachable(self, turn: Turn, node: NodeId) -> None:
        """Messages to the follower are lost: no use to pipeline them, or to hand over to it."""
        progress = self.progress.get(node)
        if progress is None:
            return
        progress.is_reached = False
        if node == self.transferee:
            self._end_transfer(turn, "it cannot be reached")
        if progress.pace is Pace.REPLICATE:
            progress.become_probe(progress.match_index + 1, self.request)

    # -- answers ---------------------------------------------------------------------------------

    def receive_reply(
        self, turn: Turn, sender: NodeId, message: AppendReply | SnapshotReply
    ) -> None:
        """An answer to something that this leader sent in this term."""
        progress = self.progress.get(sender)
        if progress is None:
            return
        if message.request > self.request:
            raise RemoteProtocolError(f"{sender} answers request {message.request}, never sent")
        progress.answered(message.request, turn.now)
        if isinstance(message, SnapshotReply):
            self._snapshot_answered(turn, sender, progress, message)
        elif message.success:
            if message.index > self.raft.log.last_index:
                raise RemoteProtocolError(f"{sender} has entries that its leader never sent")
            self._matched(turn, sender, progress, message.index)
        else:
            self._refused(turn, sender, progress, message)
        if self.raft.leadership is self:
            self.reads.confirm(turn)
        if self.raft.leadership is self and sender in self.progress:
            if progress.is_part_lost(message.request, turn.now):
                self._send_part(turn, sender, progress)  # what was sent later is here: it is lost
            self._replicate(turn, sender, progress)

    def _matched(self, turn: Turn, sender: NodeId, progress: Progress, index: int) -> None:
        raft, pace = self.raft, progress.pace
        if progress.matched(index, self.request, raft.log.first_index):
            self.advance_commit(turn)
        if pace is not progress.pace and raft.leadership is self:
            self._replicate(turn, sender, progress, commit=True)  # it was told nothing so far
        if sender == self.transferee and self.raft.leadership is self:
            self._hand_over_if_ready(turn)

    def _refused(
        self, turn: Turn, sender: NodeId, progress: Progress, message: AppendReply
    ) -> None:
        """The logs do not match where this leader thought. The hint may lie below what is known to
        match, and is then no older for that; but a log that ends below it, in answer to something
        sent after the match was known, has lost what it acknowledged."""
        if message.last_index < progress.match_index and message.request > progress.matched_before:
            turn.report(EntriesLost(sender, progress.match_index, message.last_index))
            progress.forget_match()
        if progress.pace is Pace.SNAPSHOT or 0 < message.request < progress.confirmed:
            return  # older than what goes on now, or than another answer
        if progress.pace is Pace.PROBE and message.request <= progress.probed_after:
            return  # of all that was under way when a first refusal came, one is enough
        hint = min(message.index, self.raft.log.last_index + 1)
        progress.become_probe(hint, self.request)

    def _snapshot_answered(
        self, turn: Turn, sender: NodeId, progress: Progress, message: SnapshotReply
    ) -> None:
        snapshot = progress.snapshot
        if snapshot is None or message.index != snapshot.index:
            return  # of another one
        if message.offset >= len(snapshot.data):
            self._matched(turn, sender, progress, snapshot.index)
        elif message.request >= progress.part_request or message.offset > progress.offset:
            # Anything else was asked before, and would double what is on its way for good.
            if message.offset != progress.offset:
                progress.offset, progress.part_repeats = message.offset, 0
            self._send_part(turn, sender, progress)

    # -- commitment ------------------------------------------------------------------------------

    def advance_commit(self, turn: Turn) -> None:
        """Commit what a majority has on its disks."""
        raft = self.raft
        indexes = {node: progress.match_index for node, progress in self.progress.items()}
        indexes[raft.node] = raft.writes.durable
        agreed = raft.log.configuration.agreed_index(indexes)
        # Only entries of the current term are committed by counting replicas (paper, 5.4.2).
        if agreed <= raft.commit or raft.log.term_at(agreed) != raft.term:
            return
        was_started = raft.commit >= self.began_index
        for at in range(max(raft.commit + 1, self.began_index), agreed + 1):
            self._uncommitted_size -= len(raft.log.entry(at).data) + ENTRY_OVERHEAD
        self._uncommitted_size = max(0, self._uncommitted_size)
        raft.commit_to(turn, agreed)
        self._finish_change(turn)
        if raft.leadership is self:
            if turn.now >= self._no_notice_before:
                self._tell_commits(turn)  # at once: hand-on delay
            elif self._notice_at is None:
                self._notice_at = self._no_notice_before
            self._part()
            if not was_started:
                self.reads.started(turn)

    def _tell_commits(self, turn: Turn) -> None:
        """Tell how far the log is committed: whom no entries have told meanwhile."""
        self._notice_at = None
        self._no_notice_before = turn.now + self.raft.config.commit_notice_ns
        self.broadcast(turn, commit=True)

    def check_change(self) -> None:
        """ChangeRefused unless the voters may be changed now."""
        log, commit = self.raft.log, self.raft.commit
        if commit < self.began_index:
            raise ChangeRefused("this leader has committed nothing of its term yet: wait")
        if log.configuration_index > commit:
            raise ChangeRefused("a change is under way: wait until it is committed")
        if self.transferee:
            raise ChangeRefused(f"leadership is being handed over to {self.transferee}")

    def _finish_change(self, turn: Turn) -> None:
        """After a committed joint configuration comes the new one; a leader that is no longer in
        it leaves once that is committed too (thesis, 4.2.2)."""
        raft = self.raft
        configuration = raft.log.configuration
        if raft.log.configuration_index > raft.commit:
            return
        if configuration.is_joint:
            if not configuration.explicit and raft.commit >= self.began_index:
                raft.append_own(turn, EntryKind.VOTERS, codec.pack_value(left(configuration)))
        elif raft.node not in configuration:
            self.broadcast(turn, commit=True)
            self.give_way(turn, "no longer a voter")

    # -- handing over ----------------------------------------------------------------------------

    def begin_transfer(self, turn: Turn, to: NodeId) -> None:
        """Bring `to` up to date, then let it campaign (thesis, 3.10)."""
        if to == self.transferee:
            return
        if self.transferee:
            self._end_transfer(turn, "another transfer was asked for")
        self.transferee = to
        self._transfer_until = turn.now + self.raft.config.election_timeout_ns
        self._told_to_campaign = False
        turn.report(TransferBegan(self.raft.term, to))
        self._hand_over_if_ready(turn)
        if not self._told_to_campaign:
            self._replicate(turn, to, self.progress[to], heartbeat=True)

    def _hand_over_if_ready(self, turn: Turn) -> None:
        progress = self.progress.get(self.transferee)
        if progress is None or self._told_to_campaign:
            return
        if progress.match_index == self.raft.log.last_index:
            self._told_to_campaign = True
            self._tell_to_campaign(turn, self.transferee)

    def _tell_to_campaign(self, turn: Turn, node: NodeId) -> None:
        # Its request for votes is not held back by anybody's promise, however late it comes.
        self.reads.lease_allowed = False
        turn.send(node, TimeoutNow(self.raft.term))

    def _why_not_over(self) -> str:
        """Why the transfer has not come to its end within an election time-out."""
        if self._told_to_campaign:
            return "it was asked to campaign, and has not been elected in time"
        progress = self.progress.get(self.transferee)
        if progress is None:
            return "it is no voter any more"
        return f"it lacks {self.raft.log.last_index - progress.match_index} entries of the log"

    def _end_transfer(self, turn: Turn, reason: str) -> None:
        turn.report(TransferEnded(self.raft.term, self.transferee, reason))
        self.transferee = NOBODY

    def give_way(self, turn: Turn, reason: str) -> None:
        """Step down in favour of the voter that is furthest, if any was heard of lately: it
        campaigns at once, by this leader's wish, so no promise to this leader is waited for."""
        voters = self.raft.log.configuration.members
        timeout = self.raft.config.election_timeout_ns
        near = [
            node
            for node in voters
            if node in self.progress and turn.now - self.progress[node].heard_at < timeout
        ]
        if near:
            best = max(near, key=lambda node: self.progress[node].match_index)
            self._tell_to_campaign(turn, best)
        self.raft.resign(turn, reason)

    # -- what a majority has answered --------------------------------------------------------------

    def confirmed_request(self) -> int:
        """The newest request that a majority has answered, or answered something later than."""
        confirmed = {node: each.confirmed for node, each in self.progress.items()}
        confirmed[self.raft.node] = self.request
        return self.raft.log.configuration.agreed_index(confirmed)

    def confirmed_at(self) -> Nanoseconds:
        """When something was sent that a majority has answered since."""
        times = {node: each.confirmed_at for node, each in self.progress.items()}
        times[self.raft.node] = 2**62
        return self.raft.log.configuration.agreed_index(times)
