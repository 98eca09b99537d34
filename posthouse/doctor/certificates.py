"""TLS: the configured chain, its names, its end; and what the port really shows."""

from __future__ import annotations

import asyncio
import ssl
from pathlib import Path

from cryptography import x509

from posthouse.check_config import covers, split
from posthouse.doctor.finding import FAIL, OK, WARN, Finding, Patient
from relay.base.clock import DAY, iso


async def tls(patient: Patient) -> list[Finding]:
    """The files, then the implicit-TLS port as a client sees it."""
    config = patient.config
    if not config.tls.cert_file:
        status = WARN if patient.public else OK
        fix = "get a certificate and set tls.cert_file and tls.key_file" if status == WARN else ""
        return [Finding("tls", status, "no certificate is configured; a self-signed one is in use", fix)]
    path = Path(config.tls.cert_file)
    try:
        chain = _read(path)
    except (OSError, ValueError):
        return [Finding("tls", FAIL, f"{path} can't be read", "posthouse check-config")]
    found = [_expiry(patient, chain[0], path)]
    host = config.server.hostname
    if not covers(chain[0], host):
        found.append(Finding("tls name", FAIL, f"{path} is not for {host}", f"renew it with {host} among its names"))
    if chain[0].issuer == chain[0].subject:
        found.append(Finding("tls chain", WARN, "self-signed: clients will reject it", "use a public CA"))
    elif len(chain) == 1:
        found.append(Finding("tls chain", WARN, f"{path} contains no intermediate certificate",
                             "use the full chain (fullchain.pem)"))
    found += await _shown(patient, chain[0])
    return found


def _read(path: Path) -> list[x509.Certificate]:
    return x509.load_pem_x509_certificates(path.read_bytes())


def _expiry(patient: Patient, certificate: x509.Certificate, path: Path) -> Finding:
    until = certificate.not_valid_after_utc.timestamp()
    days = (until - patient.clock.now()) / DAY
    if days <= 0:
        return Finding("tls", FAIL, f"{path} expired at {iso(until)}", "renew it; it is reloaded automatically")
    if days < patient.limits.certificate_warn_days:
        return Finding("tls", WARN, f"{path} expires in {days:.0f} days, at {iso(until)}", "renew it")
    return Finding("tls", OK, f"{path} is valid until {iso(until)}")


async def _shown(patient: Patient, configured: x509.Certificate) -> list[Finding]:
    """What the listening port shows: an old certificate means that the relay has not read the new file."""
    addresses = patient.config.submission.listen_tls
    if not addresses:
        return []
    host, port = split(addresses[0])
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 (compared, not listened on)
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    try:
        async with asyncio.timeout(patient.limits.connect_seconds):
            _, writer = await asyncio.open_connection(host, port, ssl=context)
    except (OSError, TimeoutError):
        return [Finding("tls port", WARN, f"nothing answers on {addresses[0]}", "posthouse serve --role submission")]
    connection = writer.get_extra_info("ssl_object")
    shown = connection.getpeercert(binary_form=True) if connection is not None else None
    writer.close()
    if shown and x509.load_der_x509_certificate(shown) != configured:
        return [Finding("tls port", WARN, f"{addresses[0]} serves a different certificate than tls.cert_file",
                        f"wait {patient.config.tls.reload_seconds:g} s, or check the log for tls.not_reloaded")]
    return [Finding("tls port", OK, f"{addresses[0]} shows it")]
