"""OpenAPI fragments (3.1) made from the models that read and write the bodies, so that they can't differ."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel

Paths = dict[str, dict[str, Any]]

ERROR: dict[str, Any] = {
    "type": "object",
    "required": ["error", "code", "detail"],
    "properties": {"error": {"type": "string"}, "code": {"type": "string"}, "detail": {"type": "object"}},
}
Security = list[dict[str, list[str]]]
KEY_OR_SESSION: Security = [{"apiKey": []}, {"session": []}]
SESSION: Security = [{"session": []}]
OPEN: Security = []
SECURITY_SCHEMES: dict[str, Any] = {
    "apiKey": {"type": "http", "scheme": "bearer", "description": "An API key."},
    "session": {"type": "http", "scheme": "bearer", "description": "The token of a sign-in (POST /v1/sessions)."},
}


def operation(
    summary: str,
    *,
    security: Security,
    takes: type[BaseModel] | None = None,
    gives: type[BaseModel] | Mapping[str, Any] | None = None,
    status: int = 200,
    path: Mapping[str, str] | None = None,
    query: Mapping[str, Mapping[str, Any]] | None = None,
) -> dict[str, Any]:
    """One operation. `path` names path parameters with their type, `query` optional parameters with their schema;
    `gives` None is an answer without a body."""
    parameters = [
        {"name": name, "in": "path", "required": True, "schema": {"type": kind}} for name, kind in (path or {}).items()
    ] + [{"name": name, "in": "query", "schema": dict(schema)} for name, schema in (query or {}).items()]
    good: dict[str, Any] = {"description": "Done." if gives is None else "The answer."}
    if gives is not None:
        good["content"] = _json(gives)
    made: dict[str, Any] = {
        "summary": summary,
        "security": security,
        "responses": {str(status): good, "default": {"description": "A refusal.", "content": _json(ERROR)}},
    }
    if parameters:
        made["parameters"] = parameters
    if takes is not None:
        made["requestBody"] = {"required": True, "content": _json(takes)}
    return made


def _json(shape: type[BaseModel] | Mapping[str, Any]) -> dict[str, Any]:
    return {"application/json": {"schema": dict(shape) if isinstance(shape, Mapping) else _inlined(shape)}}


def _inlined(model: type[BaseModel]) -> dict[str, Any]:
    """The model's schema with its definitions put where they are used; our models don't contain themselves."""
    schema = model.model_json_schema(by_alias=True)
    definitions = schema.pop("$defs", {})

    def put(part: Any) -> Any:
        if isinstance(part, list):
            return [put(p) for p in part]
        if not isinstance(part, dict):
            return part
        if "$ref" in part:
            return put(definitions[part["$ref"].rpartition("/")[2]])
        return {name: put(value) for name, value in part.items()}

    found: dict[str, Any] = put(schema)
    return found
