"""Blobs on disk: one folder for each, with its manifest and its parts as files.

Nothing here has a checksum: a blob's id is the hash of its manifest, which has the hashes of the
parts, so whoever reads knows. A file is written under another name, synced and renamed: it is there
whole or not at all.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
from pathlib import Path

from protocol.blobs import MANIFEST, Manifest
from protocol.codec import unpack_value
from protocol.effects import DropBlob, KeepManifest, KeepPart
from protocol.errors import RemoteProtocolError

_MANIFEST_FILE = "manifest"
_NUMBER = re.compile("[0-9]+")


class BlobFiles:
    """All blobs of a node."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def keep(self, record: KeepManifest | KeepPart | DropBlob) -> None:
        """Make it durable; OSError as the disk says."""
        folder = self.folder / record.blob
        match record:
            case KeepManifest():
                folder.mkdir(parents=True, exist_ok=True)
                _write(folder / _MANIFEST_FILE, record.encoded)
            case KeepPart():
                _write(folder / str(record.part), record.data)
            case DropBlob():
                shutil.rmtree(folder, ignore_errors=True)

    def read(self, blob: str, part: int) -> bytes | None:
        """A part as it was kept; None if it is not, or is not what it was."""
        manifest = self._manifest_of(self.folder / blob)
        try:
            data = (self.folder / blob / str(part)).read_bytes()
        except OSError:
            return None
        if manifest is None or hashlib.sha256(data).digest() != manifest[1].hashes[part - 1]:
            return None
        return data

    def held(self) -> tuple[tuple[str, bytes, frozenset[int]], ...]:
        """Of each blob its id, its manifest and the parts that are there; what is illegible is
        left out, and comes again when somebody asks for it."""
        found = []
        for folder in sorted(self.folder.iterdir()) if self.folder.is_dir() else ():
            manifest = self._manifest_of(folder)
            if manifest is not None:
                parts = frozenset(
                    int(file.name)
                    for file in folder.iterdir()
                    if _NUMBER.fullmatch(file.name)
                    and MANIFEST < int(file.name) <= len(manifest[1].hashes)
                )
                found.append((folder.name, manifest[0], parts))
        return tuple(found)

    def _manifest_of(self, folder: Path) -> tuple[bytes, Manifest] | None:
        try:
            encoded = (folder / _MANIFEST_FILE).read_bytes()
            if hashlib.sha256(encoded).hexdigest() != folder.name:
                return None
            return encoded, unpack_value(Manifest, encoded)
        except (OSError, RemoteProtocolError):
            return None


def _write(path: Path, content: bytes) -> None:
    draft = path.with_name(f"{path.name}.new")
    with draft.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
