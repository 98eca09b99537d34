"""/r/<id>: one refusal in full, and the same decision asked again.

Anybody who has the link reads the rule and how to fix it. What says something about the member (its domains, its
suppression list, why it is suspended, whom it wrote to) is shown to that member alone, signed in. Asking again goes
through `intake.preflight`, the call behind every other preflight; nothing is sent or spent.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from aiohttp import hdrs, web

from enroll.pages.guard import Guard, Known, Visitor
from enroll.pages.render import Renderer
from enroll.pages.services import PageServices
from relay import replies
from relay.base import names
from relay.base.clock import DAY, iso
from relay.base.storage import refusals
from relay.base.storage.refusals import RefusalRow
from relay.base.web import answer
from relay.directory import Login
from relay.intake import Check, Recipient, Submission
from relay.replies import NOT_FOUND, Refused, Reply, Verdict

_ID = re.compile(r"[a-z0-9]{8,64}")
_RULES = {reply.name: reply for reply in replies.TABLE}
_MAX_RECIPIENTS = 20
# What a stranger with the link may see of the facts: numbers of a window, and a domain that stands in the
# refused mail anyway.
_OPEN_SAW = frozenset({"rate_limited", "tier_too_small", "domain_mismatch", "from_mismatch", "sender_mismatch"})
_OPEN_WANTED = {
    "domain_mismatch": "an enrolled, verified and enabled domain of the sending member",
    "from_mismatch": "one From header with one mailbox in an enrolled domain of the sending member",
    "sender_mismatch": "Sender and Resent headers with one mailbox in an enrolled domain of the sending member",
    "domain_rests": "an enrolled, verified and enabled domain of the sending member",
    "header_rests": "an enrolled, verified and enabled domain of the sending member",
    "suppressed": "a recipient that is not on the sender's suppression list",
    "member_suspended": "a member in good standing",
}
_OWN_WANTED = {
    "null_sender": "an API key that may use the null sender",
    "not_automatic": "a report (multipart/report) or an automatic reply (Auto-Submitted), when the sender is null",
    "suppressed": "a recipient that is not on your suppression list",
    "member_suspended": "a member in good standing",
    "from_mismatch": "one From header with one mailbox in an enrolled, verified domain of yours",
    "sender_mismatch": "Sender and Resent headers with one mailbox in an enrolled, verified domain of yours",
    "domain_rests": "a verified domain of yours that is not paused, and an API key for it",
    "header_rests": "a verified domain of yours that is not paused, and an API key for it",
}


@dataclass(frozen=True, slots=True)
class RefusalView:
    """A refusal as one reader may see it. `asked` are facts of the request, for the owner only."""

    id: str
    at: float
    door: str
    reply: Reply
    saw: str
    wanted: str
    fix: str
    passes_at: float | None
    tier: str
    own: bool
    asked: list[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Again:
    """What the decision would be now. `key`: the API key in whose name it was asked."""

    checks: list[Check]
    key: str
    note: str = ""

    @property
    def passes(self) -> bool:
        """True when no check refuses."""
        return bool(self.checks) and all(g.verdict is None for g in self.checks)


def refusal_view(row: RefusalRow, public_url: str, member_id: int | None) -> RefusalView | None:
    """The refusal for a reader; None when its rule is not known (any more)."""
    reply = _RULES.get(row.rule)
    if reply is None:
        return None
    own = member_id is not None and row.member_id == member_id
    facts, extra = row.verdict, row.verdict.get("extra") or {}
    saw, wanted = str(facts.get("saw") or ""), str(facts.get("wanted") or "")
    if own:
        wanted = wanted or _OWN_WANTED.get(row.rule, "")
    else:
        saw = saw if row.rule in _OPEN_SAW else ""
        wanted = _OPEN_WANTED.get(row.rule, wanted if row.rule in ("rate_limited", "tier_too_small") else "")
    fix = str((own and facts.get("cure")) or reply.fix)
    return RefusalView(
        id=row.id, at=row.at, door="SMTP" if row.door == "smtp" else "HTTP", reply=reply, saw=saw, wanted=wanted,
        fix=fix.format(account_url=f"{public_url}/account"), passes_at=facts.get("passes_at"),
        tier=str(extra.get("tier") or ""), own=own, asked=_asked(row) if own else [],
    )


def as_json(refusal: RefusalView, public_url: str) -> dict[str, Any]:
    """The refusal in the shape that the request got, with when and where, as far as its reader may see it."""
    verdict = Verdict(
        refusal.reply, saw=refusal.saw or "…", wanted=refusal.wanted or "…", passes_at=refusal.passes_at,
        extra={"tier": refusal.tier} if refusal.tier else {}, reference=refusal.id, cure=refusal.fix,
    )
    said = verdict.json(public_url)
    facts = {k: v for k, v in said["detail"].items() if v != "…"}
    return said | {"detail": facts | {"at": iso(refusal.at), "door": refusal.door.lower()}}


class Refusal:
    """The handlers."""

    def __init__(self, services: PageServices, guard: Guard, renderer: Renderer) -> None:
        self._services, self._guard, self._renderer = services, guard, renderer

    def routes(self) -> list[web.RouteDef]:
        """GET /r/{id}, POST /r/{id}/ask."""
        return [web.get("/r/{id}", self.show), web.post("/r/{id}/ask", self.ask)]

    async def show(self, request: web.Request) -> web.Response:
        """The page, for anybody who has its address."""
        visitor = await self._guard.visitor(request)
        _, refusal = await self._find(request, visitor)
        if "text/html" not in request.headers.get(hdrs.ACCEPT, ""):
            # Programs ask for no page, as with every error.
            return answer(as_json(refusal, self._services.config.server.public_url))
        return self._renderer.page("refusal.html", visitor, refusal=refusal, again=None, max_shown=_MAX_RECIPIENTS)

    async def ask(self, request: web.Request) -> web.Response:
        """The same decision, asked now, for its owner."""
        visitor = await self._guard.known(request)
        await self._guard.form(request, visitor)
        row, refusal = await self._find(request, visitor)
        if not refusal.own:
            raise Refused(NOT_FOUND)
        again = await self._again(visitor, row)
        return self._renderer.page("refusal.html", visitor, refusal=refusal, again=again, max_shown=_MAX_RECIPIENTS)

    async def _find(self, request: web.Request, visitor: Visitor) -> tuple[RefusalRow, RefusalView]:
        services, wanted = self._services, request.match_info["id"]
        row = None
        if _ID.fullmatch(wanted):
            async with services.storage.read() as tx:
                row = await refusals.get(tx, wanted)
        kept_since = services.clock.now() - services.config.retention.refusals_days * DAY
        if row is None or row.at < kept_since:
            raise Refused(NOT_FOUND)
        refusal = refusal_view(row, services.config.server.public_url, visitor.member.id if visitor.member else None)
        if refusal is None:
            raise Refused(NOT_FOUND)
        return row, refusal

    async def _again(self, visitor: Known, row: RefusalRow) -> Again:
        services, member = self._services, visitor.member
        if member.status != "active":
            verdict = Verdict(replies.MEMBER_SUSPENDED, saw=member.reason or "see your account")
            return Again([Check("member", verdict)], "")
        now = services.clock.now()
        keys = [k for k in await services.credentials.list(member.id) if k.state(now) == "live" and "send" in k.scopes]
        # The key with the fewest limits: what it may not do, no other of the member's may.
        keys.sort(key=lambda k: k.domains is not None)
        if not keys:
            return Again([], "", "You have no active API key with the scope send: issue one first.")
        await services.directory.refresh()
        key = keys[0]
        login = Login(
            member_id=member.id, handle=member.handle, did=member.did, key_id=key.id, public_id=key.public_id,
            scopes=frozenset(key.scopes), domains=frozenset(key.domains) if key.domains is not None else None,
            default_category=key.default_category, null_sender=key.null_sender,
        )
        submission, note = _submission(login, row)
        if submission is None:
            return Again([], "", note)
        checks = [g for g in await services.intake.preflight(submission) if g.name in _ASKED_AGAIN]
        return Again(checks, key.description or f"ph_{key.public_id}_…", note)


_ASKED_AGAIN = frozenset({"sender", "recipient", "recipients", "warming"})


def _request(row: RefusalRow) -> tuple[str, list[str]]:
    """(sender, recipients) of the refused request: SMTP and HTTP each recorded what they knew by then."""
    asked, extra = row.request or {}, row.verdict.get("extra") or {}
    sender = asked.get("mail_from") or asked.get("mailFrom") or ""
    to = list(asked.get("to") or asked.get("recipients") or [])
    if extra.get("recipient") and extra["recipient"] not in to:
        to.append(extra["recipient"])
    if not sender:
        # A refused MAIL FROM stands only in the verdict: its domain is what was decided about.
        domain = row.verdict.get("saw") if row.rule == "domain_mismatch" else extra.get("domain")
        sender = f"postmaster@{domain}" if domain else ""
    return str(sender), [str(a) for a in to]


def _categories(row: RefusalRow) -> list[str]:
    """The categories of mail that the recipient's entry on the suppression list stops; none named: all."""
    found = (row.verdict.get("extra") or {}).get("categories")
    return [str(c) for c in found] if isinstance(found, list) else []


def _asked(row: RefusalRow) -> list[tuple[str, str]]:
    sender, to = _request(row)
    facts = [("Envelope sender", sender)] if sender else []
    facts += [("Recipient", a) for a in to[:_MAX_RECIPIENTS]]
    if stopped := _categories(row):
        facts.append(("Stopped", f"only {' and '.join(stopped)} mail; the other categories still go out"))
    size = (row.request or {}).get("size")
    if size:
        facts.append(("Size", f"{size} bytes"))
    helo = (row.request or {}).get("helo")
    if helo:
        facts.append(("Your client identified itself as", str(helo)))
    return facts


def _submission(login: Login, row: RefusalRow) -> tuple[Submission | None, str]:
    """The request once more, with a message of ours in place of the one that was not kept."""
    sender, to = _request(row)
    try:
        mail_from = names.address(sender)
        people = [Recipient(names.address(a)) for a in to[:_MAX_RECIPIENTS]]
    except names.BadName:
        return None, "Not enough is known about the request to check it again: send the message once more."
    note = ""
    if row.rule in ("from_mismatch", "sender_mismatch", "header_rests"):
        note = "The message itself is not kept, so its headers can't be checked again here: use POST /v1/preflight."
    raw = (
        f"From: <{mail_from.text}>\r\nTo: undisclosed-recipients:;\r\nSubject: asked again\r\n\r\n"
    ).encode()
    # One who left one kind of mail only: asked again is about that kind.
    category: Any = (row.request or {}).get("category") or next(iter(_categories(row)), None)
    return (
        Submission(
            login=login, domain=None, door=row.door, mail_from=mail_from, recipients=people, raw=raw,
            category=category if isinstance(category, str) else None,
        ),
        note,
    )
