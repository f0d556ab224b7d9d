"""Who is in the team, who reaches whom, and what is wrong with those who do not answer."""

from protocol.membership.core import Membership
from protocol.membership.members import Member
from protocol.membership.records import (
    ENDPOINTS_MAX,
    NAME_LENGTH_MAX,
    fault_of_record,
    fault_of_tags,
    sign_record,
    tagged,
    tags_of,
)
from protocol.membership.states import State

__all__ = [
    "ENDPOINTS_MAX",
    "NAME_LENGTH_MAX",
    "Member",
    "Membership",
    "State",
    "fault_of_record",
    "fault_of_tags",
    "sign_record",
    "tagged",
    "tags_of",
]
