"""The API's document makes programs in other people's generators, without options, and those work.

What comes from npm's registry is skipped where that can't be reached.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import ClientSession

from tests.interop import verifiers
from tests.interop.stage import find
from tests.kit.storage import make_config
from tests.kit.whole import Whole, whole

HERE = Path(__file__).parent
PACKAGES = ["openapi-typescript@7", "openapi-fetch", "typescript@5"]


@pytest.fixture
async def place(tmp_path: Path) -> AsyncIterator[Whole]:
    async with whole(make_config(tmp_path)) as made:
        yield made


async def ready(place: Whole, folder: Path) -> dict[str, str]:
    """The document in a file of `folder`; the environment of a client: where, and with which key."""
    world = place.env.world
    alice = await world.member("alice")
    await world.domain(alice, "example.test", tier="week 1")
    async with ClientSession(place.url) as http, http.get("/openapi.json") as answer:
        (folder / "openapi.json").write_bytes(await answer.read())
    return {**os.environ, "URL": place.url, "KEY": alice.key, "CLIENT": str(folder)}


async def run(folder: Path, env: dict[str, str], *command: str) -> str:
    process = await asyncio.create_subprocess_exec(
        *command, cwd=folder, env=env, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    said, _ = await process.communicate()
    assert process.returncode == 0, said.decode("utf-8", "replace")[-4000:]
    return said.decode("utf-8", "replace")


async def test_a_python_client(place: Whole, tmp_path: Path) -> None:
    tool = Path(sys.executable).parent / "openapi-python-client"
    if not tool.exists():
        pytest.skip("openapi-python-client is not installed")
    env = await ready(place, tmp_path)
    env["PATH"] = f"{tool.parent}:{env['PATH']}"
    said = await run(
        tmp_path, env, str(tool), "generate", "--path", "openapi.json", "--output-path", "relay_client", "--meta",
        "none",
    )
    # What it can't read, it leaves out: media types that it doesn't know may be, a call or a field may not.
    assert all("Unsupported content type" in part for part in said.split("WARNING parsing")[1:]), said
    await run(tmp_path, env, sys.executable, str(HERE / "generated.py"))


async def test_a_typescript_client(place: Whole, tmp_path: Path) -> None:
    if find("node") is None or find("npm") is None:
        pytest.skip("no node or no npm")
    if why := await asyncio.to_thread(verifiers.npm_install, tmp_path, PACKAGES):
        pytest.skip(why)
    env = await ready(place, tmp_path)
    tools = tmp_path / "node_modules" / ".bin"
    await run(tmp_path, env, str(tools / "openapi-typescript"), "openapi.json", "-o", "api.d.ts")
    (tmp_path / "generated.ts").write_text((HERE / "generated.ts").read_text("utf-8"), "utf-8")
    await run(
        tmp_path, env, str(tools / "tsc"), "--strict", "--skipLibCheck", "--target", "es2022", "--module", "esnext",
        "--moduleResolution", "bundler", "--lib", "es2022,dom", "generated.ts",
    )
    (tmp_path / "generated.js").rename(tmp_path / "generated.mjs")
    await run(tmp_path, env, "node", "generated.mjs")
