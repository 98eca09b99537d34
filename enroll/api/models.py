"""Bodies in and out: strict models, camelCase names, times as RFC 3339.

Promises that an unknown field, a guessed type or a missing value is refused with the field's name and the reason,
and that nothing of what was sent stands in the answer but field names.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, NoReturn, TypeVar

from aiohttp import web
from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic.alias_generators import to_camel

from enroll.errors import not_found
from relay.base.clock import iso
from relay.base.web import answer, json_body
from relay.base.web.body import shown
from relay.replies import INVALID_REQUEST, Refused

_SHOWN_FAULTS = 10
# Cursors and limits; what databases and JSON readers take for the number it is.
MAX_NUMBER = 10**15 - 1
_MAX_DIGITS = 20


class Strict(BaseModel):
    """A request's body: no coercion, no unknown field."""

    model_config = ConfigDict(
        strict=True, extra="forbid", frozen=True, hide_input_in_errors=True, alias_generator=to_camel
    )


class View(BaseModel):
    """An answer's body; made with Python's names, written in camelCase."""

    model_config = ConfigDict(extra="forbid", alias_generator=to_camel, populate_by_name=True)

    def response(self, status: int = 200) -> web.Response:
        """This as JSON."""
        return answer(self.model_dump(mode="json", by_alias=True), status)


Model = TypeVar("Model", bound=BaseModel)


async def body(model: type[Model], request: web.Request) -> Model:
    """The request's JSON body as `model`. Raises Refused: INVALID_REQUEST naming every wrong field, TOO_LARGE."""
    return read(model, await json_body(request))


def read(model: type[Model], value: Any) -> Model:
    """A parsed JSON value as `model`; raises Refused INVALID_REQUEST."""
    if not isinstance(value, dict):
        refuse_fields([("", "a JSON object is needed")])
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


def whole_number(request: web.Request, name: str, *, least: int = 1) -> int | None:
    """A number of the query, None where it isn't named; raises Refused INVALID_REQUEST."""
    text = request.query.get(name)
    if text is None:
        return None
    if not (text.isascii() and text.isdecimal() and len(text) <= _MAX_DIGITS and least <= int(text) <= MAX_NUMBER):
        refuse_fields([(name, f"a whole number from {least} to {MAX_NUMBER} is needed")])
    return int(text)


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


def path_id(request: web.Request, name: str = "id") -> int:
    """A row's id from the path; whatever can't be one is not found."""
    text = request.match_info[name]
    if not (text.isascii() and text.isdecimal() and len(text) <= 15):
        raise not_found()
    return int(text)


def _fault(one: Any) -> tuple[str, str]:
    where = ".".join(shown(str(part)) for part in one["loc"])
    if one["type"] == "extra_forbidden":
        return where, "unknown field"
    return where, "required" if one["type"] == "missing" else one["msg"].removeprefix("Value error, ")


def done() -> web.Response:
    """204: it is done, and there is nothing to say."""
    return web.Response(status=204)
