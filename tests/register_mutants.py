"""Registers, clerk, relaying and what feeds them, with one rule removed at a time. A mutant says
which rule, and what takes its place; who notices is in `test_mutants` and
`test_mutants_at_large`."""

from __future__ import annotations

import zlib
from collections.abc import Sequence

from breeding import Breeder

from protocol import codec
from protocol.clerk import Clerk, _Batch
from protocol.clocks import Nanoseconds
from protocol.consensus import Consensus
from protocol.effects import ReadAnswered
from protocol.facts import Fact
from protocol.identity import NodeId
from protocol.messages import Message
from protocol.messages.agreement import ReadReply, Relay
from protocol.registers import Contents, Registers, _pack, _unpack
from protocol.relaying import Relaying, _Seen
from protocol.turn import Turn

BREEDER = Breeder()
MUTANTS = BREEDER.mutants
instead_of = BREEDER.instead_of

# -- the state machine, and its sessions ----------------------------------------------------------

_apply_batch = Registers.apply_batch
_take = Registers.take
_image = Registers.image


@instead_of("AppliesTwice", "a repeated command happens once", (Registers, "apply_batch"))
def apply_twice(self: Registers, index: int, data: bytes) -> list[Fact]:
    number, first, _, commands = _unpack(data, 4)
    session = self.sessions.get(number)
    if session is not None and first <= session.last:
        for command in commands[: session.last + 1 - first]:
            self._apply(command)
    return _apply_batch(self, index, data)


@instead_of("AppliesAhead", "a command waits for those before it", (Registers, "apply_batch"))
def apply_ahead(self: Registers, index: int, data: bytes) -> list[Fact]:
    number, first, _, commands = _unpack(data, 4)
    session = self.sessions.get(number)
    if session is not None and first > session.last + 1:
        for command in commands:
            self._apply(command)
        return []
    return _apply_batch(self, index, data)


@instead_of("ForgetsSessions", "a snapshot has the sessions", (Registers, "take"))
def forget_sessions(self: Registers, contents: Contents) -> None:
    contents.sessions.clear()
    _take(self, contents)


@instead_of("ForgetsNumbers", "a snapshot has how far a session is", (Registers, "image"))
def forget_numbers(self: Registers) -> bytes:
    revision, values, sessions = _unpack(_image(self), 3)
    begun = [[number, node, nonce, 0, at, []] for number, node, nonce, _, at, _ in sessions]
    return _pack([revision, values, begun])


# -- the clerk ------------------------------------------------------------------------------------

_clerk_init = Clerk.__init__
_give_up = Clerk._give_up
_repeat = Clerk._repeat


@instead_of("ReadsUnapplied", "a read waits until its index is applied", (Clerk, "answer_reads"))
def answer_unapplied(self: Clerk, turn: Turn, applied: int) -> None:
    for rounds in self._rounds.values():
        while rounds and rounds[0].index is not None:
            for request, key in rounds.popleft().reads:
                turn.perform(ReadAnswered(request, self.registers.get(key)))
                self._waiting -= 1


@instead_of("DeniesWhatItSent", "what was sent may have happened", (Clerk, "_give_up"))
def deny(self: Clerk, turn: Turn, batch: _Batch, error: str, detail: str) -> None:
    _give_up(self, turn, batch, "NoLeader", detail)


@instead_of("NumbersAnew", "a repeated command keeps its number", (Clerk, "_repeat"))
def number_anew(self: Clerk, turn: Turn) -> None:
    for batch in self._sent:
        batch.first = self._last + 1
        self._last += len(batch.commands)
    _repeat(self, turn)


@instead_of("MixesLives", "an earlier life's answer counts for nothing", (Clerk, "__init__"))
def mix_lives(self: Clerk, *arguments: object) -> None:
    _clerk_init(self, *arguments)  # type: ignore[arg-type]
    self._read_number = 0


@instead_of("ReadsAnywhere", "the leader says which index a read needs", (Consensus, "_read"))
def read_anywhere(self: Consensus, turn: Turn, sender: NodeId, message: object) -> None:
    reply = ReadReply(message.read, self.raft.commit)  # type: ignore[attr-defined]
    if sender == self.node:
        self.clerk.read_confirmed(turn, reply, self.replicated.applied)
    else:
        turn.send(sender, reply)


@instead_of("TakesAnyLog", "what concerns another log is not taken", (Consensus, "_is_same_log"))
def take_any(self: Consensus, now: Nanoseconds, node: NodeId, log: bytes) -> bool:
    return True


# -- the way there --------------------------------------------------------------------------------


@instead_of("TakesRelaysTwice", "a relayed message is taken once", (_Seen, "take"))
def take_again(self: _Seen, number: int) -> bool:
    return True


@instead_of("BelievesRelays", "a relayed message is its origin's", (Relaying, "unwrap"))
def believe_relay(
    self: Relaying, sender: NodeId, relay: Relay, public_key: bytes | None, now: Nanoseconds
) -> bytes | None:
    if relay.destination != self._identity.node or relay.origin == self._identity.node:
        return None
    return relay.frame if self._seen.setdefault(relay.origin, _Seen()).take(relay.number) else None


@instead_of("PassesOnForEver", "a message is passed on once", (Relaying, "may_pass_on"))
def pass_on(self: Relaying, sender: NodeId, relay: Relay) -> bool:
    return relay.destination != self._identity.node


@instead_of("GoesDirectly", "whoever is silent is reached through others", (Relaying, "ways_to"))
def go_directly(
    self: Relaying, node: NodeId, now: Nanoseconds, size: int, others: Sequence[NodeId]
) -> list[NodeId]:
    return []


_decode = codec.decode


@instead_of("IgnoresChecksums", "a damaged frame is refused", (codec, "decode"))
def decode_anything(frame: bytes) -> Message:
    packed = frame[codec.CHECKSUM_SIZE :]
    return _decode(zlib.crc32(packed).to_bytes(codec.CHECKSUM_SIZE, "big") + packed)


@instead_of("SpeaksAllVersions", "a frame of another version is refused", (codec, "decode"))
def decode_any_version(frame: bytes) -> Message:
    packed = bytearray(frame[codec.CHECKSUM_SIZE :])
    if zlib.crc32(packed).to_bytes(codec.CHECKSUM_SIZE, "big") != frame[: codec.CHECKSUM_SIZE]:
        return _decode(frame)  # damaged, which is another matter
    packed[1:2] = bytes((codec.VERSION,))
    return _decode(zlib.crc32(packed).to_bytes(codec.CHECKSUM_SIZE, "big") + packed)
