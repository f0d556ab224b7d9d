"""Checkers of the registers: the history that clients remember is linearizable; a write has one
revision, wherever and whenever it is seen, so it happened once; what definitely failed is never
seen.
"""

from __future__ import annotations

from collections.abc import Sequence

from protocol.sim.host import Host
from protocol.sim.linearizable import Budget, Kind, Operation, Outcome, Verdict, check
from protocol.sim.watch import InvariantBroken

BUDGET = Budget(steps_max=400_000, configurations_max=200_000)


class RegisterChecks:
    """See the module's text. `undecided` counts histories that the budget did not suffice for."""

    def __init__(self) -> None:
        self.undecided = 0
        self._revisions: dict[tuple[str, bytes], int] = {}

    def look(self, hosts: Sequence[Host]) -> None:
        """Every value that a host shows has the revision that it has everywhere."""
        for host in hosts:
            if host.peer is None:
                continue
            for key, held in host.peer.registers.scan():
                known = self._revisions.setdefault((key, held.value), held.revision)
                if known != held.revision:
                    raise InvariantBroken(
                        "exactly_once",
                        f"n{host.number} shows {held.value!r} in {key} at revision "
                        f"{held.revision}, it was written at {known}",
                    )

    def check(self, history: Sequence[Operation]) -> None:
        """At the end."""
        self._check_failed(history)
        report = check(history, BUDGET)
        if report.verdict is Verdict.FALSE:
            assert report.counter_example is not None
            raise InvariantBroken("linearizable", "\n".join(report.counter_example.lines()))
        self.undecided += report.verdict is Verdict.UNKNOWN

    def _check_failed(self, history: Sequence[Operation]) -> None:
        """What was refused for good did not happen."""
        failed = {
            (operation.key, _written(operation))
            for operation in history
            if operation.outcome is Outcome.FAILED and _written(operation) is not None
        }
        for operation in history:
            if operation.kind is Kind.READ and (operation.key, operation.result) in failed:
                raise InvariantBroken(
                    "definite_failure", f"it did not happen, and yet: {operation}"
                )


def _written(operation: Operation) -> object:
    if operation.kind is Kind.WRITE:
        return operation.argument
    if operation.kind is Kind.CAS:
        assert isinstance(operation.argument, tuple)
        return operation.argument[1]
    return None
