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
    MergeFile,
    ReviewMerge,
    ReviewResult,
    SubmitJob,
    decode_command,
    encode_command,
)
from protocol.ledger.core import LATE_MAX, TOKEN_MAX, Ledger
from protocol.ledger.edits import Edits, Merge, ProposedMerges, Siblings
from protocol.ledger.provenance import NOWHERE, Place, decode_leader, encode_leader
from protocol.ledger.resuming import why_anew
from protocol.ledger.retention import JOBS_MAX
from protocol.ledger.state import (
    ANSWER_LENGTH_MAX,
    Answer,
    Grant,
    JobState,
    Slot,
    TaskState,
    Unit,
    fault_of_result,
    load_of,
)

__all__ = [
    "ANSWER_LENGTH_MAX",
    "JOBS_MAX",
    "LATE_MAX",
    "NOWHERE",
    "TOKEN_MAX",
    "AbandonTask",
    "AcceptResult",
    "Answer",
    "ClaimTask",
    "CloneTask",
    "Command",
    "Edits",
    "FenceTask",
    "Grant",
    "GrantBudget",
    "JobState",
    "JudgeAnswers",
    "Ledger",
    "Merge",
    "MergeFile",
    "Place",
    "ProposedMerges",
    "ReviewMerge",
    "ReviewResult",
    "Siblings",
    "Slot",
    "SubmitJob",
    "TaskState",
    "Unit",
    "decode_command",
    "decode_leader",
    "encode_command",
    "encode_leader",
    "fault_of_result",
    "load_of",
    "why_anew",
]
