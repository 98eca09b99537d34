"""Two verifiers that share nothing: dkimpy's, and one written from RFC 6376 step by step.

Both look keys up in a table of TXT values by name (`selector._domainkey.domain`). dkimpy needs PyNaCl for
Ed25519; here its verifier gets OpenSSL's key in that place, and keeps its own parsing, selection,
canonicalisation and hashing.
"""

import base64
import hashlib
import re
from collections.abc import Mapping
from typing import Any

import dkim
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_der_public_key


class _Ed25519:
    def __init__(self, public: bytes) -> None:
        self._key = Ed25519PublicKey.from_public_bytes(public)
        self.good = False

    def verify(self, digest: bytes, signature: bytes) -> None:
        try:
            self._key.verify(signature, digest)
            self.good = True
        except InvalidSignature:
            self.good = False


class _Dkimpy(dkim.DKIM):
    def verify_sig(self, sig: Any, include_headers: Any, sig_header: Any, dnsfunc: Any) -> bool:
        if sig[b"a"] != b"ed25519-sha256":
            return bool(super().verify_sig(sig, include_headers, sig_header, dnsfunc))
        record = dnsfunc(sig[b"s"] + b"._domainkey." + sig[b"d"] + b".")
        self.pk = _Ed25519(base64.b64decode(record.partition(b"p=")[2]))
        self.keysize, self.ktag, self.seqtlsrpt = 256, b"ed25519", False
        return bool(self.verify_sig_process(sig, include_headers, sig_header, dnsfunc)) and self.pk.good


def dkimpy_verifies(message: bytes, table: Mapping[str, str], index: int = 0) -> bool:
    """True when dkimpy accepts the signature field number `index`."""

    def lookup(name: bytes, timeout: int = 5) -> bytes:
        return table.get(name.decode("ascii").rstrip("."), "").encode("ascii")

    try:
        return bool(_Dkimpy(message).verify(index, lookup))
    except dkim.DKIMException:
        return False


def plainly_verifies(message: bytes, table: Mapping[str, str], index: int = 0) -> bool:
    """True when RFC 6376 §6.1, followed word by word, accepts the signature field number `index`."""
    head, _, body = message.partition(b"\r\n\r\n")
    fields = [tuple(f.split(b":", 1)) for f in re.split(rb"\r\n(?![ \t])", head)]
    signatures = [n for n, f in enumerate(fields) if f[0].lower() == b"dkim-signature"]
    name, value = fields[signatures[index]]
    unfolded = re.sub(rb"\s+", b"", value).decode("ascii")
    tags = dict(part.split("=", 1) for part in unfolded.split(";"))
    assert tags["v"] == "1"
    assert tags["c"] == "relaxed/relaxed"
    if base64.b64decode(tags["bh"]) != hashlib.sha256(_plain_body(body)).digest():
        return False
    left = [f for n, f in enumerate(fields) if n != signatures[index]]
    data = b""
    for wanted in tags["h"].lower().split(":"):
        for n in range(len(left) - 1, -1, -1):
            if left[n][0].lower().decode("ascii") == wanted:
                data += _plain_field(*left.pop(n)) + b"\r\n"
                break
    data += _plain_field(name, re.sub(rb"(;\s*b\s*=)[^;]*", rb"\1", value))
    record = dict(part.strip().split("=", 1) for part in table[f"{tags['s']}._domainkey.{tags['d']}"].split(";"))
    public, signature = base64.b64decode(record["p"]), base64.b64decode(tags["b"])
    try:
        if tags["a"] == "ed25519-sha256":
            Ed25519PublicKey.from_public_bytes(public).verify(signature, hashlib.sha256(data).digest())
        else:
            key = load_der_public_key(public)
            assert isinstance(key, RSAPublicKey)
            key.verify(signature, data, PKCS1v15(), SHA256())
    except InvalidSignature:
        return False
    return True


def _plain_field(name: bytes, value: bytes) -> bytes:
    unfolded = value.replace(b"\r\n", b"")
    return name.lower() + b":" + re.sub(rb"[ \t]+", b" ", unfolded).strip(b" \t")


def _plain_body(body: bytes) -> bytes:
    lines = [re.sub(rb"[ \t]+", b" ", line).rstrip(b" \t") for line in body.split(b"\r\n")]
    while lines and not lines[-1]:
        lines.pop()
    return b"".join(line + b"\r\n" for line in lines)
