"""What senders are to those who ask: values free of rows, and reading what a client gives."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from enroll.errors import EnrollError, invalid, not_found, suspended
from relay.base import names
from relay.base.events import Event
from relay.base.storage import Tx
from relay.base.storage import domains as domain_rows
from relay.base.storage.senders import DetailsRow, EmailRow
from relay.replies import ADDRESS_NOT_VERIFIED

MIN_ADDRESS, MAX_ADDRESS, MAX_NAME = 6, 254, 100


@dataclass(frozen=True, slots=True)
class SenderEmail:
    """An address of a member. id: a UUID; number: its place in lists; data: the client's own; Unix seconds.
    `verified_at` None: not verified. `wanted_name`: the name to send under once it is."""

    id: str
    number: int
    address: str
    domain: str
    data: dict[str, Any] | None
    created_at: float
    updated_at: float
    verified_at: float | None
    wanted_name: str | None = None

    @property
    def verified(self) -> bool:
        """Whether it may be used."""
        return self.verified_at is not None


@dataclass(frozen=True, slots=True)
class Sender:
    """A name and a proved address to send under. id, number, data and times as with `SenderEmail`."""

    id: str
    number: int
    name: str
    address: str
    domain: str
    default: bool
    data: dict[str, Any] | None
    created_at: float
    updated_at: float


def sender_of(row: DetailsRow) -> Sender:
    """The value for a row."""
    return Sender(
        id=row.uuid, number=row.id, name=row.from_name, address=row.address, domain=row.domain,
        default=row.is_default, data=row.data, created_at=row.created_at, updated_at=row.updated_at,
    )


async def emails_of(tx: Tx, member_id: int, rows: list[EmailRow]) -> list[SenderEmail]:
    """The values for rows: proved by code, or for as long as the member holds the domain."""
    held = {
        d.name: d for d in await domain_rows.holders(tx, sorted({r.domain for r in rows})) if d.member_id == member_id
    }
    return [
        SenderEmail(
            r.uuid, r.id, r.address, r.domain, data=r.data, created_at=r.created_at, updated_at=r.updated_at,
            verified_at=_verified_at(r, held.get(r.domain)), wanted_name=r.wanted_name,
        )
        for r in rows
    ]


def _verified_at(email: EmailRow, held: domain_rows.Row | None) -> float | None:
    if email.verified_at is not None or held is None:
        return email.verified_at
    return max(email.created_at, held.first_verified_at or held.created_at)


def email_event(kind: str, email: SenderEmail, member_id: int, now: float) -> Event:
    """What happened to an address, for the feed."""
    about = {"kind": "email", "id": email.id, "address": email.address, "verified": email.verified}
    return Event(kind, member_id, now, data=about)


def details_event(kind: str, sender: Sender, member_id: int, now: float) -> Event:
    """What happened to details, for the feed."""
    about = {
        "kind": "details", "id": sender.id, "name": sender.name, "address": sender.address, "default": sender.default,
    }
    return Event(kind, member_id, now, data=about)


def read_address(text: str, field: str = "address") -> names.Address:
    """An address to send from. Raises EnrollError 422 with the reason."""
    text = text.strip()
    if not MIN_ADDRESS <= len(text) <= MAX_ADDRESS:
        raise invalid(field, f"an address has {MIN_ADDRESS} to {MAX_ADDRESS} characters")
    try:
        return names.own_address(text)
    except names.BadName as e:
        raise invalid(field, e.reason) from None


def fold(address: names.Address) -> str:
    """The form in which two spellings of one address are the same; a `+tag` makes another address."""
    return address.text.lower()


def read_name(text: str, field: str = "name") -> str:
    """The name to send under. Raises EnrollError 422."""
    name = " ".join(text.split(" ")).strip()
    if not 1 <= len(name) <= MAX_NAME:
        raise invalid(field, f"a name has 1 to {MAX_NAME} characters")
    if not name.isprintable():
        # A line end here would begin a header field of its own in the message.
        raise invalid(field, "a name holds no line ends, tabs or other controls")
    return name


def read_data(data: Mapping[str, Any] | None, limit: int) -> dict[str, Any] | None:
    """The client's own data, within bounds. Raises EnrollError 422."""
    if not data:
        return None
    if len(json.dumps(data).encode()) > limit:
        raise invalid("data", f"at most {limit} bytes of JSON")
    return dict(data)


async def active(tx: Tx, member_id: int) -> str:
    """The handle of a member who may change things. Raises EnrollError 403, 404."""
    owner = await domain_rows.owner(tx, member_id)
    if owner is None or owner.status == "deleted":
        raise not_found("No such member")
    if owner.status != "active":
        raise suspended("a suspended member can't change senders")
    return owner.handle


def not_verified() -> EnrollError:
    """409: details need a proved address."""
    return EnrollError(
        ADDRESS_NOT_VERIFIED,
        "This address is not verified: have a code sent to it and verify it, then try again", "address",
    )
