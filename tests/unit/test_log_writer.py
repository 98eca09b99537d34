"""The log's queue and thread: nobody waits for a reader, what is dropped is said, what repeats is counted."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import structlog

from relay.base.log import configure, in_background, lines_dropped
from tests.kit.plain_log import plain_log
from tests.kit.ports import free_port
from tests.kit.served import Town
from tests.kit.storage import make_config


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    yield
    plain_log()


@contextmanager
def pipe() -> Iterator[int]:
    """A pipe in the place of standard error, and where it is read; open until both are closed."""
    before = sys.stderr
    read, write = os.pipe()
    sys.stderr = stream = os.fdopen(write, "w")
    try:
        yield read
    finally:
        sys.stderr = before
        os.set_blocking(write, False)
        stream.close()
        os.close(read)


def read_all(fd: int) -> list[dict[str, Any]]:
    os.set_blocking(fd, False)
    text = b""
    while part := _some(fd):
        text += part
    return [json.loads(line) for line in text.decode().splitlines()]


def _some(fd: int) -> bytes:
    try:
        return os.read(fd, 65_536)
    except BlockingIOError:
        return b""


def test_a_reader_that_does_not_read_stops_nobody(tmp_path: Path) -> None:
    config = make_config(tmp_path, log={"queue_bytes": 200_000, "close_seconds": 20})
    configure(config)
    log = structlog.get_logger()
    got: list[bytes] = []
    with pipe() as read:

        def reader() -> None:
            while b'"last"' not in b"".join(got[-2:]):
                got.append(os.read(read, 65_536))

        thread = threading.Thread(target=reader, daemon=True)
        with in_background(config):
            for n in range(5_000):
                log.info("x", n=n)
            sys.stderr.write("beside the log" * 10 + "\n")
            dropped = lines_dropped() - 1
            assert 1_000 < dropped < 5_000
            # Somebody reads again: what was dropped is said.
            thread.start()
            while b"lines.dropped" not in b"".join(got):
                thread.join(0.01)
            log.info("last")
        thread.join(20)
    lines = [json.loads(line) for line in b"".join(got).decode().splitlines()]
    said = [line for line in lines if line["event"] == "lines.dropped"]
    assert [line["lines"] for line in said] == [dropped + 1]
    assert [line["n"] for line in lines if line["event"] == "x"] == list(range(5_000 - dropped))


def test_what_comes_again_and_again_is_counted(tmp_path: Path) -> None:
    config = make_config(tmp_path, log={"fold_seconds": 60.0})
    configure(config)
    log = structlog.get_logger()
    with pipe() as read:
        with in_background(config):
            for n in range(1_000):
                log.error("accept.failed", cause="too many open files")
                if n % 500 == 0:
                    log.info("other", n=n)
        lines = read_all(read)
    assert [(line["event"], line.get("n"), line.get("repeated")) for line in lines] == [
        ("accept.failed", None, None), ("other", 0, None), ("other", 500, None), ("accept.failed", None, 999)
    ]


def test_at_the_end_a_stuck_reader_is_waited_for_so_long_and_no_longer(tmp_path: Path) -> None:
    config = make_config(tmp_path, log={"close_seconds": 0.2})
    configure(config)
    with pipe(), in_background(config):
        for n in range(3_000):
            structlog.get_logger().info("x", n=n)


async def test_a_relay_whose_log_nobody_reads_takes_mail_and_ends_as_asked(tmp_path: Path) -> None:
    async with Town.made(tmp_path) as town:
        read, write = os.pipe()
        # Full before it begins: the first line that is waited for would be the last.
        os.set_blocking(write, False)
        while _fills(write):
            pass
        os.set_blocking(write, True)
        port = free_port()
        environment = town.environment(
            SUBMISSION__LISTEN=f'["127.0.0.1:{port}"]', LOG__LEVEL="debug", LOG__QUEUE_BYTES="20000",
            LOG__CLOSE_SECONDS="0.2",
        )
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", "from posthouse.cli import main; main()", "serve", env=environment, stderr=write
        )
        try:
            async with asyncio.timeout(60):
                while True:
                    try:
                        reader, writer = await asyncio.open_connection("127.0.0.1", port)
                        break
                    except OSError:
                        await asyncio.sleep(0.05)
                for _ in range(60):
                    assert (await reader.readline()).startswith(b"220")
                    writer.write(b"QUIT\r\n")
                    assert (await reader.readline()).startswith(b"221")
                    writer.close()
                    reader, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.close()
                process.send_signal(signal.SIGTERM)
                assert await process.wait() == 0
        finally:
            if process.returncode is None:
                process.kill()
            os.close(read)
            os.close(write)


def _fills(fd: int) -> bool:
    try:
        return os.write(fd, b"x" * 4096) > 0
    except BlockingIOError:
        return False


def test_a_log_that_somebody_has_set_to_non_blocking_loses_nothing(tmp_path: Path) -> None:
    config = make_config(tmp_path, log={"close_seconds": 20})
    configure(config)
    log = structlog.get_logger()
    got: list[bytes] = []
    with pipe() as read:
        os.set_blocking(sys.stderr.fileno(), False)

        def reader() -> None:
            while b'"last"' not in b"".join(got[-2:]):
                got.append(os.read(read, 4096))

        thread = threading.Thread(target=reader, daemon=True)
        with in_background(config):
            for n in range(2_000):
                log.info("x", n=n, room="r" * 100)
            log.info("last")
            thread.start()
        thread.join(20)
    lines = [json.loads(line) for line in b"".join(got).decode().splitlines()]
    assert [line["n"] for line in lines if line["event"] == "x"] == list(range(2_000))


def test_what_can_not_be_written_is_counted(tmp_path: Path) -> None:
    config = make_config(tmp_path)
    configure(config)
    log = structlog.get_logger()
    before, full = sys.stderr, open("/dev/full", "w")  # noqa: SIM115
    sys.stderr = full
    try:
        with in_background(config):
            log.info("one")
            log.info("two")
            until = time.monotonic() + 10
            while lines_dropped() < 2 and time.monotonic() < until:
                time.sleep(0.01)
            assert lines_dropped() >= 2
    finally:
        sys.stderr = before
        full.close()
