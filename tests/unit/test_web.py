"""The HTTP door's frame, over real connections: every mistake gets an answer, none a crash or an exception's words."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession, web

from relay.base.config import Config
from relay.base.storage import Storage, StorageFull, StorageUnavailable
from relay.base.web import (
    Listener,
    UploadMemory,
    answer,
    application,
    client_address,
    is_https,
    is_inside,
    json_body,
    json_value,
    read_body,
)
from relay.replies import RATE_LIMITED, SUPPRESSED, Refused, Verdict
from tests.kit.clock import HandClock
from tests.kit.storage import made, make_config

SECRET = "the exception's own words"


async def echo(request: web.Request) -> web.Response:
    return answer(await json_body(request))


async def size(request: web.Request) -> web.Response:
    return answer(len(await read_body(request, 1000)))


async def who(request: web.Request) -> web.Response:
    proxies = ["127.0.0.0/8", "10.0.0.0/8"]
    return answer([client_address(request, proxies), is_https(request, proxies)])


async def fail(request: web.Request) -> web.Response:
    kind = request.match_info["kind"]
    if kind == "full":
        raise StorageFull(SECRET)
    if kind == "busy":
        raise StorageUnavailable(SECRET)
    if kind == "late":
        raise Refused(RATE_LIMITED, saw="5 of 5", passes_at=request.app_clock + 61.2)  # type: ignore[attr-defined]
    if kind == "refused":
        raise Refused(Verdict(SUPPRESSED, saw="x", reference="abc"))
    if kind == "own":
        raise KeyError(SECRET)
    raise RuntimeError(SECRET)


@pytest.fixture
async def base(tmp_path: Path) -> AsyncIterator[str]:
    config = make_config(
        tmp_path,
        http={"max_small_body_bytes": 2000, "read_timeout_seconds": 0.5, "max_json_depth": 8},
        server={"public_url": "https://mail.example"},
    )
    await made(config)
    clock, storage = HandClock(), await Storage.open(config)

    @web.middleware
    async def with_clock(request: web.Request, handler: Any) -> web.StreamResponse:
        request.app_clock = clock.now()
        got: web.StreamResponse = await handler(request)
        return got

    def translate(_: web.Request, error: Exception) -> web.Response | None:
        return answer({"error": "translated"}, 418) if isinstance(error, KeyError) else None

    def page(_: web.Request, status: int, error: dict[str, Any]) -> web.Response | None:
        return web.Response(text=f"<h1>{error['code']}</h1>", status=status, content_type="text/html")

    app = application(
        config,
        clock,
        storage,
        middlewares=[with_clock],
        translate=[translate],
        error_page=page,
        routes=[web.post("/echo", echo), web.post("/size", size), web.get("/who", who), web.get("/fail/{kind}", fail)],
    )
    listener = Listener(app, config, ["127.0.0.1:0"])
    await listener.start()
    yield f"http://127.0.0.1:{listener.ports[0]}"
    await listener.stop()
    await storage.close()


@pytest.fixture
async def http() -> AsyncIterator[ClientSession]:
    async with ClientSession() as session:
        yield session


async def asked(base: str, raw: bytes) -> tuple[int, dict[str, str], bytes]:
    """Raw octets to the port, the answer back: status, headers, body."""
    reader, writer = await asyncio.open_connection("127.0.0.1", int(base.rpartition(":")[2]))
    try:
        writer.write(raw)
        await writer.drain()
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        status, *lines = head.strip().split("\r\n")
        headers = {k.lower(): v for k, _, v in (line.partition(": ") for line in lines)}
        body = await reader.readexactly(int(headers.get("content-length", 0)))
        return int(status.split()[1]), headers, body
    finally:
        writer.close()
        await writer.wait_closed()


BAD_JSON = [
    b"",
    b"{",
    b'{"a":1,"a":2}',
    b'{"a":{"b":1,"b":2}}',
    b"[NaN]",
    b"[Infinity]",
    b"[-Infinity]",
    b"[1e999]",
    b'["\\ud800"]',
    b'{"\\udfff":1}',
    b"[" * 9 + b"]" * 9,
    b'{"a":' * 300,
    b"\xff\xfe[\x00",
    b'["\xed\xa0\x80"]',
    b"[1" + b"0" * 40 + b"]",
    b"\xef\xbb\xbf{}",
    b'"' + b'\\"' * 500,
    b"[1]x",
    b"{'a':1}",
    b"[01]",
    b'["\n"]',
]


@pytest.mark.parametrize("raw", BAD_JSON)
async def test_json_that_readers_could_read_differently_is_a_400(base: str, http: ClientSession, raw: bytes) -> None:
    async with http.post(f"{base}/echo", data=raw, headers={"Content-Type": "application/json"}) as response:
        got = await response.json()
        assert (response.status, got["code"]) == (400, "INVALID_REQUEST")
        assert set(got) == {"error", "code", "detail"}


def test_a_byte_order_mark_is_named() -> None:
    with pytest.raises(Refused) as caught:
        json_value(b"\xef\xbb\xbf{}")
    assert "byte order mark" in caught.value.verdict.saw


async def test_good_json_comes_through(base: str, http: ClientSession) -> None:
    value = {"a": [1, 2.5, True, None, "ä😀", {"b": "\\ud83d"}], "ü": -3}
    for text in (json.dumps(value), json.dumps(value, ensure_ascii=False)):
        headers = {"Content-Type": "application/json; charset=utf-8"}
        async with http.post(f"{base}/echo", data=text.encode(), headers=headers) as response:
            assert (response.status, await response.json()) == (200, value)


def test_a_body_of_brackets_is_refused_before_it_becomes_objects() -> None:
    with pytest.raises(Refused) as caught:
        json_value(b"[" + b"[]," * 2_000_000 + b"[]]")
    assert "parts" in caught.value.verdict.saw


@pytest.mark.parametrize("piece", [b'"', b'"\\"', b"\\", b'"\\', b"{", b'{"":', b",", b"\x00"])
def test_hostile_json_is_read_in_proportion_to_its_length(piece: bytes) -> None:
    with pytest.raises(Refused):
        json_value(piece * (2_000_000 // len(piece)))


async def test_only_json_is_taken_for_json(base: str, http: ClientSession) -> None:
    # A form of another site can't send application/json without asking first.
    for kind in ("text/plain", "application/x-www-form-urlencoded", "application/jsonx"):
        async with http.post(f"{base}/echo", data=b"{}", headers={"Content-Type": kind}) as response:
            assert response.status == 400


async def test_a_body_is_bounded_by_its_announcement_and_by_its_octets(base: str, http: ClientSession) -> None:
    async with http.post(f"{base}/size", data=b"x" * 1000) as response:
        assert await response.json() == 1000
    status, _, body = await asked(base, b"POST /size HTTP/1.1\r\nHost: h\r\nContent-Length: 99999999999\r\n\r\n")
    assert (status, json.loads(body)["code"]) == (413, "TOO_LARGE")
    chunked = (
        b"POST /size HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"
        + b"400\r\n"
        + b"x" * 1024
        + b"\r\n0\r\n\r\n"
    )
    assert (await asked(base, chunked))[0] == 413
    async with http.post(f"{base}/size", data=b"x", headers={"Content-Encoding": "gzip"}) as response:
        assert response.status == 400


async def test_a_body_that_trickles_is_given_up(base: str) -> None:
    status, _, body = await asked(base, b"POST /size HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\nabc")
    assert (status, json.loads(body)["error"]) == (400, "the body did not arrive in time")


async def test_a_head_that_never_ends_is_cut_off(base: str) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", int(base.rpartition(":")[2]))
    writer.write(b"GET /who HTTP/1.1\r\nHost: h\r\nX-A: ")
    assert await asyncio.wait_for(reader.read(), 20) == b""
    writer.close()
    await writer.wait_closed()


@pytest.mark.parametrize(
    "raw",
    [
        b"GET /who HTTP/1.1\r\n\r\n",
        b"GET /who HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        b"GET /who HTTP/1.1\r\nHost: a b\r\n\r\n",
        b"GET /who HTTP/1.1\r\nHost: <script>\r\n\r\n",
        b"GET /who HTTP/1.1\r\nHost: \r\n\r\n",
        b"EHLO there\r\n\r\n",
        b"GET /who HTTP/9.9\r\nHost: a\r\n\r\n",
        b"GET /who HTTP/1.1\r\nHost: a\r\nSECRETWORD\r\n\r\n",
        b"\x16\x03\x01\x02\x00\r\n\r\n",
        b"GET /" + b"x" * 9000 + b" HTTP/1.1\r\nHost: a\r\n\r\n",
    ],
)
async def test_unreadable_http_is_a_400_in_our_words(base: str, raw: bytes) -> None:
    status, headers, body = await asked(base, raw)
    assert (status, json.loads(body)["code"]) == (400, "INVALID_REQUEST")
    assert b"SECRETWORD" not in body
    assert headers["server"] == "posthouse"


@pytest.mark.parametrize(
    ("kind", "status", "code"),
    [
        ("full", 507, "INSUFFICIENT_STORAGE"),
        ("busy", 503, "TEMPORARILY_UNAVAILABLE"),
        ("other", 500, "INTERNAL_ERROR"),
        ("late", 429, "RATE_LIMITED"),
        ("refused", 422, "SUPPRESSED"),
    ],
)
async def test_whatever_goes_wrong_has_one_shape(
    base: str, http: ClientSession, kind: str, status: int, code: str
) -> None:
    async with http.get(f"{base}/fail/{kind}") as response:
        text = await response.text()
        got = json.loads(text)
        assert (response.status, got["code"]) == (status, code)
        assert SECRET not in text
        assert ("Retry-After" in response.headers) == (status in (429, 500, 503, 507))
        if kind == "other":
            assert got["detail"]["reference"] == response.headers["X-Request-Id"]
        if kind == "late":
            assert response.headers["Retry-After"] == "62"
        if kind == "refused":
            assert got["detail"]["url"] == "https://mail.example/r/abc"


async def test_an_upper_floor_may_translate_its_own_exceptions(base: str, http: ClientSession) -> None:
    async with http.get(f"{base}/fail/own") as response:
        assert (response.status, await response.json()) == (418, {"error": "translated"})


async def test_routing_errors_have_the_shape_too(base: str, http: ClientSession) -> None:
    async with http.get(f"{base}/nowhere") as response:
        assert (response.status, (await response.json())["code"]) == (404, "NOT_FOUND")
    async with http.delete(f"{base}/who") as response:
        assert (response.status, (await response.json())["code"]) == (405, "METHOD_NOT_ALLOWED")
        assert "GET" in response.headers["Allow"]
    async with http.get(f"{base}/nowhere", headers={"Accept": "text/html"}) as response:
        assert (response.status, await response.text()) == (404, "<h1>NOT_FOUND</h1>")


async def test_every_answer_is_fenced_in_for_browsers(base: str, http: ClientSession) -> None:
    ids = set()
    for path in ("/who", "/nowhere", "/fail/other"):
        async with http.get(base + path) as response:
            assert response.headers["X-Content-Type-Options"] == "nosniff"
            assert response.headers["Cache-Control"] == "no-store"
            assert "frame-ancestors 'none'" in response.headers["Content-Security-Policy"]
            assert "max-age" in response.headers["Strict-Transport-Security"]
            assert response.headers["Server"] == "posthouse"
            ids.add(response.headers["X-Request-Id"])
    assert len(ids) == 3


@pytest.mark.parametrize(
    ("forwarded", "found"),
    [
        (None, "127.0.0.1"),
        ("203.0.113.9", "203.0.113.9"),
        ("198.51.100.1, 203.0.113.9, 10.0.0.2", "203.0.113.9"),
        ("203.0.113.9, nonsense", "127.0.0.1"),
        ("::ffff:203.0.113.9", "203.0.113.9"),
        ("10.0.0.1", "10.0.0.1"),
        ("2001:db8::1", "2001:db8::1"),
        (", , ,", "127.0.0.1"),
        ("x" * 5000, "127.0.0.1"),
    ],
)
async def test_the_client_is_who_the_nearest_trusted_proxy_says(
    base: str, http: ClientSession, forwarded: str | None, found: str
) -> None:
    headers = {"X-Forwarded-Proto": "https"} | ({"X-Forwarded-For": forwarded} if forwarded else {})
    async with http.get(f"{base}/who", headers=headers) as response:
        assert await response.json() == [found, True]


def test_uploads_at_once_are_bounded_but_one_always_fits() -> None:
    memory = UploadMemory(100)
    with memory.room(500):
        with pytest.raises(Refused) as caught, memory.room(1):
            pass
        assert caught.value.verdict.reply.http == 503
    assert memory.held == 0


async def test_a_taken_port_is_an_error_and_leaves_nothing_open(tmp_path: Path) -> None:
    config: Config = make_config(tmp_path)
    await made(config)
    storage = await Storage.open(config)
    taken = await asyncio.start_server(lambda r, w: None, "127.0.0.1", 0)
    port = taken.sockets[0].getsockname()[1]
    listener = Listener(application(config, HandClock(), storage), config, [f"127.0.0.1:{port}"])
    with pytest.raises(OSError, match="Address already in use"):
        await listener.start()
    taken.close()
    await taken.wait_closed()
    await storage.close()


@asynccontextmanager
async def hasty(folder: Path, routes: Sequence[web.RouteDef] = (), **sections: dict[str, Any]) -> AsyncIterator[int]:
    """An application that waits for half a second; its port."""
    sections.setdefault("http", {}).setdefault("read_timeout_seconds", 0.5)
    config = make_config(folder, **sections)
    await made(config)
    storage = await Storage.open(config)
    listener = Listener(application(config, HandClock(), storage, routes=routes), config, ["127.0.0.1:0"])
    await listener.start()
    try:
        yield listener.ports[0]
    finally:
        await listener.stop()
        await storage.close()


@pytest.mark.parametrize("path", ["/raw", "/stream", "/form"])
async def test_every_body_has_a_time_however_it_is_read(tmp_path: Path, path: str) -> None:
    async def raw(request: web.Request) -> web.Response:
        return answer(len(await read_body(request, 1000)))

    async def stream(request: web.Request) -> web.Response:
        return answer(len(await request.content.read()))

    async def form(request: web.Request) -> web.Response:
        return answer(len(await request.post()))

    routes = [web.post("/raw", raw), web.post("/stream", stream), web.post("/form", form)]
    async with hasty(tmp_path, routes) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(
            f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-www-form-urlencoded\r\n"
            "Content-Length: 100\r\n\r\na=1".encode()
        )
        async with asyncio.timeout(20):
            head = await reader.readuntil(b"\r\n\r\n")
            assert b" 400 " in head
            assert b"did not arrive in time" in await reader.readexactly(_length(head))
        writer.close()


@pytest.mark.parametrize("begun", [b"", b"GET / HTTP/1.1\r\nHost: x\r\nX-Slow: "])
async def test_a_connection_that_says_nothing_whole_is_closed_in_time(tmp_path: Path, begun: bytes) -> None:
    async with hasty(tmp_path) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(begun)
        async with asyncio.timeout(20):
            assert await reader.read() == b""
        writer.close()


async def test_connections_are_counted_by_client_and_never_by_the_proxy(tmp_path: Path) -> None:
    going = asyncio.Event()

    async def slow(_: web.Request) -> web.Response:
        await going.wait()
        return answer("done")

    async def asked(port: int, client: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(f"GET /slow HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: 192.0.2.9, {client}\r\n\r\n".encode())
        return reader, writer

    async def status(reader: asyncio.StreamReader) -> int:
        return int((await reader.readuntil(b"\r\n\r\n")).split()[1])

    routes, few = [web.get("/slow", slow)], {"max_connections": 6, "max_connections_an_address": 2}
    async with asyncio.timeout(60), hasty(
        tmp_path, routes, server={"trusted_proxies": ["127.0.0.1"]}, http={**few, "read_timeout_seconds": 60.0}
    ) as port:
        clients = ["198.51.100.1"] * 2 + ["198.51.100.2"]
        working = [await asked(port, client) for client in clients]
        one_more = await asked(port, clients[0])
        assert await status(one_more[0]) == 429
        # Connections of the proxy's are nobody's own, and there is an end to them all the same.
        others = [await asked(port, f"198.51.100.{n}") for n in range(10, 13)]
        assert await status(others[2][0]) == 503
        going.set()
        assert [await status(reader) for reader, _ in working + others[:2]] == [200] * 5
        for _, writer in (*working, one_more, *others):
            writer.close()
    going.clear()
    async with asyncio.timeout(60), hasty(tmp_path, routes, server={"trusted_proxies": []}, http=dict(few)) as port:
        three = [await asked(port, f"198.51.100.{n}") for n in range(3)]
        assert await status(three[2][0]) == 503
        going.set()
        assert [await status(reader) for reader, _ in three[:2]] == [200, 200]
        for _, writer in three:
            writer.close()


def _length(head: bytes) -> int:
    return int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0])


@pytest.mark.parametrize(
    ("proxies", "headers", "inside"),
    [
        ([], "", True),
        ([], "X-Forwarded-For: 198.51.100.1", False),
        ([], "X-Forwarded-For: 127.0.0.1", False),
        ([], "Forwarded: for=127.0.0.1", False),
        ([], "Via: 1.1 proxy", False),
        (["127.0.0.1"], "", True),
        (["127.0.0.1"], "X-Forwarded-For: 198.51.100.1", False),
        (["127.0.0.1"], "X-Forwarded-For: 127.0.0.1, 198.51.100.1", False),
        (["127.0.0.1"], "X-Forwarded-For: 127.0.0.1\r\nX-Forwarded-For: 198.51.100.1", False),
        (["127.0.0.1"], "X-Forwarded-For: 198.51.100.1, 127.0.0.1", False),
        (["127.0.0.1"], "X-Forwarded-For: 198.51.100.1:4711", False),
        (["127.0.0.1"], "X-Forwarded-For: unknown", False),
        (["127.0.0.1"], "X-Forwarded-Proto: https", False),
        (["127.0.0.1"], "X-Forwarded-For: 127.0.0.1", True),
    ],
)
async def test_nobody_comes_inside_by_a_header_of_their_own(
    tmp_path: Path, proxies: list[str], headers: str, inside: bool
) -> None:
    async def who(request: web.Request) -> web.Response:
        return answer([is_inside(request, proxies, ["127.0.0.0/8"]), is_https(request, proxies)])

    async with hasty(tmp_path, [web.get("/who", who)], server={"trusted_proxies": proxies}) as port:
        lines = f"{headers}\r\n" if headers else ""
        head = f"GET /who HTTP/1.1\r\nHost: x\r\n{lines}\r\n"
        _, _, body = await asked(f"http://127.0.0.1:{port}", head.encode())
    assert json.loads(body) == [inside, bool(proxies) and "Proto: https" in headers]


@pytest.mark.parametrize(
    ("said", "client"),
    [("198.51.100.1:4711", "198.51.100.1"), ("[2001:db8::1]:4711", "2001:db8::1"), ("[2001:db8::1]", "2001:db8::1"),
     ("2001:db8::1", "2001:db8::1"), ("203.0.113.1, 198.51.100.1", "198.51.100.1")],
)
async def test_a_proxys_word_for_its_client(tmp_path: Path, said: str, client: str) -> None:
    async def who(request: web.Request) -> web.Response:
        return answer(client_address(request, ["127.0.0.1"]))

    async with hasty(tmp_path, [web.get("/who", who)]) as port:
        head = f"GET /who HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: {said}\r\n\r\n"
        _, _, body = await asked(f"http://127.0.0.1:{port}", head.encode())
    assert json.loads(body) == client
