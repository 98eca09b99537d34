"""The life of an account: made by its owner or the operator, suspended, released, deleted; and invites.

Promises that whatever concerns the relay (status, keys, domains) changes in one transaction together with the
version that the relay's directory watches. A deleted member's keys, sign-ins and domains end in that same
transaction; its handle stays reserved.
"""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable

import structlog

from enroll.accounts.identity import default_did, did_prefix
from enroll.accounts.member import Invite, Member
from enroll.accounts.sign_in import SignIn
from enroll.errors import EnrollError, conflict, invalid, not_found
from enroll.passwords import Passwords
from relay.base import events, names
from relay.base.clock import DAY, HOUR, Clock, not_before
from relay.base.config import Config
from relay.base.events import Event
from relay.base.netguard import client_key
from relay.base.secrets import INVITE, Vault
from relay.base.storage import (
    Storage,
    StorageError,
    Tx,
    accounts,
    credentials,
    domains,
    invites,
    second_factors,
    senders,
    sessions,
    transmissions,
    versions,
)
from relay.base.storage import events as log_rows
from relay.base.storage.accounts import ACTIVE, DELETED, SUSPENDED
from relay.base.throttle import Throttle
from relay.replies import DID_NOT_PROVED, HANDLE_TAKEN, INVITE_INVALID, SIGNUP_CLOSED, TOO_MANY_REQUESTS

log = structlog.get_logger("accounts")

Changed = Callable[[], Awaitable[None]]
"""Asked after a commit that the relay of this process should see at once, such as `Directory.refresh`."""

SYSTEM = "posthouse"
RESERVED = frozenset(
    {SYSTEM, "abuse", "admin", "administrator", "hostmaster", "mailer-daemon", "noreply", "operator", "postmaster",
     "root", "security", "support", "system", "webmaster"}
)  # fmt: skip
MAX_REASON = 500
MAX_NOTE = 2000


class Accounts(SignIn):
    """Members. Operator's calls name a member by handle."""

    def __init__(
        self,
        storage: Storage,
        config: Config,
        clock: Clock,
        vault: Vault,
        passwords: Passwords,
        *,
        changed: Changed | None = None,
    ) -> None:
        super().__init__(storage, config, clock, vault, passwords)
        self._changed = changed
        self._signups = Throttle(config.enrollment.signups_an_address, HOUR)

    # -- making one --------------------------------------------------------------------------------------------

    async def create(
        self,
        handle: str,
        email: str,
        password: str | None,
        *,
        invite: str | None = None,
        by_operator: bool = False,
        address: str = "",
    ) -> Member:
        """A new member. Its owner needs what `enrollment.signup` asks for; the operator needs nothing.

        Raises EnrollError 422 with the field, 403 SIGNUP_CLOSED or INVITE_INVALID, 409 HANDLE_TAKEN, 429, 503.
        """
        handle = _handle(handle)
        email = _email(email) if email or not by_operator else ""
        if password is not None:
            self._passwords.check(password, handle, email)
        elif not by_operator:
            raise invalid("password", "a password is needed")
        code = None if by_operator else await self._admission(handle, invite, address)
        hashed = None
        if password is not None:
            async with self._passwords.turn():
                hashed = await self._passwords.hash(password)

        async def do(tx: Tx) -> int | str:
            now = self._clock.now()
            if code is not None and not await invites.usable(tx, code, now):
                return "invite"
            made = await accounts.add(
                tx, handle=handle, did=default_did(self._config, handle), email=email, password_hash=hashed, now=now
            )
            if made is None:
                return "taken"
            if code is not None and not await invites.use(tx, code, made, now):
                raise _bad_invite()  # used this moment by another process: nothing of this transaction stays
            await versions.bump(tx, versions.DIRECTORY, members=[made])
            return made

        made = await self._storage.write(do)
        if made == "invite":
            raise _bad_invite()
        if isinstance(made, str):
            raise EnrollError(HANDLE_TAKEN, f"The handle {handle} is taken", "handle")
        await self._tell()
        log.info("member.created", handle=handle, by_operator=by_operator)
        return Member.of(await self._row(made))

    async def _admission(self, handle: str, invite: str | None, address: str) -> list[str] | None:
        """The hashes of the invite to use up, or None when none is needed."""
        signup = self._config.enrollment.signup
        if signup == "closed":
            raise EnrollError(SIGNUP_CLOSED, "This relay makes accounts by hand: ask its operator")
        code = self._code_hashes(invite or "") if signup == "invite" else None
        if code is None:
            self._tried(client_key(address))
        else:
            async with self._storage.read() as tx:
                usable = await invites.usable(tx, code, self._clock.now())
            # A right code has a count of its own: whatever others try from an address, it works there.
            self._tried(code[0] if usable else client_key(address))
            if not usable:
                raise _bad_invite()
        if handle in RESERVED:
            raise EnrollError(HANDLE_TAKEN, f"The handle {handle} is taken", "handle")
        return code

    def _tried(self, who: str) -> None:
        """Count one try: by the hash of an invite, or by whence it comes."""
        now = self._clock.monotonic()
        if wait := self._signups.wait(who, now):
            at = self._clock.now() + wait
            raise EnrollError(
                TOO_MANY_REQUESTS, f"Too many accounts tried from here, try again after {not_before(at)}",
                passes_at=at,
            )
        self._signups.count(who, now)

    async def system_member(self) -> Member:
        """The member in whose name the relay itself writes; made at first use."""

        async def do(tx: Tx) -> None:
            made = await accounts.add(
                tx, handle=SYSTEM, did=default_did(self._config, SYSTEM), email="", password_hash=None,
                now=self._clock.now(), system=True,
            )
            if made is not None:
                await versions.bump(tx, versions.DIRECTORY, members=[made])

        async with self._storage.read() as tx:
            row = await accounts.by_handle(tx, SYSTEM)
        if row is None:
            await self._storage.write(do)
            await self._tell()
            async with self._storage.read() as tx:
                row = await accounts.by_handle(tx, SYSTEM)
        assert row is not None
        return Member.of(row)

    # -- invites -----------------------------------------------------------------------------------------------

    async def make_invite(self, note: str = "") -> str:
        """A code with which one account can be made within `invite_days`. Shown once: only its hash is kept."""
        code = f"{INVITE}{secrets.token_urlsafe(18)}"
        now = self._clock.now()
        expires_at = now + self._config.enrollment.invite_days * DAY

        async def do(tx: Tx) -> None:
            await invites.add(tx, code_hash=self._code_hashes(code)[0], note=note[:200], now=now, expires_at=expires_at)

        await self._storage.write(do)
        return code

    async def list_invites(self, *, before: int | None = None, limit: int = 100) -> list[Invite]:
        """The newest invites first, those older than the invite with the id `before`."""
        async with self._storage.read() as tx:
            return [Invite.of(row) for row in await invites.listing(tx, before=before, limit=limit)]

    async def revoke_invite(self, invite_id: int) -> None:
        """Take back an invite that nobody has used. EnrollError 404."""

        async def do(tx: Tx) -> bool:
            return await invites.revoke(tx, invite_id)

        if not await self._storage.write(do):
            raise not_found("There is no such open invite")

    def _code_hashes(self, code: str) -> list[str]:
        """Under the master key in use, then under previous ones."""
        return [mac.hex() for mac in self._vault.macs("invite", code.strip().encode("utf-8", "replace"))]

    # -- looking -----------------------------------------------------------------------------------------------

    async def get(self, handle: str) -> Member:
        """The member with this handle, deleted ones too; EnrollError 404."""
        try:
            wanted = names.handle(handle)
        except names.BadName:
            raise not_found("There is no such member") from None
        async with self._storage.read() as tx:
            row = await accounts.by_handle(tx, wanted)
        if row is None:
            raise not_found("There is no such member")
        return Member.of(row)

    async def by_id(self, member_id: int) -> Member:
        """The member with this id unless deleted; EnrollError 404."""
        return Member.of(await self._row(member_id))

    async def search(
        self, text: str, *, status: str | None = None, before: int | None = None, limit: int = 100
    ) -> list[Member]:
        """Members whose handle, address or DID contains `text`, the newest first, those with ids under `before`."""
        async with self._storage.read() as tx:
            found = await accounts.search(tx, text, status=status, before=before, limit=limit)
        return [Member.of(row) for row in found]

    async def remarks(self, member_id: int) -> tuple[int | None, str]:
        """What the operator has set for a member: its limit of domains (None: the configuration's), and a note."""
        async with self._storage.read() as tx:
            return await accounts.remarks(tx, member_id)

    async def set_note(self, handle: str, note: str) -> Member:
        """The operator's note about a member, which the member never sees. EnrollError 404, 409."""
        member = await self._of_owner(handle)
        await self._storage.write(lambda tx: accounts.set_note(tx, member.id, note[:MAX_NOTE]))
        return member

    # -- what becomes of one -----------------------------------------------------------------------------------

    async def suspend(self, handle: str, reason: str) -> Member:
        """Stop a member from sending, at once; it may still sign in and read why. EnrollError 404, 409."""
        return await self._turn(handle, SUSPENDED, (ACTIVE,), reason[:MAX_REASON], events.MEMBER_SUSPENDED)

    async def release(self, handle: str) -> Member:
        """End a suspension. EnrollError 404, 409."""
        return await self._turn(handle, ACTIVE, (SUSPENDED,), "", events.MEMBER_RELEASED)

    async def _turn(self, handle: str, status: str, was: tuple[str, ...], reason: str, event: str) -> Member:
        member = await self._of_owner(handle)

        async def do(tx: Tx) -> bool:
            now = self._clock.now()
            if not await accounts.set_status(tx, member.id, status, reason=reason, now=now, was=was):
                return False
            await versions.bump(tx, versions.DIRECTORY, members=[member.id])
            await log_rows.append(tx, [Event(event, member.id, now, data={"reason": reason} if reason else {})])
            return True

        if not await self._storage.write(do):
            raise conflict(f"The member is {member.status}")
        await self._tell()
        log.info(event, handle=member.handle)
        return await self.by_id(member.id)

    async def set_operator(self, handle: str, operator: bool) -> Member:
        """Whether a member may open the operator's pages. EnrollError 404."""
        member = await self._of_owner(handle)
        await self._storage.write(lambda tx: accounts.set_operator(tx, member.id, operator))
        return member

    async def reset_factor(self, handle: str) -> bool:
        """Take a member's second factor away and end all sign-ins; False where there is none. EnrollError 404."""
        return await self.second_factor.remove((await self._of_owner(handle)).id, end_sessions=True)

    async def set_max_domains(self, handle: str, limit: int | None) -> Member:
        """Let a member enroll so many domains; None: as many as anybody. Those that it has stay. EnrollError 404."""
        member = await self._of_owner(handle)
        await self._storage.write(lambda tx: accounts.set_max_domains(tx, member.id, limit))
        return member

    async def delete(self, handle: str) -> None:
        """End an account: keys revoked, sign-ins closed, domains deleted with their private keys, e-mail address
        and password forgotten, a DID of its own freed. The handle stays reserved. EnrollError 404, 409."""
        member = await self._of_owner(handle)

        async def do(tx: Tx) -> bool:
            now = self._clock.now()
            was = (ACTIVE, SUSPENDED)
            if not await accounts.set_status(tx, member.id, DELETED, reason="", now=now, was=was):
                return False
            await accounts.forget(tx, member.id, did=default_did(self._config, member.handle))
            revoked = await credentials.revoke_all(tx, member.id, now)
            await sessions.close_all(tx, member.id)
            await second_factors.remove(tx, member.id)
            await transmissions.forget_member(tx, member.id)
            await senders.forget_member(tx, member.id)
            gone_domains = await domains.delete_of_member(tx, member.id, now)
            await versions.bump(
                tx, versions.DIRECTORY, members=[member.id], keys=revoked, domains=[d.id for d in gone_domains]
            )
            await log_rows.append(
                tx,
                [
                    Event(events.DOMAIN_DELETED, member.id, now, domain_id=d.id, data={"domain": d.name})
                    for d in gone_domains
                ],
            )
            return True

        if not await self._storage.write(do):
            raise conflict("The member is deleted already")
        await self._tell()
        log.info("member.deleted", handle=member.handle)

    def is_ours(self, did: str) -> bool:
        """Whether this is one of the DIDs that this relay gives."""
        return did.lower().startswith(did_prefix(self._config).lower())

    async def set_did(self, member_id: int, did: str | None, *, proof: str = "") -> Member:
        """Give the member a DID of its own, or (None) the one that this relay gives it.

        `proof`: a handle that names this DID, and is named by it, at a domain that the member holds. Who had the DID
        until now and proves it no more gets the one that this relay gives. EnrollError 404, 409, DID_NOT_PROVED.
        """
        row = await self._row(member_id)
        own = default_did(self._config, row.handle)
        wanted = own if did is None or did.lower() == own.lower() else did
        if wanted is not own and self.is_ours(wanted):
            raise conflict("That DID belongs to another handle of this relay", "did")

        async def do(tx: Tx) -> None:
            if wanted is not own and (not proof or await holder_of(tx, proof) != member_id):
                raise EnrollError(DID_NOT_PROVED, field="did")
            members = [member_id]
            before = await accounts.by_did(tx, wanted)
            if before is not None and before.id != member_id:
                await accounts.set_did(tx, before.id, default_did(self._config, before.handle))
                members.append(before.id)
            if not await accounts.set_did(tx, member_id, wanted):
                raise conflict("Somebody else takes this DID at this moment: try again", "did")
            await versions.bump(tx, versions.DIRECTORY, members=members)

        await self._storage.write(do)
        await self._tell()
        return await self.by_id(member_id)

    async def _of_owner(self, handle: str) -> Member:
        member = await self.get(handle)
        if member.system:
            raise conflict("That is the relay's own account")
        return member

    async def _tell(self) -> None:
        if self._changed is None:
            return
        try:
            await self._changed()
        except StorageError as e:
            # The change is committed; the relay's own look finds it a moment later.
            log.warning("directory.refresh", cause=str(e))


async def holder_of(tx: Tx, name: str) -> int | None:
    """The member who holds the domain `name` (A-labels), or the nearest one above it that anybody holds."""
    labels = name.split(".")
    above = [".".join(labels[at:]) for at in range(len(labels) - 1)]
    held = {row.name: row.member_id for row in await domains.holders(tx, above)}
    return next((held[one] for one in above if one in held), None)


def _handle(text: str) -> str:
    try:
        return names.handle(text)
    except names.BadName as e:
        raise invalid("handle", e.reason) from None


def _email(text: str) -> str:
    try:
        return names.address(text.strip()).text
    except names.BadName as e:
        raise invalid("email", e.reason) from None


def _bad_invite() -> EnrollError:
    return EnrollError(INVITE_INVALID, "An invite is needed: this code is unknown, used or expired", "invite")
