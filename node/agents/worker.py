"""The process in which a `python` agent's function runs: one call, then the end.

Invariant: standard output carries exactly one JSON object, {"returned": ...} or {"error": ...};
whatever the function prints goes to standard error. Run as a file, with the standard library only,
so that it starts in a few milliseconds and the function meets no module of ours.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import traceback
from typing import BinaryIO


def main() -> None:
    """Read the call from standard input, make it, write the answer."""
    with os.fdopen(os.dup(1), "wb") as answers:
        os.dup2(2, 1)
        call = json.load(sys.stdin)
        sys.path.insert(0, call["workspace"])
        _answer(answers, call["function"], call["prompt"], call["workspace"])


def _answer(answers: BinaryIO, path: str, prompt: str, workspace: str) -> None:
    try:
        returned = _call(path, prompt, workspace)
    except BaseException as fault:  # SystemExit too: a call that ends the process is an error
        traceback.print_exc()
        last = traceback.format_exception_only(fault)[-1].strip()
        answers.write(json.dumps({"error": f"{path}: {last}"}).encode())
    else:
        answers.write(json.dumps({"returned": returned}).encode())


def _call(path: str, prompt: str, workspace: str) -> str | dict[str, str] | None:
    module_name, colon, function_name = path.partition(":")
    if not colon or not function_name:
        raise ValueError("name the function as 'module:function'")
    function = importlib.import_module(module_name)
    for name in function_name.split("."):
        function = getattr(function, name)
    if not callable(function):
        raise TypeError(f"{function_name} cannot be called")
    returned = function(prompt, workspace)
    if returned is None or isinstance(returned, str):
        return returned
    if not isinstance(returned, dict):
        raise TypeError(f"returned a {type(returned).__name__}: return a str, a dict or None")
    for file, content in returned.items():
        if not isinstance(file, str) or not isinstance(content, str):
            raise TypeError("returned a dict that does not map paths to texts")
    return returned


if __name__ == "__main__":
    main()
