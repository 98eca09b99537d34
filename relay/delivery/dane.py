"""DANE for SMTP (RFC 7672): TLSA records read, and a host's certificates held against them.

Pure but for `peer_chain`, which asks a finished handshake. Promises that usages 0 and 1, unknown parameters and data
that can't be read are unusable and never match (RFC 7672 §3.1.3, RFC 7671 §10.3); that DANE-EE(3) looks at neither
names nor dates (§3.1.1); that for DANE-TA(2) the path, its dates and the name are checked by a verifier that trusts the
named authority alone (§3.1.2). Where to find the records is `policies`' matter.
"""

from __future__ import annotations

import _ssl
import hashlib
import ssl
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_der_public_key
from cryptography.x509.verification import Criticality, ExtensionPolicy, PolicyBuilder, Store, VerificationError

from relay.outcome import TlsResult

TRUST_ANCHOR, END_ENTITY = 2, 3
_CERTIFICATE, _PUBLIC_KEY = 0, 1
_FULL, _SHA256, _SHA512 = 0, 1, 2
_DIGEST_OCTETS = {_SHA256: 32, _SHA512: 64}
_MAX_RECORDS = 50
_MAX_CHAIN = 10
# Python 3.13 has it in public; before, it is there under another name. This is the one place that knows.
_CAN_SEE_CHAIN = any(
    hasattr(kind, "get_unverified_chain") for kind in (ssl.SSLObject, getattr(_ssl, "_SSLSocket", None))
)


@dataclass(frozen=True, slots=True)
class Tlsa:
    """One TLSA record (RFC 6698 §2.1)."""

    usage: int
    selector: int
    matching: int
    data: bytes

    @classmethod
    def read(cls, text: str) -> Tlsa | None:
        """A record as the resolver gives it; None for what isn't one."""
        parts = text.split()
        try:
            usage, selector, matching = map(int, parts[:3])
            return cls(usage, selector, matching, bytes.fromhex("".join(parts[3:])))
        except ValueError:
            return None

    def __str__(self) -> str:
        return f"{self.usage} {self.selector} {self.matching} {self.data.hex()}"

    @property
    def usable(self) -> bool:
        """Whether a certificate can be held against it."""
        if self.usage not in (TRUST_ANCHOR, END_ENTITY) or self.selector not in (_CERTIFICATE, _PUBLIC_KEY):
            return False
        if self.matching == _FULL:
            return self._readable()
        # Which of its certificates a digest means can only be seen where the host's chain can.
        if self.usage == TRUST_ANCHOR and not _CAN_SEE_CHAIN:
            return False
        return len(self.data) == _DIGEST_OCTETS.get(self.matching)

    def _readable(self) -> bool:
        try:
            load = x509.load_der_x509_certificate if self.selector == _CERTIFICATE else load_der_public_key
            load(self.data)
        except Exception:
            # Whatever made-up data makes the parser raise, the record is what is wrong.
            return False
        return True

    def matches(self, certificate: x509.Certificate) -> bool:
        """RFC 6698 §2.1.2, §2.1.3: the certificate or its key, whole or as a digest."""
        if self.selector == _CERTIFICATE:
            octets = certificate.public_bytes(Encoding.DER)
        else:
            octets = certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        if self.matching == _SHA256:
            octets = hashlib.sha256(octets).digest()
        elif self.matching == _SHA512:
            octets = hashlib.sha512(octets).digest()
        return octets == self.data


def usable(records: Iterable[Tlsa]) -> tuple[Tlsa, ...]:
    """Those that count, at most 50, in one order. RFC 7671 §9: beside a SHA-512 of the same usage and selector, a
    SHA-256 doesn't."""
    good = sorted({r for r in records if r.usable}, key=str)[:_MAX_RECORDS]
    strong = {(r.usage, r.selector) for r in good if r.matching == _SHA512}
    return tuple(r for r in good if r.matching != _SHA256 or (r.usage, r.selector) not in strong)


def judge(chain: Sequence[bytes], records: Sequence[Tlsa], names: Sequence[str], now: float) -> TlsResult:
    """"" when the chain (DER, the host's own certificate first) is what one of the usable `records` names; else what
    is wrong in RFC 8460's words. `names`: what the certificate may be for (RFC 7672 §3.2.2). `now` in Unix seconds."""
    try:
        certificates = [x509.load_der_x509_certificate(der) for der in chain[:_MAX_CHAIN]]
        if not certificates:
            return "validation-failure"
        if any(r.usage == END_ENTITY and r.matches(certificates[0]) for r in records):
            return ""
        anchors = _anchors(certificates[1:], [r for r in records if r.usage == TRUST_ANCHOR])
        return _path(certificates, anchors, names, now) if anchors else "certificate-not-trusted"
    except Exception:
        # Certificates that can't be read are another's doing, and no reason to trust them.
        return "validation-failure"


def _anchors(issuers: Sequence[x509.Certificate], records: Sequence[Tlsa]) -> list[x509.Certificate]:
    """The authorities that the records name: sent by the host, or whole in the record (RFC 7672 §3.1.2)."""
    found = [c for c in issuers if any(r.matches(c) for r in records)]
    for r in records:
        if r.matching == _FULL and r.selector == _CERTIFICATE:
            found.append(x509.load_der_x509_certificate(r.data))
    return found


def _path(
    certificates: Sequence[x509.Certificate], anchors: list[x509.Certificate], names: Sequence[str], now: float
) -> TlsResult:
    leaf = certificates[0]
    at = datetime.fromtimestamp(now, UTC)
    if not leaf.not_valid_before_utc <= at <= leaf.not_valid_after_utc:
        return "certificate-expired"
    # Authorities of mail hosts are made with what people have at hand: only what the path hangs on is asked for.
    issuer = ExtensionPolicy.permit_all().require_present(x509.BasicConstraints, Criticality.AGNOSTIC, None)
    host = ExtensionPolicy.permit_all().require_present(x509.SubjectAlternativeName, Criticality.AGNOSTIC, None)
    policy = (
        PolicyBuilder().store(Store(anchors)).time(at.replace(tzinfo=None))
        .extension_policies(ca_policy=issuer, ee_policy=host)
    )
    for name in names:
        try:
            policy.build_server_verifier(x509.DNSName(name)).verify(leaf, list(certificates[1:]))
        except VerificationError:
            continue
        return ""
    return "certificate-not-trusted" if _is_for(leaf, names) else "certificate-host-mismatch"


def _is_for(leaf: x509.Certificate, names: Sequence[str]) -> bool:
    """Whether the name is not what is wrong: for a report only."""
    try:
        listed = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return False
    known = {name.lower() for name in listed.get_values_for_type(x509.DNSName)}
    return any(name in known or "*." + name.partition(".")[2] in known for name in names)


def peer_chain(tls: ssl.SSLObject) -> list[bytes]:
    """The certificates that a host showed, DER, its own first; where the chain can't be seen, its own alone."""
    public: Any = getattr(tls, "get_unverified_chain", None)
    if public is not None:
        return [bytes(der) for der in public()]
    private: Any = getattr(getattr(tls, "_sslobj", None), "get_unverified_chain", None)
    if private is not None:
        return [certificate.public_bytes(_ssl.ENCODING_DER) for certificate in private() or ()]
    own = tls.getpeercert(binary_form=True)
    return [own] if own else []
