"""Whether a history of registers is linearizable: whether each operation can have had its effect at
one instant between its call and its return (Herlihy and Wing 1990).

    operations   what a client called, and what it knows of the end
    rules        what one register's operations need and give, as numbers
    search       one register: Wing and Gong's search with Lowe's memory
    checking     all registers of a history, in turn, within a budget
    shrinking    the few operations that are enough to see that there is no order

Registers are independent: a history is linearizable if and only if that of each register is.
"""

from protocol.sim.linearizable.checking import (
    Budget,
    CounterExample,
    Report,
    Verdict,
    check,
    key_shown,
)
from protocol.sim.linearizable.operations import Kind, Operation, Outcome, distinct

__all__ = [
    "Budget",
    "CounterExample",
    "Kind",
    "Operation",
    "Outcome",
    "Report",
    "Verdict",
    "check",
    "distinct",
    "key_shown",
]
