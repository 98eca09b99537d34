"""The sync comes before the yes, by SMTP and HTTP: what the operating system saw, in its order (strace)."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

import pytest
from aiohttp import ClientSession

from tests.kit.served import Town, log_in
from tests.kit.smtp import Talk
from tests.kit.world import letter

_SYNC = re.compile(r"(?:fdatasync|fsync)\((\d+)<[^>]*posthouse\.db-wal>")
_CALL = re.compile(r"^(?P<pid>\d+) +(?:<\.\.\. )?(?P<name>\w+)")


def strace() -> str:
    found = shutil.which("strace")
    if found is None:
        if os.environ.get("CI") == "true":
            pytest.fail("strace is missing")
        pytest.skip("strace is missing")
    return found


async def test_the_sync_returns_before_the_yes_is_sent(tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    program = (
        strace(), "-f", "-qq", "-yy", "-s", "64", "-o", str(trace), "-e",
        "trace=fdatasync,fsync,recvfrom,read,sendto,sendmsg,write,writev", "-e", "signal=none",
    )
    async with Town.made(tmp_path / "data") as town:  # noqa: SIM117
        # Nothing else may sync meanwhile: this process accepts only.
        async with town.serve(before=program, ROLES="submission http") as node:
            async with await Talk.to(node.port) as talk:
                await log_in(talk, town.alice.handle, town.alice.key)
                mine = {"587": f"127.0.0.1:{talk.writer.get_extra_info('sockname')[1]}"}
                await talk.send(b"MAIL FROM:<news@example.test>\r\nRCPT TO:<a@sink.test>\r\nDATA\r\n")
                assert [(await talk.reply())[:3] for _ in range(3)] == ["250", "250", "354"]
                await talk.send(letter(body=b"0123456789\r\n" * 500) + b".\r\n")
                assert (await talk.reply()).startswith("250 ")
            async with ClientSession() as http:
                sent = {"from": "news@example.test", "to": "b@sink.test", "subject": "x", "text": "y"}
                async with http.post(
                    f"http://127.0.0.1:{node.http}/v1/send", json=sent,
                    headers={"Authorization": f"Bearer {town.alice.key}"},
                ) as answer:
                    assert answer.status == 200
                    mine["http"] = "200 OK"
            assert await node.stop() == 0
    calls = whole_calls(trace.read_text(errors="replace"))
    # 587: the last octets of the message come in, the sync returns, the 250 goes out (under TLS, so told by place).
    sends = [i for i, call in enumerate(calls) if sends_on(call, mine["587"])]
    reads = [i for i, call in enumerate(calls) if octets_read(call, mine["587"]) > 5000]
    took = reads[-1]
    said = next(i for i in sends if i > took)
    between = [call for call in calls[took:said] if _SYNC.search(call)]
    assert between, calls[took - 2 : said + 1]
    assert all(call.endswith("= 0") for call in between)
    # HTTP: from the request to "200 OK".
    asked = next(i for i, call in enumerate(calls) if "POST /v1/send" in call)
    answered = next(i for i, call in enumerate(calls) if i > asked and "HTTP/1.1 200 OK" in call)
    between = [call for call in calls[asked:answered] if _SYNC.search(call)]
    assert between
    assert all(call.endswith("= 0") for call in between)


def whole_calls(trace: str) -> list[str]:
    """The calls in the order in which they returned; a send in the order in which it began."""
    begun: dict[tuple[str, str], str] = {}
    calls = []
    for line in trace.splitlines():
        found = _CALL.match(line)
        if not found:
            continue
        key = found["pid"], found["name"]
        if line.endswith("<unfinished ...>"):
            begun[key] = line.removesuffix(" <unfinished ...>")
            if found["name"].startswith(("send", "write")):
                calls.append(begun.pop(key))
        elif "<... " in line:
            if key in begun:
                calls.append(begun.pop(key) + line.partition("resumed>")[2])
        else:
            calls.append(line)
    return calls


def sends_on(call: str, peer: str) -> bool:
    return re.search(rf"\b(?:sendto|sendmsg|write|writev)\(\d+<TCP:\[[^\]]*->{re.escape(peer)}\]>", call) is not None


def octets_read(call: str, peer: str) -> int:
    found = re.search(rf"\b(?:recvfrom|read)\(\d+<TCP:\[[^\]]*->{re.escape(peer)}\]>.* = (-?\d+)", call)
    return int(found[1]) if found else 0
