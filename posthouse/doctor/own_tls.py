"""TLS: whether the resolver validates where it is trusted to; what the relay's own inbound names publish; whether
reports about TLS can be signed."""

from __future__ import annotations

import ipaddress

from posthouse.doctor.finding import FAIL, OK, WARN, Finding, Patient
from posthouse.own_tls import OwnLine, inbound_domains, lines, tlsa_name
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
