"""The demo as somebody meets it who has just installed it: a process of its own, and the lines it tells to paste."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import json
import os
import re
import shutil
import signal
import socket
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import ClientSession
from typer.testing import CliRunner, Result

from posthouse.cli import app
from tests.kit.plain_log import plain_log

SECONDS = 55


def environ() -> dict[str, str]:
    # The lines call python3 and curl by name; the interpreter of the tests is the one that surely is there.
    path = f"{Path(sys.executable).parent}:{os.environ.get('PATH', '')}"
    return {k: v for k, v in os.environ.items() if not k.startswith("POSTHOUSE_")} | {"PATH": path}


async def start(*words: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable, "-c", "from posthouse.cli import main; main()", "demo", *words, env=environ(),
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Result]]:
    """The demo in this process, which has all of it loaded: where it doesn't stay."""
    for name in list(os.environ):
        if name.startswith("POSTHOUSE_"):
            monkeypatch.delenv(name)
    yield lambda *words: CliRunner().invoke(app, ["demo", *words])
    plain_log()


def test_check_walks_the_whole_way_and_says_so_and_again_in_the_same_folder(
    at_once: Callable[..., Result], tmp_path: Path
) -> None:
    words = ("--check", "--port-base", "0", "--data", str(tmp_path / "demo"))
    said = at_once(*words)
    code, report = said.exit_code, json.loads(said.stdout)
    assert (code, report["ok"], report["error"]) == (0, True, ""), report
    assert all(step["ok"] for step in report["steps"])
    assert {(s["algorithm"], s["result"]) for s in report["dkim"]} == {
        ("rsa-sha256", "pass"), ("ed25519-sha256", "pass")
    }
    assert len(report["dkim"]) == 4
    assert report["smtp"]["reply"].startswith("250 2.0.0 Queued as ")
    assert report["smtp"]["state"] == report["http"]["state"] == "sent"
    seen = {c["course"]: (c["state"], c["event"], c["suppression"], c["webhook_verified"]) for c in report["courses"]}
    assert seen == {
        "hard bounce": ("bounced", "bounced", "hard_bounce", True),
        "late bounce": ("bounced", "bounced", "hard_bounce", True),
        "complaint": ("sent", "complained", "complaint", True),
        "one-click unsubscribe": ("sent", "unsubscribed", "unsubscribe", True),
        "reply": ("sent", "sent", "", True),
    }
    assert said.stderr == ""
    assert (tmp_path / "demo" / "posthouse.db").exists()
    said = at_once(*words)
    code, report = said.exit_code, json.loads(said.stdout)
    assert (code, report["error"], [c["ok"] for c in report["courses"]]) == (0, "", [True] * 5)


def test_a_taken_port_is_a_clear_line(at_once: Callable[..., Result]) -> None:
    with contextlib.ExitStack() as stack:
        base = 65535
        while base > 60_000:
            base = stack.enter_context(socket.create_server(("127.0.0.1", 0))).getsockname()[1]
        checked = at_once("--check", "--port-base", str(base))
        said = at_once("--port-base", str(base))
    report = json.loads(checked.stdout)
    assert (checked.exit_code, report["ok"]) == (1, False)
    assert "can't be listened on" in report["error"]
    assert said.exit_code == 3
    assert said.stderr.splitlines() == [
        f"posthouse: 127.0.0.1:{base} can't be listened on (address already in use): is another program using it?",
        "posthouse: posthouse demo --port-base 0 takes free ports",
    ]
    assert said.stdout == ""


def test_a_demo_wants_its_folder_for_itself(at_once: Callable[..., Result], tmp_path: Path) -> None:
    lock = os.open(tmp_path / "serving.lock", os.O_RDWR | os.O_CREAT)
    # As a running relay holds it.
    fcntl.flock(lock, fcntl.LOCK_SH)
    said = at_once("--data", str(tmp_path), "--port-base", "0")
    os.close(lock)
    assert said.exit_code == 3
    # Other ports would help nothing here.
    assert said.stderr.splitlines() == [
        f"posthouse: {tmp_path} is in use by a relay or another demo: stop it, or name another folder"
    ]


@asynccontextmanager
async def running() -> AsyncIterator[tuple[asyncio.subprocess.Process, str]]:
    """The demo that stays up, and what it has printed."""
    process = await start("--port-base", "0")
    assert process.stdout is not None
    said = ""
    try:
        async with asyncio.timeout(SECONDS):
            while "Press Ctrl-C to stop." not in said:
                line = await process.stdout.readline()
                assert line, (said, await process.stderr.read() if process.stderr else b"")
                said += line.decode()
        yield process, said
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def test_it_stays_up_and_every_line_it_shows_works() -> None:
    async with running() as (process, said):
        lines = dict(re.findall(r"^# (.+)\n(.+)$", said, re.MULTILINE))
        clients = {"swaks", "curl (HTTP API)", "curl (SMTP)", "Python", "Node"}
        happenings = [
            "hard bounce", "late bounce", "complaint", "one-click unsubscribe", "reply", "what happened to them",
        ]
        assert set(lines) == clients | set(happenings)
        wanted, answers = [], {}
        for client, line in lines.items():
            if shutil.which(line.split()[0], path=environ()["PATH"]) is None:
                continue
            tried = await asyncio.create_subprocess_shell(
                line, env=environ(), stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
            )
            out, _ = await tried.communicate()
            assert tried.returncode == 0, (client, line, out.decode())
            answers[client] = out.decode()
            if client not in clients:
                continue
            wanted.append({"curl (HTTP API)": "From curl<", "curl (SMTP)": "From curl over SMTP"}.get(client, client))
        assert len(wanted) >= 1
        if happenings[0] in answers:
            assert len(json.loads(answers["what happened to them"])["messages"]) == 5
            await until_posted(process, ["bounced", "bounced", "complained", "unsubscribed"])
        url = re.search(r"Sandbox +(\S+)", said)
        assert url is not None
        async with ClientSession() as http:
            page = await until(http, url[1], wanted)
            first = re.search(r'href="(/sandbox/\d+)">Hello over SMTP', page)
            assert first is not None
            async with http.get(url[1].removesuffix("/sandbox") + first[1]) as answer:
                shown = await answer.text()
            # SPF, two signatures, DMARC.
            assert shown.count(">pass</td>") == 4
            async with http.get(url[1].removesuffix("/sandbox") + first[1] + "/raw") as answer:
                assert answer.headers["Content-Disposition"].startswith("attachment")
                assert b"DKIM-Signature" in await answer.read()
            async with http.get(url[1].removesuffix("/sandbox") + "/account") as answer:
                assert answer.status == 200
        process.send_signal(signal.SIGINT)
        async with asyncio.timeout(SECONDS):
            assert await process.wait() == 0


async def until_posted(process: asyncio.subprocess.Process, events: list[str]) -> None:
    """Reads what the demo prints until its webhook has shown all of these, verified."""
    assert process.stdout is not None
    waiting = list(events)
    async with asyncio.timeout(SECONDS):
        while waiting:
            words = (await process.stdout.readline()).decode().split()
            if words[:1] == ["webhook"] and words[1] in waiting:
                assert words[-2:] == ["(signature", "verified)"]
                waiting.remove(words[1])


async def until(http: ClientSession, url: str, wanted: list[str]) -> str:
    """The page, once it shows everything wanted."""
    async with asyncio.timeout(SECONDS):
        while True:
            async with http.get(url) as answer:
                page = await answer.text()
            if all(w in page for w in wanted):
                return page
            await asyncio.sleep(0.05)
