"""The relay's own management API under `/v1`: one module for each kind of thing, each with `routes` and
`openapi_paths`."""

from __future__ import annotations

from aiohttp import web

from enroll.api.native import domains, identity, keys, member, sessions, suppressions, webhooks
from enroll.api.schema import Paths
from enroll.services import Services

_MODULES = (identity, sessions, keys, webhooks, suppressions)
_DOMAIN_MODULES = (domains, member)


def routes(services: Services) -> list[web.RouteDef]:
    """Every route of the native API; those about domains where the services for them are there."""
    found = [route for module in _MODULES for route in module.routes(services)]
    if services.for_domains is not None:
        for of_domains in _DOMAIN_MODULES:
            found += of_domains.routes(services, services.for_domains)
    return found


def openapi_paths() -> Paths:
    """The description of every one of them."""
    return {path: found for module in (*_MODULES, *_DOMAIN_MODULES) for path, found in module.openapi_paths().items()}
