"""The pages on a real port, over a real relay, with members, domains and mail to look at."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pyotp
from aiohttp import ClientResponse, ClientSession, CookieJar
from argon2 import PasswordHasher
from sqlalchemy import update

from enroll import app as enrollment
from enroll.accounts import Member
from enroll.pages import PageServices, pages
from posthouse.operating.pages import operator_routes
from posthouse.serve.openapi import described
from relay.base.config import Config
from relay.base.storage.tables import members
from relay.base.web import Listener, application
from relay.outcome import Peer, Reply, Stage, from_reply
from tests.kit.enrolling import Enrolling, enrolling
from tests.kit.world import MemberAt

PASSWORD = "correct horse battery"
FORM = "application/x-www-form-urlencoded"
NASTY = "<script>window.hacked=1</script>\"'<img src=x onerror=window.hacked=1>"


async def findings() -> dict[str, Any]:
    """What the doctor might say: how it examines is tried elsewhere."""
    return {"ok": False, "findings": [
        {"name": "disk", "status": "ok", "saw": "81 % free", "fix": ""},
        {"name": "blocklists", "status": "fail", "saw": f"192.0.2.1 is on bl.test {NASTY}", "fix": "ask bl.test"},
    ]}


class Visit:
    """A browser without a face: cookies, forms, no redirects followed."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.client = ClientSession(cookie_jar=CookieJar(unsafe=True))

    async def get(self, path: str, **headers: str) -> tuple[int, str, ClientResponse]:
        return await self._ask("GET", path, None, headers)

    async def post(self, path: str, fields: Any = (), **headers: str) -> tuple[int, str, ClientResponse]:
        """A form as it stands, without any token."""
        return await self._ask("POST", path, fields, headers)

    async def send(self, page: str, path: str, fields: dict[str, Any] | None = None) -> tuple[int, str, ClientResponse]:
        """Load `page`, take the token of its first form, and post to `path` as that page would."""
        _, text, _ = await self.get(page)
        data = [("csrf", token(text))]
        for name, value in (fields or {}).items():
            data += [(name, v) for v in (value if isinstance(value, list) else [value])]
        return await self.post(path, data, Sec_Fetch_Site="same-origin", Origin=self.url)

    async def sign_in(self, login: str = "alice", password: str = PASSWORD, code: str = "") -> None:
        fields = {"login": login, "password": password, "code": code}
        status, text, _ = await self.send("/account", "/account/sign-in", fields)
        assert status == 303, text

    async def _ask(self, method: str, path: str, data: Any, headers: dict[str, str]) -> tuple[int, str, ClientResponse]:
        sent = {"Accept": "text/html"} | {k.replace("_", "-"): v for k, v in headers.items()}
        url = path if path.startswith("http") else self.url + path
        # A list keeps several fields of one name apart; an empty form is still a form.
        kwargs = {} if data is None else {"data": list(data) or "", "headers": sent | {"Content-Type": FORM}}
        async with self.client.request(
            method, url, allow_redirects=False, **({"headers": sent} | kwargs)
        ) as response:
            return response.status, await response.text(), response


class Site:
    """Everything a test of the pages needs."""

    def __init__(self, env: Enrolling, url: str) -> None:
        self.env, self.url = env, url
        self.visits: list[Visit] = []

    def visit(self) -> Visit:
        visit = Visit(self.url)
        self.visits.append(visit)
        return visit

    async def signed_in(self, handle: str = "alice") -> Visit:
        visit = self.visit()
        await visit.sign_in(handle)
        return visit

    async def account(self, handle: str) -> Member:
        return await self.env.services.accounts.create(
            handle, f"{handle}@mail.test", PASSWORD, by_operator=True
        )

    async def operator(self, handle: str = "olga") -> str:
        """A member with the operator's role and a second factor; a recovery code to sign in with."""
        made = await self.account(handle)
        services = self.env.services.accounts
        await services.set_operator(handle, True)
        offer, now = services.second_factor.offer(made.id, handle), int(self.env.clock.now())
        return (await services.second_factor.begin(made.id, offer.token, pyotp.TOTP(offer.secret).at(now), 0))[0]

    async def member(self, handle: str) -> MemberAt:
        """A member with a password and one API key, as the relay's tests speak of it."""
        made = await self.account(handle)
        text, key = await self.env.services.credentials.issue(made.id, description="first key")
        return MemberAt(made.id, made.handle, made.did, text, key.id)

    async def suspend(self, member: MemberAt, reason: str) -> None:
        async def do(tx: Any) -> None:
            await tx.execute(update(members).where(members.c.id == member.id).values(status="suspended", reason=reason))

        await self.env.storage.write(do)

    async def answered(self, says: str, code: int, stage: Stage = "rcpt", host: str = "mx.sink.test") -> None:
        """Everything that is due is tried, and the other side says this."""
        queue = self.env.world.queue
        reply = Reply(code, (says.encode(),))
        for ready in await queue.claim(100, {}):
            await queue.settle(ready.due, from_reply(reply, stage, Peer(host, "192.0.2.9", "TLSv1.3", True)))


def token(text: str) -> str:
    """The form token of a page."""
    found = re.search(r'name="csrf" value="([^"]+)"', text)
    assert found, text[:2000]
    return found[1]


@asynccontextmanager
async def site(config: Config) -> AsyncIterator[Site]:
    """The pages, until the block ends. alice and bob have accounts."""
    async with enrolling(config) as env:
        # How dear a password's hash is, is tried elsewhere; here it would be most of the time.
        env.services.passwords._hasher = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
        made = pages(PageServices.of(env.services, env.world.intake, env.world.queue), described(config))
        app = application(
            config, env.clock, env.storage,
            routes=[
                *enrollment.routes(env.services), *made.routes,
                *operator_routes(env.world.core, made.guard, made.renderer, findings),
            ],
            translate=[enrollment.translate], error_page=made.error_page,
        )
        listener = Listener(app, config, ["127.0.0.1:0"])
        await listener.start()
        place = Site(env, f"http://127.0.0.1:{listener.ports[0]}")
        try:
            yield place
        finally:
            for visit in place.visits:
                await visit.client.close()
            await listener.stop()
