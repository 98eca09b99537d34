"""/help: what every answer of this relay means and how to fix it.

Made from `relay.replies` and the configuration, so it says what the relay does. Somebody signed in finds each of the
common complaints answered with what was last seen of their own domains and messages.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from aiohttp import web

from enroll.domains import Domain
from enroll.pages.figures import Allowance, allowance, steps
from enroll.pages.guard import Guard, Known, Visitor
from enroll.pages.render import Renderer, span
from enroll.pages.services import PageServices
from enroll.records import BY_NAME
from relay import replies
from relay.base.clock import DAY
from relay.base.storage import allowances, refusals, reports
from relay.base.storage.reports import RecipientRow
from relay.replies import Reply

_SHOWN = 5
_LATEST = 50


@dataclass(frozen=True, slots=True)
class Meaning:
    """One answer of the relay in words."""

    codes: str
    code: str
    text: str
    stages: str
    meaning: str
    fix: str
    temporary: bool
    id: str


@dataclass(frozen=True, slots=True)
class Own:
    """What the help page knows of its reader's own domains and mail."""

    dkim: list[tuple[Domain, list[dict[str, Any]]]]
    ownership: list[tuple[Domain, list[dict[str, Any]]]]
    spf: list[tuple[Domain, list[dict[str, Any]]]]
    replies: list[tuple[Domain, list[dict[str, Any]]]]
    tiers: list[tuple[Domain, Allowance]]
    stuck: list[RecipientRow]
    refused: list[Any]


def meanings(public_url: str, *, http: bool) -> list[Meaning]:
    """The table of one way in, SMTP or HTTP: every reply that refuses something, in the order of `relay.replies`."""
    found, named = [], set()
    for reply in replies.TABLE:
        status = reply.http if http else reply.smtp
        if status < 400 or not reply.meaning:
            continue
        codes = str(status) if http else f"{reply.smtp} {reply.enhanced}".strip()
        # Several replies may have one code: the first bears its name on the page.
        place = "" if http else reply.code or codes.replace(" ", "-")
        first = place if place not in named else ""
        named.add(place)
        found.append(
            Meaning(
                codes=codes, id=first, code=reply.code, text=_said(reply), stages=reply.stages, meaning=reply.meaning,
                fix=reply.fix.format(account_url=f"{public_url}/account"), temporary=reply.temporary,
            )
        )
    return found


def _said(reply: Reply) -> str:
    """The sentence of a reply with dots where a refusal puts its facts."""
    return reply.text.format(saw="…", wanted="…", reference="…", account_url="/account", tier="…", when="later")


class Help:
    """The handler."""

    def __init__(self, services: PageServices, guard: Guard, renderer: Renderer) -> None:
        self._services, self._guard, self._renderer = services, guard, renderer

    def routes(self) -> list[web.RouteDef]:
        """GET /help."""
        return [web.get("/help", self.show)]

    async def show(self, request: web.Request) -> web.Response:
        """The page, for anybody."""
        visitor = await self._guard.visitor(request)
        config = self._services.config
        return self._renderer.page(
            "help.html", visitor, own=await self._own(visitor), steps=steps(config), config=config,
            smtp=meanings(config.server.public_url, http=False), http=meanings(config.server.public_url, http=True),
            waits=[span(s) for s in config.delivery.schedule_seconds],
        )

    async def _own(self, visitor: Visitor) -> Own | None:
        if not isinstance(visitor, Known):
            return None
        services, now = self._services, self._services.clock.now()
        slowed = services.directory.slowed(visitor.member.id)
        found = await services.domains.list(visitor.member.id, limit=services.config.http.page_size)
        directory = services.directory
        async with services.storage.read() as tx:
            spent = await allowances.entries(tx, [d.id for d in found], now - DAY) if found else {}
            latest = await reports.recipients_of(tx, visitor.member.id, limit=_LATEST)
            refused = await refusals.latest(tx, visitor.member.id, _SHOWN)
        return Own(
            dkim=_wrong(found, "dkim"), ownership=_wrong(found, "ownership"), spf=_wrong(found, "spf"),
            replies=_unheard([d for d in found if d.options.replies]),
            tiers=[
                (d, allowance(d, spent.get(d.id, []), services.config, now, slowed=slowed, directory=directory))
                for d in found if d.state == "verified"
            ],
            stuck=[r for r in latest if r.state not in ("sent", "cancelled")][:_SHOWN], refused=refused,
        )


def _unheard(found: Iterable[Domain]) -> list[tuple[Domain, list[dict[str, Any]]]]:
    """Domains with forwarding whose replies don't get through: the MX record is wrong, or there is no mailbox."""
    missing = {"says": "No mailbox is set: mail for the domain is refused. Choose one on its page.", "fix": ""}
    lost = {d.id: (d, [missing]) for d in found if not d.options.forward_to}
    wrong = {d.id: (d, lost[d.id][1] + fs if d.id in lost else fs) for d, fs in _wrong(found, "replies")}
    return list((lost | wrong).values())


def _wrong(found: Iterable[Domain], topic: str) -> list[tuple[Domain, list[dict[str, Any]]]]:
    """Domains with the findings about this topic that are not right, those never looked at with none."""
    purposes = {name for name, kind in BY_NAME.items() if kind.topic == topic}
    out = []
    for domain in found:
        if domain.state in ("disabled", "deleted"):
            continue
        wrong = [f for f in domain.findings if f["purpose"] in purposes and f["ok"] is not True]
        if wrong or domain.checked_at is None:
            out.append((domain, wrong))
    return out
