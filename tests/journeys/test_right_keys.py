"""Strangers try keys at every API; whoever has the right one is served at once, whatever they did."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.kit.api_fuzz import PASSWORD
from tests.kit.storage import make_config
from tests.kit.whole import Whole, whole

FAILURES = 3
MAIL = {"from": "a@example.test", "to": "b@sink.test", "subject": "Hello", "text": "Hello."}
Ask = Callable[["Server", str], Awaitable[tuple[int, int]]]


def nobodys(n: int) -> str:
    """A well-formed key that nobody has."""
    return f"ph_{'a' * 10}{chr(ord('a') + n // 26)}{chr(ord('a') + n % 26)}_{'x' * 43}"


class Server:
    """The whole application, and alice with a key and a sign-in."""

    def __init__(self, at: Whole, http: aiohttp.ClientSession) -> None:
        self.at, self.http = at, http
        self.key = self.sign_in = ""

    async def furnish(self) -> None:
        services = self.at.env.services
        member = await services.accounts.create("alice", "alice@mail.test", PASSWORD, by_operator=True)
        self.key, _ = await services.credentials.issue(member.id)
        self.sign_in, _ = await services.sessions.open(member.id, "127.0.0.1", "")
        at: Any = type("At", (), {"id": member.id})()
        domain = await self.at.env.verified(at, "example.test")
        await self.at.env.world.change("domains", domain.id, tier="unlimited")
        await self.at.env.world.directory.refresh()

    async def ask(self, method: str, path: str, headers: dict[str, str] | None = None, **more: Any) -> tuple[int, int]:
        """(status, Retry-After or 0)"""
        async with self.http.request(method, self.at.url + path, headers=headers or {}, **more) as answer:
            await answer.read()
            return answer.status, int(answer.headers.get("Retry-After", "0"))


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


APIS: dict[str, Ask] = {
    "send": lambda d, key: d.ask("POST", "/v1/send", bearer(key), json=MAIL),
    "messages": lambda d, key: d.ask("GET", "/v1/messages", bearer(key)),
    "enroll": lambda d, key: d.ask("GET", "/v1/domains", bearer(key)),
    "octeth": lambda d, key: d.ask("GET", "/api/v1/user.senderdomains", params={"APIKey": key}),
    "octeth by Command": lambda d, key: d.ask(
        "POST", "/api.php", data={"APIKey": key, "Command": "user.senderdomain.list"}
    ),
    "wix": lambda d, key: d.ask("GET", "/sender-emails/v1/sender-emails", {"Authorization": key}),
}


@pytest.fixture
async def server(tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[Server]:
    config = make_config(
        tmp_path, submission={"auth_failures_an_address": FAILURES}, http={"requests_a_minute": request.param},
        octeth={"error_status": "http"},
    )
    async with whole(config) as at, aiohttp.ClientSession() as http:
        made = Server(at, http)
        await made.furnish()
        yield made


@pytest.mark.parametrize("server", [1000], indirect=True)
async def test_wrong_keys_wait_and_the_right_one_does_not(server: Server) -> None:
    window = server.at.env.world.config.submission.auth_failure_window_seconds
    for api, ask in APIS.items():
        said = [await ask(server, nobodys(n)) for n in range(12)]
        assert said == [(401, 0)] * FAILURES + [(429, window)] * (12 - FAILURES), api
        for name, other in APIS.items():
            assert (await other(server, server.key))[0] == 200, name
            assert (await other(server, nobodys(0)))[0] == 429, name
        await server.at.env.world.pass_time(window + 1)


@pytest.mark.parametrize("server", [1000], indirect=True)
async def test_what_is_no_key_is_no_guess(server: Server) -> None:
    for api, ask in APIS.items():
        for _ in range(FAILURES + 2):
            assert await ask(server, server.sign_in) in ((401, 0), (200, 0)), api
    for _ in range(FAILURES + 2):
        for header in ("Basic YWxpY2U6eA==", "Bearer", "Bearer "):
            assert (await server.ask("GET", "/v1/domains", {"Authorization": header}))[0] == 401
        # A key where a sign-in is wanted, right or wrong.
        for key in (server.key, nobodys(1)):
            assert (await server.ask("GET", "/v1/keys", bearer(key)))[0] == 403
            assert (await server.ask("GET", "/api/v1/user.senderdomains", params={"SessionID": key}))[0] == 401
    assert await APIS["send"](server, nobodys(0)) == (401, 0)


@pytest.mark.parametrize("server", [30], indirect=True)
async def test_a_flood_of_strangers_does_not_use_up_what_a_member_may_ask(server: Server) -> None:
    for n in range(40):
        await server.ask("GET", "/v1/domains", bearer(nobodys(n)))
        await server.ask("GET", "/account")
    for path in ("/v1/domains", "/account"):
        status, wait = await server.ask("GET", path)
        assert status == 429
        assert 0 < wait <= 60
    for name, ask in APIS.items():
        assert (await ask(server, server.key))[0] == 200, name
    cookie = {"Cookie": f"posthouse={server.sign_in}"}
    assert (await server.ask("GET", "/account/keys", cookie))[0] == 200
    assert (await server.ask("GET", "/v1/keys", bearer(server.sign_in)))[0] == 200
    # A member has a bound too, of its own.
    said = [(await server.ask("GET", "/v1/domains", bearer(server.key)))[0] for _ in range(40)]
    assert 429 in said
    assert (await server.ask("POST", "/v1/send", bearer(server.key), json=MAIL))[0] == 200


@pytest.mark.parametrize("server", [8], indirect=True)
async def test_a_right_key_used_wrongly_hears_why_whatever_strangers_asked(server: Server) -> None:
    services = server.at.env.services
    reads, _ = await services.credentials.issue(
        (await services.accounts.get("alice")).id, scopes=("read",)
    )
    await server.at.env.world.directory.refresh()
    for n in range(9):
        await server.ask("GET", "/v1/domains", bearer(nobodys(n)))
    new = {"name": "new.test"}
    assert await server.ask("POST", "/v1/domains", bearer(reads), json=new) == (403, 0)
    for at, status in (
        ("/v1/domains?did=did:web:other.test", 401), ("/v1/domains?did=nonsense", 400),
        ("/v1/domains?did=did:web:a.test&did=did:web:b.test", 400), ("/v1/keys", 403),
    ):
        assert await server.ask("GET", at, bearer(server.key)) == (status, 0), at
    await services.accounts.suspend("alice", "spam")
    assert await server.ask("POST", "/v1/domains", bearer(server.key), json=new) == (403, 0)
    # Nor does it use up what others at its address may ask.
    await server.at.env.world.pass_time(61)
    for method, path in (("POST", "/v1/domains"), ("GET", "/v1/domains?did=nonsense"), ("GET", "/v1/keys")):
        for _ in range(9):
            last = (await server.ask(method, path, bearer(server.key), json=new))[0]
        assert (last, (await server.ask("GET", "/account"))[0]) == (429, 200), path
        await server.at.env.world.pass_time(61)
