"""Secrets: the master key, what is sealed with it, and the shape of API keys.

The master key lives in a file outside the database (mode 0600), made at the first start on an empty database.
Everything is derived from it by HKDF with a purpose, so no two uses share a key. Sealed bytes are bound to their
context (tenant, domain, selector): a row copied elsewhere does not open. Passwords of people are `enroll.passwords`.

While master keys change, a vault also knows previous ones: what they made is read, and nothing is made with them.
Which rows still need one, and sealing those anew, is `posthouse.resealing`.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import hmac
import os
import re
import secrets
import stat
from collections.abc import Sequence
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, AESSIV
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from itsdangerous import URLSafeTimedSerializer

KEY_BYTES = 32
_LEAST_MAC = 8
API_KEY = re.compile(r"ph_([a-z2-7]{12})_([A-Za-z0-9_-]{43})\Z")
# What the relay hands out beside API keys says by its first letters what it is.
SIGN_IN, INVITE, WEBHOOK_SECRET = "phs_", "phi_", "whsec_"


class SecretsError(Exception):
    """The master key can't be used, or sealed bytes don't open. The text is for the operator."""


class Vault:
    """The master key in use, and the `previous` ones, newest first, that only read."""

    def __init__(self, master: bytes, previous: Sequence[Vault] = ()) -> None:
        self._master = master
        self.previous = tuple(previous)
        self._all: tuple[Vault, ...] = (self, *self.previous)
        self._aead = AESGCM(self._derive("seal"))
        self._siv = AESSIV(self._derive("token") + self._derive("token-mac"))
        self._api = self._derive("api-key")
        self._macs: dict[str, bytes] = {}
        self.key_id = self.mac("key-id", b"")[:8].hex()
        """Says which master key it is, and nothing else about it: 16 hex digits."""

    @classmethod
    def make(cls, path: Path) -> Vault:
        """The vault of a new key in a new file, mode 0600. Raises SecretsError, also when the file is there.

        For `master-key new`, and for the first start on an empty database alone (`posthouse.unlocking`): beside what
        another key has sealed, a new one opens nothing.
        """
        if os.path.lexists(path) or not _make(path):
            raise SecretsError(f"master key {path}: is there already; name a new file")
        return cls.load(path)

    @classmethod
    def load(cls, path: Path, previous: Sequence[Path] = ()) -> Vault:
        """The vault of existing key files; refuses one that others can read, and the same key twice."""
        master = cls._read(path)
        known = {cls(master).key_id}
        others = []
        for one in previous:
            other = cls(cls._read(one, "previous master key"))
            if other.key_id in known:
                raise SecretsError(
                    f"previous master key {one}: the same key as another one in [secrets]; "
                    "name the one that was in use before, or take the entry out of secrets.previous_key_files"
                )
            known.add(other.key_id)
            others.append(other)
        return cls(master, others)

    @staticmethod
    def _read(path: Path, what: str = "master key") -> bytes:
        try:
            mode = path.stat().st_mode
            raw = path.read_bytes()
        except OSError as e:
            raise SecretsError(f"{what} {path}: {e.strerror}") from None
        if stat.S_IMODE(mode) & 0o077:
            raise SecretsError(f"{what} {path}: readable by others (mode {stat.S_IMODE(mode):04o}); chmod 600 it")
        try:
            master = base64.b64decode(raw.strip(), validate=True)
        except ValueError:
            master = b""
        if len(master) != KEY_BYTES:
            raise SecretsError(f"{what} {path}: not a master key (32 bytes in base64)")
        return master

    def _derive(self, purpose: str) -> bytes:
        return HKDF(SHA256(), 32, salt=None, info=b"posthouse/" + purpose.encode()).derive(self._master)

    def seal(self, plain: bytes, *context: str) -> bytes:
        """`plain` encrypted (AES-256-GCM, random nonce in front), bound to `context`."""
        nonce = os.urandom(12)
        return nonce + self._aead.encrypt(nonce, plain, _bind(context))

    def open(self, sealed: bytes, *context: str) -> bytes:
        """The plain bytes of `seal`; SecretsError if they, the key or the context are not the same."""
        for one in self._all:
            with contextlib.suppress(InvalidTag, ValueError):
                return one._aead.decrypt(sealed[:12], sealed[12:], _bind(context))
        raise SecretsError("sealed bytes do not open with this master key")

    def opens_alone(self, sealed: bytes, *context: str) -> bool:
        """True for what opens without any previous key."""
        try:
            self._aead.decrypt(sealed[:12], sealed[12:], _bind(context))
        except (InvalidTag, ValueError):
            return False
        return True

    def mac(self, purpose: str, data: bytes) -> bytes:
        """HMAC-SHA256 of `data` under a key of its own for `purpose`: 32 bytes."""
        key = self._macs.get(purpose)
        if key is None:
            key = self._macs[purpose] = self._derive("mac/" + purpose)
        return hmac.digest(key, data, hashlib.sha256)

    def macs(self, purpose: str, data: bytes) -> list[bytes]:
        """`mac` under every key, the one in use first: what a look-up must try."""
        return [one.mac(purpose, data) for one in self._all]

    def is_mac(self, purpose: str, data: bytes, given: bytes) -> bool:
        """True if `given`, at least 8 octets, begins the `mac` of `data` under any of the keys."""
        if len(given) < _LEAST_MAC:
            return False
        return any(hmac.compare_digest(right[: len(given)], given) for right in self.macs(purpose, data))

    def token(self, purpose: str, plain: bytes) -> str:
        """`plain` as an unreadable, unforgeable URL token; the same input gives the same token (AES-SIV, RFC 5297)."""
        return base64.urlsafe_b64encode(self._siv.encrypt(plain, [purpose.encode()])).rstrip(b"=").decode()

    def read_token(self, purpose: str, token: str) -> bytes | None:
        """The plain bytes of a token, or None for every wrong one alike."""
        try:
            raw = base64.urlsafe_b64decode(token + "=" * (-len(token) % 4))
            # RFC 4648 §3.5: the decoder passes over signs and bits that mean nothing; one token has one spelling.
            if base64.urlsafe_b64encode(raw).rstrip(b"=") != token.encode():
                return None
        except ValueError:
            return None
        for one in self._all:
            with contextlib.suppress(InvalidTag, ValueError):
                return one._siv.decrypt(raw, [purpose.encode()])
        return None

    def signer(self, salt: str) -> URLSafeTimedSerializer:
        """A signer of links that expire (itsdangerous), with a key of its own for `salt`."""
        # Its last key signs, all of them read.
        keys = [one._derive("link/" + salt) for one in reversed(self._all)]
        return URLSafeTimedSerializer(keys, salt=salt)

    def api_key_hash(self, secret: str) -> str:
        """What the database keeps of an API key's secret: hex of a keyed hash (256 random bits need no slow one)."""
        return hmac.digest(self._api, secret.encode(), hashlib.sha256).hex()

    def api_key_hashes(self, secret: str) -> list[str]:
        """`api_key_hash` under every key, the one in use first."""
        return [one.api_key_hash(secret) for one in self._all]


def _make(path: Path) -> bool:
    """A new key, whole or not at all: a crash leaves no half file, and of two processes the first one's key stays.
    False for the other one. Raises SecretsError."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        draft = path.with_name(f"{path.name}.{random_id(8)}")
        fd = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            with os.fdopen(fd, "wb") as f:
                f.write(base64.b64encode(os.urandom(KEY_BYTES)) + b"\n")
                f.flush()
                os.fsync(f.fileno())
            os.link(draft, path)
        except FileExistsError:
            return False
        finally:
            draft.unlink()
        # The name too must survive a power failure: what is sealed with a lost key is lost.
        folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except OSError as e:
        raise SecretsError(f"master key {path}: {e.strerror}") from None
    return True


def _bind(context: tuple[str, ...]) -> bytes:
    return b"\0".join(f"{len(c)}:{c}".encode() for c in context)


def new_api_key() -> tuple[str, str, str]:
    """A fresh API key: (whole key as shown once, public id, secret with 256 random bits)."""
    public = base64.b32encode(os.urandom(8)).decode().lower()[:12]
    secret = secrets.token_urlsafe(32)
    return f"ph_{public}_{secret}", public, secret


def parse_api_key(text: str) -> tuple[str, str] | None:
    """(public id, secret) of a well-formed key, else None."""
    found = API_KEY.match(text)
    return (found[1], found[2]) if found else None


def other_kind(text: str) -> bool:
    """True for a token that the relay hands out for something else than an API key is for."""
    return text.startswith((SIGN_IN, INVITE, WEBHOOK_SECRET))


def random_id(size: int = 16) -> str:
    """An unguessable id of `size` random bytes, lower-case base32."""
    return base64.b32encode(os.urandom(size)).decode().rstrip("=").lower()
