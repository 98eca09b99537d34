"""TLS: the configured chain, its names, its end, and what the port really shows; whether the resolver validates where
it is trusted to; what the relay's own inbound names publish; whether reports about TLS can be signed.
"""

from __future__ import annotations

import asyncio
import ipaddress
import ssl
from pathlib import Path

from cryptography import x509

from posthouse.check_config import covers, split
from posthouse.doctor.finding import FAIL, OK, WARN, Finding, Patient
from posthouse.own_tls import OwnLine, inbound_domains, lines, tlsa_name
from relay.base.clock import DAY, iso
from relay.base.http_client import HttpBounds, HttpClient
from relay.base.resolver import Answer, Later, Nothing
from relay.delivery.dane import Tlsa
from relay.verify import read_key
from relay.verify.record_fault import BadRecord
from relay.verify.tls_records import read_policy, report_addresses, sts_id

_VALIDATING = "install unbound on this machine and set dns.resolvers to it, or dns.dnssec to off"


async def dnssec(patient: Patient) -> list[Finding]:
    """With dns.dnssec = trust-ad: a signed name is said to be validated, a bogus one is refused, and nobody on the way
    can say so instead (RFC 7672 §2.2)."""
    if patient.config.dns.dnssec == "off":
        return [Finding("dnssec", OK, "off: DANE is not used when delivering")]
    found = []
    far = [ip for ip in patient.resolver.servers if not ipaddress.ip_address(ip).is_loopback]
    if far:
        saw = f"{', '.join(far)}: not on this machine, so whoever is on the way can forge what it says"
        found.append(Finding("dnssec", WARN, saw, _VALIDATING))
    signed = await patient.resolver.records(patient.limits.dnssec_signed, "SOA", fresh=True)
    if isinstance(signed, Later):
        return [*found, Finding("dnssec", WARN, f"could not be asked ({signed.reason})")]
    if not signed.authentic:
        saw = f"the resolver does not validate: {patient.limits.dnssec_signed} is signed, and it doesn't say so"
        return [*found, Finding("dnssec", FAIL, saw, _VALIDATING)]
    bogus = await patient.resolver.addresses(patient.limits.dnssec_bogus, fresh=True)
    if isinstance(bogus, Answer) and patient.public:
        saw = f"the resolver does not validate: it answers for {patient.limits.dnssec_bogus}, which is signed wrongly"
        return [*found, Finding("dnssec", FAIL, saw, _VALIDATING)]
    return [*found, Finding("dnssec", OK, "the resolver validates")] if not far else found


async def own_tls(patient: Patient) -> list[Finding]:
    """TLSA, MTA-STS and TLSRPT of the names that mail comes in for."""
    if not patient.public:
        return [Finding("inbound tls", OK, "not checked: server.hostname is not a public name")]
    wanted = lines(patient.config)
    found = [await _tlsa(patient, [one for one in wanted if one.type == "TLSA"])]
    for domain in inbound_domains(patient.config):
        found.append(await _sts(patient, domain))
        found.append(await _tlsrpt(patient, domain))
    return [*found, *await _reports(patient)]


async def _tlsa(patient: Patient, wanted: list[OwnLine]) -> Finding:
    name = tlsa_name(patient.config)
    said = await patient.resolver.tlsa(name)
    fix = wanted[0].text if wanted else "set tls.cert_file; then posthouse zone tls prints it"
    if isinstance(said, Later):
        # RFC 7672 §2.1.2: who asks and hears this sends nothing.
        saw = f"{name} could not be asked for ({said.reason}); where others hear the same, DANE keeps their mail back"
        return Finding("inbound tlsa", WARN, saw, "see to the zone's servers and signatures")
    if isinstance(said, Nothing):
        return Finding("inbound tlsa", OK, f"no TLSA records at {name}; posthouse zone tls prints one")
    records = [r for text in said.texts() if (r := Tlsa.read(text)) is not None and r.usable]
    ours = Tlsa.read(wanted[0].value) if wanted else None
    if ours in records:
        return Finding("inbound tlsa", OK, f"{name} names the certificate's key")
    if any(r.usage == 2 or (r.selector, r.matching) != (1, 1) for r in records):
        return Finding("inbound tlsa", WARN, f"{name} has records of another kind than could be compared here", fix)
    saw = f"{name} does not name the certificate in use: senders with DANE refuse it"
    return Finding("inbound tlsa", FAIL, saw, fix)


async def _sts(patient: Patient, domain: str) -> Finding:
    title = f"inbound mta-sts {domain}"
    said = await patient.resolver.txt(f"_mta-sts.{domain}")
    if isinstance(said, Later):
        return Finding(title, WARN, f"could not be asked ({said.reason})")
    if not isinstance(said, Answer) or not any(text.startswith("v=STSv1") for text in said.texts()):
        return Finding(title, OK, "no MTA-STS; posthouse zone tls prints its lines")
    if sts_id(said.texts()) is None:
        return Finding(title, FAIL, f"the record at _mta-sts.{domain} can't be used", "posthouse zone tls prints one")
    url = f"https://mta-sts.{domain}/.well-known/mta-sts.txt"
    bounds = HttpBounds(patient.limits.connect_seconds, 65_536)
    async with HttpClient(bounds, patient.resolver, patient.clock.monotonic) as client:
        answered = await client.request("GET", url, {"Accept": "text/plain"})
    if answered.status != 200 or answered.content_type != "text/plain":
        saw = answered.says or f"it answers {answered.status}, {answered.content_type or 'no type'}"
        return Finding(title, FAIL, f"{url}: {saw}", "posthouse zone tls prints the file")
    try:
        policy = read_policy(answered.body)
    except BadRecord as e:
        saw = f"{url}: {e.fault.says.format(at=e.fault.at)}"
        return Finding(title, FAIL, saw, "posthouse zone tls prints the file")
    if policy.mode != "none" and not policy.allows(patient.config.mx_host):
        saw = f"{url} does not name {patient.config.mx_host}: senders with MTA-STS would not deliver"
        return Finding(title, FAIL, saw, f"mx: {patient.config.mx_host}")
    return Finding(title, OK, f"mode {policy.mode}, names {patient.config.mx_host}")


async def _tlsrpt(patient: Patient, domain: str) -> Finding:
    title = f"inbound tlsrpt {domain}"
    said = await patient.resolver.txt(f"_smtp._tls.{domain}")
    if isinstance(said, Later):
        return Finding(title, WARN, f"could not be asked ({said.reason})")
    if not isinstance(said, Answer) or not any(text.startswith("v=TLSRPTv1") for text in said.texts()):
        return Finding(title, OK, "no reports are asked for; posthouse zone tls prints the line")
    where = report_addresses(said.texts())
    if not where:
        return Finding(title, WARN, f"the record at _smtp._tls.{domain} names nobody", "posthouse zone tls prints one")
    return Finding(title, OK, f"reports go to {', '.join(where)}")


async def _reports(patient: Patient) -> list[Finding]:
    """Whether our own reports to others pass: signed by a key that is for them too (RFC 8460 §3)."""
    config, title = patient.config, "tls reports"
    if not config.tls_reports.enabled:
        return []
    s = config.signing
    if not (s.pool_domain and s.pool_key_file):
        saw = "no reports by mail to other domains: they have to be signed by the relay's own domain"
        return [Finding(title, OK, f"{saw} (signing.pool_domain)")]
    name = f"{s.pool_selector}._domainkey.{s.pool_domain}"
    said = await patient.resolver.txt(name)
    if not isinstance(said, Answer):
        return [Finding(title, WARN, f"the key at {name} could not be seen", "publish it")]
    try:
        services = read_key(said.texts()[0]).tags.get("s", "*").replace(" ", "").split(":")
    except BadRecord:
        return [Finding(title, WARN, f"the key at {name} can't be read", "publish it anew")]
    if not {"*", "tlsrpt"} & set(services):
        saw = f"the key at {name} is not for reports: s={':'.join(services)}"
        return [Finding(title, FAIL, saw, "leave s= out of the record, or add tlsrpt to it")]
    return [Finding(title, OK, f"signed by {s.pool_domain}")]


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
