"""The README's table of rules is what the tests know. To write it anew after a change:

QUORATE_TABLES=write pytest tests/test_mutant_table.py
"""

from __future__ import annotations

import os
import re
from pathlib import Path

import test_exhaustive
import test_raft_storm
from test_mutants import MUTANTS, RULES, whole
from test_mutants_at_large import ASSERTION, LOOSE, SEEDS_TRIED, SWARM

README = Path(__file__).parents[1] / "README.md"
BEGIN, END = "<!-- rules: written by tests/test_mutant_table.py -->\n", "<!-- end of rules -->\n"
# The rules that must be among those that are removed, whatever else is.
ASKED_FOR = {
    "vote not persisted": "VoteForgotten",
    "commit of an older term by counting": "CommitsOldTerms",
    "no pre-vote": "SkipsPreVote",
    "no stickiness": "NeverSticks",
    "stale read without a quorum check": "ReadsAlone",
    "lease read with clock drift": "IgnoresMargin",
    "fencing token ignored": "IgnoresFences",
    "entry applied twice": "AppliesTwice",
    "session forgotten at snapshot": "ForgetsSessions",
    "joint consensus skipped": "OneMajority",
    "learner counted": "CountsLearners",
    "snapshot over newer entries": "TakesOldSnapshots",
    "acknowledged before fsync": "AcknowledgesEarly",
    "stale response counted": "CountsOldAnswers",
    "truncation without conflict": "TruncatesAlways",
    "relay without duplicate check": "TakesRelaysTwice",
    "dot dropped": "DropsDots",
    "tombstone early": "BuriesEarly",
    "collected before all have it": "CollectsEarly",
    "entry without its predecessor": "AcceptsGaps",
    "sibling overwritten": "LastArrivalWins",
    "batch of a forger": "BelievesAnyBatch",
    "own write told before fsync": "PushesEarly",
    "late returner given a delta": "NeverReconciles",
    "hash-first match forged": "ForgesMatch",
    "quota ignored": "NoQuota",
    "suspicion never refuted": "NeverRefutes",
    "foreign refutation accepted": "BelievesAnybody",
    "old accusation heeded": "HeedsOldRumors",
}


def sentences_of(name: str) -> str:
    """The tests that fail without the rule, as sentences."""
    found = []
    for mutant, test in RULES:
        if mutant == name:
            words = whole(test).__name__.removeprefix("test_").replace("_s_", "'s_")
            file = whole(test).__module__.removeprefix("test_")
            found.append(f"{words.replace('_', ' ')} (`{file}`)")
    return "; ".join(found)


def checkers_of(name: str) -> str:
    """Who names what is broken when the mutant is at large, and from which seed on."""
    found = []
    for loose in LOOSE:
        if loose.name == name:
            checkers = " or ".join(
                "an assertion" if checker == ASSERTION else f"`{checker}`"
                for checker in loose.checkers
            )
            plans = "" if loose.plans == SWARM else f" of `{loose.plans}`"
            found.append(f"{checkers}, seed {loose.seed}{plans}")
    found += [
        f"storm: {broken}, seed {seed}"
        for mutant, seed, broken in test_raft_storm.LOOSE
        if mutant == name
    ]
    if name in test_exhaustive.FOUND:
        found.append(f"search: {test_exhaustive.FOUND[name]}")
    return "; ".join(found)


def table() -> str:
    """One row for each rule, in the order of the machines."""
    rows = [
        "| rule | without it this test fails | and this names what is broken |",
        "|---|---|---|",
        *(
            f"| {mutant.rule} | {sentences_of(name)} | {checkers_of(name)} |"
            for name, mutant in MUTANTS.items()
        ),
    ]
    return "\n".join(rows) + "\n"


def section() -> str:
    """What stands between the marks."""
    found = sum(bool(checkers_of(name)) for name in MUTANTS)
    summary = f"{len(MUTANTS)} rules, {found} of them also missed at large"
    return f"<details><summary>{summary}</summary>\n\n{table()}\n</details>\n"


def test_the_readme_has_the_table_of_the_rules() -> None:
    text = README.read_text(encoding="utf-8")
    before, begin, rest = text.partition(BEGIN)
    held, end, after = rest.partition(END)
    assert begin
    assert end
    if os.environ.get("QUORATE_TABLES") == "write":
        README.write_text(before + begin + section() + end + after, encoding="utf-8")
        held = section()
    assert held == section(), "QUORATE_TABLES=write pytest tests/test_mutant_table.py"


def test_the_readme_says_how_many_seeds_are_tried() -> None:
    assert re.search(rf"within\s+{SEEDS_TRIED}\s+seeds", README.read_text(encoding="utf-8"))
    assert test_raft_storm.SEEDS_TRIED == SEEDS_TRIED


def test_every_rule_that_was_asked_for_is_there() -> None:
    assert len(MUTANTS) >= 25
    assert set(ASKED_FOR.values()) <= set(MUTANTS)
    at_large = {loose.name for loose in LOOSE}
    at_large |= {name for name, _, _ in test_raft_storm.LOOSE} | set(test_exhaustive.FOUND)
    assert set(ASKED_FOR.values()) <= at_large


def test_no_cell_breaks_the_table() -> None:
    assert all(line.count("|") == 4 for line in table().splitlines())
