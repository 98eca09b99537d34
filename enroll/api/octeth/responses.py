"""Domains as this shape shows them. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from enroll.api.octeth.views import (
    NAMED,
    DomainView,
    OptionsView,
    PeriodView,
    Probed,
    Record,
    RecordView,
    Status,
    VerificationView,
    VerifiedView,
)
from enroll.domains import Domain
from enroll.records import Record as Published
from enroll.stats import Overview, Period

_STATUS: dict[str, Status] = {
    "initializing": "Approval Pending", "pending": "Approval Pending", "verified": "Enabled", "disabled": "Disabled",
    "suspended": "Suspended", "blocked": "Blocked",
}


def status(domain: Domain) -> Status:
    """The state as this shape has it: while a record that was asked for has not been seen, approval is pending, though
    mail may go on."""
    return "Approval Pending" if domain.state == "verified" and domain.waits else _STATUS[domain.state]


def dns_records(domain: Domain, records: Iterable[Published]) -> dict[str, Record]:
    """Those of `records` that the owner must publish."""
    return {
        r.name: (r.type, r.value, domain.flags[r.name]) if r.name in domain.flags else (r.type, r.value)
        for r in records if r.needed
    }


def probed(domain: Domain, records: Iterable[Published]) -> dict[str, Probed]:
    """The same after a look: what could not be asked, and was never seen, is not there yet."""
    return {r.name: (r.type, r.value, domain.flags.get(r.name, False)) for r in records if r.needed}


def dns_table(domain: Domain, records: Iterable[Published]) -> dict[str, RecordView]:
    """The same in rows."""
    return {
        r.name: RecordView(Type=r.type, Value=r.value, IsVerified=domain.flags.get(r.name))
        for r in records if r.needed
    }


def brief(domain: Domain, records: Iterable[Published]) -> DomainView:
    """A domain as create and update show it: of the options about hosts those that were ever chosen."""
    return DomainView(
        DomainID=str(domain.id), SenderDomain=domain.name, UserID=str(domain.member_id),
        CreatedAt=_moment(domain.created_at), Status=status(domain),
        VerificationMeta=VerificationView(DNSRecords=dns_records(domain, records)), PolicyMeta=[],
        Options=OptionsView.model_validate(_options(domain, everything=False)),
    )


def listed(fixed: dict[str, Any], figures: Overview) -> dict[str, Any]:
    """A domain as list and get show it: a `ListedView` in plain values."""
    return {
        **fixed, "Volume7d": figures.volume_7d, "VolumeDelta": figures.volume_delta, "Reputation": figures.reputation,
        "ReputationBucket": figures.reputation_bucket, "DeliveryRate": figures.delivery_rate,
        "BounceRate": figures.bounce_rate,
    }


def fixed(domain: Domain, records: Iterable[Published]) -> dict[str, Any]:
    """What of it doesn't depend on the domain's figures."""
    last = max(domain.asked_at or 0.0, domain.checked_at or 0.0)
    return {
        "DomainID": str(domain.id), "SenderDomain": domain.name, "UserID": str(domain.member_id),
        "CreatedAt": _moment(domain.created_at), "Status": status(domain),
        "LastVerifiedAt": _moment(last) if last else None,
        "VerificationMeta": {"DNSRecords": dns_records(domain, records)}, "PolicyMeta": [],
        "Options": _options(domain, everything=True),
    }


def verified(domain: Domain) -> VerifiedView:
    """One domain of those that were all looked at."""
    return VerifiedView(DomainID=domain.id, IsVerified=domain.proved, Status=status(domain))


def periods(found: Iterable[Period]) -> dict[str, PeriodView]:
    """Days by date, the latest first, those on which mail moved: opens alone are not shown in this shape."""
    return {
        p.period: PeriodView(
            Period=p.period, Sent=p.sent, Delivered=p.delivered, Bounced=p.bounced, Complaints=p.complaints
        )
        for p in sorted(found, key=lambda p: p.period, reverse=True)
        if p.sent or p.delivered or p.bounced or p.complaints
    }


def _options(domain: Domain, *, everything: bool) -> dict[str, Any]:
    """What an `OptionsView` is made of."""
    options, chosen = domain.options, domain.notes.chosen
    shown: dict[str, Any] = {}
    for o in NAMED:
        value = getattr(options, o.name)
        if o.kind == "switch":
            shown[o.octeth] = int(value)
        elif everything or o.name in chosen:
            shown[o.octeth] = value
    if everything or "tracking" in chosen:
        shown["TrackPrefixDisabled"] = not options.tracking
    return shown


def _moment(at: float) -> str:
    """Unix seconds as `Y-m-d H:i:s` in UTC."""
    return datetime.fromtimestamp(at, UTC).isoformat(" ", "seconds").removesuffix("+00:00")
