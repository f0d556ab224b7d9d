"""Who belongs to a cluster, and who is who: certificates that follow from a secret and a key.

The cluster's secret determines an Ed25519 key of a certificate authority, the same on every node;
each node signs a certificate for its own identity key with it. TLS 1.3 then proves two things at
both ends: the chain, that the other knows the secret; the key, which node it is.

Invariant: the id of the other end is computed from the key that it proved to hold, never from
anything it says. Knowing the secret lets one in, but not be somebody else.

Whoever reaches a node's port is shown a certificate that the authority signed, and can try secrets
against it at home. So the authority's key is derived by scrypt (RFC 7914): a guess costs 16 MiB and
some 50 ms. That helps a secret which a human chose; a random one needs no help.

Names and dates in the certificates are fixed: neither addresses nor clocks decide about trust.
Only the serial number of a node's certificate is drawn anew by each process: it tells one run of
the node from the next.
"""

from __future__ import annotations

import errno
import hashlib
import os
import secrets
import ssl
import stat
import tempfile
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from protocol.errors import QuorateError, RemoteProtocolError
from protocol.identity import KEY_SIZE, NodeId, node_id_of

SEED_FILE = "identity.key"
_AUTHORITY_PURPOSE = b"quorate certificate authority 2\0"
_SCRYPT_COST = 2**14  # with blocks of 8 and one lane: 16 MiB
_SCRYPT_BLOCK = 8
_AUTHORITY_NAME = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "quorate cluster")])
_AUTHORITY_SERIAL = 1
_VALID_FROM = datetime(2000, 1, 1, tzinfo=UTC)
_VALID_UNTIL = datetime(2200, 1, 1, tzinfo=UTC)


class BadIdentity(QuorateError):
    """The file with this node's key cannot be used. One line: what is wrong, and what to do."""


class ClusterTrust:
    """The certificates of one node in one cluster, and the TLS contexts made of them."""

    __slots__ = ("_authority", "_chain", "_key", "cluster", "node", "preset")

    def __init__(self, cluster: str, secret: str, seed: bytes, preset: str = "") -> None:
        """`seed` is the node's 32-byte Ed25519 private key, as for `protocol.identity.Identity`;
        `preset` names the times that all nodes of the cluster keep."""
        assert len(seed) == KEY_SIZE
        authority = _authority_key(cluster, secret)
        own = Ed25519PrivateKey.from_private_bytes(seed)
        self.cluster = cluster
        self.preset = preset
        self.node = node_id_of(own.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw))
        self._authority = _authority_certificate(authority).public_bytes(Encoding.PEM)
        self._chain = _node_certificate(own, self.node, authority).public_bytes(Encoding.PEM)
        self._key = own.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())

    def __repr__(self) -> str:
        return f"ClusterTrust({self.node} in {self.cluster!r})"

    @property
    def authority(self) -> bytes:
        """The cluster's certificate (PEM): equal on all nodes that know name and secret."""
        return self._authority

    def server_context(self) -> ssl.SSLContext:
        """For the end that listens: demands a certificate of this cluster."""
        context = self._context(ssl.PROTOCOL_TLS_SERVER)
        context.num_tickets = 0  # links live long; a resumed session would skip the proof
        return context

    def client_context(self) -> ssl.SSLContext:
        """For the end that dials: any host name will do, the key is the identity."""
        return self._context(ssl.PROTOCOL_TLS_CLIENT)

    def _context(self, role: int) -> ssl.SSLContext:
        context = ssl.SSLContext(role)
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.maximum_version = ssl.TLSVersion.TLSv1_3
        context.check_hostname = False
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(cadata=self._authority.decode())
        # The ssl module takes a chain from files only: a private folder (0700), removed at once.
        with tempfile.TemporaryDirectory(prefix="quorate-") as folder:
            chain, key = Path(folder, "chain.pem"), Path(folder, "key.pem")
            chain.write_bytes(self._chain)
            key.touch(mode=0o600)
            key.write_bytes(self._key)
            context.load_cert_chain(chain, key)
        return context


def proven_by(certificate_der: bytes) -> tuple[NodeId, int]:
    """The node that holds the key in a verified certificate, and the number of its run."""
    try:
        certificate = x509.load_der_x509_certificate(certificate_der)
        key, serial = certificate.public_key(), certificate.serial_number
    except (ValueError, UnsupportedAlgorithm) as fault:
        raise RemoteProtocolError(f"certificate cannot be read: {fault}") from None
    if not isinstance(key, Ed25519PublicKey):
        raise RemoteProtocolError(f"certificate holds a {type(key).__name__}, not an Ed25519 key")
    return node_id_of(key.public_bytes(Encoding.Raw, PublicFormat.Raw)), serial


def load_or_create_seed(data_dir: Path) -> bytes:
    """The seed of this node's identity: read from the data directory, or made there once. A
    directory that this makes is for its owner only."""
    path = data_dir / SEED_FILE
    try:
        data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not os.path.lexists(path):
            _create_seed(path)
        seed, exposed = _read_seed(path)
    except (FileExistsError, NotADirectoryError):
        raise BadIdentity(
            f"data directory {data_dir} is or lies below a file: give a directory with --data-dir"
        ) from None
    except OSError as fault:
        raise BadIdentity(
            f"{path}: {fault.strerror}; give a data directory that this user may read and write"
        ) from None
    if exposed:
        raise BadIdentity(f"{path}: others may access this private key; run: chmod 600 {path}")
    if len(seed) != KEY_SIZE:
        raise BadIdentity(
            f"{path} is damaged: a key has {KEY_SIZE} bytes, this has {len(seed)}; restore it from "
            f"a copy, or move the data directory away and join as a new node"
        )
    return seed


def _read_seed(path: Path) -> tuple[bytes, int]:
    """What is in the file, bounded, and the permissions that others have."""
    handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK)  # so that a pipe is not waited for
    try:
        status = os.fstat(handle)
        if not stat.S_ISREG(status.st_mode):
            raise OSError(errno.EINVAL, "it is not a regular file")
        return os.read(handle, 16 * KEY_SIZE), status.st_mode & 0o077
    finally:
        os.close(handle)


def _create_seed(path: Path) -> None:
    """Write a new seed under another name and link it into place: whoever else looks sees either
    nothing or all of it, and of two that create at once one wins."""
    draft = path.with_name(f"{path.name}.{secrets.token_hex(8)}")
    handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(os.urandom(KEY_SIZE))
            file.flush()
            os.fsync(file.fileno())
        os.link(draft, path)
    except FileExistsError:
        return  # the other one's seed is as good, and it is read next
    finally:
        draft.unlink()
    directory = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(directory)  # a journal must not outlive the key that it belongs to
    finally:
        os.close(directory)


@lru_cache(maxsize=8)
def _authority_seed(cluster: str, secret: str) -> bytes:
    """Slow on purpose, so derived once for each team that this process knows."""
    return hashlib.scrypt(
        secret.encode(),
        salt=_AUTHORITY_PURPOSE + cluster.encode(),
        n=_SCRYPT_COST,
        r=_SCRYPT_BLOCK,
        p=1,
        dklen=KEY_SIZE,
    )


def _authority_key(cluster: str, secret: str) -> Ed25519PrivateKey:
    return Ed25519PrivateKey.from_private_bytes(_authority_seed(cluster, secret))


def _authority_certificate(authority: Ed25519PrivateKey) -> x509.Certificate:
    """Nothing in it is drawn or read from a clock, and Ed25519 signatures are deterministic: all
    nodes derive the same bytes."""
    builder = _builder(_AUTHORITY_NAME, authority.public_key(), _AUTHORITY_SERIAL, authority)
    return builder.add_extension(x509.BasicConstraints(True, 0), critical=True).sign(
        authority, None
    )


def _node_certificate(
    own: Ed25519PrivateKey, node: NodeId, authority: Ed25519PrivateKey
) -> x509.Certificate:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, node)])
    uses = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH])
    return (
        _builder(name, own.public_key(), x509.random_serial_number(), authority)
        .add_extension(x509.BasicConstraints(False, None), critical=True)
        .add_extension(uses, critical=False)
        .sign(authority, None)
    )


def _builder(
    name: x509.Name, key: Ed25519PublicKey, serial: int, authority: Ed25519PrivateKey
) -> x509.CertificateBuilder:
    issuer = x509.AuthorityKeyIdentifier.from_issuer_public_key(authority.public_key())
    signs_certificates = serial == _AUTHORITY_SERIAL
    usage = x509.KeyUsage(
        digital_signature=not signs_certificates,
        key_cert_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        crl_sign=False,
        encipher_only=False,
        decipher_only=False,
    )
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(_AUTHORITY_NAME)
        .public_key(key)
        .serial_number(serial)
        .not_valid_before(_VALID_FROM)
        .not_valid_after(_VALID_UNTIL)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
        .add_extension(issuer, critical=False)
        .add_extension(usage, critical=True)
    )
