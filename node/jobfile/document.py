"""Text as plain data: YAML without its surprises, and JSON.

Invariant: what comes out is made of dict, list, str, int, float, bool and None, and is little
larger than the text; anything else is an `InvalidJob` that gives the line. Of YAML 1.1 there are
no tags, no dates, no octal or sexagesimal numbers, no `on` and `off`: what is not a number, a
boolean or null as JSON knows them is text, as in the core schema of YAML 1.2.
"""

from __future__ import annotations

import json
import re
from typing import Any, NoReturn

import yaml

from protocol.errors import InvalidJob
from protocol.jobs import TASKS_MAX, shown

TEXT_SIZE_MAX = 4 * 1024 * 1024  # characters of a job file
# YAML is read by plain Python, twenty times slower than JSON: some 25 us for each value.
YAML_SIZE_MAX = 1024 * 1024
YAML_VALUES_MAX = 4 * TASKS_MAX  # keys count too; so a text is read or refused within a second
EXPANDED_SIZE_MAX = 2 * YAML_SIZE_MAX  # with every alias written out: no short text becomes a bomb
DEPTH_MAX = 40  # a job needs five levels
_MORE_ROOM = "split the job, or give it as JSON"
_STRING_OR_MARK = re.compile(r'"(?:[^"\\]++|\\.)*+"|[{}\[\]:,]')


def load(text: str, name: str, label: str) -> Any:
    """The data in `text`: JSON if the file's `name` says so, else YAML. `label` is how messages
    call the file."""
    if len(text) > TEXT_SIZE_MAX:
        raise InvalidJob(f"{label} is over {TEXT_SIZE_MAX} characters: split the job")
    if not text.strip():
        raise InvalidJob(f"{label} is empty: write 'job:' and 'tasks:', as in the README")
    if name.lower().endswith(".json"):
        return _load_json(text, label)
    if len(text) > YAML_SIZE_MAX:
        raise InvalidJob(
            f"{label} is over {YAML_SIZE_MAX} characters, the limit for YAML: {_MORE_ROOM}"
        )
    return _load_yaml(text, label)


# -- JSON ----------------------------------------------------------------------------------------


def _load_json(text: str, label: str) -> Any:
    try:
        content = json.loads(text, parse_constant=_refuse_constant)
    except json.JSONDecodeError as fault:
        where = f"{label}, line {fault.lineno}"
        raise InvalidJob(f"{where}: not JSON: {fault.msg}: correct this line") from None
    except ValueError:  # NaN, Infinity, or more digits than an int may have
        raise InvalidJob(
            f"{label}: not JSON: a number is infinite, too long or none: correct it"
        ) from None
    except RecursionError:
        raise InvalidJob(f"{label}: too deeply nested: a job needs five levels") from None
    _refuse_repeated_keys(text, label)
    return content


def _refuse_constant(constant: str) -> NoReturn:
    raise ValueError(constant)


def _refuse_repeated_keys(text: str, label: str) -> None:
    """The json module keeps the last of several equal keys. `text` is known to be JSON, so its
    strings and brackets tell where keys are."""
    open_keys: list[set[str]] = []  # of each bracket that is open; a list's stays empty
    string = ""
    for found in _STRING_OR_MARK.finditer(text):
        match found[0]:
            case "{" | "[":
                open_keys.append(set())
            case "}" | "]":
                open_keys.pop()
            case ":":
                key = json.loads(string)
                if key in open_keys[-1]:
                    line = text.count("\n", 0, found.start()) + 1
                    raise InvalidJob(f"{label}, line {line}: {_twice(key)}")
                open_keys[-1].add(key)
            case ",":
                pass
            case _:
                string = found[0]


def _twice(key: str) -> str:
    return f"key {shown(key)} is given twice: keep one"


# -- YAML ----------------------------------------------------------------------------------------


class _Refused(Exception):
    """YAML that is well formed, and not for job files."""

    def __init__(self, problem: str, at: yaml.Event | yaml.Node) -> None:
        assert at.start_mark is not None, "it was read from a text"
        super().__init__(problem)
        self.line = at.start_mark.line + 1


class _Loader(yaml.SafeLoader):
    """Refuses while it composes, before anything is built."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._depth = 0
        self._values = 0  # nodes so far
        self._size = 0  # characters and nodes so far, aliases written out
        self._sizes: dict[yaml.Node, int] = {}  # of each node that is complete

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        event: yaml.Event = self.peek_event()  # type: ignore[no-untyped-call]
        before = self._size
        self._values += 1
        if self._values > YAML_VALUES_MAX:
            raise _Refused(
                f"over {YAML_VALUES_MAX} keys and values, the limit for YAML: {_MORE_ROOM}", event
            )
        self._refuse_if_deep(event)
        self._depth += 1
        node = super().compose_node(parent, index)
        self._depth -= 1
        if node is None:
            return None
        if isinstance(event, yaml.AliasEvent):
            if node not in self._sizes:
                raise _Refused("an alias stands for what it is part of: write it out", event)
            self._size += self._sizes[node]
        else:
            self._size += 1 + (len(node.value) if isinstance(node, yaml.ScalarNode) else 0)
            self._sizes[node] = self._size - before
        if self._size > EXPANDED_SIZE_MAX:
            raise _Refused(f"aliases make it over {EXPANDED_SIZE_MAX} characters: use fewer", event)
        return node

    def compose_mapping_node(self, anchor: dict[Any, yaml.Node]) -> yaml.MappingNode:
        mapping = super().compose_mapping_node(anchor)
        seen = set()
        for key, _ in mapping.value:
            if isinstance(key, yaml.ScalarNode):
                if (key.tag, key.value) in seen:
                    raise _Refused(_twice(key.value), key)
                seen.add((key.tag, key.value))
        return mapping

    def _refuse_if_deep(self, event: yaml.Event) -> None:
        if self._depth > DEPTH_MAX:
            raise _Refused("too deeply nested: a job needs five levels", event)
        if getattr(event, "tag", None) is not None:
            raise _Refused("tags such as !!int mean nothing here: drop it", event)


_Loader.yaml_implicit_resolvers = {}  # none of those that SafeLoader has, only these:
for _tag, _pattern, _first in (
    ("merge", r"<<", ["<"]),
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("bool", r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    ("int", r"[-+]?(?:0|[1-9][0-9_]{0,17})", list("-+0123456789")),
    ("float", r"[-+]?(?:0|[1-9][0-9_]*)(?:\.[0-9_]*)?(?:[eE][-+]?[0-9]+)?", list("-+0123456789")),
):
    _Loader.add_implicit_resolver(
        f"tag:yaml.org,2002:{_tag}", re.compile(rf"(?:{_pattern})\Z"), _first
    )


def _load_yaml(text: str, label: str) -> Any:
    loader: _Loader | None = None
    try:
        loader = _Loader(text)
        return loader.get_single_data()
    except _Refused as fault:
        raise InvalidJob(f"{label}, line {fault.line}: {fault}") from None
    except yaml.MarkedYAMLError as fault:
        raise InvalidJob(_not_yaml(fault, text, label)) from None
    except yaml.reader.ReaderError as fault:
        line = text.count("\n", 0, fault.position) + 1
        what = f"not YAML: character {fault.character!r} is not text"
        raise InvalidJob(f"{label}, line {line}: {what}: remove it") from None
    except (ValueError, OverflowError):  # an escape or a %YAML version beyond all bounds
        assert loader is not None
        line = loader.get_mark().line + 1
        raise InvalidJob(
            f"{label}, line {line}: not YAML: the number there is too large: correct it"
        ) from None
    finally:
        if loader is not None:
            loader.dispose()


def _not_yaml(fault: yaml.MarkedYAMLError, text: str, label: str) -> str:
    mark = fault.problem_mark or fault.context_mark
    lines = text.splitlines()
    number = min(mark.line + 1 if mark else 1, len(lines))  # the end counts as the last line
    line = lines[number - 1]
    problem = " ".join(str(fault.problem).split())
    remedy = "indent with spaces, not with tabs" if "\\t" in problem else "correct this line"
    return f"{label}, line {number}: not YAML: {problem}: {shown(line.strip())}: {remedy}"
