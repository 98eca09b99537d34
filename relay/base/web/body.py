"""Reading a request's body: bytes within a bound, in time, and JSON that every reader reads alike.

JSON is checked before it is built: depth and number of values first, then no key twice, no NaN, no number that
isn't finite, no half of a surrogate pair. What is wrong becomes `Refused`, never a crash.
"""

from __future__ import annotations

import asyncio
import json
import math
import re
from codecs import BOM_UTF8
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

from aiohttp import hdrs, web

from relay.base.web.answers import CONFIG
from relay.replies import INVALID_REQUEST, TOO_LARGE, UNAVAILABLE, Refused, Verdict

# A string never fails to match here, ended or not, so the scan stays linear whatever comes.
_TOKEN = re.compile(rb'"(?:[^"\\]++|\\.)*+"?|[\[\]{},]', re.DOTALL)
_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")
_DEPTH = {b"[": 1, b"{": 1, b"]": -1, b"}": -1}
INLINE_BYTES = 65_536


class UploadMemory:
    """Bytes of request bodies held at once in this process; a request that finds no room is told to come back."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self.held = 0

    @contextmanager
    def room(self, size: int) -> Iterator[None]:
        """Hold `size` bytes for the time of the block. Raises Refused (UNAVAILABLE) when there is no room."""
        if self.held and self.held + size > self._limit:
            raise Refused(Verdict(UNAVAILABLE, saw="too many uploads at once"))
        self.held += size
        try:
            yield
        finally:
            self.held -= size


def reject(says: str, **extra: Any) -> NoReturn:
    """Raise INVALID_REQUEST: `says` is words of ours, with at most a field's name of the client's in it."""
    raise Refused(Verdict(INVALID_REQUEST, saw=says, extra=extra))


async def read_body(request: web.Request, limit: int) -> bytes:
    """The whole body, at most `limit` bytes. The frame sees to it that it arrives in time.

    Raises Refused: TOO_LARGE (by Content-Length already, before anything is read), INVALID_REQUEST when it is
    compressed, comes too slowly, or breaks off.
    """
    if request.headers.get(hdrs.CONTENT_ENCODING, "identity").strip().lower() not in ("identity", ""):
        reject("a compressed body is not taken: leave Content-Encoding out")
    if (request.content_length or 0) > limit:
        raise Refused(Verdict(TOO_LARGE, wanted=str(limit)))
    chunks: list[bytes] = []
    size = 0
    try:
        async for chunk in request.content.iter_any():
            size += len(chunk)
            if size > limit:
                raise Refused(Verdict(TOO_LARGE, wanted=str(limit)))
            chunks.append(chunk)
    except (web.RequestPayloadError, ConnectionError):
        reject("the body broke off")
    return b"".join(chunks)


async def json_body(request: web.Request, limit: int | None = None) -> Any:
    """The body as strict JSON (RFC 8259, I-JSON RFC 7493 §2), at most `limit` bytes (default: the small bound).

    Raises Refused, INVALID_REQUEST or TOO_LARGE. Large bodies are read in a thread.
    """
    http = request.app[CONFIG].http
    kind = request.headers.get(hdrs.CONTENT_TYPE, "").partition(";")[0].strip().lower()
    if kind != "application/json":
        reject("the body must be JSON: send Content-Type: application/json")
    raw = await read_body(request, http.max_small_body_bytes if limit is None else limit)
    if len(raw) <= INLINE_BYTES:
        return json_value(raw, depth=http.max_json_depth, values=http.max_json_values)
    return await asyncio.to_thread(json_value, raw, depth=http.max_json_depth, values=http.max_json_values)


def json_value(raw: bytes, *, depth: int = 32, values: int = 200_000) -> Any:
    """The one value that `raw` (UTF-8) stands for; raises Refused when two readers could differ about it."""
    _bounded(raw, depth, values)
    try:
        value = json.loads(
            raw.decode("utf-8"), object_pairs_hook=_once, parse_constant=_no_constant, parse_float=_finite,
            parse_int=_integer,
        )
    except UnicodeDecodeError:
        reject("the body is not UTF-8")
    except RecursionError:
        reject(f"the JSON is nested deeper than {depth}")
    except json.JSONDecodeError as e:
        if raw.startswith(BOM_UTF8):
            # RFC 8259 §8.1: JSON is sent without one.
            reject("the body begins with a byte order mark: send UTF-8 without one")
        reject(f"not valid JSON at line {e.lineno}, column {e.colno}")
    if _SURROGATE.search(raw):
        # RFC 7493 §2.1: a surrogate that isn't half of a pair is no character.
        _whole_characters(value)
    return value


def _bounded(raw: bytes, depth: int, values: int) -> None:
    level = 0
    for count, token in enumerate(_TOKEN.finditer(raw), 1):
        level += _DEPTH.get(token.group(), 0) if token.end() - token.start() == 1 else 0
        if level > depth:
            reject(f"the JSON is nested deeper than {depth}")
        if count > values:
            reject(f"the JSON has more than {values} parts")


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    # RFC 7493 §2.3: with two members of one name, readers differ in which they take.
    found = dict(pairs)
    if len(found) != len(pairs):
        seen: set[str] = set()
        twice = next(k for k, _ in pairs if k in seen or seen.add(k))  # type: ignore[func-returns-value]
        reject(f"the field {shown(twice)} occurs twice")
    return found


def _no_constant(word: str) -> NoReturn:
    # RFC 8259 §6: NaN and Infinity are not JSON.
    reject(f"{word} is not a JSON number")


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        reject("a number is out of range")
    return number


def _integer(text: str) -> int:
    # RFC 7493 §2.2: beyond 2^53 readers round; nothing here needs more digits.
    if len(text) > 17:
        reject("a number is out of range")
    return int(text)


def _whole_characters(value: Any) -> None:
    waiting: list[Any] = [value]
    while waiting:
        item = waiting.pop()
        if isinstance(item, str):
            try:
                item.encode("utf-8")
            except UnicodeEncodeError:
                reject("a text holds half of a surrogate pair")
        else:
            waiting.extend(_inside(item))


def _inside(item: Any) -> Iterable[Any]:
    if isinstance(item, dict):
        return [*item.keys(), *item.values()]
    return item if isinstance(item, list) else ()


def shown(name: str, length: int = 40) -> str:
    """A client's word as it may stand in an answer: printable, short."""
    cut = name if len(name) <= length else name[:length] + "…"
    return "".join(c if c.isprintable() else "?" for c in cut)
