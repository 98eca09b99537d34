"""`Addresses`: a member's sender addresses, and proving them by a code sent there.

A code is six digits, kept as an HMAC. The newest one counts; it is good for a while and for a few wrong answers.
Codes are counted in the tables, by address over all members and by member, in the transaction that sends the next.
"""

from __future__ import annotations

import builtins
import hmac
import secrets
import uuid
from collections.abc import Mapping
from typing import Any

import structlog

from enroll.errors import EnrollError, not_found
from enroll.senders.model import SenderEmail, active, email_event, emails_of, fold, read_address, read_data
from relay.base.clock import HOUR, MINUTE, Clock, not_before
from relay.base.config import Config
from relay.base.events import SENDER_CREATED, SENDER_DELETED, SENDER_VERIFIED
from relay.base.secrets import Vault
from relay.base.storage import Storage, Tx, events
from relay.base.storage import senders as rows
from relay.base.storage.senders import EmailRow
from relay.notices import Notices, texts
from relay.replies import (
    ADDRESS_EXISTS,
    ALREADY_VERIFIED,
    CODE_EXPIRED,
    CODE_INVALID,
    DETAILS_EXIST,
    LIMIT_REACHED,
    TOO_MANY_TRIES,
)

log = structlog.get_logger("senders")
_DIGITS = 6
_MISSING = "No such sender email"


class Addresses:
    """A member's sender addresses. Every call names the member; another member's are not there."""

    def __init__(self, storage: Storage, config: Config, clock: Clock, vault: Vault, notices: Notices) -> None:
        self._storage, self._config, self._clock = storage, config, clock
        self._vault, self._notices = vault, notices

    # -- reading -------------------------------------------------------------------------------------------------

    async def list(
        self, member_id: int, *, after: int = 0, limit: int = 50, address: str | None = None
    ) -> builtins.list[SenderEmail]:
        """A member's addresses with numbers above `after`, by number; one only, if named. EnrollError 422."""
        folded = fold(read_address(address)) if address is not None else None
        async with self._storage.read() as tx:
            found = await rows.emails(tx, member_id, after=after, limit=limit, folded=folded)
            return await emails_of(tx, member_id, found)

    async def get(self, member_id: int, id: str) -> SenderEmail:
        """One of them. EnrollError 404."""
        async with self._storage.read() as tx:
            return await self._value(tx, await self._row(tx, member_id, id))

    # -- changing ------------------------------------------------------------------------------------------------

    async def add(
        self, member_id: int, address: str, data: Mapping[str, Any] | None = None, *, even_known: bool = False
    ) -> SenderEmail:
        """Add an address; one that stands on a domain the member has proved is verified at once.

        `even_known` gives the one that is there; without it that is EnrollError ADDRESS_EXISTS.
        Raises 422 for what isn't an address, 403 LIMIT_REACHED.
        """
        wanted, kept = read_address(address), read_data(data, self._config.senders.max_data_bytes)

        async def write(tx: Tx) -> SenderEmail:
            await rows.hold(tx, member_id)
            await active(tx, member_id)
            there = await rows.email_at(tx, member_id, fold(wanted))
            if there is not None:
                if even_known:
                    return await self._value(tx, there)
                raise EnrollError(
                    ADDRESS_EXISTS, f"{there.address} is among your sender emails already",
                    "address", extra={"id": there.uuid},
                )
            limit = self._config.senders.max_addresses
            if await rows.count_emails(tx, member_id) >= limit:
                raise EnrollError(LIMIT_REACHED, f"At most {limit} sender emails can be kept: delete some")
            made = str(uuid.uuid4())
            await rows.add_email(
                tx, uuid=made, member_id=member_id, address=wanted.text, folded=fold(wanted), domain=wanted.domain,
                verified_at=None, data=kept, now=self._clock.now(),
            )
            added = await self._value(tx, await self._row(tx, member_id, made))
            await events.append(tx, [email_event(SENDER_CREATED, added, member_id, self._clock.now())])
            return added

        return await self._storage.write(write)

    async def remove(self, member_id: int, id: str) -> None:
        """Forget an address. EnrollError 404; 409 while sender details use it."""

        async def write(tx: Tx) -> None:
            await rows.hold(tx, member_id)
            row = await self._row(tx, member_id, id)
            if await rows.all_details(tx, member_id, email_id=row.id, limit=1):
                raise EnrollError(
                    DETAILS_EXIST,
                    f"Sender details use {row.address}: change or delete those first",
                )
            gone = await self._value(tx, row)
            await rows.remove_email(tx, row.id)
            await events.append(tx, [email_event(SENDER_DELETED, gone, member_id, self._clock.now())])

        await self._storage.write(write)

    # -- proving -------------------------------------------------------------------------------------------------

    async def send_code(self, member_id: int, id: str) -> None:
        """Mail a new code to the address; the ones before it count no more.

        Raises EnrollError 404, ALREADY_VERIFIED, TOO_MANY_TRIES with the time when the next may be sent; NoticeLater.
        """
        async with self._storage.read() as tx:
            handle, row = await active(tx, member_id), await self._unproved(tx, member_id, id)
            await self._within_limits(tx, row)
        code = f"{secrets.randbelow(10**_DIGITS):0{_DIGITS}d}"
        notice = texts.sender_code(handle, row.address, code, self._config)
        join = await self._notices.prepare(row.address, notice, about=row.domain)

        async def write(tx: Tx) -> None:
            await rows.hold_codes(tx)
            fresh = await self._unproved(tx, member_id, id)
            await self._within_limits(tx, fresh)
            now = self._clock.now()
            await rows.add_code(
                tx, member_id=member_id, email_uuid=fresh.uuid, folded=fresh.folded, mac=self._macs(fresh, code)[0],
                now=now, expires_at=now + self._config.senders.code_minutes * MINUTE, forget=now - HOUR,
            )
            await join(tx)

        await self._storage.write(write)
        log.info("sender.code_sent", member_id=member_id, domain=row.domain)

    async def verify(self, member_id: int, id: str, code: str) -> SenderEmail:
        """Prove an address by its newest code.

        Raises EnrollError 404, ALREADY_VERIFIED, CODE_EXPIRED, CODE_INVALID, TOO_MANY_TRIES.
        """

        async def write(tx: Tx) -> SenderEmail | EnrollError:
            await rows.hold(tx, member_id)
            await active(tx, member_id)
            row = await self._unproved(tx, member_id, id)
            if (refusal := await self._tried(tx, row, code)) is not None:
                return refusal  # as a value: the try stays counted
            await rows.verify_email(tx, row.id, self._clock.now())
            verified = await self._value(tx, await self._row(tx, member_id, id))
            await events.append(tx, [email_event(SENDER_VERIFIED, verified, member_id, self._clock.now())])
            return verified

        done = await self._storage.write(write)
        if isinstance(done, EnrollError):
            raise done
        log.info("sender.verified", member_id=member_id, domain=done.domain)
        return done

    async def _tried(self, tx: Tx, row: EmailRow, code: str) -> EnrollError | None:
        """Compare with the newest code, and count a wrong answer."""
        newest, tries = await rows.code(tx, row.uuid), self._config.senders.code_tries
        if newest is None:
            text = "No code is open for this address: have one sent, then repeat it here"
            return EnrollError(CODE_INVALID, text, "code")
        if newest.expires_at <= self._clock.now():
            text = f"This code was good for {self._config.senders.code_minutes} minutes: have a new one sent"
            return EnrollError(CODE_EXPIRED, text, "code")
        if newest.tries >= tries:
            text = f"This code has had {tries} wrong answers and is good no more: have a new one sent"
            return EnrollError(TOO_MANY_TRIES, text, "code")
        if any(hmac.compare_digest(newest.mac, mac) for mac in self._macs(row, code.strip())):
            return None
        await rows.count_try(tx, newest.id)
        left = tries - newest.tries - 1
        text = f"This is not the code that was last sent to {row.address} (tries left: {left})"
        return EnrollError(CODE_INVALID, text, "code", extra={"left": left})

    async def _within_limits(self, tx: Tx, row: EmailRow) -> None:
        now, s = self._clock.now(), self._config.senders
        to_it = await rows.codes_since(tx, now - HOUR, folded=row.folded)
        by_it = await rows.codes_since(tx, now - HOUR, member_id=row.member_id)
        for sent, limit, whom in (
            (to_it, s.codes_an_hour, "to one address"), (by_it, s.codes_a_member, "for one member"),
        ):
            if len(sent) >= limit:
                at = sent[-limit] + HOUR
                raise EnrollError(
                    TOO_MANY_TRIES,
                    f"At most {limit} codes an hour are sent {whom}: look into the spam folder, or wait until "
                    f"{not_before(at)}", passes_at=at,
                )

    def _macs(self, row: EmailRow, code: str) -> tuple[str, ...]:
        """Under the master key in use, then under previous ones."""
        about = f"{row.uuid}\0{row.folded}\0{code}".encode("utf-8", "replace")
        return tuple(mac.hex() for mac in self._vault.macs("sender-code", about))

    async def _unproved(self, tx: Tx, member_id: int, id: str) -> EmailRow:
        row = await self._row(tx, member_id, id)
        if (await self._value(tx, row)).verified:
            raise EnrollError(ALREADY_VERIFIED, f"{row.address} is verified already")
        return row

    @staticmethod
    async def _value(tx: Tx, row: EmailRow) -> SenderEmail:
        (value,) = await emails_of(tx, row.member_id, [row])
        return value

    @staticmethod
    async def _row(tx: Tx, member_id: int, id: str) -> EmailRow:
        row = await rows.email(tx, member_id, id.lower())
        if row is None:
            raise not_found(_MISSING)
        return row
