"""The verb `ask`: a question to the team."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from node.cli.console import (
    DEFAULT_DIR,
    DirOption,
    JsonOption,
    NodeOption,
    SeedOption,
    SpeedOption,
    WrongOption,
    doors_of,
    execute,
    print_json,
    say,
)
from node.hiding import hide_from_programs


def ask(
    question: Annotated[str, typer.Argument(help="What to ask the team.")],
    answers: Annotated[int, typer.Option("-k", "--answers", help="Independent answers.")] = 3,
    critique: Annotated[
        bool,
        typer.Option(
            "--critique",
            help="First a draft from each; then all see all drafts, say what is wrong with them, "
            "and answer. Twice the calls, and the vote alone has most of the gain.",
        ),
    ] = False,
    judge: Annotated[
        bool,
        typer.Option("--judge", help="A model says which answers agree: for answers in prose."),
    ] = False,
    judge_program: Annotated[
        str,
        typer.Option("--judge-run", help="The same by a program, as `judge: {run}` of a job."),
    ] = "",
    agent: Annotated[
        str,
        typer.Option(help="simulated, openai, command or python; see --run and OPENAI_BASE_URL."),
    ] = "",
    program: Annotated[
        str,
        typer.Option("--run", help="The program to ask: it reads the question, and prints."),
    ] = "",
    nodes: Annotated[int, typer.Option("-n", "--nodes", help="Team size if none runs.")] = 3,
    speed: SpeedOption = 4.0,
    seed: SeedOption = 1,
    wrong: WrongOption = 0.0,
    folder: DirOption = Path(DEFAULT_DIR),
    node: NodeOption = "",
    as_json: JsonOption = False,
) -> None:
    """Ask the team: independent answers from different nodes, the majority's is committed. Exit 1
    if there is no majority. Standard output has the answer, standard error where it comes from."""
    from node.cli.question import (
        Manner,
        account_of,
        ask_running_team,
        ask_team_of_its_own,
        lines_of,
        question_job,
    )
    from node.lab.cluster import STATE_FILE, Cluster, ModelOptions, check_size

    check_size(nodes)
    hide_from_programs()
    job = question_job(question, Manner(answers, critique, judge, agent, program, judge_program))
    running = bool(node) or (
        (folder / STATE_FILE).exists() and bool(Cluster.load(folder).running())
    )
    if running:
        view = execute(ask_running_team(doors_of(folder, node), job))
    else:
        model = ModelOptions(speed=speed, seed=seed, extra=("--wrong", str(wrong)))
        view = execute(ask_team_of_its_own(job, nodes, model))
    account = account_of(question, view)
    if as_json:
        print_json(account)
    else:
        if account["answer"] is not None:
            say(account["answer"])
        for line in lines_of(account):
            say(line, file=sys.stderr)
    raise typer.Exit(0 if account["answer"] is not None else 1)
