"""Parameters: from the query, a JSON body or a form, in any letter case; and what each may look like.

Promises bounded reading, and that the body's word counts where the query says otherwise. Unknown parameters are left
alone, a JSON null counts as a parameter left out.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Iterable, Mapping
from typing import Any

from aiohttp import hdrs, web

from enroll.api.octeth.errors import UNREADABLE, Fault, missing, not_found
from relay.base.web import CONFIG, form, json_body, json_value, read_body
from relay.replies import INVALID_REQUEST, Refused

_MAX_BODY_BYTES = 65_536
_URLENCODED = "application/x-www-form-urlencoded"
_MAX_ID = 10**15
_TRUE = ("true", "1", "yes", "on")
_FALSE = ("false", "0", "no", "off")


class Parameters:
    """What a request says, by name; names differ by more than their case."""

    def __init__(self, pairs: Iterable[tuple[str, Any]]) -> None:
        self._values = {name.lower(): value for name, value in pairs if value is not None}

    def has(self, name: str) -> bool:
        """Whether it was given, and not empty."""
        return self.given(name) not in (None, "")

    def given(self, name: str) -> Any:
        """The value as it came; None for one left out."""
        return self._values.get(name.lower())

    def text(self, name: str) -> str:
        """The value as text; "" for none, and for what is neither text nor a number."""
        value = self.given(name)
        if isinstance(value, str):
            return value.strip()
        return str(value) if isinstance(value, int | float) and not isinstance(value, bool) else ""

    def flag(self, name: str) -> bool | None:
        """True or false, as JSON, 0 and 1, or in words; None for one left out. Raises Fault."""
        value = self.given(name)
        if value is None or value == "":
            return None
        word = str(value).strip().lower() if isinstance(value, bool | int | str) else ""
        if word in _TRUE:
            return True
        if word in _FALSE:
            return False
        raise Fault(400, f"{name} is either true or false")

    def domain_id(self) -> int:
        """`DomainID`. Raises Fault: missing, or a number that no domain has."""
        if not self.has("DomainID"):
            raise missing("DomainID")
        if not (found := self.id("DomainID")):
            raise not_found()
        return found

    def id(self, name: str) -> int:
        """A number that something may have; 0 for any other value, and for none."""
        text = self.text(name)
        return int(text) if text.isascii() and text.isdecimal() and len(text) <= 20 and int(text) < _MAX_ID else 0

    def whole(self, name: str, code: int, most: int, otherwise: int | None = None) -> int:
        """A whole number within 0 and `most`; `otherwise` for one left out. Raises Fault `code` where that is None, and
        for what is no such number."""
        if self.given(name) is None and otherwise is not None:
            return otherwise
        if not self.has(name):
            raise missing(name, code)
        text = self.text(name)
        if not (text.isascii() and text.isdecimal()):
            raise Fault(code, f"{name} is a whole number")
        return min(int(text[:20]), most)

    def count(self, name: str, otherwise: int, most: int) -> int:
        """A whole number within 0 and `most`; `otherwise` for one left out, and for what is no number."""
        text = self.text(name)[:20]
        if not (text.removeprefix("-").isascii() and text.removeprefix("-").isdecimal()):
            return otherwise
        return max(0, min(int(text), most))

    def days(self) -> tuple[bool, int | None]:
        """(whether `days` was given, the whole number it says); None where it says none."""
        text = self.text("days")[:400]
        try:
            number = float(text)
        except ValueError:
            number = math.nan
        if math.isnan(number):
            return self.given("days") is not None, None
        return True, int(max(-1.0, min(number, 1e6)))


async def read(request: web.Request) -> Parameters:
    """The parameters of a request; of a PATCH, those of its JSON body only. Raises Refused, Fault."""
    body = await _body(request)
    if request.method == hdrs.METH_PATCH:
        return Parameters(body.items())
    return Parameters([*request.query.items(), *body.items()])


async def _body(request: web.Request) -> Mapping[str, Any]:
    kind = request.headers.get(hdrs.CONTENT_TYPE, "").partition(";")[0].strip().lower()
    if kind == "application/json":
        if request.content_length == 0 or not request.body_exists:
            return {}  # many clients name the type on every request
        return await _object(json_body(request, _MAX_BODY_BYTES))
    if request.method == hdrs.METH_PATCH:
        return {}
    if kind not in (_URLENCODED, "multipart/form-data"):
        return {}
    raw = await read_body(request, _MAX_BODY_BYTES)
    if kind == _URLENCODED and raw.lstrip()[:1] == b"{":
        # Documented examples hand JSON to `curl -d` and name no type: curl then names this one.
        http = request.app[CONFIG].http
        return await _object(asyncio.to_thread(json_value, raw, depth=http.max_json_depth, values=http.max_json_values))
    try:
        found = form.fields(raw, request.headers[hdrs.CONTENT_TYPE], strict=True)
    except form.BadForm:
        raise Fault(UNREADABLE, "The form can't be read") from None
    # RFC 7578 §4.2: each part names its field; one with a file is none of ours.
    return {f.name: f.value for f in found if f.name and not f.file}


async def _object(reading: Awaitable[Any]) -> Mapping[str, Any]:
    try:
        value = await reading
    except Refused as e:
        if e.reply is not INVALID_REQUEST:
            raise
        raise Fault(UNREADABLE, e.verdict.text()) from e
    if not isinstance(value, dict):
        raise Fault(UNREADABLE, "The JSON body must be an object")
    return value
