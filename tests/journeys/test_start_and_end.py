"""SIGTERM at any moment of a start ends it: exit code 0, nothing half made, and the next start finds all well."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path

import pytest

from tests.kit import warm
from tests.kit.served import Served

ENTRY = "from posthouse.entry import main; main()"
LEFT = {"posthouse.db", "posthouse.db-wal", "posthouse.db-shm", "posthouse.db.lock", "master.key", "serving.lock"}


def environment(folder: Path) -> dict[str, str]:
    clean = {k: v for k, v in os.environ.items() if not k.startswith("POSTHOUSE_")}
    settings = {
        "SERVER__DATA_DIR": str(folder / "data"), "SUBMISSION__LISTEN": '["127.0.0.1:0"]',
        "SUBMISSION__LISTEN_TLS": "[]", "HTTP__LISTEN": '["127.0.0.1:0"]', "ROLES": "submission http delivery",
    }
    return clean | {f"POSTHOUSE_{k}": v for k, v in settings.items()}


def catches(pid: int, number: int) -> bool:
    """Whether the process has taken the signal into its own hands (proc(5))."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("SigCgt:"):
            return bool(int(line.split()[1], 16) >> (number - 1) & 1)
    return False


async def until_caught(pid: int) -> None:
    async with asyncio.timeout(60):
        while not catches(pid, signal.SIGTERM):  # noqa: ASYNC110 (nobody tells)
            await asyncio.sleep(0.001)


async def test_while_the_program_loads(tmp_path: Path) -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", ENTRY, "serve", env=environment(tmp_path), stderr=asyncio.subprocess.PIPE
    )
    await until_caught(process.pid)
    process.send_signal(signal.SIGTERM)
    assert await process.communicate() == (None, b"")
    assert process.returncode == 0
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize("seen", ["caught", "posthouse.db", "posthouse.db.lock", "master.key", "selfsigned-key.pem"])
async def test_while_it_starts(tmp_path: Path, seen: str) -> None:
    data = tmp_path / "data"
    process = await warm.start(["serve"], environment(tmp_path))
    if seen == "caught":
        await until_caught(process.pid)
    else:
        async with asyncio.timeout(60):
            while not (data / seen).exists():  # noqa: ASYNC110 (nobody tells)
                await asyncio.sleep(0.001)
    os.kill(process.pid, signal.SIGTERM)
    first = Served(process)
    assert await first.ended() == 0
    assert first.events("error", "critical") == []
    if data.exists():
        names = {one.name for one in data.iterdir() if not one.name.startswith("selfsigned-")}
        assert names <= LEFT

    second = Served(await warm.start(["serve"], environment(tmp_path)))
    await second.logged("node.started")
    assert await second.stop() == 0
    assert second.events("error", "critical") == []
