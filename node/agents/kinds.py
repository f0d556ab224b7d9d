"""The kinds of agent, by the name a task uses.

Invariant: one agent per kind and node, made when a task first needs it, so that a node pays only
for what its jobs use.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from node.agents import Agent, AgentError
from node.agents.settings import AgentSettings
from protocol.events import Failure
from protocol.jobs import HUMAN

if TYPE_CHECKING:
    from node.agents.human_agent import HumanAgent


def _make_openai(settings: AgentSettings) -> Agent:
    from node.agents.chat import ChatEndpoint
    from node.agents.openai_agent import OpenAIAgent

    return OpenAIAgent(ChatEndpoint(settings), settings.answer_format)


def _make_simulated(settings: AgentSettings) -> Agent:
    from node.agents.simulated_agent import SimulatedAgent

    return SimulatedAgent(settings)


def _make_command(settings: AgentSettings) -> Agent:
    from node.agents.command_agent import CommandAgent

    return CommandAgent(settings.program_variables)


def _make_python(settings: AgentSettings) -> Agent:
    from node.agents.python_agent import PythonAgent

    return PythonAgent(settings.program_variables)


def _make_human(settings: AgentSettings) -> Agent:
    from node.agents.human_agent import HumanAgent

    return HumanAgent()


KINDS: dict[str, Callable[[AgentSettings], Agent]] = {
    "simulated": _make_simulated,
    "openai": _make_openai,
    "command": _make_command,
    "python": _make_python,
    HUMAN: _make_human,
}


class Agents:
    """The agents of one node."""

    def __init__(self, settings: AgentSettings) -> None:
        self._settings = settings
        self._made: dict[str, Agent] = {}

    def of(self, kind: str) -> Agent:
        """The agent of this kind; AgentError if there is no such kind."""
        if kind not in KINDS:
            raise AgentError(
                Failure.AGENT, f"there is no agent {kind!r}: use one of {', '.join(KINDS)}"
            )
        if kind not in self._made:
            self._made[kind] = KINDS[kind](self._settings)
        return self._made[kind]

    @property
    def people(self) -> HumanAgent:
        """Where people answer."""
        from node.agents.human_agent import HumanAgent

        agent = self.of(HUMAN)
        assert isinstance(agent, HumanAgent)
        return agent

    async def close(self) -> None:
        """Close all that were made."""
        for agent in self._made.values():
            await agent.close()
        self._made.clear()
