"""Bodies of `/v1/domains`: what comes in, what goes out, and how a domain becomes the latter."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any, Literal

from pydantic import Field

from enroll.api.native.option_models import DomainIn, OptionsView
from enroll.domains import Domain, Reports, as_of
from enroll.records import Record, dig_command
from enroll.stats import Stats
from relay.base.config import Config
from relay.base.web.models import FormerId, Strict, View, shown_at

State = Literal["initializing", "pending", "verified", "disabled", "suspended", "blocked"]
Purpose = str


class NewDomain(DomainIn):
    """What POST /v1/domains takes."""

    name: str = Field(
        min_length=1, max_length=1024, examples=["example.org"],
        description="The domain, in Unicode or as A-labels.",
    )


class DomainPatch(DomainIn):
    """What PATCH /v1/domains/{id} takes: at least one field."""

    enabled: bool | None = Field(
        None, examples=[False],
        description="False pauses a verified domain, true lets it send again.",
    )


class TestRequest(Strict):
    """What POST …/test takes."""

    __test__ = False

    to: str = Field(min_length=3, max_length=320, examples=["you@example.net"])
    subject: str | None = Field(None, max_length=200)


class KeyView(View):
    """A DKIM pair. `removed`: its records may be taken down.

    `state_at`: since when; of a retiring pair, when the last mail that was signed with it is due.
    """

    stem: str
    selectors: list[str]
    state: Literal["pending", "live", "retiring", "removed"]
    created_at: str
    state_at: str


class DomainView(View):
    """A domain as its owner sees it."""

    id: int
    uuid: str
    name: str
    unicode_name: str
    flag: str | None
    state: State
    reason: str
    enabled: bool = Field(description="False while its owner has paused it.")
    options: OptionsView
    awaits: list[str] = Field(description="Options that are on, but rest until their record is seen.")
    forward_pending: str | None = Field(description="A mailbox that was sent a code and has not confirmed yet.")
    tier: str | None
    provider: str
    return_path_ok: bool
    tracking_ok: bool
    failing: int
    keys: list[KeyView]
    created_at: str
    first_verified_at: str | None
    checked_at: str | None
    next_check_at: str | None


class DomainList(View):
    """A page of domains, oldest first."""

    domains: list[DomainView]
    cursor: str | None = Field(description="Give it back as `cursor` for the next page; null: no more.")
    next: int | None = Field(description="The same as a number, until 1.0.", deprecated=True)


class RecordView(View):
    """A record to publish, and what the last look found. `ok`: true, false, or null when it could not be asked or
    has not been looked at (then `says` is empty). `cname`: where a CNAME at the record's name may point instead, null
    where none can stand or the relay keeps no such zone."""

    purpose: Purpose
    name: str
    short: str
    type: str
    value: str
    cname: str | None
    required: bool
    why: str
    dig: str
    ok: bool | None
    found: list[str]
    mistake: str | None
    says: str
    fix: str
    retry_after_seconds: int | None
    servers: list[dict[str, Any]]


class RecordsView(View):
    """All records of a domain."""

    name: str
    checked_at: str | None
    as_of: str | None = Field(description="How old the look at DNS is, in words.")
    records: list[RecordView]


class VerifiedView(View):
    """A domain with its records."""

    domain: DomainView
    as_of: str | None = Field(description="How old the look at DNS is, in words.")
    records: list[RecordView]


class CheckedView(DomainView):
    """One of many that were checked; `as_of`: how old the look at its DNS is, for one just made is not repeated."""

    as_of: str


class BatchView(View):
    """The outcome of checking all pending domains; `truncated`: call again for the rest."""

    checked: int
    verified: int
    failed: int
    truncated: bool
    domains: list[CheckedView]


class DnsHostView(View):
    """Who runs a domain's DNS, `unknown` where it isn't recognised."""

    name: str
    provider: str
    nameservers: list[str]


class TestView(View):
    """The queued test message."""

    __test__ = False

    id: str
    recipient: str
    recipient_id: int
    message_id: FormerId
    note: str


class PeriodView(View):
    """One UTC day."""

    period: str
    sent: int
    delivered: int
    bounced: int
    complaints: int
    opens: int
    clicks: int


class StatsView(View):
    """A domain's figures (see `enroll.stats`)."""

    name: str
    days: int
    stats: list[PeriodView]
    volume_7d: int = Field(alias="volume7d")
    volume_delta: str | None
    delivery_rate: float | None
    bounce_rate: float | None
    complaint_rate: float | None
    reputation: int | None
    reputation_bucket: str | None


class SourceView(View):
    """An address that sends as the domain. `aligned`: messages that passed DMARC; `dkim`, `spf`: by which."""

    address: str
    ours: bool = Field(description="Whether it is this relay's.")
    messages: int
    aligned: int
    dkim: int
    spf: int
    refused: int = Field(description="Quarantined or rejected.")
    signed_by: str = Field(description="The domain that DKIM, else SPF, proved in the last report; empty for none.")
    reporters: list[str]


class DmarcDayView(View):
    """One UTC day."""

    day: str
    messages: int
    aligned: int


class TlsResultView(View):
    """Sessions with one result on one day, as one reporter saw them; `success`, or the kind of failure (RFC 8460)."""

    day: str
    reporter: str
    proved: bool
    policy: str
    result: str
    host: str
    sessions: int


class ProblemView(View):
    """What is wrong, and what to do."""

    code: Literal["own_unaligned", "stranger"]
    says: str
    fix: str


class DmarcView(View):
    """What receivers reported. Reports that did not prove to come from their reporter are counted in `unproved` alone.
    """

    name: str
    days: int
    address: str | None = Field(description="Where this relay reads reports; null: nowhere.")
    messages: int
    aligned: int
    unproved: int
    reporters: list[str]
    sources: list[SourceView]
    by_day: list[DmarcDayView]
    tls: list[TlsResultView]
    problem: ProblemView | None


def dmarc_view(domain: Domain, found: Reports, config: Config) -> DmarcView:
    """What was reported, as it is shown."""
    return DmarcView(
        name=domain.name, days=found.days, address=config.report_address or None, messages=found.messages,
        aligned=found.aligned, unproved=found.unproved, reporters=list(found.reporters),
        sources=[SourceView(**asdict(one) | {"reporters": sorted(one.reporters)}) for one in found.sources],
        by_day=[DmarcDayView(day=day, messages=n, aligned=good) for day, n, good in found.by_day],
        tls=[
            TlsResultView(
                day=one.day, reporter=one.reporter, proved=one.proved, policy=one.policy, result=one.result,
                host=one.host, sessions=one.n,
            )
            for one in found.tls
        ],
        problem=ProblemView(**asdict(found.problem)) if found.problem else None,
    )


def domain_view(domain: Domain) -> DomainView:
    """A domain as it is shown."""
    return DomainView(
        id=domain.id, uuid=domain.uuid, name=domain.name, unicode_name=domain.unicode_name, flag=domain.flag,
        state=domain.state,  # type: ignore[arg-type]  # the model checks it
        reason=domain.reason, enabled=domain.state != "disabled",
        options=OptionsView(**domain.options.stored()), awaits=list(domain.notes.awaits),
        forward_pending=domain.notes.forward_wanted or None,
        tier=domain.tier,
        provider=domain.provider, return_path_ok=domain.return_path_ok, tracking_ok=domain.tracking_ok,
        failing=domain.failing,
        keys=[
            KeyView(
                stem=k.stem, selectors=[f"{k.stem}r", f"{k.stem}e"],
                state=k.state,  # type: ignore[arg-type]
                created_at=shown_at(k.created_at) or "", state_at=shown_at(k.state_at) or "",
            )
            for k in domain.keys
        ],
        created_at=shown_at(domain.created_at) or "", first_verified_at=shown_at(domain.first_verified_at),
        checked_at=shown_at(domain.checked_at), next_check_at=shown_at(domain.next_check_at),
    )


def records_view(domain: Domain, records: list[Record], age: str) -> RecordsView:
    """The records with the findings of the last look beside them. age: of that look, in words."""
    found = {(f["purpose"], f["name"]): f for f in domain.findings}
    return RecordsView(
        name=domain.name, checked_at=shown_at(domain.checked_at), as_of=age or None,
        records=[_record(r, found.get((r.purpose, r.name), {})) for r in records],
    )


def _record(record: Record, finding: dict[str, Any]) -> RecordView:
    return RecordView(
        purpose=record.purpose, name=record.name, short=record.short, type=record.type, value=record.value,
        cname=record.alias or None, required=record.required, why=record.explained, dig=dig_command(record),
        ok=finding.get("ok"),
        found=list(finding.get("found") or ()), mistake=finding.get("mistake"), says=finding.get("says") or "",
        fix=finding.get("fix") or "", retry_after_seconds=finding.get("retry_after_seconds"),
        servers=list(finding.get("servers") or ()),
    )


def batch_view(checked: list[Domain], truncated: bool) -> BatchView:
    """The outcome of one call for all."""
    verified = sum(d.state == "verified" for d in checked)
    return BatchView(
        checked=len(checked), verified=verified, failed=len(checked) - verified, truncated=truncated,
        domains=[CheckedView(**dict(iter(domain_view(d))), as_of=as_of(d.age or 0.0)) for d in checked],
    )


def stats_view(domain: Domain, stats: Stats) -> StatsView:
    """The figures as they are shown."""
    return StatsView(
        name=domain.name, days=stats.days, stats=[PeriodView(**asdict(p)) for p in stats.periods],
        volume7d=stats.volume_7d, volume_delta=stats.volume_delta, delivery_rate=stats.delivery_rate,
        bounce_rate=stats.bounce_rate, complaint_rate=stats.complaint_rate, reputation=stats.reputation,
        reputation_bucket=stats.reputation_bucket,
    )
