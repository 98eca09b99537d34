"""`/v1/domains`: enroll, list, read, change, delete; verify, records, DNS host, test message, rotation, figures."""

from __future__ import annotations

from typing import Any

from aiohttp import hdrs, web

from enroll.api.native.domain_views import (
    BatchView,
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
    domain_view,
    option_changes,
    records_view,
    stats_view,
)
from enroll.api.schema import KEY_OR_SESSION, Paths, operation
from enroll.domains import Domain, Form
from enroll.errors import EnrollError, not_found
from enroll.services import DomainServices, Services
from enroll.sessions import Actor
from relay.base import names
from relay.base.web import json_body
from relay.base.web.models import MAX_NUMBER, View, body, done, read, refuse_fields, whole_number

_ID = {"id": "string"}
_DAYS = {"type": "string", "description": "A whole number of days. What can't be read means the default."}


def routes(services: Services, of_domains: DomainServices) -> list[web.RouteDef]:
    """The routes of this page of the API. `{id}` is a domain's id, uuid or name."""
    d = _Domains(services, of_domains)
    return [
        web.get("/v1/domains", d.list),
        web.post("/v1/domains", d.enroll),
        web.post("/v1/domains/verify", d.verify_all),
        web.get("/v1/domains/{id}", d.get),
        web.patch("/v1/domains/{id}", d.update),
        web.delete("/v1/domains/{id}", d.delete),
        web.post("/v1/domains/{id}/verify", d.verify),
        web.get("/v1/domains/{id}/records", d.records),
        web.get("/v1/domains/{id}/dns-host", d.dns_host),
        web.post("/v1/domains/{id}/test", d.test),
        web.post("/v1/domains/{id}/rotate", d.rotate),
        web.get("/v1/domains/{id}/stats", d.stats),
    ]


def openapi_paths() -> Paths:
    """Their description."""

    def op(summary: str, **more: Any) -> dict[str, Any]:
        return operation(summary, security=KEY_OR_SESSION, **more)

    numbers = {
        "limit": {"type": "integer", "minimum": 1, "maximum": MAX_NUMBER},
        "after": {
            "type": "integer", "minimum": 0, "maximum": MAX_NUMBER, "description": "`next` of the page before.",
        },
    }
    return {
        "/v1/domains": {
            "get": op("List the domains", gives=DomainList, query=numbers),
            "post": op("Enroll a domain", takes=NewDomain, gives=VerifiedView, status=201,
                       also={200: "It was enrolled already: as it is, with the options that were named."},
                       headers={"Location": "Where the domain is."}),
        },
        "/v1/domains/verify": {"post": op("Check the pending domains, some a call", gives=BatchView)},
        "/v1/domains/{id}": {
            "get": op("Show a domain", gives=DomainView, path=_ID),
            "patch": op("Change a domain's options, pause or resume it", takes=DomainPatch, gives=DomainView, path=_ID),
            "delete": op("Delete a domain and its keys", status=204, path=_ID),
        },
        "/v1/domains/{id}/verify": {"post": op("Look at a domain's DNS now", gives=VerifiedView, path=_ID)},
        "/v1/domains/{id}/records": {
            "get": _or_zone_file(op(
                "The records to publish, with what was found", gives=RecordsView, path=_ID,
                query={
                    "format": {"type": "string", "enum": ["json", "zone"]},
                    "form": {"type": "string", "enum": ["txt", "cname"]},
                },
            ))
        },
        "/v1/domains/{id}/dns-host": {"get": op("Who runs the domain's DNS", gives=DnsHostView, path=_ID)},
        "/v1/domains/{id}/test": {
            "post": op("Send a test message; it counts in warming", takes=TestRequest, gives=TestView, path=_ID)
        },
        "/v1/domains/{id}/rotate": {"post": op("Make a new DKIM pair", gives=VerifiedView, path=_ID)},
        "/v1/domains/{id}/stats": {
            "get": op("Volume, rates, reputation", gives=StatsView, path=_ID, query={"days": _DAYS})
        },
    }


def _or_zone_file(made: dict[str, Any]) -> dict[str, Any]:
    made["responses"]["200"]["content"]["text/plain"] = {"schema": {"type": "string"}}
    return made


class _Domains:
    def __init__(self, services: Services, of_domains: DomainServices) -> None:
        self._services, self._domains, self._config = services, of_domains.domains, services.config

    async def list(self, request: web.Request) -> web.Response:
        actor = await self._services.gate.actor(request, "read")
        http = self._config.http
        limit = min(whole_number(request, "limit") or http.page_size, http.max_page_size)
        after = whole_number(request, "after", least=0) or 0
        found = await self._domains.list(actor.member.id, after=after, limit=limit)
        # The cursor follows the rows read, so a key limited to some domains still walks through all pages.
        cursor = found[-1].id if len(found) == limit else None
        shown = [domain_view(d) for d in found if actor.may_use(d.name)]
        return DomainList(domains=shown, next=cursor).response()

    async def enroll(self, request: web.Request) -> web.Response:
        actor = await self._services.gate.actor(request, "manage")
        asked = await body(NewDomain, request)
        try:
            allowed = actor.may_use(names.domain(asked.name.strip()))
        except names.BadName:
            allowed = True  # the service says what is wrong with it
        if not allowed:
            raise EnrollError(403, "FORBIDDEN", "This API key is limited to other domains", "name")
        domain, new = await self._domains.enter(actor.member.id, asked.name, option_changes(asked))
        response = self._with_records(domain).response(201 if new else 200)
        response.headers[hdrs.LOCATION] = f"/v1/domains/{domain.id}"
        return response

    async def get(self, request: web.Request) -> web.Response:
        _, domain = await self._one(request, "read")
        return domain_view(domain).response()

    async def update(self, request: web.Request) -> web.Response:
        actor, domain = await self._one(request, "manage")
        asked = read(DomainPatch, await json_body(request))
        changes = option_changes(asked)
        if asked.enabled is None and not changes:
            refuse_fields([("", "nothing to change was named")])
        if changes:
            domain = await self._domains.update(actor.member.id, domain.id, changes)
        if asked.enabled is not None:
            flip = self._domains.resume if asked.enabled else self._domains.pause
            domain = await flip(actor.member.id, domain.id)
        return domain_view(domain).response()

    async def delete(self, request: web.Request) -> web.Response:
        actor, domain = await self._one(request, "manage")
        await self._domains.delete(actor.member.id, domain.id)
        return done()

    async def verify(self, request: web.Request) -> web.Response:
        _, domain = await self._one(request, "manage")
        return self._with_records(await self._domains.check(domain.id)).response()

    async def verify_all(self, request: web.Request) -> web.Response:
        actor = await self._services.gate.actor(request, "manage")
        checked, truncated = await self._domains.check_all(actor.member.id, actor.domains)
        return batch_view(checked, truncated).response()

    async def records(self, request: web.Request) -> web.Response:
        _, domain = await self._one(request, "read")
        form = _form(request)
        if request.query.get("format", "json") == "zone":
            response = web.Response(text=self._domains.zone(domain, form), content_type="text/plain")
            response.headers[hdrs.CONTENT_DISPOSITION] = f'attachment; filename="{domain.name}.zone"'
            return response
        if request.query.get("format", "json") != "json":
            refuse_fields([("format", "json or zone")])
        return records_view(domain, self._domains.records(domain, form)).response()

    async def dns_host(self, request: web.Request) -> web.Response:
        _, domain = await self._one(request, "read")
        label, servers = await self._domains.dns_host(domain)
        return DnsHostView(name=domain.name, provider=label, nameservers=servers).response()

    async def test(self, request: web.Request) -> web.Response:
        actor, domain = await self._one(request, "manage")
        asked = await body(TestRequest, request)
        taken = await self._domains.send_test(actor.member.id, domain.id, asked.to, asked.subject)
        address, recipient_id = taken.recipients[0]
        return TestView(
            id=taken.queue_id, recipient=address.text, message_id=recipient_id,
            note="This message counts as one recipient of the domain's warming allowance.",
        ).response()

    async def rotate(self, request: web.Request) -> web.Response:
        actor, domain = await self._one(request, "manage")
        return self._with_records(await self._domains.rotate(actor.member.id, domain.id)).response()

    async def stats(self, request: web.Request) -> web.Response:
        actor, domain = await self._one(request, "read")
        text = request.query.get("days", "")
        # A figure for people: what can't be read means the default, what is too large the most there is.
        days = int(text) if text.isascii() and text.isdecimal() and len(text) <= 9 else None
        return stats_view(domain, await self._domains.stats(actor.member.id, domain.id, days)).response()

    async def _one(self, request: web.Request, scope: str) -> tuple[Actor, Domain]:
        """The caller and the domain of the path; another member's is not there, nor one the key is not for."""
        actor = await self._services.gate.actor(request, scope)
        domain = await self._domains.get(actor.member.id, request.match_info["id"])
        if not actor.may_use(domain.name):
            raise not_found("No such domain")
        return actor, domain

    def _with_records(self, domain: Domain) -> View:
        return VerifiedView(
            domain=domain_view(domain), records=records_view(domain, self._domains.records(domain)).records
        )


def _form(request: web.Request) -> Form | None:
    match request.query.get("form"):
        case None:
            return None
        case "txt":
            return "txt"
        case "cname":
            return "cname"
    return refuse_fields([("form", "txt or cname")])
