"""What the relay's own inbound names can publish about TLS, so that mail to them can't be read or turned aside on its
way: TLSA (RFC 7672), MTA-STS (RFC 8461), TLSRPT (RFC 8460). Lines only; looking whether they stand is the doctor's."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from relay.base.config import Config

_SMTP = "_25._tcp"


@dataclass(frozen=True, slots=True)
class OwnLine:
    """One line to publish: a DNS record or, of the type `file`, what is served at the address `name`."""

    name: str
    type: str
    value: str
    why: str

    @property
    def text(self) -> str:
        """As it stands in a zone, or the address and the file below it."""
        if self.type == "file":
            return f"{self.name}\n" + "".join(f"    {line}\n" for line in self.value.splitlines())
        value = f'"{self.value}"' if self.type == "TXT" else self.value
        return f"{self.name}. {self.type} {value}"


def inbound_domains(config: Config) -> list[str]:
    """The domains of the relay's own whose mail comes in on port 25."""
    return list(dict.fromkeys((config.bounce_host, config.server.hostname)))


def tlsa_name(config: Config) -> str:
    """Where the exchanger's TLSA records stand (RFC 7672 §2.1.3)."""
    return f"{_SMTP}.{config.mx_host}"


def tlsa_value(config: Config) -> str:
    """The record for the configured certificate's key: a renewal that keeps the key keeps it. "" without a readable
    certificate."""
    try:
        certificate = x509.load_pem_x509_certificates(Path(config.tls.cert_file).read_bytes())[0]
    except (OSError, ValueError):
        return ""
    key = certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    # RFC 7671 §5.1: DANE-EE(3) SPKI(1) SHA2-256(1).
    return f"3 1 1 {hashlib.sha256(key).hexdigest()}"


def lines(config: Config) -> list[OwnLine]:
    """Every line, in the order in which they are published."""
    found = []
    if value := tlsa_value(config):
        why = "DANE: only a server with this certificate's key is spoken to. Wants a signed zone (DNSSEC)."
        found.append(OwnLine(tlsa_name(config), "TLSA", value, why))
    policy = f"version: STSv1\nmode: testing\nmx: {config.mx_host}\nmax_age: 604800\n"
    policy_id = hashlib.sha256(policy.encode()).hexdigest()[:20]
    for domain in inbound_domains(config):
        if domain != config.mx_host:
            found.append(OwnLine(domain, "MX", f"10 {config.mx_host}.", "The exchanger that TLSA and policy speak of."))
        why = "MTA-STS: serve the file over HTTPS first, then publish the record; after quiet weeks, mode: enforce."
        found.append(OwnLine(f"https://mta-sts.{domain}/.well-known/mta-sts.txt", "file", policy, why))
        found.append(OwnLine(f"_mta-sts.{domain}", "TXT", f"v=STSv1; id={policy_id};", why))
        if config.server.operator_email:
            value = f"v=TLSRPTv1; rua=mailto:{config.server.operator_email}"
            found.append(OwnLine(f"_smtp._tls.{domain}", "TXT", value, "Senders report daily how TLS with it went."))
    return found
