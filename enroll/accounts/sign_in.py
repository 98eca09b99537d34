"""Signing in with a password, changing it, and links with which one is set.

Promises the same words and the same work for an unknown account and a wrong password; that failures are counted
for the account and for the address; that a new password ends the other sign-ins; and that a link works once: it
is bound to the password it replaces. The counts are in memory, one process's: they are lost with it.
"""

from __future__ import annotations

from typing import Any

from itsdangerous import BadData

from enroll.accounts.member import Member
from enroll.errors import EnrollError, not_found
from enroll.passwords import Passwords
from relay.base import names
from relay.base.clock import HOUR, Clock, not_before
from relay.base.config import Config
from relay.base.secrets import Vault
from relay.base.storage import Storage, Tx, accounts, sessions
from relay.base.storage.accounts import DELETED, MemberRow
from relay.base.throttle import Throttle

_LINK = "set-password"
_MAX_LOGIN = 320


class SignIn:
    """Passwords of accounts."""

    def __init__(
        self, storage: Storage, config: Config, clock: Clock, vault: Vault, passwords: Passwords
    ) -> None:
        self._storage, self._config, self._clock, self._vault = storage, config, clock, vault
        self._passwords = passwords
        limit, window = config.enrollment.login_failures, config.enrollment.login_failure_window_seconds
        self._at_account = Throttle(limit, window)
        self._from_address = Throttle(limit, window)

    async def verify_password(self, login: str, password: str, address: str) -> Member:
        """The member of a handle (or e-mail address) and password; a suspended one too, to see why.

        Raises EnrollError 401 AUTH_FAILED, 429 TOO_MANY_FAILURES, 503; StorageError.
        """
        async with self._passwords.turn():
            self._wait(self._from_address.wait(address, self._clock.monotonic()))
            row = await self._look_up(login)
            account = row.id if row is not None else login.strip().lower()[:_MAX_LOGIN]
            blocked = self._at_account.wait(account, self._clock.monotonic())
            # A stranger's guesses must not lock the owner out: where the member is signed in already, the
            # address's own count is enough.
            if blocked and not (row is not None and await self._signed_in_from(row.id, address)):
                self._wait(blocked)
            stored = row.password_hash if row is not None and row.status != DELETED else None
            right = await self._passwords.verify(stored, password)
            if not right or row is None or stored is None:
                now = self._clock.monotonic()
                self._from_address.count(address, now)
                self._at_account.count(account, now)
                raise EnrollError(401, "AUTH_FAILED", "Sign-in failed: wrong handle or password")
            if self._passwords.outdated(stored):
                await self._replace(row.id, stored, await self._passwords.hash(password), end_others=False)
        return Member.of(row)

    async def change_password(
        self, member_id: int, old: str, new: str, address: str, *, keep: int | None = None
    ) -> None:
        """Replace a password that its owner knows; every sign-in but `keep` (its id) ends.

        Raises EnrollError 401 (wrong old one), 422 (unfit new one), 429.
        """
        row = await self._row(member_id)
        self._passwords.check(new, row.handle, row.email, field="new")
        await self.verify_password(row.handle, old, address)
        await self._set(await self._row(member_id), new, keep=keep)

    async def password_link(self, member_id: int) -> str:
        """A token with which the member's password can be set once, within `password_link_hours`."""
        row = await self._row(member_id)
        expires_at = self._clock.now() + self._config.enrollment.password_link_hours * HOUR
        said = {"m": row.id, "x": int(expires_at), "p": self._fingerprints(row.password_hash)[0]}
        token = self._vault.signer(_LINK).dumps(said)
        return token if isinstance(token, str) else token.decode()

    async def read_link(self, token: str) -> Member:
        """The member of a link that would still work; EnrollError 410 for every other alike."""
        return Member.of(await self._linked(token))

    async def set_password(self, token: str, new: str) -> Member:
        """Set the password of a link's member; the link and all sign-ins end.

        Raises EnrollError 410 for a link that is wrong, used or too old, 422 for an unfit password.
        """
        row = await self._linked(token)
        self._passwords.check(new, row.handle, row.email)
        await self._set(row, new, keep=None)
        return Member.of(await self._row(row.id))

    async def _linked(self, token: str) -> MemberRow:
        gone = EnrollError(410, "LINK_EXPIRED", "This link has been used, has expired, or is not complete")
        try:
            said: Any = self._vault.signer(_LINK).loads(token)
            member_id, expires_at, fingerprint = int(said["m"]), int(said["x"]), str(said["p"])
        except (BadData, KeyError, TypeError, ValueError):
            raise gone from None
        async with self._storage.read() as tx:
            row = await accounts.by_id(tx, member_id)
        if row is None or row.status == DELETED or expires_at <= self._clock.now():
            raise gone
        if fingerprint not in self._fingerprints(row.password_hash):
            raise gone
        return row

    async def _set(self, row: MemberRow, new: str, *, keep: int | None) -> None:
        async with self._passwords.turn():
            hashed = await self._passwords.hash(new)
        if not await self._replace(row.id, row.password_hash, hashed, end_others=True, keep=keep):
            raise EnrollError(409, "CONFLICT", "The password was changed by somebody else meanwhile")

    async def _replace(
        self, member_id: int, old: str | None, new: str, *, end_others: bool, keep: int | None = None
    ) -> bool:
        async def do(tx: Tx) -> bool:
            if not await accounts.set_password(tx, member_id, new, old=old):
                return False
            if end_others:
                await sessions.close_all(tx, member_id, keep=keep)
            return True

        return await self._storage.write(do)

    def _fingerprints(self, password_hash: str | None) -> list[str]:
        """Under the master key in use, then under previous ones."""
        return [mac.hex()[:32] for mac in self._vault.macs(_LINK, (password_hash or "").encode())]

    async def _look_up(self, login: str) -> MemberRow | None:
        text = login.strip()
        if len(text) > _MAX_LOGIN:
            return None
        try:
            email = names.address(text).text if "@" in text else None
            handle = names.handle(text) if email is None else ""
        except names.BadName:
            return None
        async with self._storage.read() as tx:
            return await (accounts.by_handle(tx, handle) if email is None else accounts.by_email(tx, email))

    async def _signed_in_from(self, member_id: int, address: str) -> bool:
        async with self._storage.read() as tx:
            return await sessions.has_address(tx, member_id, address, self._clock.now())

    async def _row(self, member_id: int) -> MemberRow:
        async with self._storage.read() as tx:
            row = await accounts.by_id(tx, member_id)
        if row is None or row.status == DELETED:
            raise not_found("There is no such member")
        return row

    def _wait(self, seconds: float) -> None:
        if seconds > 0:
            at = self._clock.now() + seconds
            raise EnrollError(
                429, "TOO_MANY_FAILURES", f"Too many failed sign-ins, try again after {not_before(at)}", passes_at=at
            )
