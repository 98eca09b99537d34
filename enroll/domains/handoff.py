"""Links to one domain's records, for whoever runs its DNS: no account, for some days, until they are revoked.

A token is the link's row, sealed to a link with the master key: it can be neither guessed nor made, and opens nothing
but that domain's records. A wrong, an expired and a revoked one get the same answer. Whoever has it may have DNS looked
at, not more often than anybody; the look never takes anything away from the domain.
"""

from __future__ import annotations

import builtins
from dataclasses import dataclass, field
from typing import Any

from enroll.domains.checking import as_published, hosts_of, records_of
from enroll.domains.model import Domain, load_one
from enroll.domains.service import Domains
from enroll.errors import EnrollError, invalid, not_found
from enroll.records import Change, Left, Record, Standing, change, nsupdate
from relay.base import names
from relay.base.clock import DAY, Clock
from relay.base.config import Config
from relay.base.secrets import Vault, random_id
from relay.base.storage import Storage, Tx, dns_links
from relay.base.storage import domains as rows
from relay.base.storage.dns_links import LinkRow
from relay.notices import Notices, texts
from relay.replies import LIMIT_REACHED, LINK_EXPIRED, TOO_MANY_REQUESTS

_PURPOSE = "dns-link"
_MAX_TOKEN = 200


@dataclass(frozen=True, slots=True)
class DnsLink:
    """A link as the domain's owner sees it. told_at: when the owner was told that everything is there."""

    id: int
    url: str = field(repr=False)
    created_at: float
    expires_at: float
    mailed_to: str
    told_at: float | None


@dataclass(frozen=True, slots=True)
class Opened:
    """What a link opens: the domain, and until when."""

    domain: Domain
    expires_at: float
    told_at: float | None


class Handoff:
    """Makes links, ends them, and knows what one opens."""

    def __init__(
        self, storage: Storage, config: Config, clock: Clock, vault: Vault, notices: Notices, domains: Domains
    ) -> None:
        self._storage, self._config, self._clock, self._vault = storage, config, clock, vault
        self._notices, self._domains = notices, domains

    async def create(self, member_id: int, key: int | str, mail_to: str = "") -> DnsLink:
        """A new link to a domain's records; `mail_to`: an address to mail it to. Raises EnrollError 404, 422, 403 with
        too many links, 429 with too many mailed; NoticeLater."""
        p, now = self._config.publishing, self._clock.now()
        try:
            to = names.address(mail_to).text if mail_to else ""
        except names.BadName as e:
            raise invalid("mailTo", f"This address can't be used: {e.reason}.") from None
        domain = await self._domains.get(member_id, key)

        async def write(tx: Tx) -> LinkRow:
            await rows.hold_enrolling(tx, member_id)
            if len(await dns_links.live(tx, domain.id, now)) >= p.links_a_domain:
                raise EnrollError(LIMIT_REACHED, f"At most {p.links_a_domain} links at once: revoke one.")
            if to and await dns_links.mailed(tx, member_id, now - DAY) >= p.links_mailed_a_day:
                text = f"At most {p.links_mailed_a_day} links are mailed in a day."
                raise EnrollError(TOO_MANY_REQUESTS, text, passes_at=now + DAY)
            return await dns_links.add(
                tx, domain_id=domain.id, nonce=random_id(10), now=now, expires_at=now + p.link_days * DAY, mailed_to=to
            )

        row = await self._storage.write(write)
        link = self._link(row)
        if to:
            # The link first: the letter holds what is made from its row.
            notice = texts.dns_link(domain.name, link.url, p.link_days, self._config)
            try:
                join = await self._notices.prepare(to, notice, about=domain.name)
                await self._storage.write(join)
            except BaseException:
                await self._storage.write(lambda tx: dns_links.revoke(tx, domain.id, row.id, now))
                raise
        return link

    async def list(self, member_id: int, key: int | str) -> builtins.list[DnsLink]:
        """A domain's links that can be used, oldest first. Raises EnrollError 404."""
        domain = await self._domains.get(member_id, key)
        async with self._storage.read() as tx:
            return [self._link(row) for row in await dns_links.live(tx, domain.id, self._clock.now())]

    async def revoke(self, member_id: int, key: int | str, link_id: int) -> None:
        """End a link at once. Raises EnrollError 404."""
        domain, now = await self._domains.get(member_id, key), self._clock.now()
        if not await self._storage.write(lambda tx: dns_links.revoke(tx, domain.id, link_id, now)):
            raise not_found("No such link")

    async def open(self, token: str) -> Opened:
        """What a token opens. Raises EnrollError 410, in the same words for whatever is wrong with it."""
        plain = self._vault.read_token(_PURPOSE, token) if len(token) <= _MAX_TOKEN and token.isascii() else None
        text, _, nonce = (plain or b"").decode("ascii", "replace").partition(".")
        gone = EnrollError(LINK_EXPIRED, "This link is not complete, has ended or was revoked: ask for a new one")
        if not text.isdecimal():
            raise gone
        async with self._storage.read() as tx:
            link = await dns_links.get(tx, int(text))
            if link is None or link.nonce != nonce or link.expires_at <= self._clock.now():
                raise gone
            row = await rows.get(tx, link.domain_id)
            if row is None or row.state == "deleted":
                raise gone
            return Opened(await load_one(tx, row), link.expires_at, link.told_at)

    async def look(self, token: str) -> Domain:
        """Look at the domain's DNS, or answer from a look made just before. Raises EnrollError 410; StorageError."""
        return await self._domains.check((await self.open(token)).domain.id, by="link")

    def updates(self, domain: Domain) -> str:
        """Lines for nsupdate that make the records right, as the last look found the zone."""
        asked = records_of(domain, hosts_of(self._config))
        pairs = zip(asked, as_published(domain, asked), strict=True)
        return nsupdate(found for one, record in pairs if (found := _change(one, record, domain)) is not None)

    def _link(self, row: LinkRow) -> DnsLink:
        token = self._vault.token(_PURPOSE, f"{row.id}.{row.nonce}".encode())
        url = f"{self._config.server.public_url}/dns/{token}"
        return DnsLink(row.id, url, row.created_at, row.expires_at, row.mailed_to, row.told_at)


def _change(asked: Record, record: Record, domain: Domain) -> Change | Left | None:
    """What the last look asks for; `record` is `asked` as its owner enters it. One that was found right needs nothing.
    """
    key = (record.purpose, record.name)
    finding: dict[str, Any] = next((f for f in domain.findings if (f["purpose"], f["name"]) == key), {})
    if finding.get("ok") is True:
        return None
    if not record.value:
        return Left(record, record.note)
    values = tuple(str(one) for one in finding.get("found") or ())
    if any(one.endswith("…") for one in values):
        return Left(record, "What stands at this name is too long to be shown: compare it by hand.")
    alias = next((tuple(one["cname"][:1]) for one in finding.get("servers") or () if one["cname"]), ())
    there = Standing({"CNAME": alias} if alias else {asked.type: values})
    found = change(asked if asked.kind.merges and record.type == asked.type else record, there)
    return Change(record, found.remove) if isinstance(found, Change) else found
