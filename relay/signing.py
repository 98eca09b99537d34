"""DKIM signatures (RFC 6376, RFC 8463): one body hash a message, one header hash input for all keys.

dkimpy chooses and canonicalises the header fields, once those that are not signed, and those whose form is canonical
already, are out of the way. Three parts are ours, each for a measured reason: the relaxed body (dkimpy's takes
quadratic time in runs of blanks), the arithmetic (OpenSSL releases the interpreter lock and takes a thirtieth of the
time), and the writing of the field (dkimpy's folding breaks a domain of more than 70 characters in two, and then no
verifier finds the key). The tests hold it against dkimpy's verifier and others.

Promises that every message signed verifies, that no octet is signed that isn't sent, and that one more field
of a kind that is signed breaks the signature. Which keys a message is signed with is intake's.
"""

import base64
import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import dkim
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_der_private_key, load_pem_private_key
from dkim.canonicalization import Relaxed

from relay.base.keys import RSA_BITS, Algorithm

DEFAULT_LIFETIME_SECONDS = 7 * 86400
# RFC 8301 §3.2: verifiers need not take keys over 4096 bits.
_MAX_RSA_BITS = 4096
_FOLD_WIDTH = 76
_BLOCK = 256 * 1024
# A blank run is halved in each pass; what is left after these is for the one slow, still linear, way.
_HALVINGS = 12

# Every field that is signed is named once more than it occurs: one that is added on the way then breaks the signature
# (RFC 6376 §8.15). These also where the message has none of them: a reader believes them, or reads the body by them.
OVERSIGNED = (
    b"from",
    b"sender",
    b"to",
    b"cc",
    b"subject",
    b"date",
    b"message-id",
    b"reply-to",
    b"in-reply-to",
    b"references",
    b"mime-version",
    b"content-type",
    b"content-transfer-encoding",
    b"list-unsubscribe",
    b"list-unsubscribe-post",
    b"feedback-id",
)
# RFC 6376 §5.4.1. These only where there is one: whoever resends a message, or runs a list, adds them by right.
SIGNED = (
    b"content-id",
    b"content-description",
    b"resent-date",
    b"resent-from",
    b"resent-sender",
    b"resent-to",
    b"resent-cc",
    b"resent-message-id",
    b"list-id",
    b"list-help",
    b"list-subscribe",
    b"list-post",
    b"list-owner",
    b"list-archive",
)
_OVERSIGNED = frozenset(OVERSIGNED)
_ORDER = (*OVERSIGNED, *SIGNED)
_WANTED = frozenset(_ORDER)


class HeaderField(Protocol):
    """What signing needs of a field: its name in lower case and its octets with the final CRLF."""

    @property
    def name(self) -> str: ...

    @property
    def raw(self) -> bytes: ...


@dataclass(frozen=True, slots=True)
class SigningKey:
    """A private key, loaded once and kept, with the names under which its public half is published."""

    domain: str
    selector: str
    algorithm: Algorithm
    key: RSAPrivateKey | Ed25519PrivateKey = field(repr=False)


def load_rsa(data: bytes, *, validated: bool = True) -> RSAPrivateKey:
    """Load an RSA private key from PEM or DER (PKCS #8 or PKCS #1), without a passphrase.

    `validated`: the key was made or checked here before, so OpenSSL's 80 ms of checks are left out; pass
    False for a key from outside. Raises ValueError unless it is an RSA key of 2048 to 4096 bits.
    """
    load = load_pem_private_key if data.lstrip().startswith(b"-----") else load_der_private_key
    try:
        key = load(data, None, unsafe_skip_rsa_key_validation=validated)
    except Exception:
        # OpenSSL's own words could hold parts of the key.
        raise ValueError("not an RSA private key in PEM or DER without a passphrase") from None
    if not isinstance(key, RSAPrivateKey):
        raise ValueError("not an RSA private key")
    if not RSA_BITS <= key.key_size <= _MAX_RSA_BITS:
        raise ValueError(f"an RSA key for DKIM has {RSA_BITS} to {_MAX_RSA_BITS} bits")
    return key


def load_ed25519(raw32: bytes) -> Ed25519PrivateKey:
    """Load an Ed25519 private key from its raw 32 octets. Raises ValueError for any other length."""
    if len(raw32) != 32:
        raise ValueError("an Ed25519 private key has 32 octets")
    return Ed25519PrivateKey.from_private_bytes(raw32)


def body_hash(body: bytes, *, block: int = _BLOCK) -> bytes:
    """The SHA-256 of the body in relaxed form: 32 octets, in time linear in the body.

    Works in pieces of about `block` octets, so that a large body neither doubles in memory nor holds the
    interpreter for long at a time.
    """
    digest = hashlib.sha256()
    for piece in _relaxed(body, block):
        digest.update(piece)
    return digest.digest()


def sign(
    fields: Sequence[HeaderField],
    body_hash: bytes,
    keys: Sequence[SigningKey],
    *,
    now: float,
    lifetime_seconds: int = DEFAULT_LIFETIME_SECONDS,
) -> bytes:
    """Write one DKIM-Signature field a key, folded and CRLF-terminated, to stand before `fields`.

    `fields` are the header as it will leave; `body_hash` is `body_hash()` of the body; `now` is in Unix
    seconds, and the signatures expire `lifetime_seconds` after. Raises ValueError without a key or a From.
    """
    if not keys:
        raise ValueError("no key to sign with")
    # dkimpy is asked about the fields that will be signed only, name by name: of a header of 1,000 fields it would take
    # 10 ms, and it looks through all that it is given for each name.
    signable: dict[bytes, list[tuple[bytes, bytes]]] = {}
    for each in fields:
        if (name := each.name.encode()) in _WANTED:
            signable.setdefault(name, []).append((name, _relaxed_value(name, each.raw[len(name) + 1 :])))
    # RFC 6376 §5.4: From must be signed.
    if b"from" not in signable:
        raise ValueError("a message without From can't be signed")
    listed: list[bytes] = []
    header = b""
    for name in _ORDER:
        present = signable.get(name)
        if present is not None:
            count = len(present)
            listed += [name] * (count + 1)
            for _, value in dkim.select_headers(present, [name] * count):
                header += name + b":" + value
        elif name in _OVERSIGNED:
            listed.append(name)
    # RFC 6376 §3.5: t= and x= in whole seconds; no l=, so that nothing can be added to the body.
    made_at = int(now)
    times = f"t={made_at}; x={made_at + lifetime_seconds};".encode("ascii")
    h = _folded_list(listed)
    hashed = b"bh=" + base64.b64encode(body_hash) + b";"
    return b"".join(_field(key, header, times, h, hashed) for key in keys)


def _relaxed_value(name: bytes, value: bytes) -> bytes:
    """A field's value with its CRLF in relaxed form. What has no fold, tab or run of blanks has it, ends apart."""
    if b"  " not in value and b"\t" not in value and value.find(b"\n") == len(value) - 1:
        return value.strip() + b"\r\n"
    relaxed: bytes = Relaxed.canonicalize_headers([(name, value)])[0][1]
    return relaxed


def _field(key: SigningKey, header: bytes, times: bytes, listed: bytes, hashed: bytes) -> bytes:
    """One signature field. Lines are cut between tags, between names, and within b= only."""
    lines = (
        f" v=1; a={key.algorithm}; c=relaxed/relaxed;".encode("ascii"),
        f"d={key.domain};".encode("ascii"),
        f"s={key.selector};".encode("ascii") + b" " + times,
        listed,
        hashed,
        b"b=",
    )
    unsigned = b"\r\n\t".join(lines)
    # RFC 6376 §3.7: the field itself is hashed last, with an empty b= and without its final CRLF.
    # All that its relaxed form has to lose are the folds that were just written.
    last = b"dkim-signature:" + unsigned.replace(b"\r\n\t", b" ").replace(b"  ", b" ").strip(b" ")
    signature = base64.b64encode(_signature(key, header + last))
    cut = range(0, len(signature), _FOLD_WIDTH - 2)
    folded = b"\r\n\t ".join(signature[at : at + _FOLD_WIDTH - 2] for at in cut)
    return b"DKIM-Signature:" + unsigned + folded + b"\r\n"


def _signature(key: SigningKey, data: bytes) -> bytes:
    if isinstance(key.key, RSAPrivateKey):
        return key.key.sign(data, PKCS1v15(), SHA256())
    # RFC 8463 §3: Ed25519 signs the SHA-256 hash of what RSA would hash.
    return key.key.sign(hashlib.sha256(data).digest())


def _folded_list(names: Sequence[bytes]) -> bytes:
    """The h= tag, cut between names only (RFC 6376 §3.5: white space is free around its colons)."""
    lines = [b"h=" + names[0]]
    for name in names[1:]:
        if len(lines[-1]) + len(name) + 2 <= _FOLD_WIDTH:
            lines[-1] += b":" + name
        else:
            lines[-1] += b":"
            lines.append(b" " + name)
    return b"\r\n\t".join(lines) + b";"


def _relaxed(body: bytes, block: int) -> Iterator[bytes]:
    """Yield the relaxed body in pieces; empty lines wait until something follows them."""
    at, size = 0, len(body)
    waiting = 0
    begun = False
    while at < size:
        # Cut behind a line end only: no run of blanks and no CRLF is ever split.
        end = body.find(b"\r\n", at + block - 2) + 2 if size - at > block else 0
        end = end if end >= 2 else size
        piece = _squeezed(body[at:end] if end - at < size else body)
        at = end
        core = _without_empty_lines(piece)
        if core:
            yield b"\r\n" * waiting + core
            waiting = 0
            begun = True
        waiting += (len(piece) - len(core)) // 2
    # RFC 6376 §3.4.4: empty lines at the end go, one line end stays; an empty body stays empty.
    if begun:
        yield b"\r\n"


def _squeezed(text: bytes) -> bytes:
    """Runs of blanks become one space, and none before a line end."""
    if b"\t" in text:
        text = text.replace(b"\t", b" ")
    for _ in range(_HALVINGS):
        if b"  " not in text:
            break
        text = text.replace(b"  ", b" ")
    else:
        text = _joined(text)
    return text.replace(b" \r\n", b"\r\n") if b" \r\n" in text else text


def _joined(text: bytes) -> bytes:
    """Squeeze what is left after the halvings: a run of thousands of blanks, longer than mail's lines are."""
    words = text.split(b" ")
    inner = [word for word in words[1:-1] if word]
    return b" ".join([words[0], *inner, words[-1]]) if len(words) > 1 else text


def _without_empty_lines(text: bytes) -> bytes:
    core = text.rstrip(b"\r\n")
    tail = text[len(core) :]
    if tail == b"\r\n" * (len(tail) // 2):
        return core
    # A stray CR or LF belongs to the text; only whole line ends go.
    end = len(text)
    while text.endswith(b"\r\n", 0, end):
        end -= 2
    return text[:end]
