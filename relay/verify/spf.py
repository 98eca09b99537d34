"""SPF: may this host send mail in that domain's name? (RFC 7208)

A record is read whole before anything is asked, so that a mistake anywhere in it counts (§4.6). Work is bounded: ten
terms that ask DNS and two empty answers a message (§4.6.4), and a time for all of it. Explanations (`exp=`) are not
fetched: nothing that the other side writes is repeated. Reading records is `spf_record`.

`spf_fault` looks at a policy without a client: what of it every receiver stumbles over, whoever sends.
"""

from __future__ import annotations

import asyncio
import ipaddress
import re
from dataclasses import dataclass, field
from typing import Literal, Protocol
from urllib.parse import quote

from relay.base import names
from relay.base.resolver import Answer, Later, Nothing, Result
from relay.verify.record_fault import BadRecord, Fault
from relay.verify.reverse import MAX_NAMES, Address, address_of, confirmed
from relay.verify.spf_record import MACRO, Term, read, records

SpfVerdict = Literal["none", "neutral", "pass", "fail", "softfail", "temperror", "permerror"]

MAX_TERMS = 10
MAX_VOID = 2
_NARROW = {4: 8, 6: 16}  # bits of a network that is somebody's
_QUALIFIERS: dict[str, SpfVerdict] = {"+": "pass", "-": "fail", "~": "softfail", "?": "neutral"}


class AsksRecords(Protocol):
    """The questions asked of DNS."""

    async def txt(self, name: str) -> Result:
        """TXT records at `name`."""

    async def mx(self, domain: str) -> Result:
        """Mail exchanges of `domain`."""

    async def ptr(self, ip: str) -> Result:
        """Names of an address."""

    async def records(self, name: str, rdtype: str) -> Result:
        """Records of the type "A" or "AAAA"."""


@dataclass(frozen=True, slots=True)
class Spf:
    """The result in the words of RFC 8601 §2.7.2, for the `domain` of the envelope sender or of the HELO name.
    `broad`: it was given to everybody, or to a large part of all addresses, and so says nothing of this one. `fault`:
    why it is a permerror."""

    result: SpfVerdict
    domain: str
    scope: Literal["mailfrom", "helo"] = "mailfrom"
    broad: bool = False
    fault: Fault | None = field(default=None, compare=False)


class _Ends(Exception):
    def __init__(self, result: SpfVerdict, fault: Fault | None = None) -> None:
        super().__init__(result)
        self.result: SpfVerdict = result
        self.fault = fault


def _permerror(code: str, says: str, at: str = "") -> _Ends:
    return _Ends("permerror", Fault(code, says, at))


async def spf(ip: str, helo: str, sender: str, resolver: AsksRecords, *, seconds: float = 20.0) -> Spf:
    """Judge the client address `ip`. `sender` is the envelope sender, "" for none: then the HELO name is judged. Of
    one that is no plain address only the domain counts.

    `seconds` bounds the whole (RFC 7208 §4.6.4 wants 20 at least); when they are over, it is a temperror.
    """
    by = _sender(sender)
    scope: Literal["mailfrom", "helo"] = "mailfrom" if by else "helo"
    # RFC 7208 §2.4: a null sender stands for postmaster@ the HELO name.
    domain = by.domain if by else _host(helo)
    # RFC 7208 §4.3: where there is no local part, postmaster stands for it. An odd one gets into no question to DNS.
    local = by.local if by and by.plain else "postmaster"
    address = address_of(ip)
    # RFC 7208 §4.3: what is no domain name of several labels has no policy.
    if address is None or not _askable(domain):
        return Spf("none", domain, scope)
    check = _Check(address, local, domain, helo, resolver)
    try:
        async with asyncio.timeout(seconds):
            result = await check.host(domain)
            return Spf(result, domain, scope, result == "pass" and check.broad)
    except TimeoutError:
        return Spf("temperror", domain, scope)
    except _Ends as end:
        return Spf(end.result, domain, scope, fault=end.fault)


async def spf_fault(
    record: str, domain: str, resolver: AsksRecords, *, ours: str = "", seconds: float = 20.0
) -> Fault | None:
    """What makes `record`, of `domain`, a permerror for clients that nothing in it matches: in it, or in what it
    includes. None where nothing does, or as far as could be asked: trouble with DNS is no fault of the record.

    Terms that depend on who sends are counted and not asked. `ours`: a name that is the relay's own; that it has no
    policy is the operator's matter.
    """
    check = _Everybody(domain, resolver, ours)
    try:
        async with asyncio.timeout(seconds):
            await check.host(domain, record)
    except TimeoutError:
        pass
    except _Ends as end:
        return end.fault
    return check.voids


class _Check:
    """One evaluation, with what it has spent."""

    def __init__(self, ip: Address, local: str, domain: str, helo: str, resolver: AsksRecords) -> None:
        self._ip, self._local, self._sender, self._helo, self._resolver = ip, local, domain, helo, resolver
        self._terms = self._voids = 0
        self.broad = False
        self._type = "A" if ip.version == 4 else "AAAA"

    async def host(self, domain: str, text: str = "") -> SpfVerdict:
        """RFC 7208 §4, `check_host()`, with the record `text` where it is known. Raises _Ends for what ends all
        evaluation."""
        own = [text] if text else await self._policies(domain)
        if not own:
            return "none"
        if len(own) > 1:
            raise _permerror("second_record", "{at}, which it refers to, has more than one SPF record.", domain)
        try:
            record = read(own[0])
        except BadRecord as bad:
            raise _Ends("permerror", bad.fault if text else _of(bad.fault, domain)) from None
        for term in record.terms:
            if await self._matches(term, domain):
                return _QUALIFIERS[term.qualifier]
        if record.redirect is None:
            return "neutral"
        # RFC 7208 §6.1: without a policy at the other name there is none at all.
        self._spend()
        return await self._referred("redirect=", record.redirect, domain)

    async def _policies(self, domain: str) -> list[str]:
        found = await self._resolver.txt(domain)
        if isinstance(found, Later):
            raise _Ends("temperror")
        return records(found.texts() if isinstance(found, Answer) else ())

    async def _referred(self, word: str, spec: str, domain: str) -> SpfVerdict:
        """The result of the policy that an include or redirect names."""
        target = await self._expand(spec, domain)
        result = await self.host(target) if _askable(target) and target.isascii() else "none"
        # RFC 7208 §5.2, §6.1: to refer to nothing is a mistake.
        if result == "none":
            raise _permerror("dead_include", "{at} points to a name that has no SPF record.", f"{word}{target}")
        return result

    async def _matches(self, term: Term, domain: str) -> bool:
        if term.name == "all":
            self.broad = True
            return True
        if term.network is not None:
            self.broad = term.network.prefixlen < _NARROW[self._ip.version]
            return self._ip in term.network
        self._spend()
        bits = term.bits4 if self._ip.version == 4 else term.bits6
        self.broad = term.name in ("a", "mx") and bits < _NARROW[self._ip.version]
        target = await self._expand(term.spec, domain) if term.spec else domain
        # RFC 8616 §4: a macro that gives what is not ASCII matches nothing.
        if not target.isascii():
            return False
        if term.name == "include":
            return await self._referred("include:", term.spec, domain) == "pass"
        if term.name == "exists":
            # RFC 7208 §5.7: always an A record, whatever the client's family.
            return bool(await self._ask(target, "A"))
        if term.name == "ptr":
            return await self._named(target) is not None
        if term.name == "a":
            return self._within(await self._ask(target, self._type), term)
        found = self._facts(await self._resolver.mx(target))
        exchanges = found.exchanges() if found else ()
        if len(exchanges) > MAX_NAMES:
            raise _permerror("too_many_lookups", f"{{at}} has more than {MAX_NAMES} mail exchangers.", f"mx:{target}")
        for _, exchange in exchanges:
            if exchange != "." and self._within(await self._ask(exchange, self._type), term):
                return True
        return False

    def _spend(self) -> None:
        self._terms += 1
        if self._terms > MAX_TERMS:
            raise _permerror(
                "too_many_lookups",
                f"The record needs more than {MAX_TERMS} DNS lookups, counting those of the records it includes; "
                "receivers then treat SPF as broken (permerror).",
            )

    def _facts(self, result: Result) -> Answer | None:
        if isinstance(result, Later):
            raise _Ends("temperror")
        if isinstance(result, Nothing):
            self._voids += 1
            if self._voids > MAX_VOID:
                raise _permerror(
                    "void_lookups",
                    f"More than {MAX_VOID} of the names it looks up don't exist or have no address; receivers then "
                    "treat SPF as broken (permerror).",
                )
            return None
        return result

    async def _ask(self, name: str, type: str) -> tuple[str, ...]:
        found = self._facts(await self._resolver.records(name, type))
        return found.texts() if found else ()

    def _within(self, addresses: tuple[str, ...], term: Term) -> bool:
        bits = term.bits4 if self._ip.version == 4 else term.bits6
        return any(self._ip in ipaddress.ip_network(f"{address}/{bits}", strict=False) for address in addresses)

    async def _named(self, domain: str) -> str | None:
        """RFC 7208 §5.5: the client's own name at or under `domain` that points back at it; None for none."""
        top = domain.lower()
        name, _ = await confirmed(self._ip, self._resolver, lambda n: n == top or n.endswith(f".{top}"))
        return name

    async def _expand(self, spec: str, domain: str) -> str:
        """RFC 7208 §7: a domain-spec with its macros filled in; too long a name loses labels on the left."""
        out, at = [], 0
        for macro in MACRO.finditer(spec):
            out.append(spec[at : macro.start()])
            at = macro.end()
            out.append({"%%": "%", "%_": " ", "%-": "%20"}.get(macro[0]) or await self._value(macro, domain))
        name = "".join((*out, spec[at:])).rstrip(".").lower()
        while len(name) > 253 and "." in name:
            name = name.split(".", 1)[1]
        return name

    async def _value(self, macro: re.Match[str], domain: str) -> str:
        letter, count, backwards, marks = macro["letter"], macro["count"], macro["reverse"], macro["marks"] or "."
        ip = self._ip
        nibbles = str(ip) if ip.version == 4 else ".".join(ip.exploded.replace(":", ""))
        value = {
            "s": f"{self._local}@{self._sender}", "l": self._local, "o": self._sender, "d": domain, "i": nibbles,
            "v": "in-addr" if ip.version == 4 else "ip6", "h": self._helo,
        }.get(letter.lower())
        if value is None:
            value = await self._named(domain) or "unknown"
        parts = re.split(f"[{re.escape(marks)}]", value)
        if backwards:
            parts.reverse()
        value = ".".join(parts[-int(count) :] if count else parts)
        return quote(value, safe="-._~") if letter.isupper() else value


class _Everybody(_Check):
    """An evaluation for nobody in particular, of which only the end by a mistake matters."""

    def __init__(self, domain: str, resolver: AsksRecords, ours: str) -> None:
        # An address for documents: no policy is about it.
        super().__init__(ipaddress.IPv4Address("192.0.2.1"), "postmaster", domain, domain, resolver)
        self._ours = ours.lower()
        self._open: list[str] = []
        self.voids: Fault | None = None

    async def host(self, domain: str, text: str = "") -> SpfVerdict:
        # Whoever sends: what includes itself never ends but by the limit of lookups.
        if domain in self._open:
            raise _permerror("include_loop", "The record at {at} includes itself, directly or through others.", domain)
        self._open.append(domain)
        found = await super().host(domain, text)
        self._open.pop()
        return found

    async def _policies(self, domain: str) -> list[str]:
        found = await super()._policies(domain)
        return found or (["v=spf1"] if domain == self._ours else [])

    def _facts(self, result: Result) -> Answer | None:
        try:
            return super()._facts(result)
        except _Ends as end:
            if end.fault is None:
                raise
            # Said only where nothing worse is found: that there are too many at all explains more.
            self.voids = end.fault
            return None

    async def _matches(self, term: Term, domain: str) -> bool:
        if term.name == "all":
            return True
        if term.network is not None:
            return False
        if term.name == "ptr" or any(m["letter"] and m["letter"] not in "dD" for m in MACRO.finditer(term.spec)):
            self._spend()
            return False
        await super()._matches(term, domain)
        # Whoever sends, an include is done with only when something in it matches him.
        return False


def _of(fault: Fault, domain: str) -> Fault:
    """A fault in a record that another one refers to."""
    says = fault.says.replace("{at}", f"“{fault.at}”") if fault.at.isascii() and fault.at.isprintable() else ""
    return Fault("bad_include", f"The SPF record at {{at}}, which it refers to, is broken. {says}".rstrip(), domain)


def _sender(text: str) -> names.Address | None:
    try:
        return names.reverse_path(text)
    except names.BadName:
        return None


def _host(helo: str) -> str:
    try:
        return names.foreign_domain(helo.removesuffix("."))
    except names.BadName:
        return ""


def _askable(name: str) -> bool:
    labels = name.rstrip(".").split(".")
    # A number at the end, or brackets: an IP address, which has no policy.
    if labels[-1].isdigit() or name.startswith("["):
        return False
    return len(labels) > 1 and len(name) <= 253 and name.isascii() and all(0 < len(label) < 64 for label in labels)
