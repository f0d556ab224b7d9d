"""When many accuse a member, one more probe changes nothing: what is saved then, and what not."""

from __future__ import annotations

from member_hand import CONFIG, Town, accusation

from protocol.clocks import MILLISECOND
from protocol.facts.membership import MemberSuspected
from protocol.messages.membership import (
    MemberSync,
    News,
    Probe,
    ProbeAck,
    ProbeRequest,
)

SUSPECT = 5


def accused_town(accusers: int, size: int = 8) -> Town:
    """One member is silent, and node 0 has heard of so many that get no answer from it."""
    town = Town(size)
    town.settle_in()
    town.sent.clear()
    town.isolate(SUSPECT)
    accuse(town, accusers)
    return town


def accuse(town: Town, accusers: int) -> None:
    """Node 0 hears it of each of them."""
    for accuser in range(1, 1 + accusers):
        said = MemberSync(News((), (accusation(town, SUSPECT, accuser=accuser),)))
        town.receive(0, town.nodes[accuser], said)


def sequence_of_probe(town: Town) -> int:
    """Of the one that node 0 has sent to the suspect, for it looks for itself."""
    sent = [said for at, to, said in town.sent if (at, to) == (0, SUSPECT)]
    return next(said.sequence for said in sent[::-1] if isinstance(said, Probe))


def test_who_is_accused_by_many_is_probed_without_helpers_and_may_answer_late() -> None:
    """A late answer tells that the link works, however many say that it does not."""
    town = accused_town(CONFIG.confirmations_max + 1)
    node = town.nodes[SUSPECT]
    town.run(CONFIG.probe_timeout_ns + MILLISECOND)
    assert town.machine(0).is_troubled(node)
    requests = [said for at, _, said in town.sent if at == 0 and isinstance(said, ProbeRequest)]
    assert requests == []
    town.receive(0, node, ProbeAck(sequence_of_probe(town), True, News()))
    assert not town.machine(0).is_troubled(node)


def test_a_probe_without_helpers_ends_all_the_same() -> None:
    town = accused_town(CONFIG.confirmations_max + 1)
    sequence = sequence_of_probe(town)
    town.run(4 * CONFIG.probe_timeout_ns)
    assert sequence not in town.machine(0)._probing._probes


def test_who_has_refuted_meanwhile_is_not_accused_without_anybody_asked_to_help() -> None:
    """The record that many accused is not the one that it has now."""
    town = Town(8)
    town.settle_in()
    town.sent.clear()
    town.cut = {(0, SUSPECT), (SUSPECT, 0)}
    accuse(town, CONFIG.confirmations_max + 1)
    town.run(CONFIG.probe_timeout_ns + 20 * MILLISECOND)
    said = MemberSync(News((), (accusation(town, SUSPECT, accuser=1),)))
    town.receive(SUSPECT, town.nodes[1], said)
    town.receive(0, town.nodes[1], MemberSync(News((town.machine(SUSPECT).own,))))
    town.facts.clear()
    town.run(2 * CONFIG.probe_timeout_ns)
    assert town.told(MemberSuspected, at=0) == []
