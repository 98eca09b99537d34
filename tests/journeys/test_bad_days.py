"""Bad days of a whole process: told to go under load, a disk that is full or fails, a database that is gone."""

from __future__ import annotations

import asyncio
import contextlib
import os
import resource
import subprocess
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from posthouse.serve import Node, StartError
from tests.kit.served import Served, Town, log_in
from tests.kit.smtp import Talk
from tests.kit.storage import make_config
from tests.kit.world import World, letter


async def said_to_one(town: Town, node: Served, name: str) -> str:
    """The relay's answer to one message."""
    async with await Talk.to(node.port) as talk:
        await log_in(talk, town.alice.handle, town.alice.key)
        await talk.send(b"MAIL FROM:<news@example.test>\r\nRCPT TO:<%s@sink.test>\r\nDATA\r\n" % name.encode())
        said = [await talk.reply() for _ in range(3)]
        if not said[2].startswith("354"):
            return next(s for s in said if s[:1] != "2")
        await talk.send(letter(subject=name, body=b"0123456789\r\n" * 2000) + b".\r\n")
        return await talk.reply()


@pytest.mark.parametrize("engine", ["sqlite", "postgresql"])
async def test_sigterm_under_load_ends_well(engine: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    url = "sqlite:///posthouse.db" if engine == "sqlite" else request.getfixturevalue("postgres").url()
    waiting = [f"u{i:05d}" for i in range(20_000)]
    async with Town.made(tmp_path, url) as town:
        acked: list[str] = []
        refused: Counter[str] = Counter()
        async with town.serve(SERVER__SHUTDOWN_SECONDS="10") as node:
            enough = asyncio.Event()
            load = asyncio.create_task(
                town.flood(
                    [node], waiting, http_every=4, acked=acked, refused=refused,
                    on_ack=lambda n: enough.set() if n >= 150 else None,
                )
            )
            await enough.wait()
            loop = asyncio.get_running_loop()
            since = loop.time()
            assert await node.stop() == 0
            took = loop.time() - since
            assert took < 15
            await load
            assert not node.events("error", "critical")
        # Whoever was refused meanwhile was told something temporary.
        assert all(said.startswith(("4", "503")) for said in refused), refused
        assert set(acked) <= set(await town.states())
        async with town.serve() as node:
            await town.all_arrived(acked)
            assert await node.stop() == 0
        arrived = town.arrived()
        assert max(arrived.values()) == 1, "leases given back, nothing on its way was repeated"
        assert set((await town.states()).values()) == {"sent"}


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 8 MiB."""
    folder = tmp_path / "small"
    folder.mkdir()
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(folder)], capture_output=True, check=False
    )
    if made.returncode:
        pytest.skip("mounting a small file system needs root")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


async def test_a_disk_that_fills_up_and_is_freed(small_disk: Path) -> None:
    ballast = small_disk / "ballast"
    soon = {"SUBMISSION__FULL_DISK_SECONDS": "0.05"}
    async with Town.made(small_disk / "data", **soon) as town, town.serve() as node:
        assert (await said_to_one(town, node, "before")).startswith("250 ")
        with open(ballast, "wb", buffering=0) as f, contextlib.suppress(OSError):
            while True:
                f.write(b"x" * 4096)
        said = []
        while not said or said[-1].startswith("250 "):
            said.append(await said_to_one(town, node, f"u{len(said)}"))
            assert len(said) < 300
        assert said[-1].startswith("452 4.3.1 "), said[-1]
        ballast.unlink()
        again = [await said_to_one(town, node, "after")]
        while again[-1].startswith("452 4.3.1 ") and len(again) < 300:
            again.append(await said_to_one(town, node, "after"))
        assert again[-1].startswith("250 "), again[-1]
        kept = ["before", "after", *(f"u{i}" for i in range(len(said) - 1))]
        await town.all_arrived(kept)
        assert await node.stop() == 0
        assert town.arrived() == Counter(kept)


async def test_a_disk_that_fails_to_write_and_recovers(tmp_path: Path) -> None:
    """Writes beyond a file's size limit fail as a broken disk's do."""
    async with Town.made(tmp_path) as town, town.serve() as node:
        assert (await said_to_one(town, node, "before")).startswith("250 ")
        await town.all_arrived(["before"])
        _, hard = resource.prlimit(node.pid, resource.RLIMIT_FSIZE)
        resource.prlimit(node.pid, resource.RLIMIT_FSIZE, (4096, hard))
        for name in ("no1", "no2"):
            assert (await said_to_one(town, node, name))[:4] in ("451 ", "452 ")
        resource.prlimit(node.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, hard))
        assert (await said_to_one(town, node, "after")).startswith("250 ")
        await town.all_arrived(["after"])
        assert await node.stop() == 0
        assert town.arrived() == Counter(["before", "after"])


@pytest.mark.parametrize("fault", ["cut short", "not a database", "a folder"])
async def test_a_database_that_is_broken_stops_the_start_with_a_line(tmp_path: Path, fault: str) -> None:
    config = make_config(
        tmp_path, submission={"listen": ["127.0.0.1:0"], "listen_tls": []}, http={"listen": ["127.0.0.1:0"]}
    )
    await (await World.make(config)).close()
    path = tmp_path / "posthouse.db"
    if fault == "cut short":
        os.truncate(path, 5000)
    elif fault == "not a database":
        path.write_bytes(b"hello" * 5000)
    else:
        path.unlink()
        path.mkdir()
    with pytest.raises(StartError) as caught:
        await Node.start(config)
    [line] = caught.value.lines
    assert "database" in line or "posthouse.db" in line
    assert "\n" not in line
