"""A running relay from start to SIGTERM: what listens, what is told to clients, and how it ends."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import ClientSession

from posthouse.serve import Node, StartError
from posthouse.serve.tasks import Patience, Tasks
from relay.base.clock import Clock
from relay.base.config import Config
from tests.kit.ports import free_port
from tests.kit.storage import make_config

QUICK = Patience(deaths=3, first_pause_seconds=0.001, longest_pause_seconds=0.001, look_every_seconds=0.01)


def node_config(folder: Path, **sections: dict) -> Config:
    return make_config(
        folder,
        **{
            "submission": {"listen": ["127.0.0.1:0"], "listen_tls": ["127.0.0.1:0"]},
            "inbound": {"listen": ["127.0.0.1:0"]}, "http": {"listen": ["127.0.0.1:0"]},
            "server": {"hostname": "relay.test", "shutdown_seconds": 5},
        } | sections,
    )


@pytest.fixture
async def node(tmp_path: Path) -> AsyncIterator[Node]:
    made = await Node.start(node_config(tmp_path), patience=QUICK)
    yield made
    await made.stop()


async def get(node: Node, path: str) -> tuple[int, dict]:
    assert node.http is not None
    async with ClientSession() as http, http.get(f"http://127.0.0.1:{node.http.ports[0]}{path}") as answer:
        return answer.status, await answer.json()


async def talk(port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    assert (await reader.readline()).startswith(b"220 relay.test")
    return reader, writer


async def test_all_doors_are_open_and_it_says_so(node: Node) -> None:
    assert await get(node, "/healthz") == (200, {"status": "ok"})
    status, ready = await get(node, "/readyz")
    assert (status, ready["status"]) == (200, "ready"), ready
    status, document = await get(node, "/openapi.json")
    assert status == 200
    assert {"/v1/send", "/v1/domains", "/v1/keys"} <= set(document["paths"])
    assert node.http is not None
    here = f"http://127.0.0.1:{node.http.ports[0]}"
    async with ClientSession() as http:
        async with http.get(f"{here}/.well-known/posthouse-tracking") as answer:
            assert await answer.text() == "relay.test\n"
        async with http.get(f"{here}/c/nothing", headers={"Accept": "text/html"}) as answer:
            assert (answer.status, "This link is not valid" in await answer.text()) == (404, True)
    assert node.submission is not None
    _, writer = await talk(node.submission.ports[0])
    writer.close()
    await writer.wait_closed()
    assert node.tasks.well
    assert set(node.tasks.troubles()) >= {"delivery", "recheck", "retention", "reports", "directory"}


async def test_the_operator_sees_the_doctor(node: Node) -> None:
    _, found = await get(node, "/healthz?full")
    by_name = {f["name"]: f for f in found["findings"]}
    assert by_name["database"]["status"] == "ok"
    assert by_name["workers"]["saw"].startswith("running: ")
    assert (await get(node, "/healthz?full"))[1] == found


async def test_stopping_tells_clients_421_and_closes_every_port(tmp_path: Path) -> None:
    node = await Node.start(node_config(tmp_path))
    assert node.submission is not None
    assert node.http is not None
    ports = [*node.submission.ports, *node.submission.tls_ports, *node.http.ports]
    reader, writer = await talk(node.submission.ports[0])
    await node.stop()
    assert (await reader.readline()).startswith(b"421 4.3.2")
    assert await reader.read() == b""
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()
    for port in ports:
        with pytest.raises(OSError):
            await asyncio.open_connection("127.0.0.1", port)


async def test_a_start_that_fails_leaves_nothing_listening(tmp_path: Path) -> None:
    before = asyncio.all_tasks()
    smtp = free_port()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        config = node_config(
            tmp_path, http={"listen": [f"127.0.0.1:{smtp}"]},
            submission={"listen": [f"127.0.0.1:{taken.getsockname()[1]}"], "listen_tls": []},
        )
        with pytest.raises(StartError) as caught:
            await Node.start(config)
        (line,) = caught.value.lines
        assert f"127.0.0.1:{taken.getsockname()[1]} can't be listened on (address already in use)" in line
        with pytest.raises(OSError):
            await asyncio.open_connection("127.0.0.1", smtp)
    left = {task.get_name() for task in asyncio.all_tasks() - before}
    assert not left & {"directory", "suppressions", "storage-writer", "delivery", "recheck", "reports", "retention"}


@pytest.mark.skipif(not Path("/proc/net/unix").exists(), reason="claims of ports need Linux")
@pytest.mark.parametrize("role", ["submission", "inbound", "http", "dns"])
async def test_a_port_of_another_database_is_never_shared(role: str, tmp_path: Path) -> None:
    port = free_port()
    more = {"listen_tls": []} if role == "submission" else {}

    def config(name: str, host: str = "127.0.0.1") -> Config:
        (tmp_path / name).mkdir(exist_ok=True)
        return node_config(tmp_path / name, roles=[role], **{role: {"listen": [f"{host}:{port}"]} | more})

    first = await Node.start(config("one"), patience=QUICK)
    try:
        for host in ("127.0.0.1", "0.0.0.0"):
            with pytest.raises(StartError) as refused:
                await Node.start(config("two", host), patience=QUICK)
            [line] = refused.value.lines
            assert line.startswith(f"{host}:{port} belongs to the relay of another database (")
            assert f"one/posthouse.db, process {os.getpid()}" in line
        # Another process of the same database, by another name of its folder, shares the port.
        (tmp_path / "same").symlink_to(tmp_path / "one")
        await (await Node.start(config("same"), patience=QUICK)).stop()
    finally:
        await first.stop()
    # The claim ends with its process.
    await (await Node.start(config("two"), patience=QUICK)).stop()


async def test_a_folder_in_use_is_refused_to_who_wants_it_alone(tmp_path: Path) -> None:
    serving = await Node.start(node_config(tmp_path), patience=QUICK)
    with pytest.raises(StartError, match="is in use by a relay or another demo"):
        await Node.start(node_config(tmp_path), patience=QUICK, alone=True)
    beside = await Node.start(node_config(tmp_path), patience=QUICK)
    await beside.stop()
    await serving.stop()
    demo = await Node.start(node_config(tmp_path), patience=QUICK, alone=True)
    with pytest.raises(StartError, match="is in use by a demo"):
        await Node.start(node_config(tmp_path), patience=QUICK)
    await demo.stop()


async def test_a_task_that_dies_is_started_again_and_at_last_given_up() -> None:
    runs: list[int] = []
    tasks = Tasks(Clock(), QUICK)

    async def dies() -> None:
        runs.append(1)
        raise RuntimeError("no")

    async def lives() -> None:
        await asyncio.Event().wait()

    tasks.keep("dies", dies)
    tasks.keep("lives", lives)
    assert await tasks.failed == "dies"
    assert len(runs) == 3
    assert tasks.troubles() == {"dies": "died (RuntimeError)", "lives": ""}
    assert not tasks.well
    await tasks.stop()


async def test_a_task_that_is_back_is_no_trouble_any_more() -> None:
    tasks, back, runs = Tasks(Clock(), QUICK), asyncio.Event(), iter((True, False))

    async def dies_once() -> None:
        if next(runs):
            raise RuntimeError("no")
        back.set()
        await asyncio.Event().wait()

    tasks.keep("dies once", dies_once)
    await asyncio.wait_for(back.wait(), 5)
    assert tasks.troubles() == {"dies once": ""}
    assert tasks.well
    await tasks.stop()


async def test_a_room_whose_own_task_ends_fails_the_node(node: Node) -> None:
    task = node.core.directory.task
    assert task is not None
    task.cancel()
    assert await asyncio.wait_for(asyncio.shield(node.failed), 5) == "directory"


@contextlib.asynccontextmanager
async def served(folder: Path, **environ: str) -> AsyncIterator[tuple[asyncio.subprocess.Process, list[dict]]]:
    """`posthouse serve` as a process of its own, and what it has logged."""
    env = {k: v for k, v in os.environ.items() if not k.startswith("POSTHOUSE_")} | {
        "POSTHOUSE_SERVER__DATA_DIR": str(folder), "POSTHOUSE_SERVER__HOSTNAME": "relay.test",
        "POSTHOUSE_SUBMISSION__LISTEN": '["127.0.0.1:0"]', "POSTHOUSE_SUBMISSION__LISTEN_TLS": "[]",
        "POSTHOUSE_HTTP__LISTEN": '["127.0.0.1:0"]',
    } | environ
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", "from posthouse.cli import main; main()", "serve", env=env,
        stderr=asyncio.subprocess.PIPE,
    )
    lines: list[dict] = []
    try:
        yield process, lines
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def read_until(process: asyncio.subprocess.Process, lines: list[dict], event: str) -> dict:
    assert process.stderr is not None
    # A process that ends ends the loop; one that hangs is the only reason for this bound.
    async with asyncio.timeout(120):
        while line := await process.stderr.readline():
            lines.append(json.loads(line))
            if lines[-1]["event"] == event:
                return lines[-1]
    raise AssertionError(f"no {event}: {lines}")


async def test_sigterm_ends_it_with_exit_code_0(tmp_path: Path) -> None:
    async with served(tmp_path) as (process, lines):
        started = await read_until(process, lines, "node.started")
        reader, writer = await talk(started["submission"][0])
        process.send_signal(signal.SIGTERM)
        assert (await reader.readline()).startswith(b"421 4.3.2")
        writer.close()
        await read_until(process, lines, "node.stopped")
        assert await process.wait() == 0
    assert not [line for line in lines if line["level"] in ("error", "critical")]
    assert (tmp_path / "master.key").stat().st_mode & 0o777 == 0o600


async def test_a_taken_port_is_one_line_and_exit_code_3(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        async with served(tmp_path, POSTHOUSE_HTTP__LISTEN=json.dumps([address])) as (process, _):
            assert process.stderr is not None
            said = (await process.stderr.read()).decode()
            assert await process.wait() == 3
    assert said.splitlines() == [
        f"posthouse: http.listen: {address} can't be listened on (address already in use): is another program using it?"
    ]
