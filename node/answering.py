"""Programs of this node's user that answer queries: `quorate node --answer NAME=PROGRAM`.

The payload comes on standard input and the answer is what the program prints, or "ok" if it prints
nothing. QUORATE_QUERY is the query's name and QUORATE_ORIGIN the id of the node that asks. Any
member may ask, so a program must be fit for any payload; what is run is the node's user's choice.

Invariant: a program has as long as who asks waits, and so many run at a time; afterwards it is gone
with all that it started. One that fails answers nothing, and the node's log says why. What has been
asked too long ago is not answered: a node that was away must not do then what was wanted before.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping
from pathlib import Path

from node.agents.process import Ended, environment_for_programs, run_process
from node.agents.scratch import scratch_folder
from protocol.announcing import PAYLOAD_SIZE_MAX, QUERY_TIMEOUT_MAX
from protocol.clocks import MILLISECOND, SECOND
from protocol.effects import Asked
from protocol.events import Answered, Event

PROGRAMS_MAX = 8  # at a time
SAID_SIZE_MAX = 500  # characters of a program's last words in the log
DONE = "ok"  # of a program that prints nothing: an empty answer means that a node has none


class AnswerPrograms:
    """See the module's text. `programs` are shell lines by the query's name; they run in folders
    below `scratch`, with the environment `variables` beyond the usual. `say` writes the log."""

    def __init__(
        self,
        programs: Mapping[str, str],
        scratch: Path,
        variables: Collection[str],
        deliver: Callable[[Event], None],
        say: Callable[[str], None],
    ) -> None:
        self._programs = programs
        self._scratch = scratch
        self._environment = environment_for_programs(variables)
        self._deliver = deliver
        self._say = say
        self._running: set[asyncio.Task[None]] = set()

    def know(self, name: str) -> bool:
        """Whether there is a program for such queries."""
        return name in self._programs

    def start(self, asked: Asked) -> None:
        """Let the program answer; returns at once."""
        if asked.age_ms * MILLISECOND > QUERY_TIMEOUT_MAX:
            age_s = asked.age_ms * MILLISECOND // SECOND
            self._give_up(asked, f"it was asked {age_s} s ago, by the clocks of both nodes")
        elif len(self._running) >= PROGRAMS_MAX:
            self._give_up(asked, f"{PROGRAMS_MAX} others are being answered")
        else:
            task = asyncio.create_task(self._answer(asked), name=f"query {asked.name}")
            self._running.add(task)
            task.add_done_callback(self._running.discard)

    async def close(self) -> None:
        """End what runs."""
        running = list(self._running)
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)

    async def _answer(self, asked: Asked) -> None:
        environment = {
            **self._environment,
            "QUORATE_QUERY": asked.name,
            "QUORATE_ORIGIN": asked.origin,
        }
        timeout_s = asked.timeout_ms * MILLISECOND / SECOND
        try:
            async with asyncio.timeout(timeout_s), scratch_folder(self._scratch) as folder:
                ended = await run_process(
                    self._programs[asked.name],
                    folder,
                    environment,
                    asked.payload.encode(errors="replace"),
                    PAYLOAD_SIZE_MAX,
                )
        except TimeoutError:
            self._give_up(asked, f"the program has not ended within {timeout_s:g} s")
        except OSError as fault:
            self._give_up(asked, f"the program cannot be run: {fault.strerror or fault}")
        else:
            self._take(asked, ended)

    def _take(self, asked: Asked, ended: Ended) -> None:
        """Give what the program printed; but first of all, whether all was well: an output that was
        cut may end inside a character."""
        if ended.fate:
            said = ended.last_lines(SAID_SIZE_MAX).replace("\n", " | ")
            self._give_up(asked, f"the program {ended.fate}" + (f": {said}" if said else ""))
            return
        try:
            answer = ended.output.decode().rstrip()
        except UnicodeDecodeError:
            self._give_up(asked, "the program printed what is not UTF-8 text")
        else:
            self._deliver(Answered(asked.origin, asked.number, answer or DONE))

    def _give_up(self, asked: Asked, why: str) -> None:
        self._say(f"! query {asked.name} of {asked.origin} is not answered: {why}")
