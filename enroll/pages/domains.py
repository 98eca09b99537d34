"""/account/domains/<id>: the records to publish with what DNS was seen to say of each, and a domain's options."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from aiohttp import hdrs, web

from enroll.domains import Domain
from enroll.errors import EnrollError
from enroll.pages import charts
from enroll.pages.figures import allowance, differs
from enroll.pages.guard import Guard, Known
from enroll.pages.render import Renderer, to
from enroll.pages.services import PageServices
from enroll.records import Record, dig_command
from relay.base.clock import DAY
from relay.base.domain_options import MAX_LABEL, OPTIONS, Option
from relay.base.storage import allowances
from relay.replies import INVALID_VALUE, Refused
from relay.standing import standing_of

FRAGMENT_HEADER = "X-Fragment"


@dataclass(frozen=True, slots=True)
class Line:
    """One record with what was last found of it (None: never looked at) and the command that asks by hand."""

    record: Record
    title: str
    finding: dict[str, Any] | None
    dig: str


@dataclass(frozen=True, slots=True)
class Setting:
    """An option of a domain, what it is set to, and its help with the domain's own names."""

    option: Option
    value: bool | str
    help: str


def lines(records: list[Record], findings: list[dict[str, Any]]) -> list[Line]:
    """Every record beside its finding."""
    seen = {(f["purpose"], f["name"]): f for f in findings}
    return [
        Line(r, r.title, seen.get((r.purpose, r.name)), dig_command(r)) for r in records
    ]


class DomainPages:
    """The handlers. Another member's domain is not found."""

    def __init__(self, services: PageServices, guard: Guard, renderer: Renderer) -> None:
        self._services, self._guard, self._renderer = services, guard, renderer

    def routes(self) -> list[web.RouteDef]:
        """The page, its zone file, and its buttons."""
        domains, at = self._services.domains, r"/account/domains/{id:\d{1,18}}"
        return [
            web.get(at, self.show),
            web.get(at + "/zone", self.zone),
            web.post("/account/domains/verify-all", self.verify_all),
            web.post(at + "/verify", self.verify),
            web.post(at + "/pause", self._button(domains.pause, "paused")),
            web.post(at + "/resume", self._button(domains.resume, "resumed")),
            web.post(at + "/rotate", self._button(domains.rotate, "rotating")),
            web.post(at + "/options", self.options),
            web.post(at + "/forward", self.forward),
            web.post(at + "/test", self.test),
            web.post(at + "/delete", self.delete),
        ]

    async def show(self, request: web.Request) -> web.Response:
        """One domain."""
        visitor = await self._guard.known(request)
        return await self._page(visitor, await self._find(request, visitor), done=request.query.get("done"))

    async def zone(self, request: web.Request) -> web.Response:
        """The records as a zone file to download."""
        visitor = await self._guard.known(request)
        domain = await self._find(request, visitor)
        return web.Response(
            text=self._services.domains.zone(domain), content_type="text/plain", charset="utf-8",
            headers={
                # RFC 6266 §4.3: the name has only letters, digits, dots and hyphens.
                hdrs.CONTENT_DISPOSITION: f'attachment; filename="{domain.name}.zone"',
                hdrs.CACHE_CONTROL: "no-store",
            },
        )

    async def verify(self, request: web.Request) -> web.StreamResponse:
        """Ask DNS now. The page's script gets the findings alone, a browser without it the page again."""
        visitor = await self._guard.known(request)
        await self._guard.form(request, visitor)
        domain = await self._find(request, visitor)
        domain = await self._services.domains.check(domain.id, by="owner")
        if request.headers.get(FRAGMENT_HEADER) == "findings":
            return self._renderer.fragment("_findings.html", visitor, **self._findings(domain))
        return to(f"/account/domains/{domain.id}?done={'checked-before' if domain.age else 'checked'}")

    async def verify_all(self, request: web.Request) -> web.StreamResponse:
        """Ask DNS about the pending domains, as many as one call may."""
        visitor = await self._guard.known(request)
        await self._guard.form(request, visitor)
        await self._services.domains.check_all(visitor.member.id)
        return to("/account?done=checked-all")

    async def options(self, request: web.Request) -> web.StreamResponse:
        """Set the options, all of the form at once."""
        visitor = await self._guard.known(request)
        form = await self._guard.form(request, visitor)
        domain = await self._find(request, visitor)
        changes: dict[str, Any] = {}
        for o in self._offered():
            if o.kind == "switch":
                changes[o.name] = form.ticked(o.name)
            elif form.text(o.name):
                changes[o.name] = form.text(o.name, MAX_LABEL)
        try:
            await self._services.domains.update(visitor.member.id, domain.id, changes)
        except Refused as e:
            return await self._page(visitor, domain, error=e, about="options")
        return to(f"/account/domains/{domain.id}?done=options")

    async def forward(self, request: web.Request) -> web.StreamResponse:
        """Ask for a forward-to mailbox, confirm it with the code it was sent, or clear it."""
        visitor = await self._guard.known(request)
        form = await self._guard.form(request, visitor)
        domain = await self._find(request, visitor)
        code = form.text("code", 40) or None
        mailbox = domain.notes.forward_wanted if code else form.text("forward_to", 320)
        try:
            await self._services.forwarding.set(visitor.member.id, domain.name, mailbox, code)
        except Refused as e:
            return await self._page(visitor, domain, error=e, about="forward")
        return to(f"/account/domains/{domain.id}?done=options")

    async def test(self, request: web.Request) -> web.StreamResponse:
        """Queue a test message and go to it."""
        visitor = await self._guard.known(request)
        form = await self._guard.form(request, visitor)
        domain = await self._find(request, visitor)
        mailbox = form.text("to", 320)
        try:
            taken = await self._services.domains.send_test(visitor.member.id, domain.id, mailbox)
        except Refused as e:
            return await self._page(visitor, domain, error=e, about="test", mailbox=mailbox)
        return to(f"/account/messages/{taken.queue_id}?done=test")

    async def delete(self, request: web.Request) -> web.StreamResponse:
        """Delete the domain, once its name was typed: keys don't come back."""
        visitor = await self._guard.known(request)
        form = await self._guard.form(request, visitor)
        domain = await self._find(request, visitor)
        if form.text("confirm").rstrip(".").lower() not in (domain.name, domain.unicode_name.lower()):
            wrong = EnrollError(INVALID_VALUE, f"type {domain.unicode_name} to delete it", "confirm")
            return await self._page(visitor, domain, error=wrong, about="delete")
        await self._services.domains.delete(visitor.member.id, domain.id)
        return to("/account?done=deleted")

    def _button(
        self, act: Callable[[int, int | str], Awaitable[Domain]], done: str
    ) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        async def press(request: web.Request) -> web.StreamResponse:
            visitor = await self._guard.known(request)
            await self._guard.form(request, visitor)
            domain = await self._find(request, visitor)
            await act(visitor.member.id, domain.id)
            return to(f"/account/domains/{domain.id}?done={done}")

        return press

    async def _find(self, request: web.Request, visitor: Known) -> Domain:
        return await self._services.domains.get(visitor.member.id, int(request.match_info["id"]))

    def _offered(self) -> list[Option]:
        """The options of the form, which this relay can do; a mailbox that has to confirm has a form of its own."""
        config = self._services.config
        return [
            o for o in OPTIONS.values() if o.kind != "mailbox" and (not o.needs or getattr(config, o.needs))
        ]

    def _settings(self, domain: Domain) -> list[Setting]:
        c, chosen = self._services.config, domain.options
        names = {
            "return_path_host": chosen.return_path_host(domain.name), "bounce_host": c.bounce_host,
            "tracking_host": chosen.tracking_host(domain.name), "host": c.server.hostname, "mx_host": c.mx_host,
            "hosted_zone": c.hosted_zone,
        }
        return [Setting(o, getattr(chosen, o.name), o.help.format_map(names)) for o in self._offered()]

    def _findings(self, domain: Domain) -> dict[str, Any]:
        found = lines(self._services.domains.records(domain), domain.findings)
        required = [line for line in found if line.record.required]
        options = [line for line in found if line.record.needed and not line.record.required]
        others = [line for line in found if not line.record.needed]
        return {
            "domain": domain, "as_of": self._services.domains.as_of(domain),
            "groups": [
                ("Required", "You can send once all of these are found.", required),
                ("Option", "Each option works once its record is found; sending continues meanwhile.", options),
                ("Recommended", "Sending works without them, but receivers look at them.", others),
            ],
            "cache_seconds": int(self._services.config.enrollment.verify_cache_seconds),
        }

    async def _page(
        self, visitor: Known, domain: Domain, *, error: Refused | None = None, about: str = "", mailbox: str = "",
        done: str | None = None,
    ) -> web.Response:
        services, now = self._services, self._services.clock.now()
        stats = await services.domains.stats(visitor.member.id, domain.id)
        reported = await services.domains.reports(visitor.member.id, domain.id)
        days = charts.days_of(stats.periods, now, stats.days)
        async with services.storage.read() as tx:
            spent = (await allowances.entries(tx, [domain.id], now - DAY)).get(domain.id, [])
            standing = await standing_of(tx, services.config, domain.member_id, visitor.member.status, now)
        return self._renderer.page(
            "domain.html", visitor, status=error.status if error is not None else 200, error=error, about=about,
            test_to=mailbox or visitor.member.email, done=done,
            allowance=allowance(
                domain, spent, services.config, now, slowed=services.directory.slowed(domain.member_id),
                directory=services.directory,
            ),
            links=await services.handoff.list(visitor.member.id, domain.id),
            link_days=services.config.publishing.link_days,
            reported=reported, report_address=services.config.report_address,
            stats=stats, differs=differs(stats.reputation_bucket, standing.stage, services.config),
            charts=[c for c in (charts.volume(days), charts.rates(days), charts.readers(days)) if c],
            test_from=f"{services.config.enrollment.test_sender}@{domain.name}",
            settings=self._settings(domain), **self._findings(domain),
        )


__all__ = ["FRAGMENT_HEADER", "DomainPages", "Line", "lines"]
