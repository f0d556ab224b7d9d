"""The packaged job lists, and the verification tests that belong to their files.

`names` and `load` are the lists; `checks_for` gives the same tests to a foreign job whose tasks
ask for the same functions (`asks_for`), as the task files of arXiv 2603.12229 do.
"""

from node.lists.checks import Checks, checks_for
from node.lists.packaged import SHAPES, SUITES, asks_for, load, names

__all__ = ["SHAPES", "SUITES", "Checks", "asks_for", "checks_for", "load", "names"]
