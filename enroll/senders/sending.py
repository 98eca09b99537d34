"""`SendingDomains`: the domains of a member's sender addresses, to be published as CNAMEs alone.

A domain that nobody at this member has enrolled is enrolled by itself, with its records in the relay's own zone; its
keys are made in the background, and by the clock where this process ends before. Its life is `domains`' business.

Public mailbox providers (`Mailboxes`) are domains at which everybody may have an address, so nobody can prove them: an
address at one may be a sender's; the domain never becomes a sending domain. The operator may name further ones.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import structlog

from enroll.domains import Domain, Domains
from enroll.domains.model import load
from enroll.errors import EnrollError, not_found
from enroll.senders.model import read_address
from relay.base import names
from relay.base.config import Config
from relay.base.domain_options import Options
from relay.base.storage import Storage, Tx
from relay.base.storage import domains as domain_rows
from relay.base.storage import senders as rows
from relay.directory import paused_of
from relay.replies import DOMAIN_NOT_READY, HOSTED_ZONE_MISSING, NO_SENDER, RECORDS_MISSING, Refused

PROVIDERS = frozenset({
    "126.com", "139.com", "163.com", "abv.bg", "alice.it", "aol.com", "arcor.de", "att.net", "bell.net",
    "bellsouth.net", "bigpond.com", "bluewin.ch", "bol.com.br", "btinternet.com", "centrum.cz", "charter.net",
    "comcast.net", "cox.net", "daum.net", "duck.com", "earthlink.net", "email.com", "fastmail.com", "fastmail.fm",
    "foxmail.com", "free.fr", "freenet.de", "gmail.com", "gmx.at", "gmx.ch", "gmx.com", "gmx.de", "gmx.net",
    "googlemail.com", "hanmail.net", "hey.com", "home.nl", "hotmail.co.uk", "hotmail.com", "hotmail.de", "hotmail.es",
    "hotmail.fr", "hotmail.it", "hushmail.com", "icloud.com", "inbox.lv", "inbox.ru", "interia.pl", "juno.com",
    "kpnmail.nl", "laposte.net", "libero.it", "list.ru", "live.co.uk", "live.com", "live.de", "live.fr", "live.nl",
    "mac.com", "mail.com", "mail.de", "mail.ru", "mailbox.org", "me.com", "msn.com", "naver.com", "o2.pl", "online.de",
    "onet.pl", "op.pl", "optonline.net", "orange.fr", "outlook.com", "outlook.de", "outlook.es", "outlook.fr", "pm.me",
    "poczta.onet.pl", "posteo.de", "proton.me", "protonmail.ch", "protonmail.com", "qq.com", "rambler.ru",
    "rediffmail.com", "rocketmail.com", "rogers.com", "sapo.pt", "sbcglobal.net", "seznam.cz", "sfr.fr", "shaw.ca",
    "sina.com", "sohu.com", "sympatico.ca", "t-online.de", "telenet.be", "tiscali.it", "tuta.com", "tuta.io",
    "tutanota.com", "ukr.net", "uol.com.br", "verizon.net", "virgilio.it", "virginmedia.com", "wanadoo.fr", "web.de",
    "windowslive.com", "wp.pl", "ya.ru", "yahoo.ca", "yahoo.co.in", "yahoo.co.jp", "yahoo.co.uk", "yahoo.com",
    "yahoo.com.au", "yahoo.com.br", "yahoo.de", "yahoo.es", "yahoo.fr", "yahoo.it", "yandex.com", "yandex.ru",
    "yeah.net", "ymail.com", "zoho.com", "zohomail.com",
})  # fmt: skip


class Mailboxes:
    """Knows which domains are public mailbox providers'."""

    def __init__(self, config: Config) -> None:
        self._known = PROVIDERS | {name.strip().lower().rstrip(".") for name in config.senders.public_mailboxes}

    def public(self, domain: str) -> bool:
        """True for a provider's domain (A-labels), and for names below it."""
        return domain in self._known or any(parent in self._known for parent in names.parents(domain))


log = structlog.get_logger("senders")
MAX_RECORDS = 5
ADVICE = (
    "Wait at least 1 hour after publishing before you authenticate for the first time, then 4 hours between tries; "
    "DNS may take up to 48 hours to spread. After that, compare the records with what your DNS provider shows."
)
"""When to ask again, in the order in which it matters."""
_OPTIONS = {"hosted": True, "return_path": True}
Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Alias:
    """One CNAME to publish. verified: whether the last look found it leading to what it should; None: not known."""

    host: str
    value: str
    verified: bool | None


class SendingDomains:
    """A member's sending domains. Every call names the member; another member's are not there."""

    def __init__(self, storage: Storage, config: Config, domains: Domains) -> None:
        self._storage, self._config, self._domains = storage, config, domains
        self._mailboxes = Mailboxes(config)
        self._finishing: set[asyncio.Task[None]] = set()

    # -- appearing -----------------------------------------------------------------------------------------------

    async def begin(self, tx: Tx, member_id: int, domain: str) -> int | None:
        """Within `commit`, enroll the domain of a proved address unless the member has it; its id for `finish`.

        None where there is nothing to enroll: it is there, it is a public mailbox provider's or a public suffix, or
        this relay has no zone for members' records. Raises EnrollError 403 LIMIT_REACHED.
        """
        if not self._config.hosted_zone or self._mailboxes.public(domain):
            return None
        try:
            name = names.enrollable(domain)
        except names.BadName:
            return None
        return await self._domains.begin(tx, member_id, name, _OPTIONS)

    async def commit(self, do: Callable[[Tx], Awaitable[Result]]) -> Result:
        """A transaction in which `begin` may be called."""
        return await self._domains.commit(do)

    def finish(self, domain_id: int | None) -> None:
        """Make the keys of a domain that was begun, in the background."""
        if domain_id is not None:
            task = asyncio.create_task(self._keys(domain_id), name=f"keys-{domain_id}")
            self._finishing.add(task)
            task.add_done_callback(self._finishing.discard)

    async def _keys(self, domain_id: int) -> None:
        try:
            await self._domains.finish(domain_id)
        except Refused as e:
            log.info("sender.keys_later", domain_id=domain_id, code=e.code)
        except Exception:
            # The clock tries again within a minute.
            log.exception("sender.keys_later", domain_id=domain_id)

    async def settled(self) -> None:
        """Wait for what is made in the background."""
        while self._finishing:
            await asyncio.gather(*self._finishing, return_exceptions=True)

    # -- reading -------------------------------------------------------------------------------------------------

    async def need_details(self, member_id: int) -> None:
        """Raises as `find` does where no sending domain can be asked for at all."""
        async with self._storage.read() as tx:
            await self._linked(tx, member_id)

    async def find(
        self, member_id: int, *, names: Sequence[str] | None = None, ids: Sequence[str] | None = None
    ) -> list[Domain]:
        """Those with one of these names (A-labels) and one of these ids, where given; by number.

        Raises EnrollError NO_SENDER when nothing is asked for, or none of what is asked for is
        linked to sender details; 501 without a zone for members' records. An unknown id finds nothing, nor does an
        empty list.
        """
        async with self._storage.read() as tx:
            linked = await self._linked(tx, member_id)
            if names is None and ids is None:
                raise _unlinked("name a domain or an id in the filter")
            if any(given is not None and not given for given in (names, ids)):
                return []
            wanted = [n for n in names or () if n in linked and not self._mailboxes.public(n)]
            if names and not wanted:
                raise _unlinked(
                    "public mailbox domains never become sending domains"
                    if any(self._mailboxes.public(n) for n in names)
                    else "no sender details have an address at this domain: create them first"
                )
            found = []
            for key in wanted or ids or ():
                row = await domain_rows.of_member(tx, member_id, key)
                if row is not None and row.state != "deleted" and not (ids and row.uuid not in ids):
                    found.append(row)
            shown = [row for row in {r.id: r for r in found}.values() if row.name in linked]
            if found and not shown:
                raise _unlinked("no sender details have an address at this domain: create them first")
            return await load(tx, sorted(shown, key=lambda row: row.id))

    async def get(self, member_id: int, id: str) -> Domain:
        """One by its UUID. Raises as `find`, and EnrollError 404."""
        found = await self.find(member_id, ids=[id])
        if not found:
            raise not_found("No such sending domain")
        return found[0]

    async def _linked(self, tx: Tx, member_id: int) -> set[str]:
        linked = await rows.linked_domains(tx, member_id)
        if not linked:
            raise _unlinked("there are no sender details yet: verify a sender email and create them first")
        if not self._config.hosted_zone:
            raise EnrollError(
                HOSTED_ZONE_MISSING, "This relay keeps no zone for members' records ([dns] hosted_zone), so it "
                "can't hand out CNAMEs: enroll the domain at /enroll or by POST /v1/domains",
            )
        return linked

    def records(self, domain: Domain) -> list[Alias]:
        """The CNAMEs that the domain's state depends on, five at most; none while `initializing`."""
        if domain.state == "initializing":
            return []
        wanted = [r for r in self._domains.records(domain, "cname") if r.needed and r.type == "CNAME"]
        found = [Alias(r.name, r.value.rstrip("."), domain.flags.get(r.name)) for r in wanted]
        if len(found) > MAX_RECORDS:
            # A parent's consent makes one more: what is still missing comes first, so that the list is worked through.
            found.sort(key=lambda alias: alias.verified is True)
        return found[:MAX_RECORDS]

    # -- authenticating ------------------------------------------------------------------------------------------

    async def authenticate(self, member_id: int, id: str) -> Domain:
        """Look at the domain's DNS, as its owner's Verify does; returns it `verified` or `disabled`.

        Raises as `get`; EnrollError DOMAIN_NOT_READY without keys, RECORDS_MISSING with
        what was found.
        """
        domain = await self.get(member_id, id)
        if domain.state == "initializing":
            raise EnrollError(
                DOMAIN_NOT_READY, "The records are still being made: ask again in a minute, then "
                f"publish them. {ADVICE}",
            )
        domain = await self._domains.check(domain.id)
        if domain.state in domain_rows.HELD:
            return domain
        extra = {"records": [self._finding(f, domain) for f in domain.findings if f["required"]]}
        if domain.state in ("suspended", "blocked"):
            text = f"The domain is {domain.state} ({domain.reason or 'ask the operator'}): only the operator lifts that"
        else:
            wrong = [f["name"] for f in domain.findings if f["required"] and f["ok"] is not True]
            text = f"Not found as they should be: {', '.join(wrong)}. {ADVICE}"
        raise EnrollError(RECORDS_MISSING, text, extra=extra)

    def _finding(self, finding: dict[str, Any], domain: Domain) -> dict[str, Any]:
        value = next((a.value for a in self.records(domain) if a.host == finding["name"]), None)
        return {
            "host": finding["name"], "value": value, "verified": finding["ok"],
            "found": list(finding.get("found") or ()), "description": finding.get("says") or "",
        }

    # -- sending -------------------------------------------------------------------------------------------------

    async def actual_from(self, member_id: int, address: str, *, may_use: Callable[[str], bool]) -> str:
        """The address that mail from `address` really bears: itself on a verified domain of the member, else the same
        mailbox at its default verified domain, or at its first one; of those domains that `may_use` allows.

        Raises EnrollError 422; DOMAIN_NOT_READY without any.
        """
        asked = read_address(address, "from")
        async with self._storage.read() as tx:
            found = await domain_rows.all_of_member(tx, member_id)
        verified = [d for d in found if d.state == "verified" and may_use(d.name)]
        if any(d.name == asked.domain for d in verified):
            return asked.text
        chosen = (d for d in verified if Options.read(d.options).default_sender)
        default = next(chosen, verified[0] if verified else None)
        if default is None:
            paused = next((paused_of(d) for d in found if d.name == asked.domain and may_use(d.name)), None)
            why = paused.says if paused else "No domain of yours is authenticated yet"
            text = f"{why}: mail from this address is refused until that changes"
            raise EnrollError(DOMAIN_NOT_READY, text, "from")
        return f"{asked.local}@{default.name}"


def _unlinked(why: str) -> EnrollError:
    return EnrollError(NO_SENDER, why)
