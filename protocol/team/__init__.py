"""The team: a job's tasks are taken, done, checked and handed in, and nobody hands them out.

`Team` is one node's part in it: what it takes (`taking`), what it works on (`attempts`) and tells
the others (`notes`, `parts`), what it wants in the log (`wishes`), and what leading adds
(`leading`).
"""

from protocol.team.core import Team
from protocol.team.view import View

__all__ = ["Team", "View"]
