"""OpenAPI 3.1 descriptions: an operation, a refusal, a schema made from a model; merged into the
documents that are served.

Promises that shapes come from the models and typed dictionaries which the handlers themselves use, so that what is
told and what is done can't part. Which operations there are, each API declares.
"""

from __future__ import annotations

import asyncio
import functools
import re
from collections.abc import Callable, Iterable, Mapping
from http import HTTPStatus
from typing import Any, Literal

from aiohttp import web
from pydantic import AliasChoices, BaseModel, TypeAdapter

from relay import replies
from relay.base.web.answers import dumps, raw_answer

Paths = dict[str, dict[str, Any]]
"""Path → method → operation."""
Security = list[dict[str, list[str]]]
Shape = type[Any] | Mapping[str, Any]
"""A model or TypedDict, or a schema written out."""

ERROR: dict[str, Any] = {
    "type": "object", "additionalProperties": False, "required": ["error", "code", "detail"],
    "properties": {
        "error": {"type": "string", "description": "What is wrong, for people."},
        "code": {"type": "string", "description": "The same for programs; it doesn't change."},
        "detail": {
            "type": "object",
            "description": "Facts: `field` and `errors` name wrong fields, `fix` says what to do, `passesAt` when.",
        },
    },
}
_WAITS = (429, 500, 503, 507)
_STATUSES = sorted({r.http for r in replies.TABLE if r.http >= 400})
_INTEGER = {"type": "integer", "minimum": 1}


def schema_of(shape: Shape, mode: Literal["validation", "serialization"] = "validation") -> dict[str, Any]:
    """The shape's schema with its definitions put where they are used; our shapes don't contain themselves.

    "validation" is what is taken, "serialization" what is given: nothing but the fields that it names. Parts of it
    are shared with whoever asked before, so nobody changes them.
    """
    return dict(shape if isinstance(shape, Mapping) else _made(shape, mode))  # type: ignore[arg-type]


@functools.cache
def _made(shape: type[Any], mode: Literal["validation", "serialization"]) -> dict[str, Any]:
    schema = TypeAdapter(shape).json_schema(by_alias=True, mode=mode)
    definitions = schema.pop("$defs", {})

    def put(part: Any) -> Any:
        if isinstance(part, list):
            return [put(p) for p in part]
        if not isinstance(part, dict):
            return part
        if "$ref" in part:
            return put(definitions[part["$ref"].rpartition("/")[2]] | {k: v for k, v in part.items() if k != "$ref"})
        closed = {"additionalProperties": False} if mode == "serialization" and "properties" in part else {}
        return closed | {k: put(v) for k, v in part.items() if not _idle(k, v)}

    found: dict[str, Any] = put(schema)
    return found


def named(models: Iterable[type[BaseModel]]) -> dict[str, Any]:
    """Models of bodies as components of a document, with what they are made of, each under its own name."""
    found: dict[str, Any] = {}
    for model in models:
        schema = model.model_json_schema(by_alias=True, ref_template="#/components/schemas/{model}")
        found |= {name: _stripped(part) for name, part in schema.pop("$defs", {}).items()}
        found[model.__name__] = _stripped(schema)
    return found


def _stripped(part: Any) -> Any:
    if isinstance(part, list):
        return [_stripped(p) for p in part]
    if isinstance(part, dict):
        return {k: _stripped(v) for k, v in part.items() if not _idle(k, v)}
    return part


def _idle(key: str, value: Any) -> bool:
    """True for what only makes clients awkward: a title is the name again, in capitals; a default of null makes
    generated programs send the null."""
    return (key == "title" and isinstance(value, str)) or (key == "default" and value is None)


def parameters_of(query: type[BaseModel] | None) -> list[dict[str, Any]]:
    """A query's names as OpenAPI's parameters, none required; former names of one are told as deprecated."""
    if query is None:
        return []
    shapes = schema_of(query)["properties"]
    made = []
    for name, field in query.model_fields.items():
        alias = field.validation_alias
        first, *older = [str(one) for one in alias.choices] if isinstance(alias, AliasChoices) else [str(alias or name)]
        schema = dict(shapes[first])
        options = [one for one in schema.get("anyOf", []) if one != {"type": "null"}]
        if len(options) == 1:
            schema = {k: v for k, v in schema.items() if k != "anyOf"} | options[0]
        made.append(_query(first, schema))
        made += [
            _query(former, schema | {"description": f"The former name of `{first}`."}) | {"deprecated": True}
            for former in older
        ]
    return made


def as_content(kinds: Mapping[str, Any]) -> dict[str, Any]:
    """The `content` of a body by media type; the values are schemas."""
    return {kind: {"schema": schema} for kind, schema in kinds.items()}


def json_of(shape: Shape, mode: Literal["validation", "serialization"] = "validation") -> dict[str, Any]:
    """The `content` of a body in JSON."""
    return {"application/json": {"schema": schema_of(shape, mode)}}


def operation(
    summary: str,
    *,
    security: Security,
    takes: Shape | None = None,
    gives: Shape | None = None,
    status: int = 200,
    path: Mapping[str, str] | None = None,
    query: Mapping[str, Mapping[str, Any]] | None = None,
    errors: Iterable[int] = (),
    also: Mapping[int, str] | None = None,
    headers: Mapping[str, str] | None = None,
    refusal: Shape | None = None,
    description: str = "",
) -> dict[str, Any]:
    """One operation. `path` names path parameters with their type, `query` optional parameters with their schema;
    `gives` None is an answer without a body; `also` are further statuses with the same body and what they mean;
    `headers` are those of the good answer. `refusal` is the shape of every other answer, where it isn't ours;
    ours come by status: `errors`, and those that `with_refusals` adds."""
    parameters = [
        {"name": name, "in": "path", "required": True, "schema": {"type": kind}} for name, kind in (path or {}).items()
    ] + [_query(name, schema) for name, schema in (query or {}).items()]
    good: dict[str, Any] = {"description": "Done." if gives is None else "The answer."}
    if gives is not None:
        good["content"] = json_of(gives, "serialization")
    if headers:
        good["headers"] = {
            name: {"description": says, "schema": {"type": "string"}} for name, says in headers.items()
        }
    responses = {str(status): good}
    responses |= {str(other): good | {"description": says} for other, says in (also or {}).items()}
    responses |= refusals(errors)
    if refusal is not None:
        responses["default"] = {"description": "A refusal.", "content": json_of(refusal, "serialization")}
    made: dict[str, Any] = {"summary": summary, "security": security, "responses": responses}
    if description:
        made["description"] = description
    if parameters:
        made["parameters"] = parameters
    if takes is not None:
        made["requestBody"] = {"required": True, "content": json_of(takes)}
    return made


def with_refusals(found: dict[str, Any], path: str, method: str, tag: str) -> dict[str, Any]:
    """An operation under a tag, with the refusals that its kind can meet; where it has a shape of its own for them
    (`default`), that stays alone."""
    responses = dict(found["responses"])
    if "default" not in responses:
        statuses = {400, 429, 500, 503}
        if found["security"]:
            statuses |= {401, 403}
        if "{" in path:
            statuses.add(404)
        if "requestBody" in found:
            statuses |= {413, 422}
        if method != "get":
            statuses |= {409, 422, 507}
        responses = refusals(statuses) | responses
    return found | {"tags": [tag], "responses": responses}


def refusals(statuses: Iterable[int]) -> dict[str, Any]:
    """Refusals in our one shape, by status, to be read in `shared`."""
    return {str(status): {"$ref": f"#/components/responses/{_name(status)}"} for status in sorted(statuses)}


def shared() -> dict[str, Any]:
    """The components that every document has: the error's shape, and a refusal for each status."""
    return {"schemas": {"Error": ERROR}, "responses": {_name(status): _refusal(status) for status in _STATUSES}}


def _refusal(status: int) -> dict[str, Any]:
    codes = sorted({f"`{r.code}`" for r in replies.TABLE if r.http == status and r.code})
    phrase = HTTPStatus(status).phrase
    made: dict[str, Any] = {
        "description": f"{phrase}: {', '.join(codes)}" if codes else phrase,
        "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}},
    }
    if status == 401:
        # RFC 9110 §11.6.1
        made["headers"] = {"WWW-Authenticate": {"required": True, "schema": {"type": "string"}}}
    if status in _WAITS:
        # RFC 9110 §10.2.3
        says = "Seconds until trying again can help."
        made["headers"] = {"Retry-After": {"description": says, "required": True, "schema": _INTEGER}}
    return made


def _name(status: int) -> str:
    return "".join(c for c in HTTPStatus(status).phrase.title() if c.isalpha())


def _query(name: str, schema: Mapping[str, Any]) -> dict[str, Any]:
    kept = {k: v for k, v in schema.items() if k != "description"}
    made: dict[str, Any] = {"name": name, "in": "query", "schema": kept}
    if "description" in schema:
        made["description"] = schema["description"]
    return made


VERSION = "3.1.0"
_WORD = re.compile(r"[A-Za-z0-9]+")


def document(
    fragments: Iterable[dict[str, Any]], *, public_url: str, version: str, title: str = "Posthouse",
    description: str = "", tags: Iterable[tuple[str, str]] = (),
) -> dict[str, Any]:
    """An OpenAPI 3.1 document. Each fragment has `paths` and may have `components`; methods of one path are merged.

    `tags` are (name, description) in the order in which readers should meet them. Operations get an `operationId`
    made from method and path, which stays as long as they do.
    """
    paths: dict[str, dict[str, Any]] = {}
    components: dict[str, dict[str, Any]] = {kind: dict(named) for kind, named in shared().items()}
    for fragment in fragments:
        for path, methods in fragment.get("paths", {}).items():
            named = {method: {"operationId": _id(method, path)} | found for method, found in methods.items()}
            paths.setdefault(path, {}).update(named)
        for kind, named in fragment.get("components", {}).items():
            components.setdefault(kind, {}).update(named)
    return {
        "openapi": VERSION,
        "info": {"title": title, "version": version} | ({"description": description} if description else {}),
        "servers": [{"url": public_url}],
        "tags": [{"name": name, "description": says} for name, says in tags],
        "paths": dict(sorted(paths.items())),
        "components": components,
    }


def document_route(make: Callable[[], dict[str, Any]], path: str) -> web.RouteDef:
    """GET of a document, made when first asked for. Public and the same for everybody, so pages elsewhere may read it
    (Fetch §3.2)."""

    @functools.cache
    def text() -> str:
        return dumps(make())

    async def openapi(_: web.Request) -> web.Response:
        response = raw_answer(await asyncio.to_thread(text), 200)
        response.headers["Access-Control-Allow-Origin"] = "*"
        return response

    return web.get(path, openapi)


def _id(method: str, path: str) -> str:
    return "_".join([method, *_WORD.findall(path)])
