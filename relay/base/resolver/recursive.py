"""The resolver: questions to the configured name servers, with memory, bounds and three kinds of answer.

Promises: every call returns an Answer, Nothing or Later within its lifetime and raises nothing; trouble anywhere is
Later; equal questions asked at the same time are asked once; a lying or looping server costs bounded work.
Leaves what an answer means for mail to the route, and for a proof to the checks.
"""

from __future__ import annotations

import asyncio
import ipaddress
import time
from collections import OrderedDict
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from types import TracebackType
from typing import Generic, TypeVar

import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdatatype
import dns.resolver
import dns.reversename

from relay.base.netguard import Network
from relay.base.resolver.authoritative import Look
from relay.base.resolver.exchange import Failed, exchange
from relay.base.resolver.response import dns_name, host_text, read
from relay.base.resolver.results import Answer, Later, Nothing, Result, ServerAnswer

Key = TypeVar("Key")


class Cache(Generic[Key]):
    """A least-recently-used table whose entries end by their own time to live."""

    def __init__(
        self,
        *,
        entries: int,
        min_ttl_seconds: int,
        max_ttl_seconds: int,
        max_negative_ttl_seconds: int,
        now: Callable[[], float],
    ) -> None:
        self._entries = entries
        self._min = min_ttl_seconds
        self._max = max_ttl_seconds
        self._max_negative = max_negative_ttl_seconds
        self._now = now
        self._table: OrderedDict[Key, tuple[float, Answer | Nothing]] = OrderedDict()

    def get(self, key: Key) -> Answer | Nothing | None:
        """What is still valid under `key`, its ttl counted down to now; None when there is nothing."""
        found = self._table.get(key)
        if found is None:
            return None
        ends_at, result = found
        left = ends_at - self._now()
        if left <= 0:
            del self._table[key]
            return None
        self._table.move_to_end(key)
        seconds = int(left)
        if isinstance(result, Answer):
            return replace(result, ttl=min(result.ttl, seconds))
        return replace(result, negative_ttl=min(result.negative_ttl, seconds))

    def put(self, key: Key, result: Result) -> None:
        """Keep `result` for its time to live, within the bounds. `Later` is not kept: it is not a fact."""
        if isinstance(result, Later):
            return
        if isinstance(result, Answer):
            seconds = max(self._min, min(result.ttl, self._max))
        else:
            # RFC 2308 §5: a "no" is kept for the SOA's time, and a resolver may set a ceiling.
            seconds = max(self._min, min(result.negative_ttl, self._max_negative))
        if seconds <= 0 or self._entries <= 0:
            self._table.pop(key, None)
            return
        self._table[key] = (self._now() + seconds, result)
        self._table.move_to_end(key)
        while len(self._table) > self._entries:
            self._table.popitem(last=False)

    def __len__(self) -> int:
        return len(self._table)


_Key = tuple[dns.name.Name, dns.rdatatype.RdataType]


class Resolver:
    """Asks DNS. Make one for the process and hand it to whoever needs names.

    nameservers: "ip", "ip:port" or "[ipv6]:port", asked in turn; empty means the system's. ValueError for others.
    timeout_seconds bounds one question to one server, lifetime_seconds one call, all servers and aliases included.
    trust_ad: believe the resolvers' word that they validated DNSSEC (only for ones reached over a safe path).
    private_servers: networks, not public, in which the authoritative look may ask; for the demo, tests and
    split-horizon networks. A zone's owner can't make us send packets into any other network of our own.
    """

    def __init__(
        self,
        nameservers: Sequence[str] = (),
        *,
        port: int = 53,
        timeout_seconds: float = 5.0,
        lifetime_seconds: float = 15.0,
        rounds: int = 2,
        cache_entries: int = 10_000,
        min_ttl_seconds: int = 0,
        max_ttl_seconds: int = 3600,
        max_negative_ttl_seconds: int = 900,
        max_concurrent: int = 100,
        max_cname: int = 8,
        max_mx: int = 20,
        max_records: int = 100,
        max_addresses: int = 32,
        trust_ad: bool = False,
        authoritative_port: int = 53,
        authoritative_timeout_seconds: float = 3.0,
        authoritative_lifetime_seconds: float = 20.0,
        max_servers: int = 8,
        max_referrals: int = 8,
        private_servers: Collection[Network] = (),
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._servers = tuple(_endpoint(text, port) for text in nameservers) or _system_servers(port)
        self._timeout_seconds = timeout_seconds
        self._lifetime_seconds = lifetime_seconds
        self._rounds = rounds
        self._authoritative_port = authoritative_port
        self._max_cname = max_cname
        self._max_mx = max_mx
        self._max_records = max_records
        self._max_addresses = max_addresses
        self._trust_ad = trust_ad
        self._now = now
        self._room = asyncio.Semaphore(max_concurrent)
        self._asking: dict[_Key, asyncio.Task[Result]] = {}
        self._cache: Cache[_Key] = Cache(
            entries=cache_entries,
            min_ttl_seconds=min_ttl_seconds,
            max_ttl_seconds=max_ttl_seconds,
            max_negative_ttl_seconds=max_negative_ttl_seconds,
            now=now,
        )
        self._look = Look(
            ns=self.ns,
            addresses=self.addresses,
            exchange=self._exchange,
            port=authoritative_port,
            timeout_seconds=authoritative_timeout_seconds,
            lifetime_seconds=authoritative_lifetime_seconds,
            max_servers=max_servers,
            max_referrals=max_referrals,
            max_cname=max_cname,
            max_records=max_records,
            private_servers=private_servers,
        )

    @property
    def servers(self) -> tuple[str, ...]:
        """The addresses of the name servers that are asked."""
        return tuple(ip for ip, _ in self._servers)

    async def __aenter__(self) -> Resolver:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """End the questions under way; their askers get Later."""
        tasks = list(self._asking.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def mx(self, domain: str, *, fresh: bool = False) -> Result:
        """The mail exchanges of `domain`, best first, at most max_mx of them; `(0, ".")` is a null MX."""
        return _shortened(await self._resolve(domain, dns.rdatatype.MX, fresh), self._max_mx)

    async def addresses(self, host: str, *, fresh: bool = False) -> Result:
        """IPv4 and IPv6 addresses of `host`, IPv4 first.

        One family found is an Answer even when the other failed; nothing found while one failed is Later.
        """
        four, six = await asyncio.gather(
            self._resolve(host, dns.rdatatype.A, fresh), self._resolve(host, dns.rdatatype.AAAA, fresh)
        )
        return _shortened(_both(four, six), self._max_addresses)

    async def txt(self, name: str, *, fresh: bool = False) -> Result:
        """The TXT records at `name`, the strings of each joined without a gap (RFC 7208 §3.3, RFC 6376 §3.6.2.2).

        Octets outside ASCII come as the characters of the same number (latin-1).
        """
        return await self._resolve(name, dns.rdatatype.TXT, fresh)

    async def cname(self, name: str, *, fresh: bool = False) -> Result:
        """The alias that stands at `name` itself; it is not followed."""
        return await self._resolve(name, dns.rdatatype.CNAME, fresh)

    async def ns(self, name: str, *, fresh: bool = False) -> Result:
        """The name servers of the zone that begins at `name`; Nothing when none begins there."""
        return await self._resolve(name, dns.rdatatype.NS, fresh)

    async def tlsa(self, name: str, *, fresh: bool = False) -> Result:
        """The TLSA records at `name` (RFC 6698 §2.2): "usage selector matching hex"."""
        return await self._resolve(name, dns.rdatatype.TLSA, fresh)

    async def ptr(self, ip: str, *, fresh: bool = False) -> Result:
        """The names that an IP address says it has."""
        try:
            name = dns.reversename.from_address(ip)
        except (dns.exception.DNSException, ValueError):
            return Later("not an IP address")
        return await self._resolve(name.to_text(), dns.rdatatype.PTR, fresh)

    async def records(self, name: str, rdtype: str, *, fresh: bool = False) -> Result:
        """Records by the name of their type: "TXT", "CNAME", "MX", "A", "AAAA", "NS", "SOA"."""
        return await self._resolve(name, dns.rdatatype.from_text(rdtype), fresh)

    async def authoritative(self, name: str, rdtype: str) -> list[ServerAnswer]:
        """What each of the zone's own servers says about `name` and `rdtype`.

        At least one element. With rdtype "CNAME" aliases are shown and not followed. A server that followed an
        alias to a zone whose servers disagree has one element for each thing they say.
        """
        return await self._look.look(name, dns.rdatatype.from_text(rdtype))

    async def serves(self, zone: str, ip: str, *, tcp: bool) -> str:
        """Why the server at `ip` is no authority for `zone`, asked over UDP or over TCP; "" when it is one."""
        qname = dns_name(zone)
        if qname is None:
            return "not a name that DNS can hold"
        try:
            async with self._room:
                reply = await exchange(
                    qname, dns.rdatatype.SOA, ip, self._authoritative_port, timeout_seconds=self._timeout_seconds,
                    recursive=False, tcp=tcp,
                )
        except Failed as failed:
            return failed.reason
        if reply.rcode() != dns.rcode.NOERROR:
            return dns.rcode.to_text(reply.rcode())
        # RFC 1034 §4.2.1: a zone's own servers answer for its top with authority.
        return "" if reply.flags & dns.flags.AA and reply.answer else "not authoritative"

    async def _resolve(self, name: str, rdtype: dns.rdatatype.RdataType, fresh: bool) -> Result:
        qname = dns_name(name)
        if qname is None:
            # RFC 1035 §3.1: a name that does not fit into DNS can't be there. One that is not ASCII is our
            # own mistake and ends nothing.
            return Nothing("nxdomain", 0) if name.isascii() else Later("not an A-label name")
        key = (qname, rdtype)
        if not fresh and (kept := self._cache.get(key)) is not None:
            return kept
        task = self._asking.get(key)
        if task is None:
            task = asyncio.create_task(self._lookup(key))
            self._asking[key] = task
            task.add_done_callback(lambda _: self._asking.pop(key, None))
        try:
            # One asker that gives up must not take the answer from the others.
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            if task.cancelled() and not _being_cancelled():
                return Later("shutting down")
            raise

    async def _lookup(self, key: _Key) -> Result:
        try:
            async with asyncio.timeout(self._lifetime_seconds):
                result = await self._chase(*key)
        except TimeoutError:
            return Later("timeout")
        self._cache.put(key, result)
        return result

    async def _chase(self, qname: dns.name.Name, rdtype: dns.rdatatype.RdataType) -> Result:
        """Ask, and ask again for the alias where a server did not follow it itself."""
        chain: tuple[str, ...] = ()
        ttl = 2**31 - 1
        name = qname
        authentic = self._trust_ad
        while True:
            reply = await self._ask_in_turn(name, rdtype)
            if isinstance(reply, Later):
                return reply
            found = read(
                reply, name, rdtype, max_cname=self._max_cname - len(chain), max_records=self._max_records
            )
            if isinstance(found, Later):
                return found
            chain += found.chain
            ttl = min(ttl, found.ttl)
            # RFC 4035 §3.2.3: AD speaks of one reply; each step of an alias needs it.
            authentic = authentic and bool(reply.flags & dns.flags.AD)
            if found.records:
                return Answer(found.records, ttl, chain, authentic)
            if found.negative is not None:
                return Nothing(found.negative, min(ttl, found.negative_ttl), found.soa, chain, authentic)
            name = found.name
            if host_text(name) in (host_text(qname), *chain[:-1]):
                return Later("alias loop")

    async def _ask_in_turn(
        self, name: dns.name.Name, rdtype: dns.rdatatype.RdataType
    ) -> dns.message.Message | Later:
        """The first reply that states a fact; RFC 1035 §7.2: other servers are tried before giving up."""
        if not self._servers:
            return Later("no resolver configured")
        reason = "no reply"
        for _ in range(self._rounds):
            for ip, port in self._servers:
                try:
                    reply = await self._exchange(name, rdtype, ip, port, self._timeout_seconds, True)
                except Failed as failed:
                    reason = failed.reason
                    continue
                # RFC 8020 §2, RFC 2308 §2: only these two codes state a fact; SERVFAIL, REFUSED and all others don't.
                if reply.rcode() in (dns.rcode.NOERROR, dns.rcode.NXDOMAIN):
                    return reply
                reason = dns.rcode.to_text(reply.rcode())
        return Later(reason)

    async def _exchange(
        self,
        name: dns.name.Name,
        rdtype: dns.rdatatype.RdataType,
        ip: str,
        port: int,
        timeout_seconds: float,
        recursive: bool,
    ) -> dns.message.Message:
        async with self._room:
            return await exchange(name, rdtype, ip, port, timeout_seconds=timeout_seconds, recursive=recursive)




def _being_cancelled() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def _both(four: Result, six: Result) -> Result:
    answers = [found for found in (four, six) if isinstance(found, Answer)]
    if answers:
        return Answer(
            tuple(record for found in answers for record in found.records),
            min(found.ttl for found in answers),
            answers[0].cname_chain,
            all(found.authentic for found in answers),
        )
    if isinstance(four, Later):
        return four
    if isinstance(six, Later):
        return six
    # A name that has a type of record exists: NXDOMAIN counts only when both say so.
    if isinstance(four, Nothing) and four.kind == "nxdomain":
        return six
    return four


def _shortened(result: Result, most: int) -> Result:
    if not isinstance(result, Answer) or len(result.records) <= most:
        return result
    return Answer(result.records[:most], result.ttl, result.cname_chain, result.authentic)


def _endpoint(text: str, port: int) -> tuple[str, int]:
    try:
        return str(ipaddress.ip_address(text)), port
    except ValueError:
        pass
    host, colon, number = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not (colon and number.isascii() and number.isdigit() and 0 < int(number) < 65536):
        raise ValueError(f"not a name server address (IP, IP:port or [IPv6]:port): {text!r}")
    return str(ipaddress.ip_address(host)), int(number)


def _system_servers(port: int) -> tuple[tuple[str, int], ...]:
    try:
        found = dns.resolver.Resolver(configure=True)
    except (dns.resolver.NoResolverConfiguration, OSError):
        return ()
    return tuple((str(server), port) for server in found.nameservers if isinstance(server, str))
