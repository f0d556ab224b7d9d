"""The verb `get`: the files of a job, or one file and its versions.

Invariant: where a file has one content, standard output is that content, byte for byte.
"""

from __future__ import annotations

import base64
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from node.cli.console import (
    DEFAULT_DIR,
    DirOption,
    JsonOption,
    NodeOption,
    doors_of,
    execute,
    plural,
    print_json,
    say,
)
from node.cli.job_verbs import view_of

if TYPE_CHECKING:
    from node.lab.door import Doors


def get(
    job: Annotated[str, typer.Argument(help="A job's id; the latest with files if left out.")] = "",
    out: Annotated[
        Path | None, typer.Option(help="Where the files go; output/JOB by default.")
    ] = None,
    path: Annotated[str, typer.Option("--file", help="Print one file, or its siblings.")] = "",
    folder: DirOption = Path(DEFAULT_DIR),
    node: NodeOption = "",
    as_json: JsonOption = False,
) -> None:
    """Fetch the accepted files of a job, or look at one file and its siblings. Exit 1 if the job
    has failed."""
    doors = doors_of(folder, node)
    view = view_of(doors, job, with_files=True)
    if path:
        _print_file(doors, view, path, as_json)
        return
    from node.lab.output import check_output_folder, write_output

    output = out if out is not None else Path("output") / view["id"]
    check_output_folder(output)
    files = execute(doors.files(view["id"]))
    write_output(output, files, view)
    if as_json:
        print_json({"job": view["id"], "output": str(output), "files": [f.path for f in files]})
    else:
        print(f"{plural(len(files), 'file')} in {output}")
    if not view["finished"]:
        print("the job is still running: these are the files accepted so far", file=sys.stderr)
    elif not view["succeeded"]:
        say(
            f"the job has failed: these are the files of what was accepted of it; why: quorate "
            f"tasks {view['id']}",
            file=sys.stderr,
        )
        raise typer.Exit(1)


def _print_file(doors: Doors, view: dict[str, Any], path: str, as_json: bool) -> None:
    from node.lab.door import DoorError, route

    versions = execute(doors.get(route("jobs", view["id"], "partials", path)))
    accepted = {
        task["id"]: task["accepted"]
        for task in view["tasks"]
        if path in task["writes"] and task["accepted"]
    }
    if not versions and not accepted:
        raise DoorError("NotFound", f"nobody has written {path!r} for {view['id']}")
    if as_json:
        first = next(iter(accepted.values()), None)
        print_json({"path": path, "accepted": first, "versions": versions})
        return
    if not versions:  # this node has it from the log, and not yet by gossip
        _write(execute(doors.get_bytes(route("jobs", view["id"], "files", path))))
        return
    contents = [_bytes_of(version) for version in versions]
    headers = [_header(path, version, accepted.get(version["task"])) for version in versions]
    if len(set(contents)) == 1:
        for header in headers:
            say(header, file=sys.stderr)
        _write(contents[0])
        return
    if not all(_is_text(content) for content in contents):
        what = f"{path} has {len(contents)} versions, and not all are text"
        raise DoorError(
            "BadRequest",
            f"{what}: 'quorate get {view['id']} --out FOLDER' fetches what was accepted, --json "
            f"has each of them",
        )
    for header, content in zip(headers, contents, strict=True):
        say(header)
        _write(content if content.endswith(b"\n") else content + b"\n")


def _header(path: str, version: dict[str, Any], found: dict[str, Any] | None) -> str:
    """Whose version it is; `found` is what was accepted of its task."""
    attempt = ("node", "slot", "token")
    is_it = found is not None and all(version[part] == found[part] for part in attempt)
    mark = ", accepted" if is_it else ""
    return f"--- {path} by {version['name']} (token {version['token']}{mark})"


def _bytes_of(version: dict[str, Any]) -> bytes:
    """All of a version, as a door tells it."""
    exactly = version.get("base64")
    return base64.b64decode(exactly) if exactly is not None else version["content"].encode()


def _is_text(content: bytes) -> bool:
    try:
        return "\0" not in content.decode()
    except UnicodeDecodeError:
        return False


def _write(content: bytes) -> None:
    sys.stdout.flush()
    sys.stdout.buffer.write(content)
    sys.stdout.buffer.flush()
