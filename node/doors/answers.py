"""What a door answers when it cannot do what it was asked: JSON {"error": kind, "detail": text}."""

from __future__ import annotations

import json

from aiohttp import web

from protocol.errors import (
    ChangeRefused,
    DefiniteError,
    IndefiniteError,
    InvalidEntry,
    InvalidEvent,
    InvalidJob,
    InvalidTag,
    NotPossible,
    QuorateError,
    RemoteProtocolError,
)


class RequestFault(QuorateError):
    """The request is at fault: nothing was done. `status` and `kind` are what the client sees."""

    def __init__(self, status: int, kind: str, detail: str) -> None:
        super().__init__(detail)
        self.status = status
        self.kind = kind


def bad_request(detail: str) -> RequestFault:
    return RequestFault(400, "BadRequest", detail)


def status_of(fault: QuorateError) -> tuple[int, str]:
    """The status of an error, and the name that it goes by."""
    match fault:
        case RequestFault():
            return fault.status, fault.kind
        case InvalidJob() | InvalidEvent() | InvalidEntry() | InvalidTag():
            return 400, type(fault).__name__
        case RemoteProtocolError():
            return 400, "BadRequest"
        case NotPossible() | ChangeRefused():
            return 409, type(fault).__name__
        case DefiniteError():
            return 503, type(fault).__name__
        case IndefiniteError():
            return 504, type(fault).__name__
        case _:
            return 500, type(fault).__name__


def error_answer(status: int, kind: str, detail: str) -> web.Response:
    """An error as every door says it."""
    return web.json_response({"error": kind, "detail": detail}, status=status)


def not_found(detail: str) -> web.HTTPNotFound:
    """To be raised."""
    body = json.dumps({"error": "NotFound", "detail": detail})
    return web.HTTPNotFound(text=body, content_type="application/json")
