"""A member's record: what a node says of itself. Only its owner can sign one, so nobody else can
refute, leave, rename or move for it, and whoever passes it on cannot change it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache
from itertools import chain

from protocol import codec
from protocol.identity import KEY_SIZE, Identity
from protocol.messages.membership import MemberRecord

ENDPOINTS_MAX = 8
NAME_LENGTH_MAX = 64
RECORD_TEXT_MAX = 4_000  # characters of endpoints and metadata together
VERSION_MAX = 2**62  # of epoch and incarnation: nobody could count on from more
METADATA_MAX = 16
PAGE_RECORDS_MAX = 1_000  # of one MemberSync: the largest records must fit into a frame
TAGS_MAX, TAGS_TEXT_MAX = 10, 2_000  # the rest of the metadata is the node's own
TAG = "tag/"  # before the key of an operator's word in the metadata


def sign_record(identity: Identity, cluster: str, record: MemberRecord) -> MemberRecord:
    """`record` with its owner's signature."""
    return replace(record, signature=identity.sign(_statement(cluster, record)))


def is_signed(verifier: Identity, cluster: str, record: MemberRecord) -> bool:
    """Whether its owner signed it, for this cluster."""
    return verifier.verify(record.public_key, record.signature, _statement(cluster, record))


@lru_cache(maxsize=4_096)
def _statement(cluster: str, record: MemberRecord) -> bytes:
    """What is signed. Cached: the same few records come with many messages."""
    unsigned = codec.pack_value(replace(record, signature=b""))
    return b"quorate member\0" + cluster.encode() + b"\0" + unsigned


def fault_of_tags(tags: Mapping[str, str]) -> str:
    """Why an operator's words on a node cannot be said; empty if they can."""
    for key in tags:
        if not re.fullmatch(r"[\w.-]{1,64}", key):
            return f"a tag's key is 1 to 64 letters, digits, '.', '-', '_', not {key[:80]!r}"
    if len(tags) > TAGS_MAX:
        return f"a node has {TAGS_MAX} tags at most"
    if sum(map(len, chain(*tags.items()))) > TAGS_TEXT_MAX:
        return f"a node's tags have {TAGS_TEXT_MAX} characters at most"
    return ""


def tagged(tags: Mapping[str, str]) -> dict[str, str]:
    """An operator's words on a node as metadata."""
    return {TAG + key: value for key, value in tags.items()}


def tags_of(record: MemberRecord) -> dict[str, str]:
    """What its operator says of a node."""
    found = dict(record.metadata).items()
    return {key.removeprefix(TAG): value for key, value in found if key.startswith(TAG)}


def fault_of_record(record: MemberRecord) -> str:
    """Why a record is malformed, whoever signed it; empty if it is not."""
    if len(record.public_key) != KEY_SIZE:
        return f"a public key has {KEY_SIZE} bytes"
    if len(record.name) > NAME_LENGTH_MAX:
        return f"the name is over {NAME_LENGTH_MAX} characters"
    if len(record.endpoints) > ENDPOINTS_MAX:
        return f"there are over {ENDPOINTS_MAX} endpoints"
    if len(record.metadata) > METADATA_MAX:
        return f"there are over {METADATA_MAX} items of metadata"
    size = sum(map(len, record.endpoints)) + sum(map(len, chain(*record.metadata)))
    if size > RECORD_TEXT_MAX:
        return f"endpoints and metadata are over {RECORD_TEXT_MAX} characters together"
    if max(record.epoch, record.incarnation) > VERSION_MAX:
        return f"epoch and incarnation end at {VERSION_MAX}"
    return ""
