"""The rooms, wired: everything below the doors, opened in order and closed in the opposite one.

`serve` puts doors and a delivery worker on top; the command line uses the same rooms directly, so a command and a
running relay can't disagree. Opening listens nowhere and delivers nothing.
"""

from __future__ import annotations

import contextlib
import random
from dataclasses import dataclass

from enroll.domains import Domains
from enroll.domains.admin import Operator
from enroll.domains.forwarding import Forwarding
from enroll.services import Services
from posthouse.resealing import refuse_wrong_keys
from posthouse.unlocking import look, unlock
from relay.base.clock import Clock
from relay.base.config import Config, ConfigError
from relay.base.resolver import Resolver
from relay.base.runtime import owner_name
from relay.base.secrets import Vault
from relay.base.storage import Storage, migrate
from relay.directory import Directory
from relay.intake import Intake
from relay.policy import Policy
from relay.queue import Handoff, Queue
from relay.refusals import Refusals
from relay.suppression import Suppressions
from relay.tracking import Tracking
from relay.unsubscribe import Unsubscribe


@dataclass
class Rooms:
    """The open rooms of one process. `owner` is its name on leases."""

    config: Config
    clock: Clock
    owner: str
    storage: Storage
    vault: Vault
    directory: Directory
    suppressions: Suppressions
    policy: Policy
    unsubscribe: Unsubscribe
    tracking: Tracking
    handoff: Handoff | None
    intake: Intake
    queue: Queue
    refusals: Refusals
    resolver: Resolver
    enroll: Services
    _stack: contextlib.AsyncExitStack

    @classmethod
    async def open(cls, config: Config, clock: Clock, *, delivers: bool = False) -> Rooms:
        """Migrate, then open everything. `delivers`: this process has a worker to hand messages to.

        Raises ConfigError where production has no data_dir, SecretsError, StorageError; what was opened is closed then.
        """
        if config.server.production and not config.server.data_dir.is_dir():
            raise ConfigError([f"server.data_dir: {config.server.data_dir} is not there: correct it, or make it"])
        async with contextlib.AsyncExitStack() as stack:
            await migrate(config, look(config))
            storage = await Storage.open(config)
            stack.push_async_callback(storage.close)
            vault = await unlock(storage, config, clock.now())
            await refuse_wrong_keys(storage, vault)
            directory = Directory(storage, config, clock, vault)
            stack.push_async_callback(directory.stop)
            enroll = Services.build(storage, config, clock, vault, directory)
            stack.callback(enroll.close)
            # The relay's own mail goes in this member's name; the directory must know it from the start.
            await enroll.accounts.system_member()
            await directory.start()
            suppressions = Suppressions(storage, config, clock)
            stack.push_async_callback(suppressions.stop)
            await suppressions.start()
            policy = Policy(storage, directory, suppressions, config, clock)
            unsubscribe = Unsubscribe(storage, vault, config, clock)
            tracking = Tracking(storage, vault, config, clock, directory)
            stack.push_async_callback(tracking.close)
            owner = owner_name()
            handoff = Handoff(config, owner) if delivers else None
            intake = Intake(
                storage=storage, directory=directory, policy=policy, suppressions=suppressions,
                unsubscribe=unsubscribe, vault=vault, config=config, clock=clock, owner=owner, handoff=handoff,
            )
            stack.push_async_callback(intake.close)
            refusals = Refusals(storage, config, clock)
            stack.push_async_callback(refusals.flush)
            resolver = resolver_of(config)
            stack.push_async_callback(resolver.close)
            enroll = enroll.with_domains(resolver, intake)
            stack.push_async_callback(enroll.settled)
            return cls(
                config=config, clock=clock, owner=owner, storage=storage, vault=vault, directory=directory,
                suppressions=suppressions, policy=policy, unsubscribe=unsubscribe, tracking=tracking, handoff=handoff,
                intake=intake, queue=Queue(storage, config, clock, owner, random.Random(), handoff),
                refusals=refusals, resolver=resolver, enroll=enroll, _stack=stack.pop_all(),
            )
        raise AssertionError("unreachable")

    @property
    def domains(self) -> Domains:
        """A member's hand on domains."""
        assert self.enroll.for_domains is not None
        return self.enroll.for_domains.domains

    @property
    def operator(self) -> Operator:
        """The operator's."""
        assert self.enroll.for_domains is not None
        return self.enroll.for_domains.operator

    @property
    def forwarding(self) -> Forwarding:
        """Where domains' replies and reports go."""
        assert self.enroll.for_domains is not None
        return self.enroll.for_domains.forwarding

    async def close(self) -> None:
        """Close everything, last opened first."""
        await self._stack.aclose()

    async def __aenter__(self) -> Rooms:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()


def resolver_of(config: Config) -> Resolver:
    """The resolver that the configuration names."""
    d = config.dns
    return Resolver(
        d.resolvers, timeout_seconds=d.timeout_seconds, lifetime_seconds=d.lifetime_seconds,
        cache_entries=d.cache_entries, authoritative_port=d.authoritative_port,
        private_servers=config.delivery.allow_private_networks,
    )
