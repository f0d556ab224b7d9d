"""The laboratory: teams of real processes on this machine, faults on them, and what came of it."""
