"""A domain's options in the bodies of the API: fields made from their one declaration."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, Field, create_model

from relay.base.domain_options import MAX_MAILBOX, OPTIONS, Option
from relay.base.web.models import Strict, View, refuse_fields

Model = TypeVar("Model", bound=BaseModel)
# More than a label may have: the service says what is wrong with it.
_MAX_TEXT = 64


def _kind(option: Option) -> Any:
    if option.kind == "choice":
        return Literal[tuple(option.choices)]
    return bool if option.kind == "switch" else str


def _with_fields(model: type[Model], fields: Iterable[tuple[str, Any]]) -> type[Model]:
    made: type[Model] = create_model(
        model.__name__, __base__=model, __doc__=model.__doc__, __module__=model.__module__, **dict(fields)
    )
    return made


def _takes_options(model: type[Model]) -> type[Model]:
    """`model` with a field for each option, none of them required."""
    longest: dict[str, dict[str, Any]] = {"label": {"max_length": _MAX_TEXT}, "mailbox": {"max_length": MAX_MAILBOX}}
    return _with_fields(model, (
        (o.name, (_kind(o) | None, Field(None, description=o.says, **longest.get(o.kind, {}))))
        for o in OPTIONS.values()
    ))


def _shows_options(model: type[Model]) -> type[Model]:
    return _with_fields(model, ((o.name, (_kind(o), Field(description=o.says))) for o in OPTIONS.values()))


@_takes_options
class OptionsIn(Strict):
    """The switches; one left out keeps its value. Where one asks for another record, its feature begins when that is
    seen (`awaits`); mail goes on meanwhile."""

    def named(self) -> dict[str, Any]:
        """Those that were named, by their names in the program."""
        return {name: value for name in OPTIONS if (value := getattr(self, name)) is not None}


@_takes_options
class DomainIn(Strict):
    """The options, by themselves or under `options` as a domain shows them."""

    options: OptionsIn | None = Field(None, description="The options as GET shows them; some, or all.")

    def changes(self) -> dict[str, Any]:
        """The options that were named, wherever. Raises Refused INVALID_REQUEST for one with two values."""
        alone = OptionsIn.named(self)  # type: ignore[arg-type]  # it has the same fields
        within = self.options.named() if self.options is not None else {}
        twice = [name for name in alone.keys() & within.keys() if alone[name] != within[name]]
        if twice:
            refuse_fields([(OPTIONS[name].alias, "named twice, with two values") for name in sorted(twice)])
        return within | alone


@_shows_options
class OptionsView(View):
    """The switches of a domain."""
