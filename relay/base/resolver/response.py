"""Reading one DNS reply: the records asked for, the aliases before them, or the "no".

Promises that only records on the path from the name asked are taken, whatever else a reply carries. Asks nothing.
"""

from dataclasses import dataclass
from typing import Literal

import dns.exception
import dns.message
import dns.name
import dns.rcode
import dns.rdata
import dns.rdataclass
import dns.rdatatype
import dns.rrset
from dns.rdtypes.ANY.CNAME import CNAME
from dns.rdtypes.ANY.NS import NS
from dns.rdtypes.ANY.PTR import PTR
from dns.rdtypes.ANY.TXT import TXT

from relay.base.resolver.results import Later, Record


@dataclass(frozen=True, slots=True)
class Found:
    """What one reply says. name: where the path ended, to be asked next when neither records nor negative is set."""

    name: dns.name.Name
    records: tuple[Record, ...] = ()
    ttl: int = 2**31 - 1
    chain: tuple[str, ...] = ()
    negative: Literal["nxdomain", "nodata"] | None = None
    negative_ttl: int = 0
    soa: str = ""


def dns_name(text: str) -> dns.name.Name | None:
    """`text` as an absolute, lower-case name; None when it is not ASCII or does not fit into DNS."""
    if not text.isascii() or not text:
        return None
    try:
        return dns.name.from_text(text.lower()).canonicalize()
    except (dns.exception.DNSException, ValueError):
        return None


def host_text(name: dns.name.Name) -> str:
    """A name as this project writes it: lower case, no trailing dot; the root is "."."""
    return name.canonicalize().to_text(omit_final_dot=True) if name != dns.name.root else "."


def read(
    reply: dns.message.Message,
    name: dns.name.Name,
    rdtype: dns.rdatatype.RdataType,
    *,
    max_cname: int,
    max_records: int,
    within: dns.name.Name = dns.name.root,
) -> Found | Later:
    """Follow the answer section from `name`.

    within: aliases are followed only while they stay inside this zone; the rest is not this server's to tell.
    """
    sets: dict[tuple[dns.name.Name, dns.rdatatype.RdataType], dns.rrset.RRset] = {}
    for rrset in reply.answer:
        if rrset.rdclass == dns.rdataclass.IN:
            sets.setdefault((rrset.name.canonicalize(), rrset.rdtype), rrset)
    chain: tuple[str, ...] = ()
    ttl = 2**31 - 1
    while True:
        wanted = sets.get((name, rdtype))
        if wanted is not None:
            if len(wanted) > max_records:
                return Later("too many records")
            return Found(name, _records(wanted), min(ttl, wanted.ttl), chain)
        alias = sets.get((name, dns.rdatatype.CNAME))
        if alias is None:
            break
        # RFC 2181 §10.1: one alias at a name; RFC 1034 §3.6.2: chains are followed, loops are an error.
        if len(alias) != 1:
            return Later("two aliases at one name")
        if len(chain) >= max_cname:
            return Later("alias chain too long")
        name = alias[0].target.canonicalize()
        chain += (host_text(name),)
        ttl = min(ttl, alias.ttl)
        if not name.is_subdomain(within):
            return Found(name, (), ttl, chain)
    return _negative(reply, name, ttl, chain)


def _negative(
    reply: dns.message.Message, name: dns.name.Name, ttl: int, chain: tuple[str, ...]
) -> Found | Later:
    soas = [rrset for rrset in reply.authority if rrset.rdtype == dns.rdatatype.SOA]
    nxdomain = reply.rcode() == dns.rcode.NXDOMAIN
    for rrset in soas:
        if name.is_subdomain(rrset.name):
            # RFC 2308 §5: a "no" lives for the lesser of the SOA's own TTL and its MINIMUM field.
            keep = min(rrset.ttl, rrset[0].minimum)
            kind: Literal["nxdomain", "nodata"] = "nxdomain" if nxdomain else "nodata"
            return Found(name, (), ttl, chain, kind, keep, host_text(rrset.name))
    if nxdomain:
        return Found(name, (), ttl, chain, "nxdomain")
    if chain:
        return Found(name, (), ttl, chain)
    if any(rrset.rdtype == dns.rdatatype.NS for rrset in reply.authority):
        return Later("referral instead of an answer")
    # RFC 2308 §2.2 type 3: no records and no SOA is still "no data".
    return Found(name, (), ttl, chain, "nodata")


def _records(rrset: dns.rrset.RRset) -> tuple[Record, ...]:
    if rrset.rdtype == dns.rdatatype.MX:
        pairs = sorted((rdata.preference, host_text(rdata.exchange)) for rdata in rrset)
        return tuple(pairs)
    return tuple(_text(rdata) for rdata in rrset)


def _text(rdata: dns.rdata.Rdata) -> str:
    if isinstance(rdata, TXT):
        octets = b"".join(rdata.strings)
        # What programs read is ASCII. What people typed besides is UTF-8, and anything else shown by its octets.
        try:
            return octets.decode()
        except UnicodeDecodeError:
            return octets.decode("latin-1")
    if isinstance(rdata, CNAME | NS | PTR):
        return host_text(rdata.target)
    return rdata.to_text()
