"""For teams in which nobody can know everybody: a few neighbours each, and trees over them."""

from protocol.overlay.broadcast_tree import BroadcastTree
from protocol.overlay.core import Overlay
from protocol.overlay.partial_view import PartialView

__all__ = ["BroadcastTree", "Overlay", "PartialView"]
