"""The agent that needs no key: the ordinary openai agent, pointed at the embedded model.

Invariant: everything it reports is marked as simulated. The model server runs inside this process
from the first question until `close`, unless the settings name one that runs elsewhere.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

from node.agents import AgentResult, Progress
from node.agents.chat import ChatEndpoint
from node.agents.openai_agent import OpenAIAgent
from node.agents.settings import AgentSettings
from node.model.server import SERVED_MODEL, RunningModel, start_model
from protocol.effects import Assignment


class SimulatedAgent:
    """Starts the embedded endpoint when it is first needed, and talks to it over HTTP."""

    def __init__(self, settings: AgentSettings) -> None:
        self._settings = settings
        self._starting = asyncio.Lock()
        self._model: RunningModel | None = None
        self._agent: OpenAIAgent | None = None

    async def prepare(self) -> None:
        """Load the client and start the model."""
        agent = await self._connected()
        await agent.prepare()

    async def run(self, assignment: Assignment, workspace: Path, progress: Progress) -> AgentResult:
        """Do the task as the openai agent does."""
        agent = await self._connected()
        return await agent.run(assignment, workspace, progress)

    async def close(self) -> None:
        """Close the connections and stop the model if it is ours."""
        if self._agent is not None:
            await self._agent.close()
            self._agent = None
        if self._model is not None:
            await self._model.close()
            self._model = None

    async def _connected(self) -> OpenAIAgent:
        async with self._starting:
            if self._agent is None:
                url = self._settings.simulated_url
                if not url:
                    self._model = self._model or await start_model(self._settings.simulated)
                    url = self._model.url
                settings = replace(
                    self._settings, base_url=url, api_key="simulated", model=SERVED_MODEL
                )
                endpoint = ChatEndpoint(settings, simulated=True)
                self._agent = OpenAIAgent(endpoint, settings.answer_format)
        return self._agent
