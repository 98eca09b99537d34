"""The listeners of 587 and 465: ports, connection counts, the certificate, the end.

Promises that every connection is counted from its first octet (also one that never finishes a handshake), that a
changed certificate is used by the next handshake, and that `stop` tells every client 421 4.3.2, lets a message under
way finish within its time, and leaves nothing open. Several processes may listen on the same port (SO_REUSEPORT).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import ssl
from collections import Counter

import structlog

from relay import replies
from relay.base.config import Config
from relay.base.tls import Certificate
from relay.refusals import Refusals
from relay.replies import Reply
from relay.submission.conversation import Conversation
from relay.submission.data import Memory
from relay.submission.rooms import Decisions, Gate, Logins
from relay.submission.session import SubmissionSession

log = structlog.get_logger()

_BACKLOG = 512
_LAST_WORDS_SECONDS = 1.0


class SubmissionServer:
    """Both ports of submission. `start` binds them, `stop` ends them; `ports`, `tls_ports` say where."""

    def __init__(
        self, *, config: Config, directory: Logins, policy: Decisions, intake: Gate, refusals: Refusals,
        certificate: Certificate,
    ) -> None:
        self.config, self.directory, self.policy, self.intake, self.refusals = (
            config, directory, policy, intake, refusals
        )
        self.certificate = certificate
        self.memory = Memory(config.submission.max_data_memory_bytes)
        self.ports: list[int] = []
        self.tls_ports: list[int] = []
        self._open: set[Conversation] = set()
        self._by_address: Counter[str] = Counter()
        self._listeners: list[asyncio.Server] = []
        self._watching: asyncio.Task[None] | None = None
        self._empty = asyncio.Event()
        self._empty.set()
        self._stopping = False

    async def start(self) -> None:
        """Bind every configured address; all of them or none. Raises OSError (a port taken, no permission)."""
        # aiosmtpd would write a line a command, with addresses, into the log.
        logging.getLogger("mail.log").setLevel(logging.WARNING)
        try:
            for addresses, ports, implicit in (
                (self.config.submission.listen, self.ports, False),
                (self.config.submission.listen_tls, self.tls_ports, True),
            ):
                for address in addresses:
                    ports.append(await self._listen(address, implicit))
        except OSError:
            self._close_listeners()
            raise
        seconds = self.config.tls.reload_seconds
        self._watching = asyncio.create_task(self.certificate.watch(seconds), name="submission.certificate")

    async def stop(self, grace: float | None = None) -> None:
        """Take no more connections, say 421 4.3.2, wait up to `grace` seconds for messages under way, then cut."""
        self._stopping = True
        self._close_listeners()
        if self._watching is not None:
            self._watching.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._watching
        for conversation in list(self._open):
            conversation.leave()
        await self._emptied(self.config.server.shutdown_seconds if grace is None else grace)
        for conversation in list(self._open):
            conversation.cut(replies.SHUTTING_DOWN)
        # A commit under way is waited for: it is not ours to take back.
        if tasks := [c.task for c in self._open if c.task is not None]:
            await asyncio.wait(tasks)
        await self._emptied(_LAST_WORDS_SECONDS)
        for conversation in list(self._open):
            conversation.abort()
        await self._emptied(_LAST_WORDS_SECONDS)

    async def _emptied(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._empty.wait(), seconds)

    @property
    def connections(self) -> int:
        """How many are open."""
        return len(self._open)

    # -- what a conversation asks ----------------------------------------------------------------------------

    def admit(self, conversation: Conversation) -> Reply | None:
        """Count a connection, or say which bound it meets."""
        s = self.config.submission
        if self._stopping:
            return replies.SHUTTING_DOWN
        if (
            len(self._open) >= s.max_connections
            or self._by_address[conversation.address] >= s.max_connections_an_address
        ):
            if not self._by_address[conversation.address]:
                del self._by_address[conversation.address]
            return replies.TOO_MANY_REQUESTS
        self._open.add(conversation)
        self._by_address[conversation.address] += 1
        self._empty.clear()
        return None

    def release(self, conversation: Conversation) -> None:
        """A connection is over; a second call changes nothing."""
        if conversation not in self._open:
            return
        self._open.discard(conversation)
        self._by_address[conversation.address] -= 1
        if not self._by_address[conversation.address]:
            del self._by_address[conversation.address]
        if not self._open:
            self._empty.set()

    def tls_context(self) -> ssl.SSLContext:
        """The certificate in use now."""
        return self.certificate.context

    # -- listening -------------------------------------------------------------------------------------------

    async def _listen(self, address: str, implicit: bool) -> int:
        host, _, port = address.rpartition(":")
        loop = asyncio.get_running_loop()
        server = await loop.create_server(
            lambda: SubmissionSession(self, implicit_tls=implicit),
            host.strip("[]") or None, int(port), backlog=_BACKLOG, reuse_address=True, reuse_port=True,
        )
        self._listeners.append(server)
        bound: int = server.sockets[0].getsockname()[1]
        log.info("submission.listening", address=f"{host}:{bound}", tls="implicit" if implicit else "starttls")
        return bound

    def _close_listeners(self) -> None:
        for server in self._listeners:
            server.close()
        self._listeners.clear()
