"""What every route finds in its application: configuration, clock, storage, and how errors look to people."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from aiohttp import web

from relay.base.clock import Clock
from relay.base.config import Config
from relay.base.storage import Storage

CONFIG: web.AppKey[Config] = web.AppKey("config", Config)
CLOCK: web.AppKey[Clock] = web.AppKey("clock", Clock)
STORAGE: web.AppKey[Storage] = web.AppKey("storage", Storage)

ErrorPage = Callable[[web.Request, int, dict[str, Any]], web.Response | None]
ERROR_PAGE: web.AppKey[ErrorPage] = web.AppKey("error_page")
"""Handed (request, status, the JSON error); returns a page for a reader in a browser, or None for the JSON."""

REQUEST_ID: web.RequestKey[str] = web.RequestKey("request_id", str)
