"""Who is in the team, who reaches whom, and what is wrong with those who do not answer."""

from protocol.membership.core import Membership
from protocol.membership.members import Member
from protocol.membership.records import NAME_LENGTH_MAX, fault_of_record, sign_record
from protocol.membership.states import Evidence, State

__all__ = [
    "NAME_LENGTH_MAX",
    "Evidence",
    "Member",
    "Membership",
    "State",
    "fault_of_record",
    "sign_record",
]
