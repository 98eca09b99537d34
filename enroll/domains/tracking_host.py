"""Does a domain's tracking host lead to this relay, with a certificate that readers' browsers take?

Its record says where it should lead; only a look from outside says whether it does. Links carry its name from then on,
and no longer once a look finds otherwise. Promises a bounded look at public addresses only, and that trouble is "no",
never an exception: links then go over the relay's own name.
"""

from __future__ import annotations

import asyncio
import ssl

import structlog

from enroll.domains.model import Options
from relay.base.config import Config
from relay.base.netguard import is_public
from relay.base.resolver import Answer, Resolver
from relay.base.storage import Storage, Tx, versions
from relay.base.storage import domains as rows
from relay.base.storage.domains import Row

log = structlog.get_logger("domains")
PATH = "/.well-known/posthouse-tracking"
_ANSWER_MAX = 8192
_ADDRESSES_MAX = 3


class TrackingHosts:
    """Looks at tracking hosts and keeps what was found."""

    def __init__(self, storage: Storage, config: Config, resolver: Resolver) -> None:
        self._storage, self._config, self._resolver = storage, config, resolver

    async def look(self, domain_id: int) -> bool:
        """Look at the host of a verified domain whose record was seen; returns whether that changed anything. Asks
        nothing where no host is wanted. Raises StorageError."""
        async with self._storage.read() as tx:
            row = await rows.get(tx, domain_id)
        if row is None:
            return False
        host = wanted(row)
        answers = bool(host) and await self.answers(host)
        if answers == row.tracking_ok:
            return False

        async def write(tx: Tx) -> bool:
            fresh = await rows.get(tx, domain_id, lock=True)
            if fresh is None or (answers and wanted(fresh) != host):
                return False
            await rows.change(tx, domain_id, tracking_ok=answers)
            await versions.bump(tx, versions.DIRECTORY, domains=[domain_id])
            return True

        changed = await self._storage.write(write)
        log.info("domain.tracking_host", domain=row.name, domain_id=domain_id, answers=answers)
        return changed

    async def answers(self, host: str) -> bool:
        """Whether `host` is reached over TLS with a good certificate, and is this relay."""
        t = self._config.tracking
        try:
            async with asyncio.timeout(t.check_seconds):
                found = await self._resolver.addresses(host, fresh=True)
                for address in found.texts()[:_ADDRESSES_MAX] if isinstance(found, Answer) else ():
                    # Looked at here, where the connection is made: a name can lead into the operator's own network.
                    if self._config.delivery.allow_private_networks or is_public(address):
                        return await self._ask(host, address)
        except (OSError, TimeoutError, ssl.SSLError, ValueError, asyncio.IncompleteReadError):
            return False
        return False

    async def _ask(self, host: str, address: str) -> bool:
        reader, writer = await asyncio.open_connection(
            address, self._config.tracking.check_port, ssl=ssl.create_default_context(), server_hostname=host
        )
        try:
            # RFC 9112 §9.6: closed after the answer, so its end is the end.
            writer.write(f"GET {PATH} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
            await writer.drain()
            answer = b""
            while len(answer) < _ANSWER_MAX and (more := await reader.read(_ANSWER_MAX)):
                answer += more
        finally:
            writer.transport.abort()
        status, _, body = answer.partition(b"\r\n")[0], *answer.partition(b"\r\n\r\n")[1:]
        return b" 200" in status and self._config.server.hostname.encode() in body.split()


def wanted(row: Row) -> str:
    """The tracking host of a row that may be used if it answers, else ""."""
    options = Options.read(row.options)
    if row.state != "verified" or not options.tracking or "tracking" in options.awaits:
        return ""
    return options.tracking_host(row.name)
