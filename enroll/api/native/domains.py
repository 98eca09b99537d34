"""`/v1/domains`: enroll, list, read, change, delete; verify, records, DNS host, test message, rotation, figures."""

from __future__ import annotations

from typing import Literal

from aiohttp import hdrs, web
from pydantic import Field

from enroll.api.native.domain_views import (
    BatchView,
    DmarcView,
    DnsHostView,
    DomainList,
    DomainPatch,
    DomainView,
    NewDomain,
    RecordsView,
    StatsView,
    TestRequest,
    TestView,
    VerifiedView,
    batch_view,
    dmarc_view,
    domain_view,
    records_view,
    stats_view,
)
from enroll.domains import Domain
from enroll.errors import EnrollError, not_found
from enroll.services import DomainServices, Services
from enroll.sessions import Actor
from relay.base import names
from relay.base.web.calls import KEY_OR_SIGN_IN, Calls
from relay.base.web.models import OlderPage, Query, refuse_fields
from relay.replies import KEY_LIMITED


class RecordsForm(Query):
    """How GET …/records answers."""

    format: Literal["json", "zone"] = "json"
    form: Literal["txt", "cname"] | None = None


class Figures(Query):
    """Of how many days GET …/stats and …/dmarc tell."""

    days: str | None = Field(None, description="A whole number of days. What can't be read means the default.")


_calls = Calls("Domains", KEY_OR_SIGN_IN)
_ONE = "/v1/domains/{id}"


class OfDomains:
    """The handlers. `{id}` is a domain's id, uuid or name."""

    def __init__(self, services: Services, of_domains: DomainServices) -> None:
        self._domains, self._config = of_domains.domains, services.config

    @_calls.get("/v1/domains", "List the domains")
    async def list(self, who: Actor, query: OlderPage) -> DomainList:
        limit = query.size(self._config.http)
        found = await self._domains.list(who.member.id, after=query.cursor or 0, limit=limit)
        # The cursor follows the rows read, so a key limited to some domains still walks through all pages.
        cursor = found[-1].id if len(found) == limit else None
        shown = [domain_view(d) for d in found if who.may_use(d.name)]
        return DomainList(domains=shown, cursor=None if cursor is None else str(cursor), next=cursor)

    @_calls.post(
        "/v1/domains", "Enroll a domain", status=201, gives=VerifiedView,
        also={200: "It was enrolled already: as it is, with the options that were named."},
        headers={"Location": "Where the domain is."},
    )
    async def enroll(self, who: Actor, body: NewDomain) -> web.Response:
        try:
            allowed = who.may_use(names.domain(body.name.strip()))
        except names.BadName:
            allowed = True  # the service says what is wrong with it
        if not allowed:
            raise EnrollError(KEY_LIMITED, "This API key is limited to other domains", "name")
        domain, new = await self._domains.enter(who.member.id, body.name, body.changes())
        response = self._with_records(domain).response(201 if new else 200)
        response.headers[hdrs.LOCATION] = f"/v1/domains/{domain.id}"
        return response

    @_calls.post("/v1/domains/verify", "Check the pending domains, some a call")
    async def verify_all(self, who: Actor) -> BatchView:
        return batch_view(*await self._domains.check_all(who.member.id, who.domains))

    @_calls.get(_ONE, "Show a domain")
    async def get(self, who: Actor, id: str) -> DomainView:
        return domain_view(await self._one(who, id))

    @_calls.patch(_ONE, "Change a domain's options, pause or resume it")
    async def update(self, who: Actor, id: str, body: DomainPatch) -> DomainView:
        domain, changes, enabled = await self._one(who, id), body.changes(), body.enabled
        if enabled is None and not changes:
            refuse_fields([("", "nothing to change was named")])
        if enabled and domain.state not in ("verified", "disabled"):
            enabled = None  # as it is shown: nobody has paused it
        return domain_view((await self._domains.revise(who.member.id, domain.id, changes, enabled=enabled))[0])

    @_calls.delete(_ONE, "Delete a domain and its keys")
    async def delete(self, who: Actor, id: str) -> None:
        await self._domains.delete(who.member.id, (await self._one(who, id)).id)

    @_calls.post(f"{_ONE}/verify", "Look at a domain's DNS now")
    async def verify(self, who: Actor, id: str) -> VerifiedView:
        return self._with_records(await self._domains.check((await self._one(who, id)).id))

    @_calls.get(
        f"{_ONE}/records", "The records to publish, with what was found", gives=RecordsView,
        gives_as={"text/plain": {"type": "string"}},
    )
    async def records(self, who: Actor, id: str, query: RecordsForm) -> web.Response:
        domain = await self._one(who, id)
        if query.format == "zone":
            response = web.Response(text=self._domains.zone(domain, query.form), content_type="text/plain")
            response.headers[hdrs.CONTENT_DISPOSITION] = f'attachment; filename="{domain.name}.zone"'
            return response
        shown = self._domains.records(domain, query.form)
        return records_view(domain, shown, self._domains.as_of(domain)).response()

    @_calls.get(f"{_ONE}/dns-host", "Who runs the domain's DNS")
    async def dns_host(self, who: Actor, id: str) -> DnsHostView:
        domain = await self._one(who, id)
        label, servers = await self._domains.dns_host(domain)
        return DnsHostView(name=domain.name, provider=label, nameservers=servers)

    @_calls.post(f"{_ONE}/test", "Send a test message; it counts in warming")
    async def test(self, who: Actor, id: str, body: TestRequest) -> TestView:
        domain = await self._one(who, id)
        taken = await self._domains.send_test(who.member.id, domain.id, body.to, body.subject)
        address, recipient_id = taken.recipients[0]
        return TestView(
            id=taken.queue_id, recipient=address.text, recipient_id=recipient_id, message_id=recipient_id,
            note="This message counts as one recipient of the domain's warming allowance.",
        )

    @_calls.post(f"{_ONE}/rotate", "Make a new DKIM pair")
    async def rotate(self, who: Actor, id: str) -> VerifiedView:
        return self._with_records(await self._domains.rotate(who.member.id, (await self._one(who, id)).id))

    @_calls.get(f"{_ONE}/stats", "Volume, rates, reputation")
    async def stats(self, who: Actor, id: str, query: Figures) -> StatsView:
        domain = await self._one(who, id)
        return stats_view(domain, await self._domains.stats(who.member.id, domain.id, _days(query)))

    @_calls.get(f"{_ONE}/dmarc", "What receivers report: who sends as the domain, aligned or not; TLS to it")
    async def dmarc(self, who: Actor, id: str, query: Figures) -> DmarcView:
        domain = await self._one(who, id)
        return dmarc_view(domain, await self._domains.reports(who.member.id, domain.id, _days(query)), self._config)

    async def _one(self, who: Actor, named: str) -> Domain:
        """The domain of the path; another member's is not there, nor one the key is not for."""
        domain = await self._domains.get(who.member.id, named)
        if not who.may_use(domain.name):
            raise not_found("No such domain")
        return domain

    def _with_records(self, domain: Domain) -> VerifiedView:
        shown = records_view(domain, self._domains.records(domain), self._domains.as_of(domain))
        return VerifiedView(domain=domain_view(domain), as_of=shown.as_of, records=shown.records)


def _days(query: Figures) -> int | None:
    """A figure for people: what can't be read means the default, what is too large the most there is."""
    text = query.days or ""
    return int(text) if text.isascii() and text.isdecimal() and len(text) <= 9 else None
