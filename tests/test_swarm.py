"""Many seeds at once: the pool, its summary, and the verb's options."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
from command_line import quorate, quorate_here

from node.lab.swarm import FAILED_MAX, Row, Swarm, run_seed, run_swarm
from protocol.sim.scenario import Verdict, simulate

GOOD = Row(
    1, Verdict.HELD, "", 10.0, 100, 110, (("crash", 2), ("cut", 1)), "quorate sim --seed 1", ""
)
BAD = replace(GOOD, seed=2, verdict=Verdict.INVARIANT_BROKEN, checker="fencing", command="repeat 2")


def test_a_swarm_comes_to_the_same_as_its_seeds_one_by_one() -> None:
    told: list[int] = []
    swarm = run_swarm(8, 3, jobs=2, told=lambda _, row: told.append(row.seed))
    assert sorted(told) == [8, 9, 10]
    alone = [simulate(seed) for seed in told]
    assert swarm.steps == sum(outcome.steps for outcome in alone)
    assert swarm.events == sum(outcome.events for outcome in alone)
    assert swarm.verdicts == {Verdict.HELD: 3}
    assert swarm.worst is Verdict.HELD
    assert not swarm.failed


def test_a_row_says_how_to_repeat_its_seed() -> None:
    row = run_seed(3)
    assert row.command == "quorate sim --seed 3"
    assert row.summary.startswith("seed 3: held")


def test_a_summary_counts_verdicts_and_faults_and_names_failed_seeds() -> None:
    swarm = Swarm()
    for row in (GOOD, BAD, replace(BAD, seed=1, command="repeat 1"), GOOD):
        swarm.take(row)
    text = "\n".join(swarm.lines())
    assert text.startswith("2 of 4 seeds held")
    assert "crash                     8 times in 4 seeds" in text
    assert "invariant_broken: 2" in text
    assert text.index("fencing: repeat 1") < text.index("fencing: repeat 2")
    assert swarm.worst is Verdict.INVARIANT_BROKEN


def test_only_the_first_failed_seeds_are_kept() -> None:
    swarm = Swarm()
    for seed in range(3 * FAILED_MAX, 0, -1):
        swarm.take(replace(BAD, seed=seed))
    assert [row.seed for row in swarm.failed] == list(range(1, FAILED_MAX + 1))
    assert swarm.seeds == 3 * FAILED_MAX


def test_an_interrupt_ends_a_swarm_with_what_is_known() -> None:
    def interrupt(swarm: Swarm, row: Row) -> None:
        if swarm.seeds == 3:
            raise KeyboardInterrupt

    swarm = run_swarm(28, 1_000, jobs=1, told=interrupt)
    assert swarm.is_cut_short
    assert swarm.seeds == 3
    assert swarm.lines()[-1] == "cut short"


def test_the_verb_runs_a_swarm(tmp_path: Path) -> None:
    words = ("sim", "--swarm", "3", "--jobs", "2", "--from", "8", "--json")
    done = quorate(*words, folder=tmp_path)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert (found["first"], found["seeds"], found["verdicts"]) == (8, 3, {"held": 3})


def test_the_verb_repeats_a_reduced_plan(tmp_path: Path) -> None:
    words = "sim --seed 5 --nodes 2 --only-faults none --until 4.5 --plain links,work"
    done = quorate_here(*words.split(), folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "nodes=2 end=4.5s" in done.stdout
    assert "#" not in done.stdout


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        ("--only-faults x", "--only-faults takes numbers like 2,5, or none"),
        (
            "--plain all",
            "--plain takes knobs, links, disks, clocks, work, registers, sharing, rest, "
            "signatures, not 'all'",
        ),
        ("--until 1", "Invalid value for '--until'"),
        ("--jobs 0 --swarm 2", "Invalid value for '--jobs'"),
    ],
)
def test_what_the_verb_does_not_understand_it_says(
    words: str, complaint: str, tmp_path: Path
) -> None:
    done = quorate_here("sim", *words.split(), folder=tmp_path)
    assert done.returncode == 2
    assert complaint in done.stderr


def test_workers_end_with_a_swarm_that_is_killed() -> None:
    """Else they would run what they were handed, and then wait for ever."""
    command = [sys.executable, "-c", SWARM_THAT_TELLS]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as swarm:
        assert swarm.stdout is not None
        swarm.stdout.readline()  # the first seed has ended
        workers = children_of(swarm.pid)
        assert workers
        swarm.kill()
    deadline = time.monotonic() + 30
    while any(is_running(worker) for worker in workers):
        assert time.monotonic() < deadline, "workers are left"
        time.sleep(0.05)


SWARM_THAT_TELLS = """
from node.lab.swarm import run_swarm
if __name__ == "__main__":
    run_swarm(0, 10_000, 2, lambda swarm, row: print(row.seed, flush=True))
"""


def is_running(process: int) -> bool:
    """Whether it has not ended; whoever inherited it may be slow to notice."""
    try:
        stat = Path(f"/proc/{process}/stat").read_text()
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[0] not in "ZX"


def children_of(process: int) -> list[int]:
    listed = Path(f"/proc/{process}/task/{process}/children").read_text()
    return [int(child) for child in listed.split()]
