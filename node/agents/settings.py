"""How this node's agents are set up.

Invariant: settings that exist are valid; the key never shows in a repr or a log.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path

from node.agents.prices import said_prices
from node.model.knobs import ModelKnobs
from protocol.errors import InvalidJob, QuorateError

OPENAI_URL = "https://api.openai.com/v1"
PROGRAM_VARIABLES = "QUORATE_PROGRAM_ENV"
RATE_VARIABLE = "QUORATE_RATE"
RATE_MAX = 1_000_000.0
FORMAT_VARIABLE = "QUORATE_ANSWER_FORMAT"


class VariableError(QuorateError):
    """An environment variable says what cannot be meant."""


class AnswerFormat(Enum):
    """In which form models are asked for files, and judges for their verdict."""

    FENCED = "fenced"  # files in fenced blocks, verdicts in lines: any endpoint can
    JSON = "json"  # by a JSON schema, where the endpoint takes one
    AUTO = "auto"  # files in fences, as code suffers in JSON; by a schema where those have failed


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
    rate: float = 0.0  # calls a second that the endpoint allows the whole team; 0: not known
    answer_format: AnswerFormat = AnswerFormat.AUTO
    answer_tokens_max: int = 4_096  # of one answer, where a budget is kept
    invocations_max: int = 8  # agents at work at once; more wait for their turn
    program_variables: tuple[str, ...] = ()
    simulated_url: str = ""
    simulated: ModelKnobs = field(default_factory=ModelKnobs)

    def __post_init__(self) -> None:
        for name in ("request_timeout_s", "backoff_first_s", "backoff_max_s"):
            value = getattr(self, name)
            if not 0.0 < value < float("inf"):
                raise ValueError(f"{name} {value} must be a number of seconds above 0")
        if not 0.0 <= self.rate <= RATE_MAX:
            raise ValueError(
                f"rate {self.rate} must be 0 (not known) to {RATE_MAX:g} calls a second"
            )
        for name in ("tries_max", "invocations_max", "answer_tokens_max"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} {getattr(self, name)} must be at least 1")

    @classmethod
    def from_environment(
        cls, environment: Mapping[str, str], scratch: Path, simulated: ModelKnobs | None = None
    ) -> AgentSettings:
        """Settings with the endpoint that OPENAI_BASE_URL, _API_KEY and _MODEL name, and for
        programs the variables that QUORATE_PROGRAM_ENV lists (by commas or blanks). VariableError
        if one says what cannot be meant, also of prices, which are looked up when they are needed.
        """
        try:
            said_prices(environment)
        except InvalidJob as fault:
            raise VariableError(str(fault)) from None
        return cls(
            scratch=scratch,
            base_url=environment.get("OPENAI_BASE_URL", "").strip(),
            api_key=environment.get("OPENAI_API_KEY", "").strip(),
            model=environment.get("OPENAI_MODEL", "").strip(),
            rate=_rate_of(environment.get(RATE_VARIABLE, "")),
            answer_format=_format_of(environment.get(FORMAT_VARIABLE, "")),
            program_variables=tuple(
                environment.get(PROGRAM_VARIABLES, "").replace(",", " ").split()
            ),
            simulated=simulated or ModelKnobs(),
        )


def _format_of(text: str) -> AnswerFormat:
    """VariableError if it is none of the formats."""
    try:
        return AnswerFormat(text.strip().lower() or AnswerFormat.AUTO.value)
    except ValueError:
        formats = ", ".join(each.value for each in AnswerFormat)
        raise VariableError(
            f"{FORMAT_VARIABLE}={text!r} is no format of answers: use one of {formats}"
        ) from None


def _rate_of(text: str) -> float:
    """Calls a second: '10', '10/s' or '600/m'. VariableError if it is something else."""
    number, _, unit = text.strip().partition("/")
    if not number:
        return 0.0
    try:
        return float(number) / {"": 1.0, "s": 1.0, "m": 60.0}[unit.strip()]
    except (ValueError, KeyError):
        raise VariableError(
            f"{RATE_VARIABLE}={text!r} is no rate: write calls a second or a minute, as in 10/s "
            "or 600/m"
        ) from None
