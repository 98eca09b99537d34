"""Reply forwarding: mail for a domain that has it switched on goes to its member's mailbox, through the queue.

`wanted` answers RCPT, `pass_on` takes the message: bounds, loops and rates are judged, the sender is looked at (SPF,
DKIM, DMARC) and what was found is written on top; nothing that is found refuses the message. Promises that a message
goes round at most once: each copy is marked with its domain. Writing and sending the copy is the intake's and the
worker's; mail from port 25 never makes a report, so a copy that fails is an event for the member and nothing else.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace

import structlog

from relay import message, replies
from relay.base import names
from relay.base.clock import HOUR, Clock
from relay.base.config import Config
from relay.base.names import Address, BadName
from relay.base.netguard import client_key
from relay.base.secrets import Vault
from relay.base.throttle import Throttle
from relay.bounces import address as return_paths
from relay.directory import Directory, DomainEntry
from relay.intake import Accepted, Forward, Intake, Recipient, Submission
from relay.intake.build import MARK
from relay.message import BadMessage, Parsed
from relay.replies import Verdict
from relay.verify import AsksRecords, Signature, dmarc, results_field, signatures, spf

log = structlog.get_logger()
_RESULTS = "authentication-results"
_INLINE_BYTES = 16_384


@dataclass(frozen=True, slots=True)
class Incoming:
    """A message from outside for a domain with forwarding: `sender` None for none, `client` an IP address."""

    wanted: Address
    sender: Address | None
    raw: bytes
    client: str
    helo: str
    tls: str | None
    smtputf8: bool


class Forwards:
    """Decides about mail for members, and passes it on."""

    def __init__(
        self, intake: Intake, directory: Directory, resolver: AsksRecords, vault: Vault, config: Config, clock: Clock
    ) -> None:
        self._intake, self._directory, self._resolver, self._vault = intake, directory, resolver, vault
        self._config, self._clock = config, clock
        i = config.inbound
        self._of_domain = Throttle(i.forwards_a_domain_an_hour, HOUR)
        self._from_client = Throttle(i.forwards_an_address_an_hour, HOUR)
        self._bounds = replace(intake.bounds, size=i.forward_max_bytes)
        self._own = config.own_hosts

    def wanted(self, to: Address, client: str, size: int | None) -> Verdict | None:
        """None if mail for `to` may come, else the refusal; `size` as said at MAIL."""
        found = self._find(to)
        if isinstance(found, Verdict):
            return found
        if size is not None and size > self._bounds.size:
            return Verdict(replies.TOO_LARGE, wanted=str(self._bounds.size))
        return self._limited(found[0], client)

    def _find(self, to: Address) -> tuple[DomainEntry, Address] | Verdict:
        """The domain and where its mail goes."""
        domain = self._directory.forwarding(to.domain)
        # Return paths belong to `bounces`, at whatever domain somebody puts one.
        token = return_paths.read(self._vault, to.local) is not None
        if self._directory.forwarding_paused(to.domain) and not token:
            # Proved again, or no longer paused, tomorrow: nobody's mail is lost over it.
            return Verdict(replies.UNAVAILABLE)
        if domain is None or token:
            known = domain is None and self._directory.is_sending_domain(to.domain)
            return Verdict(replies.ADDRESS_NOT_AVAILABLE if known else replies.NO_SUCH_ADDRESS)
        member = self._directory.member(domain.member_id)
        if member is None or member.status != "active":
            # A suspension may be lifted tomorrow; the sender's host keeps the mail meanwhile.
            return Verdict(replies.UNAVAILABLE)
        try:
            mailbox = names.address(domain.options.forward_to)
        except BadName:
            return Verdict(replies.ADDRESS_NOT_AVAILABLE)
        if mailbox.domain == to.domain or mailbox.domain in self._own:
            return Verdict(replies.LOOP, saw="this domain's mail is forwarded to itself")
        return domain, mailbox

    def _limited(self, domain: DomainEntry, client: str) -> Verdict | None:
        now = self._clock.monotonic()
        wait = max(self._of_domain.wait(domain.id, now), self._from_client.wait(client_key(client), now))
        return Verdict(replies.FORWARDS_LIMITED, passes_at=self._clock.now() + wait) if wait > 0 else None

    async def pass_on(self, incoming: Incoming) -> Accepted | Verdict:
        """Take the message; `Accepted`: the copy is on disk. Raises StorageError."""
        found = self._find(incoming.wanted)
        if isinstance(found, Verdict):
            return found
        domain, mailbox = found
        parsed = await self._parse(incoming.raw)
        if isinstance(parsed, Verdict):
            return parsed
        mark = domain.name.encode("ascii")
        if any(f.name == MARK.lower() and f.value.strip().lower() == mark for f in parsed.fields):
            return Verdict(replies.LOOP, saw=f"this relay has forwarded the message for {domain.name} before")
        if (limited := self._limited(domain, incoming.client)) is not None:
            return limited
        now = self._clock.monotonic()
        self._of_domain.count(domain.id, now)
        self._from_client.count(client_key(incoming.client), now)
        results = await self._results(incoming, parsed)
        # RFC 8601 §5: only we speak in our name.
        kept = [f for f in parsed.fields if f.name != _RESULTS or not message.speaks_for(f.value, self._own)]
        forward = Forward(domain, incoming.wanted.text, Parsed(kept, parsed.body), results)
        # RFC 3834 §3, RFC 5321 §4.5.5: a null sender stays one. NEVER: mail from outside makes no report, whatever
        # becomes of it.
        taken = await self._intake.accept(
            Submission(
                None, None, "forward", incoming.sender, [Recipient(mailbox, notify="NEVER")], incoming.raw,
                smtputf8=incoming.smtputf8, helo=incoming.helo, client_address=incoming.client, tls=incoming.tls,
                forward=forward,
            )
        )
        if isinstance(taken, Accepted):
            log.info("inbound.forwarded", domain=domain.name, queue_id=taken.queue_id, client=incoming.client)
        return taken

    async def _parse(self, raw: bytes) -> Parsed | Verdict:
        try:
            if len(raw) < _INLINE_BYTES:
                return message.parse(raw, self._bounds)
            return await asyncio.to_thread(message.parse, raw, self._bounds)
        except BadMessage as e:
            if e.kind == "too_large":
                return Verdict(replies.TOO_LARGE, wanted=str(self._bounds.size))
            return Verdict(replies.LOOP if e.kind == "loop" else replies.INVALID_MESSAGE, saw=str(e))

    async def _results(self, incoming: Incoming, parsed: Parsed) -> bytes:
        """The Authentication-Results field: what SPF, DKIM and DMARC say, within the time there is for it."""
        seconds = self._config.inbound.authentication_seconds
        sender = incoming.sender.text if incoming.sender is not None else ""
        by_host, signed = await asyncio.gather(
            spf(incoming.client, incoming.helo, sender, self._resolver, seconds=seconds),
            self._signatures(incoming.raw, seconds),
        )
        try:
            shown = message.single_from(parsed, foreign=True).address.domain
        except BadName:
            shown = ""
        judged = await dmarc(shown, by_host, signed, self._resolver)
        return results_field(
            self._config.server.hostname, spf=by_host, sender=sender, signatures=signed, dmarc=judged
        )

    async def _signatures(self, raw: bytes, seconds: float) -> list[Signature]:
        try:
            async with asyncio.timeout(seconds):
                return await signatures(raw, self._resolver)
        except TimeoutError:
            return [Signature("", "", "", "temperror", "the keys were not there in time")]
