"""At which addresses the other nodes see this one: each tells it with the handshake of a dial.

Behind an address translator that is not the address that this node listens on, and then nobody
reaches it unless `--advertise` names one that leads to it. A person who looks for the reason finds
it here; nothing is decided by it, for any node may say what it likes.
"""

from __future__ import annotations

from collections.abc import Callable

from protocol.facts import Fact
from protocol.facts.membership import AddressObserved
from protocol.identity import NodeId

OBSERVERS_MAX = 1_000  # the latest are remembered


class ObservedAddresses:
    """See the module's text. A new address is reported once, as long as anybody sees it."""

    def __init__(self, report: Callable[[Fact], None]) -> None:
        self._report = report
        self._by_observer: dict[NodeId, str] = {}

    def note(self, observer: NodeId, address: str) -> None:
        """A node has told this address; it is empty if the node did not say."""
        if not address:
            return
        if address not in self._by_observer.values():
            self._report(AddressObserved(address, observer))
        self._by_observer.pop(observer, None)
        self._by_observer[observer] = address
        if len(self._by_observer) > OBSERVERS_MAX:
            del self._by_observer[next(iter(self._by_observer))]

    def counts(self) -> dict[str, int]:
        """Each address, and how many nodes saw this one there when it last dialled them."""
        seen = sorted(self._by_observer.values())
        return {address: seen.count(address) for address in dict.fromkeys(seen)}

    def by(self, observer: NodeId) -> str:
        """Where that node sees this one; empty if it has not been dialled from here."""
        return self._by_observer.get(observer, "")
