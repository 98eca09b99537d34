"""What clients ask: bodies, filters and pages. Fields that are not known are left alone, as its clients expect.

Promises that a value of the wrong type, size or form is refused with the field's name and the reason.
"""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass
from typing import Any, TypeVar

from aiohttp import web
from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

from enroll.api.wix.errors import Invalid
from relay.base import names
from relay.base.web.models import body

Read = TypeVar("Read", bound=BaseModel)
MAX_LIST, MAX_QUERY, MAX_CURSOR, MAX_IN = 100, 50, 1000, 50
_MAX_DIGITS = 18


class Asked(BaseModel):
    """A request's body: no guessed types; unknown fields are ignored."""

    model_config = ConfigDict(
        strict=True, extra="ignore", frozen=True, hide_input_in_errors=True, alias_generator=to_camel
    )


class NewEmail(Asked):
    """A sender email to be."""

    email_address: str = Field(min_length=6, max_length=254, examples=["anna@example.org"])
    extended_fields: dict[str, Any] | None = None


class CreateEmail(Asked):
    """What creating a sender email takes."""

    sender_email: NewEmail


class GetOrCreateEmail(Asked):
    """What get-or-create takes."""

    email_address: str = Field(min_length=6, max_length=254, examples=["anna@example.org"])


class VerifyEmail(Asked):
    """What verifying takes."""

    verification_code: str = Field(min_length=3, max_length=10, examples=["123456"])


class NewDetails(Asked):
    """Sender details to be."""

    from_name: str = Field(min_length=1, max_length=100, examples=["Anna"])
    from_email_address: str = Field(min_length=6, max_length=254, examples=["anna@example.org"])
    extended_fields: dict[str, Any] | None = None


class CreateDetails(Asked):
    """What creating sender details takes."""

    sender_details: NewDetails


class ChangedDetails(Asked):
    """What may change in sender details."""

    from_name: str | None = Field(None, min_length=1, max_length=100, examples=["Anna"])
    from_email_address: str | None = Field(None, min_length=6, max_length=254)
    extended_fields: dict[str, Any] | None = None


class UpdateDetails(Asked):
    """What updating sender details takes."""

    sender_details: ChangedDetails


class ActualFrom(Asked):
    """What actual-from-address takes."""

    from_address: str = Field(min_length=6, max_length=254, examples=["anna@example.org"])


class Paging(Asked):
    """How much, and from where."""

    limit: int | None = Field(None, ge=0, le=MAX_QUERY)
    cursor: str | None = Field(None, max_length=MAX_CURSOR)


class List(BaseModel):
    """How much of a list, and from where."""

    limit: int | None = Field(None, ge=0, le=MAX_LIST, validation_alias="paging.limit")
    cursor: str | None = Field(None, max_length=MAX_CURSOR, validation_alias="paging.cursor")


class ListEmails(List):
    """What a list of sender emails takes."""

    address: str | None = Field(None, validation_alias="emailAddress")


class ListDetails(List):
    """What a list of sender details takes."""

    address: str | None = Field(None, validation_alias="fromEmailAddress")


class Query(Asked):
    """What is wanted of the sending domains."""

    filter: dict[str, Any] | None = None
    sort: list[Any] | None = None
    paging: Paging | None = None
    cursor_paging: Paging | None = None


class QueryDomains(Asked):
    """What the query takes."""

    query: Query | None = None


async def query(request: web.Request) -> Query:
    """What a query of domains asks for; without a body, for nothing. Raises Refused."""
    return (await body_or_none(QueryDomains, request)).query or Query()


async def body_or_none(model: type[Read], request: web.Request) -> Read:
    """The body of a query, which says nothing where there is none. Raises Refused."""
    if request.content_length == 0 or not request.body_exists:
        return model.model_validate({})
    return await body(model, request)


@dataclass(frozen=True, slots=True)
class Page:
    """`limit` entries with numbers above `after`."""

    limit: int
    after: int


def page_of_list(request: web.Request) -> Page:
    """`paging.limit` and `paging.cursor` of a list. Raises Invalid."""
    text = request.query.get("paging.limit", str(MAX_QUERY))
    if not (text.isascii() and text.isdecimal() and len(text) <= 3 and int(text) <= MAX_LIST):
        raise Invalid(("paging.limit", "OUT_OF_RANGE", f"a whole number from 0 to {MAX_LIST}"))
    return Page(int(text), _after(request.query.get("paging.cursor", "")))


def page_of_query(query: Query) -> Page:
    """`paging` or `cursorPaging` of a query. Raises Invalid."""
    given = query.cursor_paging or query.paging or Paging.model_validate({})
    return Page(MAX_QUERY if given.limit is None else given.limit, _after(given.cursor or ""))


def cursor_at(number: int) -> str:
    """The cursor behind an entry."""
    return base64.urlsafe_b64encode(f"after:{number}".encode()).decode().rstrip("=")


def _after(cursor: str) -> int:
    if not cursor:
        return 0
    try:
        if len(cursor) > MAX_CURSOR:
            raise ValueError
        word, _, digits = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)).decode("ascii").partition(":")
        if word != "after" or not digits.isdecimal() or len(digits) > _MAX_DIGITS:
            raise ValueError
    except (ValueError, binascii.Error):
        raise Invalid(("paging.cursor", "INVALID_ARGUMENT", "use a cursor from an earlier answer")) from None
    return int(digits)


def filtered(query: Query) -> tuple[list[str] | None, list[str] | None]:
    """(domains as A-labels, ids) that the filter names; None for what it doesn't filter by. Raises Invalid."""
    if query.sort:
        raise Invalid(("query.sort", "INVALID_ARGUMENT", "sending domains can't be sorted: leave it out"))
    given = query.filter or {}
    unknown = sorted(set(given) - {"id", "domain"})
    if unknown:
        raise Invalid(("query.filter", "INVALID_ARGUMENT", "only id and domain can be filtered by"))
    domains, ids = _values(given, "domain"), _values(given, "id")
    try:
        plain = None if domains is None else [names.domain(text.strip()) for text in domains]
    except names.BadName as e:
        raise Invalid(("query.filter.domain", "INVALID_ARGUMENT", e.reason)) from None
    return plain, None if ids is None else [text.lower() for text in ids]


def _values(given: dict[str, Any], field: str) -> list[str] | None:
    """The values of one filter: a string, `{"$eq": …}` or `{"$in": […]}`; None where there is none."""
    where, value = f"query.filter.{field}", given.get(field)
    if isinstance(value, dict):
        if set(value) == {"$eq"}:
            value = value["$eq"]
        elif set(value) == {"$in"} and isinstance(value["$in"], list):
            value = value["$in"]
        else:
            raise Invalid((where, "INVALID_ARGUMENT", "use $eq with a string, or $in with a list"))
    if value is None:
        return None
    found = value if isinstance(value, list) else [value]
    if not all(isinstance(one, str) and one for one in found):
        raise Invalid((where, "INVALID_ARGUMENT", "values are strings that aren't empty"))
    if len(found) > MAX_IN:
        raise Invalid((where, "OUT_OF_RANGE", f"at most {MAX_IN} values"))
    return found
