"""`OnlySender`: the sender details as one sender with one address, for clients of the time when there was but one.

A new address takes the place of the old one once its code has come back.
"""

from __future__ import annotations

from enroll.errors import EnrollError, invalid
from enroll.senders.addresses import Addresses
from enroll.senders.details import Details
from enroll.senders.model import Sender, SenderEmail, read_name
from relay.base.storage import Storage
from relay.base.storage import senders as rows
from relay.replies import CODE_INVALID, DETAILS_EXIST, NOT_FOUND, Refused


class OnlySender:
    """A member's one sender: the default of its sender details."""

    def __init__(self, storage: Storage, addresses: Addresses, details: Details) -> None:
        self._storage, self._addresses, self._details = storage, addresses, details

    async def get(self, member_id: int) -> tuple[Sender | None, SenderEmail] | None:
        """The sender with its address; before there is one, the address that waits for its code; None without any."""
        if (sender := await self._default(member_id)) is not None:
            (email,) = await self._addresses.list(member_id, address=sender.address)
            return sender, email
        email_id = await self._last_asked(member_id)
        if email_id is None:
            return None
        try:
            return None, await self._addresses.get(member_id, email_id)
        except Refused as e:
            if e.reply is not NOT_FOUND:
                raise
            return None

    async def update(self, member_id: int, name: str | None, address: str | None) -> bool:
        """Change what is given; False where the address has to be verified first: a code is on its way.

        Raises EnrollError 422, and as `Addresses.add`, `Addresses.send_code` and `Details.change` do.
        """
        name = read_name(name) if name is not None else None
        sender = await self._default(member_id)
        if sender is not None and name is not None and name != sender.name:
            sender = await self._details.change(member_id, sender.id, name=name)
        if address is None:
            if sender is None:
                raise invalid("address", "there is no sender yet: an address is needed")
            return True
        email = await self._addresses.add(member_id, address, even_known=True)
        if email.verified:
            await self._use(member_id, email, name)
            return True
        await self._storage.write(lambda tx: rows.want_name(tx, email.number, name))
        await self._addresses.send_code(member_id, email.id)
        return False

    async def verify(self, member_id: int, code: str) -> None:
        """Prove the address that a code was sent to last, and send from it from now on. EnrollError as
        `Addresses.verify`."""
        email_id = await self._last_asked(member_id)
        if email_id is None:
            raise EnrollError(CODE_INVALID, "No code was sent: update the sender with a new address first", "code")
        email = await self._addresses.verify(member_id, email_id, code)
        await self._use(member_id, email, email.wanted_name)

    async def _use(self, member_id: int, email: SenderEmail, name: str | None) -> None:
        sender = await self._default(member_id)
        wanted = name or (sender.name if sender is not None else email.address.partition("@")[0])
        try:
            if sender is None:
                await self._details.add(member_id, wanted, email.address)
            elif (sender.name, sender.address) != (wanted, email.address):
                await self._details.change(member_id, sender.id, name=wanted, address=email.address)
        except Refused as e:
            if e.reply is not DETAILS_EXIST:
                raise
            # Another one of the sender details is this already: then it is the one.
            await self._details.make_default(member_id, e.verdict.extra["id"])

    async def _default(self, member_id: int) -> Sender | None:
        try:
            return await self._details.default(member_id)
        except Refused as e:
            if e.reply is not NOT_FOUND:
                raise
            return None

    async def _last_asked(self, member_id: int) -> str | None:
        async with self._storage.read() as tx:
            return await rows.last_asked(tx, member_id)
