"""The authoritative look: what each of a zone's own servers says, without any cache in between.

1. The zone cut is found by asking the configured resolvers for NS up the tree. 2. Each name server found there is
asked directly. 3. A referral to a zone below is followed to that zone's servers. 4. An alias that leaves the zone
is followed by starting again at its target. Every step draws on one budget of questions and one deadline, so
servers that refer in circles or invent aliases cost a bounded amount of work.
Promises at least one ServerAnswer and no exception; leaves judging them to the checks.
"""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass, field, replace

import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdatatype

from relay.base.netguard import Network, may_be_reached
from relay.base.resolver.exchange import Failed
from relay.base.resolver.response import Found, dns_name, host_text, read
from relay.base.resolver.results import Answer, Later, Nothing, Result, ServerAnswer

Lookup = Callable[[str], Awaitable[Result]]
Exchange = Callable[
    [dns.name.Name, dns.rdatatype.RdataType, str, int, float, bool], Awaitable[dns.message.Message]
]


@dataclass(frozen=True, slots=True)
class _Zone:
    """A zone and who serves it; glue: addresses told along with a referral, by host."""

    name: dns.name.Name
    hosts: tuple[str, ...]
    glue: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class _Alias:
    """The server's answer goes on at `target`."""

    target: dns.name.Name
    chain: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Heard:
    """What one server said: something final, a zone below, or an alias to follow."""

    server: str
    ip: str
    said: ServerAnswer | _Zone | _Alias


@dataclass(slots=True)
class _Walk:
    """One look under way: what is asked for, and what it may still cost."""

    rdtype: dns.rdatatype.RdataType
    questions_left: int
    referrals_left: int
    passed: set[str] = field(default_factory=set)


class Look:
    """Asks authoritative servers; made by the Resolver, which lends it its questions and its bounds."""

    def __init__(
        self,
        *,
        ns: Callable[[str], Awaitable[Result]],
        addresses: Callable[[str], Awaitable[Result]],
        exchange: Exchange,
        port: int,
        timeout_seconds: float,
        lifetime_seconds: float,
        max_servers: int,
        max_referrals: int,
        max_cname: int,
        max_records: int,
        private_servers: Collection[Network],
        max_questions: int = 64,
    ) -> None:
        self._ns = ns
        self._addresses = addresses
        self._exchange = exchange
        self._port = port
        self._timeout_seconds = timeout_seconds
        self._lifetime_seconds = lifetime_seconds
        self._max_servers = max_servers
        self._max_referrals = max_referrals
        self._max_cname = max_cname
        self._max_records = max_records
        self._private_servers = private_servers
        self._max_questions = max_questions

    async def look(self, name: str, rdtype: dns.rdatatype.RdataType) -> list[ServerAnswer]:
        """Each authoritative server's answer about `name`; see Resolver.authoritative."""
        qname = dns_name(name)
        if qname is None:
            return [_later("not a name that DNS can hold")]
        walk = _Walk(rdtype, self._max_questions, self._max_referrals)
        try:
            async with asyncio.timeout(self._lifetime_seconds):
                found = await self._from_the_cut(walk, qname)
                return sorted(found, key=lambda one: (one.server, one.ip))
        except TimeoutError:
            return [_later("timeout")]

    async def _from_the_cut(self, walk: _Walk, name: dns.name.Name) -> list[ServerAnswer]:
        zone = await self._cut(name)
        return [_later(zone.reason)] if isinstance(zone, Later) else await self._ask_zone(walk, zone, name)

    async def _cut(self, name: dns.name.Name) -> _Zone | Later:
        """The deepest zone at or above `name` that the resolvers know servers of."""
        reason = "no zone found"
        at = name
        while True:
            found = await self._ns(host_text(at))
            if isinstance(found, Answer) and not found.cname_chain:
                return _Zone(at, found.texts())
            if isinstance(found, Later):
                # Some servers fail on NS at a name in mid-zone; the zone above can still tell, or refer us down.
                reason = found.reason
            if at == dns.name.root:
                return Later(reason)
            # The root itself is asked at last: a name under no zone at all is denied by its servers.
            at = _next_cut(at, found)

    async def _ask_zone(self, walk: _Walk, zone: _Zone, name: dns.name.Name) -> list[ServerAnswer]:
        hosts = zone.hosts[: self._max_servers]
        heard = await asyncio.gather(*(self._ask_host(walk, zone, host, name) for host in hosts))
        answers = [one.said for one in heard if isinstance(one.said, ServerAnswer)]
        # Servers that say the same are followed once.
        for below in dict.fromkeys(one.said for one in heard if isinstance(one.said, _Zone)):
            if walk.referrals_left <= 0:
                answers.append(_later("too many referrals"))
                continue
            walk.referrals_left -= 1
            answers += await self._ask_zone(walk, below, name)
        for alias in dict.fromkeys(one.said for one in heard if isinstance(one.said, _Alias)):
            beyond = await self._beyond(walk, alias)
            answers += [_joined(one, alias, said) for one in heard if one.said == alias for said in beyond]
        return answers or [_later("no servers")]

    async def _beyond(self, walk: _Walk, alias: _Alias) -> list[ServerAnswer]:
        """What stands at an alias's target: one answer for each different thing its servers say."""
        target = host_text(alias.target)
        if target in walk.passed:
            return [_later("alias loop")]
        if len(walk.passed) >= self._max_cname:
            return [_later("alias chain too long")]
        walk.passed.add(target)
        found = await self._from_the_cut(walk, alias.target)
        facts = [one for one in found if one.state in ("present", "absent")]
        return list({(one.state, one.values, one.cname): one for one in facts}.values()) or found[:1]

    async def _ask_host(self, walk: _Walk, zone: _Zone, host: str, name: dns.name.Name) -> _Heard:
        ips, reason = await self._ips(zone, host)
        ip = ""
        # A second address is asked only when the first gives no reply: it is the same server.
        for ip in ips[:2]:
            if not may_be_reached(ip, self._private_servers):
                reason = "private address"
                continue
            if walk.questions_left <= 0:
                return _Heard(host, ip, ServerAnswer(host, ip, "later", reason="too many questions"))
            walk.questions_left -= 1
            try:
                reply = await self._exchange(name, walk.rdtype, ip, self._port, self._timeout_seconds, False)
            except Failed as failed:
                reason = failed.reason
                continue
            return _Heard(host, ip, self._understand(reply, zone, walk.rdtype, host, ip, name))
        return _Heard(host, ip, ServerAnswer(host, ip, "unreachable", reason=reason))

    async def _ips(self, zone: _Zone, host: str) -> tuple[Sequence[str], str]:
        found = await self._addresses(host)
        if isinstance(found, Answer):
            return found.texts(), "no reply"
        glue = [ip for owner, ip in zone.glue if owner == host]
        return glue, found.reason if isinstance(found, Later) else "name server has no address"

    def _understand(
        self,
        reply: dns.message.Message,
        zone: _Zone,
        rdtype: dns.rdatatype.RdataType,
        host: str,
        ip: str,
        name: dns.name.Name,
    ) -> ServerAnswer | _Zone | _Alias:
        if reply.rcode() not in (dns.rcode.NOERROR, dns.rcode.NXDOMAIN):
            return ServerAnswer(host, ip, "later", reason=dns.rcode.to_text(reply.rcode()))
        if not reply.flags & dns.flags.AA:
            # RFC 1034 §4.3.1: without the authority bit it is a referral, or somebody's cache, which proves nothing.
            below = _referral(reply, zone.name, name)
            return below or ServerAnswer(host, ip, "later", reason="not authoritative")
        found: Found | Later = read(
            reply, name, rdtype, max_cname=self._max_cname, max_records=self._max_records, within=zone.name
        )
        if isinstance(found, Later):
            return ServerAnswer(host, ip, "later", reason=found.reason)
        if found.records:
            values = tuple(r if isinstance(r, str) else f"{r[0]} {r[1]}" for r in found.records)
            return ServerAnswer(host, ip, "present", values, found.chain)
        if found.negative is not None:
            keep = found.negative_ttl if found.soa else None
            return ServerAnswer(host, ip, "absent", (), found.chain, keep)
        return _Alias(found.name, found.chain)


def _next_cut(at: dns.name.Name, found: Result) -> dns.name.Name:
    """Where the next zone up may begin: the SOA of a "no" names it, else one label up."""
    if isinstance(found, Nothing) and found.soa and not found.cname_chain:
        soa = dns_name(found.soa)
        if soa is not None and soa != at and at.is_subdomain(soa):
            return soa
    return at.parent()


def _referral(reply: dns.message.Message, zone: dns.name.Name, name: dns.name.Name) -> _Zone | None:
    """The zone below `zone` and on the way to `name` that a reply points to; anything else is not believed."""
    for rrset in reply.authority:
        owner = rrset.name.canonicalize()
        if rrset.rdtype != dns.rdatatype.NS or owner == zone:
            continue
        if owner.is_subdomain(zone) and name.is_subdomain(owner):
            hosts = tuple(host_text(rdata.target) for rdata in rrset)
            glue = tuple(
                (host_text(extra.name), rdata.address)
                for extra in reply.additional
                if extra.rdtype in (dns.rdatatype.A, dns.rdatatype.AAAA)
                and extra.name.is_subdomain(owner)
                for rdata in extra
            )
            return _Zone(owner, hosts, glue)
    return None


def _joined(one: _Heard, alias: _Alias, said: ServerAnswer) -> ServerAnswer:
    return replace(said, server=one.server, ip=one.ip, cname=alias.chain + said.cname)


def _later(reason: str) -> ServerAnswer:
    return ServerAnswer("", "", "later", reason=reason)
