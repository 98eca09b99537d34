"""`Transmissions`: one letter to several people, under a sender of the member's, and what has become of it.

Each recipient gets a message of its own. What became of them is asked of the queue, so it is never wrong and nothing
has to be told twice. The record is kept as long as the log of messages, or until its member removes it.
"""

from __future__ import annotations

import uuid
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from enroll.errors import EnrollError, not_found
from enroll.senders.model import emails_of, fold, not_verified, read_address, read_name
from enroll.senders.sending import SendingDomains
from relay.base import names
from relay.base.clock import Clock
from relay.base.config import Config
from relay.base.storage import Storage, Tx
from relay.base.storage import domains as domain_rows
from relay.base.storage import senders as sender_rows
from relay.base.storage import transmissions as rows
from relay.base.storage.transmissions import Condition, NewTransmission, Order, PersonRow, Place, TransmissionRow
from relay.replies import IDEMPOTENCY_CONFLICT, NO_SENDER, TRANSMISSION_WAITS
from relay.sendapi import Caller, Copies, Letter, Named, Posted

ACCEPTED = "ACCEPTED"
STATUSES = (ACCEPTED, rows.IN_PROGRESS, rows.PROCESSED, rows.REJECTED)
MARKETING, TRANSACTIONAL = "MARKETING", "TRANSACTIONAL"
_OPEN = ("queued", "deferred")


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What is to be sent. `sender_name` and `sender_address` "": those of sender details. `key`: a second one with the
    same sends nothing again, if it has the same `body_hash`, of all that was said."""

    kind: str
    to: Sequence[Named]
    subject: str
    html: str
    sender_name: str
    sender_address: str
    reply_to: Named | None
    metadata: Mapping[str, str]
    placeholder: str
    key: str | None
    body_hash: str


@dataclass(frozen=True, slots=True)
class Person:
    """A recipient. `sent` None: it waits; False: it got nothing, and `reason` says why."""

    address: str
    name: str
    sent: bool | None
    reason: str


@dataclass(frozen=True, slots=True)
class Transmission:
    """A transmission. `html` None: not kept. Times in Unix seconds."""

    row: TransmissionRow
    status: str
    people: tuple[Person, ...]
    html: str | None = None


class _Repeated(Exception):
    """The idempotency key was used, by now."""


class Transmissions:
    """A member's transmissions. Every call names the member; another member's are not there. `names`: the domains that
    an API key is limited to, None for all."""

    def __init__(
        self, storage: Storage, config: Config, clock: Clock, sending: SendingDomains, copies: Copies
    ) -> None:
        self._storage, self._config, self._clock = storage, config, clock
        self._sending, self._copies = sending, copies

    # -- sending ---------------------------------------------------------------------------------------------------

    async def send(self, caller: Caller, wanted: Wanted) -> Transmission:
        """Send; as it was taken, which a repeated one hears again.

        Raises EnrollError 422, NO_SENDER, ADDRESS_NOT_VERIFIED, DOMAIN_NOT_READY, IDEMPOTENCY_CONFLICT; Refused in the
        words of every other way to send; StorageError.
        """
        member_id = caller.login.member_id
        if (repeated := await self._repeated(member_id, wanted)) is not None:
            return repeated
        sender, address, replies = await self._sender(caller, wanted)
        made, html = str(uuid.uuid4()), wanted.html if self._config.retention.transmission_content_days else ""

        async def keep(tx: Tx, posted: Posted) -> None:
            reply_to = wanted.reply_to
            new = NewTransmission(
                uuid=made, member_id=member_id, domain_id=posted.domain.id, kind=wanted.kind, subject=wanted.subject,
                sender_name=sender.display, sender_address=address,
                reply_to={"address": reply_to.address.text, "name": reply_to.display} if reply_to else None,
                metadata=dict(wanted.metadata) or None, placeholder=wanted.placeholder, idempotency_key=wanted.key,
                body_hash=wanted.body_hash, created_at=self._clock.now(),
            )
            if not await rows.add(tx, new, _people(wanted, posted), html):
                raise _Repeated

        letter = Letter(
            sender=sender, to=wanted.to, reply_to=replies, subject=wanted.subject, html=wanted.html,
            category="bulk" if wanted.kind == MARKETING else "transactional", metadata=dict(wanted.metadata),
            placeholder=wanted.placeholder,
        )
        try:
            await self._copies.send(caller, letter, keep)
        except _Repeated:
            if (repeated := await self._repeated(member_id, wanted)) is not None:
                return repeated
            raise
        async with self._storage.read() as tx:
            return await self._taken(tx, await self._row(tx, member_id, made))

    async def _repeated(self, member_id: int, wanted: Wanted) -> Transmission | None:
        """What was sent with this key; EnrollError where that was something else."""
        if wanted.key is None:
            return None
        async with self._storage.read() as tx:
            row = await rows.by_key(tx, member_id, wanted.key)
            if row is None:
                return None
            if row.body_hash != wanted.body_hash:
                raise EnrollError(IDEMPOTENCY_CONFLICT, field="key")
            return await self._taken(tx, row)

    async def _sender(self, caller: Caller, wanted: Wanted) -> tuple[Named, str, list[Named]]:
        """(the From that mail bears, the sender's own address, who gets replies)."""
        login, address = caller.login, wanted.sender_address
        async with self._storage.read() as tx:
            if address:
                address = await _proved(tx, login.member_id, address)
                found = await sender_rows.all_details(tx, login.member_id, limit=100, folded=address.lower())
                details = next((d for d in found if d.is_default), found[0] if found else None)
            else:
                details = await sender_rows.default_details(tx, login.member_id)
                if details is None:
                    raise EnrollError(
                        NO_SENDER, "no sender is named, and there are no sender details: verify a sender email and "
                        "create them first, or give senderEmailAddress",
                    )
                address = await _proved(tx, login.member_id, details.address)
        name = read_name(wanted.sender_name, "sender_name") if wanted.sender_name else details and details.from_name
        actual = await self._sending.actual_from(
            login.member_id, address, may_use=lambda domain: login.domains is None or domain in login.domains
        )
        replies = [wanted.reply_to] if wanted.reply_to else []
        if actual != address and not replies:
            replies = [Named("", names.address(address))]
        return Named(name or "", names.address(actual)), address, replies

    # -- what became of it -----------------------------------------------------------------------------------------

    async def get(self, member_id: int, id: str, *, names: Collection[str] | None) -> Transmission:
        """One, with its content. EnrollError 404."""
        async with self._storage.read() as tx:
            row = await self._row(tx, member_id, id, names)
            return replace(await self._value(tx, row), html=await rows.content(tx, row.id))

    async def find(
        self, member_id: int, *, where: Condition, order: Sequence[Order], after: Place | None, limit: int,
        names: Collection[str] | None,
    ) -> tuple[list[Transmission], Place | None]:
        """A page of those that `where` is true of, and where the next one begins; without their content."""
        async with self._storage.read() as tx:
            found = await rows.find(
                tx, member_id, where=where, order=order, after=after, limit=limit + 1, names=names
            )
            shown = found[:limit]
            people = await rows.people(tx, [row.id for row in shown])
        values = [Transmission(r, r.status, _now([p for p in people if p.transmission_id == r.id])) for r in shown]
        return values, rows.place_of(shown[-1], order) if len(found) > limit and shown else None

    async def remove(self, member_id: int, id: str, *, names: Collection[str] | None) -> None:
        """Forget one that has ended; its messages stay in the log. EnrollError 404, TRANSMISSION_WAITS."""

        async def write(tx: Tx) -> None:
            row = await self._row(tx, member_id, id, names)
            if row.status == rows.IN_PROGRESS:
                raise EnrollError(TRANSMISSION_WAITS, "Some of its recipients are still waiting: delete it afterwards")
            await rows.remove(tx, [row.id])

        await self._storage.write(write)

    @staticmethod
    async def _row(tx: Tx, member_id: int, id: str, names: Collection[str] | None = None) -> TransmissionRow:
        row = await rows.get(tx, member_id, id.lower())
        if row is None or (names is not None and row.domain not in names):
            raise not_found("No such email transmission")
        return row

    @staticmethod
    async def _value(tx: Tx, row: TransmissionRow) -> Transmission:
        return Transmission(row, row.status, _now(await rows.people(tx, [row.id])))

    @staticmethod
    async def _taken(tx: Tx, row: TransmissionRow) -> Transmission:
        """As it was when it was taken."""
        people = await rows.people(tx, [row.id])
        good = any(p.recipient_id is not None for p in people)
        return Transmission(
            replace(row, updated_at=row.created_at), ACCEPTED if good else rows.REJECTED,
            tuple(Person(p.address, p.name, None if p.recipient_id else False, p.reason) for p in people),
        )


async def _proved(tx: Tx, member_id: int, text: str) -> str:
    """A sender's address that is verified, or stands on a domain that the member holds. EnrollError
    ADDRESS_NOT_VERIFIED, 422."""
    address = read_address(text, "sender")
    row = await sender_rows.email_at(tx, member_id, fold(address))
    if row is not None:
        (value,) = await emails_of(tx, member_id, [row])
        if value.verified:
            return row.address
    elif any(d.member_id == member_id for d in await domain_rows.holders(tx, [address.domain])):
        return address.text
    raise not_verified()


def _people(wanted: Wanted, posted: Posted) -> list[tuple[str, str, int | None, str]]:
    why = {text: verdict.text() for text, verdict in posted.rejected}
    return [
        (one.address.text, one.display, posted.accepted.get(one.address), why.get(one.address.text, ""))
        for one in wanted.to
    ]


def _now(people: Sequence[PersonRow]) -> tuple[Person, ...]:
    return tuple(_person(p) for p in people)


def _person(p: PersonRow) -> Person:
    if p.recipient_id is None:
        return Person(p.address, p.name, False, p.reason)
    if p.state is None or p.state in _OPEN:
        return Person(p.address, p.name, None, "")
    if p.state == "sent":
        return Person(p.address, p.name, True, "")
    said = p.says or p.state
    return Person(p.address, p.name, False, said if p.code is None or str(p.code) in said else f"{p.code} {said}")
