"""The pages: the same calls as the APIs, for people.

    home      /                    what this place is
    enroll    /enroll              an account, a domain
    account   /account             sign-in, overview, settings, connection
    domains   /account/domains/…   records, findings, switches
    handoff   /dns/<token>         one domain's records, for whoever runs its DNS
    keys      /account/keys        API keys, each shown once
    senders   /account/senders     addresses to send from, proved, and the names to send under
    webhooks  /account/webhooks    where events are posted, and what became of each
    messages  /account/messages    what became of mail
    suppressions  /account/suppressions  whom not to mail, and /account/bounces: what came back, and why
    refusal   /r/<id>              one refusal, and the decision asked again
    help      /help                every answer explained, the reader's own troubles first
    docs      /docs                the APIs, from the documents that programs read (`reading` puts them in words)
    static    /static/…            style sheet, script, icon

`guard` knows who is reading and whether a form is ours, `render` turns templates into responses with their fences,
`figures` and `connect` are what pages say, `failure` shows errors. Everything works without the script; the script
only saves clicks. Pages decide nothing: who may do what is the services' business.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from aiohttp import web
from aiohttp.typedefs import Handler

from enroll.pages.account import Account
from enroll.pages.docs import Described, Docs
from enroll.pages.domains import DomainPages
from enroll.pages.enroll import Enroll
from enroll.pages.failure import error_page
from enroll.pages.guard import Guard, Redirect
from enroll.pages.handoff import HandoffPages
from enroll.pages.help import Help
from enroll.pages.home import Home
from enroll.pages.keys import Keys
from enroll.pages.messages import Messages
from enroll.pages.refusal import Refusal
from enroll.pages.render import Renderer, to
from enroll.pages.second_factor import SecondFactorPages
from enroll.pages.senders import SenderPages
from enroll.pages.services import PageServices
from enroll.pages.static import Assets
from enroll.pages.suppressions import SuppressionPages
from enroll.pages.webhooks import WebhookPages
from relay.base.web import ErrorPage

__all__ = ["Described", "PageServices", "Pages", "Renderer", "pages", "redirecting", "routes"]


@dataclass(frozen=True, slots=True)
class Pages:
    """What goes into the one application, and renderer and guard for other packages' pages in the same layout."""

    routes: list[web.RouteDef]
    error_page: ErrorPage
    renderer: Renderer
    guard: Guard


def routes(services: PageServices) -> list[web.RouteDef]:
    """Every page's routes."""
    return pages(services).routes


def pages(services: PageServices, documents: Sequence[Described] = ()) -> Pages:
    """Every page's routes, the page for errors that the web frame asks for, and what renders them. `documents` are
    the APIs that /docs shows."""
    assets = Assets()
    renderer, guard = Renderer(services.config, services.clock, assets), Guard(services)
    sections = (
        Home, Enroll, Account, SecondFactorPages, DomainPages, HandoffPages, Keys, WebhookPages, SenderPages,
        Messages, SuppressionPages, Refusal, Help,
    )
    found = [redirecting(route) for section in sections for route in section(services, guard, renderer).routes()]
    found += [redirecting(route) for route in Docs(documents, guard, renderer).routes()]
    return Pages([*found, *assets.routes()], error_page(renderer), renderer, guard)


def redirecting(route: web.RouteDef) -> web.RouteDef:
    """The route, whose reader is led elsewhere where its handler says so."""
    handler: Handler = route.handler

    async def led(request: web.Request) -> web.StreamResponse:
        try:
            return await handler(request)
        except Redirect as e:
            return to(str(e))

    return web.RouteDef(route.method, route.path, led, route.kwargs)
