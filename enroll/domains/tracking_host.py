"""Does a domain's tracking host lead to this relay, with a certificate that readers' browsers take?

Its record says where it should lead; only a look from outside says whether it does. Links carry its name from then on,
and no longer once a look finds otherwise. Promises a bounded look at public addresses only, and that trouble is "no",
never an exception: links then go over the relay's own name.
"""

from __future__ import annotations

import ssl
import time

import structlog

from relay.base.config import Config
from relay.base.domain_options import Notes, Options
from relay.base.http_client import HttpBounds, HttpClient
from relay.base.resolver import Resolver
from relay.base.storage import Storage, Tx, versions
from relay.base.storage import domains as rows
from relay.base.storage.domains import Row

log = structlog.get_logger("domains")
PATH = "/.well-known/posthouse-tracking"
_ANSWER_MAX = 8192


class TrackingHosts:
    """Looks at tracking hosts and keeps what was found."""

    def __init__(self, storage: Storage, config: Config, resolver: Resolver) -> None:
        self._storage, self._config, self._resolver = storage, config, resolver

    async def look(self, row: Row) -> bool:
        """Look at the host of a verified domain whose record was seen; returns whether it answers, and keeps that.
        Asks nothing where no host is wanted. Raises StorageError."""
        host = wanted(row)
        answers = bool(host) and await self.answers(host)
        if answers == row.tracking_ok:
            return answers

        async def write(tx: Tx) -> bool:
            fresh = await rows.get(tx, row.id, lock=True)
            if fresh is None or (answers and wanted(fresh) != host):
                return row.tracking_ok
            await rows.change(tx, row.id, tracking_ok=answers)
            await versions.bump(tx, versions.DIRECTORY, domains=[row.id])
            return answers

        kept = await self._storage.write(write)
        log.info("domain.tracking_host", domain=row.name, domain_id=row.id, answers=answers)
        return kept

    async def answers(self, host: str) -> bool:
        """Whether `host` is reached over TLS with a good certificate, and is this relay."""
        t = self._config.tracking
        bounds = HttpBounds(
            t.check_seconds, _ANSWER_MAX, ports=(t.check_port,), private=self._config.delivery.allow_private_networks,
            networks=self._config.delivery_networks,
        )
        async with HttpClient(
            bounds, self._resolver, time.monotonic, tls=ssl.create_default_context(), fresh=True
        ) as client:
            answered = await client.request("GET", f"https://{host}:{t.check_port}{PATH}", {"Host": host})
        return answered.status == 200 and self._config.server.hostname.encode() in answered.body.split()


def wanted(row: Row) -> str:
    """The tracking host of a row that may be used if it answers, else ""."""
    options = Options.read(row.options)
    if row.state != "verified" or not options.tracking or "tracking" in Notes.of(row).awaits:
        return ""
    return options.tracking_host(row.name)
