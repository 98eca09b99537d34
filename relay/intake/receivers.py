"""What large receivers ask of senders, by the rules that they publish (2024 to 2026), held against a message.

Each rule is a check that never stops: met, not met, or not known. What the relay does by itself is met by what it
does; what stands in a member's DNS is as the last look at the domain found it; SPF of the return path, for each of our
addresses, and the reverse names are asked.

Sources: support.google.com/mail/answer/81126, senders.yahooinc.com/best-practices, and Microsoft's "Outlook's new
requirements for high-volume senders" (techcommunity.microsoft.com, 2025).
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from relay import suppression
from relay.base.clock import DAY, Clock, utc_day
from relay.base.config import Config
from relay.base.own_addresses import source_addresses
from relay.base.resolver import Resolver
from relay.base.storage import Storage, domains, stats
from relay.directory import DomainEntry
from relay.verify import address_of, confirmed, spf

Receiver = Literal["gmail", "yahoo", "microsoft"]
RECEIVERS: tuple[Receiver, ...] = ("gmail", "yahoo", "microsoft")
_SHARE_DAYS = 30
_DNS_SECONDS = 5.0


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


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule of one receiver: `met` None where it isn't known; `says` what was seen, or what to do."""

    name: str
    met: bool | None
    says: str


async def rules(
    receiver: Receiver, domain: DomainEntry, category: str | None, storage: Storage, config: Config, clock: Clock,
    resolver: Resolver | None,
) -> list[Rule]:
    """How a message of `domain` stands with one receiver. Raises StorageError."""
    asked = RULES[receiver]
    async with storage.read() as tx:
        row = await domains.get(tx, domain.id)
        since = utc_day(clock.now() - _SHARE_DAYS * DAY)
        counted = await stats.days(tx, since, domain_id=domain.id)
    flags: dict[str, Any] = (row.flags if row is not None else None) or {}
    delivered, complaints = sum(d.delivered for d in counted), sum(d.complaints for d in counted)
    own = await _own(config, resolver)
    path = domain.return_path or config.bounce_host
    passes = await _spf(path, own, config, resolver)
    found = [*_authentication(domain, flags, passes), await _reverse(own, resolver)]
    found.append(Rule("tls", True, "Mail goes out over TLS wherever the other side offers it."))
    found.append(_unsubscribe(category, asked))
    if asked.complaints is not None:
        found.append(_complaints(delivered, complaints, asked.complaints))
    found.append(Rule("message_id", True, "A Message-ID that is missing or can't be read is added."))
    return found


async def _own(config: Config, resolver: Resolver | None) -> list[str]:
    """The addresses that mail leaves from; none where they can't be found out."""
    if resolver is None:
        return []
    try:
        async with asyncio.timeout(_DNS_SECONDS):
            return list(await source_addresses(config, resolver))
    except TimeoutError:
        return []


async def _spf(path: str, own: Sequence[str], config: Config, resolver: Resolver | None) -> Rule:
    """Whether the return path's record allows each address that mail leaves from, judged as receivers do."""
    at = f"The return path is at {path}"
    if config.delivery.smarthost:
        return Rule("spf", None, f"{at}; which addresses the smarthost sends from isn't known here.")
    if resolver is None or not own:
        return Rule("spf", None, f"{at}; its record could not be asked for our addresses.")
    found = {ip: (await spf(ip, path, f"postmaster@{path}", resolver, seconds=_DNS_SECONDS)).result for ip in own}
    if refused := sorted(ip for ip, result in found.items() if result not in ("pass", "temperror")):
        return Rule("spf", False, f"{at}, whose SPF record does not let {', '.join(refused)} pass "
                                  f"({found[refused[0]]}).")
    if "temperror" in found.values():
        return Rule("spf", None, f"{at}; its SPF record could not be asked.")
    return Rule("spf", True, f"{at}, whose SPF record allows {', '.join(own)}.")


def _authentication(domain: DomainEntry, flags: dict[str, Any], passes: Rule) -> list[Rule]:
    keys = [flags.get(name) for name in ("dkim_rsa", "dkim_ed25519")]
    dkim = bool(domain.keys) and (True in keys if any(k is not None for k in keys) else None)
    # One that passes must also be of the domain: the relay's own return path never is.
    spf_aligned = passes.met if domain.return_path else False
    says = {
        True: f"Signed with d={domain.name}, in alignment with From.",
        False: "No DKIM key of the domain was found in DNS.",
        None: "The DKIM records have not been looked at.",
    }
    dmarc = flags.get("dmarc")
    return [
        Rule("dkim", dkim, says[dkim]),
        passes,
        _alignment(dkim, spf_aligned, own_path=bool(domain.return_path)),
        Rule("dmarc", dmarc, {
            True: "There is a DMARC record, or one is inherited.",
            False: "Publish a DMARC record: v=DMARC1; p=none is enough.", None: "DMARC has not been looked at.",
        }[dmarc]),
    ]


def _alignment(dkim: bool | None, spf_aligned: bool | None, *, own_path: bool) -> Rule:
    """Whether DKIM or SPF passes for the From's domain; both is better."""
    if dkim and spf_aligned:
        return Rule("alignment", True, "DKIM and SPF both pass for the From's domain.")
    if dkim:
        better = "when SPF of its return path passes" if own_path else "with a return path of its own"
        return Rule("alignment", True, f"DKIM passes for the From's domain. SPF would too {better}.")
    if spf_aligned:
        return Rule("alignment", True, "SPF passes for the From's domain. DKIM would too with its keys in DNS.")
    if dkim is None or spf_aligned is None:
        return Rule("alignment", None, "Whether DKIM or SPF passes for the From's domain isn't known yet.")
    return Rule("alignment", False, "Neither DKIM nor SPF passes for the From's domain.")


async def _reverse(own: Sequence[str], resolver: Resolver | None) -> Rule:
    """Whether each address of ours has a name that leads back."""
    if resolver is None:
        return Rule("reverse_name", None, "Not asked.")
    try:
        async with asyncio.timeout(_DNS_SECONDS):
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
    says = f"Mail of the category {category or 'transactional'} needs none. Bulk mail would carry one ({demands})."
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
