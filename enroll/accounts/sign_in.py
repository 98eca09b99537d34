"""Signing in with a password, changing it, and links with which one is set.

Promises the same words and the same work for an unknown account and a wrong password; that a new password ends the
other sign-ins; and that a link works once: it is bound to the password it replaces.

Nobody is kept out by what others try. Failures are counted for the account and the network together. Whatever the
network, an account's passwords are checked one after another and after a wrong one a while later; so are, from a
network that has failed very often, those of all accounts. A code of the second factor is asked only after the right
password, and a wrong one counts as a wrong password does. Who is known has a lane of its own, past all of that, with a
count of its own: a browser that has signed in to the account before, a sign-in, an address with one. The counts are in
memory, one process's: they are lost with it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Hashable
from contextlib import nullcontext
from typing import Any

from itsdangerous import BadData

from enroll.accounts.device import Device
from enroll.accounts.member import Member
from enroll.accounts.pace import Busy, Pace
from enroll.accounts.second_factor import SecondFactor
from enroll.errors import EnrollError, not_found
from enroll.passwords import Passwords
from relay.base import metrics, names
from relay.base.clock import HOUR, Clock, not_before
from relay.base.config import Config
from relay.base.netguard import network
from relay.base.secrets import Vault
from relay.base.storage import Storage, Tx, accounts, sessions
from relay.base.storage.accounts import DELETED, MemberRow
from relay.base.throttle import Throttle
from relay.replies import (
    LINK_EXPIRED,
    NOT_POSSIBLE,
    SECOND_FACTOR_REQUIRED,
    SECOND_FACTOR_WRONG,
    SIGN_IN_FAILED,
    TOO_MANY_FAILURES,
    Refused,
)

_LINK = "set-password"
_MAX_LOGIN = 320


class SignIn:
    """Passwords of accounts."""

    def __init__(
        self, storage: Storage, config: Config, clock: Clock, vault: Vault, passwords: Passwords
    ) -> None:
        self._storage, self._config, self._clock, self._vault = storage, config, clock, vault
        self._passwords = passwords
        self.second_factor = SecondFactor(storage, config, clock, vault)
        e = config.enrollment
        self._failed = Throttle(e.login_failures, e.login_failure_window_seconds)
        self._from_network = Throttle(e.login_failures_a_network, e.login_failure_window_seconds)
        bounds = {"seconds": e.login_check_seconds, "longest": e.login_wait_seconds}
        self._of_account = Pace(clock, waiting=e.login_waiting, **bounds)
        self._of_network = Pace(clock, waiting=e.login_waiting, **bounds)

    async def verify_password(
        self, login: str, password: str, address: str, *, device: Device | None = None, session: int | None = None
    ) -> Member:
        """The member of a handle (or e-mail address) and password; a suspended one too, to see why.

        `device`, `session`: the browser that asks, and the sign-in (its id) of whoever is signed in already.
        Raises EnrollError 401 AUTH_FAILED, 429 TOO_MANY_FAILURES, 503; StorageError.
        """
        return (await self._judged((login, password, None), address, device, session))[0]

    async def prove(
        self, login: str, password: str, code: str, address: str, *, device: Device | None = None
    ) -> tuple[Member, bool]:
        """The same for a sign-in, with the code of the second factor, "" for none; and whether there was one to prove.

        Raises as `verify_password`, and EnrollError 401 SECOND_FACTOR_REQUIRED, SECOND_FACTOR_WRONG.
        """
        return await self._judged((login, password, code), address, device, None)

    async def _judged(
        self, given: tuple[str, str, str | None], address: str, device: Device | None, session: int | None
    ) -> tuple[Member, bool]:
        """`given`: login, password, and the code, None where the password alone is in question."""
        result = "ok"
        try:
            return await self._verified(given, address, device, session)
        except Refused as e:
            result = e.code
            raise
        finally:
            metrics.LOGINS.labels("password", result).inc()

    async def _verified(
        self, given: tuple[str, str, str | None], address: str, device: Device | None, session: int | None
    ) -> tuple[Member, bool]:
        login = given[0]
        row = await self._look_up(login)
        account = row.id if row is not None else hashlib.sha256(login.strip().lower()[:_MAX_LOGIN].encode(
            "utf-8", "replace"
        )).digest()  # fmt: skip
        of = network(address)
        lane = await self._lane(row, account, address, device, session)
        if lane is not None:
            return await self._check(given, (account, lane), of, known=True)
        self._passwords.not_full()
        self._wait(self._failed.wait((account, of), self._clock.monotonic()))
        often = self._from_network.wait(of, self._clock.monotonic()) > 0
        try:
            # The network's line first: whoever waits in it must not hold up the account's.
            async with self._of_network.turn(of) if often else nullcontext(), self._of_account.turn(account):
                return await self._check(given, (account, of), of, known=False)
        except Busy as busy:
            self._wait(max(1.0, busy.seconds))
            raise

    async def _lane(
        self, row: MemberRow | None, account: int | bytes, address: str, device: Device | None, session: int | None
    ) -> Hashable | None:
        """The count of somebody known; None for a stranger."""
        if session is not None:
            return "sign-in", session
        if row is None:
            return None
        if device is not None and row.id in device.members:
            return "device", device.id
        # Looked up only where being known makes a difference.
        held_up = self._of_account.busy(account) or self._failed.wait(
            (account, network(address)), self._clock.monotonic()
        ) > 0  # fmt: skip
        return ("address", address) if held_up and await self._signed_in_from(row.id, address) else None

    async def _check(
        self, given: tuple[str, str, str | None], count: Hashable, of: str, *, known: bool
    ) -> tuple[Member, bool]:
        login, password, code = given
        async with self._passwords.turn(known=known):
            row = await self._look_up(login)  # as it is now
            now = self._clock.monotonic()
            self._wait(self._failed.wait(count, now))
            # Counted before it is looked at, so that tries at the same time are no more than those one by one.
            self._failed.count(count, now)
            stored = row.password_hash if row is not None and row.status != DELETED else None
            right = await self._passwords.verify(stored, password)
            if not right or row is None or stored is None:
                self._from_network.count(of, self._clock.monotonic())
                raise EnrollError(SIGN_IN_FAILED, "Sign-in failed: wrong handle or password")
            factor = await self.second_factor.of(row.id) if code is not None else None
            if factor is not None and code and not await self.second_factor.proves(factor, code):
                self._from_network.count(of, self._clock.monotonic())
                raise EnrollError(SECOND_FACTOR_WRONG, "This code is wrong, or has been used", "code")
            self._failed.take_back(count)
            if factor is not None and not code:
                raise EnrollError(SECOND_FACTOR_REQUIRED, "This account asks for a code of its second factor", "code")
            if self._passwords.outdated(stored):
                await self._replace(row.id, stored, await self._passwords.hash(password), end_others=False)
        return Member.of(row), factor is not None

    async def change_password(
        self, member_id: int, old: str, new: str, address: str, *, keep: int | None = None
    ) -> None:
        """Replace a password that its owner knows; every sign-in but `keep` (its id) ends.

        Raises EnrollError 401 (wrong old one), 422 (unfit new one), 429.
        """
        row = await self._row(member_id)
        self._passwords.check(new, row.handle, row.email, field="new")
        await self.verify_password(row.handle, old, address, session=keep)
        await self._set(await self._row(member_id), new, keep=keep)

    async def begin_second_factor(
        self, member_id: int, token: str, code: str, password: str, address: str, *, session: int
    ) -> list[str]:
        """As `SecondFactor.begin`; in place of one that holds, only for who knows the password.

        Raises EnrollError also 401 (wrong password), 429.
        """
        row = await self._row(member_id)
        if await self.second_factor.of(member_id) is not None:
            await self.verify_password(row.handle, password, address, session=session)
        return await self.second_factor.begin(member_id, token, code, session)

    async def remove_second_factor(self, member_id: int, password: str, address: str, *, session: int) -> None:
        """Sign-ins need the password alone again; only for who knows it, whatever was left open.

        `session`: the sign-in that asks. Raises EnrollError 401 (wrong password), 429.
        """
        row = await self._row(member_id)
        await self.verify_password(row.handle, password, address, session=session)
        await self.second_factor.remove(member_id)

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
        gone = EnrollError(LINK_EXPIRED, "This link has been used, has expired, or is not complete")
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
        async with self._passwords.turn(known=True):
            hashed = await self._passwords.hash(new)
        if not await self._replace(row.id, row.password_hash, hashed, end_others=True, keep=keep):
            raise EnrollError(NOT_POSSIBLE, "The password was changed by somebody else meanwhile")

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
                TOO_MANY_FAILURES, f"Too many failed sign-ins, try again after {not_before(at)}", passes_at=at
            )
