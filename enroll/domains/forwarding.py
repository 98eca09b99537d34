"""Where a domain's replies and bounce reports go: a mailbox that has said yes by repeating a code sent to it.

Without that step a member could point other people's mailboxes at a stream of reports. The code is an HMAC over
domain and address, so nothing secret is stored; tries and codes sent are counted.
"""

from __future__ import annotations

import base64
import hmac
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from enroll.domains.model import Domain, load_one
from enroll.errors import EnrollError, invalid, not_found
from relay.base import names
from relay.base.clock import HOUR, Clock, not_before
from relay.base.config import Config
from relay.base.domain_options import Notes, Options, columns
from relay.base.secrets import Vault
from relay.base.storage import Storage, Tx, versions
from relay.base.storage import domains as rows
from relay.base.storage.domains import Row
from relay.base.throttle import Throttle
from relay.directory import Directory
from relay.notices import Join, Notices, texts
from relay.replies import TOO_MANY_REQUESTS

Change = Callable[[Options, Notes], tuple[Options, Notes]]
_CHAIN = 5  # domains of this relay that forward to each other, followed so far
_CODE_LETTERS = 10  # 50 bits, with tries counted
_TRIES_AN_HOUR = 20
_WELL: dict[str, Any] = {"forward_failing": 0.0, "forward_says": ""}


def round_trip(name: str, mailbox: str, directory: Directory, field: str) -> None:
    """Raise EnrollError 422 for `field` if mail for the domain `name`, forwarded to `mailbox`, would come back to it
    by way of domains that this relay forwards for."""
    at = mailbox
    for _ in range(_CHAIN):
        domain = at.rpartition("@")[2].lower()
        if domain == name:
            raise invalid(
                field, f"Mail for {names.to_unicode(name)} would loop: it is forwarded to {mailbox}, which leads "
                "back to it. Name a mailbox elsewhere.",
            )
        entry = directory.forwarding(domain)
        if entry is None:
            return
        at = entry.options.forward_to


@dataclass(frozen=True, slots=True)
class Asked:
    """A change that is about to be written, with the letter that goes out about it."""

    change: Change
    join: Join | None = None


class Forwarding:
    """Sets and clears a domain's forward-to mailbox."""

    def __init__(
        self, storage: Storage, config: Config, clock: Clock, vault: Vault, notices: Notices, directory: Directory
    ) -> None:
        self._storage, self._config, self._clock, self._directory = storage, config, clock, directory
        self._vault, self._notices = vault, notices
        self._sent = Throttle(config.enrollment.forward_codes_an_hour, HOUR)
        self._tried = Throttle(_TRIES_AN_HOUR, HOUR)

    async def set(self, member_id: int, name: str, address: str, code: str | None = None) -> Domain:
        """Ask for a mailbox (a code goes to it), confirm it with the code, or clear it with an empty address.

        The mailbox in use stays until another one is confirmed. Raises EnrollError: 404, 422 for a bad address or
        code, 429 when too many codes were sent or tried, 503.
        """
        async with self._storage.read() as tx:
            row = await self._row(tx, member_id, name)
        asked = await self.prepare(row, address, code)

        async def write(tx: Tx) -> Domain:
            row = await self._row(tx, member_id, name, lock=True)
            await self.apply(tx, row, asked)
            return await load_one(tx, await rows.get(tx, row.id))

        return await self._storage.write(write)

    async def prepare(self, row: Row, address: str, code: str | None = None) -> Asked:
        """`set` up to the change: raises what that does, and writes nothing yet."""
        options = Options.read(row.options)
        if not address.strip():
            return Asked(lambda o, n: (replace(o, forward_to=""), replace(n, forward_wanted="", **_WELL)))
        wanted = self.possible(row.name, options, address)
        if options.forward_to == wanted:
            return Asked(lambda o, n: (o, replace(n, forward_wanted="")))
        if code is not None:
            self._limited(self._tried, row.id)
            given = code.strip().upper().encode()
            if not any(hmac.compare_digest(one.encode(), given) for one in self._codes(row, wanted)):
                raise invalid("code", "This is not the code that was sent to that mailbox.")
            return Asked(lambda o, n: (replace(o, forward_to=wanted), replace(n, forward_wanted="", **_WELL)))
        self._limited(self._sent, row.member_id)
        notice = texts.forward_code(row.name, self._codes(row, wanted)[0], self._config)
        join = await self._notices.prepare(wanted, notice, about=row.name)
        return Asked(lambda o, n: (o, replace(n, forward_wanted=wanted)), join)

    async def apply(self, tx: Tx, row: Row, asked: Asked) -> None:
        """Write what was prepared into `row`, which the caller has locked and just read."""
        await rows.change(tx, row.id, **columns(*asked.change(Options.read(row.options), Notes.of(row))))
        await versions.bump(tx, versions.DIRECTORY, domains=[row.id])
        if asked.join is not None:
            await asked.join(tx)

    def possible(self, name: str, options: Options, address: str) -> str:
        """`address` in its one form, if mail for the domain `name` can go there. Raises EnrollError 422 for one that
        is none or whose mail would come back to this domain; port 25 ends what is only seen there."""
        try:
            wanted = names.address(address.strip())
        except names.BadName as e:
            raise invalid("forward_to", e.reason) from None
        c = self._config
        if wanted.domain in (c.server.hostname, c.mx_host, c.bounce_host):
            raise invalid("forward_to", "Mail to this address comes to the relay itself. Choose a mailbox elsewhere.")
        if options.replies:
            round_trip(name, wanted.text, self._directory, "forward_to")
        return wanted.text

    def _limited(self, throttle: Throttle, key: int) -> None:
        now = self._clock.monotonic()
        if wait := throttle.wait(key, now):
            at = self._clock.now() + wait
            raise EnrollError(
                TOO_MANY_REQUESTS, f"Too many attempts: try again after {not_before(at)}", passes_at=at
            )
        throttle.count(key, now)

    def _codes(self, row: Row, address: str) -> list[str]:
        """Under the master key in use, then under previous ones."""
        about = f"{row.uuid}\0{row.ownership_token}\0{address}".encode()
        return [base64.b32encode(mac).decode()[:_CODE_LETTERS] for mac in self._vault.macs("forward-to", about)]

    @staticmethod
    async def _row(tx: Tx, member_id: int, name: str, *, lock: bool = False) -> Row:
        try:
            row = await rows.of_member(tx, member_id, names.domain(name.strip()), lock=lock)
        except names.BadName:
            row = None
        if row is None or row.state == "deleted":
            raise not_found("No such domain")
        return row
