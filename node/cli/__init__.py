"""The command line: `quorate VERB`.

Every verb but `node` takes `--json`; exit codes are 0 ok, 1 a negative result, 2 usage, 3 could not
run (for `sim` 3 crash, 4 no convergence, 5 invariant broken; for `check` 3 could not decide). What
a verb needs is imported when it runs: `--help` must be quick.
"""

from __future__ import annotations

import os
import sys
from typing import Any

import typer

from node.cli import (
    agreement_verbs,
    answer_verb,
    ask_verb,
    cancel_verb,
    check_verb,
    cost_verb,
    diff_verb,
    entry_verb,
    explore_verb,
    gathering_verbs,
    get_verb,
    job_verbs,
    note_verb,
    plan_verb,
    register_verb,
    sim_verb,
    study_verb,
    team_verbs,
    why_verb,
)
from node.cli.console import say
from node.cli.panels import PanelledCommand
from protocol.errors import QuorateError

COULD_NOT_RUN = (
    *("RunFailed", "StartFailed", "Unreachable", "TimedOut", "Unexpected"),
    *("Busy", "NoLeader", "NotLeader"),
)

app = typer.Typer(
    name="quorate",
    help="A peer-to-peer network of LLM agents: no orchestrator.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

app.command()(job_verbs.run)
app.command()(team_verbs.up)
app.command()(team_verbs.down)
app.command()(team_verbs.ps)
app.command()(agreement_verbs.status)
app.command()(job_verbs.submit)
app.command()(job_verbs.tasks)
app.command()(cancel_verb.cancel)
app.command()(why_verb.why)
app.command()(get_verb.get)
app.command()(cost_verb.cost)
app.command()(diff_verb.diff)
app.command()(note_verb.note)
app.command()(ask_verb.ask)
app.command()(answer_verb.answer)
app.command()(plan_verb.plan)
app.command()(register_verb.register)
app.command()(entry_verb.entry)
app.command()(agreement_verbs.transfer)
app.command()(agreement_verbs.rescue)
app.command()(gathering_verbs.announce)
app.command()(gathering_verbs.query)
app.command()(gathering_verbs.join)
app.command()(gathering_verbs.tag)
app.command()(gathering_verbs.forget)
app.command()(team_verbs.logs)
app.command()(team_verbs.doctor)
app.command(
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
    add_help_option=False,
)(team_verbs.node)
app.command(cls=PanelledCommand)(sim_verb.sim)
app.command()(check_verb.check)
app.command()(explore_verb.explore)
app.command()(study_verb.study)


# typer has a click of its own or takes the installed one, depending on its version.
_Complaint: Any = next(c for c in typer.BadParameter.__mro__ if c.__name__ == "ClickException")


def main() -> None:
    """The console script. Errors on purpose are one line on standard error."""
    try:
        code = app(standalone_mode=False)
        sys.stdout.flush()
        sys.exit(code)
    except QuorateError as fault:
        say(f"error: {fault}", file=sys.stderr)
        sys.exit(exit_code_of(fault))
    except (KeyboardInterrupt, typer.Abort):
        sys.exit(130)
    except BrokenPipeError:  # who reads has read enough; the interpreter shall not flush again
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except OSError as fault:  # a full disk, a folder of somebody else's: not ours to repair
        print(
            f"error: {fault.filename or 'system'}: {fault.strerror or repr(fault)}", file=sys.stderr
        )
        sys.exit(3)
    except _Complaint as fault:
        said = fault.format_message()
        if type(fault).__name__ == "NoArgsIsHelpError":  # no verb: `said` is the help
            print(said)
        else:
            print(f"error: {said.removesuffix('.')}; see quorate --help", file=sys.stderr)
        sys.exit(2)


def exit_code_of(fault: QuorateError) -> int:
    """2 for what the user can correct in the command, 3 for what could not run."""
    kind = getattr(fault, "kind", type(fault).__name__)
    return 3 if kind in COULD_NOT_RUN else 2
