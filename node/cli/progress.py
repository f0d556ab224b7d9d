"""What `run` and `submit --wait` show: a live table while it goes on, the result at the end."""

from __future__ import annotations

import shlex
import sys
import time
from collections.abc import Iterator
from types import TracebackType
from typing import TYPE_CHECKING

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from node.cli.console import plural, say
from node.cli.costs import cost_lines
from node.cli.reasons import last_line
from node.cli.shortcomings import shortcomings, told_in_full, unmerged
from node.lab.prediction import comparison
from node.legible import printable

if TYPE_CHECKING:
    from node.lab.following import Following
    from node.lab.outcome import Outcome
    from node.lab.run_job import Run
    from node.lab.watch import TaskProgress

ROWS_MAX = 40  # tasks shown in the live table
PLAIN_EVERY_S = 2.0  # where there is no terminal: a line now and then
REDRAW_EVERY_S = 0.1
_WHERE_ALL_IS = (
    "the whole of what is cut short here (...): run with --keep DIR, then 'quorate why TASK --dir "
    "DIR'"
)


class RunDisplay:
    """Live on a terminal, a line every two seconds elsewhere, silent if `quiet`; `beside` the
    result, on standard error."""

    def __init__(
        self, quiet: bool, opening: str = "starting the team ...", beside: bool = False
    ) -> None:
        self._quiet = quiet
        self._opening = opening
        self._beside = beside
        self._console = Console(stderr=beside)
        self._live: Live | None = None
        self._shown_at = 0.0
        self._asked: set[str] = set()  # tasks of which it was said that they wait for a person

    def __enter__(self) -> RunDisplay:
        if not self._quiet and self._console.is_terminal:
            self._live = Live(Text(self._opening), console=self._console, auto_refresh=False)
            self._live.start()
        elif not self._quiet:
            self._print(self._opening)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        fault: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._live:
            self._live.stop()

    def show(self, run: Run | Following) -> None:
        """Draw the run as it is now."""
        now = time.monotonic()
        self._tell_whom_it_waits_for(run)
        if self._live and now - self._shown_at >= REDRAW_EVERY_S:
            self._shown_at = now
            self._live.update(table_of(run), refresh=True)
        elif not self._live and not self._quiet and now - self._shown_at >= PLAIN_EVERY_S:
            self._shown_at = now
            self._print(_headline(run))

    def tell(self, line: str) -> None:
        """What shall be read at once, whatever is shown, also if it is `quiet`."""
        if self._live:
            self._console.print(Text(printable(line)))
        else:
            say(line, file=sys.stderr)

    def _print(self, line: str) -> None:
        say(line, file=sys.stderr if self._beside else sys.stdout)

    def _tell_whom_it_waits_for(self, run: Run | Following) -> None:
        """Say at once what waits for a person; the live table has it all the time."""
        asking = set(_asking(run))
        news, self._asked = sorted(asking - self._asked), asking
        if self._live is None:
            for task in news:
                line = _how_to_answer(run, task)
                print(
                    line, file=sys.stderr if self._quiet or self._beside else sys.stdout, flush=True
                )


def _asking(run: Run | Following) -> list[str]:
    """The tasks that wait for a person now."""
    working = run.progress.working
    return [task.id for task in run.job.tasks if task.asks_person and task.id in working]


def _how_to_answer(run: Run | Following, task: str) -> str:
    given = shlex.join(["answer", task, "--dir", str(run.cluster.folder)])
    return f"{task} waits for a person: quorate {given}"


def _headline(run: Run | Following) -> str:
    progress = run.progress
    alive = len(run.cluster.running())
    line = (
        f"{progress.accepted} of {len(progress.tasks)} accepted, {len(progress.working)} in work, "
        f"{_leader(run)}, {alive} of {plural(len(run.cluster.nodes), 'node')} up"
    )
    line += f", {run.struck[-1]}" if run.struck else ""
    return line + (f"; {_in_one_line(progress.last_failure)}" if progress.last_failure else "")


def _in_one_line(failure: str) -> str:
    """TASK: REASON: and of the detail the line that says why."""
    task, reason, detail = failure.split(": ", 2)
    return f"{task}: {reason}: {last_line(detail)}"


def _leader(run: Run | Following) -> str:
    progress = run.progress
    name = progress.name(progress.leader)
    if progress.is_led and any(node.name == name for node in run.cluster.running()):
        return f"leader {name} of term {progress.term}"
    return "no leader"


def table_of(run: Run | Following) -> Group:
    """The run as it is now."""
    table = Table(box=None, pad_edge=False)
    for column in ("task", "state", "node", "seconds"):
        table.add_column(column, justify="right" if column == "seconds" else "left")
    for task in list(run.progress.tasks.values())[:ROWS_MAX]:
        state, style = _state(task, task.task in run.progress.working)
        node = task.accepted_by if task.accepted_at else task.holder
        end = task.accepted_at or time.time()
        seconds = f"{end - task.started_at:.1f}" if task.started_at else ""
        name = run.progress.name(node) if node else ""
        table.add_row(Text(task.task), Text(state, style=style), Text(name), seconds)
    waits = [Text(_how_to_answer(run, task), style="magenta") for task in _asking(run)[:ROWS_MAX]]
    return Group(Text(_headline(run), style="bold"), *waits, table)


def _state(task: TaskProgress, is_worked_on: bool) -> tuple[str, str]:
    if task.accepted_at:
        return "accepted", "green"
    if task.abandoned:
        return "abandoned", "red"
    if is_worked_on:
        return ("again" if task.failures else "working"), "yellow"
    if task.holder and not task.started_at:
        return "given", "dim"
    return "waiting", "dim"


def print_outcome(outcome: Outcome) -> None:
    """The result, for people."""
    console = Console(highlight=False, soft_wrap=True)
    for line in _lines_of(outcome):
        line.plain = printable(line.plain)
        console.print(line)
    if not outcome.agreed and not outcome.given_up:
        print("the nodes do not agree: this is a bug, please keep the folder", file=sys.stderr)


def _lines_of(outcome: Outcome) -> Iterator[Text]:
    """The lines. All are `Text`: names and messages of users are not read as markup."""
    yield from _verdict(outcome)
    for task, what in shortcomings(outcome.tasks, not outcome.given_up):
        yield Text.assemble("  ", (task, "red"), f" {what}")
    for line in unmerged(outcome.merges):
        yield Text(f"  {line}", style="red")
    if told_in_full(outcome.tasks, outcome.merges):
        yield Text(_WHERE_ALL_IS)
    by = ", ".join(f"{name} {count}" for name, count in outcome.done_by.items())
    yield Text(f"done by: {by or 'nobody'}; leader {outcome.leader} of term {outcome.term}")
    yield Text(_times(outcome))
    planned = outcome.planned
    if planned and not outcome.given_up:
        used = outcome.tokens_in + outcome.tokens_out + outcome.tokens_lost
        for line in comparison(planned, outcome.makespan_s, used, outcome.succeeded):
            yield Text(line)
    mark = " (simulated)" if outcome.simulated else ""
    yield Text(
        f"tokens: {outcome.tokens_in} in, {outcome.tokens_out} out{mark}"
        + (f", and {outcome.tokens_lost} without a result" if outcome.tokens_lost else "")
        + f"; races {outcome.races}, {_failed(outcome)}, "
        f"collisions {outcome.collisions}, "
        f"late results {outcome.late_results}, files with siblings {len(outcome.siblings)}"
    )
    for cost in cost_lines(outcome.spent, outcome.budget):
        yield Text(cost)
    for sibling in outcome.siblings:
        names = ", ".join(version["name"] for version in sibling["versions"])
        yield Text(f"  siblings of {sibling['path']}: {names}")
    for struck in outcome.faults:
        yield Text(f"fault: {struck}")
    yield from _check_lines(outcome.checks)
    for task, left in outcome.left.items():
        yield Text(f"not kept, for task {task} does not write it: {left}")
    yield Text(_where_files_are(outcome))


def _where_files_are(outcome: Outcome) -> str:
    if any(task["accepted"] and task["accepted"]["files"] for task in outcome.tasks):
        return f"files: {outcome.output}"
    return f"no files; what came of each task: {outcome.output}/manifest.json"


def _failed(outcome: Outcome) -> str:
    """The failed attempts, told apart from those that say nothing about their task."""
    apart = outcome.uncounted_attempts
    return f"failed attempts {outcome.failed_attempts}" + (
        f" ({apart} more that cost none: a node lacked something)" if apart else ""
    )


def _verdict(outcome: Outcome) -> Iterator[Text]:
    if outcome.given_up:
        yield Text.assemble((f"\n{outcome.job} NOT FINISHED", "bold"), f": {outcome.given_up}")
        yield Text("what was accepted until then is kept")
        return
    verdict = "succeeded" if outcome.succeeded else "FAILED"
    headline = (f"\n{outcome.job} {verdict}", "bold")
    yield Text.assemble(headline, f": outcome {outcome.outcome}")
    same = "all equal" if outcome.agreed else ("NOT EQUAL", "red")
    told = ", ".join(f"{name} {digest[:12]}" for name, digest in sorted(outcome.digests.items()))
    yield Text.assemble("as each living node reports it (", same, f"): {told}")


def _check_lines(checks: dict[str, str]) -> Iterator[Text]:
    failed = {task: why for task, why in checks.items() if why}
    if checks:
        passed = len(checks) - len(failed)
        yield Text(f"checks on the whole output: {passed} of {len(checks)} pass")
    for task, why in failed.items():
        said = why.strip().splitlines() or ["it said nothing"]
        yield Text.assemble("  ", (task, "red"), f": {said[-1]}")


def _times(outcome: Outcome) -> str:
    if outcome.given_up:
        return f"given up after {outcome.makespan_s:.2f} s on {plural(outcome.nodes, 'node')}"
    line = f"makespan {outcome.makespan_s:.2f} s on {plural(outcome.nodes, 'node')}"
    if outcome.alone_s and outcome.scheduled_s and outcome.makespan_s > 0:
        least = "at least " if outcome.races else ""  # what a clone has ended would have gone on
        line += (
            f"; one agent alone {least}{outcome.alone_s:.2f} s, speed-up "
            f"{outcome.alone_s / outcome.makespan_s:.2f} "
            f"(Amdahl {outcome.amdahl:.2f}, work/span {outcome.work_span:.2f}); "
            f"ideal schedule {outcome.scheduled_s:.2f} s, overhead "
            f"{round(100 * (outcome.makespan_s / outcome.scheduled_s - 1))} %"
        )
    else:
        line += f"; bounds: Amdahl {outcome.amdahl:.2f}, work/span {outcome.work_span:.2f}"
    return line
