"""The zone of members' hosted records as the world sees it: delegated to our servers, and answered over UDP and TCP."""

from __future__ import annotations

import asyncio

from posthouse.doctor.finding import FAIL, OK, WARN, Finding, Patient
from relay.base.resolver import Answer, Later

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
