"""What comes in and goes out: strict models, camelCase names, times as RFC 3339.

Promises that an unknown name, a guessed type or a missing value is refused with the field's name and the reason,
and that nothing of what was sent stands in the answer but field names.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Annotated, Any, NoReturn, TypeVar

from aiohttp import web
from pydantic import AliasChoices, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, WithJsonSchema
from pydantic.alias_generators import to_camel

from relay.base.clock import iso
from relay.base.config.model import Http
from relay.base.web.answers import answer
from relay.base.web.body import json_body, reject, shown
from relay.replies import INVALID_REQUEST, Refused

_SHOWN_FAULTS = 10
# Cursors and limits; what databases and JSON readers take for the number it is.
MAX_NUMBER = 10**15 - 1
_MAX_DIGITS = 20
_UNION_BRANCHES = frozenset({"str", "int", "float", "bool", "constrained-str"})
ANYWHERE = frozenset({"did"})
"""Names that any query may have: the DID that goes with an API key."""


class Strict(BaseModel):
    """A request's body: no coercion, no unknown field."""

    model_config = ConfigDict(
        strict=True, extra="forbid", frozen=True, hide_input_in_errors=True, alias_generator=to_camel
    )


class Query(BaseModel):
    """A request's query: texts, each name once unless its field is a list, no unknown name."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True, alias_generator=to_camel)


class View(BaseModel):
    """An answer's body; made with Python's names, written in camelCase."""

    model_config = ConfigDict(extra="forbid", alias_generator=to_camel, populate_by_name=True)

    def response(self, status: int = 200) -> web.Response:
        """This as JSON."""
        return answer(self.model_dump(mode="json", by_alias=True), status)


def _whole(least: int) -> BeforeValidator:
    def read_digits(text: Any) -> int:
        good = isinstance(text, str) and text.isascii() and text.isdecimal() and len(text) <= _MAX_DIGITS
        if not good or not least <= int(text) <= MAX_NUMBER:
            raise ValueError(f"a whole number from {least} to {MAX_NUMBER} is needed")
        return int(text)

    return BeforeValidator(read_digits)


def one_of(values: Iterable[str]) -> tuple[BeforeValidator, WithJsonSchema]:
    """What a text of a query may be: for `Annotated[str, *one_of(…)]`."""
    known = list(values)

    def listed(text: Any) -> Any:
        if text not in known:
            raise ValueError(f"one of {', '.join(known)}")
        return text

    return BeforeValidator(listed), WithJsonSchema({"type": "string", "enum": known})


Count = Annotated[int, _whole(1), WithJsonSchema({"type": "integer", "minimum": 1, "maximum": MAX_NUMBER})]
"""In a query: a number of things."""
Cursor = Annotated[int, _whole(0), WithJsonSchema({"type": "string", "pattern": "^[0-9]{1,15}$"})]
"""In a query: where a page begins, opaque to clients."""


Moment = Annotated[str, WithJsonSchema({"type": "string", "format": "date-time"})]
"""In an answer: a time, RFC 3339 in UTC."""
FormerId = Annotated[int, Field(description="The former name of `recipientId`, until 1.0.", deprecated=True)]


class Page(Query):
    """Which part of a list. Where a page has a `cursor`, the page after it begins there."""

    cursor: Cursor | None = Field(None, description="From the answer before; none: the start.")
    limit: Count | None = Field(None, description="At most so many; a larger number counts as the largest there is.")

    def size(self, http: Http) -> int:
        """How many things the page has at most."""
        return min(self.limit or http.page_size, http.max_page_size)


class OlderPage(Page):
    """A page whose cursor was called `after` at first, which is taken until 1.0."""

    cursor: Cursor | None = Field(
        None, validation_alias=AliasChoices("cursor", "after"), description="From the answer before; none: the start."
    )


Model = TypeVar("Model", bound=BaseModel)


async def body(model: type[Model], request: web.Request) -> Model:
    """The request's JSON body as `model`. Raises Refused: INVALID_REQUEST naming every wrong field, TOO_LARGE."""
    return read(model, await json_body(request))


def read(model: type[Model], value: Any) -> Model:
    """A parsed JSON value as `model`; raises Refused INVALID_REQUEST."""
    if not isinstance(value, dict):
        refuse_fields([("", "a JSON object is needed")])
    return _validated(model, value)


def read_query(model: type[Model] | None, request: web.Request) -> Model | None:
    """The request's query as `model`, which may ignore what it doesn't know; without one there are no names. Raises
    Refused INVALID_REQUEST."""
    many, known = _names(model)
    lenient = model is not None and model.model_config.get("extra") == "ignore"
    found: dict[str, Any] = {}
    for name, text in request.query.items():
        if name in ANYWHERE:
            continue
        if name not in known and lenient:
            continue
        if name not in known:
            reject("unknown query parameter", field=shown(name))
        if "\0" in text:
            # No database keeps it, so nothing is found by it either.
            refuse_fields([(name, "NUL is not a character")])
        if name in many:
            found.setdefault(name, []).append(text)
        elif name in found:
            reject(f"{name}: given more than once", field=name)
        else:
            found[name] = text
    return None if model is None else _validated(model, found)


def _names(model: type[BaseModel] | None) -> tuple[set[str], set[str]]:
    """The names of lists among a query's, and all names."""
    many: set[str] = set()
    known: set[str] = set()
    for name, field in (model.model_fields if model is not None else {}).items():
        alias = field.validation_alias
        spelled = {str(one) for one in alias.choices} if isinstance(alias, AliasChoices) else {str(alias or name)}
        known |= spelled
        if "list[" in str(field.annotation):
            many |= spelled
    return many, known


def _validated(model: type[Model], value: dict[str, Any]) -> Model:
    try:
        return model.model_validate(value)
    except ValidationError as e:
        refuse_fields([_fault(one) for one in e.errors(include_url=False, include_context=False, include_input=False)])


def refuse_fields(faults: list[tuple[str, str]]) -> NoReturn:
    """Refuse a request for its fields: (field, reason) pairs, at least one."""
    field, reason = faults[0]
    errors = [{"field": f, "reason": r} for f, r in dict.fromkeys(faults[:_SHOWN_FAULTS])]
    raise Refused(
        INVALID_REQUEST, saw=f"{field}: {reason}" if field else reason, extra={"field": field, "errors": errors}
    )


def moment(field: str, text: str | None) -> float | None:
    """RFC 3339 with its offset as Unix seconds; raises Refused INVALID_REQUEST."""
    if text is None:
        return None
    try:
        found = datetime.fromisoformat(text)
        if found.tzinfo is None or "T" not in text.upper():
            raise ValueError
        return found.timestamp()
    except (ValueError, OverflowError):
        refuse_fields([(field, "a time like 2026-05-01T14:05:30Z is needed")])


def shown_at(at: float | None) -> str | None:
    """Unix seconds as RFC 3339; None stays None."""
    return None if at is None else iso(at)


def _fault(one: Any) -> tuple[str, str]:
    # Locations end in the branch of a union that was tried; people know only the field.
    named = [part for part in one["loc"] if not (isinstance(part, str) and part in _UNION_BRANCHES)]
    where = ".".join(shown(str(part)) for part in named)
    if one["type"] == "extra_forbidden":
        return where, "unknown field"
    return where, "required" if one["type"] == "missing" else one["msg"].removeprefix("Value error, ")

