"""Wix's own SDK from npm, its address changed and nothing else, against a relay that delivers for real.

Where npm's registry can't be reached it is skipped.
"""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from posthouse.serve.http import http_application
from relay.base.web import Listener
from tests.interop import verifiers
from tests.interop.stage import find
from tests.kit.line import line
from tests.kit.storage import make_config

SCRIPT = Path(__file__).with_name("wix.mjs")
PACKAGES = ["@wix/sdk@1", "@wix/email-marketing@1"]


async def test_a_program_written_for_wix_sends_through_this_relay(tmp_path: Path) -> None:
    if find("node") is None or find("npm") is None:
        pytest.skip("no node or no npm")
    folder = tmp_path / "node"
    if why := await asyncio.to_thread(verifiers.npm_install, folder, PACKAGES):
        pytest.skip(why)
    (folder / SCRIPT.name).write_bytes(SCRIPT.read_bytes())

    def by_name(command: bytes) -> str:
        answers = {b"gone": "550 5.1.1 no such user", b"busy": "450 4.2.1 busy"}
        return answers.get(command.partition(b"<")[2].partition(b"@")[0], "250 2.1.5 ok")

    (tmp_path / "data").mkdir()
    async with line(make_config(tmp_path / "data")) as way:
        way.sink.on("RCPT", by_name)
        core = way.world.core
        alice = await way.world.member()
        await way.world.domain(alice)
        app = http_application(core, checks={}, tasks=dict, mailbox=None)
        listener = Listener(app, core.config, ["127.0.0.1:0"])
        await listener.start()
        way.start()
        try:
            process = await asyncio.create_subprocess_exec(
                "node", SCRIPT.name, cwd=folder, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
                env={**os.environ, "URL": f"http://127.0.0.1:{listener.ports[0]}", "KEY": alice.key},
            )
            async with asyncio.timeout(60):
                said, _ = await process.communicate()
            assert process.returncode == 0, said.decode("utf-8", "replace")[-4000:]
        finally:
            await listener.stop()
        assert [m.rcpt_tos for m in way.sink.messages if m.rcpt_tos] == [["ok@sink.test"]]
