"""DIDs and handles: a did:web and a did:plc taken with proof and refused without, and the handles that we answer for.

The directory of did:plc, the web servers and the DNS are the test's own.
"""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import trustme
from aiohttp import web

from relay.base.storage import accounts
from tests.kit.storage import make_config
from tests.kit.whole import Whole, whole
from tests.kit.world import MemberAt

PLC = "did:plc:" + "a" * 24
NAMES = ("example.test", "sub.example.test", "bob.test", "other.test")


class Web:
    """What other servers say: the body, or the status, of a GET at `host/path`."""

    def __init__(self) -> None:
        self.says: dict[str, Any] = {}
        self.port = 0

    async def answer(self, request: web.Request) -> web.Response:
        said = self.says.get(f"{request.url.host}{request.path}", 404)
        if isinstance(said, int):
            return web.Response(status=said)
        return web.Response(text=said) if isinstance(said, str) else web.json_response(said)

    @asynccontextmanager
    async def serving(self, context: ssl.SSLContext | None) -> AsyncIterator[int]:
        """On loopback until the block ends; gives the port."""
        app = web.Application()
        app.router.add_get("/{path:.*}", self.answer)
        runner = web.AppRunner(app)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context).start()
        try:
            yield runner.addresses[0][1]
        finally:
            await runner.cleanup()


class Place:
    """A relay, and a world of handles around it."""

    def __init__(self, at: Whole, others: Web, http: aiohttp.ClientSession) -> None:
        self.at, self.web, self.http = at, others, http
        self._txts: dict[str, tuple[str, ...]] = {}
        self.alice: MemberAt
        self.bob: MemberAt

    async def ask(self, body: dict[str, Any], who: MemberAt) -> tuple[int, Any]:
        token, _ = await self.at.env.services.sessions.open(who.id, "127.0.0.1", "")
        headers = {"Authorization": f"Bearer {token}"}
        async with self.http.put(f"{self.at.url}/v1/did", json=body, headers=headers) as answer:
            return answer.status, await answer.json()

    async def take(self, did: str, who: MemberAt | None = None) -> tuple[int, str]:
        """(status, the DID or the code)."""
        status, body = await self.ask({"did": did}, who or self.alice)
        return status, body["did"] if status == 200 else body["code"]

    async def did_at(self, host: str) -> tuple[int, str]:
        async with self.http.get(f"{self.at.url}/.well-known/atproto-did", headers={"Host": host}) as answer:
            return answer.status, await answer.text() if answer.status == 200 else ""

    def txt(self, handle: str, *values: str) -> None:
        """What stands at `_atproto.<handle>`, and nothing else."""
        zone, name = self.at.env.zone(handle), f"_atproto.{handle}"
        for old in self._txts.pop(name, ()):
            zone.remove(name, "TXT", old)
        for value in values:
            zone.add(name, "TXT", value)
        self._txts[name] = values

    def document(self, did: str, *handles: str, at: str = "") -> None:
        """The document of a DID, at the directory or where a did:web says."""
        reported = {"id": did, "alsoKnownAs": [f"at://{one}" for one in handles]}
        self.web.says[at or f"127.0.0.1/{did}"] = reported


@pytest.fixture
async def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Place]:
    ca = trustme.CA()
    ca.cert_pem.write_to_path(tmp_path / "ca.pem")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ca.issue_cert(*NAMES).configure_cert(context)
    others = Web()
    async with others.serving(context) as port, others.serving(None) as directory:
        config = make_config(
            tmp_path, delivery={"allow_private_networks": True}, server={"public_url": "https://relay.test"},
            identity={"plc_directory": f"http://127.0.0.1:{directory}", "web_port": port, "timeout_seconds": 2.0},
        )
        others.port = port
        async with whole(config) as at, aiohttp.ClientSession() as http:
            made = Place(at, others, http)
            for name in NAMES:
                at.env.zone(name).add(name, "A", "127.0.0.1")
            made.alice, made.bob = await at.env.member("alice"), await at.env.member("bob")
            yield made


async def test_a_did_plc_is_taken_when_document_and_handle_name_each_other_at_a_verified_domain(place: Place) -> None:
    place.document(PLC, "example.test")
    place.txt("example.test", f"did={PLC}", "v=spf1 -all")
    assert await place.take(PLC) == (422, "DID_NOT_PROVED"), "it is not alice's domain"
    await place.at.env.verified(place.alice, "example.test")
    status, body = await place.ask({"did": PLC}, place.bob)
    assert (status, body["code"]) == (422, "DID_NOT_PROVED")
    assert "names example.test, at no domain that you have verified" in body["error"]
    assert await place.take(PLC.upper().replace("DID:PLC", "did:plc")) == (200, PLC)
    assert place.at.env.world.directory.login(None, place.alice.key, "127.0.0.1", did=PLC).member_id == place.alice.id


async def test_a_did_web_is_taken_by_the_handles_web_page_and_from_below_a_verified_domain(place: Place) -> None:
    await place.at.env.verified(place.alice, "example.test")
    did = "did:web:other.test"
    place.document(did, "nobody.invalid", "sub.example.test", at="other.test/.well-known/did.json")
    place.web.says["sub.example.test/.well-known/atproto-did"] = f"{did}\n"
    assert await place.take(did) == (200, did)
    with_path = f"did:web:other.test%3A{place.web.port}:people:alice"
    place.document(with_path, "example.test", at="other.test/people/alice/did.json")
    place.txt("example.test", f"did={with_path}")
    status, body = await place.ask({"handle": "@example.test"}, place.alice)
    assert (status, body["did"]) == (200, with_path)


async def test_without_proof_it_is_refused_and_the_refusal_says_what_is_missing(place: Place) -> None:
    await place.at.env.verified(place.alice, "example.test")
    for document, txt, page, says in (
        (404, (), 404, "there is none"), ({"id": PLC}, (), 404, "names no handle"), ("{", (), 404, "no JSON"),
        ({"id": "did:plc:" + "b" * 24, "alsoKnownAs": ["at://example.test"]}, (), 404, "not the document of"),
        (["x"], (), 404, "not the document of"),
        ({"id": PLC, "alsoKnownAs": ["https://example.test", 7]}, (), 404, "no handle"),
        ({"id": PLC, "alsoKnownAs": ["at://example.test"]}, (), 404, "names no DID"),
        ({"id": PLC, "alsoKnownAs": ["at://example.test"]}, ("did=did:plc:" + "b" * 24,), 404, "names another DID"),
        ({"id": PLC, "alsoKnownAs": ["at://example.test"]}, (f"did={PLC}", "did=did:web:x.test"), PLC, "several DIDs"),
        ({"id": PLC, "alsoKnownAs": ["at://example.test"]}, ("did=nonsense",), PLC, "names no did:plc or did:web"),
        ({"id": PLC, "alsoKnownAs": ["at://example.test"]}, (), "<html>", "names no did:plc or did:web"),
    ):  # fmt: skip
        place.web.says |= {f"127.0.0.1/{PLC}": document, "example.test/.well-known/atproto-did": page}
        place.txt("example.test", *txt)
        status, body = await place.ask({"did": PLC}, place.alice)
        assert (status, body["code"]) == (422, "DID_NOT_PROVED"), (document, txt, page, body)
        assert says in body["error"]
        assert f"_atproto.example.test with the value did={PLC}" in body["error"]


async def test_what_can_not_be_asked_is_no_fact(place: Place) -> None:
    await place.at.env.verified(place.alice, "example.test")
    place.web.says[f"127.0.0.1/{PLC}"] = 503
    assert await place.take(PLC) == (503, "TEMPORARILY_UNAVAILABLE")
    place.document(PLC, "example.test")
    place.web.says["example.test/.well-known/atproto-did"] = 502
    assert await place.take(PLC) == (503, "TEMPORARILY_UNAVAILABLE")


async def test_an_unproved_claim_blocks_nobody(place: Place) -> None:
    env = place.at.env
    # Taken before proof was asked for, or by who has lost the domain since.
    await env.storage.write(lambda tx: accounts.set_did(tx, place.bob.id, PLC))
    await env.verified(place.alice, "example.test")
    place.document(PLC, "example.test")
    place.txt("example.test", f"did={PLC}")
    assert await place.take(PLC) == (200, PLC)
    assert (await env.services.accounts.by_id(place.bob.id)).did == "did:web:relay.test:m:bob"
    assert await place.take(PLC, place.bob) == (422, "DID_NOT_PROVED")
    # The nearest domain that anybody holds decides.
    await env.verified(place.bob, "sub.example.test")
    place.document(PLC, "sub.example.test")
    place.txt("sub.example.test", f"did={PLC}")
    assert await place.take("did:plc:" + "c" * 24) == (422, "DID_NOT_PROVED")
    assert await place.take(PLC, place.bob) == (200, PLC)


async def test_hosted_handles_name_their_did_and_the_document_names_them_back(place: Place) -> None:
    env = place.at.env
    carol = await env.services.accounts.create("carol", "carol@mail.test", None, by_operator=True)
    assert await place.did_at("carol.relay.test") == (200, carol.did)
    assert await place.did_at("Carol.Relay.test:8080") == (200, carol.did)
    for host in ("relay.test", "nobody.relay.test", "posthouse.relay.test", "127.0.0.1", "carol"):
        assert (await place.did_at(host))[0] == 404, host
    named = await env.services.accounts.create("example.test", "d@mail.test", None, by_operator=True)
    assert (await place.did_at("example.test"))[0] == 404, "anybody may call itself by any name here"

    async def known_as() -> list[str]:
        async with place.http.get(f"{place.at.url}/m/example.test/did.json") as answer:
            return (await answer.json())["alsoKnownAs"]

    assert await known_as() == ["at://example.test.relay.test"]
    await env.verified(place.alice, "example.test")
    assert (await place.did_at("example.test"))[0] == 404, "and this one is alice's"
    row = await env.domains.list(place.alice.id)
    await env.domains.delete(place.alice.id, row[0].id)
    await env.verified(MemberAt(named.id, named.handle, named.did, "", 0), "example.test")
    assert await place.did_at("example.test") == (200, named.did)
    assert await known_as() == ["at://example.test", "at://example.test.relay.test"]
    await env.services.accounts.suspend("carol", "spam")
    assert (await place.did_at("carol.relay.test"))[0] == 404
