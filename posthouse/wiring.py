"""The wiring: every object of a running relay is made here, in one phase, and closed in the opposite order.

`serve` starts what these functions make; the command line uses the same objects directly, so a command and a running
relay can't disagree, and the tests' world is `wire` too. Making listens nowhere and delivers nothing.
"""

from __future__ import annotations

import contextlib
import random
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from functools import partial

from enroll.domains import Domains, MailboxWatch
from enroll.domains.admin import Operator
from enroll.domains.forwarding import Forwarding
from enroll.recheck import Recheck
from enroll.services import Services
from posthouse.duties import look_for_damage, post_reports
from posthouse.resealing import refuse_wrong_keys
from posthouse.unlocking import look, unlock
from relay.base.clock import Clock
from relay.base.config import Config, ConfigError
from relay.base.resolver import Resolver
from relay.base.runtime import owner_name
from relay.base.secrets import Vault
from relay.base.storage import Storage, migrate
from relay.base.tls import Certificate
from relay.delivery.courier import Courier
from relay.delivery.dsn import Reports
from relay.delivery.pacing import Pacer, pacing_settings
from relay.delivery.policies import Policies, StsPolicies, refresh_policies
from relay.delivery.shares import Shares
from relay.delivery.sites import SiteTable
from relay.delivery.suppression_check import SuppressionCheck
from relay.delivery.tls_counts import SessionCounts
from relay.delivery.tls_reporting import TlsReporting
from relay.delivery.worker import Worker
from relay.directory import Directory
from relay.inbound import InboundServer
from relay.intake import Intake
from relay.notices import Notices
from relay.policy import Policy
from relay.queue import Handoff, Queue
from relay.refusals import Refusals
from relay.retention import Retention
from relay.standing import BlocklistWatch, Watch
from relay.submission import SubmissionServer
from relay.suppression import Suppressions
from relay.tracking import Tracking
from relay.unsubscribe import Unsubscribe
from relay.webhooks import Dispatcher, Poster


@dataclass(frozen=True)
class Core:
    """What one process stands on, open. `owner` is its name on leases; with a `handoff` it has a worker."""

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
    notices: Notices
    enroll: Services
    _stack: contextlib.AsyncExitStack

    @classmethod
    async def open(cls, config: Config, clock: Clock, *, delivers: bool = False) -> Core:
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
            resolver = resolver_of(config)
            stack.push_async_callback(resolver.close)
            return await cls.wire(
                config, clock, storage, vault, resolver, stack=stack, owner=owner_name(), delivers=delivers
            )
        raise AssertionError("unreachable")

    @classmethod
    async def wire(
        cls, config: Config, clock: Clock, storage: Storage, vault: Vault, resolver: Resolver, *,
        stack: contextlib.AsyncExitStack, owner: str, delivers: bool,
    ) -> Core:
        """Everything above storage, vault and resolver. What `stack` holds then closes with it. Raises StorageError."""
        directory = Directory(storage, config, clock, vault)
        stack.push_async_callback(directory.stop)
        suppressions = Suppressions(storage, config, clock)
        stack.push_async_callback(suppressions.stop)
        policy = Policy(storage, directory, suppressions, config, clock)
        unsubscribe = Unsubscribe(storage, vault, config, clock)
        tracking = Tracking(storage, vault, config, clock, directory)
        stack.push_async_callback(tracking.close)
        handoff = Handoff(config, owner) if delivers else None
        intake = Intake(
            storage=storage, directory=directory, policy=policy, suppressions=suppressions, unsubscribe=unsubscribe,
            vault=vault, config=config, clock=clock, owner=owner, handoff=handoff,
        )
        stack.push_async_callback(intake.close)
        refusals = Refusals(storage, config, clock)
        stack.push_async_callback(refusals.flush)
        notices = Notices(intake, config)
        enroll = Services.build(
            storage, config, clock, vault, directory=directory, resolver=resolver, intake=intake, notices=notices
        )
        stack.callback(enroll.close)
        stack.push_async_callback(enroll.settled)
        # The relay's own mail goes in this member's name; the directory must know it from the start.
        await enroll.accounts.system_member()
        await directory.start()
        await suppressions.start()
        return cls(
            config=config, clock=clock, owner=owner, storage=storage, vault=vault, directory=directory,
            suppressions=suppressions, policy=policy, unsubscribe=unsubscribe, tracking=tracking, handoff=handoff,
            intake=intake, queue=Queue(storage, config, clock, owner, random.Random(), handoff), refusals=refusals,
            resolver=resolver, notices=notices, enroll=enroll, _stack=stack.pop_all(),
        )

    @property
    def domains(self) -> Domains:
        """A member's hand on domains."""
        return self.enroll.for_domains.domains

    @property
    def operator(self) -> Operator:
        """The operator's."""
        return self.enroll.for_domains.operator

    @property
    def forwarding(self) -> Forwarding:
        """Where domains' replies and reports go."""
        return self.enroll.for_domains.forwarding

    async def close(self) -> None:
        """Close everything, last opened first."""
        await self._stack.aclose()

    async def __aenter__(self) -> Core:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()


def resolver_of(config: Config) -> Resolver:
    """The resolver that the configuration names."""
    d = config.dns
    return Resolver(
        d.resolvers, timeout_seconds=d.timeout_seconds, lifetime_seconds=d.lifetime_seconds,
        cache_entries=d.cache_entries, authoritative_port=d.authoritative_port,
        private_servers=config.dns_networks, trust_ad=d.dnssec == "trust-ad",
    )


# -- what a process runs on top of them, by role -------------------------------------------------------------------

Work = Callable[[], Awaitable[None]]
"""Runs until cancelled; it may be run again."""


def submission_server(r: Core) -> SubmissionServer:
    """587 and 465."""
    return SubmissionServer(
        config=r.config, directory=r.directory, policy=r.policy, intake=r.intake, refusals=r.refusals,
        certificate=Certificate.of(r.config, r.clock),
    )


def inbound_server(r: Core) -> InboundServer:
    """25."""
    return InboundServer(
        config=r.config, storage=r.storage, vault=r.vault, directory=r.directory, intake=r.intake,
        refusals=r.refusals, clock=r.clock, resolver=r.resolver, certificate=Certificate.of(r.config, r.clock),
    )


def worker(r: Core, settled: Callable[[str, float], None]) -> Worker:
    """Delivery. `settled`: hears of every try, its state and how long it took."""
    assert r.handoff is not None
    carrier = courier(r, random.Random())
    return Worker(
        r.queue, r.handoff, carrier, SuppressionCheck(r.storage, r.suppressions), pacing(r, carrier.table), r.config,
        r.clock, settled,
    )


def courier(r: Core, rng: random.Random) -> Courier:
    """What carries mail for a worker."""
    return Courier(
        resolver=r.resolver, vault=r.vault, config=r.config, monotonic=r.clock.monotonic, rng=rng,
        takes_in=lambda domain: r.directory.forwarding(domain) is not None, policies=policies(r),
        counts=SessionCounts(r.storage, r.resolver, r.config, r.clock), now=r.clock.now,
    )


def policies(r: Core) -> Policies:
    """What recipients' domains ask of TLS."""
    sts = StsPolicies(r.storage, r.resolver, r.config, r.clock) if r.config.mta_sts.enabled else None
    return Policies(r.resolver if r.config.dns.dnssec == "trust-ad" else None, sts)


def pacing(r: Core, table: SiteTable) -> tuple[Pacer, Shares]:
    """What this process knows of receiving sites, and what it tells the others."""
    settings = pacing_settings(r.config)
    ours = r.config.own_hosts | {r.config.signing.pool_domain} - {""}
    pacer = Pacer(r.clock.monotonic, settings, table, ours=frozenset(ours))
    return pacer, Shares(r.storage, pacer, settings, r.clock, r.owner)


def works(r: Core) -> Mapping[str, Work]:
    """What goes on in the background in the roles of the configuration, by name; delivery itself is the worker's."""
    roles = set(r.config.roles)
    found: dict[str, Work] = {"damage": partial(look_for_damage, r.storage)}
    ground = (r.storage, r.config, r.clock)
    if "delivery" in roles:
        reports = Reports(r.storage, r.intake, r.config, r.clock)
        found["reports"] = partial(post_reports, reports, r.config.delivery.poll_seconds)
        found["retention"] = Retention(*ground, r.owner).run
        if r.config.mta_sts.enabled:
            found["tls policies"] = partial(refresh_policies, r.storage, r.resolver, r.config, r.clock, r.owner)
        if r.config.tls_reports.enabled:
            found["tls reports"] = partial(_send_tls_reports, r)
        found["standing"] = Watch(*ground, r.vault, r.notices, owner=r.owner).run
        found["blocklists"] = BlocklistWatch(*ground, r.resolver, owner=r.owner).run
    if "recheck" in roles:
        found["recheck"] = Recheck(*ground, r.domains, owner=r.owner).run
        found["mailboxes"] = MailboxWatch(*ground, r.notices, owner=r.owner).run
    if "webhooks" in roles:
        found["webhooks"] = partial(_post_webhooks, r)
    return found


async def _send_tls_reports(r: Core) -> None:
    """Send what is due until cancelled."""
    await TlsReporting(r.storage, r.intake, r.resolver, r.config, r.clock, r.owner).run()


async def _post_webhooks(r: Core) -> None:
    """Post what is due until cancelled."""
    poster = Poster(r.config.webhooks, r.resolver, r.clock.monotonic)
    try:
        await Dispatcher(r.storage, r.config, r.clock, r.vault, poster, r.notices, owner=r.owner).run()
    finally:
        await poster.close()
