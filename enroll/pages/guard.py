"""Who is reading, and whether a form was sent from our own page.

A visitor is known by the session cookie, never by an API key. A form passes three fences: the cookie is SameSite=Lax,
a browser that names another site is turned away, and the form repeats a token that other sites can't read: the
session's, or, before anybody is signed in, that of a cookie made for the form. What a visitor may see of others'
things is left to the services: they answer 404.
"""

from __future__ import annotations

import asyncio
import hmac
import re
import secrets
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from urllib.parse import quote, urlsplit

from aiohttp import BodyPartReader, hdrs, web

from enroll.accounts import Member
from enroll.errors import EnrollError
from enroll.pages.services import PageServices
from enroll.sessions import Session, clear_cookie, cookie_name, proven
from relay.base.web import form, read_body
from relay.replies import FORM_EXPIRED, INVALID_REQUEST, INVALID_VALUE, TOO_LARGE, UNSUPPORTED_MEDIA

MAX_FORM_BYTES = 65_536
_TOKEN = re.compile(r"[A-Za-z0-9_-]{32}")
_FORM_SECONDS = 7200
_MAX_PARTS = 10
# What a member may do before setting up the second factor that the operator demands.
_WITHOUT_FACTOR = ("/account/second-factor", "/account/sign-out")

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Redirect(Exception):
    """The reader has to go to another page of ours first; its text is that page's path."""


@dataclass(frozen=True, slots=True)
class Visitor:
    """Somebody reading. `member` and `session` are None for a stranger; `csrf` goes into every form."""

    address: str
    member: Member | None
    session: Session | None
    csrf: str


NOBODY = Visitor("", None, None, "")
"""Somebody of whom nothing is known, for pages that don't ask."""


@dataclass(frozen=True, slots=True)
class Known(Visitor):
    """A visitor who is signed in."""

    member: Member
    session: Session


@dataclass(frozen=True, slots=True)
class Form:
    """The fields of a form that passed the fences."""

    fields: tuple[tuple[str, str], ...] = ()

    def text(self, name: str, most: int = 1024) -> str:
        """A field's text without blanks around it, "" when absent. EnrollError 422 over `most` characters."""
        found = next((v for k, v in self.fields if k == name), "").strip()
        if len(found) > most:
            raise EnrollError(INVALID_VALUE, f"at most {most} characters", name)
        return found

    def secret(self, name: str) -> str:
        """A field as it was typed, blanks and all."""
        return next((v for k, v in self.fields if k == name), "")

    def every(self, name: str) -> list[str]:
        """All values of a field that may stand several times."""
        return [v for k, v in self.fields if k == name]

    def ticked(self, name: str) -> bool:
        """Whether a box is ticked."""
        return any(k == name for k, _ in self.fields)

    def words(self, name: str) -> list[str]:
        """A field's words, parted by blanks, commas or line ends."""
        return [w for w in re.split(r"[\s,;]+", self.text(name, 8192)) if w]

    def given(self, names: Iterable[str]) -> dict[str, str]:
        """What was typed into these fields, to show it again."""
        return {name: self.secret(name) for name in names}


class Guard:
    """Knows visitors and reads forms."""

    def __init__(self, services: PageServices) -> None:
        self._services = services

    async def visitor(self, request: web.Request) -> Visitor:
        """Whoever it is. Raises Refused TOO_MANY_REQUESTS, StorageError."""
        services = self._services
        who = await services.authenticator.by_cookie(request)
        if who is not None and who.session is not None:
            return Known(who.address, who.member, who.session, who.session.csrf)
        return Visitor(services.authenticator.visitor(request), None, None, self.form_token(request))

    async def known(self, request: web.Request) -> Known:
        """Somebody signed in; raises the redirect to the sign-in otherwise."""
        visitor = await self.visitor(request)
        if isinstance(visitor, Known):
            lacks = self._services.authenticator.lacks_factor(visitor.session)
            if lacks and not request.path.startswith(_WITHOUT_FACTOR):
                raise Redirect("/account/second-factor")
            return visitor
        back = request.path_qs if request.method in (hdrs.METH_GET, hdrs.METH_HEAD) else "/account"
        raise Redirect("/account" if back == "/account" else f"/account?next={quote(back, safe='/')}")

    async def form(self, request: web.Request, visitor: Visitor) -> Form:
        """The form of a POST. Raises EnrollError 403 when it doesn't come from our own page, 400 when unreadable."""
        # A mistake in any one fence is caught by another.
        self._services.authenticator.own_page(request)
        form = await _read(request)
        self._repeated(request, visitor, form.secret("csrf"))
        return form

    async def upload(self, request: web.Request, visitor: Visitor, limit: int) -> tuple[Form, bytes]:
        """The fields of a form with a file, which comes last, and the file, at most `limit` bytes. Raises the same,
        and EnrollError 413 for a larger file."""
        self._services.authenticator.own_page(request)
        if request.content_type != "multipart/form-data":
            # Not what a browser makes of our page, so there is no file in it.
            await self.form(request, visitor)
            raise EnrollError(INVALID_VALUE, "Choose a file", "file")
        try:
            async with asyncio.timeout(self._services.config.http.read_timeout_seconds):
                form, raw = await self._parts(request, visitor, limit)
        except (ValueError, AssertionError, TimeoutError, ConnectionError, web.RequestPayloadError):
            raise EnrollError(INVALID_REQUEST, "The form can't be read, or did not arrive in time") from None
        return form, raw

    async def _parts(self, request: web.Request, visitor: Visitor, limit: int) -> tuple[Form, bytes]:
        # RFC 7578 §5.2: fields come in the order of the form.
        fields: list[tuple[str, str]] = []
        parts = await request.multipart()
        for _ in range(_MAX_PARTS):
            part = await parts.next()
            if not isinstance(part, BodyPartReader):
                break
            if part.filename is None:
                value = await _bounded(part, MAX_FORM_BYTES)
                fields.append((part.name or "", value.decode("utf-8").replace("\0", "")))
                continue
            # Whose form it is, is known before a byte of the file is kept.
            form = Form(tuple(fields))
            self._repeated(request, visitor, form.secret("csrf"))
            return form, await _bounded(part, limit)
        raise EnrollError(INVALID_VALUE, "Choose a file", "file")

    def _repeated(self, request: web.Request, visitor: Visitor, given: str) -> None:
        """Raises EnrollError 403 unless the form repeats the token it was given."""
        if visitor.session is not None:
            right = proven(visitor.session, given)
        else:
            cookie = request.cookies.get(self._form_cookie(), "")
            right = bool(_TOKEN.fullmatch(cookie)) and hmac.compare_digest(
                cookie.encode(), given.encode("utf-8", "replace")
            )
        if not right:
            raise EnrollError(
                FORM_EXPIRED,
                "This form has expired, or was not sent from our own page. Go back, reload the page and try again",
            )

    def offering(self, response: web.Response, visitor: Visitor) -> web.Response:
        """The response of a page with a form for strangers: hands out the token that the form repeats."""
        if visitor.session is None:
            response.set_cookie(
                self._form_cookie(), visitor.csrf, max_age=_FORM_SECONDS, path="/", httponly=True, samesite="Lax",
                secure=self._form_cookie().startswith("__Host-"),
            )
        return response

    def signed_out(self, response: web.StreamResponse) -> None:
        """Take the session cookie back."""
        clear_cookie(response, self._services.config)

    def form_token(self, request: web.Request) -> str:
        """The token that a stranger's form repeats."""
        kept = request.cookies.get(self._form_cookie(), "")
        return kept if _TOKEN.fullmatch(kept) else secrets.token_urlsafe(24)

    def _form_cookie(self) -> str:
        return f"{cookie_name(self._services.config)}-form"


def inside(path: str) -> str:
    """`path` if it leads to a page of ours for members, else "/account": no open redirect."""
    parts = urlsplit(path)
    plain = not parts.scheme and not parts.netloc and path.isascii() and path.isprintable() and "\\" not in path
    ours = parts.path in ("/account", "/enroll", "/help", "/operator")
    ours = ours or parts.path.startswith(("/account/", "/operator/", "/r/"))
    return path if plain and ours and not path.startswith("//") else "/account"


async def _bounded(part: BodyPartReader, limit: int) -> bytes:
    chunks: list[bytes] = []
    size = 0
    while chunk := await part.read_chunk(65_536):
        size += len(chunk)
        if size > limit:
            raise EnrollError(TOO_LARGE, f"The file is larger than {limit // 1024} KiB", "file")
        chunks.append(chunk)
    return b"".join(chunks)


async def _read(request: web.Request) -> Form:
    kind = request.headers.get(hdrs.CONTENT_TYPE, "").partition(";")[0].strip().lower()
    if kind != "application/x-www-form-urlencoded":
        raise EnrollError(UNSUPPORTED_MEDIA, "A form is sent as application/x-www-form-urlencoded")
    raw = await read_body(request, MAX_FORM_BYTES)
    try:
        found = form.fields(raw, kind, strict=True)
    except form.BadForm:
        raise EnrollError(INVALID_REQUEST, "The form can't be read") from None
    if any("\0" in f.name or "\0" in f.value for f in found):
        raise EnrollError(INVALID_REQUEST, "The form can't be read")
    return Form(tuple((f.name, f.value) for f in found))
