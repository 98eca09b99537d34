"""Bounds that fit the process together: one listener's idle crowd takes nothing from another's."""

from __future__ import annotations

import asyncio
import contextlib
import os
import resource
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from posthouse.check_config import mistakes
from posthouse.fitting import fitted, misfit, shrunk
from relay.base.accepting import Acceptor
from relay.base.clock import Clock
from tests.kit.served import Town
from tests.kit.storage import make_config

IDLE = 1_100
TICKS = os.sysconf("SC_CLK_TCK")


def cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


@contextlib.contextmanager
def room_for(descriptors: int) -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < descriptors:
        pytest.skip(f"this machine lets a process open {hard} files only")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, descriptors), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


async def test_an_idle_crowd_on_http_leaves_room_for_mail_and_costs_nothing(tmp_path: Path) -> None:
    async with Town.made(tmp_path) as town:
        limited = ["prlimit", "--nofile=1024:1024"]
        with room_for(2_000), contextlib.ExitStack() as crowd:
            # From a proxy, whose connections are counted in all only: the worst there can be.
            async with town.serve(before=limited, SERVER__TRUSTED_PROXIES='["127.0.0.1"]') as node:
                said = next(line for line in node.lines if line["event"] == "limits.shrunk")
                assert said["http.max_connections"] < 500
                for _ in range(IDLE):
                    one = crowd.enter_context(socket.socket())
                    one.setblocking(False)
                    await asyncio.get_running_loop().sock_connect(one, ("127.0.0.1", node.http))
                assert (await node.logged("connections.full"))["bound"] == "http.max_connections"
                before = cpu_seconds(node.pid)
                acked: list[str] = []
                await town.flood([node], [f"m{n}" for n in range(20)], connections=4, acked=acked)
                assert len(acked) == 20
                assert cpu_seconds(node.pid) - before < 5.0
                assert sum(len(str(line)) for line in node.lines) < 200_000
                assert not [line for line in node.lines if line["event"] == "accept.failed"]
                assert await node.stop() == 0


async def test_a_port_without_a_descriptor_left_rests_and_goes_on() -> None:
    loop = asyncio.get_running_loop()
    came: asyncio.Queue[asyncio.BaseTransport] = asyncio.Queue()

    class Idle(asyncio.Protocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            came.put_nowait(transport)

    acceptor = Acceptor("127.0.0.1", 0, Idle, shared=False)
    clients = [socket.socket() for _ in range(40)]
    for one in clients:
        one.connect(("127.0.0.1", acceptor.port))
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        with capture_logs() as lines:
            resource.setrlimit(resource.RLIMIT_NOFILE, (0, hard))
            turns = 0
            until = loop.time() + 1.5
            while loop.time() < until:
                turns += 1
                await asyncio.sleep(0.01)
            assert 1 <= len([one for one in lines if one["event"] == "accept.failed"]) <= 3
            assert came.empty()
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
            async with asyncio.timeout(20):
                transports = [await came.get() for _ in clients]
        for transport in transports:
            transport.close()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        acceptor.close()
        for one in clients:
            one.close()
        await asyncio.sleep(0)


def test_defaults_shrink_and_what_is_written_stays_or_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = make_config(tmp_path)
    assert fitted(config, 65_536) is config
    small = fitted(config, 1_024)
    changed = shrunk(config, small)
    assert set(changed) == {
        "submission.max_connections", "inbound.max_connections", "http.max_connections", "delivery.workers",
        "webhooks.parallel",
    }
    assert small.submission.max_connections > small.inbound.max_connections > 100
    assert misfit(config, 1_024) == ""
    assert "this process may open 100" in misfit(config, 100)

    # Of a process with one role the others' bounds take nothing.
    only = make_config(tmp_path, roles=["submission"])
    assert fitted(only, 1_024).submission.max_connections == 1_024 - 128

    written = make_config(tmp_path, submission={"max_connections": 800}, inbound={"max_connections": 300})
    text = misfit(written, 1_024)
    assert text.startswith("submission.max_connections = 800, inbound.max_connections = 300: at least ")
    assert "LimitNOFILE" in text
    assert misfit(make_config(tmp_path, submission={"max_connections": 800}), 1_200) == ""
    monkeypatch.setattr("posthouse.check_config.most_descriptors", lambda: 1_024)
    (found,) = mistakes(written, Clock(), ports=False)
    assert (found.key, found.text) == ("limits", text)
