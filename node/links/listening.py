"""A bound socket, or one line that says why there is none and what to do.

Binding is kept apart from serving, so that a node knows its address before it starts anything, and
a launcher may bind for its children.
"""

from __future__ import annotations

import errno
import os
import socket

from protocol.errors import QuorateError

PORT_MAX = 65_535


class CannotListen(QuorateError):
    """The address cannot be bound. One line: which, why, and what to do."""


def listen_on(host: str, port: int) -> socket.socket:
    """A socket that is bound and listens; port 0 lets the system choose."""
    if not 0 <= port <= PORT_MAX:
        raise CannotListen(f"port {port} does not exist: choose one in 1..{PORT_MAX}, or 0 for any")
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except socket.gaierror as fault:
        raise _cannot_listen(host, port, fault) from None
    family, kind, protocol, _, address = found[0]
    listener = socket.socket(family, kind, protocol)
    try:
        # A port whose last connections are still in TIME_WAIT may be taken, one in use may not.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen()
    except OSError as fault:
        listener.close()
        raise _cannot_listen(host, port, fault) from None
    return listener


def endpoint_of(listener: socket.socket) -> str:
    """The "host:port" of a bound socket."""
    host, port = listener.getsockname()[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _cannot_listen(host: str, port: int, fault: OSError) -> CannotListen:
    match fault.errno:
        case errno.EADDRINUSE:
            return CannotListen(
                f"port {port} on {host} is in use by another process: stop it, or choose another "
                f"port (0 takes a free one)"
            )
        case errno.EACCES:
            return CannotListen(f"port {port} on {host} needs privileges: choose one above 1023")
        case _:
            reason = fault.strerror or os.strerror(fault.errno or errno.EINVAL)
            return CannotListen(
                f"cannot listen on {host}:{port} ({reason}): choose an address of this machine"
            )
