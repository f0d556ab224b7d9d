"""Forms: how values of an annotated type look in msgpack's own types, and back, strictly.

The form of a dataclass is the array of its fields. Its two functions are generated as source from
the annotations and compiled once, as `dataclasses` and `attrs` make their methods: every field is
checked in line, and a record is filled through its slots. That is about four times as fast as
walking the annotations for each value, and whoever wants to see the source finds it in
`linecache`, or in a traceback.

Invariants: `unpack` returns a value of exactly the declared types and sizes, or raises
RemoteProtocolError; what `unpack` would refuse does not pack either (ValueError).
"""

from __future__ import annotations

import linecache
import types
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, is_dataclass
from enum import Enum
from typing import Any, NoReturn

from protocol.errors import RemoteProtocolError

INTEGER_MAX = 2**63 - 1
STRING_SIZE_MAX = 256 * 1024


@dataclass(frozen=True, slots=True)
class Form:
    """How to turn a value of a type into msgpack's types and back."""

    pack: Callable[[Any], Any]
    unpack: Callable[[Any], Any]


_FORMS: dict[Any, Form] = {}


def form_of(hint: Any) -> Form:
    """The form of an annotated type; TypeError if it has none."""
    found = _FORMS.get(hint)
    if found is None:
        found = _FORMS[hint] = _build(hint)
    return found


def _build(hint: Any) -> Form:
    """One function each way, whatever the type: `value` in, the result out."""
    name = getattr(hint, "__name__", "value")
    if is_dataclass(hint) and isinstance(hint, type):
        pack, unpack = _record(hint)
    else:
        pack, unpack = _Source(f"pack {name}"), _Source(f"unpack {name}")
        pack.returns(_packed(pack, hint, "value"))
        unpack.returns(_unpacked(unpack, hint, "value"))
    return Form(pack.compiled(), unpack.compiled())


class _Source:
    """A function of `value` while it is being written: its lines, and the names it refers to."""

    def __init__(self, title: str) -> None:
        self.title = title
        self.lines: list[str] = []
        self.names: dict[str, Any] = {"refuse": _refuse, "refuse_to_pack": _refuse_to_pack}

    def add(self, line: str) -> None:
        self.lines.append(f"    {line}")

    def returns(self, expression: str) -> None:
        self.add(f"return {expression}")

    def name(self, thing: Any) -> str:
        """A name under which the function finds this thing."""
        name = f"_{len(self.names)}"
        self.names[name] = thing
        return name

    def compiled(self) -> Callable[[Any], Any]:
        text = "\n".join(["def function(value):", *self.lines]) + "\n"
        file = f"<{self.title}>"
        linecache.cache[file] = (len(text), None, text.splitlines(keepends=True), file)
        exec(compile(text, file, "exec"), self.names)
        function: Callable[[Any], Any] = self.names["function"]
        return function


# -- records -------------------------------------------------------------------------------------


def _record(kind: type[Any]) -> tuple[_Source, _Source]:
    hints = typing.get_type_hints(kind)
    names = [field.name for field in fields(kind)]
    pack, unpack = _Source(f"pack {kind.__name__}"), _Source(f"unpack {kind.__name__}")
    variables = [f"f{at}" for at in range(len(names))]
    packed = []
    for variable, name in zip(variables, names, strict=True):
        pack.add(f"{variable} = value.{name}")
        packed.append(_packed(pack, hints[name], variable))
    pack.returns(f"[{', '.join(packed)}]")
    unpack.add(f"if type(value) is not list or len(value) != {len(names)}:")
    unpack.add(f"    refuse('{kind.__name__} is not an array of {len(names)} fields')")
    if variables:
        unpack.add(f"{', '.join(variables)}, = value")
    unpacked = [
        _unpacked(unpack, hints[name], variable)
        for variable, name in zip(variables, names, strict=True)
    ]
    _fill(unpack, kind, names, unpacked)
    return pack, unpack


def _fill(source: _Source, kind: type[Any], names: list[str], values: list[str]) -> None:
    """Make the record. A frozen dataclass sets each field by a call of `object.__setattr__`, which
    looks the slot up by its name; the slots themselves are quicker."""
    slots = [kind.__dict__.get(name) for name in names]
    plain = all(type(slot) is types.MemberDescriptorType for slot in slots)
    if not plain or hasattr(kind, "__post_init__"):
        source.returns(f"{source.name(kind)}({', '.join(values)})")
        return
    source.add(f"record = {source.name(object.__new__)}({source.name(kind)})")
    for slot, value in zip(slots, values, strict=True):
        source.add(f"{source.name(slot.__set__)}(record, {value})")  # type: ignore[union-attr]
    source.returns("record")


# -- values ----------------------------------------------------------------------------------------

_INTEGER = f"type({{0}}) is not int or not 0 <= {{0}} <= {INTEGER_MAX}"
_STRING = f"type({{0}}) is not str or len({{0}}) > {STRING_SIZE_MAX}"
_NO_INTEGER = "f'{{{0}!r}} is not a non-negative 63-bit integer'"
_NO_STRING = "'expected a string within the size limit'"
_NO_BOOLEAN = "f'{{{0}!r}} is not a boolean'"
_CHECKS: dict[Any, tuple[str, str]] = {  # what is wrong, and how to say it
    int: (_INTEGER, _NO_INTEGER),
    str: (_STRING, _NO_STRING),
    bool: ("type({0}) is not bool", _NO_BOOLEAN),
    bytes: ("type({0}) is not bytes", "'expected bytes'"),
    float: ("type({0}) is not float", "f'{{{0}!r}} is not a float'"),
}


def _packed(source: _Source, hint: Any, variable: str) -> str:
    """Write the checks of a value; the expression of what to hand to msgpack."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if isinstance(hint, typing.NewType):
        return _packed(source, hint.__supertype__, variable)
    if hint in (bytes, float):
        return f"{source.name(hint)}({variable})" if hint is float else variable
    if hint in _CHECKS:
        wrong, complaint = _CHECKS[hint]
        source.add(f"if {wrong.format(variable)}: refuse_to_pack({complaint.format(variable)})")
        return variable
    if is_dataclass(hint) and isinstance(hint, type):
        return f"{source.name(form_of(hint).pack)}({variable})"
    if isinstance(hint, type) and issubclass(hint, Enum):
        return f"{variable}._value_"
    if origin is tuple and arguments[1:] == (Ellipsis,):
        pack = source.name(form_of(arguments[0]).pack)
        return f"[{pack}(item) for item in {variable}] if {variable} else []"
    if origin is tuple:
        return _fixed(source, variable, [form_of(argument).pack for argument in arguments])
    if origin is Mapping:
        key, item = (source.name(form_of(argument).pack) for argument in arguments)
        return f"{{{key}(k): {item}(v) for k, v in {variable}.items()}}"
    if origin in (typing.Union, types.UnionType):
        places = {kind: (at, form_of(kind).pack) for at, kind in enumerate(arguments)}
        source.add(f"place, pack = {source.name(places)}[type({variable})]")
        return f"[place, pack({variable})]"
    raise TypeError(f"the codec has no form for {hint!r}")


def _unpacked(source: _Source, hint: Any, variable: str) -> str:
    """Write the checks of what msgpack gave; the expression of the value."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if isinstance(hint, typing.NewType):
        return _unpacked(source, hint.__supertype__, variable)
    if hint in _CHECKS:
        wrong, complaint = _CHECKS[hint]
        source.add(f"if {wrong.format(variable)}: refuse({complaint.format(variable)})")
        return variable
    if is_dataclass(hint) and isinstance(hint, type):
        return f"{source.name(form_of(hint).unpack)}({variable})"
    if isinstance(hint, type) and issubclass(hint, Enum):
        members = source.name({member.value: member for member in hint})
        source.add(f"if type({variable}) not in (int, str) or {variable} not in {members}:")
        source.add(f"    refuse(f'{{{variable}!r}} is not a {hint.__name__}')")
        return f"{members}[{variable}]"
    if origin is tuple and arguments[1:] == (Ellipsis,):
        unpack = source.name(form_of(arguments[0]).unpack)
        source.add(f"if type({variable}) is not list: refuse('expected an array')")
        return f"tuple([{unpack}(item) for item in {variable}]) if {variable} else ()"
    if origin is tuple:
        size = len(arguments)
        source.add(f"if type({variable}) is not list or len({variable}) != {size}:")
        source.add(f"    refuse('expected an array of {size}')")
        inside = _fixed(source, variable, [form_of(argument).unpack for argument in arguments])
        return f"tuple({inside})"
    if origin is Mapping:
        key, item = (source.name(form_of(argument).unpack) for argument in arguments)
        source.add(f"if type({variable}) is not dict: refuse('expected a map')")
        return f"{{{key}(k): {item}(v) for k, v in {variable}.items()}}"
    if origin in (typing.Union, types.UnionType):
        return _alternative(source, arguments, variable)
    raise TypeError(f"the codec has no form for {hint!r}")


def _fixed(source: _Source, variable: str, functions: list[Callable[[Any], Any]]) -> str:
    """An array of so many items, each by its own function; another number does not fit."""
    pairs = f"zip({source.name(functions)}, {variable}, strict=True)"
    return f"[function(item) for function, item in {pairs}]"


def _alternative(source: _Source, kinds: tuple[Any, ...], variable: str) -> str:
    """A union of dataclasses, told apart by their place in the union: [place, value]."""
    unpacks = source.name([form_of(kind).unpack for kind in kinds])
    source.add(
        f"if type({variable}) is not list or len({variable}) != 2 "
        f"or type({variable}[0]) is not int:"
    )
    source.add("    refuse('expected an array of place and value')")
    source.add(f"place, inner = {variable}")
    source.add(f"if not 0 <= place < {len(kinds)}: refuse(f'no alternative {{place}}')")
    return f"{unpacks}[place](inner)"


def _refuse(complaint: str) -> NoReturn:
    raise RemoteProtocolError(complaint)


def _refuse_to_pack(complaint: str) -> NoReturn:
    raise ValueError(complaint)
