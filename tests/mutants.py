"""The protocol with one rule removed at a time. Each class says which rule it breaks; the tests
show who notices. Raft's are in `raft_mutants`."""

from __future__ import annotations

from collections.abc import Sequence

from protocol import codec
from protocol.facts import Fact
from protocol.gossip import Gossip
from protocol.identity import NodeId, node_id_of
from protocol.ledger import AcceptResult, Ledger
from protocol.membership import Membership
from protocol.messages import MemberRecord
from protocol.store import Batch, Entry, Gap, Merged, Store, Version, _entries_of, _Key
from protocol.turn import Turn

# -- ledger -------------------------------------------------------------------------------------


class AcceptsTwice(Ledger):
    """What was accepted before is forgotten when a new result comes."""

    def _accept(self, command: AcceptResult, index: int) -> list[Fact]:
        found = self.slot(command.job, command.task, command.slot)
        if found:
            found[1].accepted = found[2].answer = None
        return super()._accept(command, index)


class IgnoresFences(Ledger):
    """A holder that was given up on is accepted all the same."""

    def _accept(self, command: AcceptResult, index: int) -> list[Fact]:
        found = self.slot(command.job, command.task, command.slot)
        if found:
            found[2].fence = 0
        return super()._accept(command, index)


class IgnoresNeeds(Ledger):
    """A result is accepted before what its task needs."""

    def _fault_of(self, job: object, task: object, command: AcceptResult) -> str:
        return ""


# -- store, gossip, membership -------------------------------------------------------------------


class AcceptsGaps(Store):
    """Entries whose predecessors are missing are taken."""

    def merge(self, encoded: bytes) -> Merged | None:
        try:
            return super().merge(encoded)
        except Gap:
            batch = codec.unpack_value(Batch, encoded)
            author = node_id_of(batch.public_key)
            held = self._authors.get(author)
            if held is None:
                Store._take(self, author, 1, (), b"", b"")
                held = self._authors[author]
            held.last = batch.first - 1
            return self._take(author, batch.first, _entries_of(batch), b"", encoded)


class LastArrivalWins(Store):
    """A key has one value: whichever came last."""

    def _apply(self, author: NodeId, sequence: int, entry: Entry) -> None:
        super()._apply(author, sequence, entry)
        version = Version(author, sequence, entry.value, entry.stamp)
        self._keys[entry.key] = _Key(self._keys[entry.key].seen, (version,))


class BelievesAnyBatch(Store):
    """Signatures of batches are not checked."""

    def merge(self, encoded: bytes) -> Merged | None:
        batch = codec.unpack_value(Batch, encoded)
        author = node_id_of(batch.public_key)
        if batch.first != self.last_of(author) + 1:
            return super().merge(encoded)
        link = self._next_link(author, batch.first, batch.body)
        return self._take(author, batch.first, _entries_of(batch), link, encoded)


class PushesEarly(Gossip):
    """An own batch is told before it is durable."""

    def flush(self, turn: Turn, members: Sequence[NodeId]) -> None:
        super().flush(turn, members)
        turn.before += turn.after
        turn.after.clear()


class BelievesAnybody(Membership):
    """Whoever brings a record is taken for its owner."""

    def _is_valid(self, record: MemberRecord) -> bool:
        return True
