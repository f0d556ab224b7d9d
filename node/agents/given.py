"""What a program is given for each purpose: files in its folder, variables, and words.

To do a task, that is its prompt, beside the job's files and the inputs. To merge or to judge for a
whole job (`merge` and `judge` of a job file) it is what a model would be shown:

    to merge   the versions, each as FILE.TASK, named line by line in QUORATE_VERSIONS; what they
               all began with in QUORATE_BASE (empty if there was nothing); FILE in QUORATE_FILE
    to judge   the answers, named line by line in QUORATE_ANSWERS: a file for each, or a folder with
               its files

Invariant: no file of these takes the place of one of the job's: a name that is in use gets another
letter, so a program goes by the variables.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import PurePosixPath

from node.agents import AgentError, AgentResult
from node.prompt.judging import read_groups
from node.prompt.opening import program_prompt
from node.prompt.programs import judging_words, merging_words
from node.prompt.shown import shorten
from protocol.conclusion import conclusion_of
from protocol.effects import Assignment, Proposal, Purpose
from protocol.events import Failure
from protocol.jobs import File, kept_path

ANSWERS_FOLDER = ".answers"


@dataclass(frozen=True, slots=True)
class Given:
    """See the module's text. `partial` is for the folder of what is unfinished."""

    files: tuple[File, ...]
    partial: tuple[File, ...]
    words: str
    variables: dict[str, str] = field(default_factory=dict)


def given_to_program(assignment: Assignment) -> Given:
    """What a program is given that shall do this."""
    files = (*assignment.fixtures, *assignment.inputs)
    match assignment.purpose:
        case Purpose.MERGE:
            (path,) = assignment.task.writes
            taken = _names_in(files)
            placed = replace(assignment, proposals=tuple(_versions(assignment, taken)))
            versions = tuple(file for each in placed.proposals for file in each.files)
            began = b"".join(file.content for file in assignment.partial)  # one file, if any
            base = File(_free(kept_path(path), taken), began)
            names = {
                "QUORATE_FILE": path,
                "QUORATE_BASE": base.path,
                "QUORATE_VERSIONS": "\n".join(file.path for file in versions),
            }
            return Given((*files, *versions, base), (), merging_words(placed), names)
        case Purpose.JUDGE:
            folder = _free(ANSWERS_FOLDER, _names_in(files))
            answers = tuple(_answers(assignment, folder))
            numbers = range(1, len(assignment.proposals) + 1)
            names = {"QUORATE_ANSWERS": "\n".join(f"{folder}/{n}" for n in numbers)}
            return Given((*files, *answers), (), judging_words(assignment), names)
        case _:
            return Given(files, assignment.partial, program_prompt(assignment))


def judged(assignment: Assignment, said: str) -> AgentResult:
    """A judge's result, by what a program printed; AgentError if it does not say enough."""
    groups = read_groups(said, len(assignment.proposals))
    if not groups:
        raise AgentError(
            Failure.OUTPUT,
            "the judge does not say which answers agree: print for each its number, a colon and a "
            f"letter, as in '1: A' (it printed: {shorten(said, 200)})",
        )
    return AgentResult((), " ".join(map(str, groups)))


def _names_in(files: tuple[File, ...]) -> set[str]:
    """The paths of files, and of the folders that they lie in."""
    paths = [PurePosixPath(file.path) for file in files]
    return {str(each) for path in paths for each in (path, *path.parents)}


def _free(path: str, taken: set[str]) -> str:
    """The path, or the like that is not taken yet; it is then."""
    while path in taken:
        path += "_"
    taken.add(path)
    return path


def _versions(assignment: Assignment, taken: set[str]) -> Iterator[Proposal]:
    for proposal in assignment.proposals:
        files = [File(_free(file.path, taken), file.content) for file in proposal.files]
        yield replace(proposal, files=tuple(files))


def _answers(assignment: Assignment, folder: str) -> Iterator[File]:
    for number, proposal in enumerate(assignment.proposals, 1):
        place = f"{folder}/{number}"
        if proposal.files:
            yield from (File(f"{place}/{file.path}", file.content) for file in proposal.files)
        else:
            yield File(place, f"{conclusion_of(proposal.text)}\n".encode(errors="replace"))
