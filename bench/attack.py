"""Does an attack keep others waiting? One client sends NOOP every 20 ms while others try the relay's bounds.

    python -m bench.attack [--seconds 3] [--connections 4] [--only 'NAME|NAME'] [--limit-ms 250] [--json FILE]

A real relay process with the bounds of its defaults, but for one: as many connections from one address as there may be
in all, since here everybody comes from one. Each attack runs for some seconds over some connections, again
and again, and ends. Printed are p50, p99 and the longest wait of the NOOPs in ms, and how often the attack was made.
Exit 1 when a p99 is over the limit, or an attack got an answer it must not get. Loopback only.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import logging
import random
import sys
import tempfile
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench import dns
from bench.ours import Posthouse
from bench.tools import BenchError, Login
from tests.kit.ports import free_port
from tests.kit.smtp import Talk

_PIECE = 65536
_MOST_SECONDS = 30.0
_IDLE_CROWD = 200  # idle connections a client of the flood holds; with four clients nearly all that a process takes
_ENDED = (ConnectionError, EOFError, TimeoutError, asyncio.IncompleteReadError)


@dataclass(frozen=True, slots=True)
class Target:
    """The relay: its login, and where port 25 is."""

    login: Login
    inbound_port: int

    async def logged_in(self) -> Talk:
        """A connection of the member's, after AUTH."""
        return await Talk.logged_in(self.login.port, self.login.user, self.login.password)

    @property
    def envelope(self) -> bytes:
        """MAIL, RCPT and DATA, pipelined."""
        return b"MAIL FROM:<%s>\r\nRCPT TO:<bob@sink.test>\r\nDATA\r\n" % self.login.sender.encode()

    @property
    def head(self) -> bytes:
        """Fields that are well."""
        return b"From: <%s>\r\nTo: bob@sink.test\r\nSubject: x\r\n" % self.login.sender.encode()


Attack = Callable[[Target], Awaitable[None]]


async def _pour(talk: Talk, content: bytes) -> None:
    """Send much; a server that closes meanwhile is no error."""
    with contextlib.suppress(ConnectionError):
        for at in range(0, len(content), _PIECE):
            await talk.send(content[at : at + _PIECE])


def _quiet() -> None:
    """asyncio warns of each write to a connection that the server has closed: here that is the point."""
    logging.getLogger("asyncio").setLevel(logging.ERROR)


async def _until_closed(talk: Talk, *, allowed: str) -> None:
    """Read every reply; each must begin with one of the `allowed` codes."""
    with contextlib.suppress(*_ENDED):
        while said := await talk.reply():
            if said[:3] not in allowed.split():
                raise BenchError(f"answered {said[:80]!r}, not one of {allowed}")


def _message(wanted: str, make: Callable[[Target], bytes], *, size: bytes = b"") -> Attack:
    """The attack of sending one message by a member; its reply must have one of the `wanted` codes."""
    made: dict[str, bytes] = {}

    async def attack(target: Target) -> None:
        content = made.setdefault("content", make(target))
        async with await target.logged_in() as talk:
            await talk.send(target.envelope.replace(b">\r\nRCPT", b">" + size + b"\r\nRCPT"))
            said = [await talk.reply() for _ in range(3)]
            if not said[2].startswith("354"):
                raise BenchError(f"DATA was answered {said}")
            await _pour(talk, content)
            reply = await talk.reply()
            if reply[:3] not in wanted.split():
                raise BenchError(f"answered {reply[:80]!r}, not one of {wanted}")

    return attack


def _commands(lines: Callable[[Target], bytes], allowed: str, *, login: bool) -> Attack:
    """The attack of sending octets as commands, and reading what is said until the connection ends."""

    async def attack(target: Target) -> None:
        opened = target.logged_in() if login else Talk.to(target.login.port)
        async with await opened as talk:
            pouring = asyncio.create_task(_pour(talk, lines(target)))
            await _until_closed(talk, allowed=allowed)
            await pouring

    return attack


async def _slow_data(target: Target) -> None:
    async with await target.logged_in() as talk:
        await talk.send(target.envelope)
        for _ in range(500):
            await talk.send(b"x")
            await asyncio.sleep(0.002)


async def _idle_flood(target: Target) -> None:
    """Many connections that say nothing; then all of them hang up at once."""
    crowd = await asyncio.gather(*(Talk.to(target.login.port) for _ in range(_IDLE_CROWD)))
    try:
        await asyncio.gather(*(talk.reply() for talk in crowd))
        await asyncio.sleep(0.2)
    finally:
        await asyncio.gather(*(talk.close() for talk in crowd))


def _nested(target: Target) -> bytes:
    parts = b"".join(
        b'--b%d\r\nContent-Type: multipart/mixed; boundary="b%d"\r\n\r\n' % (i, i + 1) for i in range(1000)
    )
    return _mime(target, b"b0") + parts + b"hi\r\n.\r\n"


def _mime(target: Target, boundary: bytes) -> bytes:
    return target.head + b'MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary="%s"\r\n\r\n' % boundary


def _addresses(target: Target) -> bytes:
    many = b",\r\n ".join(b'"A, B" <u%d@sink.test>' % i for i in range(5000))
    return b"Cc: " + many + b"\r\n" + target.head + b"\r\nhi\r\n.\r\n"


def _authors(_: Target) -> bytes:
    return b"From: " + b",\r\n ".join(b"u%d@example.test" % i for i in range(5000)) + b"\r\n\r\nhi\r\n.\r\n"


def _big_header(target: Target) -> bytes:
    return target.head + b"X-Big: " + (b"y" * 900 + b"\r\n ") * 2300 + b"z\r\n\r\nhi\r\n.\r\n"


_JUNK = random.Random(1).randbytes(400_000)
_HTTP = b"POST /v1/send HTTP/1.1\r\nHost: relay.test\r\nContent-Length: 400000\r\n\r\n" + b"{}" * 200_000

ATTACKS: Mapping[str, Attack | None] = {
    "nothing": None,
    "endless line of a command": _commands(lambda _: b"EHLO " + b"x" * 12_000_000, "220 500 421", login=False),
    "endless line of DATA": _message("552", lambda t: t.head + b"\r\n" + b"x" * 60_000_000),
    "slow DATA": _slow_data,
    "idle flood": _idle_flood,
    "2 MB header": _message("554", _big_header),
    "20,000 fields": _message("554", lambda t: t.head + b"X: y\r\n" * 20_000 + b"\r\nhi\r\n.\r\n"),
    "5,000 addresses": _message("250 554", _addresses),
    "5,000 authors": _message("550", _authors),
    "1,000 nested parts": _message("554", _nested),
    "200,000 parts": _message("554", lambda t: _mime(t, b"b") + b"--b\r\n\r\n\r\n" * 200_000 + b"--b--\r\n.\r\n"),
    "2 MB of blanks": _message("250", lambda t: t.head + b"\r\n" + (b" " * 997 + b"x\r\n") * 2000 + b".\r\n"),
    "comments in comments": _message("550 554", lambda _: b"From: " + b"(" * 900 + b" a@b\r\n\r\nhi\r\n.\r\n"),
    "5,000 RCPT": _commands(
        lambda t: t.envelope.partition(b"RCPT")[0] + b"".join(b"RCPT TO:<u%d@sink.test>\r\n" % i for i in range(5000)),
        "250 452 421", login=True,
    ),
    "3,000 NOOP": _commands(lambda _: b"NOOP\r\n" * 3000, "220 250 421", login=False),
    "lying SIZE": _message(
        "552", lambda t: t.head + b"\r\n" + b"0123456789\r\n" * 2_400_000 + b".\r\n", size=b" SIZE=10"
    ),
    "binary junk": _commands(lambda _: _JUNK, "220 500 502 421 521", login=False),
    "HTTP on 587": _commands(lambda _: _HTTP, "220 500 502 421", login=False),
}


@dataclass(frozen=True, slots=True)
class Seen:
    """What the probe saw beside one attack, in ms, and how often the attack was made."""

    name: str
    p50: float
    p99: float
    worst: float
    times: int
    fault: str


async def one(name: str, attack: Attack | None, target: Target, *, seconds: float, connections: int) -> Seen:
    """Attack for `seconds`, over and over, on `connections` at once, with the probe beside it."""
    probe = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "bench.probe", str(target.login.port), str(seconds), stdout=asyncio.subprocess.PIPE
    )
    assert probe.stdout is not None
    times, fault, over = 0, "", False

    async def again() -> None:
        nonlocal times, fault
        assert attack is not None
        while not (fault or over):
            try:
                await attack(target)
                times += 1
            except _ENDED:
                times += 1
            except (BenchError, AssertionError) as e:
                fault = str(e) or "a login was refused"

    attackers: list[asyncio.Task[None]] = []
    try:
        if await probe.stdout.readline() != b"ready\n":
            raise BenchError("the probe could not connect")
        attackers = [asyncio.create_task(again()) for _ in range(connections if attack else 0)]
        async with asyncio.timeout(seconds + 60):
            said = await probe.stdout.readline()
            await probe.wait()
    except TimeoutError:
        said = b""
    finally:
        over = True  # a cancellation alone may be lost in a wait that ends at the same moment
        for attacker in attackers:
            attacker.cancel()
        await asyncio.gather(*attackers, return_exceptions=True)
        if probe.returncode is None:
            probe.kill()
            await probe.wait()
    if not said:
        return Seen(name, 0, float("inf"), float("inf"), times, fault or "the probe got no answer")
    waits = sorted(json.loads(said))
    return Seen(name, waits[len(waits) // 2], waits[int(len(waits) * 0.99)], waits[-1], times, fault)


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m bench.attack", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=3.0, help="of each attack (default 3)")
    parser.add_argument("--connections", type=int, default=4, help="each attack comes from at once (default 4)")
    parser.add_argument("--only", default="", help=f"some of: {' | '.join(ATTACKS)}")
    parser.add_argument("--limit-ms", type=float, default=250.0, help="the longest p99 allowed (default 250)")
    parser.add_argument("--json", type=Path, help="write the figures here too")
    a = parser.parse_args()
    a.only = [name.strip() for name in a.only.split("|") if name.strip()]
    for name in a.only:
        if name not in ATTACKS:
            parser.error(f"--only: no attack {name!r}; there are {' | '.join(ATTACKS)}")
    if not 0.1 <= a.seconds <= _MOST_SECONDS:
        parser.error(f"--seconds: 0.1 to {_MOST_SECONDS:g}")
    return a


async def main(a: argparse.Namespace) -> int:
    """Every attack in turn against one relay."""
    _quiet()
    seen: list[Seen] = []
    with tempfile.TemporaryDirectory(prefix="posthouse-attack-") as made:
        async with dns.names() as names:
            # Nobody listens where its mail would go: what is accepted is put off.
            relay = Posthouse(Path(made) / "relay", free_port(), names)
            try:
                await relay.set_up()
                target = Target(await relay.start(), relay.inbound_port)
                sys.stdout.write(f"{'attack':28}{'p50':>8}{'p99':>8}{'max':>8} ms   made\n")
                for name in a.only or ATTACKS:
                    found = await one(name, ATTACKS[name], target, seconds=a.seconds, connections=a.connections)
                    seen.append(found)
                    bad = found.fault or ("TOO LONG" if found.p99 > a.limit_ms else "")
                    sys.stdout.write(
                        f"{name:28}{found.p50:8.1f}{found.p99:8.1f}{found.worst:8.1f} {found.times:9}  {bad}\n"
                    )
                    sys.stdout.flush()
            finally:
                await relay.stop()
                relay.group.remove()
    if a.json:
        table: list[dict[str, Any]] = [{slot: getattr(s, slot) for slot in s.__slots__} for s in seen]
        a.json.write_text(json.dumps(table, indent=1) + "\n", encoding="utf-8")
    return 1 if any(s.fault or s.p99 > a.limit_ms for s in seen) else 0


if __name__ == "__main__":
    try:
        sys.exit(asyncio.run(main(arguments())))
    except BenchError as e:
        sys.stderr.write(f"attack: {e}\n")
        sys.exit(1)
