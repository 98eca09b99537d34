"""Checking the DKIM signatures of a message that arrived (RFC 6376 §6, RFC 8463).

Parsing, header selection and header canonicalisation are dkimpy's; the keys come through our resolver, the relaxed
body is canonicalised in linear time, and OpenSSL does the arithmetic. What dkimpy leaves out is added: one key record
a selector, `t=s`, `h=` and `s=` of the key, no SHA-1, no short RSA keys. Promises bounded work and a result for every
signature, never an exception. Whether a result matters (DMARC alignment, display) is the caller's business.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
import re
from dataclasses import dataclass
from typing import Literal, Protocol

import dkim
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed
from cryptography.hazmat.primitives.hashes import SHA256
from dkim.canonicalization import CanonicalizationPolicy, InvalidCanonicalizationPolicyError

from relay.base.resolver import Answer, Later, Result
from relay.verify.key_record import KeyRecord, read_key
from relay.verify.record_fault import BadRecord

MAX_SIGNATURES = 10
MAX_BYTES = 64 * 1024 * 1024
MAX_HEADER = 512 * 1024
MAX_FIELD = 16 * 1024
Verdict = Literal["pass", "fail", "temperror", "permerror", "neutral"]


class AsksTxt(Protocol):
    """The one question asked of DNS."""

    async def txt(self, name: str) -> Result:
        """TXT records at `name`."""


@dataclass(frozen=True, slots=True)
class Signature:
    """One signature's result in the words of RFC 8601 §2.7.1. `says` is a reason for people, never remote text."""

    domain: str
    selector: str
    algorithm: str
    result: Verdict
    says: str = ""


class _Wrong(Exception):
    def __init__(self, result: Verdict, says: str) -> None:
        super().__init__(says)
        self.result, self.says = result, says


@dataclass(slots=True)
class _Read:
    """A signature taken apart: what is signed, and with what."""

    domain: str
    selector: str
    algorithm: str
    tags: dict[bytes, bytes]
    digest: bytes
    signature: bytes


async def signatures(raw: bytes, resolver: AsksTxt, *, most: int = MAX_SIGNATURES) -> list[Signature]:
    """A result for each DKIM-Signature field of `raw`, topmost first, at most `most` of them."""
    head_end = raw.find(b"\r\n\r\n")
    if len(raw) > MAX_BYTES or (head_end if head_end >= 0 else len(raw)) > MAX_HEADER:
        return [Signature("", "", "", "neutral", "the message is too large to be checked")]
    read = await asyncio.to_thread(_read_all, raw, most)
    return list(await asyncio.gather(*(_judge(r, resolver) for r in read)))


async def _judge(read: _Read | Signature, resolver: AsksTxt) -> Signature:
    if isinstance(read, Signature):
        return read
    result: Verdict
    try:
        record = await _key(read, resolver)
        result, says = await asyncio.to_thread(_arithmetic, read, record), ""
        if result == "fail":
            says = "the signature does not belong to these header fields and this key"
    except _Wrong as wrong:
        result, says = wrong.result, wrong.says
    return Signature(read.domain, read.selector, read.algorithm, result, says)


# -- the message -----------------------------------------------------------------------------------------------


def _read_all(raw: bytes, most: int) -> list[_Read | Signature]:
    try:
        message = dkim.DKIM(raw)
    except dkim.DKIMException:
        return [Signature("", "", "", "permerror", "the header can't be read")]
    count = sum(1 for name, _ in message.headers if name.lower() == b"dkim-signature")
    bodies: dict[bytes, bytes] = {}
    return [_read(message, index, bodies) for index in range(min(count, most))]


def _read(message: dkim.DKIM, index: int, bodies: dict[bytes, bytes]) -> _Read | Signature:
    domain = selector = algorithm = ""
    try:
        fields = [f for f in message.headers if f[0].lower() == b"dkim-signature"]
        if len(fields[index][1]) > MAX_FIELD:
            raise _Wrong("permerror", "the signature field is too long")
        try:
            tags, include, _ = message.verify_headerprep(index)
        except dkim.DKIMException:
            # dkimpy's words repeat the message.
            raise _Wrong("permerror", "the signature field is malformed or has expired") from None
        domain, selector, algorithm = (tags[t].decode("ascii", "replace").lower() for t in (b"d", b"s", b"a"))
        digest = _digest(message, tags, list(include), fields[index], bodies)
        signature = base64.b64decode(re.sub(rb"\s+", b"", tags[b"b"]))
        return _Read(domain, selector, algorithm, tags, digest, signature)
    except _Wrong as wrong:
        return Signature(domain, selector, algorithm, wrong.result, wrong.says)
    except (binascii.Error, ValueError):
        return Signature(domain, selector, algorithm, "permerror", "the signature field is malformed")


def _digest(
    message: dkim.DKIM, tags: dict[bytes, bytes], include: list[bytes], field: tuple[bytes, bytes],
    bodies: dict[bytes, bytes],
) -> bytes:
    """The SHA-256 of the signed header fields, after the body's hash was found right."""
    # RFC 8301 §3.1: rsa-sha1 is not to be used, nor to be believed.
    if tags[b"a"] not in (b"rsa-sha256", b"ed25519-sha256"):
        raise _Wrong("permerror", "the algorithm does not count any more")
    # RFC 6376 §5.4: From is always signed.
    if b"from" not in include:
        raise _Wrong("permerror", "the signature leaves the From field out")
    try:
        policy = CanonicalizationPolicy.from_c_value(tags.get(b"c", b"simple/simple"))
    except InvalidCanonicalizationPolicyError:
        raise _Wrong("permerror", "unknown canonicalisation") from None
    form = tags.get(b"c", b"simple/simple").partition(b"/")[2] or b"simple"
    body = bodies.get(form)
    if body is None:
        # Runs of blanks are squeezed first: what is left has at most one before a line end, so this stays linear.
        squeezed = re.sub(rb"[ \t]+", b" ", message.body) if form == b"relaxed" else message.body
        body = bodies[form] = policy.canonicalize_body(squeezed)
    if b"l" in tags:
        if int(tags[b"l"]) > len(body):
            raise _Wrong("permerror", "l= is longer than the body")
        body = body[: int(tags[b"l"])]
    if hashlib.sha256(body).digest() != base64.b64decode(re.sub(rb"\s+", b"", tags[b"bh"])):
        raise _Wrong("fail", "the body was changed")
    # A From field that was added later must break the signature, though it be named once only.
    include.append(b"from")
    hasher = hashlib.sha256()
    dkim.hash_headers(hasher, policy, policy.canonicalize_headers(message.headers), include, field, tags)
    return hasher.digest()


# -- the key ---------------------------------------------------------------------------------------------------


async def _key(read: _Read, resolver: AsksTxt) -> KeyRecord:
    """The one key record at the selector, if it is for this signature."""
    found = await resolver.txt(f"{read.selector}._domainkey.{read.domain}")
    if isinstance(found, Later):
        raise _Wrong("temperror", "the key could not be looked up")
    texts = found.texts() if isinstance(found, Answer) else ()
    if not texts:
        raise _Wrong("permerror", "there is no key at the selector")
    # RFC 6376 §3.6.2.2: what several records mean is undefined.
    if len(texts) > 1:
        raise _Wrong("permerror", "there is more than one record at the selector")
    kind, _, hashed = read.algorithm.partition("-")
    try:
        record = read_key(texts[0])
    except BadRecord:
        raise _Wrong("permerror", "the record at the selector is not a key") from None
    if (fault := record.fault(kind, hashed)) is not None:
        raise _Wrong("permerror", fault.brief)
    # RFC 6376 §3.6.1: t=s forbids an i= of a subdomain.
    identity = read.tags.get(b"i", b"").decode("ascii", "replace").rpartition("@")[2].lower()
    if record.strict and identity not in ("", read.domain):
        raise _Wrong("permerror", "the key is not for subdomains")
    return record


def _arithmetic(read: _Read, record: KeyRecord) -> Literal["pass", "fail"]:
    try:
        key = record.public(read.algorithm.partition("-")[0])
        if isinstance(key, RSAPublicKey):
            key.verify(read.signature, read.digest, PKCS1v15(), Prehashed(SHA256()))
        else:
            # RFC 8463 §3: the SHA-256 of the fields is what is signed.
            key.verify(read.signature, read.digest)
        return "pass"
    except InvalidSignature:
        return "fail"
    except BadRecord as bad:
        raise _Wrong("permerror", bad.fault.brief) from None
