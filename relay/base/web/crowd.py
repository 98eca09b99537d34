"""How many are connected to the HTTP port, in all and by client.

A connection of a trusted proxy is nobody's own: its client is counted while a request of it is at work, and the proxy
never.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache

from aiohttp import web

from relay.base.config import Config
from relay.base.netguard import client_key
from relay.base.web.client import in_networks
from relay.replies import TOO_MANY_REQUESTS, Refused

_KNOWN = 1024


class Crowd:
    """The counts of one process."""

    def __init__(self, config: Config) -> None:
        self._most, self._most_an_address = config.http.max_connections, config.http.max_connections_an_address
        trusted = config.server.trusted_proxies
        self.trusts = lru_cache(_KNOWN)(lambda address: in_networks(address, trusted))
        """Whether an address is a trusted proxy's."""
        self._open = 0
        self._by_address: Counter[str] = Counter()

    def enter(self, address: str) -> str:
        """Count a connection. Returns "", or the setting whose bound it meets; it isn't counted then."""
        if self._open >= self._most:
            return "http.max_connections"
        if not self.trusts(address):
            key = client_key(address)
            if self._by_address[key] >= self._most_an_address:
                return "http.max_connections_an_address"
            self._by_address[key] += 1
        self._open += 1
        return ""

    def leave(self, address: str) -> None:
        """It is over."""
        self._open -= 1
        if not self.trusts(address):
            self._less(client_key(address))

    @contextmanager
    def request(self, client: str) -> Iterator[None]:
        """Count a proxy's request as its client's. Raises Refused (TOO_MANY_REQUESTS)."""
        if self.trusts(client):
            yield
            return
        key = client_key(client)
        if self._by_address[key] >= self._most_an_address:
            raise Refused(TOO_MANY_REQUESTS)
        self._by_address[key] += 1
        try:
            yield
        finally:
            self._less(key)

    def _less(self, key: str) -> None:
        self._by_address[key] -= 1
        if self._by_address[key] <= 0:
            del self._by_address[key]


CROWD: web.AppKey[Crowd] = web.AppKey("crowd", Crowd)
