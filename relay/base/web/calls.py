"""A call of an API, declared once: a decorator on its handler says method, path, who may ask, what it does.

    _page = Calls("Suppressions", KEY_OR_SIGN_IN)

    class Suppressions:
        @_page.get("/v1/suppressions/{address}", "Look an address up")
        async def look_up(self, who: Actor, address: str) -> SuppressionView: ...

The rest stands in the handler's signature. It is handed what it names: `who` (what the authenticator found),
`request`, each parameter of the path, `query` (a `Query`) and `body` (a model), both read strictly; what it returns
is the answer. A handler that reads its body itself, or answers in its own form, has that described by `takes`,
`body_as`, `gives`, `gives_as`, and by `asks` for a query.

From this are made the route (`routes`) and the operation (`operations`). An API in another system's shape has its
own authenticator, reading and errors: it takes `declared`, and makes routes of its own.

Promises that the caller is known before anything of the body is read, and that a name nobody declared is refused.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar, get_type_hints

from aiohttp import hdrs, web
from aiohttp.typedefs import Handler
from pydantic import BaseModel
from typing_extensions import is_typeddict

from relay.base.web.answers import answer
from relay.base.web.models import View, body, read_query
from relay.base.web.schema import Paths, Security, Shape, as_content, operation, parameters_of, with_refusals
from relay.replies import NOT_FOUND, Refused

Function = TypeVar("Function", bound=Callable[..., Awaitable[Any]])
_MARK = "_declared_call"
_MAX_ID_DIGITS = 15


@dataclass(frozen=True, slots=True)
class Access:
    """Who may ask: security schemes of the document, those of keys (which have scopes) and those of sign-ins."""

    keys: tuple[str, ...] = ()
    sign_ins: tuple[str, ...] = ()

    def security(self, scope: str) -> Security:
        """As OpenAPI says it."""
        return [{name: [scope]} for name in self.keys] + [{name: []} for name in self.sign_ins]


OPEN = Access()
KEY = Access(keys=("apiKey",))
SIGN_IN = Access(sign_ins=("session",))
KEY_OR_SIGN_IN = Access(keys=("apiKey",), sign_ins=("session",))
SECURITY_SCHEMES: dict[str, Any] = {
    "apiKey": {
        "type": "http", "scheme": "bearer",
        "description": "An API key (`ph_…`) as `Authorization: Bearer …`. It has scopes: `send`, `read`, `manage`.",
    },
    "session": {
        "type": "http", "scheme": "bearer",
        "description": "The token of a sign-in (`POST /v1/sessions`), as `Authorization: Bearer …`.",
    },
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One call.

    `reads`: it changes nothing, whatever its method. `suspended`: a suspended member may, too. `limited`: a key may,
    too, that is limited to some of the member's domains. `status` is that of
    the good answer, `also` are further ones with the same body and what they mean, `errors` statuses of refusals
    beside those that its kind has; `headers` are those of the good answer, `takes_headers` parameters in OpenAPI's
    form. `asks`, `takes`, `gives` are shapes that the handler's signature doesn't say; `body_as` and `gives_as` name
    a body that isn't JSON, or not only, by media type. `hands`: what else handlers are handed, in an API that makes
    its routes itself.
    """

    method: str
    path: str
    says: str
    tag: str
    access: Access
    scope: str
    reads: bool
    suspended: bool = False
    limited: bool = True
    description: str = ""
    status: int = 200
    also: Mapping[int, str] = field(default_factory=dict)
    errors: tuple[int, ...] = ()
    headers: Mapping[str, str] = field(default_factory=dict)
    takes_headers: tuple[Mapping[str, Any], ...] = ()
    asks: type[BaseModel] | None = None
    takes: Shape | None = None
    gives: Shape | None = None
    body_as: Mapping[str, Any] = field(default_factory=dict)
    gives_as: Mapping[str, Any] = field(default_factory=dict)
    responses: Mapping[str, Any] = field(default_factory=dict)
    hands: tuple[str, ...] = ()


Authenticate = Callable[[web.Request, Call], Awaitable[Any]]
"""Finds who asks, and whether they may make this call; raises what refuses it."""


class Calls:
    """The calls about one kind of thing: they share a tag, who may ask, and whatever else of `Call` is in `more`."""

    def __init__(self, tag: str, access: Access, **more: Any) -> None:
        self._shared = {"tag": tag, "access": access, **more}

    def get(self, path: str, says: str, **more: Any) -> Callable[[Function], Function]:
        """Declare a call that reads."""
        return self._declare(hdrs.METH_GET, path, says, more)

    def post(self, path: str, says: str, **more: Any) -> Callable[[Function], Function]:
        """Declare a call that does something."""
        return self._declare(hdrs.METH_POST, path, says, more)

    def put(self, path: str, says: str, **more: Any) -> Callable[[Function], Function]:
        """Declare a call that sets something."""
        return self._declare(hdrs.METH_PUT, path, says, more)

    def patch(self, path: str, says: str, **more: Any) -> Callable[[Function], Function]:
        """Declare a call that changes something."""
        return self._declare(hdrs.METH_PATCH, path, says, more)

    def delete(self, path: str, says: str, **more: Any) -> Callable[[Function], Function]:
        """Declare a call that removes something."""
        return self._declare(hdrs.METH_DELETE, path, says, more)

    def _declare(self, method: str, path: str, says: str, more: dict[str, Any]) -> Callable[[Function], Function]:
        reads = more.get("reads", method == hdrs.METH_GET)
        made = {"scope": "read" if reads else "manage", "reads": reads} | self._shared | more
        call = Call(method=method, path=path, says=says, **made)

        def mark(function: Function) -> Function:
            # One handler may serve several paths.
            setattr(function, _MARK, (call, *getattr(function, _MARK, ())))
            return function

        return mark


@dataclass(frozen=True, slots=True)
class Signature:
    """What a handler is handed and what it answers: models of `query` and `body`, types of the path's parameters,
    the names of all that it takes."""

    wants: frozenset[str]
    query: type[BaseModel] | None
    body: type[BaseModel] | None
    path: Mapping[str, type[Any]]
    gives: Any


def declared(page: object) -> Iterator[tuple[Call, Callable[..., Any]]]:
    """The calls of a page (a class, or an object of one, whose handlers are then bound), in their order."""
    of = page if isinstance(page, type) else type(page)
    for name, function in vars(of).items():
        for call in getattr(function, _MARK, ()):
            yield call, getattr(page, name)


def routes(page: object, authenticate: Authenticate) -> list[web.RouteDef]:
    """The routes of a page's calls, each authenticated, its query, path and body read."""
    return [web.route(call.method, call.path, _served(call, function, authenticate))
            for call, function in declared(page)]


def operations(pages: Iterable[type[Any]], *, refusal: Shape | None = None) -> Paths:
    """The OpenAPI operations of the calls of some pages. `refusal`: the shape of their errors, where it isn't ours."""
    found: Paths = {}
    for page in pages:
        for call, function in declared(page):
            found.setdefault(call.path, {})[call.method.lower()] = _operation(call, function, refusal)
    return found


def signature_of(function: Callable[..., Any], call: Call) -> Signature:
    """What the signature of a handler says."""
    return _signature(inspect.unwrap(getattr(function, "__func__", function)), call.path, call.hands)


@functools.cache
def _signature(function: Callable[..., Any], path: str, hands: tuple[str, ...]) -> Signature:
    hints = get_type_hints(function)
    wants = frozenset(name for name in inspect.signature(function).parameters if name != "self")
    placed = {part[1:-1]: str for part in path.split("/") if part.startswith("{")}
    strange = wants - placed.keys() - {"who", "request", "query", "body", *hands}
    if strange:
        raise TypeError(f"{function.__qualname__}: nobody hands it {', '.join(sorted(strange))}")
    return Signature(
        wants, hints.get("query"), hints.get("body"), {name: hints.get(name, kind) for name, kind in placed.items()},
        hints.get("return"),
    )


def _served(call: Call, function: Callable[..., Any], authenticate: Authenticate) -> Handler:
    takes = signature_of(function, call)
    # A handler that reads its query itself has it checked all the same.
    asks = takes.query or call.asks

    async def serve(request: web.Request) -> web.StreamResponse:
        who = await authenticate(request, call)
        handed: dict[str, Any] = {"who": who, "request": request, "query": read_query(asks, request)}
        for name, kind in takes.path.items():
            handed[name] = _path_value(request.match_info[name], kind)
        if takes.body is not None:
            handed["body"] = await body(takes.body, request)
        return _answered(await function(**{name: handed[name] for name in takes.wants}), call.status)

    return serve


def _path_value(text: str, kind: type[Any]) -> Any:
    """A parameter of the path; what can't be an id is not found."""
    if kind is not int:
        return text
    if not (text.isascii() and text.isdecimal() and len(text) <= _MAX_ID_DIGITS):
        raise Refused(NOT_FOUND)
    return int(text)


def _answered(value: Any, status: int) -> web.StreamResponse:
    if isinstance(value, web.StreamResponse):
        return value
    if isinstance(value, View):
        return value.response(status)
    if value is None:
        return web.Response(status=204)
    return answer(value, status)


def _operation(call: Call, function: Callable[..., Any], refusal: Shape | None) -> dict[str, Any]:
    found = signature_of(function, call)
    gives = call.gives
    if gives is None and (is_typeddict(found.gives) or _is_model(found.gives)):
        gives = found.gives
    status = 204 if found.gives is type(None) else call.status
    kinds = {int: "integer", str: "string"}
    made = operation(
        call.says, security=call.access.security(call.scope), takes=call.takes or found.body, gives=gives,
        status=status, path={name: kinds[kind] for name, kind in found.path.items()}, errors=call.errors,
        also=call.also, headers=call.headers, refusal=refusal, description=call.description,
    )
    parameters = parameters_of(found.query or call.asks) + [dict(one) for one in call.takes_headers]
    if parameters:
        made["parameters"] = made.get("parameters", []) + parameters
    if call.body_as:
        made["requestBody"] = {"required": True, "content": as_content(call.body_as)}
    if call.gives_as:
        good = made["responses"][str(status)]
        good["content"] = good.get("content", {}) | as_content(call.gives_as)
    made["responses"] |= call.responses
    return with_refusals(made, call.path, call.method.lower(), call.tag)


def _is_model(found: Any) -> bool:
    return isinstance(found, type) and issubclass(found, BaseModel)
