"""The relay's own management API under `/v1`: one module for each kind of thing, each with `routes` and
`openapi_paths`."""

from __future__ import annotations

from aiohttp import web

from enroll.api.native import identity, keys, sessions
from enroll.api.schema import Paths
from enroll.services import Services

_MODULES = (identity, sessions, keys)


def routes(services: Services) -> list[web.RouteDef]:
    """Every route of the native API."""
    return [route for module in _MODULES for route in module.routes(services)]


def openapi_paths() -> Paths:
    """The description of every one of them."""
    return {path: found for module in _MODULES for path, found in module.openapi_paths().items()}
