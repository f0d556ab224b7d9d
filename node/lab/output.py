"""The output folder: the accepted files, and a manifest that says what they are.

`manifest.json` has the job, the outcome's digest, and for each file its SHA-256, the task and the
node whose result was accepted. Of a run it also has how long it took and each task, for the next
`quorate plan --history`.
"""

from __future__ import annotations

import contextlib
import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from protocol.errors import QuorateError
from protocol.job_rules import check_path
from protocol.jobs import RESERVED_PATH, File, manifest

MANIFEST = RESERVED_PATH


class OutputError(QuorateError):
    """A folder that results cannot be written to."""


def check_output_folder(folder: Path) -> None:
    """Raise OutputError unless a file can be written there, and nothing of the user's would be
    lost. It is tried, not guessed from permissions; what was made for that is removed again."""
    try:
        if folder.is_symlink() and not folder.exists():
            raise OutputError(f"{folder} is a link to nothing: name a new folder with --out")
        if folder.exists() and not folder.is_dir():
            raise OutputError(f"{folder} is a file: name a new folder with --out")
        if folder.is_dir() and any(folder.iterdir()):
            raise OutputError(f"{folder} is not empty: name a new folder with --out, or remove it")
        _try_to_write(folder)
    except OSError as fault:
        raise OutputError(
            f"{folder} cannot be written to ({fault.strerror}): name another folder with --out"
        ) from None


def _try_to_write(folder: Path) -> None:
    path = folder.absolute()
    missing = [each for each in (path, *path.parents) if not each.exists()]  # innermost first
    try:
        path.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path, prefix=".quorate-"):
            pass
    finally:
        for each in missing:
            with contextlib.suppress(OSError):  # it was not made, or is somebody's by now
                each.rmdir()


def write_output(
    folder: Path, files: list[File], view: dict[str, Any], run: Mapping[str, Any] | None = None
) -> None:
    """Write the accepted files and the manifest; `view` is the job as a node shows it, `run` what
    else shall be kept of how it went."""
    try:
        _write_files(folder, files, view, run)
    except OSError as fault:
        raise OutputError(
            f"{fault.filename or folder}: {fault.strerror}; the results are not lost while the "
            f"team lives: name another folder with --out"
        ) from None


def _write_files(
    folder: Path, files: list[File], view: dict[str, Any], run: Mapping[str, Any] | None
) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for file in files:
        check_path(file.path)
        path = folder / file.path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(file.content)
    accepted = {task["id"]: task["accepted"] for task in view["tasks"] if task["accepted"]}
    writers = {
        path: {"task": task, "node": answer["node"], "name": answer["name"]}
        for task, answer in accepted.items()
        for path in answer["files"]
    }
    content = {
        "job": view["id"],
        "name": view["name"],
        "succeeded": view["succeeded"],
        "outcome": view["outcome"],
        "files": {
            path: {"sha256": checksum, **writers.get(path, {})}
            for path, checksum in manifest(files).items()
        },
        "answers": {task: answer["text"] for task, answer in accepted.items() if answer["text"]},
        **({"run": run} if run else {}),
    }
    (folder / MANIFEST).write_text(json.dumps(content, indent=2) + "\n")
