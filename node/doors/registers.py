"""The registers at the client door: named values that the team agrees on.

    PUT    /v1/registers/KEY          the body is the value; ?expect=TEXT or ?absent=1 for a
                                      compare-and-set (Quorate-Expect: BASE64 for bytes)
    DELETE /v1/registers/KEY          whether or not there was one
    GET    /v1/registers/KEY          the value; ?consistency=linearizable, lease or local
    GET    /v1/registers?prefix=TEXT  keys, as far as this node knows; ?after=KEY goes on
    POST   /v1/registers              many commands in one body, done in their order

A write answers {"revision": n}; revisions only grow, so one serves as a fencing token. A value
comes with its revision in the header Quorate-Revision. A compare-and-set that finds another value
answers 412 and has changed nothing.

A batch is an array of [verb, key, value, expected], as JSON (values are text) or as MessagePack
(values are bytes); a verb is "put", "delete" or "cas" (expected null: only if there is none). It
is looked through before anything is done, and is no transaction: each command succeeds or fails
for itself. The answer, in the same format, is {"results": [...]}: a revision for each, or the
error as it would have been answered alone.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import json
from collections.abc import Mapping
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, unquote_to_bytes

import msgpack
from aiohttp import web

from node.doors import JSON, MSGPACK, OCTETS
from node.doors.answers import RequestFault, bad_request, status_of
from node.runtime import Runtime
from protocol.errors import QuorateError, TimedOut
from protocol.events import Consistency
from protocol.registers import VALUE_SIZE_MAX, Command, Refusal, Verb, Versioned, fault_of

ROOT = "/v1/registers"
EXPECT = "Quorate-Expect"  # a header: base64 of the bytes that a compare-and-set expects
REVISION = "Quorate-Revision"
BATCH_MAX = 10_000  # commands of one body
LIST_MAX = 1_000  # keys of one answer
VERBS = {"put": Verb.PUT, "delete": Verb.DELETE, "cas": Verb.CAS}
TAKEN: Mapping[str, tuple[str, ...]] = {
    "PUT": ("expect", "absent"),
    "DELETE": (),
    "GET": ("consistency",),
    "LIST": ("prefix", "after"),
}
REFUSALS = {
    Refusal.UNEQUAL: (412, "Unequal", "the value is not the expected one: nothing was changed"),
    Refusal.FULL: (507, "Full", "there is no room for another key or byte: delete some"),
    Refusal.MALFORMED: (400, "BadRequest", "no node understands this command"),
    Refusal.GIVEN_UP: (503, "Busy", "it was given up and did not happen: try again"),
}


class Answer(NamedTuple):
    """What a client is told; `revision` goes into a header unless it is 0."""

    status: int
    body: bytes
    kind: str = JSON
    revision: int = 0


class RegistersDoor:
    """See the module's text. `begin` and `told` are all that there is to one register; how the
    request came and how the answer goes is another matter."""

    def __init__(self, runtime: Runtime) -> None:
        self.runtime = runtime
        self.registers = runtime.peer.registers

    def routes(self) -> list[web.RouteDef]:
        """What this door serves."""
        one = ROOT + "/{key:.+}"
        return [
            web.put(one, self._one),
            web.delete(one, self._one),
            web.get(one, self._one),
            web.get(ROOT, self._list),
            web.post(ROOT, self._batch),
        ]

    # -- one register ----------------------------------------------------------------------------

    def begin(
        self, method: str, path: str, query: str, expect: str | None, body: bytes
    ) -> asyncio.Future[Any]:
        """Begin what is asked: `told` makes an answer of what the future has. `path` and `query`
        are as they came. RequestFault, and what the runtime raises."""
        key = _key(path[len(ROOT) + 1 :])
        asked = _parameters(method, query) if query else {}
        if method == "PUT":
            command = _put(key, body, asked, expect)
        elif method == "DELETE":
            command = Command(Verb.DELETE, key)
        else:
            return self.runtime.read(key, _consistency(asked))
        fault = fault_of(command)
        if fault:
            is_large = len(body) > VALUE_SIZE_MAX
            raise RequestFault(413, "TooLarge", fault) if is_large else bad_request(fault)
        return self.runtime.command(command)

    def told(self, result: int | Versioned | None) -> Answer:
        """The answer to what happened: a revision, a refusal, or what was read."""
        match result:
            case int():
                if result > 0:
                    return Answer(200, b'{"revision": %d}' % result)
                return fault_answer(_refusal(result))
            case None:
                return fault_answer(RequestFault(404, "NotFound", "there is no such register"))
            case Versioned():
                return Answer(200, result.value, OCTETS, result.revision)

    async def _one(self, request: web.Request) -> web.StreamResponse:
        url = request.rel_url
        body = await request.read()
        method = "GET" if request.method == "HEAD" else request.method
        expect = request.headers.get(EXPECT)
        result = await self.begin(method, url.raw_path, url.raw_query_string, expect, body)
        return _response(self.told(result))

    # -- many ------------------------------------------------------------------------------------

    async def _list(self, request: web.Request) -> web.StreamResponse:
        asked = _parameters("LIST", request.rel_url.raw_query_string)
        prefix, after = asked.get("prefix", ""), asked.get("after", "")
        found = self.registers.scan(prefix, after, LIST_MAX + 1)
        rows = [
            {"key": key, "revision": held.revision, "size": len(held.value)}
            for key, held in found[:LIST_MAX]
        ]
        revision, more = self.registers.revision, len(found) > LIST_MAX
        return web.json_response({"revision": revision, "registers": rows, "more": more})

    async def _batch(self, request: web.Request) -> web.StreamResponse:
        is_packed = request.content_type == MSGPACK
        commands = _commands(_content(await request.read(), is_packed))
        results = await self.runtime.commands(commands)
        faults = [each for each in results if isinstance(each, QuorateError)]
        if faults and len(faults) == len(results):
            raise next((fault for fault in faults if isinstance(fault, TimedOut)), faults[0])
        rows = {"results": [_row(each) for each in results]}
        if is_packed:
            return web.Response(body=msgpack.packb(rows), content_type=MSGPACK)
        return web.json_response(rows)


def fault_answer(fault: QuorateError) -> Answer:
    """An error as the answer to one request."""
    status, kind = status_of(fault)
    return Answer(status, json.dumps({"error": kind, "detail": str(fault)}).encode())


def _refusal(result: int) -> RequestFault:
    return RequestFault(*REFUSALS[Refusal(result)])


def _response(answer: Answer) -> web.Response:
    headers = {REVISION: str(answer.revision)} if answer.revision else {}
    return web.Response(
        status=answer.status, body=answer.body, content_type=answer.kind, headers=headers
    )


def _row(result: int | QuorateError) -> int | dict[str, str]:
    """One command's result within a batch."""
    if isinstance(result, int):
        if result > 0:
            return result
        result = _refusal(result)
    return {"error": status_of(result)[1], "detail": str(result)}


# -- what a request says -----------------------------------------------------------------------


def _key(raw: str) -> str:
    """A key as it stands in a path."""
    if "%" not in raw:
        return raw
    try:
        return unquote_to_bytes(raw).decode()
    except UnicodeDecodeError:
        raise bad_request("a key is UTF-8") from None


def _parameters(method: str, query: str) -> dict[str, str]:
    """The query's parameters. One that is not known is refused: a condition with a typing error in
    it would be none."""
    taken = TAKEN[method]
    try:
        pairs = parse_qsl(
            query, keep_blank_values=True, strict_parsing=bool(query), max_num_fields=8
        )
    except ValueError:
        raise bad_request("the query is not name=value") from None
    for name, _ in pairs:
        if name not in taken:
            known = f"known are {', '.join(taken)}" if taken else "none is taken here"
            raise bad_request(f"there is no parameter {name!r}: {known}")
    found = dict(pairs)
    if len(found) != len(pairs):
        raise bad_request("a parameter is there twice")
    return found


def _put(key: str, value: bytes, asked: Mapping[str, str], expect: str | None) -> Command:
    """The write that is asked for, with its condition if it has one."""
    if len(asked) + (expect is not None) > 1:
        raise bad_request(f"one condition is enough: expect, absent or {EXPECT}")
    if "absent" in asked:
        if asked["absent"] != "1":
            raise bad_request("?absent=1 writes if there is no value")
        return Command(Verb.CAS, key, value, None)
    if "expect" in asked:
        return Command(Verb.CAS, key, value, asked["expect"].encode())
    if expect is None:
        return Command(Verb.PUT, key, value)
    try:
        return Command(Verb.CAS, key, value, base64.b64decode(expect, validate=True))
    except (binascii.Error, ValueError):
        raise bad_request(f"{EXPECT} is base64") from None


def _consistency(asked: Mapping[str, str]) -> Consistency:
    wanted = asked.get("consistency", Consistency.LINEARIZABLE.value)
    try:
        return Consistency(wanted)
    except ValueError:
        known = ", ".join(each.value for each in Consistency)
        raise bad_request(f"there is no consistency {wanted!r}: choose one of {known}") from None


def _content(body: bytes, is_packed: bool) -> object:
    try:
        return msgpack.unpackb(body, raw=False) if is_packed else json.loads(body)
    except (ValueError, TypeError, RecursionError, msgpack.exceptions.UnpackException) as fault:
        raise bad_request(f"the body is not what it says: {fault}") from None


def _commands(content: object) -> list[Command]:
    """The commands of a batch, all of them or none."""
    if not isinstance(content, list):
        raise bad_request("expected an array of [verb, key, value, expected]")
    if len(content) > BATCH_MAX:
        raise RequestFault(413, "TooLarge", f"a batch has at most {BATCH_MAX} commands")
    commands = []
    for number, row in enumerate(content, 1):
        command = _command(row)
        if isinstance(command, str):
            raise bad_request(f"command {number}: {command}")
        commands.append(command)
    return commands


def _command(row: object) -> Command | str:
    """A command of a batch, or what is wrong with it."""
    if not isinstance(row, list) or not 2 <= len(row) <= 4:
        return "expected [verb, key, value, expected]"
    verb = VERBS.get(row[0]) if isinstance(row[0], str) else None
    if verb is None:
        return f"there is no verb {row[0]!r}: put, delete or cas"
    if not isinstance(row[1], str):
        return "a key is text"
    value = _octets(row[2]) if len(row) > 2 else None
    expected = _octets(row[3]) if len(row) > 3 else None
    if verb is Verb.DELETE:
        command = Command(verb, row[1])
    elif value is None:
        return "a value is text or bytes"
    elif expected is None and len(row) > 3 and row[3] is not None:
        return "what is expected is text, bytes or null"
    else:
        command = Command(verb, row[1], value, expected)
    return fault_of(command) or command


def _octets(value: object) -> bytes | None:
    """Bytes, or the bytes of a text; None for anything else."""
    if isinstance(value, bytes):
        return value
    return value.encode("utf-8", "surrogatepass") if isinstance(value, str) else None
