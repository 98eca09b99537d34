"""One click by other people's HTTP clients: whatever each makes of the pair, it unsubscribes (RFC 8058 §3.2)."""

from __future__ import annotations

import asyncio
import shutil
import sys

import pytest
from aiohttp import FormData, web
from aiohttp.test_utils import TestClient, TestServer

from relay.base.storage import suppressions
from tests.interop.test_interop import need
from tests.kit.world import World

pytestmark = pytest.mark.parametrize("config", ["sqlite"], indirect=True)
PAIR = "List-Unsubscribe=One-Click"
CURL = ["curl", "-sS", "-f", "-o", "/dev/null"]
PYTHON = (
    "import sys, http.client, urllib.parse as u; at = u.urlsplit(sys.argv[1]);"
    "c = http.client.HTTPConnection(at.netloc); c.request('POST', at.path, iter([b'List-Unsub', b'scribe=One-Click']),"
    "{'Content-Type': 'application/x-www-form-urlencoded'}); sys.exit(c.getresponse().status != 200)"
)
FETCH = (
    "const f = new FormData(); f.append('List-Unsubscribe', 'One-Click');"
    "fetch(process.argv[1], {method: 'POST', body: f}).then(r => process.exit(r.status === 200 ? 0 : 1))"
)
COMMANDS = {
    "curl -F": [*CURL, "-F", PAIR],
    "curl -F with a type": [*CURL, "-F", f"{PAIR};type=text/plain"],
    "curl -d": [*CURL, "-d", PAIR],
    "curl --data-urlencode": [*CURL, "--data-urlencode", PAIR],
    "curl chunked": [*CURL, "-H", "Transfer-Encoding: chunked", "--data-binary", PAIR],
    "curl with 100-continue": [*CURL, "-H", "Expect: 100-continue", "-F", PAIR],
    "curl without a type": [*CURL, "-H", "Content-Type:", "-d", PAIR],
    "curl by HTTP/1.0": [*CURL, "--http1.0", "-d", PAIR],
    "wget": ["wget", "-q", "-O", "/dev/null", f"--post-data={PAIR}"],
    "http.client": [sys.executable, "-c", PYTHON],
    "node": ["node", "-e", FETCH],
}


@pytest.mark.parametrize("command", COMMANDS.values(), ids=COMMANDS)
async def test_each_client_unsubscribes(world: World, command: list[str]) -> None:
    if shutil.which(command[0]) is None:
        need(command[0])
    await clicked(world, command)


async def clicked(world: World, command: list[str] | None) -> None:
    """Run `command`, or aiohttp, against a link of alice's mail to bob, who is off the list then."""
    alice = await world.member()
    path = f"/u/{world.unsubscribe.token(alice.id, await world.domain(alice), 'bob@sink.test')}"
    app = web.Application()
    app.add_routes(world.unsubscribe.routes())
    async with TestClient(TestServer(app)) as http:
        if command is None:
            form = FormData({"List-Unsubscribe": "One-Click"})
            form.add_field("other", "x", content_type="text/plain")
            assert (await http.post(path, data=form)).status == 200
        else:
            process = await asyncio.create_subprocess_exec(*command, str(http.make_url(path)))
            assert await asyncio.wait_for(process.wait(), 20) == 0
    async with world.storage.read() as tx:
        assert [s.canonical for s in await suppressions.page(tx, alice.id)] == ["bob@sink.test"]


async def test_aiohttp_unsubscribes(world: World) -> None:
    await clicked(world, None)
