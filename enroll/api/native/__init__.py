"""The relay's own management API under `/v1`: one module for each kind of thing, each with `routes` and
`openapi_paths`."""

from __future__ import annotations

from aiohttp import web

from enroll.api.native import domains, identity, keys, member, sessions, suppressions, webhooks
from enroll.api.native.authenticate import authenticator
from enroll.api.schema import Paths, completed
from enroll.services import Services
from relay.base.web import calls

_PAGES = (suppressions.Suppressions,)
_MODULES = (identity, sessions, keys, webhooks)
_DOMAIN_MODULES = (domains, member)
TAGS = (
    ("Domains", "Enroll a domain, publish its records, prove it, follow its figures."),
    ("Suppressions", "Whom not to mail any more."),
    ("Webhooks", "Events, posted to a place of yours as they happen."),
    ("API keys", "What programs use. A sign-in is needed: a stolen key can't make itself a second one."),
    ("Account", "An account, its identity, its sign-ins."),
)
"""(name, description) of every tag, in the order in which readers should meet them."""
_TAG = {
    domains: "Domains", member: "Domains", webhooks: "Webhooks", keys: "API keys",
    identity: "Account", sessions: "Account",
}


def routes(services: Services) -> list[web.RouteDef]:
    """Every route of the native API; those about domains where the services for them are there."""
    found = [route for module in _MODULES for route in module.routes(services)]
    found += [route for page in _PAGES for route in calls.routes(page(services), authenticator(services))]
    if services.for_domains is not None:
        for of_domains in _DOMAIN_MODULES:
            found += of_domains.routes(services, services.for_domains)
    return found


def openapi_paths() -> Paths:
    """The description of every one of them."""
    found: Paths = calls.operations(_PAGES)
    for module in (*_MODULES, *_DOMAIN_MODULES):
        found |= completed(module.openapi_paths(), _TAG[module])
    return found
