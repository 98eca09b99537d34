"""A message that came in on 25 → what it changes. What intake is to submission.

Mail at the address for aggregate reports goes to `Aggregate`: which of its parts may be a report, and who vouches for
it.
"""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass

import structlog

from relay import message, replies
from relay.aggregate import AggregateRecords, Reported
from relay.base import names
from relay.base.clock import Clock
from relay.base.config import Config
from relay.base.netguard import network
from relay.base.secrets import random_id
from relay.base.storage import StorageError, StorageFull
from relay.base.throttle import Throttle
from relay.bounces.parse import Report, parse
from relay.bounces.parse.entity import Entity, decoded, leaves, read
from relay.bounces.record import Records, Result, Whose, judges
from relay.inbound.forwards import Forwards, Incoming
from relay.inbound.vouching import Source, Vouching
from relay.intake import Accepted, Intake
from relay.message import BadMessage
from relay.notices import own, texts
from relay.notices.notices import enclosing, sender
from relay.replies import Verdict, printable
from relay.unsubscribe import Leaving, Unsubscribe
from relay.verify import AsksRecords, Signature, signatures, spf

log = structlog.get_logger()
_PARTS = 5
_KINDS = ("application/", "text/xml", "text/json")


class Aggregate:
    """Hands reports on, with the domain that vouches for them."""

    def __init__(self, records: AggregateRecords, resolver: AsksRecords, config: Config) -> None:
        self._records, self._resolver, self._config = records, resolver, config

    async def take(self, entity: Entity, source: Source) -> None:
        """Read a mail and keep the reports in it. Raises StorageError."""
        parts = await asyncio.to_thread(_parts, entity)
        if not parts:
            log.info("aggregate.unreadable", client=source.client, cause="no part that could be a report")
            return
        await self._records.take(Reported(parts, await self._proved(source), source.client))

    async def _proved(self, source: Source) -> str:
        """The organisation of the header From, if SPF or a signature is of it too; else ""."""
        shown = source.fields.get("from", [])
        try:
            domain = names.single_mailbox(shown[0].encode("utf-8", "replace")).address.domain if len(shown) == 1 else ""
        except names.BadName:
            domain = ""
        if not domain:
            return ""
        seconds = self._config.inbound.vouching_seconds
        by_host, signed = await asyncio.gather(
            spf(source.client, source.helo, source.sender, self._resolver, seconds=seconds),
            self._signatures(source.raw, seconds),
        )
        proved = [one.domain for one in signed if one.result == "pass"]
        if by_host.result == "pass" and by_host.domain:
            proved.append(by_host.domain)
        aligned = any(names.same_organization(one, domain) for one in proved)
        return (names.registrable(domain) or domain) if aligned else ""

    async def _signatures(self, raw: bytes, seconds: float) -> list[Signature]:
        try:
            async with asyncio.timeout(seconds):
                return await signatures(raw, self._resolver)
        except TimeoutError:
            return []


def _parts(entity: Entity) -> list[bytes]:
    """The octets of the parts that may hold a report: files, and what says it is XML or JSON."""
    found = []
    for leaf in leaves(entity):
        named = "filename" in leaf.get("content-disposition").lower() or "name" in leaf.parameters
        if leaf.type.startswith(_KINDS) or named:
            found.append(decoded(leaf))
    return found[:_PARTS]


_INLINE_BYTES = 16_384
_HOUR = 3600.0
_BY = re.compile(r"\bby\s+([\w.-]{1,253})", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Arrival:
    """One message: its envelope sender ("" for none), the recipients of our return paths, the role addresses; or what
    is to be forwarded, which comes alone."""

    sender: str
    returned: tuple[Whose, ...]
    roles: tuple[str, ...]
    raw: bytes
    client: str = ""
    forward: Incoming | None = None
    leaving: tuple[Leaving, ...] = ()
    helo: str = ""
    reports: bool = False
    """It came to the address for aggregate reports, too."""


class Dispatch:
    """Takes messages in."""

    def __init__(
        self, records: Records, vouching: Vouching, forwards: Forwards, unsubscribe: Unsubscribe, intake: Intake,
        config: Config, clock: Clock, *, aggregate: Aggregate,
    ) -> None:
        self._vouching, self._aggregate = vouching, aggregate
        self._records, self._forwards, self._intake = records, forwards, intake
        self._config, self._clock = config, clock
        self._unsubscribe = unsubscribe
        self._passed_on = Throttle(config.inbound.role_mail_an_hour, _HOUR)
        self._from_network = Throttle(config.inbound.role_mail_a_network_an_hour, _HOUR)
        self._hosts = config.own_hosts

    async def accept(self, arrival: Arrival) -> Accepted | Verdict:
        """Take it: `Accepted` means that everything it changes is on disk. Raises nothing but CancelledError."""
        try:
            return await self._take(arrival)
        except StorageFull as e:
            self._intake.found_full(e)
            return Verdict(replies.DISK_FULL)
        except StorageError as e:
            log.error("storage.unavailable", cause=str(e))
            return Verdict(replies.UNAVAILABLE)
        except Exception:
            reference = random_id(6)
            log.exception("inbound.failed", reference=reference)
        return Verdict(replies.INTERNAL, reference=reference)

    @property
    def full(self) -> bool:
        """Whether the disk was full a moment ago."""
        return self._intake.full

    async def _take(self, arrival: Arrival) -> Accepted | Verdict:
        raw = arrival.raw
        try:
            # RFC 5321 §2.3.8, whoever it is for: what one server takes for a line's end must be one to all of them.
            message.check_octets(raw)
        except BadMessage as e:
            return Verdict(replies.INVALID_MESSAGE, saw=str(e))
        entity = read(raw)
        fields = entity.fields
        # RFC 5321 §4.4: who makes the final delivery says where the message came from; what stood there is no more.
        fields["return-path"] = [f"<{arrival.sender}>"]
        received = fields.get("received", [])
        # RFC 5321 §6.3: counting Received fields is the loop detection that always works.
        if len(received) > self._config.submission.max_received:
            return Verdict(replies.LOOP, saw=f"more than {self._config.submission.max_received} Received fields")
        if arrival.leaving:
            await self._leave(arrival, entity)
        if arrival.forward is not None:
            return await self._forwards.pass_on(arrival.forward)
        if arrival.reports:
            # Whatever it is, it is taken: who sent it reads no answer.
            await self._aggregate.take(
                entity, Source(arrival.client, arrival.helo, arrival.sender, arrival.raw, fields)
            )
        if not (arrival.returned or arrival.roles):
            return Accepted(random_id(10), 0, ())
        been_here = any((m := _BY.search(r)) is not None and m[1].lower() in self._hosts for r in received)
        automatic = fields.get("auto-submitted", ["no"])[0].lower() != "no"
        if been_here and automatic:
            return Verdict(replies.LOOP, saw="this relay's own mail has come back to it")
        report = parse(entity) if len(raw) < _INLINE_BYTES else await asyncio.to_thread(parse, entity)
        for whose in arrival.returned:
            await self._apply(arrival, whose, report, fields)
        if arrival.roles and (refused := await self._role_mail(arrival, report, fields, automatic)) is not None:
            return refused
        return Accepted(random_id(10), 0, ())

    async def _apply(
        self, arrival: Arrival, whose: Whose, report: Report, fields: dict[str, list[str]]
    ) -> Result:
        """Apply a report about one recipient; who vouches for it is asked only where that makes a difference."""
        vouched = ""
        if judges(report, whose.address):
            source = Source(arrival.client, arrival.helo, arrival.sender, arrival.raw, fields)
            vouched = await self._vouching.of(source, whose.address, whose.path, report)
        return await self._records.apply(whose.id, report, vouched)

    async def _leave(self, arrival: Arrival, entity: Entity) -> None:
        """Unsubscribe who leaves by this message: that it comes is the whole request (RFC 2369 §3.2)."""
        # The address stands nowhere but in List-Unsubscribe, so what comes there was meant for it, whatever it calls
        # itself: mail programs that ask for their user mark it auto-replied or auto-generated. Only a report was not.
        report = await asyncio.to_thread(parse, entity)
        if report.is_report:
            log.info("inbound.not_leaving", kind=report.kind, shape=report.shape)
            return
        for who in arrival.leaving:
            await self._unsubscribe.leave(who, "mailto")

    async def _role_mail(
        self, arrival: Arrival, report: Report, fields: dict[str, list[str]], automatic: bool
    ) -> Verdict | None:
        whose = await self._records.named(report) if report.kind == "complaint" else None
        if whose is not None:
            done = await self._apply(arrival, whose, report, fields)
            # Said before, it is no news for the operator either.
            if done != "nothing" or judges(report, whose.address):
                return None
        subject = printable(fields.get("subject", [""])[0])[:200]
        facts = {
            "to": list(arrival.roles), "sender": arrival.sender, "client": arrival.client, "subject": subject,
            "kind": report.kind,
        }
        operator = self._operator()
        # Automatic answers to what we pass on would be passed on for ever: they only go to the log. Complaints answer
        # to nothing, and many of those who send them call them automatic.
        if report.kind == "auto_reply" or (automatic and report.kind != "complaint"):
            log.info("inbound.role_mail", **facts, passed_on=False)
            return None
        # Only now: complaints are counted also where no operator reads mail.
        if operator is None:
            log.warning("inbound.role_mail", **facts, passed_on=False)
            return Verdict(replies.NO_OPERATOR)
        if (limited := self._count(arrival.client)) is not None:
            log.warning("inbound.role_mail", **facts, passed_on=False)
            return limited
        passed_on = False
        try:
            found = await self._pass_on(arrival, operator, subject)
            passed_on = not isinstance(found, Verdict)
        finally:
            if not passed_on:
                self._passed_on.take_back("")
                self._from_network.take_back(network(arrival.client))
        log.info("inbound.role_mail", **facts, passed_on=passed_on)
        if isinstance(found, Verdict):
            return found if found.reply.temporary else Verdict(replies.UNAVAILABLE)
        return None

    async def _pass_on(self, arrival: Arrival, operator: names.Address, subject: str) -> Accepted | Verdict:
        most = self._config.inbound.role_mail_max_bytes
        words = texts.role_mail(arrival.roles, arrival.sender, subject, whole=len(arrival.raw) <= most)
        raw = enclosing(arrival.raw[:most], sender(self._config), operator, words, now=self._clock.now())
        return await self._intake.accept(own(operator, raw))

    def _count(self, client: str) -> Verdict | None:
        """Count one message for the operator, before it is taken; the refusal when that would be too many."""
        now, of = self._clock.monotonic(), network(client)
        wait = max(self._passed_on.wait("", now), self._from_network.wait(of, now))
        if wait > 0:
            return Verdict(replies.ROLE_MAIL_LIMITED, passes_at=self._clock.now() + wait)
        self._passed_on.count("", now)
        self._from_network.count(of, now)
        return None

    def _operator(self) -> names.Address | None:
        """Where role mail goes; None when nowhere, or when it would come back here."""
        try:
            operator = names.address(self._config.server.operator_email)
        except names.BadName:
            return None
        return None if operator.domain in self._hosts else operator
