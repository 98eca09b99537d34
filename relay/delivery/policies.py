"""Which TLS policy each exchanger of a domain has, the strictest first: DANE (RFC 7672), else MTA-STS (RFC 8461), else
opportunistic (RFC 7435).

Promises that a policy of MTA-STS is honoured until it ends, whatever DNS and the policy host say meanwhile but a new
policy (RFC 8461 §5.1, §3.3); that where DANE's records can't be had a host is not spoken to, and that MTA-STS never
stands in for a DANE that fails (RFC 8461 §2); that DNS and the database are asked at most as often as answers end, and
what is remembered is bounded. Leaves holding a connection to a policy to `client`.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol, cast

import structlog

from relay.base.clock import DAY, HOUR, Clock
from relay.base.config import Config
from relay.base.duty import Duty
from relay.base.http_client import HttpBounds, HttpClient
from relay.base.resolver import Answer, Later, Resolver, Result
from relay.base.storage import Storage, StorageError
from relay.base.storage import outbound_tls as rows
from relay.base.storage.outbound_tls import StsRow
from relay.delivery.dane import Tlsa, usable
from relay.delivery.route import Host
from relay.delivery.tls_policy import OPPORTUNISTIC, Contexts, TlsLevel, TlsPolicy
from relay.outcome import TlsResult
from relay.verify.record_fault import BadRecord
from relay.verify.tls_records import StsMode, StsPolicy, read_policy, sts_id

log = structlog.get_logger()
_REFRESH_SECONDS = 300.0
_REFRESH_DUTY = "mta-sts"


class AsksTlsa(Protocol):
    """What DANE asks of a resolver."""

    async def tlsa(self, name: str) -> Result:
        """TLSA records as texts."""

    async def cname(self, name: str) -> Result:
        """The alias at the name itself."""


class Policies:
    """Finds the policies of a route's hosts. `sts` None: MTA-STS is not asked for; `tlsa` None: nor is DANE."""

    def __init__(self, tlsa: AsksTlsa | None, sts: StsPolicies | None) -> None:
        self._tlsa, self._sts = tlsa, sts

    async def of(self, domain: str, found: Sequence[tuple[Host, Answer]], *, secure: bool) -> tuple[Host, ...]:
        """The hosts with their policies. `secure`: the MX answer (or that there is none) was validated."""
        hosts = [host for host, _ in found]
        dane: Sequence[TlsPolicy | None] = [None] * len(hosts)
        # RFC 7672 §2.2.1: the names of exchangers must have come securely.
        if self._tlsa is not None and secure:
            asked = (_dane(self._tlsa, domain, host, answer) for host, answer in found)
            dane = await asyncio.gather(*asked)
        sts = _NO_STS
        if self._sts is not None and not all(dane):
            try:
                sts = await self._sts.of(domain)
            except StorageError:
                # What the domain has asked for before is not known just now; to do without would be a downgrade.
                says = "the TLS policy of the domain could not be looked up"
                sts = _Sts(blocked=TlsPolicy(TlsLevel.VERIFIED, "mta-sts", blocked=says))
        return tuple(
            replace(host, policy=by_dane, secure=True) if by_dane is not None else sts.on(host, domain, secure=secure)
            for host, by_dane in zip(hosts, dane, strict=True)
        )

    async def close(self) -> None:
        """Close what policies are fetched by."""
        if self._sts is not None:
            await self._sts.close()


# -- DANE ----------------------------------------------------------------------------------------------------------


async def _dane(resolver: AsksTlsa, domain: str, host: Host, answer: Answer) -> TlsPolicy | None:
    """The policy by the host's TLSA records; None where it has none that were validated."""
    for base in await _bases(resolver, host.name, answer):
        found = await resolver.tlsa(f"_{host.port}._tcp.{base}")
        if isinstance(found, Later):
            # RFC 7672 §2.1.2: somebody may be keeping the records from us; the host is not used.
            says = f"DANE: the DNS gives no answer about the TLSA records of {base}: {found.reason}"
            return TlsPolicy(TlsLevel.VERIFIED, "dane", blocked=says, noted="dnssec-invalid")
        if not (isinstance(found, Answer) and found.authentic):
            continue
        records = [record for text in found.texts() if (record := Tlsa.read(text)) is not None]
        good = usable(records)
        shown = tuple(sorted(map(str, records)))[:100]
        if not good:
            # RFC 7672 §2.2: records that can't be used still say that there is TLS.
            return TlsPolicy(TlsLevel.REQUIRED, "dane", noted="tlsa-invalid", shown=shown)
        # RFC 7672 §3.2.2: a certificate may be for the name with the records, the exchanger's, or the domain's.
        names = tuple(dict.fromkeys((base, host.name, domain)))
        return TlsPolicy(TlsLevel.VERIFIED, "dane", tlsa=good, names=names, shown=shown)
    return None


async def _bases(resolver: AsksTlsa, name: str, answer: Answer) -> list[str]:
    """The names under which TLSA records are looked for (RFC 7672 §2.2.2): of an alias its end, then itself. Only where
    the addresses are validated: servers that can't answer for TLSA stand in zones that are not signed (§2.1.2)."""
    if answer.authentic:
        return list(dict.fromkeys((*answer.cname_chain[-1:], name)))
    if not answer.cname_chain:
        return []
    own = await resolver.cname(name)
    return [name] if isinstance(own, Answer) and own.authentic else []


# -- MTA-STS -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Sts:
    """What MTA-STS comes to for a domain: its policy, or why it hasn't one although it says so."""

    policy: StsPolicy | None = None
    trouble: TlsResult = ""
    blocked: TlsPolicy | None = None

    def on(self, host: Host, domain: str, *, secure: bool) -> Host:
        """The host under it (RFC 8461 §5)."""
        policy = self.policy
        if self.blocked is not None:
            return replace(host, policy=self.blocked, secure=secure)
        if policy is None or policy.mode == "none":
            known = replace(OPPORTUNISTIC, noted=self.trouble) if self.trouble else OPPORTUNISTIC
            return replace(host, policy=known, secure=secure)
        fits = policy.allows(host.name)
        enforced = policy.mode == "enforce"
        says = f"MTA-STS: the policy of {domain} does not name this exchanger" if enforced and not fits else ""
        own = TlsPolicy(
            TlsLevel.VERIFIED if enforced else TlsLevel.OPPORTUNISTIC, "mta-sts" if enforced else "mta-sts-testing",
            blocked=says, noted="" if fits else "validation-failure", shown=policy.lines, patterns=policy.mx,
        )
        return replace(host, policy=own, secure=secure or fits)


_NO_STS = _Sts()


class StsPolicies:
    """Policies by domain: in memory for a while, in the database until they end, fetched where DNS says there is a new
    one. `close` it at the end."""

    def __init__(self, storage: Storage, resolver: Resolver, config: Config, clock: Clock) -> None:
        """Make it where a loop runs."""
        self._storage, self._resolver, self._clock = storage, resolver, clock
        self._settings = m = config.mta_sts
        bounds = HttpBounds(
            m.timeout_seconds, m.max_policy_bytes + 1, connections=config.delivery.workers, ports=(m.port,),
            private=config.delivery.allow_private_networks, networks=config.delivery_networks,
        )
        trust = Contexts(ca_file=config.delivery.ca_file).verified if config.delivery.ca_file else None
        self._client = HttpClient(bounds, resolver, clock.monotonic, tls=trust)
        self._known: OrderedDict[str, tuple[float, StsRow | None]] = OrderedDict()
        self._failed: OrderedDict[str, tuple[float, str, TlsResult]] = OrderedDict()
        self._fetching: dict[str, asyncio.Task[StsRow | TlsResult]] = {}

    async def close(self) -> None:
        """End what is under way."""
        for task in list(self._fetching.values()):
            task.cancel()
        await asyncio.gather(*self._fetching.values(), return_exceptions=True)
        await self._client.close()

    async def of(self, domain: str) -> _Sts:
        """The policy that holds for `domain` now. Raises StorageError where it can't be known."""
        record = await self._resolver.txt(f"_mta-sts.{domain}")
        wanted = sts_id(record.texts()) if isinstance(record, Answer) else None
        kept = await self._kept(domain)
        if kept is None and wanted is None:
            return _NO_STS
        trouble: TlsResult = ""
        if wanted is not None and (kept is None or kept.policy_id != wanted):
            found = await self._fetched(domain, wanted)
            if isinstance(found, StsRow):
                kept = found
            else:
                trouble = found
        if kept is None:
            return _Sts(trouble=trouble)
        await self._used(kept)
        return _Sts(StsPolicy(cast(StsMode, kept.mode), kept.mx, kept.max_age))

    async def _kept(self, domain: str) -> StsRow | None:
        """What is known of the domain and still in force."""
        now = self._clock.now()
        known = self._known.get(domain)
        if known is not None and self._clock.monotonic() < known[0] and (known[1] is None or known[1].expires_at > now):
            return known[1]
        async with self._storage.glance() as tx:
            found = await rows.policy(tx, domain, now)
        self._remember(domain, found)
        return found

    def _remember(self, domain: str, row: StsRow | None) -> None:
        self._known[domain] = self._clock.monotonic() + self._settings.remembered_seconds, row
        self._known.move_to_end(domain)
        while len(self._known) > self._settings.remembered:
            self._known.popitem(last=False)

    async def _used(self, row: StsRow) -> None:
        """Note once a day that it is in use, so that it is refreshed."""
        now = self._clock.now()
        if now - row.used_at < DAY:
            return
        self._remember(row.domain, replace(row, used_at=now))
        try:
            await self._storage.write(lambda tx: rows.policy_used(tx, row.domain, now))
        except StorageError as e:
            log.warning("mta_sts.use_not_noted", domain=row.domain, cause=str(e))

    async def _fetched(self, domain: str, policy_id: str) -> StsRow | TlsResult:
        """The policy from its host, or why not; one question at a time, and after a failure none for a while."""
        failed = self._failed.get(domain)
        if failed is not None and failed[1] == policy_id and self._clock.monotonic() < failed[0]:
            return failed[2]
        task = self._fetching.get(domain)
        if task is None:
            task = self._fetching[domain] = asyncio.create_task(self.fetch(domain, policy_id), name="mta-sts")
            task.add_done_callback(lambda _: self._fetching.pop(domain, None))
        return await asyncio.shield(task)

    async def fetch(self, domain: str, policy_id: str) -> StsRow | TlsResult:
        """Ask the policy host (RFC 8461 §3.3), and keep what it says. Raises StorageError."""
        policy = await self._ask(domain)
        if not isinstance(policy, StsPolicy):
            log.info("mta_sts.not_fetched", domain=domain, result=policy)
            self._failed[domain] = self._clock.monotonic() + self._settings.retry_seconds, policy_id, policy
            while len(self._failed) > self._settings.remembered:
                self._failed.popitem(last=False)
            return policy
        now = self._clock.now()
        row = StsRow(domain, policy_id, policy.mode, policy.mx, policy.max_age, now, now + policy.max_age, now)
        if not await self._storage.write(lambda tx: rows.keep_policy(tx, row, self._settings.max_policies)):
            log.warning("mta_sts.too_many", domain=domain, most=self._settings.max_policies)
        self._failed.pop(domain, None)
        self._remember(domain, row)
        return row

    async def _ask(self, domain: str) -> StsPolicy | TlsResult:
        port = "" if self._settings.port == 443 else f":{self._settings.port}"
        url = f"https://mta-sts.{domain}{port}/.well-known/mta-sts.txt"
        headers: Mapping[str, str] = {"User-Agent": "Posthouse", "Accept": "text/plain"}
        answered = await self._client.request("GET", url, headers)
        # RFC 8461 §3.3: 200 alone, without redirects, from a host whose certificate verifies.
        if answered.status != 200:
            return "sts-webpki-invalid" if answered.untrusted else "sts-policy-fetch-error"
        # RFC 8461 §3.2: the media type is checked, so that no file that somebody uploaded is taken for a policy.
        if answered.content_type != "text/plain" or len(answered.body) > self._settings.max_policy_bytes:
            return "sts-policy-invalid"
        try:
            return read_policy(answered.body)
        except BadRecord:
            return "sts-policy-invalid"

    async def refresh(self) -> int:
        """Fetch again what is in use and grows old; returns how many policies. Raises StorageError."""
        m, now = self._settings, self._clock.now()
        async with self._storage.read() as tx:
            old = await rows.policies_to_refresh(
                tx, now, fetched_before=now - m.refresh_hours * HOUR, ends_before=now + 3 * _REFRESH_SECONDS,
                used_since=now - m.idle_days * DAY, limit=m.refresh_batch,
            )
        # One that fails is not asked again until the wait is over.
        due = [row for row in old if self._failed.get(row.domain, (0.0,))[0] <= self._clock.monotonic()]
        for row in due:
            await self._again(row)
        return len(due)

    async def _again(self, row: StsRow) -> None:
        record = await self._resolver.txt(f"_mta-sts.{row.domain}")
        wanted = sts_id(record.texts()) if isinstance(record, Answer) else None
        found = await self.fetch(row.domain, wanted or row.policy_id)
        if isinstance(found, StsRow):
            used = row.used_at
            await self._storage.write(lambda tx: rows.policy_used(tx, row.domain, used))


async def refresh_policies(storage: Storage, resolver: Resolver, config: Config, clock: Clock, owner: str) -> None:
    """Keep policies that are in use from ending, in one process at a time, until cancelled."""
    duty = Duty(storage, clock, _REFRESH_DUTY, owner, 3 * _REFRESH_SECONDS)
    policies = StsPolicies(storage, resolver, config, clock)

    async def turn() -> None:
        if await duty.ours():
            await policies.refresh()

    try:
        await duty.turns(turn, _REFRESH_SECONDS)
    finally:
        await duty.leave()
        await policies.close()
