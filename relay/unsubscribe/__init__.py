"""Unsubscribing by one click (RFC 8058), by mail (RFC 2369) and by a page.

    address    u-<token>@<bounce host>: one recipient of one message
    link       the token in a URL: the same, and it outlives the message's log
    page       /u/<token>: what people and mail providers ask for

Here: the two header lines, and what leaving changes. Leaving may be repeated. Which mail carries the lines is intake's
business, taking mail in is `relay.inbound`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from aiohttp import web

from relay.base import names
from relay.base.clock import Clock
from relay.base.config import Config
from relay.base.events import UNSUBSCRIBED, Event
from relay.base.secrets import Vault
from relay.base.storage import Storage, Tx, events, suppressions
from relay.base.storage.mail.returned import Addressed, addressed
from relay.base.storage.suppressions import Suppression
from relay.unsubscribe import address, link
from relay.unsubscribe.page import Endpoint

__all__ = ["Leaving", "Unsubscribe", "addressee"]


@dataclass(frozen=True, slots=True)
class Leaving:
    """Somebody who can leave: whose list, and the mail that said how. Ids of the message only while its log is kept."""

    member_id: int
    domain_id: int | None
    canonical: str
    original: str
    category: str = "bulk"
    message_id: int | None = None
    recipient_id: int | None = None


async def addressee(tx: Tx, queue_id: str, who: bytes) -> Addressed | None:
    """The recipient that an address of ours names (what `address.read` gives), while the message's log is kept."""
    rows = await addressed(tx, queue_id)
    return next((row for row in rows if address.who(names.canonical(row.address)) == who), None)


class Unsubscribe:
    """Makes and reads tokens; takes people off lists."""

    def __init__(self, storage: Storage, vault: Vault, config: Config, clock: Clock) -> None:
        self._storage, self._vault, self._config, self._clock = storage, vault, config, clock
        self._by_mail = config.suppression.unsubscribe_mail
        self._host = config.bounce_host.lower()

    def token(
        self, member_id: int, domain_id: int, canonical: str, category: str = "bulk", *, queue_id: str = ""
    ) -> str:
        """The unreadable token of one recipient of one message of a member's domain."""
        return link.token(self._vault, link.Link(member_id, domain_id, canonical, category, queue_id))

    def url(
        self, member_id: int, domain_id: int, canonical: str, category: str = "bulk", *, queue_id: str = ""
    ) -> str:
        """Where that recipient leaves by a click."""
        token = self.token(member_id, domain_id, canonical, category, queue_id=queue_id)
        return f"{self._config.server.public_url}/u/{token}"

    async def read(self, token: str) -> Leaving | None:
        """Who leaves by this token; None for every wrong token alike. Raises StorageError."""
        found = link.read(self._vault, token)
        if found is None:
            return None
        row = None
        if found.queue_id:
            async with self._storage.read() as tx:
                row = await addressee(tx, found.queue_id, address.who(found.canonical))
        who = Leaving(found.member_id, found.domain_id, found.canonical, found.canonical, found.category)
        if row is None:
            return who
        return replace(who, original=row.address, message_id=row.message_id, recipient_id=row.id)

    def lines(
        self, member_id: int, domain_id: int, canonical: str, *, queue_id: str, category: str = "bulk"
    ) -> list[tuple[str, bytes]]:
        """The two header fields (name, octets) of RFC 8058 §3.1 for one recipient of one message."""
        ways = f"<{self.url(member_id, domain_id, canonical, category, queue_id=queue_id)}>"
        if self._by_mail:
            # RFC 2369 §2: several ways, the one we like best first.
            local = address.local_part(self._vault, queue_id, canonical)
            ways += f",\r\n <mailto:{local}@{self._host}?subject=unsubscribe>"
        return [
            ("list-unsubscribe", f"List-Unsubscribe:\r\n {ways}\r\n".encode("ascii")),
            ("list-unsubscribe-post", b"List-Unsubscribe-Post: List-Unsubscribe=One-Click\r\n"),
        ]

    def has_own(self, fields: Sequence[tuple[str, bytes]]) -> bool:
        """True if the client's own List-Unsubscribe may stay: one field, https, and one-click."""
        own = [raw for name, raw in fields if name == "list-unsubscribe"]
        post = [raw for name, raw in fields if name == "list-unsubscribe-post"]
        if len(own) != 1 or len(post) != 1:
            return False
        one_click = post[0].partition(b":")[2].strip().lower() == b"list-unsubscribe=one-click"
        return one_click and b"<https://" in own[0].lower()

    def claims(self, path: names.Address) -> bool:
        """True for an address that this relay made, whoever it may have been for. Asks nobody."""
        return path.domain == self._host and address.read(self._vault, path.local) is not None

    async def whose(self, path: names.Address) -> Leaving | None:
        """Who leaves by mail to this address; None for every wrong one alike: forged, cut, of another domain, or of
        a message whose log is no longer kept. Raises StorageError."""
        found = address.read(self._vault, path.local)
        if found is None or path.domain != self._host:
            return None
        async with self._storage.read() as tx:
            row = await addressee(tx, *found)
        if row is None:
            return None
        canonical = names.canonical(row.address)
        return Leaving(row.member_id, row.domain_id, canonical, row.address, row.category, row.message_id, row.id)

    async def apply(self, token: str, only: str = "") -> bool:
        """Take the token's recipient off the member's list, for one category or (`only` "") for all; False for a
        wrong token. Raises StorageError."""
        found = await self.read(token)
        if found is None:
            return False
        await self.leave(found, "one-click" if not only else "page", only)
        return True

    async def leave(self, who: Leaving, by: str, only: str = "") -> None:
        """Put `who` on the list; `by` is the way that was taken. A second time changes nothing. Raises StorageError."""
        now = self._clock.now()
        entry = Suppression(0, who.member_id, who.canonical, who.original, "unsubscribe", by, now, only)

        async def write(tx: Tx) -> None:
            [found], [changed] = await suppressions.take(tx, who.member_id, [entry])
            if not changed:
                return
            data = {"recipient": who.original, "by": by, "category": who.category,
                    "stops": found.categories.split() or "all"}
            await events.append(
                tx,
                [Event(UNSUBSCRIBED, who.member_id, now, who.domain_id, who.message_id, who.recipient_id, data)],
            )

        await self._storage.write(write)

    def routes(self) -> list[web.RouteDef]:
        """GET and POST /u/{token}."""
        return Endpoint(self._category, self.apply).routes()

    def _category(self, token: str) -> str | None:
        found = link.read(self._vault, token)
        return found.category if found is not None else None
