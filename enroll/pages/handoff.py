"""/dns/<token>: one domain's records for whoever runs its DNS, without an account; and the buttons that make links.

The page has nothing of the member's but that domain's records. Whatever is wrong with a token gets one answer.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from aiohttp import hdrs, web

from enroll.dns_check import entered, form_of
from enroll.domains import Domain
from enroll.pages.domains import FRAGMENT_HEADER, Line, lines
from enroll.pages.guard import Guard, Visitor
from enroll.pages.render import Renderer, to
from enroll.pages.services import PageServices

_AT = r"/dns/{token:[A-Za-z0-9_-]{1,200}}"


@dataclass(frozen=True, slots=True)
class ForProvider:
    """A record, and (field, what to enter) as one provider's form asks for it."""

    line: Line
    fields: list[tuple[str, str]]


class HandoffPages:
    """The handlers."""

    def __init__(self, services: PageServices, guard: Guard, renderer: Renderer) -> None:
        self._services, self._guard, self._renderer = services, guard, renderer

    def routes(self) -> list[web.RouteDef]:
        """The page, its zone file, its button; and what a domain's page has for it."""
        at = r"/account/domains/{id:\d{1,18}}/links"
        return [
            web.get(_AT, self.show), web.get(_AT + "/zone", self.zone), web.post(_AT + "/look", self.look),
            web.post(at, self.create), web.post(at + r"/{link:\d{1,15}}/revoke", self.revoke),
        ]

    async def show(self, request: web.Request) -> web.Response:
        """The records, and what was found of each."""
        visitor, token = await self._stranger(request), request.match_info["token"]
        opened = await self._services.handoff.open(token)
        page = self._renderer.page(
            "handoff.html", visitor, done=request.query.get("done"), expires_at=opened.expires_at,
            **await self._found(token, opened.domain),
        )
        # The address is the key: no other host learns it from where the reader came (RFC 9110 §10.1.3).
        page.headers["Referrer-Policy"] = "same-origin"
        page.headers["X-Robots-Tag"] = "noindex"
        return self._guard.offering(page, visitor)

    async def zone(self, request: web.Request) -> web.Response:
        """The records as a zone file to download."""
        await self._stranger(request)
        domain = (await self._services.handoff.open(request.match_info["token"])).domain
        return web.Response(
            text=self._services.domains.zone(domain), content_type="text/plain", charset="utf-8",
            headers={
                hdrs.CONTENT_DISPOSITION: f'attachment; filename="{domain.name}.zone"', hdrs.CACHE_CONTROL: "no-store",
            },
        )

    async def look(self, request: web.Request) -> web.Response:
        """Ask DNS now, unless it was asked a moment ago."""
        visitor, token = await self._stranger(request), request.match_info["token"]
        await self._guard.form(request, visitor)
        domain = await self._services.handoff.look(token)
        if request.headers.get(FRAGMENT_HEADER) == "findings":
            return self._renderer.fragment("_handoff.html", visitor, **await self._found(token, domain))
        return to(f"/dns/{token}?done={'checked-before' if domain.age else 'checked'}")

    async def create(self, request: web.Request) -> web.Response:
        """Make a link, mailed where an address is given."""
        visitor = await self._guard.known(request)
        form = await self._guard.form(request, visitor)
        domain = await self._services.domains.get(visitor.member.id, int(request.match_info["id"]))
        link = await self._services.handoff.create(visitor.member.id, domain.id, form.text("mailTo", 320))
        return to(f"/account/domains/{domain.id}?done={'link-mailed' if link.mailed_to else 'link'}#hand-off")

    async def revoke(self, request: web.Request) -> web.Response:
        """End a link."""
        visitor = await self._guard.known(request)
        await self._guard.form(request, visitor)
        domain_id = int(request.match_info["id"])
        await self._services.handoff.revoke(visitor.member.id, domain_id, int(request.match_info["link"]))
        return to(f"/account/domains/{domain_id}?done=link-revoked#hand-off")

    async def _stranger(self, request: web.Request) -> Visitor:
        """Whoever reads is shown the page of a stranger, also when signed in: it is the same for all who have the link.
        """
        visitor = await self._guard.visitor(request)
        return Visitor(visitor.address, None, None, self._guard.form_token(request))

    async def _found(self, token: str, domain: Domain) -> dict[str, Any]:
        services = self._services
        label, servers = await services.domains.dns_host(domain)
        form = form_of(label)
        shown = lines(services.domains.records(domain), domain.findings)
        found = [ForProvider(one, entered(one.record, form)) for one in shown]
        return {
            "token": token, "domain": domain, "form": form, "servers": servers, "found": found,
            "left": [one for one in found if not (one.line.finding and one.line.finding["ok"])],
            "as_of": services.domains.as_of(domain), "zone": services.domains.zone(domain),
            "updates": services.handoff.updates(domain),
            "cache_seconds": int(services.config.enrollment.verify_cache_seconds),
        }
