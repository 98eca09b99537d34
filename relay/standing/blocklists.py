"""The relay's own addresses in DNS blocklists (RFC 5782): asked by the doctor, and once a day by a duty.

What a list answers is told apart: listed; under a policy of the network's owner, which is another matter; refused to
this resolver, which says nothing of the address; not to be asked just now. A list is believed only if it knows its own
test entry (127.0.0.2): lists that refuse a resolver often answer nothing, as if nobody were listed.
"""

from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import structlog

from relay.base.clock import DAY, HOUR, Clock
from relay.base.config import Config
from relay.base.config.standing import Blocklist
from relay.base.duty import Duty
from relay.base.own_addresses import AsksAddresses, source_addresses
from relay.base.resolver import Answer, Later, Result
from relay.base.storage import Storage, Tx, incidents

log = structlog.get_logger("standing")
KIND = "blocklist"
_LEASE_SECONDS = 3 * HOUR
_TURN_SECONDS = HOUR
_REFUSED = ipaddress.ip_network("127.255.255.0/24")
_ANSWERS = ipaddress.ip_network("127.0.0.0/8")
_TEST = "127.0.0.2"
Verdict = Literal["clear", "listed", "policy", "refused", "unknown"]


@dataclass(frozen=True, slots=True)
class Found:
    """What one list says of one address; `says`: its answers, or why there are none."""

    address: str
    blocklist: Blocklist
    verdict: Verdict
    says: str


def query_name(address: str, zone: str) -> str:
    """RFC 5782 §2.1, §2.4: the octets, or nibbles, in reverse."""
    pointer = ipaddress.ip_address(address).reverse_pointer
    return f"{pointer.removesuffix('.in-addr.arpa').removesuffix('.ip6.arpa')}.{zone}"


def judge(result: Result, blocklist: Blocklist) -> tuple[Verdict, str]:
    """What an answer means, and what it was."""
    if isinstance(result, Later):
        return "unknown", f"could not be asked ({result.reason})"
    if not isinstance(result, Answer):
        return "clear", ""
    answers = [ipaddress.ip_address(str(r)) for r in result.records]
    four = sorted(a for a in answers if isinstance(a, ipaddress.IPv4Address))
    says = ", ".join(map(str, four))
    # Spamhaus and others answer 127.255.255.x where they don't serve a resolver: never a listing.
    if any(a in _REFUSED for a in four):
        return "refused", says
    if not four or any(a not in _ANSWERS for a in four):
        return "unknown", f"answered {says or 'without an IPv4 address'}: something stands between"
    if all(str(a) in blocklist.policy for a in four):
        return "policy", says
    return "listed", says


async def look(config: Config, resolver: AsksAddresses) -> list[Found]:
    """Every list about every address of ours. Nothing while lists are switched off or no address is known."""
    r = config.reputation
    if not r.enabled or not r.blocklists:
        return []
    everywhere = config.delivery.allow_private_networks
    own = [a for a in await source_addresses(config, resolver) if everywhere or ipaddress.ip_address(a).is_global]
    if not own:
        return []
    found = await asyncio.gather(*(_list(own, one, resolver) for one in r.blocklists))
    return [one for of_list in found for one in of_list]


async def _list(own: Sequence[str], blocklist: Blocklist, resolver: AsksAddresses) -> list[Found]:
    # RFC 5782 §5: the entry by which a list shows that it works.
    verdict, says = judge(await resolver.addresses(query_name(_TEST, blocklist.zone)), blocklist)
    if verdict == "clear":
        verdict, says = "refused", "it doesn't answer this resolver: its test entry is missing"
    if verdict in ("refused", "unknown"):
        return [Found(address, blocklist, verdict, says) for address in own]
    asked = await asyncio.gather(*(resolver.addresses(query_name(a, blocklist.zone)) for a in own))
    return [Found(a, blocklist, *judge(result, blocklist)) for a, result in zip(own, asked, strict=True)]


class BlocklistWatch:
    """The duty: look once a day, and open an incident for what is listed. `run` until cancelled."""

    def __init__(
        self, storage: Storage, config: Config, clock: Clock, resolver: AsksAddresses, *, owner: str
    ) -> None:
        self._storage, self._config, self._clock, self._resolver = storage, config, clock, resolver
        self._duty = Duty(storage, clock, "blocklists", owner, _LEASE_SECONDS)
        self._next_at = float("-inf")

    async def run(self) -> None:
        """Take turns until cancelled, then give the duty back."""
        try:
            await self._duty.turns(self.tick, _TURN_SECONDS)
        finally:
            await self._duty.leave()

    async def tick(self) -> None:
        """Look, if it is time and the duty is ours. Raises StorageError."""
        if not await self._duty.ours() or self._clock.monotonic() < self._next_at:
            return
        found = await look(self._config, self._resolver)
        listed = [one for one in found if one.verdict == "listed"]
        if listed:
            await self._storage.write(lambda tx: self._open(tx, listed))
        for one in found:
            if one.verdict in ("refused", "unknown"):
                log.info("blocklist.not_told", zone=one.blocklist.zone, address=one.address, says=one.says)
        self._next_at = self._clock.monotonic() + DAY

    async def _open(self, tx: Tx, listed: Sequence[Found]) -> None:
        now, s = self._clock.now(), self._config.standing
        examples = [
            {
                "at": now, "host": one.blocklist.zone, "recipient": one.address,
                "reply": f"{one.address} is listed ({one.says}); {one.blocklist.delisting}",
            }
            for one in listed
        ]
        opened = await incidents.join(
            tx, KIND, seen_at=now, count=len(listed), examples=examples, keep=s.incident_examples
        )
        if opened:
            log.error("incident.opened", kind=KIND, example=examples[:1])
