"""One packet in, one packet out: what an authoritative server says to a question.

Promises an answer by RFC 1034 §4.3.2 with the right kind of "no", never a packet larger than the asker takes, and
no exception whatever comes in. Sockets are the server's business.
"""

import struct
from collections.abc import Callable, Sequence
from typing import Literal

import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.opcode
import dns.rcode
import dns.rdataclass
import dns.rdataset
import dns.rdatatype
import dns.rrset
from dns.rdtypes.ANY.NS import NS

from enroll.zone.data import Node, Zone, ZoneRecord, Zones, parse_name, parse_value

Fault = Literal["servfail", "refused", "drop", "wrong_id", "junk"]
Faults = Callable[[str, str], Fault | None]
"""Asked with (name, type) before each answer: how to fail, or None. For tests and rehearsals."""

# RFC 9715 §3: answers over UDP stay small enough to pass unfragmented.
_UDP_MAX = 1232
_MAX_CHAIN = 8
# Zone transfers are not offered; the others are no types of records.
_REFUSED_TYPES = frozenset(
    dns.rdatatype.from_text(name) for name in ("AXFR", "IXFR", "MAILA", "MAILB", "TSIG", "TKEY", "OPT")
)


async def answer(
    zones: Zones, wire: bytes, *, udp: bool, open_world: bool = False, faults: Faults | None = None
) -> bytes | None:
    """Answer one packet; None when it deserves none.

    open_world: names outside all zones do not exist (for a closed world where this is the only server);
    else they are refused.
    """
    # A reply is never replied to, or two servers could talk for ever.
    if len(wire) < 12 or wire[2] & 0x80:
        return None
    try:
        query = dns.message.from_wire(wire)
        reply = dns.message.make_response(query, our_payload=_UDP_MAX)
    except Exception:
        # Whatever a hostile packet makes the parser raise: RFC 1035 §4.1.1, code 1, and nothing of it echoed.
        return wire[:2] + struct.pack("!BBHHHH", 0x80 | (wire[2] & 0x79), dns.rcode.FORMERR, 0, 0, 0, 0)
    fault: Fault | None = None
    try:
        if faults is not None and query.question:
            asked = query.question[0]
            fault = faults(asked.name.canonicalize().to_text(omit_final_dot=True), dns.rdatatype.to_text(asked.rdtype))
        if fault is not None:
            _fail(reply, fault)
        else:
            await _fill(zones, query, reply, open_world)
        packet = _fit(reply, query, udp)
    except Exception:
        # A source that failed, or a fault of ours: the asker tries again elsewhere or later.
        reply = dns.message.make_response(query, our_payload=_UDP_MAX)
        reply.set_rcode(dns.rcode.SERVFAIL)
        packet = _fit(reply, query, udp)
    if fault == "wrong_id":
        return bytes([packet[0] ^ 0xFF]) + packet[1:]
    if fault == "junk":
        return packet[:2] + b"\xff" * 20
    return None if fault == "drop" else packet


def ask_by_tcp(wire: bytes) -> bytes | None:
    """The question back with TC, not an octet longer than it came; None when it deserves no answer.

    RFC 2181 §9: an asker that gets TC comes again over TCP, where its address can't be forged.
    """
    if len(wire) < 12 or wire[2] & 0x80 or wire[4:6] != b"\x00\x01":
        return None
    at = 12
    while at < len(wire) and 0 < wire[at] < 64:
        at += 1 + wire[at]
    if at + 5 > len(wire) or wire[at]:
        return None
    # QR, the asker's opcode and RD, TC; one question and nothing else.
    return wire[:2] + struct.pack("!BBHHHH", 0x82 | (wire[2] & 0x79), 0, 1, 0, 0, 0) + wire[12 : at + 5]


def _fail(reply: dns.message.Message, fault: Fault) -> None:
    if fault in ("servfail", "refused"):
        reply.set_rcode(dns.rcode.SERVFAIL if fault == "servfail" else dns.rcode.REFUSED)


def _fit(reply: dns.message.Message, query: dns.message.Message, udp: bool) -> bytes:
    # RFC 6891 §6.2.3: as much as the asker says it takes, 512 octets when it says nothing or less.
    room = min(max(query.payload, 512), _UDP_MAX) if udp and query.edns >= 0 else 512 if udp else 65535
    try:
        return reply.to_wire(max_size=room)
    except dns.exception.TooBig:
        # RFC 2181 §9: what does not fit is left out and TC says so; over TCP there is no larger way.
        reply.answer, reply.authority, reply.additional = [], [], []
        if udp:
            reply.flags |= dns.flags.TC
        else:
            reply.set_rcode(dns.rcode.SERVFAIL)
        return reply.to_wire(max_size=room)


async def _fill(
    zones: Zones, query: dns.message.Message, reply: dns.message.Message, open_world: bool
) -> None:
    refusal = _unfit(query)
    if refusal is not None:
        reply.set_rcode(refusal)
        return
    name, rdtype = query.question[0].name.canonicalize(), query.question[0].rdtype
    zone = zones.find(name)
    if zone is None:
        reply.set_rcode(dns.rcode.NXDOMAIN if open_world else dns.rcode.REFUSED)
        return
    # RFC 1034 §4.3.2 step 3a: an alias is followed for as long as we hold its target.
    for _ in range(_MAX_CHAIN):
        following = await _step(zones, zone, name, rdtype, reply)
        if following is None:
            return
        name = following
        if (found := zones.find(name)) is None:
            return
        zone = found


def _unfit(query: dns.message.Message) -> dns.rcode.Rcode | None:
    if query.opcode() != dns.opcode.QUERY:
        return dns.rcode.NOTIMP
    if query.edns > 0:
        return dns.rcode.BADVERS
    if len(query.question) != 1:
        return dns.rcode.FORMERR
    question = query.question[0]
    refused = question.rdclass != dns.rdataclass.IN or question.rdtype in _REFUSED_TYPES
    return dns.rcode.REFUSED if refused else None


async def _step(
    zones: Zones, zone: Zone, name: dns.name.Name, rdtype: dns.rdatatype.RdataType, reply: dns.message.Message
) -> dns.name.Name | None:
    """Answer for one name; the alias target when the answer goes on there."""
    delegation = zone.cut(name)
    if delegation is not None:
        _refer(zones, delegation, reply)
        return None
    # RFC 1035 §4.1.1: AA speaks of the first name of the answer, so it is not taken back by what follows.
    reply.flags |= dns.flags.AA
    node = await _node(zone, name, rdtype)
    if node is None:
        reply.set_rcode(dns.rcode.NXDOMAIN)
        _say_no(zone, reply)
        return None
    if rdtype == dns.rdatatype.ANY and node:
        # RFC 8482 §4.2: a small HINFO instead of everything, which would only help amplification.
        reply.answer.append(dns.rrset.from_text(name, 3600, "IN", "HINFO", '"RFC8482" ""'))
        return None
    if rdtype in node:
        _put(reply.answer, name, node[rdtype])
        _put_addresses(zones, node[rdtype], reply)
        return None
    if dns.rdatatype.CNAME in node:
        alias = node[dns.rdatatype.CNAME]
        if any(rrset.name == name for rrset in reply.answer):
            return None
        _put(reply.answer, name, alias)
        target: dns.name.Name = alias[0].target
        return target.canonicalize()
    _say_no(zone, reply)
    return None


async def _node(zone: Zone, name: dns.name.Name, rdtype: dns.rdatatype.RdataType) -> Node | None:
    node = zone.at(name)
    if node or zone.source is None:
        return node
    found = await zone.source(name.to_text(omit_final_dot=True), dns.rdatatype.to_text(rdtype))
    return node if found is None else _as_node(found, name)


def _as_node(records: Sequence[ZoneRecord], name: dns.name.Name) -> Node:
    node: Node = {}
    for record in records:
        if parse_name(record.name) != name:
            raise ValueError("the source answered for another name")
        rdata = parse_value(record.type, record.value)
        rdataset = dns.rdataset.Rdataset(dns.rdataclass.IN, rdata.rdtype, ttl=record.ttl)
        node.setdefault(rdata.rdtype, rdataset).add(rdata, record.ttl)
    return node


def _refer(
    zones: Zones, delegation: tuple[dns.name.Name, dns.rdataset.Rdataset], reply: dns.message.Message
) -> None:
    # RFC 1034 §4.3.2 step 3b: the servers of the zone below, their addresses, and no authority of ours.
    owner, servers = delegation
    _put(reply.authority, owner, servers)
    _put_addresses(zones, servers, reply)


def _say_no(zone: Zone, reply: dns.message.Message) -> None:
    # RFC 2308 §3: a "no" carries the SOA, its TTL the lesser of its own and MINIMUM.
    soa = (zone.at(zone.origin) or {})[dns.rdatatype.SOA]
    _put(reply.authority, zone.origin, soa, min(soa.ttl, soa[0].minimum))


def _put_addresses(zones: Zones, rdataset: dns.rdataset.Rdataset, reply: dns.message.Message) -> None:
    """The addresses of name servers, so far as we hold them."""
    for rdata in rdataset:
        if not isinstance(rdata, NS):
            continue
        host = rdata.target.canonicalize()
        zone = zones.find(host)
        node = (zone.at(host) if zone is not None else None) or {}
        for kind in (dns.rdatatype.A, dns.rdatatype.AAAA):
            if kind in node:
                _put(reply.additional, host, node[kind])


def _put(
    section: list[dns.rrset.RRset], name: dns.name.Name, rdataset: dns.rdataset.Rdataset, ttl: int | None = None
) -> None:
    rrset = dns.rrset.from_rdata_list(name, rdataset.ttl if ttl is None else ttl, list(rdataset))
    if rrset not in section:
        section.append(rrset)
