"""Any JSON at the send API: a 2xx or a named 4xx, never a 5xx, and nothing injected into what was accepted."""

from __future__ import annotations

import email
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from relay.base.web import Listener, application
from relay.sendapi import SendServices, send_routes
from tests.kit.storage import make_config
from tests.kit.world import MemberAt, World

text = st.text(max_size=30)
wild = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    text,
    st.sampled_from(
        ["a@sink.test", "Ann <a@sink.test>", '"x" <a@sink.test>', "jürgen@bücher.example", "a@b\r\nX: y", ""]
    ),
)
value = st.recursive(
    wild, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(text, inner, max_size=4), max_leaves=8
)
names = st.sampled_from(
    [
        "from",
        "to",
        "cc",
        "bcc",
        "subject",
        "text",
        "html",
        "replyTo",
        "headers",
        "category",
        "attachments",
        "tags",
        "metadata",
        "sendAt",
        "messages",
    ]
)
good = {"from": "A <a@example.test>", "to": "b@sink.test", "subject": "S", "text": "T"}
bodies = st.one_of(
    value,
    st.dictionaries(names | text, value, max_size=4),
    st.dictionaries(names, value, max_size=3).map(lambda more: good | more),
    st.fixed_dictionaries({"subject": text, "html": text, "headers": st.dictionaries(text, text, max_size=2)}).map(
        lambda more: good | more
    ),
)


class Api:
    def __init__(self, world: World, http: ClientSession, alice: MemberAt) -> None:
        self.world, self.http, self.alice = world, http, alice

    async def post(self, path: str, raw: bytes) -> tuple[int, dict[str, Any]]:
        headers = {"Authorization": f"Bearer {self.alice.key}", "Content-Type": "application/json"}
        async with self.http.post(path, data=raw, headers=headers) as response:
            return response.status, await response.json()


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[Api]:
    world = await World.make(make_config(tmp_path, retention={"refusals_an_hour": 5}))
    services = SendServices(
        config=world.config,
        clock=world.clock,
        storage=world.storage,
        directory=world.directory,
        policy=world.policy,
        intake=world.intake,
        refusals=world.refusals,
    )
    app = application(world.config, world.clock, world.storage, routes=send_routes(services))
    listener = Listener(app, world.config, ["127.0.0.1:0"])
    await listener.start()
    alice = await world.member()
    await world.domain(alice)
    async with ClientSession(f"http://127.0.0.1:{listener.ports[0]}") as http:
        yield Api(world, http, alice)
    await listener.stop()
    await world.close()


@given(bodies, st.sampled_from(["/v1/send", "/v1/preflight", "/v1/send/batch"]))
@settings(
    max_examples=250, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
async def test_any_json_gets_an_answer_with_a_name(api: Api, body: Any, path: str) -> None:
    status, got = await api.post(path, json.dumps(body).encode())
    assert status in (200, 400, 403, 413, 422), got
    assert status == 200 or {"error", "code", "detail"} == set(got)
    for ready in await api.world.queue.claim(200, {}):
        raw = ready.head + ready.body
        read = email.message_from_bytes(raw)
        assert all(len(read.get_all(name, [])) == 1 for name in ("From", "Subject", "MIME-Version", "Message-ID"))
        assert read.get_all("Bcc") is None


@given(st.binary(max_size=60))
@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_any_octets_are_a_400(api: Api, raw: bytes) -> None:
    status, got = await api.post("/v1/send", raw)
    assert (status, got["code"]) == (400, "INVALID_REQUEST")
