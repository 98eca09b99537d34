"""What large receivers ask of senders, by the rules that they publish (2024 to 2026), held against a message.

Each rule is a check that never stops: met, not met, or not known. What the relay does by itself is met by what it
does; what stands in DNS is as the last look at the domain found it, the reverse name is asked.

Sources: support.google.com/mail/answer/81126, senders.yahooinc.com/best-practices, and Microsoft's "Outlook's new
requirements for high-volume senders" (techcommunity.microsoft.com, 2025).
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from relay import suppression
from relay.base.clock import DAY, Clock, utc_day
from relay.base.config import Config
from relay.base.own_addresses import source_addresses
from relay.base.resolver import Result
from relay.base.storage import Storage, domains, stats
from relay.directory import DomainEntry
from relay.verify import address_of, confirmed

Receiver = Literal["gmail", "yahoo", "microsoft"]
RECEIVERS: tuple[Receiver, ...] = ("gmail", "yahoo", "microsoft")
_SHARE_DAYS = 30
_PTR_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Rules:
    """One receiver's. `complaints`: the shares that it names, to stay under and never to reach; `unsubscribe`: whether
    it demands one click for bulk mail, or recommends a way that works."""

    complaints: tuple[float, float] | None
    unsubscribe: bool


RULES: dict[Receiver, Rules] = {
    "gmail": Rules((0.001, 0.003), unsubscribe=True),
    "yahoo": Rules((0.003, 0.003), unsubscribe=True),
    "microsoft": Rules(None, unsubscribe=False),
}


class AsksAboutUs(Protocol):
    """The questions asked of DNS."""

    async def addresses(self, name: str) -> Result:
        """A and AAAA records."""

    async def ptr(self, ip: str) -> Result:
        """Names of an address."""

    async def records(self, name: str, rdtype: str) -> Result:
        """Records of one type."""


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule of one receiver: `met` None where it isn't known; `says` what was seen, or what to do."""

    name: str
    met: bool | None
    says: str


async def rules(
    receiver: Receiver, domain: DomainEntry, category: str | None, storage: Storage, config: Config, clock: Clock,
    resolver: AsksAboutUs | None,
) -> list[Rule]:
    """How a message of `domain` stands with one receiver. Raises StorageError."""
    asked = RULES[receiver]
    async with storage.read() as tx:
        row = await domains.get(tx, domain.id)
        since = utc_day(clock.now() - _SHARE_DAYS * DAY)
        counted = await stats.days(tx, since, domain_id=domain.id)
    flags: dict[str, Any] = (row.flags if row is not None else None) or {}
    delivered, complaints = sum(d.delivered for d in counted), sum(d.complaints for d in counted)
    found = [*_authentication(domain, flags, config), await _reverse(config, resolver)]
    found.append(Rule("tls", True, "Mail goes out over TLS wherever the other side offers it."))
    found.append(_unsubscribe(category, asked))
    if asked.complaints is not None:
        found.append(_complaints(delivered, complaints, asked.complaints))
    found.append(Rule("message_id", True, "A Message-ID that is missing or can't be read is added."))
    return found


def _authentication(domain: DomainEntry, flags: dict[str, Any], config: Config) -> list[Rule]:
    keys = [flags.get(name) for name in ("dkim_rsa", "dkim_ed25519")]
    dkim = bool(domain.keys) and (True in keys if any(k is not None for k in keys) else None)
    spf_aligned = bool(domain.return_path)
    path = domain.return_path or config.bounce_host
    aligned = bool(dkim) or spf_aligned
    both = " Both do." if dkim and spf_aligned else " Both would be better: give the domain a return path of its own."
    says = {
        True: f"Signed with d={domain.name}, in alignment with From.",
        False: "No DKIM key of the domain was found in DNS.",
        None: "The DKIM records have not been looked at.",
    }
    neither = "Neither DKIM nor SPF is of the From's domain."
    dmarc = flags.get("dmarc")
    return [
        Rule("dkim", dkim, says[dkim]),
        Rule("spf", True, f"The return path is at {path}, which allows this relay's addresses."),
        Rule(
            "alignment", aligned if dkim is not None or spf_aligned else None,
            f"DKIM or SPF is of the From's domain.{both}" if aligned else neither,
        ),
        Rule("dmarc", dmarc, {
            True: "There is a DMARC record, or one is inherited.",
            False: "Publish a DMARC record: v=DMARC1; p=none is enough.", None: "DMARC has not been looked at.",
        }[dmarc]),
    ]


async def _reverse(config: Config, resolver: AsksAboutUs | None) -> Rule:
    """Whether each address of ours has a name that leads back."""
    if resolver is None:
        return Rule("reverse_name", None, "Not asked.")
    try:
        async with asyncio.timeout(_PTR_SECONDS):
            own = await source_addresses(config, resolver)
            found = [(ip, await confirmed(at, resolver, lambda _: True)) for ip in own if (at := address_of(ip))]
    except TimeoutError:
        found = []
    missing = [ip for ip, (name, asked) in found if name is None and asked]
    if missing:
        return Rule("reverse_name", False, f"{', '.join(missing)}: no reverse name that leads back")
    if not found or any(name is None for _, (name, _) in found):
        return Rule("reverse_name", None, "Could not be asked.")
    return Rule("reverse_name", True, ", ".join(f"{ip} is {name}" for ip, (name, _) in found))


def _unsubscribe(category: str | None, asked: Rules) -> Rule:
    demands = "demanded" if asked.unsubscribe else "recommended"
    if category in suppression.BULK:
        return Rule("unsubscribe", True, f"Bulk mail carries one click to unsubscribe ({demands}).")
    says = f"Of the category {category}, taken for transactional: none is {demands}. Bulk mail would carry it."
    return Rule("unsubscribe", True, says)


def _complaints(delivered: int, complaints: int, shares: tuple[float, float]) -> Rule:
    under, never = shares
    share = complaints / delivered if delivered else 0.0
    says = f"{complaints} of {delivered} in {_SHARE_DAYS} days ({100 * share:.2f} %); stay under {100 * under:g} %"
    if never > under:
        says += f", and never reach {100 * never:g} %"
    return Rule("complaints", share < under if delivered else None, f"{says}. The receiver counts for itself.")


def unmet(found: Sequence[Rule]) -> str:
    """The rules that aren't met, in a sentence; "" where all that are known are."""
    return " ".join(f"{rule.name}: {rule.says}" for rule in found if rule.met is False)
