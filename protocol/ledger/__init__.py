"""The ledger: what the log says of jobs. `commands` go in, `core` applies them to the `state`."""

from protocol.ledger.commands import (
    AbandonTask,
    AcceptResult,
    ClaimTask,
    CloneTask,
    Command,
    FenceTask,
    GrantBudget,
    JudgeAnswers,
    ReviewResult,
    SubmitJob,
    decode_command,
    encode_command,
)
from protocol.ledger.core import JOBS_MAX, LATE_MAX, TOKEN_MAX, Ledger
from protocol.ledger.state import (
    ANSWER_LENGTH_MAX,
    Answer,
    Grant,
    JobState,
    Slot,
    TaskState,
    Unit,
    fault_of_result,
)

__all__ = [
    "ANSWER_LENGTH_MAX",
    "JOBS_MAX",
    "LATE_MAX",
    "TOKEN_MAX",
    "AbandonTask",
    "AcceptResult",
    "Answer",
    "ClaimTask",
    "CloneTask",
    "Command",
    "FenceTask",
    "Grant",
    "GrantBudget",
    "JobState",
    "JudgeAnswers",
    "Ledger",
    "ReviewResult",
    "Slot",
    "SubmitJob",
    "TaskState",
    "Unit",
    "decode_command",
    "encode_command",
    "fault_of_result",
]
