"""The endpoint /u/<token>: GET shows buttons and changes nothing, POST unsubscribes (RFC 8058 §3.2).

Mail scanners follow links, so only a POST counts. No cookie, no redirect, no script; every wrong token gets the same
page.
"""

from __future__ import annotations

import html
from collections.abc import Awaitable, Callable

from aiohttp import hdrs, web

from relay.base.storage import StorageError
from relay.base.web import form, read_body
from relay.replies import Refused

_MAX_BODY = 65_536
_PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<meta name="robots" content="noindex"><title>Unsubscribe</title>
<body><main><h1>{title}</h1><p>{text}</p>{form}</main></body></html>"""
_FORM = (
    '<form method="post"><input type="hidden" name="List-Unsubscribe" value="One-Click">'
    "{more}<button>{words}</button></form>"
)
_ONLY = '<input type="hidden" name="only" value="{category}">'
_KINDS = {"bulk": "newsletters and other mail to many", "broadcast": "announcements"}
"""What can be left alone, in the reader's words."""

Category = Callable[[str], str | None]
"""token → the category of the mail it came with; None for a wrong token."""
Apply = Callable[[str, str], Awaitable[bool]]
"""(token, only this category or "") → False for a wrong token. Raises StorageError."""


class Endpoint:
    """GET and POST of one path."""

    def __init__(self, category: Category, apply: Apply) -> None:
        self._category, self._apply = category, apply

    def routes(self) -> list[web.RouteDef]:
        """GET and POST /u/{token}."""
        return [web.get("/u/{token}", self.show), web.post("/u/{token}", self.post)]

    async def show(self, request: web.Request) -> web.Response:
        """What can be asked for."""
        category = self._category(request.match_info["token"])
        if category is None:
            return _answer(404, "Not found", "This link is not valid.")
        return _answer(
            200, "Unsubscribe", "Press the button, and this sender's mail does not come any more.", _forms(category)
        )

    async def post(self, request: web.Request) -> web.Response:
        """Do it: by a mail provider's one click, or by a button of the page."""
        token = request.match_info["token"]
        category = self._category(token)
        try:
            said, only = await self._asked(request)
        except Refused as e:
            return _answer(e.verdict.reply.http, "Nothing done", "What was sent can't be read.", _forms(category or ""))
        if category is not None and (not said or only not in ("", category)):
            return _answer(400, "Nothing done", "Press the button to unsubscribe.", _forms(category))
        try:
            done = category is not None and await self._apply(token, only)
        except StorageError:
            return _answer(503, "Not now", "Please try again in a few minutes.", _forms(category or ""))
        if not done:
            return _answer(404, "Not found", "This link is not valid.")
        if only:
            return _answer(200, "Unsubscribed", f"You will not get {_KINDS[only]} from this sender any more. Other "
                           "mail may still come.", _forms(""))
        return _answer(200, "Unsubscribed", "You will not get mail from this sender any more, unless you ask for it "
                       "(such as a link to sign in).")

    async def _asked(self, request: web.Request) -> tuple[bool, str]:
        """(whether the form asks for it, for which category only). Raises Refused where there is no whole body."""
        raw = await read_body(request, _MAX_BODY)
        try:
            found = form.fields(raw, request.headers.get(hdrs.CONTENT_TYPE, ""))
        except form.BadForm:
            return False, ""
        # RFC 8058 §3.2: the POST says List-Unsubscribe=One-Click, in either form. Whoever presses a button of ours
        # says so, too; an empty POST, as a link checker might send, asks for nothing.
        said = any(_word(f.name) == "list-unsubscribe" and _word(f.value) == "one-click" for f in found)
        return said, next((f.value for f in found if f.name == "only"), "")


def _word(text: str) -> str:
    return text.strip().lower()


def _forms(category: str) -> str:
    forms = _FORM.format(more="", words="Unsubscribe from everything")
    if category in _KINDS:
        forms += _FORM.format(more=_ONLY.format(category=category), words=f"Only from {_KINDS[category]}")
    return forms


def _answer(status: int, title: str, text: str, form: str = "") -> web.Response:
    page = _PAGE.format(title=html.escape(title), text=html.escape(text), form=form)
    headers = {"Cache-Control": "no-store", "Referrer-Policy": "no-referrer", "X-Content-Type-Options": "nosniff",
               "Content-Security-Policy": "default-src 'none'; form-action 'self'; frame-ancestors 'none'"}
    return web.Response(status=status, text=page, content_type="text/html", headers=headers)
