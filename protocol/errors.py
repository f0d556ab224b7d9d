"""What can go wrong, as a tree.

    QuorateError
    ├── RemoteProtocolError     a peer sent something that is not the protocol: count it, drop it
    ├── InvalidJob              a job that cannot be run; the message names the fault and the remedy
    ├── InvalidEvent            an event that nobody would take; likewise
    ├── InvalidEntry            an entry that nobody would take; likewise
    ├── InvalidTag              a tag that nobody would take; likewise
    ├── InvalidStudy            a study that cannot be run; likewise
    ├── DefiniteError           the request did not happen
    │   ├── NotLeader           this node does not lead; the message says who does, if known
    │   ├── NoLeader            nobody has led for too long
    │   ├── NotPossible         it cannot be done here, now or ever
    │   ├── ChangeRefused       these voters cannot be had from those, or not now
    │   └── Busy                a bound was reached; try again later
    └── IndefiniteError         the request may have happened
        └── TimedOut

Bugs are assertions, not errors (and Python is never run with -O).
"""


class QuorateError(Exception):
    """Base of everything Quorate raises on purpose."""


class RemoteProtocolError(QuorateError):
    """Bytes from a peer that no correct peer of this version sends."""


class InvalidJob(QuorateError):
    """A job definition that cannot be run. One line: what is wrong, and what to do."""


class InvalidEntry(QuorateError):
    """A key or value of an entry out of its bounds."""


class InvalidTag(QuorateError):
    """A word of an operator on a node out of its bounds."""


class InvalidStudy(QuorateError):
    """A shape or setting of a study that cannot be had. One line: what is wrong, what to do."""


class InvalidEvent(QuorateError):
    """A name or payload of an event out of its bounds."""


class DefiniteError(QuorateError):
    """The request did not happen and may be repeated safely."""


class Busy(DefiniteError):
    """A queue or quota is full."""


class NotLeader(DefiniteError):
    """Only a leader can do this."""


class NoLeader(DefiniteError):
    """A majority of the voters is out of reach, or they have not agreed on a leader."""


class NotPossible(DefiniteError):
    """The message says why, and what would be possible."""


class ChangeRefused(DefiniteError):
    """A change of the voters that is impossible, or that has to wait for another one."""


class IndefiniteError(QuorateError):
    """The request may or may not have happened."""


class TimedOut(IndefiniteError):
    """No answer within the deadline."""
