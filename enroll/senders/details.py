"""`Details`: the names a member sends under, each with a proved address. The first is the default; there is always one.

The domain of an address enrolls itself in the transaction that writes the first details for it.
"""

from __future__ import annotations

import builtins
import uuid
from collections.abc import Mapping
from typing import Any

from enroll.errors import EnrollError, not_found
from enroll.senders.model import (
    Sender,
    active,
    details_event,
    emails_of,
    fold,
    not_verified,
    read_address,
    read_data,
    read_name,
    sender_of,
)
from enroll.senders.sending import SendingDomains
from relay.base import names
from relay.base.clock import Clock
from relay.base.config import Config
from relay.base.events import SENDER_CREATED, SENDER_DELETED, SENDER_UPDATED
from relay.base.storage import Storage, Tx, events
from relay.base.storage import senders as rows
from relay.base.storage.senders import DetailsRow, EmailRow
from relay.replies import DEFAULT_SENDER, DETAILS_EXIST, LIMIT_REACHED

_MISSING = "No such sender details"


class Details:
    """A member's sender details. Every call names the member; another member's are not there."""

    def __init__(self, storage: Storage, config: Config, clock: Clock, sending: SendingDomains) -> None:
        self._storage, self._config, self._clock, self._sending = storage, config, clock, sending

    async def list(
        self, member_id: int, *, after: int = 0, limit: int = 50, address: str | None = None
    ) -> builtins.list[Sender]:
        """A member's details with numbers above `after`, by number; those of one address, if named. EnrollError 422."""
        folded = fold(read_address(address)) if address is not None else None
        async with self._storage.read() as tx:
            found = await rows.all_details(tx, member_id, after=after, limit=limit, folded=folded)
            return [sender_of(row) for row in found]

    async def get(self, member_id: int, id: str) -> Sender:
        """One of them. EnrollError 404."""
        async with self._storage.read() as tx:
            return sender_of(await self._row(tx, member_id, id))

    async def default(self, member_id: int) -> Sender:
        """The default. EnrollError 404 without any."""
        async with self._storage.read() as tx:
            row = await rows.default_details(tx, member_id)
        if row is None:
            raise not_found("There are no sender details yet")
        return sender_of(row)

    async def add(
        self, member_id: int, name: str, address: str, data: Mapping[str, Any] | None = None
    ) -> Sender:
        """Join a name and a proved address; its domain, if the member hasn't it, is enrolled in the background.

        Raises EnrollError 422, ADDRESS_NOT_VERIFIED, DETAILS_EXIST, LIMIT_REACHED
        (of details, or of domains).
        """
        wanted, read = read_name(name), read_address(address)
        kept = read_data(data, self._config.senders.max_data_bytes)

        async def write(tx: Tx) -> tuple[Sender, int | None]:
            await rows.hold(tx, member_id)
            await active(tx, member_id)
            email = await self._proved(tx, member_id, read)
            await self._free(tx, member_id, email, wanted)
            limit, has = self._config.senders.max_details, await rows.count_details(tx, member_id)
            if has >= limit:
                raise EnrollError(LIMIT_REACHED, f"At most {limit} sender details can be kept: delete some")
            made = str(uuid.uuid4())
            await rows.add_details(
                tx, uuid=made, member_id=member_id, email_id=email.id, from_name=wanted, is_default=not has,
                data=kept, now=self._clock.now(),
            )
            begun = await self._sending.begin(tx, member_id, email.domain)
            return await self._event(tx, SENDER_CREATED, member_id, made), begun

        made, begun = await self._sending.commit(write)
        self._sending.finish(begun)
        return made

    async def change(
        self, member_id: int, id: str, *, name: str | None = None, address: str | None = None,
        data: Mapping[str, Any] | None = None,
    ) -> Sender:
        """Change what is given. Raises as `add`, and EnrollError 404."""
        new_name = read_name(name) if name is not None else None
        new_address = read_address(address) if address is not None else None
        kept = read_data(data, self._config.senders.max_data_bytes)

        async def write(tx: Tx) -> tuple[Sender, int | None]:
            await rows.hold(tx, member_id)
            await active(tx, member_id)
            row = await self._row(tx, member_id, id)
            read = new_address or names.address(row.address)
            email = await self._proved(tx, member_id, read)
            wanted = new_name if new_name is not None else row.from_name
            if (email.id, wanted) != (row.email_id, row.from_name):
                await self._free(tx, member_id, email, wanted)
            values: dict[str, Any] = {"email_id": email.id, "from_name": wanted}
            if data is not None:
                values["data"] = kept
            await rows.change_details(tx, row.id, self._clock.now(), **values)
            begun = None
            if email.id != row.email_id:
                begun = await self._sending.begin(tx, member_id, email.domain)
            return await self._event(tx, SENDER_UPDATED, member_id, id), begun

        made, begun = await self._sending.commit(write)
        self._sending.finish(begun)
        return made

    async def make_default(self, member_id: int, id: str) -> Sender:
        """Make these the default. EnrollError 404."""

        async def write(tx: Tx) -> Sender:
            await rows.hold(tx, member_id)
            await active(tx, member_id)
            row = await self._row(tx, member_id, id)
            if row.is_default:
                return sender_of(row)
            await rows.make_default(tx, member_id, row.id, self._clock.now())
            return await self._event(tx, SENDER_UPDATED, member_id, id)

        return await self._storage.write(write)

    async def remove(self, member_id: int, id: str) -> None:
        """Delete details; their domain stays enrolled. EnrollError 404; DEFAULT_SENDER for the default."""

        async def write(tx: Tx) -> None:
            await rows.hold(tx, member_id)
            row = await self._row(tx, member_id, id)
            if row.is_default:
                raise EnrollError(
                    DEFAULT_SENDER,
                    "This is the default sender: mark another one as default first",
                )
            await rows.remove_details(tx, row.id)
            event = details_event(SENDER_DELETED, sender_of(row), member_id, self._clock.now())
            await events.append(tx, [event])

        await self._storage.write(write)

    async def _event(self, tx: Tx, kind: str, member_id: int, id: str) -> Sender:
        """What was written, told in the same transaction."""
        sender = sender_of(await self._row(tx, member_id, id))
        await events.append(tx, [details_event(kind, sender, member_id, self._clock.now())])
        return sender

    @staticmethod
    async def _proved(tx: Tx, member_id: int, address: names.Address) -> EmailRow:
        row = await rows.email_at(tx, member_id, fold(address))
        if row is None:
            raise not_verified()
        (value,) = await emails_of(tx, member_id, [row])
        if not value.verified:
            raise not_verified()
        return row

    @staticmethod
    async def _free(tx: Tx, member_id: int, email: EmailRow, name: str) -> None:
        there = await rows.details_named(tx, member_id, email.id, name)
        if there is not None:
            raise EnrollError(
                DETAILS_EXIST,
                f"There are sender details with this name and {email.address} already", "name",
                extra={"id": there.uuid},
            )

    @staticmethod
    async def _row(tx: Tx, member_id: int, id: str) -> DetailsRow:
        row = await rows.details(tx, member_id, id.lower())
        if row is None:
            raise not_found(_MISSING)
        return row
