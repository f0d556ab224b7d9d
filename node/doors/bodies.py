"""What clients send to a door, read strictly."""

from __future__ import annotations

from typing import Any

from aiohttp import web

from node.doors.answers import bad_request


async def mapping_of(request: web.Request, taken: tuple[str, ...] | None) -> dict[str, Any]:
    """The request's body: a mapping of what is taken, or of anything for None."""
    try:
        content = await request.json()
    except (ValueError, RecursionError) as fault:
        raise bad_request(f"expected a JSON object: {fault}") from None
    if not isinstance(content, dict):
        raise bad_request("expected a JSON object")
    if taken is not None:
        unknown = [name for name in content if name not in taken]
        if unknown:
            raise bad_request(f"there is no {unknown[0]!r} here: {' and '.join(taken)} can be said")
    return content
