"""The relay's own management API under `/v1`: one module a kind of thing, each call declared on its handler."""

from __future__ import annotations

from aiohttp import web

from enroll.api.native.authenticate import authenticator
from enroll.api.native.dns_links import DnsLinks
from enroll.api.native.domains import OfDomains
from enroll.api.native.identity import Identity
from enroll.api.native.keys import Keys
from enroll.api.native.member import Mailboxes
from enroll.api.native.messages import Mail, OfMessages, Queues
from enroll.api.native.sessions import SignIns
from enroll.api.native.standing import OfMember
from enroll.api.native.suppressions import Suppressions
from enroll.api.native.webhooks import Hooks
from enroll.services import Services
from relay.base.web import calls

__all__ = ["PAGES", "TAGS", "Mail", "routes"]

PAGES = (
    OfMessages, OfMember, Identity, SignIns, Keys, Hooks, Suppressions, OfDomains, DnsLinks, Queues, Mailboxes,
)
"""Every page of this API."""
TAGS = (
    ("Messages and events", "What became of each recipient, and everything that happened, in order."),
    ("Standing", "What the relay thinks of the member, and how much may be sent."),
    ("Domains", "Enroll a domain, publish its records, prove it, follow its figures."),
    ("Suppressions", "Whom not to mail any more."),
    ("Webhooks", "Events, posted to a place of yours as they happen."),
    ("API keys", "What programs use. A sign-in is needed: a stolen key can't make itself a second one."),
    ("Account", "An account, its identity, its sign-ins."),
)
"""(name, description) of every tag, in the order in which readers should meet them."""


def routes(services: Services, mail: Mail | None = None) -> list[web.RouteDef]:
    """Every route of the native API; those about messages where `mail` is there."""
    pages: list[object] = [] if mail is None else [OfMessages(services, mail)]
    pages += [
        OfMember(services), Identity(services), SignIns(services), Keys(services), Hooks(services),
        Suppressions(services), OfDomains(services, services.for_domains), DnsLinks(services.for_domains),
        Mailboxes(services.for_domains),
    ]
    pages += [] if mail is None else [Queues(services, mail)]
    who = authenticator(services)
    return [route for page in pages for route in calls.routes(page, who)]
