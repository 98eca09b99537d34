"""What the pages stand on, gathered from enrollment's services and the two services of the relay they ask."""

from __future__ import annotations

from dataclasses import dataclass

from enroll.accounts import Accounts, OwnDids
from enroll.api_keys import Credentials
from enroll.domains import Domains, Forwarding, Handoff
from enroll.senders import Addresses, Details
from enroll.services import Services
from enroll.sessions import Authenticator, Devices, Sessions
from enroll.webhooks import Webhooks
from relay.base.clock import Clock
from relay.base.config import Config
from relay.base.storage import Storage
from relay.directory import Directory
from relay.intake import Intake
from relay.queue import Queue


@dataclass(frozen=True, slots=True)
class PageServices:
    """Everything that pages call."""

    config: Config
    clock: Clock
    storage: Storage
    directory: Directory
    accounts: Accounts
    own_dids: OwnDids
    credentials: Credentials
    webhooks: Webhooks
    sessions: Sessions
    devices: Devices
    authenticator: Authenticator
    domains: Domains
    forwarding: Forwarding
    handoff: Handoff
    addresses: Addresses
    details: Details
    intake: Intake
    queue: Queue

    @classmethod
    def of(cls, services: Services, intake: Intake, queue: Queue) -> PageServices:
        """The pages' part of `services`, which must have been made with its domains."""
        return cls(
            config=services.config, clock=services.clock, storage=services.storage, directory=services.directory,
            accounts=services.accounts, own_dids=services.own_dids, credentials=services.credentials,
            webhooks=services.webhooks,
            sessions=services.sessions, devices=services.devices, authenticator=services.authenticator,
            domains=services.for_domains.domains, forwarding=services.for_domains.forwarding,
            handoff=services.for_domains.handoff,
            addresses=services.for_senders.addresses, details=services.for_senders.details, intake=intake,
            queue=queue,
        )
