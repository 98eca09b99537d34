"""What the sandbox took, kept for people: the newest messages within bounds, and the page /sandbox that shows them.

Promises that nothing received is more than text on the page, and that only operators' networks see it. Taking the
mail and answering as the recipient asks is `relay.sandbox`.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from aiohttp import web

from enroll.pages import Renderer
from enroll.pages.guard import NOBODY
from relay.base import names
from relay.base.config import Config
from relay.base.log import one_line
from relay.base.web import is_inside
from relay.replies import NOT_FOUND, Refused
from relay.sandbox import Received, Responder, Store
from relay.verify import AsksRecords, Dmarc, Signature, Spf, dmarc, signatures, spf

_SHOWN_BYTES = 200_000
_LISTED = 200
# A From field with the lines that continue it (RFC 5322 §2.2.3).
_FROM = re.compile(rb"\r\nfrom[ \t]*:([^\r\n]*(?:\r\n[ \t][^\r\n]*)*)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Kept:
    """One kept message with its number."""

    id: int
    received: Received

    def header(self, name: str) -> str:
        """The first field of this name, decoded for display, or ""."""
        wanted = name.lower().encode() + b":"
        head = self.received.raw.partition(b"\r\n\r\n")[0].replace(b"\r\n ", b" ").replace(b"\r\n\t", b" ")
        for line in head.split(b"\r\n"):
            if line.lower().startswith(wanted):
                return names.shown_words(line.partition(b":")[2].strip().decode("utf-8", "replace"))
        return ""


@dataclass(frozen=True, slots=True)
class Judged:
    """What a message's sender is worth, as a receiver would judge it for the client that brought it."""

    spf: Spf
    signatures: list[Signature]
    dmarc: Dmarc

    def rows(self, peer: str) -> list[dict[str, str]]:
        """The card: check, domain, detail, result, remark. Of remote text only names in DNS."""
        shown = [("SPF", self.spf.domain, f"{self._scope()}, from {peer}", self.spf.result, self._kin(self.spf.domain))]
        shown += [
            ("DKIM", s.domain, f"{s.selector} {s.algorithm}", s.result, s.says or self._kin(s.domain))
            for s in self.signatures
        ] or [("DKIM", "", "", "none", "no signature")]
        policy = f"p={self.dmarc.policy}" if self.dmarc.policy else ""
        says = _DMARC.get(self.dmarc.result, "")
        if self.dmarc.testing:
            # RFC 9989 §4.7: a policy that is only being tested is not applied as it stands.
            policy, says = f"{policy} t=y", "; ".join(filter(None, (says, _TESTING)))
        # RFC 9989 §4.4: one proof that belongs to the From is enough.
        shown.append(("DMARC", self.dmarc.domain, policy, self.dmarc.result, says))
        columns = ("check", "domain", "detail", "result", "remark")
        return [dict(zip(columns, map(_text, row), strict=True)) for row in shown]

    def _scope(self) -> str:
        return "envelope sender" if self.spf.scope == "mailfrom" else "HELO name"

    def _kin(self, domain: str) -> str:
        if not (domain and self.dmarc.domain):
            return ""
        same = domain in self.dmarc.aligned or names.same_organization(self.dmarc.domain, domain)
        return "same organisation as From" if same else "different organisation from From"


_DMARC = {
    "none": "the From domain has no DMARC record", "permerror": "there is no single From mailbox",
    "fail": "nothing that passed is aligned with From",
}


_TESTING = "test mode (t=y): receivers apply a policy one step weaker"


class Mailbox:
    """The sandbox's store with somebody waiting at it. `resolver` asks for the messages' DKIM keys; `responder`
    sends back what recipients ask for."""

    def __init__(
        self, resolver: AsksRecords, *, most: int, most_bytes: int, responder: Responder | None = None
    ) -> None:
        self._resolver, self._responder = resolver, responder
        self._store = Store(most, most_bytes)
        self._came = asyncio.Event()

    def keep(self, received: Received) -> None:
        """Take a message in; the oldest go."""
        number = self._store.keep(received)
        if self._responder is not None:
            self._responder.consider(number, received)
        self._came.set()
        self._came = asyncio.Event()

    def newest(self, limit: int = _LISTED) -> Sequence[Kept]:
        """The newest first."""
        return [Kept(number, received) for number, received in self._store.newest()[:limit]]

    def get(self, number: int) -> Kept | None:
        """The message with this number, while it is kept."""
        received = self._store.find(number)
        return None if received is None else Kept(number, received)

    async def wait_for(self, wanted: Callable[[Kept], bool]) -> Kept:
        """The first message that is `wanted`, also one that is here already."""
        while True:
            came = self._came
            for kept in self.newest():
                if wanted(kept):
                    return kept
            await came.wait()

    def answers(self, kept: Kept) -> list[str]:
        """What was sent back for it, in sentences."""
        return [] if self._responder is None else self._responder.said(kept.id)

    async def judged(self, kept: Kept) -> Judged:
        """SPF, DKIM and DMARC of it, asked now."""
        r = kept.received
        found, sender = await asyncio.gather(
            self.authentication(kept), spf(r.peer, r.helo, r.mail_from, self._resolver)
        )
        return Judged(sender, found, await dmarc(_from_domain(r.raw), sender, found, self._resolver))

    async def authentication(self, kept: Kept) -> list[Signature]:
        """What its DKIM signatures are worth now."""
        return await signatures(kept.received.raw, self._resolver)


def sandbox_routes(mailbox: Mailbox, config: Config, renderer: Renderer) -> list[web.RouteDef]:
    """GET /sandbox, /sandbox/{number}, /sandbox/{number}/raw."""

    def allowed(request: web.Request) -> None:
        if not is_inside(request, config.server.trusted_proxies, config.metrics.networks):
            raise Refused(NOT_FOUND)

    def found(request: web.Request) -> Kept:
        allowed(request)
        number = request.match_info["number"]
        kept = mailbox.get(int(number)) if number.isascii() and number.isdigit() and len(number) < 16 else None
        if kept is None:
            raise Refused(NOT_FOUND)
        return kept

    async def listing(request: web.Request) -> web.Response:
        allowed(request)
        rows = [
            {
                "id": k.id, "subject": _text(k.header("subject") or "(no subject)"), "sender": _text(k.header("from")),
                "to": _text(", ".join(k.received.rcpt_to)), "at": k.received.at,
            }
            for k in mailbox.newest()
        ]
        return renderer.page("sandbox.html", NOBODY, rows=rows)

    async def message(request: web.Request) -> web.Response:
        kept = found(request)
        r = kept.received
        facts = {
            "From": kept.header("from"), "To": kept.header("to"), "Envelope sender": f"<{r.mail_from}>",
            "Envelope recipient": ", ".join(r.rcpt_to), "Client": f"{r.helo} [{r.peer}]", "TLS": r.tls or "none",
            "Size": f"{len(r.raw)} octets",
        }
        shown = r.raw[:_SHOWN_BYTES].decode("utf-8", "replace").replace("\r\n", "\n")
        return renderer.page(
            "sandbox_message.html", NOBODY, id=kept.id, subject=_text(kept.header("subject") or "(no subject)"),
            at=r.at, facts={name: _text(value) for name, value in facts.items()}, raw=_visible(shown),
            card=(await mailbox.judged(kept)).rows(r.peer), answers=[_text(a) for a in mailbox.answers(kept)],
            cut=len(r.raw) > _SHOWN_BYTES,
        )

    async def raw(request: web.Request) -> web.Response:
        kept = found(request)
        # Plain text, saved and never rendered: what a stranger wrote must not run under this origin.
        headers = {"Content-Disposition": f'attachment; filename="{kept.id}.eml"'}
        return web.Response(body=kept.received.raw, content_type="application/octet-stream", headers=headers)

    return [
        web.get("/sandbox", listing), web.get("/sandbox/{number}", message), web.get("/sandbox/{number}/raw", raw)
    ]


def _from_domain(raw: bytes) -> str:
    """The domain of the header From, or "" where there isn't exactly one mailbox in exactly one field."""
    head = b"\r\n" + raw.partition(b"\r\n\r\n")[0]
    fields = _FROM.findall(head)
    try:
        return names.single_mailbox(fields[0]).address.domain if len(fields) == 1 else ""
    except names.BadName:
        return ""


def _text(text: str) -> str:
    return one_line(text[:500])


def _visible(text: str) -> str:
    return "\n".join(one_line(line.replace("\t", "    ")) for line in text.split("\n"))
