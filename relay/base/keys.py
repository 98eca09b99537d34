"""DKIM key pairs: made here, and the TXT record that publishes one.

Promises keys that verifiers accept (RSA of 2048 bits, Ed25519) and a record in the form they read.
Keeping the private half secret is left to `secrets`, publishing the other to its owner, reading records to
`relay.verify.key_record`.
"""

import base64
from dataclasses import dataclass, field
from typing import Literal

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

Algorithm = Literal["rsa-sha256", "ed25519-sha256"]

RSA_BITS = 2048
# RFC 1035 §3.3: one character-string of a TXT record holds 255 octets.
_STRING_OCTETS = 255

_K = {"rsa-sha256": "rsa", "ed25519-sha256": "ed25519"}


@dataclass(frozen=True, slots=True)
class KeyPair:
    """One key pair for a selector.

    `private` is PKCS #8 DER for RSA and the raw 32 octets for Ed25519; `public` is SubjectPublicKeyInfo
    DER for RSA and the raw 32 octets for Ed25519.
    """

    algorithm: Algorithm
    private: bytes = field(repr=False)
    public: bytes

    @property
    def txt(self) -> str:
        """The value of the TXT record for this pair."""
        return dkim_txt(self.algorithm, self.public)


def generate_rsa(bits: int = RSA_BITS) -> KeyPair:
    """Make an RSA pair. Takes some hundred milliseconds: call it off the event loop."""
    # RFC 8301 §3.2: signers use at least 2048 bits; §3.1: sha256 only.
    if bits < RSA_BITS:
        raise ValueError(f"an RSA key for DKIM has at least {RSA_BITS} bits")
    key = generate_private_key(public_exponent=65537, key_size=bits)
    return KeyPair(
        "rsa-sha256",
        key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption()),
        key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo),
    )


def generate_ed25519() -> KeyPair:
    """Make an Ed25519 pair (RFC 8463)."""
    key = Ed25519PrivateKey.generate()
    return KeyPair("ed25519-sha256", key.private_bytes_raw(), key.public_key().public_bytes_raw())


def dkim_txt(algorithm: Algorithm, public: bytes) -> str:
    """Write the TXT value `v=DKIM1; k=…; p=…` for a public key in the form KeyPair holds it."""
    # RFC 6376 §3.6.1; RFC 8463 §4.2: an Ed25519 key stands in p= as its 32 octets, without ASN.1.
    return f"v=DKIM1; k={_K[algorithm]}; p={base64.b64encode(public).decode('ascii')}"


def zone_strings(text: str) -> list[str]:
    """Split a TXT value into character-strings of at most 255 octets, not yet quoted or escaped."""
    octets = text.encode("ascii")
    starts = range(0, max(len(octets), 1), _STRING_OCTETS)
    return [octets[at : at + _STRING_OCTETS].decode("ascii") for at in starts]
