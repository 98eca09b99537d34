"""An OpenAPI document in words: calls in their groups, fields in rows, and a line of curl for each call.

Pure: a document in, values out. It reads what our documents use of OpenAPI 3.1, references included, and shows an
unknown kind of schema as "anything" rather than fail.
"""

from __future__ import annotations

import functools
import json
import shlex
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any
from urllib.parse import quote, urlencode

from markupsafe import Markup, escape

_METHODS = ("get", "post", "put", "patch", "delete")
_DEEPEST = 6
_LENGTHS = (
    ("minLength", "maxLength", "characters"), ("minItems", "maxItems", "items"), ("minimum", "maximum", ""),
)  # fmt: skip


@dataclass(frozen=True)
class Described:
    """A document, its name and where it is served; `slug` names its page, "" is the first. What takes a while (`make`
    and reading what it made: a quarter of a second) is done when somebody asks, not at each start."""

    slug: str
    name: str
    title: str
    path: str
    make: Callable[[], dict[str, Any]]

    @cached_property
    def document(self) -> dict[str, Any]:
        """What programs are given."""
        return self.make()

    def described(self) -> dict[str, Any]:
        """`document`, for who asks when it is wanted."""
        return self.document

    @cached_property
    def reference(self) -> Reference:
        """What people are shown."""
        return Reference(self.document)

    @property
    def page(self) -> str:
        """The path of its page."""
        return f"/docs/{self.slug}" if self.slug else "/docs"


@dataclass(frozen=True, slots=True)
class Field:
    """A parameter, or a field of a body by its whole name: `recipients[].status`. `where` is for parameters."""

    name: str
    kind: str
    required: bool
    says: Markup
    where: str = ""


@dataclass(frozen=True, slots=True)
class Body:
    """A body in one media type; `forms` are the lists of fields that it may have, one or several."""

    media: str
    kind: str
    forms: list[list[Field]]


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer; `headers` are those that it says something about."""

    status: str
    says: Markup
    good: bool
    bodies: list[Body]
    headers: list[Field]


@dataclass(frozen=True, slots=True)
class Call:
    """One operation."""

    id: str
    method: str
    path: str
    summary: str
    says: Markup
    who: str
    parameters: list[Field]
    bodies: list[Body]
    answers: list[Answer]
    curl: str


@dataclass(frozen=True, slots=True)
class Group:
    """The calls under one tag."""

    id: str
    name: str
    says: str
    calls: list[Call]


class Reference:
    """A whole document, read once."""

    def __init__(self, document: dict[str, Any]) -> None:
        self._document = document
        self._referred: dict[tuple[str, str], Answer] = {}
        self._url = document["servers"][0]["url"]
        self.version: str = document["info"]["version"]
        self.says = [prose(p) for p in document["info"].get("description", "").strip().split("\n\n") if p]
        calls: dict[str, list[Call]] = {}
        for path, methods in document["paths"].items():
            for method in _METHODS:
                if found := methods.get(method):
                    calls.setdefault((found.get("tags") or ["Calls"])[0], []).append(self._call(method, path, found))
        described = {t["name"]: t.get("description", "") for t in document.get("tags", ())}
        names = [name for name in described if name in calls] + [name for name in calls if name not in described]
        self.groups = [Group(name.replace(" ", "-"), name, described.get(name, ""), calls[name]) for name in names]

    def _call(self, method: str, path: str, found: dict[str, Any]) -> Call:
        content = self._whole(found.get("requestBody") or {}).get("content", {})
        return Call(
            id=found["operationId"], method=method.upper(), path=path, summary=found.get("summary", path),
            says=prose(found.get("description", "")), who=self._who(found.get("security", [])),
            parameters=[self._parameter(p) for p in found.get("parameters", ())], bodies=list(self._bodies(content)),
            answers=[self._answer(status, a) for status, a in sorted(found["responses"].items())],
            curl=self._curl(method, path, found, content),
        )

    def _parameter(self, found: dict[str, Any]) -> Field:
        found = self._whole(found)
        required = bool(found.get("required"))
        return Field(
            found["name"], self._kind(found.get("schema", {})), required, prose(found.get("description", "")),
            found["in"],
        )

    def _answer(self, status: str, described: dict[str, Any]) -> Answer:
        # Most calls have the same refusals, and say so by reference.
        if "$ref" not in described:
            return self._answered(status, described)
        key = status, described["$ref"]
        if key not in self._referred:
            self._referred[key] = self._answered(status, self._whole(described))
        return self._referred[key]

    def _answered(self, status: str, found: dict[str, Any]) -> Answer:
        headers = [
            Field(name, self._kind(h.get("schema", {})), bool(h.get("required")), prose(h.get("description", "")))
            for name, h in found.get("headers", {}).items() if h.get("description")
        ]
        bodies = list(self._bodies(found.get("content", {})))
        return Answer(status, prose(found.get("description", "")), status.startswith("2"), bodies, headers)

    def _bodies(self, content: dict[str, Any]) -> Iterator[Body]:
        for media, described in content.items():
            schema = self._whole(described.get("schema", {}))
            forms = [self._whole(one) for one in schema.get("oneOf", schema.get("anyOf", [schema]))]
            forms = [one for one in forms if "properties" in one] or [schema]
            yield Body(media, self._kind(schema), [list(self._fields(one, "", 0)) for one in forms])

    def _fields(self, schema: dict[str, Any], prefix: str, depth: int) -> Iterator[Field]:
        """The fields of an object, those of objects within it after their own."""
        needed = schema.get("required", ())
        for name, found in schema.get("properties", {}).items():
            whole = self._whole(found)
            says = whole.get("description", "").split("\n\n")[0]
            yield Field(prefix + name, self._kind(whole), name in needed, prose(says))
            inner, mark = self._inner(whole)
            if inner is not None and depth < _DEEPEST:
                yield from self._fields(inner, f"{prefix}{name}{mark}.", depth + 1)

    def _inner(self, schema: dict[str, Any], mark: str = "") -> tuple[dict[str, Any] | None, str]:
        """The object in a field, itself or in a list, and how its fields are reached."""
        for one in (schema, *map(self._whole, schema.get("anyOf", ()))):
            if "properties" in one:
                return one, mark
            if one.get("type") == "array":
                return self._inner(self._whole(one.get("items", {})), f"{mark}[]")
        return None, ""

    def _kind(self, schema: dict[str, Any]) -> str:
        """What a value may be, in words."""
        schema = self._whole(schema)
        if "const" in schema:
            return json.dumps(schema["const"])
        if "enum" in schema:
            return "one of " + ", ".join(map(str, schema["enum"]))
        if several := schema.get("anyOf") or schema.get("oneOf"):
            return " or ".join(dict.fromkeys(map(self._kind, several)))
        kind = schema.get("type", "anything")
        if isinstance(kind, list):
            return " or ".join(kind)
        if kind == "array":
            return f"list of {self._kind(schema.get('items', {}))}" + _bounds(schema)
        values = schema.get("additionalProperties")
        if kind == "object" and isinstance(values, dict) and "properties" not in schema:
            return f"object, each value {self._kind(values)}"
        shape = f" ({schema['format']})" if "format" in schema else ""
        return f"{kind}{shape}{_bounds(schema)}"

    def _who(self, security: list[dict[str, list[str]]]) -> str:
        """Who may call, in words."""
        ways = []
        for way in security:
            for name, scopes in way.items():
                scheme = self._document["components"]["securitySchemes"][name]
                if "session" in name.lower():
                    words = "a sign-in"
                else:
                    words = "an API key" + (f" with the scope {', '.join(scopes)}" if scopes else "")
                if scheme["type"] == "apiKey":
                    words += f" as {scheme['name']}"
                ways.append(words)
        return " or ".join(ways) if ways else "anybody"

    def _curl(self, method: str, path: str, found: dict[str, Any], content: dict[str, Any]) -> str:
        parameters = [self._whole(p) for p in found.get("parameters", ())]
        asked = {
            p["name"]: self._example(p["schema"]) for p in parameters
            if p["in"] == "query" and (p.get("required") or p["schema"].get("examples"))
        }
        lines, credential = [], ""
        for way in found.get("security", ())[:1]:
            for name in way:
                scheme = self._document["components"]["securitySchemes"][name]
                key = "YOUR_SIGN_IN_TOKEN" if "session" in name.lower() else "YOUR_API_KEY"
                if scheme["type"] == "http":
                    credential = f"Authorization: Bearer {key}"
                elif scheme["in"] == "header":
                    credential = f"{scheme['name']}: {key}"
                elif method != "patch":
                    asked = {scheme["name"]: key} | asked
        for name in [p["name"] for p in parameters if p["in"] == "path"]:
            path = path.replace(f"{{{name}}}", name.upper())
        url = self._url + quote(path, safe="/.:@-_~") + (f"?{urlencode(asked)}" if asked else "")
        first = "curl " + (f"-X {method.upper()} " if method != ("post" if content else "get") else "")
        if credential:
            lines.append(f"-H {shlex.quote(credential)}")
        if content:
            media, offered = next(iter(content.items()))
            lines.append(f"-H {shlex.quote(f'Content-Type: {media}')}")
            schema = self._whole(offered.get("schema", {}))
            if media == "application/json" and schema:
                lines.append(f"-d {shlex.quote(json.dumps(self._example(schema), ensure_ascii=False))}")
            else:
                lines.append("--data-binary @FILE")
        return " \\\n  ".join([first + shlex.quote(url), *lines])

    def _example(self, schema: dict[str, Any]) -> Any:
        """A value that the schema takes: its example, or the least of its kind."""
        schema = self._whole(schema)
        if schema.get("examples"):
            return schema["examples"][0]
        for name in ("const", "default"):
            if schema.get(name) is not None:
                return schema[name]
        if "enum" in schema:
            return schema["enum"][0]
        if (several := schema.get("anyOf") or schema.get("oneOf")) and "properties" not in schema:
            return self._example(several[0])
        match schema.get("type"):
            case "object":
                needed = schema.get("required", ())
                return {
                    name: self._example(found) for name, found in schema.get("properties", {}).items()
                    if name in needed or self._whole(found).get("examples")
                }
            case "array":
                return [self._example(schema.get("items", {}))]
            case "integer" | "number":
                return schema.get("minimum", 1)
            case "boolean":
                return True
        return "…"

    def _whole(self, schema: dict[str, Any]) -> dict[str, Any]:
        """The schema (or response, or parameter) itself, where a reference stands for it."""
        for _ in range(_DEEPEST):
            if "$ref" not in schema:
                return schema
            found: Any = self._document
            for step in schema["$ref"].removeprefix("#/").split("/"):
                found = found[step]
            schema = found | {k: v for k, v in schema.items() if k != "$ref"}
        return schema


@functools.lru_cache(maxsize=4096)
def prose(text: str) -> Markup:
    """A paragraph with `code` and **bold** of CommonMark, everything else as it stands."""
    found = []
    for i, part in enumerate(text.split("`")):
        if i % 2:
            found.append(Markup("<code>{}</code>").format(part))
            continue
        for j, words in enumerate(part.split("**")):
            found.append(Markup("<b>{}</b>").format(words) if j % 2 else escape(words))
    return Markup("").join(found)


def _bounds(schema: dict[str, Any]) -> str:
    for least, most, unit in _LENGTHS:
        low, high = schema.get(least), schema.get(most)
        if low is None and high is None:
            continue
        words = f"{low} to {high}" if low is not None and high is not None else (
            f"at most {high}" if low is None else f"from {low}"
        )
        return f", {words} {unit}".rstrip()
    return ""
