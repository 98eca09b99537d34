"""Who vouches for news of a recipient that came in on 25: nobody, or somebody who may know.

Whoever ever held a copy of a message can write to its return path, and write there what he likes. That is enough to
take that one recipient off a list; it judges a member only if the host that brings it speaks for the recipient's
domain: for the domain itself, for the organisation that its MX names as its exchanger, or for a feedback loop that
the configuration names. What shows it, and what doesn't:

- SPF (RFC 7208) of the envelope sender, or of the HELO name of a null sender: the domain's owner says that the host
  is one of his. Not where the record says so of everybody (`+all`, half of all addresses).
- DKIM (RFC 6376): the domain in d= wrote this. Only about this recipient: a signed message can be sent again by
  anybody, to any return path, so the return path must stand in its signed To field or in its signed body. Not with l=,
  behind which anybody may write.
- The client's reverse name, which points back (RFC 8601 §3): the domain's owner says so by the name. Not where the
  name is only the address written otherwise: so networks name their customers.
- A user of a provider is not the provider: the envelope sender must be null, which providers leave to nobody, or it,
  or the signed From, must be a mailbox that belongs to the mail system (RFC 2142 and the usual names). A user's mail
  has the provider's SPF, DKIM and host names too.

What a domain's owner publishes concerns his own recipients only: with MX records that name others' hosts he gives
those a say about his domain, and himself none about theirs. What remains possible is written in `docs/decisions.md`.

Promises to raise nothing and to take no longer than `inbound.vouching_seconds` a message; what could not be asked in
that time is vouched for by nobody. Few questions: DNS is asked only about names that would fit, the resolver keeps its
answers, and what was found is kept for five minutes.
"""

from __future__ import annotations

import asyncio
import re
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import structlog

from relay.base import names
from relay.base.clock import Clock
from relay.base.config import Config
from relay.base.config.reporters import KNOWN
from relay.base.resolver import Answer, Later
from relay.bounces.parse import Report
from relay.verify import AsksRecords, address_of, confirmed, numbered, signatures, spf

log = structlog.get_logger()
_KEPT_SECONDS = 300.0
_SYSTEM = frozenset({
    "mailer-daemon", "postmaster", "abuse", "fbl", "arf", "feedback", "feedbackloop", "feedback-loop", "complaint",
    "complaints", "abusedesk", "noreply", "no-reply",
})  # fmt: skip
_TAG = re.compile(r"(?:^|;)\s*([a-z]+)\s*=\s*([^;]*)")
_AT = re.compile(r"([^\s<>@\"(),;:]+)@([A-Za-z0-9.-]+)")
_SIGNATURES_MAX = 5


@dataclass(frozen=True, slots=True)
class Source:
    """A message that came: who brought it, and it. `sender` is "" for a null one; `fields` by lower-case name."""

    client: str
    helo: str
    sender: str
    raw: bytes
    fields: Mapping[str, Sequence[str]]


@dataclass(frozen=True, slots=True)
class _Targets:
    """The domain of the recipient, and the hosts that take mail for it."""

    domain: str
    hosts: tuple[str, ...]
    asked: bool

    def fits(self, name: str) -> bool:
        """Whether who speaks for `name` speaks for this domain's mail."""
        return any(names.same_organization(name, one) for one in (self.domain, *self.hosts))


class Vouching:
    """Asks. One for the process: what was found is remembered."""

    def __init__(self, resolver: AsksRecords, config: Config, clock: Clock) -> None:
        i = config.inbound
        self._resolver, self._clock, self._hostname = resolver, clock, config.server.hostname
        self._seconds, self._max = i.vouching_seconds, i.vouching_remembered
        listed = {*i.reporters, *(KNOWN if i.known_reporters else ())}
        self._addresses = frozenset(e for e in listed if "@" in e)
        self._domains = listed - self._addresses
        self._kept: OrderedDict[tuple[str, str, str, str], tuple[float, str]] = OrderedDict()

    async def of(self, source: Source, recipient: str, path: str, report: Report) -> str:
        """Who vouches for this news of `recipient`, as "spf far.test"; "" for nobody. `path`: the local part of the
        return path it came to, "" where the recipient was found inside."""
        try:
            async with asyncio.timeout(self._seconds):
                return await self._by_host(source, recipient) or await self._by_signature(
                    source, recipient, path, report
                )
        except TimeoutError:
            log.info("vouching.slow", client=source.client, helo=source.helo)
            return ""

    # -- the host ----------------------------------------------------------------------------------------------

    async def _by_host(self, source: Source, recipient: str) -> str:
        domain = recipient.rpartition("@")[2].lower()
        key = (source.client, source.helo, source.sender, domain)
        now = self._clock.monotonic()
        kept = self._kept.get(key)
        if kept is not None and now < kept[0]:
            return kept[1]
        targets = await self._targets(domain)
        found, asked = await self._name(source, targets)
        if not found:
            found, sure = await self._spf(source, targets)
            asked = asked and sure
        if found or (asked and targets.asked):
            self._kept[key] = (now + _KEPT_SECONDS, found)
            self._kept.move_to_end(key)
            while len(self._kept) > self._max:
                self._kept.popitem(last=False)
        return found

    async def _targets(self, domain: str) -> _Targets:
        found = await self._resolver.mx(domain)
        hosts = found.exchanges() if isinstance(found, Answer) else ()
        return _Targets(domain, tuple(h.lower() for _, h in hosts if h != "."), not isinstance(found, Later))

    async def _name(self, source: Source, targets: _Targets) -> tuple[str, bool]:
        ip = address_of(source.client)
        if ip is None:
            return "", True
        local, _, sender = source.sender.rpartition("@")
        system = not source.sender or (local.lower() in _SYSTEM and targets.fits(sender.lower()))

        def wanted(name: str) -> bool:
            return self._reports(name) or (system and targets.fits(name) and not numbered(name, ip))

        name, asked = await confirmed(ip, self._resolver, wanted)
        return (f"name {name}" if name else ""), asked

    async def _spf(self, source: Source, targets: _Targets) -> tuple[str, bool]:
        local, _, domain = source.sender.rpartition("@")
        domain = (domain if source.sender else source.helo).lower().rstrip(".")
        system = not source.sender or local.lower() in _SYSTEM
        listed = self._reports(domain) or source.sender.lower() in self._addresses
        if not listed and not (system and targets.fits(domain)):
            return "", True
        found = await spf(source.client, source.helo, source.sender, self._resolver, seconds=self._seconds)
        good = found.result == "pass" and not found.broad
        return (f"spf {found.domain}" if good else ""), found.result != "temperror"

    # -- the signature -----------------------------------------------------------------------------------------

    async def _by_signature(self, source: Source, recipient: str, path: str, report: Report) -> str:
        given = source.fields.get("dkim-signature", ())[:_SIGNATURES_MAX]
        writer = _writer(source.fields)
        if not given or writer is None:
            return ""
        local, domain = writer
        targets = await self._targets(recipient.rpartition("@")[2].lower())
        found: list[dict[str, str]] = [dict(_TAG.findall(" ".join(value.split()))) for value in given]

        def wanted(tags: dict[str, str]) -> bool:
            d = tags.get("d", "").strip().lower()
            if "l" in tags or not d or not _about(path, tags, source.fields, report):
                return False
            if self._reports(d):
                return True
            return names.same_organization(d, domain) and (
                f"{local}@{domain}" in self._addresses or (local in _SYSTEM and targets.fits(d))
            )

        if not any(wanted(tags) for tags in found):
            return ""
        # Topmost first, as they stand in the header.
        for tags, judged in zip(
            found, await signatures(source.raw, self._resolver, most=_SIGNATURES_MAX), strict=False
        ):
            if judged.result == "pass" and judged.domain == tags.get("d", "").strip().lower() and wanted(tags):
                return f"dkim {judged.domain}"
        return ""

    def _reports(self, name: str) -> bool:
        """Whether `name` is, or lies under, the domain of a feedback loop."""
        while name:
            if name in self._domains:
                return True
            name = name.partition(".")[2]
        return False


def _writer(fields: Mapping[str, Sequence[str]]) -> tuple[str, str] | None:
    """Local part and domain of the one address in the one From field, in lower case; None where there isn't one."""
    given = fields.get("from", ())
    found = _AT.findall(given[0]) if len(given) == 1 and given[0].count("@") == 1 else []
    if len(found) != 1:
        return None
    try:
        return found[0][0].lower(), names.domain(found[0][1])
    except names.BadName:
        return None


def _about(path: str, tags: dict[str, str], fields: Mapping[str, Sequence[str]], report: Report) -> bool:
    """Whether what is signed says which recipient it is about: the return path that it came to stands in its To, or
    in the message that it encloses."""
    if not path:
        return True
    signed = {name.strip().lower() for name in tags.get("h", "").split(":")}
    to = fields.get("to", ())
    if "to" in signed and len(to) == 1 and path.lower() in to[0].lower():
        return True
    return any(path.lower() == claim.partition("@")[0].lower() for claim in report.paths)
