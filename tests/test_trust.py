"""Certificates from a secret and a key, and the file that holds the key."""

from __future__ import annotations

import hashlib
import os
import socket
import ssl
import tempfile
import threading
from pathlib import Path
from typing import Any

import pytest

from node.links.trust import (
    SEED_FILE,
    BadIdentity,
    ClusterTrust,
    load_or_create_seed,
    proven_by,
)
from protocol.errors import RemoteProtocolError
from protocol.identity import Identity


def handshake(server: ClusterTrust, client: ClusterTrust) -> tuple[bytes, bytes, str]:
    """What each end learns of the other over a socket pair: (at server, at client, version)."""
    ours, theirs = socket.socketpair()
    learnt: list[bytes] = []

    def serve() -> None:
        try:
            with server.server_context().wrap_socket(theirs, server_side=True) as secured:
                certificate = secured.getpeercert(binary_form=True)
                assert certificate is not None
                learnt.append(certificate)
                secured.sendall(b".")
        except (ssl.SSLError, OSError):
            theirs.close()

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        with client.client_context().wrap_socket(ours) as secured:
            secured.recv(1)
            certificate = secured.getpeercert(binary_form=True)
            assert certificate is not None
            return learnt[0], certificate, str(secured.version())
    finally:
        ours.close()
        thread.join()


def test_both_ends_learn_the_other_by_its_key_under_tls_1_3() -> None:
    a, b = ClusterTrust("c", "s", bytes([1]) * 32), ClusterTrust("c", "s", bytes([2]) * 32)
    at_server, at_client, version = handshake(server=a, client=b)
    assert proven_by(at_server)[0] == b.node == Identity(bytes([2]) * 32).node
    assert proven_by(at_client)[0] == a.node
    assert version == "TLSv1.3"


def test_every_node_derives_the_same_authority() -> None:
    assert (
        ClusterTrust("c", "s", bytes(32)).authority
        == ClusterTrust("c", "s", bytes([9]) * 32).authority
    )
    others = [
        ClusterTrust("c", "t", bytes(32)),
        ClusterTrust("d", "s", bytes(32)),
        ClusterTrust("cs", "", bytes(32)),
    ]
    assert len({each.authority for each in [ClusterTrust("c", "s", bytes(32)), *others]}) == 4


@pytest.mark.parametrize(("cluster", "secret"), [("c", "other"), ("other", "s")])
def test_another_secret_or_cluster_fails_the_handshake(cluster: str, secret: str) -> None:
    ours, other = (
        ClusterTrust("c", "s", bytes([1]) * 32),
        ClusterTrust(cluster, secret, bytes([2]) * 32),
    )
    with pytest.raises(ssl.SSLCertVerificationError):
        handshake(server=other, client=ours)


def test_a_client_without_a_certificate_is_turned_away() -> None:
    trust = ClusterTrust("c", "s", bytes([1]) * 32)

    class Anonymous(ClusterTrust):
        def client_context(self) -> ssl.SSLContext:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.check_hostname = False
            context.load_verify_locations(cadata=self.authority.decode())
            return context

    with pytest.raises((ssl.SSLError, ConnectionError)):
        handshake(server=trust, client=Anonymous("c", "s", bytes([2]) * 32))


def test_each_run_of_a_node_has_its_own_number() -> None:
    first, second = ClusterTrust("c", "s", bytes([1]) * 32), ClusterTrust("c", "s", bytes([1]) * 32)
    listener = ClusterTrust("c", "s", bytes([2]) * 32)
    runs = [proven_by(handshake(server=listener, client=each)[0]) for each in (first, second)]
    assert runs[0][0] == runs[1][0]
    assert runs[0][1] != runs[1][1]


def test_contexts_leave_no_key_on_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    trust = ClusterTrust("c", "s", bytes(32))
    trust.server_context()
    trust.client_context()
    assert list(tmp_path.iterdir()) == []


def test_bytes_that_are_no_certificate_are_a_protocol_error() -> None:
    with pytest.raises(RemoteProtocolError):
        proven_by(b"\x30\x03abc")


def test_a_seed_is_made_once_and_then_read(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "data"
    seed = load_or_create_seed(folder)
    assert len(seed) == 32
    assert load_or_create_seed(folder) == seed
    assert load_or_create_seed(tmp_path / "another") != seed
    assert (folder / SEED_FILE).stat().st_mode & 0o777 == 0o600
    assert folder.stat().st_mode & 0o777 == 0o700
    assert [each.name for each in folder.iterdir()] == [SEED_FILE]


def test_guessing_a_secret_costs_memory_and_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Anybody who reaches the port is given something to test guesses against."""
    asked: list[dict[str, Any]] = []
    scrypt = hashlib.scrypt

    def noted(password: bytes, **parameters: Any) -> bytes:
        asked.append(parameters)
        return scrypt(password, **parameters)

    monkeypatch.setattr(hashlib, "scrypt", noted)
    for node in range(3):
        ClusterTrust("a team of this test only", "a secret", bytes([node]) * 32)
    (parameters,) = asked  # once, however many nodes
    assert parameters["n"] * parameters["r"] * 128 >= 16 * 1024 * 1024


def test_an_existing_data_directory_keeps_its_permissions(tmp_path: Path) -> None:
    (tmp_path / "volume").mkdir(mode=0o750)
    load_or_create_seed(tmp_path / "volume")
    assert (tmp_path / "volume").stat().st_mode & 0o777 == 0o750


@pytest.mark.parametrize("size", [0, 31, 33, 1_000_000])
def test_a_seed_of_the_wrong_size_is_refused_with_a_remedy(tmp_path: Path, size: int) -> None:
    (tmp_path / SEED_FILE).touch(mode=0o600)
    (tmp_path / SEED_FILE).write_bytes(bytes(size))
    with pytest.raises(BadIdentity, match=r"damaged: a key has 32 bytes, this has .*; restore"):
        load_or_create_seed(tmp_path)


def test_a_seed_that_others_may_read_is_refused_with_a_remedy(tmp_path: Path) -> None:
    load_or_create_seed(tmp_path)
    (tmp_path / SEED_FILE).chmod(0o644)
    with pytest.raises(BadIdentity, match="chmod 600"):
        load_or_create_seed(tmp_path)


def test_a_data_directory_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for folder in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(BadIdentity, match=r"data directory .* file: give a directory"):
            load_or_create_seed(folder)


def test_a_key_that_is_no_file_is_refused_at_once(tmp_path: Path) -> None:
    """A pipe to which nobody writes must not hold up the start."""
    for name in ("pipe", "folder", "dangling"):
        (tmp_path / name).mkdir()
    os.mkfifo(tmp_path / "pipe" / SEED_FILE)
    (tmp_path / "folder" / SEED_FILE).mkdir()
    (tmp_path / "dangling" / SEED_FILE).symlink_to("nowhere")
    for name in ("pipe", "folder", "dangling"):
        with pytest.raises(BadIdentity, match="give a data directory"):
            load_or_create_seed(tmp_path / name)


def test_the_draft_of_a_life_that_was_killed_does_not_matter(tmp_path: Path) -> None:
    """In a container every life has the same process id."""
    (tmp_path / f"{SEED_FILE}.{os.getpid()}").touch()
    assert len(load_or_create_seed(tmp_path)) == 32


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser may write everywhere")
def test_a_data_directory_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(BadIdentity, match="Permission denied; give a data directory"):
        load_or_create_seed(tmp_path)
