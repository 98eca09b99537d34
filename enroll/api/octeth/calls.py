"""The nine calls: parameters in, an answer out. Each asks the services that the native API asks.

A call's name is its `Command`, `user.senderdomain.<name>`; its decorator says the path at which it answers besides.
"""

from __future__ import annotations

import builtins
import secrets
from typing import Any

from enroll.api.octeth import responses
from enroll.api.octeth.errors import Fault, bad_label, missing, not_found
from enroll.api.octeth.requests import Parameters
from enroll.api.octeth.views import (
    ACCESS,
    CREATED,
    NAMED,
    Create,
    CreateAnswer,
    DeleteAnswer,
    DnsAnswer,
    DnsHostAnswer,
    ErrorsView,
    GetAnswer,
    ListAnswer,
    OneDomain,
    OneDomainOrFigures,
    SendTest,
    SendTestAnswer,
    Update,
    UpdateAnswer,
    Verify,
    VerifyAllAnswer,
    VerifyAnswer,
)
from enroll.domains import Domain, Domains
from enroll.domains.lifecycle import LOCKED
from enroll.domains.test_message import test_subject
from enroll.records import Record
from enroll.sessions import Actor
from relay.base import names
from relay.base.clock import Clock
from relay.base.config import Config
from relay.base.domain_options import Options
from relay.base.storage import StorageError
from relay.base.web.calls import Access, Calls
from relay.base.web.schema import json_of, schema_of
from relay.replies import LIMIT_REACHED, Refused

_BY_OPTION = {o.name: o.octeth for o in NAMED if o.kind == "label"}
_STATUS = {"enabled": True, "disabled": False}


TAG = ("Sender domains", "Each call also answers at `/api.php`, by its `Command`.")
_PATH = "/api/v1/user.senderdomain"
_BY_HEADER = Access(keys=("apiKey",))
_calls = Calls(TAG[0], ACCESS, scope="manage", hands=("p",))


class SenderDomains:
    """Every call takes who asks and what. Raises Fault, and what the services raise."""

    FAMILY = "user.senderdomain."

    def __init__(self, domains: Domains, config: Config, clock: Clock) -> None:
        self._domains, self._config, self._clock = domains, config, clock
        self._fixed: dict[int, tuple[Domain, dict[str, Any]]] = {}

    @_calls.get(f"{_PATH}s", "List the sender domains")
    async def list(self, who: Actor, p: Parameters) -> ListAnswer:
        """user.senderdomain.list"""
        found = await self._domains.overview(who.member.id, limit=self._config.octeth.max_list)
        return ListAnswer.of(
            [responses.listed(self._shown(domain), figures) for domain, figures in found if who.may_use(domain.name)]
        )

    @_calls.get(_PATH, "Show a sender domain", asks=OneDomainOrFigures)
    async def get(self, who: Actor, p: Parameters) -> GetAnswer:
        """user.senderdomain.get"""
        domain = await self.one(who, p)
        wanted, days = p.days()
        figures = await self._domains.stats(who.member.id, domain.id, days)
        shown = {"SenderDomain": responses.listed(self._shown(domain), figures)}
        more = {"Days": figures.days, "Stats": responses.periods(figures.periods)} if wanted else {}
        return GetAnswer.model_validate(shown | more)

    @_calls.post(_PATH, "Enroll a sender domain", takes=Create)
    async def create(self, who: Actor, p: Parameters) -> CreateAnswer:
        """user.senderdomain.create"""
        if not p.has("SenderDomain"):
            raise missing("SenderDomain")
        name = p.text("SenderDomain")
        if name.rstrip(".").lower() == "localhost":
            raise Fault(4, "localhost is not a valid sender domain")
        if not who.may_use(_plain(name)):
            raise Fault(4, "This API key is limited to other domains", 403)
        options = _options(p)
        if "custom_subdomain" in options:
            # Of a domain that was enrolled elsewhere and is created again: who names it wants it.
            options["return_path"] = True
        octeth = self._config.octeth
        basis = Options(**CREATED, custom_subdomain=octeth.subdomain, track_prefix=octeth.track_prefix)
        try:
            domain = await self._domains.enroll(who.member.id, name, options, basis=basis)
        except Refused as e:
            raise _not_created(e) from e
        except StorageError as e:
            raise Fault(7, "Sender domain create process failed", named=True) from e
        return CreateAnswer(DomainID=domain.id, SenderDomain=responses.brief(domain, self._records(domain)))

    # PATCH reads no query: credentials stand in its body or in the header.
    @_calls.patch(_PATH, "Change a sender domain", takes=Update, access=_BY_HEADER)
    async def update(self, who: Actor, p: Parameters) -> UpdateAnswer:
        """user.senderdomain.update"""
        domain = await self.one(who, p)
        options = _options(p)
        if options.get("custom_subdomain", domain.options.custom_subdomain).lower() != domain.options.custom_subdomain:
            # In this shape a domain always has a return path of its own; one enrolled elsewhere may not have. Sending
            # back what was shown asks for none.
            options["return_path"] = True
        enabled: bool | None = None
        if p.has("status"):
            enabled = _STATUS.get(p.text("status").lower())
            if enabled is None:
                raise Fault(9, "Invalid Status value. Allowed: Enabled, Disabled")
        try:
            domain, anew = await self._domains.revise(who.member.id, domain.id, options, enabled=enabled)
        except Refused as e:
            raise _not_updated(e, enabled) from e
        shown = responses.brief(domain, self._records(domain))
        return UpdateAnswer(DnsRegenerated=anew, SenderDomain=shown)

    @_calls.delete(_PATH, "Delete a sender domain", asks=OneDomain)
    async def delete(self, who: Actor, p: Parameters) -> DeleteAnswer:
        """user.senderdomain.delete"""
        domain = await self.one(who, p)
        try:
            await self._domains.delete(who.member.id, domain.id)
        except Refused as e:
            if e.status != 409:
                raise
            raise Fault(3, "A suspended or blocked sender domain cannot be deleted", 422, named=True) from e
        return DeleteAnswer()

    @_calls.post(
        f"{_PATH}.verify", "Look at DNS now, of one or of 25", takes=Verify,
        gives={"anyOf": [schema_of(one, "serialization") for one in (VerifyAnswer, VerifyAllAnswer)]},
    )
    async def verify(self, who: Actor, p: Parameters) -> VerifyAnswer | VerifyAllAnswer:
        """user.senderdomain.verify"""
        if p.flag("verifyall"):
            checked, truncated = await self._domains.check_all(who.member.id, who.domains)
            shown = [responses.verified(d) for d in checked]
            good = sum(one.IsVerified for one in shown)
            return VerifyAllAnswer(
                VerifyAll=True, Verified=good, Failed=len(shown) - good, Truncated=truncated, Domains=shown
            )
        domain = await self._domains.check((await self.one(who, p)).id)
        return VerifyAnswer(
            DomainID=domain.id, IsVerified=domain.proved, Status=responses.status(domain),
            DNSRecords=responses.probed(domain, self._records(domain)),
        )

    @_calls.get(f"{_PATH}.dns", "The records of a sender domain", asks=OneDomain)
    async def dns(self, who: Actor, p: Parameters) -> DnsAnswer:
        """user.senderdomain.dns"""
        domain = await self.one(who, p)
        table = responses.dns_table(domain, self._records(domain))
        return DnsAnswer(DomainID=domain.id, SenderDomain=domain.name, DNSRecords=table)

    @_calls.post(
        f"{_PATH}.sendtest", "Send a test message", takes=SendTest,
        responses={
            "502": {"description": "It could not be delivered.", "content": json_of(ErrorsView, "serialization")}
        },
    )
    async def sendtest(self, who: Actor, p: Parameters) -> SendTestAnswer:
        """user.senderdomain.sendtest"""
        octeth = self._config.octeth
        if octeth.demo_mode:
            raise Fault(99, "Not available in demo mode", 403, named=True)
        domain = await self.one(who, p)
        if not p.has("to"):
            raise missing("To", 3)
        to, subject = p.text("to"), test_subject(domain.name, p.text("subject"))
        # As PHP's uniqid makes them: the time in microseconds, and more digits so that no two are alike.
        unique = f"{int(self._clock.now() * 1e6) % 16**13:013x}.{secrets.randbelow(10**8):08d}"
        message_id = f"senderdomaintest_{unique}"
        try:
            accepted = await self._domains.send_test(
                who.member.id, domain.id, to, subject, local_part=octeth.test_from_prefix, message_id=message_id,
                beyond_tier=octeth.tests,
            )
        except Refused as e:
            if e.field == "to":
                raise Fault(8, "Invalid recipient email address") from e
            raise _not_sent(e.verdict.text(f"{self._config.server.public_url}/account")) from e
        tried = await self._domains.first_try(who.member.id, accepted, seconds=octeth.test_seconds)
        if tried is None:
            raise _not_sent(f"no try finished within {octeth.test_seconds:g} seconds; the message stays in the queue")
        if tried.state != "sent":
            raise _not_sent(tried.says or tried.state)
        return SendTestAnswer(
            DomainID=domain.id, SenderDomain=domain.name, To=to, Subject=subject, MessageID=message_id
        )

    @_calls.get(f"{_PATH}.dnshost", "Who runs a sender domain's DNS", asks=OneDomain)
    async def dnshost(self, who: Actor, p: Parameters) -> DnsHostAnswer:
        """user.senderdomain.dnshost"""
        domain = await self.one(who, p)
        label, servers = await self._domains.dns_host(domain)
        return DnsHostAnswer(
            DomainID=domain.id, SenderDomain=domain.name, DnsHost=label, Nameservers=[s.rstrip(".") for s in servers]
        )

    async def one(self, actor: Actor, p: Parameters) -> Domain:
        """The domain that `DomainID` names. Raises Fault 1, 2."""
        domain = await self._domains.get(actor.member.id, p.domain_id())
        if not actor.may_use(domain.name):
            raise not_found()
        return domain

    def _shown(self, domain: Domain) -> dict[str, Any]:
        """The part of an object that lasts as long as the domain's value, which never changes itself."""
        last = self._fixed.get(domain.id)
        if last is not None and last[0] is domain:
            return last[1]
        if len(self._fixed) >= self._config.octeth.max_list:
            self._fixed.clear()
        shown = responses.fixed(domain, self._records(domain))
        self._fixed[domain.id] = domain, shown
        return shown

    def _records(self, domain: Domain) -> builtins.list[Record]:
        """Those that the domain's state depends on: this shape shows no others."""
        return self._domains.records(domain, recommended=False)


def _options(p: Parameters) -> dict[str, Any]:
    """The options that were named, as the services call them."""
    switches = {o.name: p.flag(o.octeth) for o in NAMED if o.kind == "switch"}
    labels = {option: p.text(name) or "?" for option, name in _BY_OPTION.items() if p.has(name)}
    # Stored as TrackPrefixDisabled; clients send back what they were shown. The switch's own name counts for more.
    if (separate := p.flag("UseTrackingSubdomain")) is None and (turned := p.flag("TrackPrefixDisabled")) is not None:
        separate = not turned
    switches["tracking"] = separate
    return {option: value for option, value in switches.items() if value is not None} | labels


def _plain(name: str) -> str:
    try:
        return names.domain(name)
    except names.BadName:
        return name  # the service says what is wrong with it


def _not_created(e: Refused) -> Fault:
    if e.field in _BY_OPTION:
        return bad_label(_BY_OPTION[e.field], e)
    if e.field == "name":
        return Fault(4, e.text)
    if e.reply is LIMIT_REACHED:
        return Fault(5, "Sender domain limit reached for your account", 403, named=True)
    if e.status == 404:
        return Fault(8, "Sender domain could not be retrieved after creation", 500, named=True)
    return Fault(7, "Sender domain create process failed", named=True)


def _not_updated(e: Refused, enabled: bool | None) -> Exception:
    if e.field in _BY_OPTION:
        return bad_label(_BY_OPTION[e.field], e)
    if e.status == 404:
        return Fault(7, "Sender domain could not be retrieved after update", 500, named=True)
    if e.status != 409 or "state" not in e.verdict.extra:
        return e
    if e.verdict.extra["state"] in LOCKED:
        return Fault(11, "A suspended or blocked sender domain cannot be enabled or disabled", 409)
    if enabled:
        return Fault(10, "Cannot enable an unverified domain — run user.senderdomain.verify first", 409)
    return Fault(12, "Cannot disable a domain that is not verified yet", 409)


def _not_sent(why: str) -> Fault:
    return Fault(11, f"Test message delivery failed: {why}", 502, named=True)
