"""Answers in this API's shape. Times are RFC 3339; ids are UUIDs; what is empty is left out where clients expect so."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from pydantic import Field

from enroll.api.wix.requests import cursor_at
from enroll.domains import Domain
from enroll.senders import Sender, SenderEmail
from enroll.senders.sending import Alias
from relay.base.clock import iso
from relay.base.web.models import View

_STATUS: dict[str, Literal["INITIALIZING", "NOT_AUTHENTICATED", "AUTHENTICATED"]] = {
    "initializing": "INITIALIZING", "pending": "NOT_AUTHENTICATED", "suspended": "NOT_AUTHENTICATED",
    "blocked": "NOT_AUTHENTICATED", "verified": "AUTHENTICATED", "disabled": "AUTHENTICATED",
}


class Nothing(View):
    """Done, and nothing to say."""


class RecordView(View):
    """A CNAME to publish."""

    host_name: str
    value: str
    type: Literal["CNAME"] = "CNAME"
    verified: bool | None = None


class DomainView(View):
    """A sending domain."""

    id: str
    created_date: str
    domain: str
    dns_records: list[RecordView] = Field(max_length=5)
    status: Literal["INITIALIZING", "NOT_AUTHENTICATED", "AUTHENTICATED"]


class EmailView(View):
    """A sender email."""

    id: str
    created_date: str
    updated_date: str
    email_address: str
    verified: bool
    extended_fields: dict[str, Any]


class DetailsView(View):
    """Sender details."""

    id: str
    created_date: str
    updated_date: str
    from_name: str
    from_email_address: str
    default: bool
    extended_fields: dict[str, Any]


class Cursors(View):
    """Where to go on; empty at the end."""

    next: str | None = None


class PagingMetadata(View):
    """How much of the whole this is."""

    count: int
    cursors: Cursors
    has_next: bool


class OneDomain(View):
    """One sending domain."""

    sending_domain: DomainView


class DomainPage(View):
    """A page of sending domains."""

    sending_domains: list[DomainView]
    paging_metadata: PagingMetadata


class OneEmail(View):
    """One sender email."""

    sender_email: EmailView


class EmailPage(View):
    """A page of sender emails."""

    paging_metadata: PagingMetadata
    sender_emails: list[EmailView]


class OneDetails(View):
    """One of the sender details."""

    sender_details: DetailsView


class DetailsPage(View):
    """A page of sender details."""

    paging_metadata: PagingMetadata
    sender_details: list[DetailsView]


class ActualFromView(View):
    """The address that mail really bears."""

    actual_from_address: str


def domain_view(domain: Domain, records: Sequence[Alias]) -> DomainView:
    """A sending domain with the CNAMEs to publish."""
    return DomainView(
        id=domain.uuid, created_date=iso(domain.created_at), domain=domain.name, status=_STATUS[domain.state],
        dns_records=[RecordView(host_name=r.host, value=r.value, verified=r.verified) for r in records],
    )


def email_view(e: SenderEmail) -> EmailView:
    """A sender email."""
    return EmailView(
        id=e.id, created_date=iso(e.created_at), updated_date=iso(e.updated_at), email_address=e.address,
        verified=e.verified, extended_fields=e.data or {},
    )


def details_view(s: Sender) -> DetailsView:
    """One of the sender details."""
    return DetailsView(
        id=s.id, created_date=iso(s.created_at), updated_date=iso(s.updated_at), from_name=s.name,
        from_email_address=s.address, default=s.default, extended_fields=s.data or {},
    )


def paging(count: int, last: int | None) -> PagingMetadata:
    """`count` entries; `last` is the number behind which there are more, None for the end."""
    cursors = Cursors() if last is None else Cursors(next=cursor_at(last))
    return PagingMetadata(count=count, cursors=cursors, has_next=last is not None)
