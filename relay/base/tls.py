"""The certificate of the SMTP ports: read, checked, made up where none is configured, and read again when it changes.

Promises a server context (TLS 1.2 or newer, no renegotiation) whose certificate belongs to its key and has not
expired, and that a bad new file never replaces a good one in use. Says what is wrong in lines for people. Which ports
use it, and TLS towards others, is decided elsewhere.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import ipaddress
import os
import ssl
import stat
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import structlog
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from relay.base import metrics
from relay.base.clock import DAY, Clock, iso
from relay.base.config import Config

log = structlog.get_logger()

MADE_CERT = "selfsigned-cert.pem"
MADE_KEY = "selfsigned-key.pem"
MADE_DAYS = 365
_REMAKE_DAYS = 30
_READABLE_BY_OTHERS = stat.S_IROTH | stat.S_IWOTH | stat.S_IWGRP


class TlsError(Exception):
    """The certificate can't be used; `lines` says why, one mistake a line."""

    def __init__(self, lines: list[str]) -> None:
        self.lines = lines
        super().__init__("; ".join(lines))


class Certificate:
    """A certificate with its key, in use by servers. Take `context` anew for each handshake.

    `made_up` is True for a self-signed one. `refresh` looks for a change now; `watch` does so for ever.
    """

    def __init__(self, cert_file: Path, key_file: Path, clock: Clock, *, made_up: bool = False) -> None:
        self.cert_file, self.key_file, self.made_up = cert_file, key_file, made_up
        self._clock = clock
        self._seen = _stamp(cert_file, key_file)
        self.context, self.expires_at = _load(cert_file, key_file, clock.now())
        metrics.CERTIFICATE_EXPIRES.set(self.expires_at)

    @classmethod
    def of(cls, config: Config, clock: Clock) -> Certificate:
        """The configured certificate; without one, and outside production, a self-signed one in data_dir.

        Raises TlsError: a missing, unreadable, expired or mismatched file, a key that others can read or change,
        one of the two keys without the other, or none in production.
        """
        t = config.tls
        if t.cert_file and t.key_file:
            return cls(Path(t.cert_file), Path(t.key_file), clock)
        if t.cert_file or t.key_file:
            raise TlsError(["tls: cert_file and key_file belong together; only one is set"])
        if config.server.production:
            raise TlsError(["tls: cert_file and key_file must be set when server.production is true"])
        cert, key = config.server.data_dir / MADE_CERT, config.server.data_dir / MADE_KEY
        with _alone(config.server.data_dir):
            try:
                left = _load(cert, key, clock.now())[1] - clock.now()
            except TlsError:
                left = 0.0
            if left < _REMAKE_DAYS * DAY:
                make_self_signed(cert, key, config.server.hostname, clock.now())
                log.warning("tls.self_signed", file=str(cert), hostname=config.server.hostname)
            return cls(cert, key, clock, made_up=True)

    def refresh(self) -> bool:
        """Load the files if they have changed; True if new ones are in use now. A bad change is logged, not used."""
        stamp = _stamp(self.cert_file, self.key_file)
        if stamp == self._seen:
            return False
        # The stamp is kept also for files that fail: said once, and looked at again at their next change.
        self._seen = stamp
        try:
            self.context, self.expires_at = _load(self.cert_file, self.key_file, self._clock.now())
            metrics.CERTIFICATE_EXPIRES.set(self.expires_at)
        except TlsError as e:
            log.error("tls.not_reloaded", why=e.lines, in_use_until=iso(self.expires_at))
            return False
        log.info("tls.reloaded", file=str(self.cert_file), expires=iso(self.expires_at))
        return True

    async def watch(self, seconds: float) -> None:
        """Look for changes every `seconds`, until cancelled."""
        while True:
            await asyncio.sleep(seconds)
            self.refresh()


def server_context(cert_file: Path, key_file: Path) -> ssl.SSLContext:
    """A context for servers with this certificate chain. Raises OSError, ssl.SSLError."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    # RFC 8314 §4.1, RFC 8996: TLS 1.2 at least.
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION | ssl.OP_CIPHER_SERVER_PREFERENCE
    # One ticket is enough for a client that comes back; each costs an encryption and 250 octets a handshake.
    context.num_tickets = 1
    context.load_cert_chain(cert_file, key_file, password=_no_password)
    return context


def make_self_signed(cert_file: Path, key_file: Path, hostname: str, now: float) -> None:
    """Write a self-signed ECDSA P-256 certificate for `hostname` and localhost, and its key (mode 0600)."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, hostname[:64])])
    since = datetime.fromtimestamp(now, UTC)
    cert = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(since - timedelta(hours=1))
        .not_valid_after(since + timedelta(days=MADE_DAYS))
        .add_extension(x509.SubjectAlternativeName(_names(hostname)), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .sign(key, hashes.SHA256())
    )
    cert_file.parent.mkdir(parents=True, exist_ok=True)
    _write(key_file, key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()), 0o600)
    _write(cert_file, cert.public_bytes(Encoding.PEM), 0o644)


def _names(hostname: str) -> list[x509.GeneralName]:
    hosts = dict.fromkeys((hostname, "localhost"))
    loopback = ("127.0.0.1", "::1")
    return [x509.DNSName(h) for h in hosts] + [x509.IPAddress(ipaddress.ip_address(a)) for a in loopback]


def _write(path: Path, content: bytes, mode: int) -> None:
    """Whole or not at all, and never readable by others for a moment."""
    draft = path.with_name(f"{path.name}.{os.getpid()}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
    draft.replace(path)


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """One process at a time: two that start together must not mix one's key with the other's certificate."""
    folder.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _no_password() -> str:
    """OpenSSL would ask the terminal for the password of an encrypted key, and wait."""
    raise ssl.SSLError("the private key is protected by a password")


def _load(cert_file: Path, key_file: Path, now: float) -> tuple[ssl.SSLContext, float]:
    """The context and when its certificate expires (Unix seconds). Raises TlsError."""
    mistakes = []
    for what, path in (("cert_file", cert_file), ("key_file", key_file)):
        if not path.is_file():
            mistakes.append(f"tls.{what}: {path}: no such file")
    if mistakes:
        raise TlsError(mistakes)
    if key_file.stat().st_mode & _READABLE_BY_OTHERS:
        raise TlsError([f"tls.key_file: {key_file}: others can read or change it; chmod 600 {key_file}"])
    try:
        leaf = x509.load_pem_x509_certificates(cert_file.read_bytes())[0]
    except (OSError, ValueError, IndexError):
        raise TlsError([f"tls.cert_file: {cert_file}: not a readable PEM certificate"]) from None
    expires_at = leaf.not_valid_after_utc.timestamp()
    if expires_at <= now:
        raise TlsError([f"tls.cert_file: {cert_file}: expired at {iso(expires_at)}"])
    try:
        return server_context(cert_file, key_file), expires_at
    except (OSError, ssl.SSLError):
        raise TlsError([f"tls.key_file: {key_file}: not a readable PEM key of {cert_file}"]) from None


def _stamp(*paths: Path) -> tuple[tuple[int, int, int] | None, ...]:
    """What changes when a file is replaced or written: inode, size, time."""
    stamps: list[tuple[int, int, int] | None] = []
    for path in paths:
        try:
            s = path.stat()
        except OSError:
            stamps.append(None)
        else:
            stamps.append((s.st_ino, s.st_size, s.st_mtime_ns))
    return tuple(stamps)
