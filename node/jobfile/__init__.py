"""Job files: our YAML, the paper's JSON unchanged, and the packaged lists by name.

Invariant: whatever is wrong with a file is one `InvalidJob` whose line names the file, the place
and the remedy; nothing is started on a file that has not been read to its end.

    reading      the way from a name to a checked job
      forms      what the two kinds of file may say
      repeating  tasks that are alike
      document   text as plain data
      travelling the files that go with a job
"""

from node.jobfile.reading import (
    needs_witness,
    notes_on,
    parse,
    people_asked,
    read,
    speculation,
    with_fresh_id,
    with_id,
)

__all__ = [
    "needs_witness",
    "notes_on",
    "parse",
    "people_asked",
    "read",
    "speculation",
    "with_fresh_id",
    "with_id",
]
