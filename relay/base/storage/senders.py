"""A member's senders. Writes `sender_emails`, `sender_codes` and `sender_details`.

Answers questions about rows; when a code is good, and what a sender may be used for, is the caller's business.
Whoever changes a member's senders holds the member first (`hold`), so that limits, uniqueness and the one default
stay true.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import Select, delete, func, insert, select, update

from relay.base.storage.engine import Tx, serialise
from relay.base.storage.tables import sender_codes, sender_details, sender_emails

_MEMBER = 0x53454E44 << 32  # PostgreSQL: one member's changes take turns,
_CODES = 0x434F4445 << 32  # and so do those who send codes
_e, _c, _d = sender_emails.c, sender_codes.c, sender_details.c


@dataclass(frozen=True, slots=True)
class EmailRow:
    """An address of a member; `verified_at` None: not proved. `wanted_name`: the name to send under once it is. Times
    in Unix seconds."""

    id: int
    uuid: str
    member_id: int
    address: str
    folded: str
    domain: str
    verified_at: float | None
    data: dict[str, Any] | None
    created_at: float
    updated_at: float
    wanted_name: str | None = None


@dataclass(frozen=True, slots=True)
class CodeRow:
    """The newest code for an address; `tries` are the wrong ones."""

    id: int
    mac: str
    expires_at: float
    tries: int


@dataclass(frozen=True, slots=True)
class DetailsRow:
    """A name to send under, with its address."""

    id: int
    uuid: str
    member_id: int
    email_id: int
    from_name: str
    is_default: bool
    data: dict[str, Any] | None
    created_at: float
    updated_at: float
    address: str
    domain: str


async def hold(tx: Tx, member_id: int) -> None:
    """Until commit, no other transaction changes this member's senders."""
    await serialise(tx, _MEMBER | member_id)


# -- addresses -------------------------------------------------------------------------------------------------


async def add_email(
    tx: Tx, *, uuid: str, member_id: int, address: str, folded: str, domain: str, verified_at: float | None,
    data: dict[str, Any] | None, now: float,
) -> None:
    """Write an address that the member does not have yet."""
    await tx.execute(
        insert(sender_emails).values(
            uuid=uuid, member_id=member_id, address=address, folded=folded, domain=domain, verified_at=verified_at,
            data=data, created_at=now, updated_at=now,
        )
    )


async def email(tx: Tx, member_id: int, uuid: str) -> EmailRow | None:
    """A member's address by its uuid."""
    return await _email(tx, select(sender_emails).where(_e.member_id == member_id, _e.uuid == uuid))


async def email_at(tx: Tx, member_id: int, folded: str) -> EmailRow | None:
    """A member's address by what it is."""
    return await _email(tx, select(sender_emails).where(_e.member_id == member_id, _e.folded == folded))


async def emails(
    tx: Tx, member_id: int, *, after: int = 0, limit: int = 50, folded: str | None = None
) -> list[EmailRow]:
    """A member's addresses with ids above `after`, by id; one only, if named."""
    query = select(sender_emails).where(_e.member_id == member_id, _e.id > after)
    if folded is not None:
        query = query.where(_e.folded == folded)
    return [EmailRow(*row) for row in await tx.execute(query.order_by(_e.id).limit(limit))]


async def count_emails(tx: Tx, member_id: int) -> int:
    """How many addresses a member has."""
    return int(await tx.scalar(select(func.count()).select_from(sender_emails).where(_e.member_id == member_id)) or 0)


async def want_name(tx: Tx, email_id: int, name: str | None) -> None:
    """Keep the name that the member will send under once the address is proved."""
    await tx.execute(update(sender_emails).where(_e.id == email_id).values(wanted_name=name))


async def verify_email(tx: Tx, email_id: int, now: float) -> None:
    """Mark an address as proved."""
    await tx.execute(update(sender_emails).where(_e.id == email_id).values(verified_at=now, updated_at=now))


async def remove_email(tx: Tx, email_id: int) -> None:
    """Forget an address that no details use."""
    await tx.execute(delete(sender_emails).where(_e.id == email_id))


# -- codes -----------------------------------------------------------------------------------------------------


async def hold_codes(tx: Tx) -> None:
    """Until commit, no other transaction counts or writes codes."""
    await serialise(tx, _CODES)


async def codes_since(tx: Tx, since: float, *, folded: str | None = None, member_id: int | None = None) -> list[float]:
    """When codes were sent after `since`, oldest first: to one address, whosever it is, or by one member."""
    query = select(_c.sent_at).where(_c.sent_at > since)
    if folded is not None:
        query = query.where(_c.folded == folded)
    if member_id is not None:
        query = query.where(_c.member_id == member_id)
    return list((await tx.execute(query.order_by(_c.sent_at))).scalars())


async def add_code(
    tx: Tx, *, member_id: int, email_uuid: str, folded: str, mac: str, now: float, expires_at: float, forget: float
) -> None:
    """Write a code, and forget those sent before `forget`."""
    await tx.execute(delete(sender_codes).where(_c.sent_at < forget))
    await tx.execute(
        insert(sender_codes).values(
            member_id=member_id, email_uuid=email_uuid, folded=folded, mac=mac, sent_at=now, expires_at=expires_at
        )
    )


async def code(tx: Tx, email_uuid: str) -> CodeRow | None:
    """The newest code for an address; those before it count no more."""
    query = (
        select(_c.id, _c.mac, _c.expires_at, _c.tries).where(_c.email_uuid == email_uuid)
        .order_by(_c.id.desc()).limit(1)
    )
    row = (await tx.execute(query)).first()
    return CodeRow(*row) if row else None


async def last_asked(tx: Tx, member_id: int) -> str | None:
    """The uuid of the address for which the member last had a code sent; None without any."""
    query = select(_c.email_uuid).where(_c.member_id == member_id).order_by(_c.id.desc()).limit(1)
    return await tx.scalar(query)


async def count_try(tx: Tx, code_id: int) -> None:
    """One more wrong answer to a code."""
    await tx.execute(update(sender_codes).where(_c.id == code_id).values(tries=_c.tries + 1))


# -- details ---------------------------------------------------------------------------------------------------


async def add_details(
    tx: Tx, *, uuid: str, member_id: int, email_id: int, from_name: str, is_default: bool,
    data: dict[str, Any] | None, now: float,
) -> None:
    """Write details whose pair of name and address the member does not have yet."""
    await tx.execute(
        insert(sender_details).values(
            uuid=uuid, member_id=member_id, email_id=email_id, from_name=from_name, is_default=is_default, data=data,
            created_at=now, updated_at=now,
        )
    )


async def details(tx: Tx, member_id: int, uuid: str) -> DetailsRow | None:
    """A member's details by uuid."""
    return await _one_details(tx, _joined(member_id).where(_d.uuid == uuid))


async def details_named(tx: Tx, member_id: int, email_id: int, from_name: str) -> DetailsRow | None:
    """A member's details by address and name."""
    return await _one_details(tx, _joined(member_id).where(_d.email_id == email_id, _d.from_name == from_name))


async def default_details(tx: Tx, member_id: int) -> DetailsRow | None:
    """The member's default; None without any details."""
    return await _one_details(tx, _joined(member_id).where(_d.is_default).limit(1))


async def all_details(
    tx: Tx, member_id: int, *, after: int = 0, limit: int = 50, folded: str | None = None, email_id: int | None = None
) -> list[DetailsRow]:
    """A member's details with ids above `after`, by id; those of one address only, if named."""
    query = _joined(member_id).where(_d.id > after)
    if folded is not None:
        query = query.where(_e.folded == folded)
    if email_id is not None:
        query = query.where(_d.email_id == email_id)
    return [DetailsRow(*row) for row in await tx.execute(query.order_by(_d.id).limit(limit))]


async def count_details(tx: Tx, member_id: int) -> int:
    """How many details a member has."""
    return int(await tx.scalar(select(func.count()).select_from(sender_details).where(_d.member_id == member_id)) or 0)


async def linked_domains(tx: Tx, member_id: int) -> set[str]:
    """The domains of all addresses that have details."""
    query = (
        select(_e.domain).join(sender_details, _d.email_id == _e.id).where(_d.member_id == member_id).distinct()
    )
    return set((await tx.execute(query)).scalars())


async def change_details(tx: Tx, details_id: int, now: float, **values: Any) -> None:
    """Set columns of one row of details."""
    await tx.execute(update(sender_details).where(_d.id == details_id).values(**values, updated_at=now))


async def make_default(tx: Tx, member_id: int, details_id: int, now: float) -> None:
    """Make these the member's default, and no others."""
    await tx.execute(
        update(sender_details).where(_d.member_id == member_id, _d.is_default)
        .values(is_default=False, updated_at=now)
    )
    await change_details(tx, details_id, now, is_default=True)


async def remove_details(tx: Tx, details_id: int) -> None:
    """Forget one row of details."""
    await tx.execute(delete(sender_details).where(_d.id == details_id))


async def forget_member(tx: Tx, member_id: int) -> None:
    """Forget everything of a member's senders."""
    await tx.execute(delete(sender_details).where(_d.member_id == member_id))
    await tx.execute(delete(sender_emails).where(_e.member_id == member_id))
    await tx.execute(delete(sender_codes).where(_c.member_id == member_id))


def _joined(member_id: int) -> Select[Any]:
    columns = [*sender_details.c, _e.address, _e.domain]
    return select(*columns).join(sender_emails, _d.email_id == _e.id).where(_d.member_id == member_id)


async def _email(tx: Tx, query: Select[Any]) -> EmailRow | None:
    row = (await tx.execute(query)).first()
    return EmailRow(*row) if row else None


async def _one_details(tx: Tx, query: Select[Any]) -> DetailsRow | None:
    row = (await tx.execute(query)).first()
    return DetailsRow(*row) if row else None
