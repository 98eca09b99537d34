"""What the sandbox took, kept for people: the newest messages within bounds, and the page /sandbox that shows them.

Promises that nothing received is more than text on the page, and that only operators' networks see it. Taking the
mail and answering as the recipient asks is `relay.sandbox`.
"""

from __future__ import annotations

import asyncio
import html
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from email.header import decode_header, make_header

from aiohttp import web

from relay.base.clock import iso
from relay.base.config import Config
from relay.base.log import one_line
from relay.base.web import client_address, in_networks
from relay.replies import NOT_FOUND, Refused
from relay.sandbox import Received, Shelf
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
    """The sandbox's shelf with somebody waiting at it. `resolver` asks for the messages' DKIM keys."""

    def __init__(self, resolver: AsksTxt, *, most: int, most_bytes: int) -> None:
        self._resolver = resolver
        self._shelf = Shelf(most, most_bytes)
        self._came = asyncio.Event()

    def keep(self, received: Received) -> None:
        """Take a message in; the oldest go."""
        self._shelf.keep(received)
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

    async def authentication(self, kept: Kept) -> list[Signature]:
        """What its DKIM signatures are worth now."""
        return await signatures(kept.received.raw, self._resolver)


def sandbox_routes(mailbox: Mailbox, config: Config) -> list[web.RouteDef]:
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
            [
                f'<a href="/sandbox/{k.id}">{_text(k.header("subject") or "(no subject)")}</a>',
                _text(k.header("from")), _text(", ".join(k.received.rcpt_to)), _text(iso(k.received.at)),
            ]
            for k in mailbox.newest()
        ]
        return _page("Sandbox", _table(["Subject", "From", "To", "Received"], rows, "Nothing has arrived yet."))

    async def message(request: web.Request) -> web.Response:
        kept = found(request)
        r = kept.received
        facts = {
            "From": kept.header("from"), "To": kept.header("to"), "Envelope sender": f"<{r.mail_from}>",
            "Envelope recipient": ", ".join(r.rcpt_to), "Received": iso(r.at), "Client": f"{r.helo} [{r.peer}]",
            "TLS": r.tls or "none", "Size": f"{len(r.raw)} octets",
        }
        checked = await mailbox.authentication(kept)
        rows = [list(map(_text, (s.result, s.domain, s.selector, s.algorithm, s.says))) for s in checked]
        shown = r.raw[:_SHOWN_BYTES].decode("utf-8", "replace").replace("\r\n", "\n")
        cut = "<p>Only the beginning is shown.</p>" if len(r.raw) > _SHOWN_BYTES else ""
        return _page(
            kept.header("subject") or "(no subject)",
            f"{_facts(facts)}<h2>DKIM</h2>"
            + _table(["Result", "Domain", "Selector", "Algorithm", ""], rows, "No signature.")
            + f'<h2>As it arrived</h2><p><a href="/sandbox/{kept.id}/raw">Raw</a></p>'
            + f"<pre>{html.escape(_visible(shown))}</pre>{cut}",
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
    return html.escape(one_line(text[:500]))


def _visible(text: str) -> str:
    return "\n".join(one_line(line.replace("\t", "    ")) for line in text.split("\n"))


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]], empty: str) -> str:
    """`columns` are ours; the cells in `rows` are HTML already."""
    if not rows:
        return f"<p>{empty}</p>"
    head = "".join(f"<th>{c}</th>" for c in columns)
    body = "".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _facts(facts: Mapping[str, str]) -> str:
    return "<dl>" + "".join(f"<dt>{name}</dt><dd>{_text(value)}</dd>" for name, value in facts.items()) + "</dl>"


def _page(title: str, body: str) -> web.Response:
    text = (
        '<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
        f'<title>{_text(title)}</title><body><nav><a href="/sandbox">Sandbox</a></nav>'
        f"<main><h1>{_text(title)}</h1>{body}</main></body></html>"
    )
    return web.Response(text=text, content_type="text/html")
