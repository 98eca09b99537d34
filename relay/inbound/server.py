"""The listener of port 25: submission's, with other bounds, another session and another gate behind it."""

from __future__ import annotations

import asyncio

import structlog

from relay.base.clock import Clock
from relay.base.config import Config
from relay.base.secrets import Vault
from relay.base.storage import Storage
from relay.base.tls import Certificate
from relay.bounces.record import Records
from relay.directory import Directory
from relay.inbound.arrivals import Arrivals
from relay.inbound.forwards import Forwards
from relay.inbound.session import InboundSession
from relay.intake import Intake
from relay.policy import Policy
from relay.refusals import Refusals
from relay.submission.server import SubmissionServer
from relay.unsubscribe import Unsubscribe
from relay.verify import AsksRecords

log = structlog.get_logger()
_BACKLOG = 512


class InboundServer(SubmissionServer):
    """Port 25. `start` binds, `stop` ends; `ports` says where."""

    directory: Directory

    def __init__(
        self, *, config: Config, storage: Storage, vault: Vault, directory: Directory, policy: Policy, intake: Intake,
        refusals: Refusals, certificate: Certificate, clock: Clock, resolver: AsksRecords,
    ) -> None:
        i = config.inbound
        bounds = config.submission.model_copy(
            update={
                "listen": i.listen, "listen_tls": [], "max_recipients": i.max_recipients,
                "max_message_bytes": i.max_message_bytes, "max_connections": i.max_connections,
                "max_connections_an_address": i.max_connections_an_address,
            }
        )
        self.records = Records(storage, vault, config, clock)
        self.forwards = Forwards(intake, directory, resolver, vault, config, clock)
        self.unsubscribe = Unsubscribe(storage, vault, config, clock)
        arrivals = Arrivals(self.records, self.forwards, self.unsubscribe, intake, config, clock)
        super().__init__(
            config=config.model_copy(update={"submission": bounds}), directory=directory, policy=policy,
            intake=arrivals, refusals=refusals, certificate=certificate,  # type: ignore[arg-type]
        )
        hosts = (config.server.hostname, config.bounce_host, config.mx_host, config.signing.pool_domain)
        self._own = frozenset(h.lower() for h in hosts if h)

    def is_ours(self, domain: str) -> bool:
        """True for the relay's own domains and the verified return-path domains of members."""
        return domain in self._own or self.directory.is_return_path(domain)

    async def _listen(self, address: str, implicit: bool) -> int:
        host, _, port = address.rpartition(":")
        server = await asyncio.get_running_loop().create_server(
            lambda: InboundSession(self, implicit_tls=implicit), host.strip("[]") or None, int(port),
            backlog=_BACKLOG, reuse_address=True, reuse_port=True,
        )
        self._listeners.append(server)
        bound: int = server.sockets[0].getsockname()[1]
        log.info("inbound.listening", address=f"{host}:{bound}", tls="starttls")
        return bound
