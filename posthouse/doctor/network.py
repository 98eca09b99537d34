"""DNS as the relay sees it; its own names and the zone of members' hosted records as the world sees them; the way out
on port 25.
"""

from __future__ import annotations

import asyncio
import ipaddress

from posthouse.doctor.finding import FAIL, OK, WARN, Finding, Patient
from relay.base.own_addresses import source_addresses
from relay.base.resolver import Answer, Later, Nothing
from relay.base.secrets import random_id
from relay.standing.blocklists import look
from relay.verify import dmarc_record, spf

_NOT_PUBLIC = "not checked: server.hostname is not a public name"


async def resolver(patient: Patient) -> list[Finding]:
    """Does it answer, does it say no where nothing is, and how long would it remember a no?"""
    ask = patient.resolver
    # RFC 6761 §6.4: nothing ever stands under .invalid.
    nothing = await ask.addresses(f"{random_id(8)}.invalid", fresh=True)
    if isinstance(nothing, Later):
        return [Finding("resolver", FAIL, f"no answer ({nothing.reason})", "set dns.resolvers to one that works")]
    if isinstance(nothing, Answer):
        saw = f"it returns false answers: a name that can't exist has the address {nothing.records[0]}"
        return [Finding("resolver", FAIL, saw, "set dns.resolvers to one of your own (unbound, knot-resolver)")]
    if patient.public:
        missing = await ask.txt(f"_{random_id(8)}.{patient.config.server.hostname}", fresh=True)
        ttl = missing.negative_ttl if isinstance(missing, Nothing) else None
        if ttl is not None and ttl > patient.limits.negative_ttl_warn:
            saw = f"a missing record is cached for {ttl:g} s"
            return [Finding("resolver", WARN, saw, "lower the last number of its SOA, or cap it in the resolver")]
    return [Finding("resolver", OK, "answers, and reports missing names correctly")]


async def own_names(patient: Patient) -> list[Finding]:
    """The host name, and the names that members' records point at."""
    if not patient.public:
        return [Finding("names", OK, _NOT_PUBLIC)]
    config = patient.config
    found = []
    uses: dict[str, list[str]] = {}
    for name, use in (
        (config.server.hostname, "the relay's own name (also in EHLO)"), (config.bounce_host, "return paths"),
        (config.tracking_host, "tracking CNAMEs"), (config.mx_host, "reply forwarding"),
    ):
        uses.setdefault(name, []).append(use)
    for name, what in ((name, ", ".join(some)) for name, some in uses.items()):
        result = await patient.resolver.addresses(name)
        if isinstance(result, Answer):
            found.append(Finding(f"name {name}", OK, f"{', '.join(map(str, result.records))} ({what})"))
        elif isinstance(result, Later):
            found.append(Finding(f"name {name}", WARN, f"could not be asked ({result.reason})"))
        else:
            status = FAIL if name == config.server.hostname else WARN
            saw = f"has no address ({what})"
            found.append(Finding(f"name {name}", status, saw, f"{name}. A <this relay's address>"))
    helo = config.delivery.helo
    if helo and helo != config.server.hostname and not isinstance(await patient.resolver.addresses(helo), Answer):
        # RFC 5321 §2.3.5: the name in EHLO resolves.
        found.append(Finding("helo", FAIL, f"delivery.helo {helo} has no address", "leave delivery.helo empty"))
    return found


async def reverse_names(patient: Patient) -> list[Finding]:
    """PTR, and whether its name leads back: many hosts refuse mail without."""
    if not patient.public:
        return [Finding("ptr", OK, _NOT_PUBLIC)]
    found = []
    host = patient.config.delivery.helo or patient.config.server.hostname
    for address in await source_addresses(patient.config, patient.resolver):
        result = await patient.resolver.ptr(address)
        if isinstance(result, Later):
            found.append(Finding("ptr", WARN, f"{address}: could not be asked ({result.reason})"))
            continue
        names = [str(r).rstrip(".").lower() for r in result.records] if isinstance(result, Answer) else []
        fix = f"have the owner of the network set the reverse name of {address} to {host}"
        if host.lower() in names:
            found.append(Finding("ptr", OK, f"{address} is {host}, and back"))
        elif names:
            found.append(Finding("ptr", WARN, f"{address} is {names[0]}, not {host}", fix))
        else:
            found.append(Finding("ptr", FAIL, f"{address} has no reverse name", fix))
    return found or [Finding("ptr", WARN, "no address of this relay is known", "see the finding on its name")]


async def spf_records(patient: Patient) -> list[Finding]:
    """Members include our SPF name; if it forgets one of our addresses, all their mail fails SPF."""
    if not patient.public:
        return [Finding("spf", OK, _NOT_PUBLIC)]
    config = patient.config
    addresses = await source_addresses(patient.config, patient.resolver)
    listed = " ".join(f"ip{ipaddress.ip_address(a).version}:{a}" for a in addresses) or "ip4:<this relay's address>"
    found = []
    for name, record in (
        (config.spf_host, f"v=spf1 {listed} -all"), (config.bounce_host, f"v=spf1 include:{config.spf_host} -all"),
        (config.server.hostname, f"v=spf1 include:{config.spf_host} -all"),
    ):
        missing: list[str] = []
        for address in addresses:
            allowed = await _allows(patient, name, address)
            if allowed is None:
                missing = []
                found.append(Finding(f"spf {name}", WARN, "could not be asked"))
                break
            if not allowed:
                missing.append(address)
        else:
            fix = f'{name}. TXT "{record}"'
            if missing:
                found.append(Finding(f"spf {name}", FAIL, f"does not allow {', '.join(missing)}", fix))
            elif addresses:
                found.append(Finding(f"spf {name}", OK, f"allows {', '.join(addresses)}"))
    return found or [Finding("spf", WARN, "no address of this relay is known", "see the finding on its name")]


async def _allows(patient: Patient, name: str, address: str) -> bool | None:
    """Whether mail of this domain may come from there, by the rules that receivers follow; None when DNS can't be
    asked."""
    found = await spf(address, name, "", patient.resolver, seconds=patient.limits.seconds)
    return None if found.result == "temperror" else found.result == "pass"


async def port_25(patient: Patient) -> list[Finding]:
    """Many networks let nothing out on port 25; mail then waits for ever."""
    d = patient.config.delivery
    target = d.smarthost or f"{patient.limits.port_25_probe}:{d.port}"
    if not d.smarthost and (d.port != 25 or not patient.public):
        return [Finding("port 25 out", OK, "not checked: this relay is a trial")]
    host, _, port = target.rpartition(":")
    result = await patient.resolver.addresses(host)
    if not isinstance(result, Answer):
        return [Finding("port 25 out", WARN, f"{host} has no address just now", "see the finding on the resolver")]
    address = str(result.records[0])
    try:
        async with asyncio.timeout(patient.limits.connect_seconds):
            reader, writer = await asyncio.open_connection(address, int(port))
            greeting = await reader.readline()
    except (OSError, TimeoutError, ValueError):
        fix = "ask the provider to open port 25 outwards, or set delivery.smarthost"
        return [Finding("port 25 out", FAIL, f"no connection to {host} [{address}]:{port}", fix)]
    writer.close()
    if not greeting.startswith(b"220"):
        said = greeting[:80].decode("ascii", "replace").strip()
        return [Finding("port 25 out", WARN, f"{host} said: {said or '(nothing)'}", "is something intercepting it?")]
    return [Finding("port 25 out", OK, f"{host} [{address}]:{port} greets")]


async def report_address(patient: Patient) -> list[Finding]:
    """Receivers send reports about members' domains to our address only where DNS says that we want them."""
    host = patient.config.report_host
    if not host:
        return []
    if not patient.public:
        return [Finding("dmarc reports", OK, _NOT_PUBLIC)]
    result = await patient.resolver.txt(f"{random_id(8)}.example._report._dmarc.{host}", fresh=True)
    if isinstance(result, Later):
        return [Finding("dmarc reports", WARN, f"could not be asked ({result.reason})")]
    # RFC 9990 §4.
    if isinstance(result, Answer) and dmarc_record.records(result.texts()):
        return [Finding("dmarc reports", OK, f"{patient.config.report_address} may be told of any domain")]
    saw = f"receivers can't send reports to {patient.config.report_address}, so it is suggested to nobody"
    return [Finding("dmarc reports", WARN, saw, f'*._report._dmarc.{host}. TXT "v=DMARC1"')]


async def blocklists(patient: Patient) -> list[Finding]:
    """The relay's own addresses in the configured DNS blocklists."""
    if not patient.public or not patient.config.reputation.enabled:
        return []
    found = []
    for one in await look(patient.config, patient.resolver):
        name, zone = f"blocklist {one.blocklist.zone}", one.blocklist.zone
        if one.verdict == "clear":
            found.append(Finding(name, OK, f"{one.address} is not listed"))
        elif one.verdict == "listed":
            fix = f"stop what caused it, then ask to be taken off: {one.blocklist.delisting or zone}"
            found.append(Finding(name, FAIL, f"{one.address} is listed ({one.says})", fix))
        elif one.verdict == "policy":
            fix = f"the network's owner says that no mail comes from there; see {one.blocklist.delisting or zone}"
            found.append(Finding(name, WARN, f"{one.address} is under a policy ({one.says}), not listed", fix))
        elif one.verdict == "refused":
            terms = one.blocklist.terms or "see its page"
            fix = f"ask through a resolver of your own, by its terms ({terms}), or take it out of reputation.blocklists"
            found.append(Finding(name, WARN, f"{zone} does not serve your resolver ({one.says})", fix))
        else:
            found.append(Finding(name, WARN, f"{one.address}: {one.says}"))
    return found


_MAX_SERVERS = 8


async def hosted_zone(patient: Patient) -> list[Finding]:
    """Who the parent says serves it, and what each of these answers at its public address."""
    config = patient.config
    zone, ours = config.hosted_zone, config.hosted_servers
    if not zone:
        return []
    if not patient.public:
        return [Finding("hosted zone", OK, "not checked: server.hostname is not a public name")]
    served = await patient.resolver.ns(zone)
    if isinstance(served, Later):
        return [Finding("hosted zone", WARN, f"{zone}: could not be asked ({served.reason})")]
    fix = " and ".join(f"{zone}. NS {name}." for name in ours) + f", in the zone above {zone}"
    servers = served.texts() if isinstance(served, Answer) else ()
    if not servers:
        return [Finding("hosted zone", FAIL, f"{zone} is not delegated", fix)]
    found = []
    if set(servers) != set(ours):
        saw = f"{zone} is served by {', '.join(sorted(servers))}, not by {', '.join(ours)} (dns.hosted_servers)"
        found.append(Finding("hosted zone", FAIL if set(servers).isdisjoint(ours) else WARN, saw, fix))
    asked = await asyncio.gather(*(_server(patient, zone, server) for server in sorted(servers)[:_MAX_SERVERS]))
    return [*found, *(one for of_server in asked for one in of_server)]


async def _server(patient: Patient, zone: str, server: str) -> list[Finding]:
    name = f"hosted zone at {server}"
    result = await patient.resolver.addresses(server)
    if isinstance(result, Later):
        return [Finding(name, WARN, f"could not be asked ({result.reason})")]
    if not isinstance(result, Answer):
        return [Finding(name, FAIL, "has no address", f"{server}. A <the address of dns.listen>")]
    addresses = [str(record) for record in result.records[:_MAX_SERVERS]]
    return list(await asyncio.gather(*(_address(patient, zone, name, address) for address in addresses)))


async def _address(patient: Patient, zone: str, name: str, address: str) -> Finding:
    udp, tcp = await asyncio.gather(*(patient.resolver.serves(zone, address, tcp=tcp) for tcp in (False, True)))
    wrong = "; ".join(f"{way}: {why}" for way, why in (("udp", udp), ("tcp", tcp)) if why)
    if not wrong:
        return Finding(name, OK, f"{address} answers for {zone} over UDP and TCP")
    fix = f"posthouse serve --role dns, listening on port 53 of {address}; let UDP and TCP through to it"
    return Finding(name, FAIL, f"{address} does not answer for {zone} ({wrong})", fix)
