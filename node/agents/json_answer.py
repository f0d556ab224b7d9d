"""Files that come as JSON, `{"files": [{"path": ..., "content": ...}]}`, and the forms of answers
that an endpoint can be asked to keep to (Structured Outputs, in OpenAI's API reference).

Invariant: as in `answer.py`; and what is read as JSON names a file that was wanted, so that a file
which is JSON itself is not taken for an answer.

Code is asked for in fenced blocks all the same, and so only where those have failed: models write
worse code into JSON strings (P. Gauthier, *LLMs are bad at returning code in JSON*, aider.chat,
2024), and a block that was cut off can be gone on with.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping

from node.agents.answer import Answer, AnswerReader

STARTS_MAX = 20  # places in a text at which JSON is looked for
_START = re.compile(r"""^[ \t]*(?=[{\[])|(?=\{\s*"files")""", re.MULTILINE)
_LIST = re.compile(r'"files"\s*:\s*\[')
_DECODER = json.JSONDecoder(strict=False)  # models leave line ends in strings as they are


def files_form(wanted: tuple[str, ...]) -> Mapping[str, object]:
    """The `response_format` of an answer with these files."""
    file = _object({"path": {"type": "string", "enum": list(wanted)}, "content": _TEXT})
    return _format("files", _object({"files": {"type": "array", "items": file}}))


def groups_form() -> Mapping[str, object]:
    """The `response_format` of a judge's answer: a letter for each of the answers."""
    return _format("groups", _object({"groups": {"type": "array", "items": _TEXT}}))


_TEXT = {"type": "string"}


def _object(properties: Mapping[str, object]) -> Mapping[str, object]:
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def _format(name: str, schema: Mapping[str, object]) -> Mapping[str, object]:
    inner = {"name": name, "strict": True, "schema": schema}
    return {"type": "json_schema", "json_schema": inner}


def read_json_files(text: str, wanted: tuple[str, ...]) -> Answer | None:
    """What is found in an answer that is JSON, or has JSON in it; None if that names none of the
    wanted files. Of JSON that was cut off the whole files count."""
    for start in _starts(text):
        found = list(_files_at(text, start))
        if any(path in wanted for path, _ in found):
            reader = AnswerReader(wanted)
            for path, content in found:
                content = content.replace("\r\n", "\n")
                is_ended = not content or content.endswith("\n")
                reader.take(path, content if is_ended else f"{content}\n")
            return reader.close()
    return None


def _starts(text: str) -> Iterator[int]:
    for number, found in enumerate(_START.finditer(text)):
        if number == STARTS_MAX:
            return
        yield found.end()


def _files_at(text: str, start: int) -> Iterator[tuple[str, str]]:
    """(path, content) of each file in the value that begins here."""
    try:
        value, _ = _DECODER.raw_decode(text, start)
    except (ValueError, RecursionError):
        listed = _LIST.search(text, start)
        yield from _whole_files(text, listed.end()) if listed else ()
        return
    files = value.get("files", value) if isinstance(value, dict) else value
    if isinstance(files, dict):
        yield from ((str(path), each) for path, each in files.items() if isinstance(each, str))
    elif isinstance(files, list):
        yield from (file for file in map(_file_of, files) if file is not None)


def _whole_files(text: str, at: int) -> Iterator[tuple[str, str]]:
    """The files of a list that is not whole."""
    while True:
        at = next((at + len(gap) for gap in re.findall(r"\A[\s,]*", text[at : at + 100])), at)
        try:
            value, at = _DECODER.raw_decode(text, at)
        except (ValueError, RecursionError):
            return
        if file := _file_of(value):
            yield file


def _file_of(value: object) -> tuple[str, str] | None:
    if not isinstance(value, dict):
        return None
    path, content = value.get("path"), value.get("content")
    return (path, content) if isinstance(path, str) and isinstance(content, str) else None
