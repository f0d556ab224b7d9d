"""A member of a kinship team, for `bench.py gossip`: NAME ADDRESS SEED, with ports.

Takes orders as lines on standard input: "join", "event NAME". Prints JSON lines: what it hears of
whom, and when. kinship is told its seeds before it starts, so all but the seed start it to join.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time

import kinship

PAYLOAD = b"x" * 64
KINDS = {
    "MemberJoined": "joined",
    "MemberDead": "failed",
    "MemberLeft": "left",
}


def tell(kind: str, who: str = "") -> None:
    print(json.dumps({"at": time.time(), "kind": kind, "who": who}), flush=True)


async def listen(events: kinship.EventStream) -> None:
    """Tell what happens to the team."""
    async for event in events:
        name = type(event).__name__
        if name == "UserMessage":
            tell("event", event.data.removesuffix(PAYLOAD).decode())
        elif name in KINDS:
            tell(KINDS[name], event.member.name)


async def main(name: str, address: str, seed: str) -> None:
    orders = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(orders), sys.stdin
    )
    settings = kinship.Config.lan(name=name, bind=address, seeds=[seed], insecure_plaintext=True)
    cluster = kinship.Cluster(settings)
    if address != seed:
        tell("ready")
        await orders.readline()
    await cluster.start()
    listening = asyncio.create_task(listen(cluster.events()))
    for member in cluster.members():
        tell("joined", member.name)
    if address == seed:
        tell("ready")
    while order := (await orders.readline()).decode().split():
        if order[0] == "event":
            tell("event", order[1])
            await cluster.broadcast(order[1].encode() + PAYLOAD)
    listening.cancel()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:4]))
