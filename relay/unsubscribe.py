"""One-click unsubscribe (RFC 8058): token ↔ (member, domain, recipient), the two header lines, the endpoint /u.

A token is encrypted and authenticated, so no address can be read in a URL and none can be made up. GET shows a
page with a button and changes nothing (mail scanners follow links); POST unsubscribes, answers 200, and may be
repeated. Which mail carries the lines is intake's business.
"""

from __future__ import annotations

import html
from collections.abc import Sequence

from aiohttp import web

from relay.base.clock import Clock
from relay.base.config import Config
from relay.base.events import UNSUBSCRIBED, Event
from relay.base.secrets import Vault
from relay.base.storage import Storage, StorageError, Tx, events, suppressions
from relay.base.storage.suppressions import Suppression

_PURPOSE = "unsubscribe"
_MAX_BODY = 8192
_PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<meta name="robots" content="noindex"><title>Unsubscribe</title>
<body><main><h1>{title}</h1><p>{text}</p>{form}</main></body></html>"""
_FORM = (
    '<form method="post"><input type="hidden" name="List-Unsubscribe" value="One-Click">'
    "<button>Unsubscribe</button></form>"
)


class Unsubscribe:
    """Makes and reads tokens; takes people off lists."""

    def __init__(self, storage: Storage, vault: Vault, config: Config, clock: Clock) -> None:
        self._storage, self._vault, self._config, self._clock = storage, vault, config, clock

    def token(self, member_id: int, domain_id: int, canonical: str) -> str:
        """The unreadable token of one recipient of one member's domain."""
        return self._vault.token(_PURPOSE, f"{member_id}\n{domain_id}\n{canonical}".encode())

    def read(self, token: str) -> tuple[int, int, str] | None:
        """(member id, domain id, canonical address), or None for every wrong token alike."""
        plain = self._vault.read_token(_PURPOSE, token) if len(token) <= 1000 else None
        if plain is None:
            return None
        member, domain, canonical = plain.decode().split("\n", 2)
        return int(member), int(domain), canonical

    def lines(self, member_id: int, domain_id: int, canonical: str) -> list[tuple[str, bytes]]:
        """The two header fields (name, octets) of RFC 8058 §3.1 for one recipient."""
        url = f"{self._config.server.public_url}/u/{self.token(member_id, domain_id, canonical)}"
        return [
            ("list-unsubscribe", f"List-Unsubscribe:\r\n <{url}>\r\n".encode("ascii")),
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

    async def apply(self, token: str) -> bool:
        """Take the token's recipient off the member's list; False for a wrong token. Raises StorageError."""
        found = self.read(token)
        if found is None:
            return False
        member_id, domain_id, canonical = found
        now = self._clock.now()

        async def write(tx: Tx) -> None:
            if (member_id, canonical) in await suppressions.find(tx, [(member_id, canonical)]):
                return
            entry = Suppression(0, member_id, canonical, canonical, "unsubscribe", "one-click", now)
            await suppressions.add(tx, [entry])
            await events.append(
                tx, [Event(UNSUBSCRIBED, member_id, now, domain_id, data={"recipient": canonical, "by": "one-click"})]
            )

        await self._storage.write(write)
        return True

    def routes(self) -> list[web.RouteDef]:
        """GET and POST /u/{token}."""
        return [web.get("/u/{token}", self._page), web.post("/u/{token}", self._post)]

    async def _page(self, request: web.Request) -> web.Response:
        if self.read(request.match_info["token"]) is None:
            return _answer(404, "Not found", "This link is not valid.", "")
        return _answer(200, "Unsubscribe", "You will not get mail from this sender any more.", _FORM)

    async def _post(self, request: web.Request) -> web.Response:
        # RFC 8058 §3.2: the POST body says List-Unsubscribe=One-Click; no cookie, no redirect.
        form = await request.content.read(_MAX_BODY)
        wanted = b"list-unsubscribe=one-click"
        flat = b"".join(form.lower().split())
        if wanted not in flat and b'name="list-unsubscribe"one-click' not in flat:
            return _answer(400, "Nothing done", "Press the button to unsubscribe.", _FORM)
        try:
            done = await self.apply(request.match_info["token"])
        except StorageError:
            return _answer(503, "Not now", "Please try again in a few minutes.", _FORM)
        if not done:
            return _answer(404, "Not found", "This link is not valid.", "")
        return _answer(200, "Unsubscribed", "You will not get mail from this sender any more.", "")


def _answer(status: int, title: str, text: str, form: str) -> web.Response:
    page = _PAGE.format(title=html.escape(title), text=html.escape(text), form=form)
    headers = {"Cache-Control": "no-store", "Referrer-Policy": "no-referrer", "X-Content-Type-Options": "nosniff",
               "Content-Security-Policy": "default-src 'none'; form-action 'self'; frame-ancestors 'none'"}
    return web.Response(status=status, text=page, content_type="text/html", headers=headers)


