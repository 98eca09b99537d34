"""The listener of port 25: the wire's, with bounds of its own and what takes such mail behind it."""

from __future__ import annotations

from dataclasses import replace

from relay.aggregate import AggregateRecords
from relay.base.clock import Clock
from relay.base.config import Config
from relay.base.secrets import Vault
from relay.base.storage import Storage
from relay.base.tls import Certificate
from relay.bounces.record import Records
from relay.directory import Directory
from relay.inbound.aggregate import Aggregate
from relay.inbound.dispatch import Dispatch
from relay.inbound.forwards import Forwards
from relay.inbound.session import InboundSession
from relay.inbound.vouching import Vouching
from relay.intake import Intake
from relay.refusals import Refusals
from relay.smtpd.bounds import Bounds
from relay.smtpd.listener import Listener
from relay.unsubscribe import Unsubscribe
from relay.verify import AsksRecords


class InboundServer(Listener):
    """Port 25. `start` binds, `stop` ends; `ports` says where."""

    def __init__(
        self, *, config: Config, storage: Storage, vault: Vault, directory: Directory, intake: Intake,
        refusals: Refusals, certificate: Certificate, clock: Clock, resolver: AsksRecords,
    ) -> None:
        i = config.inbound
        bounds = replace(
            Bounds.of(config), max_recipients=i.max_recipients, max_message_bytes=i.max_message_bytes,
            max_connections=i.max_connections, max_connections_an_address=i.max_connections_an_address,
        )
        super().__init__(
            "inbound", config=config, bounds=bounds, refusals=refusals, certificate=certificate, listen=i.listen
        )
        self.directory = directory
        self.records = Records(storage, vault, config, clock)
        self.forwards = Forwards(intake, directory, resolver, vault, config, clock)
        self.unsubscribe = Unsubscribe(storage, vault, config, clock)
        vouching = Vouching(resolver, config, clock)
        aggregate = Aggregate(AggregateRecords(storage, config, clock), resolver, config)
        self.report_address = config.report_address.lower()
        self.dispatch = Dispatch(
            self.records, vouching, self.forwards, self.unsubscribe, intake, config, clock, aggregate=aggregate
        )
        hosts = (config.server.hostname, config.bounce_host, config.mx_host, config.signing.pool_domain)
        self._own = frozenset(h.lower() for h in hosts if h)

    def is_ours(self, domain: str) -> bool:
        """True for the relay's own domains and the verified return-path domains of members."""
        return domain in self._own or self.directory.is_return_path(domain)

    def conversation(self, *, implicit_tls: bool) -> InboundSession:
        """A session for a connection that is about to come."""
        return InboundSession(self, implicit_tls=implicit_tls)
