"""`python -m node.model`: the simulated model as a process of its own, until SIGTERM or SIGINT."""

from __future__ import annotations

import argparse
import asyncio
import signal
import socket
import sys

from node.hiding import hide_from_programs
from node.model.knobs import MODELS, RATES, ModelKnobs
from node.model.server import start_model
from node.parent import watch_parent

USAGE_ERROR = 2


def main() -> int:
    """Read the arguments and serve; 2 if they cannot be served."""
    parser = _parser()
    arguments = parser.parse_args()
    hide_from_programs()  # whoever starts it by hand may have a key in the environment
    chosen = vars(arguments)
    host, port = chosen.pop("host"), chosen.pop("port")
    with_parent, inherited = chosen.pop("stop_with_parent"), chosen.pop("listen_fd")
    try:
        knobs = ModelKnobs(**chosen)
    except ValueError as fault:
        parser.error(str(fault))
    try:
        asyncio.run(_serve(knobs, host, port, with_parent, inherited))
    except OSError as fault:
        reason = fault.strerror or fault
        print(f"cannot listen on {host}:{port} ({reason}): choose another --port", file=sys.stderr)
        return USAGE_ERROR
    return 0


async def _serve(
    knobs: ModelKnobs, host: str, port: int, with_parent: bool, inherited: int
) -> None:
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    if with_parent:
        await watch_parent(stopped)
    bound = socket.socket(fileno=inherited) if inherited >= 0 else None
    model = await start_model(knobs, host, port, bound=bound)
    try:
        print(f"listening {model.url}", flush=True)
        await stopped.wait()
    finally:
        await model.close()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m node.model", description="The simulated model, OpenAI-compatible."
    )
    plain = ModelKnobs()
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0, help="0: any free one")
    parser.add_argument("--model", choices=MODELS, default=plain.model, help="whose figures")
    parser.add_argument("--seed", type=int, default=plain.seed)
    parser.add_argument("--speed", type=float, default=plain.speed, help="divides latencies")
    parser.add_argument("--requests-per-second", type=float, default=0.0, help="0: no limit")
    parser.add_argument(
        "--keep-calls", action="store_true", help="and tell of them at /v1/calls, without a token"
    )
    for name in RATES:
        parser.add_argument(
            f"--{name.replace('_', '-')}", type=float, default=0.0, help="share of requests, 0..1"
        )
    parser.add_argument("--listen-fd", type=int, default=-1, help=argparse.SUPPRESS)
    parser.add_argument("--stop-with-parent", action="store_true", help=argparse.SUPPRESS)
    return parser


if __name__ == "__main__":
    sys.exit(main())
