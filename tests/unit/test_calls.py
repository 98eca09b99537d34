"""A new call is one decorated handler: it is routed, its caller found, its query and body read, and it is described."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession, web
from pydantic import Field

from relay.base.web import Listener, application
from relay.base.web.calls import KEY, OPEN, Call, Calls, operations, routes
from relay.base.web.models import Page, Strict, View
from relay.replies import AUTH_REQUIRED, Refused
from tests.kit.clock import HandClock
from tests.kit.storage import make_config

_calls = Calls("Parcels", KEY)


class Filter(Page):
    colour: str | None = None
    kind: list[str] = Field(default_factory=list)


class NewParcel(Strict):
    to_whom: str
    note: str | None = None


class Parcel(View):
    id: int
    to_whom: str


class Parcels:
    @_calls.get("/parcels", "List them")
    async def list(self, who: str, query: Filter) -> list[Any]:
        return [who, query.cursor, query.limit, query.colour, query.kind]

    @_calls.post("/parcels", "Make one", status=201)
    async def make(self, who: str, body: NewParcel) -> Parcel:
        return Parcel(id=7, to_whom=body.to_whom)

    @_calls.delete("/parcels/{id}", "Lose one")
    async def lose(self, id: int) -> None:
        assert id == 7

    @_calls.get("/about", "Anybody may read this", access=OPEN)
    async def about(self, request: web.Request) -> web.Response:
        return web.Response(text=request.path)


async def find(request: web.Request, call: Call) -> str:
    if call.access != OPEN and "Authorization" not in request.headers:
        raise Refused(AUTH_REQUIRED)
    return f"anna may {call.scope}"


@pytest.fixture
async def http(tmp_path: Path) -> AsyncIterator[ClientSession]:
    config = make_config(tmp_path)
    app = application(config, HandClock(), None, routes=routes(Parcels(), find))  # type: ignore[arg-type]
    listener = Listener(app, config, ["127.0.0.1:0"])
    await listener.start()
    async with ClientSession(f"http://127.0.0.1:{listener.ports[0]}", headers={"Authorization": "Bearer x"}) as made:
        yield made
    await listener.stop()


async def asked(http: ClientSession, method: str, path: str, **more: Any) -> tuple[int, Any]:
    async with http.request(method, path, **more) as response:
        return response.status, None if response.status == 204 else await response.json()


async def test_the_handler_gets_what_its_signature_names(http: ClientSession) -> None:
    query = "/parcels?cursor=9&limit=3&colour=red&kind=s&kind=m&did=did:web:x"
    assert await asked(http, "GET", query) == (200, ["anna may read", 9, 3, "red", ["s", "m"]])
    assert await asked(http, "POST", "/parcels", json={"toWhom": "ben"}) == (201, {"id": 7, "toWhom": "ben"})
    assert await asked(http, "DELETE", "/parcels/7") == (204, None)
    async with http.get("/about") as response:
        assert (response.status, await response.text()) == (200, "/about")


@pytest.mark.parametrize(
    ("method", "path", "json", "status", "field"),
    [
        ("GET", "/parcels?color=red", None, 400, "color"),
        ("GET", "/parcels?colour=red&colour=blue", None, 400, "colour"),
        ("GET", "/parcels?limit=0", None, 400, "limit"),
        ("GET", "/parcels?limit=1e3", None, 400, "limit"),
        ("GET", "/parcels?cursor=-1", None, 400, "cursor"),
        ("GET", "/parcels?colour=%00", None, 400, "colour"),
        # A call that declares no query takes none.
        ("POST", "/parcels?limit=1", {"toWhom": "ben"}, 400, "limit"),
        ("GET", "/about?x=1", None, 400, "x"),
        ("POST", "/parcels", {"toWhom": "ben", "from": "me"}, 400, "from"),
        ("POST", "/parcels", {}, 400, "toWhom"),
        ("DELETE", "/parcels/seven", None, 404, None),
        ("DELETE", "/parcels/" + "7" * 30, None, 404, None),
    ],
)
async def test_what_nobody_declared_is_refused_by_name(
    http: ClientSession, method: str, path: str, json: Any, status: int, field: str | None
) -> None:
    got, body = await asked(http, method, path, **({} if json is None else {"json": json}))
    assert (got, body["detail"].get("field")) == (status, field)


async def test_the_caller_is_known_before_the_rest_is_read(http: ClientSession) -> None:
    del http.headers["Authorization"]
    status, body = await asked(http, "POST", "/parcels?strange=1", data=b"no JSON")
    assert (status, body["code"]) == (400, "AUTH_REQUIRED")


def test_it_is_described() -> None:
    paths = operations([Parcels])
    listing, making, losing = paths["/parcels"]["get"], paths["/parcels"]["post"], paths["/parcels/{id}"]["delete"]
    assert listing["summary"] == "List them"
    assert listing["tags"] == ["Parcels"]
    assert listing["security"] == [{"apiKey": ["read"]}]
    assert [p["name"] for p in listing["parameters"]] == ["cursor", "limit", "colour", "kind"]
    assert listing["parameters"][2]["schema"] == {"type": "string"}
    assert making["security"] == [{"apiKey": ["manage"]}]
    takes = making["requestBody"]["content"]["application/json"]["schema"]
    assert takes["required"] == ["toWhom"]
    assert takes["properties"]["note"] == {"anyOf": [{"type": "string"}, {"type": "null"}]}
    assert set(making["responses"]["201"]["content"]["application/json"]["schema"]["properties"]) == {"id", "toWhom"}
    assert losing["parameters"] == [{"name": "id", "in": "path", "required": True, "schema": {"type": "integer"}}]
    assert {"204", "404"} < set(losing["responses"])
    assert paths["/about"]["get"]["security"] == []


def test_a_handler_that_asks_for_what_nobody_hands_it_is_a_mistake_at_the_start() -> None:
    class Wrong:
        @_calls.get("/wrong/{id}", "Never served")
        async def wrong(self, ident: int) -> None: ...

    with pytest.raises(TypeError, match="ident"):
        routes(Wrong(), find)


