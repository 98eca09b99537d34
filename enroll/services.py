"""What enrollment is made of, gathered once: handed to every route, page and command.

`build` puts together what needs nothing but the relay's ground floor and its directory; `with_domains` adds what
asks DNS and sends mail. Who may use what is the gate's and the services' own business.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from enroll.accounts import Accounts
from enroll.api_keys import Credentials
from enroll.domains import Domains, Forwarding, Operator
from enroll.notices import Notices
from enroll.passwords import Passwords
from enroll.senders import Addresses, Details, SendingDomains
from enroll.sessions import Devices, Gate, Sessions
from enroll.webhooks import Webhooks
from relay.base.clock import Clock
from relay.base.config import Config
from relay.base.resolver import Resolver
from relay.base.secrets import Vault
from relay.base.storage import Storage
from relay.directory import Directory
from relay.intake import Intake


@dataclass(frozen=True, slots=True)
class DomainServices:
    """A domain's life, and the mail about it."""

    notices: Notices
    domains: Domains
    forwarding: Forwarding
    operator: Operator


@dataclass(frozen=True, slots=True)
class SenderServices:
    """A member's addresses, the names it sends under, and their domains."""

    addresses: Addresses
    details: Details
    sending: SendingDomains


@dataclass(frozen=True, slots=True)
class Services:
    """Everything that routes call."""

    config: Config
    clock: Clock
    storage: Storage
    vault: Vault
    directory: Directory
    passwords: Passwords
    accounts: Accounts
    credentials: Credentials
    webhooks: Webhooks
    sessions: Sessions
    devices: Devices
    gate: Gate
    for_domains: DomainServices | None = None
    for_senders: SenderServices | None = None

    @classmethod
    def build(
        cls,
        storage: Storage,
        config: Config,
        clock: Clock,
        vault: Vault,
        directory: Directory,
        *,
        passwords: Passwords | None = None,
    ) -> Services:
        """Services whose changes this process's `directory` sees at once. `close` them at the end."""
        passwords = passwords or Passwords(config)
        accounts = Accounts(storage, config, clock, vault, passwords, changed=directory.refresh)
        credentials = Credentials(storage, config, clock, vault, changed=directory.refresh)
        webhooks = Webhooks(storage, config, clock, vault)
        sessions = Sessions(storage, config, clock, vault)
        devices = Devices(config, clock, vault)
        gate = Gate(config, clock, directory, accounts, sessions, devices)
        return cls(
            config=config, clock=clock, storage=storage, vault=vault, directory=directory, passwords=passwords,
            accounts=accounts, credentials=credentials, webhooks=webhooks, sessions=sessions, devices=devices,
            gate=gate,
        )

    def with_domains(self, resolver: Resolver, intake: Intake) -> Services:
        """These services and those about domains, which ask `resolver` and send through `intake`."""
        ground = (self.storage, self.config, self.clock)
        notices = Notices(intake, self.config)
        forwarding = Forwarding(*ground, self.vault, notices, self.directory)
        domains = Domains(
            *ground, self.vault, resolver=resolver, intake=intake, directory=self.directory, notices=notices,
            forwarding=forwarding,
        )
        sending = SendingDomains(self.storage, self.config, domains)
        senders = SenderServices(
            Addresses(*ground, self.vault, notices), Details(*ground, sending), sending
        )
        return replace(
            self, for_domains=DomainServices(notices, domains, forwarding, Operator(*ground, domains)),
            for_senders=senders,
        )

    async def settled(self) -> None:
        """Wait for what goes on in the background, before the rooms below are closed."""
        if self.for_senders is not None:
            await self.for_senders.sending.settled()

    def close(self) -> None:
        """End the threads that hash passwords."""
        self.passwords.close()
