"""What the sandbox took, kept for people: the newest messages within bounds, and the page /sandbox that shows them.

Promises that nothing received is more than text on the page, and that only operators' networks see it. Taking the
mail and answering as the recipient asks is `relay.sandbox`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from email.header import decode_header, make_header

from aiohttp import web

from enroll.pages import Renderer
from enroll.pages.guard import NOBODY
from relay.base.config import Config
from relay.base.log import one_line
from relay.base.web import client_address, in_networks
from relay.replies import NOT_FOUND, Refused
from relay.sandbox import Answering, Received, Shelf
from relay.verify import AsksTxt, Signature, signatures

_SHOWN_BYTES = 200_000
_LISTED = 200


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
                text = line.partition(b":")[2].strip().decode("utf-8", "replace")
                try:
                    return str(make_header(decode_header(text)))
                except (ValueError, LookupError):
                    return text
        return ""


class Mailbox:
    """The sandbox's shelf with somebody waiting at it. `resolver` asks for the messages' DKIM keys; `answering`
    sends back what recipients ask for."""

    def __init__(
        self, resolver: AsksTxt, *, most: int, most_bytes: int, answering: Answering | None = None
    ) -> None:
        self._resolver, self._answering = resolver, answering
        self._shelf = Shelf(most, most_bytes)
        self._came = asyncio.Event()

    def keep(self, received: Received) -> None:
        """Take a message in; the oldest go."""
        number = self._shelf.keep(received)
        if self._answering is not None:
            self._answering.consider(number, received)
        self._came.set()
        self._came = asyncio.Event()

    def newest(self, limit: int = _LISTED) -> Sequence[Kept]:
        """The newest first."""
        return [Kept(number, received) for number, received in self._shelf.newest()[:limit]]

    def get(self, number: int) -> Kept | None:
        """The message with this number, while it is kept."""
        received = self._shelf.find(number)
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
        return [] if self._answering is None else self._answering.said(kept.id)

    async def authentication(self, kept: Kept) -> list[Signature]:
        """What its DKIM signatures are worth now."""
        return await signatures(kept.received.raw, self._resolver)


def sandbox_routes(mailbox: Mailbox, config: Config, renderer: Renderer) -> list[web.RouteDef]:
    """GET /sandbox, /sandbox/{number}, /sandbox/{number}/raw."""

    def allowed(request: web.Request) -> None:
        if not in_networks(client_address(request, config.server.trusted_proxies), config.metrics.networks):
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
            signatures=await mailbox.authentication(kept), answers=[_text(a) for a in mailbox.answers(kept)],
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


def _text(text: str) -> str:
    return one_line(text[:500])


def _visible(text: str) -> str:
    return "\n".join(one_line(line.replace("\t", "    ")) for line in text.split("\n"))
