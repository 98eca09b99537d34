"""The records a server answers from: zones in memory, changed while it runs, or asked of a source; and as text.

Promises that names compare as DNS compares them, that a value which is not well formed is refused when it is put
in, and that an alias stands alone at its name. Knows nothing of packets.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass

import dns.exception
import dns.name
import dns.rdata
import dns.rdataclass
import dns.rdataset
import dns.rdatatype
from dns.rdtypes.ANY.TXT import TXT

from enroll.records import quoted

_IN = dns.rdataclass.IN
_CNAME = dns.rdatatype.CNAME

Node = dict[dns.rdatatype.RdataType, dns.rdataset.Rdataset]


@dataclass(frozen=True, slots=True)
class ZoneRecord:
    """One record. name: full name, no trailing dot. value: TXT as plain text, others as in a zone file."""

    name: str
    type: str
    value: str
    ttl: int = 60


Source = Callable[[str, str], Awaitable[Sequence[ZoneRecord] | None]]
"""Asked with (name, type): all records that stand at the name, () for a name without any, None for no such name."""


class Zone:
    """One zone: a table of records, and, for names that are not in the table, a source if there is one."""

    def __init__(
        self,
        origin: str,
        *,
        ns: Sequence[str] = (),
        hostmaster: str = "",
        ttl: int = 60,
        negative_ttl: int = 60,
        source: Source | None = None,
    ) -> None:
        """ns: the zone's name servers (default `ns.<origin>`); hostmaster: a mailbox as a domain name.

        ttl: seconds for SOA and NS; negative_ttl: how long a "no" may be kept. ValueError for a bad name.
        """
        self.origin = parse_name(origin)
        self.source = source
        self._names: dict[dns.name.Name, Node] = {}
        self._below: Counter[dns.name.Name] = Counter()
        bare = origin.rstrip(".")
        hosts = tuple(ns) or (f"ns.{bare}",)
        self._soa = f"{_dot(hosts[0])} {_dot(hostmaster or f'hostmaster.{bare}')} {{}} 3600 600 604800 {negative_ttl}"
        self._ttl = ttl
        self.renumber(1)
        for host in hosts:
            self.add(bare, "NS", host, ttl)

    def renumber(self, serial: int) -> None:
        """Set the serial of the SOA (RFC 1982: 32 bits that go round)."""
        self.replace(self.origin.to_text(), "SOA", self._soa.format(serial % 2**32), self._ttl)

    def add(self, name: str, type: str, value: str, ttl: int = 60) -> None:
        """Put a record in. ValueError when it is malformed, outside the zone, or at odds with an alias there."""
        owner = self._own(name)
        rdata = parse_value(type, value)
        node = self._names.get(owner, {})
        # RFC 2181 §10.1: where an alias stands nothing else stands, and only one alias.
        others = [kind for kind in node if (kind == _CNAME) != (rdata.rdtype == _CNAME)]
        if others or (rdata.rdtype == _CNAME and _CNAME in node):
            raise ValueError(f"an alias can't stand beside other records at {name}")
        if owner not in self._names:
            self._names[owner] = node
            self._count(owner, 1)
        if rdata.rdtype not in node:
            node[rdata.rdtype] = dns.rdataset.Rdataset(_IN, rdata.rdtype, ttl=ttl)
        node[rdata.rdtype].add(rdata, ttl)

    def remove(self, name: str, type: str | None = None, value: str | None = None) -> None:
        """Take records away: one value, all of a type, or all at the name. What is not there is no error."""
        owner = self._own(name)
        node = self._names.get(owner)
        if node is None:
            return
        if type is None:
            node.clear()
        else:
            rdtype = dns.rdatatype.from_text(type)
            if value is not None and rdtype in node:
                gone = parse_value(type, value)
                rest = [rdata for rdata in node[rdtype] if rdata != gone]
                if rest:
                    node[rdtype] = dns.rdataset.from_rdata_list(node[rdtype].ttl, rest)
                else:
                    del node[rdtype]
            elif value is None:
                node.pop(rdtype, None)
        if not node:
            del self._names[owner]
            self._count(owner, -1)

    def replace(self, name: str, type: str, values: str | Iterable[str], ttl: int = 60) -> None:
        """Let exactly these values stand at name and type."""
        self.remove(name, type)
        for value in [values] if isinstance(values, str) else values:
            self.add(name, type, value, ttl)

    def at(self, owner: dns.name.Name) -> Node | None:
        """The records at a name: None when there is no such name, {} when it only has names below it."""
        node = self._names.get(owner)
        if node is not None:
            return node
        # RFC 8020 §3.1, RFC 4592 §2.2.2: a name with names below it exists, though it holds nothing.
        return {} if self._below[owner] else None

    def cut(self, name: dns.name.Name) -> tuple[dns.name.Name, dns.rdataset.Rdataset] | None:
        """The delegation at or above `name` and below the origin, the highest one."""
        found = None
        while name != self.origin and name.is_subdomain(self.origin):
            servers = self._names.get(name, {}).get(dns.rdatatype.NS)
            if servers is not None:
                found = name, servers
            name = name.parent()
        return found

    def records(self) -> list[ZoneRecord]:
        """All records of the table, sorted by name, the SOA first, for an export."""
        out = []
        for owner in sorted(self._names):
            for rdataset in sorted(self._names[owner].values(), key=lambda one: one.rdtype != dns.rdatatype.SOA):
                out += [
                    ZoneRecord(
                        owner.to_text(omit_final_dot=True), rdataset.rdtype.name, _plain(rdata), rdataset.ttl
                    )
                    for rdata in rdataset
                ]
        return out

    def _own(self, name: str) -> dns.name.Name:
        owner = parse_name(name)
        if not owner.is_subdomain(self.origin):
            raise ValueError(f"{name} is not in the zone")
        return owner

    def _count(self, owner: dns.name.Name, by: int) -> None:
        while owner != self.origin:
            owner = owner.parent()
            self._below[owner] += by


class Zones:
    """The zones one server answers for. Changes show in the next answer."""

    def __init__(self, *zones: Zone) -> None:
        self._zones: dict[dns.name.Name, Zone] = {}
        for zone in zones:
            self.put(zone)

    def put(self, zone: Zone) -> Zone:
        """Serve this zone, instead of one with the same origin."""
        self._zones[zone.origin] = zone
        return zone

    def drop(self, origin: str) -> None:
        """No longer serve the zone."""
        self._zones.pop(parse_name(origin), None)

    def add(self, name: str, type: str, value: str, ttl: int = 60) -> None:
        """Put a record into the zone it belongs to. ValueError when there is none."""
        self._zone_of(name).add(name, type, value, ttl)

    def remove(self, name: str, type: str | None = None, value: str | None = None) -> None:
        """Take records away; see Zone.remove."""
        self._zone_of(name).remove(name, type, value)

    def replace(self, name: str, type: str, values: str | Iterable[str], ttl: int = 60) -> None:
        """Let exactly these values stand; see Zone.replace."""
        self._zone_of(name).replace(name, type, values, ttl)

    def find(self, name: dns.name.Name) -> Zone | None:
        """The deepest zone that holds `name`."""
        while True:
            if (zone := self._zones.get(name)) is not None:
                return zone
            if name == dns.name.root:
                return None
            name = name.parent()

    def _zone_of(self, name: str) -> Zone:
        zone = self.find(parse_name(name))
        if zone is None:
            raise ValueError(f"no zone holds {name}")
        return zone


def parse_name(text: str) -> dns.name.Name:
    """A name in A-labels as an absolute, lower-case name. ValueError when it does not fit into DNS."""
    if not text.isascii():
        raise ValueError("names are given in A-labels")
    try:
        return dns.name.from_text(text).canonicalize()
    except dns.exception.DNSException as error:
        raise ValueError(f"not a DNS name: {text!r}") from error


def parse_value(type: str, value: str) -> dns.rdata.Rdata:
    """A value as rdata. TXT is plain text, cut into strings of 255 octets here; host names are absolute."""
    try:
        rdtype = dns.rdatatype.from_text(type)
        if rdtype == dns.rdatatype.TXT:
            octets = value.encode("latin-1")
            return TXT(_IN, rdtype, [octets[at : at + 255] for at in range(0, len(octets) or 1, 255)])
        return dns.rdata.from_text(_IN, rdtype, value, origin=dns.name.root, relativize=False)
    except (dns.exception.DNSException, UnicodeEncodeError) as error:
        raise ValueError(f"not a {type} value: {value!r}") from error


def _plain(rdata: dns.rdata.Rdata) -> str:
    return b"".join(rdata.strings).decode("latin-1") if isinstance(rdata, TXT) else rdata.to_text()


def _dot(host: str) -> str:
    return host if host.endswith(".") else host + "."


# RFC 1035 §3.3.13: the name of the server, the mailbox, the serial.
_SOA = re.compile(r"\S+ \d+ IN SOA \S+ \S+ (\d+) ")


def zone_text(records: Zone | Iterable[ZoneRecord]) -> str:
    """One line a record, names absolute, TXT (ASCII, else UnicodeEncodeError) in strings of 255 octets."""
    listed = records.records() if isinstance(records, Zone) else records
    return "".join(f"{_dot(one.name)} {one.ttl} IN {one.type} {_value(one)}\n" for one in listed)


def serial_of(text: str) -> int | None:
    """The serial of a zone file written here: its first line is the SOA. None: something else."""
    found = _SOA.match(text)
    return None if found is None else int(found[1])


def _value(record: ZoneRecord) -> str:
    if record.type == "TXT":
        return quoted(record.value)
    if record.type == "MX":
        preference, _, host = record.value.partition(" ")
        return f"{preference} {_dot(host.strip())}"
    return _dot(record.value) if record.type in ("CNAME", "NS", "PTR") else record.value
