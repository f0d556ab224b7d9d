"""How this node's agents are set up.

Invariant: settings that exist are valid; the key never shows in a repr or a log.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from node.model.knobs import ModelKnobs

OPENAI_URL = "https://api.openai.com/v1"
VERIFY_TIMEOUT_S = 60.0
PROGRAM_VARIABLES = "QUORATE_PROGRAM_ENV"


@dataclass(frozen=True, slots=True)
class AgentSettings:
    """`scratch` is the folder under which every working folder is made.

    `base_url`, `api_key` and `model` are those of the `openai` agent. `simulated_url` points the
    `simulated` agent at a model server that runs already; empty starts one inside this process
    when it is first needed, set up by `simulated`.

    `program_variables` names the environment variables that `command` and `python` agents get
    beyond the harmless ones every program gets (`process.PASSED_VARIABLES`). Checks get them too,
    except those that look like credentials.
    """

    scratch: Path
    base_url: str = ""
    api_key: str = field(default="", repr=False)
    model: str = ""
    stream: bool = True
    request_timeout_s: float = 120.0  # silence from the endpoint for this long is a hang
    tries_max: int = 6  # requests for one answer: about 30 s of back-off in all
    backoff_first_s: float = 0.5
    backoff_max_s: float = 20.0
    invocations_max: int = 8  # agents at work at once; more wait for their turn
    verify_timeout_s: float = VERIFY_TIMEOUT_S
    program_variables: tuple[str, ...] = ()
    simulated_url: str = ""
    simulated: ModelKnobs = field(default_factory=ModelKnobs)

    def __post_init__(self) -> None:
        for name in ("request_timeout_s", "backoff_first_s", "backoff_max_s", "verify_timeout_s"):
            value = getattr(self, name)
            if not 0.0 < value < float("inf"):
                raise ValueError(f"{name} {value} must be a number of seconds above 0")
        for name in ("tries_max", "invocations_max"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} {getattr(self, name)} must be at least 1")

    @classmethod
    def from_environment(
        cls, environment: Mapping[str, str], scratch: Path, simulated: ModelKnobs | None = None
    ) -> AgentSettings:
        """Settings with the endpoint that OPENAI_BASE_URL, _API_KEY and _MODEL name, and for
        programs the variables that QUORATE_PROGRAM_ENV lists (by commas or blanks)."""
        return cls(
            scratch=scratch,
            base_url=environment.get("OPENAI_BASE_URL", "").strip(),
            api_key=environment.get("OPENAI_API_KEY", "").strip(),
            model=environment.get("OPENAI_MODEL", "").strip(),
            program_variables=tuple(
                environment.get(PROGRAM_VARIABLES, "").replace(",", " ").split()
            ),
            simulated=simulated or ModelKnobs(),
        )
