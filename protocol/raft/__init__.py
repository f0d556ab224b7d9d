"""Agreement: Raft, whole. `core.Raft` is the machine; `by_hand.RaftNode` is the same for hosts that
are not a `Peer`: tests, studies, other programs.
"""

from protocol.raft.core import Raft
from protocol.raft.status import RaftStatus, Role

__all__ = ["Raft", "RaftStatus", "Role"]
