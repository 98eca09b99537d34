"""Reading a query of transmissions: filters, sort, cursor.

Promises that what isn't offered is refused with the field's name; and that a cursor holds all of the query that it
goes on with, and nothing but what that query could have asked for.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NoReturn, cast

from pydantic import Field

from enroll.api.wix.errors import Invalid
from enroll.api.wix.requests import Asked
from enroll.senders.transmissions import MARKETING, STATUSES, TRANSACTIONAL
from relay.base.storage.transmissions import Condition, Either, Every, Is, Not, Order, Place
from relay.base.storage.transmissions import Field as Column

MAX_PAGE, DEFAULT_PAGE = 100, 50
MAX_CURSOR = 16_000
_MAX_FILTER, _MAX_VALUES, _MAX_DEPTH, _MAX_SORT = 8_000, 100, 5, 5
_MAX_ID = 2**53
_WORD: tuple[str, ...] = ("$eq", "$ne", "$in")
_RANGE: tuple[str, ...] = ("$eq", "$ne", "$exists", "$in", "$hasSome", "$lt", "$lte", "$gt", "$gte")
OPERATORS: Mapping[Column, tuple[str, ...]] = {
    "id": _WORD, "type": _WORD, "status": _WORD, "updatedDate": _RANGE, "emailSubject": (*_RANGE, "$startsWith"),
}
"""What each field can be filtered by; each can be sorted by, too."""
_KNOWN: Mapping[Column, tuple[str, ...]] = {"type": (TRANSACTIONAL, MARKETING), "status": STATUSES}
_DEFAULT_ORDER = (Order("updatedDate", True),)
_FILTER, _SORT, _CURSOR = "query.filter", "query.sort", "query.cursorPaging.cursor"


class Sorting(Asked):
    """One field to sort by."""

    field_name: str = Field(examples=["updatedDate"])
    order: str = "ASC"


class CursorPaging(Asked):
    """How much, and from where."""

    limit: int | None = Field(None, ge=0, le=MAX_PAGE)
    cursor: str | None = Field(None, max_length=MAX_CURSOR)


class TransmissionQuery(Asked):
    """What is wanted of the transmissions."""

    filter: dict[str, Any] | None = Field(None, examples=[{"status": "PROCESSED"}])
    sort: list[Sorting] | None = Field(None, max_length=_MAX_SORT)
    paging: CursorPaging | None = None
    cursor_paging: CursorPaging | None = None


class QueryTransmissions(Asked):
    """What the query takes."""

    query: TransmissionQuery | None = None


@dataclass(frozen=True, slots=True)
class Page:
    """A page that is asked for. `said`: filter and sort as they came, for the cursor of the next one."""

    where: Condition
    order: tuple[Order, ...]
    after: Place | None
    limit: int
    said: tuple[Mapping[str, Any], Sequence[Mapping[str, str]]]

    def cursor(self, after: Place) -> str:
        """The cursor of the page behind `after`."""
        filter, sort = self.said
        text = json.dumps({"f": filter, "s": sort, "v": after.values, "i": after.id}, separators=(",", ":"))
        return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def page_of(asked: QueryTransmissions) -> Page:
    """The page that a query asks for. A cursor brings its own filter and sort. Raises Invalid."""
    query = asked.query or TransmissionQuery.model_validate({})
    paging = query.cursor_paging or query.paging or CursorPaging.model_validate({})
    limit = DEFAULT_PAGE if paging.limit is None else paging.limit
    if paging.cursor:
        return _continued(paging.cursor, limit)
    sort = [{"fieldName": one.field_name, "order": one.order} for one in query.sort or ()]
    return _page(query.filter or {}, sort, None, limit)


def _page(filter: Mapping[str, Any], sort: Sequence[Mapping[str, str]], after: Place | None, limit: int) -> Page:
    if len(json.dumps(filter)) > _MAX_FILTER:
        raise Invalid((_FILTER, "OUT_OF_RANGE", f"at most {_MAX_FILTER} characters of JSON"))
    order = tuple(_order(one, at) for at, one in enumerate(sort)) or _DEFAULT_ORDER
    return Page(_every(filter, _FILTER, 1), order, after, limit, (filter, sort))


def _continued(cursor: str, limit: int) -> Page:
    try:
        # Characters beyond the alphabet are no part of any cursor of ours.
        raw = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
        found = json.loads(raw)
        filter, sort, values, id = found["f"], found["s"], found["v"], found["i"]
        page = _page(filter, sort, Place(tuple(values), id), limit)
        kinds = [(int, float) if o.field == "updatedDate" else (str,) for o in page.order]
        good = len(values) == len(kinds) and all(
            isinstance(v, kind) and not isinstance(v, bool) for v, kind in zip(values, kinds, strict=True)
        )
        if not good or type(id) is not int or not 0 <= id < _MAX_ID or _bad(values):
            raise ValueError
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, Invalid):
        raise Invalid((_CURSOR, "INVALID_ARGUMENT", "use a cursor from an earlier answer")) from None
    return page


def _bad(values: Sequence[Any]) -> bool:
    return any(isinstance(v, str) and "\0" in v for v in values)


def _order(one: Mapping[str, str], at: int) -> Order:
    name, way = one["fieldName"], one["order"]
    if name not in OPERATORS:
        _refuse(f"{_SORT}.{at}.fieldName", f"one of {', '.join(OPERATORS)}")
    if way not in ("ASC", "DESC"):
        _refuse(f"{_SORT}.{at}.order", "ASC or DESC")
    return Order(cast(Column, name), way == "DESC")


# -- filters -------------------------------------------------------------------------------------------------------


def _every(filter: Any, where: str, depth: int) -> Condition:
    """All of an object's members hold."""
    if not isinstance(filter, dict):
        _refuse(where, "an object is needed")
    if depth > _MAX_DEPTH:
        _refuse(where, f"nested deeper than {_MAX_DEPTH}")
    return Every(tuple(_member(name, value, where, depth) for name, value in filter.items()))


def _member(name: str, value: Any, where: str, depth: int) -> Condition:
    here = f"{where}.{name}"
    if name in ("$and", "$or"):
        if not isinstance(value, list):
            _refuse(here, "a list of filters is needed")
        parts = tuple(_every(one, here, depth + 1) for one in value)
        return Every(parts) if name == "$and" else Either(parts)
    if name == "$not":
        return Not(_every(value, here, depth + 1))
    if name not in OPERATORS:
        _refuse(where, f"only {', '.join(OPERATORS)} can be filtered by")
    field = cast(Column, name)
    if not isinstance(value, dict) or set(value) == {"$date"}:
        value = {"$eq": value}
    return Every(tuple(_compared(field, how, given, here) for how, given in value.items()))


def _compared(field: Column, how: str, given: Any, where: str) -> Condition:
    if how not in OPERATORS[field]:
        _refuse(where, f"one of {', '.join(OPERATORS[field])}")
    here = f"{where}.{how}"
    if how == "$exists":
        if not isinstance(given, bool):
            _refuse(here, "true or false")
        # Every transmission has every field.
        return Every(()) if given else Either(())
    read = _moment if field == "updatedDate" else _text(field)
    if how in ("$in", "$hasSome"):
        if not isinstance(given, list):
            _refuse(here, "a list is needed")
        if len(given) > _MAX_VALUES:
            raise Invalid((here, "OUT_OF_RANGE", f"at most {_MAX_VALUES} values"))
        return Is(field, "in", [read(one, here) for one in given])
    if how == "$startsWith":
        return Is(field, "starts", read(given, here))
    return Is(field, cast(Any, how[1:]), read(given, here))


def _text(field: Column) -> Callable[[Any, str], str]:
    def read(value: Any, where: str) -> str:
        if not isinstance(value, str) or "\0" in value:
            _refuse(where, "a text is needed")
        if field in _KNOWN and value not in _KNOWN[field]:
            _refuse(where, f"one of {', '.join(_KNOWN[field])}")
        return value.lower() if field == "id" else value

    return read


def _moment(value: Any, where: str) -> float:
    if isinstance(value, dict) and set(value) == {"$date"}:
        value = value["$date"]
    try:
        if not isinstance(value, str):
            raise ValueError
        found = datetime.fromisoformat(value.upper())
        if found.tzinfo is None:
            raise ValueError
        return found.timestamp()
    except (ValueError, OverflowError):
        _refuse(where, "a time like 2026-05-01T14:05:30Z is needed")


def _refuse(where: str, why: str) -> NoReturn:
    raise Invalid((where, "INVALID_ARGUMENT", why))
