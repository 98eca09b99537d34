"""What enrollment is made of, gathered once: handed to every route, page and command.

Who may use what is the authenticator's and the services' own business.
"""

from __future__ import annotations

from dataclasses import dataclass

from enroll.accounts import Accounts, OwnDids, Resolution
from enroll.api_keys import Credentials
from enroll.domains import Domains, Forwarding, Handoff, Operator
from enroll.passwords import Passwords
from enroll.senders import Addresses, Details, OnlySender, SendingDomains
from enroll.sessions import Authenticator, Devices, Sessions
from enroll.webhooks import Webhooks
from relay.base.clock import Clock
from relay.base.config import Config
from relay.base.resolver import Resolver
from relay.base.secrets import Vault
from relay.base.storage import Storage
from relay.directory import Directory
from relay.intake import Intake
from relay.notices import Notices


@dataclass(frozen=True, slots=True)
class DomainServices:
    """A domain's life."""

    domains: Domains
    forwarding: Forwarding
    operator: Operator
    handoff: Handoff


@dataclass(frozen=True, slots=True)
class SenderServices:
    """A member's addresses, the names it sends under, and their domains."""

    addresses: Addresses
    details: Details
    sending: SendingDomains
    only: OnlySender


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
    own_dids: OwnDids
    credentials: Credentials
    webhooks: Webhooks
    sessions: Sessions
    devices: Devices
    authenticator: Authenticator
    for_domains: DomainServices
    for_senders: SenderServices

    @classmethod
    def build(
        cls, storage: Storage, config: Config, clock: Clock, vault: Vault, *, directory: Directory,
        resolver: Resolver, intake: Intake, notices: Notices,
    ) -> Services:
        """Services whose changes this process's `directory` sees at once. `close` them at the end."""
        ground = (storage, config, clock)
        passwords = Passwords(config)
        accounts = Accounts(*ground, vault, passwords, changed=directory.refresh)
        sessions, devices = Sessions(*ground, vault), Devices(config, clock, vault)
        forwarding = Forwarding(*ground, vault, notices, directory)
        domains = Domains(
            *ground, vault, resolver=resolver, intake=intake, directory=directory, notices=notices,
            forwarding=forwarding,
        )
        handoff = Handoff(*ground, vault, notices, domains)
        sending = SendingDomains(storage, config, domains)
        addresses, details = Addresses(*ground, vault, notices), Details(*ground, sending)
        return cls(
            config=config, clock=clock, storage=storage, vault=vault, directory=directory, passwords=passwords,
            accounts=accounts, own_dids=OwnDids(storage, config, accounts, Resolution(config, resolver)),
            credentials=Credentials(*ground, vault, changed=directory.refresh),
            webhooks=Webhooks(*ground, vault), sessions=sessions, devices=devices,
            authenticator=Authenticator(config, clock, directory, accounts, sessions, devices),
            for_domains=DomainServices(domains, forwarding, Operator(*ground, domains), handoff),
            for_senders=SenderServices(addresses, details, sending, OnlySender(storage, addresses, details)),
        )

    async def settled(self) -> None:
        """Wait for what goes on in the background, before what it stands on is closed."""
        await self.for_senders.sending.settled()

    def close(self) -> None:
        """End the threads that hash passwords."""
        self.passwords.close()
