"""What a program reads that merges versions of a file, or judges answers, for a whole job.

What it shall work on lies in files beside it, so the words only say what to do, and name them.
"""

from __future__ import annotations

from node.prompt.judging import judge_prompt
from node.prompt.shown import show_notes
from protocol.effects import Assignment


def merging_words(assignment: Assignment) -> str:
    """What each version was written for, and why earlier merges were wrong."""
    (path,) = assignment.task.writes
    sections = [
        f"# Merge {path}\n\nSeveral changed {path} at the same time, without knowing of each "
        "other, and the changes touch each other. Write it once more, so that everything that each "
        "of them was to do is done."
    ]
    for proposal in assignment.proposals:
        (version,) = proposal.files
        purpose = proposal.text.strip()
        sections.append(f"# Version {version.path}\n\nIt was written for this task:\n\n{purpose}")
    if assignment.notes:
        sections.append(f"# Why earlier attempts failed\n\n{show_notes(assignment.notes)}")
    return "\n\n".join(sections) + "\n"


def judging_words(assignment: Assignment) -> str:
    """The very words that a model would be asked with: what was asked, and all answers."""
    return "\n\n".join(message.content for message in judge_prompt(assignment))
