"""The replicated store: signed entries of each author, values with their causal context."""

from protocol.store.batches import (
    ENTRIES_PER_BATCH_MAX,
    KEY_LENGTH_MAX,
    VALUE_SIZE_MAX,
    Batch,
    Body,
    Entry,
)
from protocol.store.core import Store
from protocol.store.families import Families, Join
from protocol.store.keys import Version
from protocol.store.matrix import Matrix
from protocol.store.outcomes import Equivocation, Gap, Lacking, Merged, QuotaReached
from protocol.store.own_words import word_of
from protocol.store.sums import PARTS, part_of

__all__ = [
    "ENTRIES_PER_BATCH_MAX",
    "KEY_LENGTH_MAX",
    "PARTS",
    "VALUE_SIZE_MAX",
    "Batch",
    "Body",
    "Entry",
    "Equivocation",
    "Families",
    "Gap",
    "Join",
    "Lacking",
    "Matrix",
    "Merged",
    "QuotaReached",
    "Store",
    "Version",
    "part_of",
    "word_of",
]
