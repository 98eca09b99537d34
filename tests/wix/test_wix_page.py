"""The lines of docs/wix.md, run by the shell as they are printed: only key, address and code are put in."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.wix.conftest import Client

PAGE = Path(__file__).parents[2] / "docs" / "wix.md"
ADDRESS = "news@shop.example"


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
async def test_the_nine_steps_work_as_they_are_printed(wix: Client) -> None:
    printed = PAGE.read_text("utf-8").partition("```sh\n")[2].partition("```")[0].splitlines()
    setting = printed[0].replace("ph_…", wix.alice.key).replace("https://mail.example.org", wix.url)
    known = {"PATH": os.environ["PATH"]}

    async def run(line: str) -> Any:
        shell = await asyncio.create_subprocess_exec(
            "bash", "-uc", f"{setting}\n{line} -sS --fail-with-body --max-time 30", env=known,
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
        )
        out, _ = await shell.communicate()
        assert shell.returncode == 0, (line, out.decode())
        return json.loads(out)

    asked = [line for line in printed[1:] if not line.startswith("#")]
    create, send, verify, details, query, authenticate, get = asked
    known["EMAIL"] = (await run(create))["senderEmail"]["id"]
    await run(send)
    await run(verify.replace("123456", await wix.code(ADDRESS)))
    assert (await run(details))["senderDetails"]["default"] is True
    await wix.relay.services.settled()
    (domain,) = (await run(query))["sendingDomains"]
    known["DOMAIN"] = domain["id"]
    wix.publish(domain)
    await wix.env.hosted.refresh()
    assert (await run(authenticate))["sendingDomain"]["status"] == "AUTHENTICATED"
    assert (await run(get))["sendingDomain"]["status"] == "AUTHENTICATED"
