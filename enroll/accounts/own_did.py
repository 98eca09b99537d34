"""A DID of a member's own, taken with proof: its document names a handle at a domain that the member has verified
here, and that handle names the DID. Whoever claims one without holds nobody up.

Also the other way round: the DIDs of handles that this relay answers for.
"""

from __future__ import annotations

from enroll.accounts.identity import AT, default_did, handle_domain, hosted_handle
from enroll.accounts.member import Member
from enroll.accounts.resolution import Resolution
from enroll.accounts.service import Accounts, holder_of
from enroll.errors import EnrollError, invalid, not_found
from relay.base import names
from relay.base.config import Config
from relay.base.storage import Storage, accounts
from relay.base.storage import domains as domain_rows
from relay.replies import DID_NOT_PROVED, DID_UNUSABLE, UNAVAILABLE

_SHOWN = 3


class OwnDids:
    """DIDs that members bring, and those of hosted handles."""

    def __init__(self, storage: Storage, config: Config, accounts: Accounts, resolution: Resolution) -> None:
        self._storage, self._config = storage, config
        self._accounts, self._resolution = accounts, resolution

    # -- taking one ------------------------------------------------------------------------------------------------

    async def use(self, member_id: int, did: str) -> Member:
        """Make this the member's DID, once it is proved. EnrollError 404, 409, 422, DID_NOT_PROVED, UNAVAILABLE."""
        try:
            wanted = names.did(did)
        except names.BadName as e:
            raise EnrollError(DID_UNUSABLE, f"Not a valid did:plc or did:web: {e.reason}", "did") from None
        if self._accounts.is_ours(wanted):
            return await self._accounts.set_did(member_id, wanted)
        return await self._accounts.set_did(member_id, wanted, proof=await self._proof(member_id, wanted))

    async def use_of_handle(self, member_id: int, handle: str) -> Member:
        """The same for the DID that a handle names."""
        try:
            name = names.domain(handle.strip().removeprefix(AT).removeprefix("@"))
        except names.BadName as e:
            raise invalid("handle", e.reason) from None
        found = await self._resolution.did_of(name)
        if found.value is None:
            raise await self._not_proved(member_id, "", found.why, later=found.later)
        return await self.use(member_id, found.value[0])

    async def _proof(self, member_id: int, did: str) -> str:
        """The handle that proves it."""
        document = await self._resolution.handles_of(did)
        if document.value is None:
            raise await self._not_proved(member_id, did, document.why, later=document.later)
        async with self._storage.read() as tx:
            theirs = [h for h in document.value if await holder_of(tx, h) == member_id]
        if not theirs:
            named = ", ".join(document.value[:_SHOWN])
            why = f"its document names {named}, at no domain that you have verified"
            raise await self._not_proved(member_id, did, why)
        reasons, later = [], False
        for handle in theirs:
            found = await self._resolution.did_of(handle)
            if found.value is not None and found.value[0].lower() == did.lower():
                return handle
            reasons.append(found.why or f"{handle} names another DID")
            later = later or found.later
        raise await self._not_proved(member_id, did, "; ".join(reasons), later=later)

    async def _not_proved(self, member_id: int, did: str, why: str, *, later: bool = False) -> EnrollError:
        if later:
            return EnrollError(UNAVAILABLE, f"This could not be looked at just now: {why}. Try again later", "did")
        async with self._storage.read() as tx:
            rows = await domain_rows.all_of_member(tx, member_id)
        held = [row.name for row in rows if row.state in domain_rows.HELD]
        at = held[0] if held else "<domain>"
        cure = (
            f"For a domain of yours that is verified here, publish the TXT record _atproto.{at} with the value "
            f"did={did or '<DID>'}, or the DID at https://{at}/.well-known/atproto-did; and name {AT}{at} in "
            "alsoKnownAs of the DID's document"
        )
        return EnrollError(DID_NOT_PROVED, f"This DID is not proved to be yours: {why}. {cure}", "did")

    # -- answering for one -----------------------------------------------------------------------------------------

    async def hosted(self, host: str) -> str | None:
        """The DID of the handle that is this host name: a member's under this relay's own name, or one that is a
        domain which the member has verified. None for every other."""
        try:
            name = names.domain(host)
        except names.BadName:
            return None
        under = f".{handle_domain(self._config)}"
        async with self._storage.read() as tx:
            if name.endswith(under):
                row = await accounts.by_handle(tx, name.removesuffix(under))
            else:
                row = await accounts.by_handle(tx, name)
                # Anybody may call itself by any name here.
                if row is not None and await holder_of(tx, name) != row.id:
                    return None
        if row is None or row.system or row.status != "active":
            return None
        return row.did

    async def handles_of(self, handle: str) -> tuple[str, list[str]]:
        """(DID, handles) of a member who uses the one that this relay gives. EnrollError 404."""
        member = await self._accounts.get(handle)
        did = default_did(self._config, member.handle)
        # A member who uses a DID of its own is not described by ours.
        if member.status == "deleted" or member.system or member.did != did:
            raise not_found()
        handles = [hosted_handle(self._config, member.handle)]
        async with self._storage.read() as tx:
            if "." in member.handle and await holder_of(tx, member.handle) == member.id:
                handles.insert(0, member.handle)
        return did, handles
