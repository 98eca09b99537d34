"""A listener for SMTP: ports, connection counts, the certificate, the end.

Promises that every connection is counted from its first octet (also one that never finishes a handshake), that a
changed certificate is used by the next handshake, and that `stop` tells every client 421 4.3.2, lets a message under
way finish within its time, and leaves nothing open. Several processes may listen on the same port (SO_REUSEPORT).
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections import Counter
from collections.abc import Sequence

import structlog

from relay import replies
from relay.base import metrics
from relay.base.accepting import Acceptor
from relay.base.config import Config
from relay.base.tls import Certificate
from relay.refusals import Refusals
from relay.replies import Reply
from relay.smtpd.bounds import Bounds
from relay.smtpd.connection import Connection
from relay.smtpd.data import Memory

log = structlog.get_logger()

_LAST_WORDS_SECONDS = 1.0


class Listener:
    """The ports of one service. `start` binds them, `stop` ends them; `ports`, `tls_ports` say where.

    `name` stands before the events in the log. A subclass makes the conversations.
    """

    def __init__(
        self, name: str, *, config: Config, bounds: Bounds, refusals: Refusals, certificate: Certificate,
        listen: Sequence[str], listen_tls: Sequence[str] = (),
    ) -> None:
        self.name, self.config, self.bounds, self.refusals = name, config, bounds, refusals
        self.certificate = certificate
        self.memory = Memory(bounds.max_data_memory_bytes)
        self.ports: list[int] = []
        self.tls_ports: list[int] = []
        self._addresses, self._tls_addresses = listen, listen_tls
        self._open: set[Connection] = set()
        self._by_address: Counter[str] = Counter()
        self._listeners: list[Acceptor] = []
        self._watching: asyncio.Task[None] | None = None
        self._empty = asyncio.Event()
        self._empty.set()
        self._stopping = False

    def conversation(self, *, implicit_tls: bool) -> Connection:
        """One for a connection that is about to come."""
        raise NotImplementedError

    async def start(self) -> None:
        """Bind every configured address; all of them or none. Raises OSError (a port taken, no permission)."""
        try:
            for addresses, ports, implicit in (
                (self._addresses, self.ports, False), (self._tls_addresses, self.tls_ports, True),
            ):
                for address in addresses:
                    ports.append(self._listen(address, implicit))
        except OSError:
            self._close_listeners()
            raise
        seconds = self.config.tls.reload_seconds
        self._watching = asyncio.create_task(self.certificate.watch(seconds), name=f"{self.name}.certificate")

    async def stop(self, grace: float | None = None) -> None:
        """Take no more connections, say 421 4.3.2, wait up to `grace` seconds for messages under way, then cut."""
        self._stopping = True
        self._close_listeners()
        if self._watching is not None:
            self._watching.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._watching
        for client in list(self._open):
            client.leave()
        await self._emptied(self.config.server.shutdown_seconds if grace is None else grace)
        for client in list(self._open):
            client.cut(replies.SHUTTING_DOWN)
        # A commit under way is waited for: it is not ours to take back.
        if tasks := [client.task for client in self._open if client.task is not None]:
            await asyncio.wait(tasks)
        await self._emptied(_LAST_WORDS_SECONDS)
        for client in list(self._open):
            client.abort()
        await self._emptied(_LAST_WORDS_SECONDS)

    async def _emptied(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._empty.wait(), seconds)

    @property
    def connections(self) -> int:
        """How many are open."""
        return len(self._open)

    # -- what a conversation asks ----------------------------------------------------------------------------

    def admit(self, client: Connection) -> Reply | None:
        """Count a connection, or say which bound it meets."""
        if self._stopping:
            return replies.SHUTTING_DOWN
        if (
            len(self._open) >= self.bounds.max_connections
            or self._by_address[client.counted_as] >= self.bounds.max_connections_an_address
        ):
            if not self._by_address[client.counted_as]:
                del self._by_address[client.counted_as]
            return replies.TOO_MANY_REQUESTS
        metrics.SESSIONS.labels(self.name).inc()
        metrics.SESSIONS_OPEN.labels(self.name).inc()
        self._open.add(client)
        self._by_address[client.counted_as] += 1
        self._empty.clear()
        return None

    def release(self, client: Connection) -> None:
        """A connection is over; a second call changes nothing."""
        if client not in self._open:
            return
        metrics.SESSIONS_OPEN.labels(self.name).dec()
        self._open.discard(client)
        self._by_address[client.counted_as] -= 1
        if not self._by_address[client.counted_as]:
            del self._by_address[client.counted_as]
        if not self._open:
            self._empty.set()

    def tls_context(self) -> ssl.SSLContext:
        """The certificate in use now."""
        return self.certificate.context

    # -- listening -------------------------------------------------------------------------------------------

    def _listen(self, address: str, implicit: bool) -> int:
        host, _, port = address.rpartition(":")
        acceptor = Acceptor(
            host.strip("[]"), int(port), lambda: self.conversation(implicit_tls=implicit), shared=True
        )
        self._listeners.append(acceptor)
        mode = "implicit" if implicit else "starttls"
        log.info(f"{self.name}.listening", address=f"{host}:{acceptor.port}", tls=mode)
        return acceptor.port

    def _close_listeners(self) -> None:
        for server in self._listeners:
            server.close()
        self._listeners.clear()
