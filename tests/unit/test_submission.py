"""The submission listener alone, over real sockets and real TLS: bounds, time, failures, hang-ups, certificate, end.

The services behind it are played here, so that a test can make them fail or wait; dialogs run against real ones.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import ssl
import weakref
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from relay import replies
from relay.base.clock import DAY, Clock
from relay.base.config import Config
from relay.base.domain_options import Options
from relay.base.names import Address, address
from relay.base.tls import Certificate, TlsError, make_self_signed
from relay.directory import DomainEntry, Login
from relay.intake import Accepted, Submission
from relay.replies import Verdict
from relay.smtpd.data import Content, Endless, Memory
from relay.submission import SubmissionServer
from tests.kit.clock import HandClock
from tests.kit.smtp import Talk, plain, trusting
from tests.kit.storage import make_config

LOGIN = Login(1, "alice", "did:web:a", 1, "k", frozenset({"send"}), None, "bulk")
DOMAIN = DomainEntry(1, 1, "example.test", None, 0.0, (), "", Options())
HEAD = b"From: a@example.test\r\n\r\n"
SECRET = "ph_open-sesame"


class Backend:
    """Directory, policy, intake and refusals: everybody may, until a test says otherwise."""

    def __init__(self) -> None:
        self.taken: list[Submission] = []
        self.answer: Any = None
        self.full = False
        self.fail: dict[str, Exception] = {}
        self.entered, self.go = asyncio.Event(), asyncio.Event()
        self.go.set()

    def _maybe_fail(self, what: str) -> None:
        if what in self.fail:
            raise self.fail.pop(what)

    def login(self, username: str | None, secret: str, client: str, *, acts_as: str = "") -> Login | Verdict:
        self._maybe_fail("login")
        return LOGIN if secret == SECRET else Verdict(replies.AUTH_FAILED)

    def greeting(self, client: str) -> Verdict | None:
        self._maybe_fail("greeting")
        return None

    def sender(self, login: Login, sender: str) -> DomainEntry | Verdict:
        self._maybe_fail("sender")
        return DOMAIN

    def null_sender(self, login: Login) -> Verdict | None:
        return Verdict(replies.NULL_SENDER)

    async def recipient(
        self, login: Login, domain: DomainEntry | None, to: str, *, named: int
    ) -> Address | Verdict:
        self._maybe_fail("recipient")
        return address(to)

    async def accept(self, submission: Submission) -> Accepted | Verdict:
        self._maybe_fail("accept")
        self.entered.set()
        await self.go.wait()
        self.taken.append(submission)
        taken = tuple((r.address, i) for i, r in enumerate(submission.recipients, 1))
        return self.answer or Accepted(f"q{len(self.taken)}", len(self.taken), taken)

    def record(self, verdict: Verdict, **_: Any) -> Verdict:
        return verdict


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a made-up certificate in it."""
    made = tmp_path_factory.mktemp("listener")
    Certificate.of(make_config(made), Clock())
    return made


@asynccontextmanager
async def listener(folder: Path, **bounds: Any) -> AsyncIterator[tuple[SubmissionServer, Backend]]:
    """Both ports, open."""
    submission = {"listen": ["127.0.0.1:0"], "listen_tls": ["127.0.0.1:0"], **bounds}
    config: Config = make_config(folder, submission=submission, server={"hostname": "relay.test"})
    backend = Backend()
    server = SubmissionServer(
        config=config, directory=backend, policy=backend, intake=backend, refusals=backend,  # type: ignore[arg-type]
        certificate=Certificate.of(config, Clock()),
    )
    await server.start()
    try:
        yield server, backend
    finally:
        backend.go.set()
        await server.stop(2)
        assert server.connections == 0
        assert server.memory.held == 0


async def member(server: SubmissionServer) -> Talk:
    return await Talk.logged_in(server.ports[0], "alice", SECRET)


async def to_data(talk: Talk) -> None:
    await talk.send(b"MAIL FROM:<a@example.test>\r\nRCPT TO:<b@sink.test>\r\nDATA\r\n")
    assert [(await talk.reply())[:3] for _ in range(3)] == ["250", "250", "354"]


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not true():  # noqa: ASYNC110
            await asyncio.sleep(0.005)


# -- what arrives is what was sent ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "known"),
    [
        (b"EHLO", "unknown"), (b"HELO  ", "unknown"), (b"EHLO my pc", "unknown"), (b"EHLO MY_PC", "unknown"),
        (b"EHLO M\xdcLLER-PC", "unknown"), ("EHLO MÜLLER-PC".encode(), "unknown"), (b"EHLO -x.test", "unknown"),
        (b"EHLO x (evil [192.0.2.1]) by relay.test;", "unknown"), (b"EHLO a\x0bb", "unknown"),
        (b"EHLO " + b"x" * 300, "unknown"), (b"EHLO .", "unknown"), (b"EHLO [192.0.2.1", "unknown"),
        (b"EHLO pc-7.lan", "pc-7.lan"), (b"EHLO relay.test.", "relay.test."), (b"EHLO [IPv6:2001:db8::1]",
        "[IPv6:2001:db8::1]"), (b"HELO 192.0.2.1", "192.0.2.1"),
    ],
)  # fmt: skip
async def test_a_client_may_call_itself_what_it_likes_and_only_a_name_is_believed(
    folder: Path, line: bytes, known: str
) -> None:
    async with listener(folder) as (server, backend), await member(server) as talk:
        await talk.send(line + b"\r\n")
        assert (await talk.reply())[:3] == "250"
        await to_data(talk)
        await talk.send(HEAD + b"\r\nx\r\n.\r\n")
        assert (await talk.reply())[:3] == "250"
    assert [got.helo for got in backend.taken] == [known]


async def test_the_gate_gets_the_whole_envelope_and_the_bytes_unstuffed(folder: Path) -> None:
    async with listener(folder) as (server, backend), await member(server) as talk:
        await talk.ask("MAIL FROM:<a@example.test> RET=HDRS ENVID=Q+2Bx SMTPUTF8 BODY=8BITMIME")
        await talk.ask("RCPT TO:<b@sink.test> NOTIFY=success ORCPT=rfc822;B@Sink.test")
        await talk.ask("RCPT TO:<b@SINK.test> NOTIFY=NEVER")
        await talk.ask("DATA")
        await talk.send(HEAD + b"..\r\n..x\r\n.y\r\nz.\r\n\r\n\xc3\xa9\r\n.\r\n")
        assert await talk.reply() == "250 2.0.0 Queued as q1"
    [got] = backend.taken
    assert got.raw == HEAD + b".\r\n.x\r\ny\r\nz.\r\n\r\n\xc3\xa9\r\n"
    assert (got.mail_from, got.envid, got.ret, got.smtputf8) == (address("a@example.test"), "Q+2Bx", "HDRS", True)
    [to] = got.recipients
    assert (to.address, to.notify, to.orcpt) == (address("b@sink.test"), "SUCCESS", "rfc822;B@Sink.test")
    assert (got.login, got.domain, got.door, got.helo) == (LOGIN, DOMAIN, "smtp", "client.test")
    assert (got.client_address, got.tls) == ("127.0.0.1", "TLSv1.3")


async def test_replies_to_pipelined_commands_leave_in_one_write(folder: Path) -> None:
    async with listener(folder) as (server, _), await member(server) as talk:
        await talk.send(b"MAIL FROM:<a@example.test>\r\n" + b"RCPT TO:<b@sink.test>\r\n" * 3 + b"DATA\r\n")
        # One TLS record: what one read gives is all five replies.
        said = await asyncio.wait_for(talk.reader.read(65536), 5)
        assert [line[:3] for line in said.splitlines()] == [b"250"] * 4 + [b"354"]


@pytest.mark.parametrize("step", [1, 2, 3, 7, 4096])
async def test_content_may_come_in_any_pieces(step: int) -> None:
    content = HEAD + b"..dot\r\nx\r\n...\r\n" + (b"line\r\n" * 20 if step < 4096 else b"0123456789\r\n" * 20_000)
    for sent in (content, b""):
        reader = asyncio.StreamReader(limit=65536)
        with Content(reader, Memory(10**9), 10**9) as reading:
            task = asyncio.ensure_future(reading.read())
            data = sent + b".\r\nRSET\r\n"
            for i in range(0, len(data), step):
                reader.feed_data(data[i : i + step])
                await asyncio.sleep(0)
            assert await task == sent.replace(b"\r\n.", b"\r\n")
            assert await reader.readline() == b"RSET\r\n"


@pytest.mark.parametrize("size", [99_999, 100_000, 100_001])
async def test_the_limit_counts_octets_without_stuffed_dots(size: int) -> None:
    # RFC 1870 §5. Lines of "." are stuffed to "..": a third more on the wire.
    content = (b".\r\n" * (size // 3 + 1))[: size - 2] + b"\r\n"
    content = content if content.endswith(b".\r\n") else content[:-3] + b"x\r\n"
    assert len(content) == size
    reader = asyncio.StreamReader(limit=65536)
    memory = Memory(10**9)
    with Content(reader, memory, 100_000) as reading:
        reader.feed_data((b"\r\n" + content).replace(b"\r\n.", b"\r\n..")[2:] + b".\r\n")
        got = await reading.read()
        assert got == (content if size <= 100_000 else None)
        assert reading.too_large == (size > 100_000)
    assert memory.held == 0


async def test_a_line_without_end_is_never_held_beyond_the_limit() -> None:
    reader = asyncio.StreamReader(limit=65536)
    memory = Memory(10**9)
    with Content(reader, memory, 200_000) as reading:
        task = asyncio.ensure_future(reading.read())
        held = []
        while not task.done():
            reader.feed_data(b"x" * 50_000)
            await asyncio.sleep(0)
            held.append(memory.held)
        with pytest.raises(Endless):
            await task
    assert max(held) <= 200_002
    assert len(held) < 20


async def test_too_much_content_at_once_gets_a_temporary_failure(folder: Path) -> None:
    async with listener(folder, max_data_memory_bytes=300_000) as (server, backend):
        async with await member(server) as first, await member(server) as second:
            await to_data(first)
            await first.send(HEAD + b"0123456789\r\n" * 20_000)
            await until(lambda: server.memory.held > 150_000)
            await to_data(second)
            await second.send(HEAD + b"0123456789\r\n" * 20_000 + b".\r\n")
            assert (await second.reply()).startswith("451 4.3.0 ")
            assert (await second.ask("NOOP")).startswith("250 ")
            await first.send(b".\r\n")
            assert (await first.reply()).startswith("250 2.0.0 ")
        assert len(backend.taken) == 1


# -- failures -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("where", ["login", "sender", "recipient", "accept"])
async def test_an_exception_becomes_a_451_with_a_reference_and_the_session_lives_on(folder: Path, where: str) -> None:
    async with listener(folder) as (server, backend), await Talk.secured(server.ports[0]) as talk:
        backend.fail[where] = RuntimeError(f"detail of {SECRET}")
        said = []
        with capture_logs() as logged:
            said.append(await talk.ask(f"AUTH PLAIN {plain('alice', SECRET)}"))
            if where == "login":
                said.append(await talk.ask(f"AUTH PLAIN {plain('alice', SECRET)}"))
            for command in ("MAIL FROM:<a@example.test>", "RCPT TO:<b@sink.test>", "DATA"):
                said.append(await talk.ask(command))
            if said[-1].startswith("354"):
                await talk.send(HEAD + b"x\r\n.\r\n")
                said.append(await talk.reply())
        [failed] = [s for s in said if s.startswith("451")]
        [line] = [entry for entry in logged if entry["event"] == "submission.failed"]
        assert failed == f"451 4.3.0 Local error in processing (reference {line['reference']})"
        assert not any("detail" in s for s in said)
        # As after RSET: the next message goes through.
        await talk.ask("RSET")
        await to_data(talk)
        await talk.send(HEAD + b"x\r\n.\r\n")
        assert (await talk.reply()).startswith("250 2.0.0 ")


async def test_an_exception_in_the_greeting_closes_and_is_logged(folder: Path) -> None:
    async with listener(folder) as (server, backend):
        backend.fail["greeting"] = RuntimeError("x")
        with capture_logs() as logged:
            async with await Talk.to(server.ports[0]) as talk:
                assert await talk.closed()
        assert "submission.broken" in [entry["event"] for entry in logged]


async def test_no_secret_is_logged(folder: Path) -> None:
    with capture_logs() as logged:
        async with listener(folder) as (server, backend), await Talk.secured(server.ports[0]) as talk:
            wrong = plain("alice", "ph_wrong")
            await talk.ask(f"AUTH PLAIN {wrong}")
            backend.fail["login"] = RuntimeError("boom")
            await talk.ask(f"AUTH PLAIN {plain('alice', SECRET)}")
    text = str(logged)
    assert "submission.login_refused" in text
    for secret in ("ph_wrong", wrong, SECRET, plain("alice", SECRET)):
        assert secret not in text


async def test_a_client_that_hangs_up_during_the_commit_changes_nothing(folder: Path) -> None:
    async with listener(folder) as (server, backend):
        backend.go.clear()
        talk = await member(server)
        await to_data(talk)
        await talk.send(HEAD + b"x\r\n.\r\n")
        await backend.entered.wait()
        talk.writer.transport.abort()
        await until(lambda: not server.connections)
        backend.go.set()
        await until(lambda: len(backend.taken) == 1)


async def test_a_client_that_hangs_up_inside_the_content_leaves_nothing(folder: Path) -> None:
    async with listener(folder) as (server, backend):
        for end in (b"", b"\r\n.", b"\r\n.\r"):
            talk = await member(server)
            await to_data(talk)
            await talk.send(HEAD + b"x" + end)
            await talk.close()
        await until(lambda: not server.connections)
        assert not backend.taken


async def test_commands_before_the_end_of_the_stream_are_answered(folder: Path) -> None:
    async with listener(folder) as (server, _), await Talk.to(server.ports[0]) as talk:
        await talk.send(b"EHLO client.test\r\nNOOP\r\n")
        talk.writer.write_eof()
        assert [(await talk.reply())[:3] for _ in range(4)] == ["220", "250", "250", ""]


async def test_a_connection_that_is_over_is_freed_at_once(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A conversation under TLS holds 256 KiB: it must not wait for the garbage collector, however it ended."""
    seen: list[weakref.ref[Any]] = []
    async with listener(folder) as (server, _):
        admit = server.admit
        monkeypatch.setattr(server, "admit", lambda session: seen.append(weakref.ref(session)) or admit(session))
        gc.disable()
        try:
            async with await member(server) as talk:
                await talk.ask("QUIT")
            talk = await member(server)
            await to_data(talk)
            talk.writer.transport.abort()
            async with await Talk.to(server.tls_ports[0]) as talk:
                await talk.send(b"EHLO client.test\r\n" * 20)
                await talk.closed()
            await until(lambda: all(session() is None for session in seen))
        finally:
            gc.enable()
    assert len(seen) == 3


# -- time and numbers -----------------------------------------------------------------------------------------


async def test_silence_is_told_before_it_is_closed(folder: Path) -> None:
    async with listener(folder, command_timeout_seconds=0.2) as (server, _), await Talk.to(server.ports[0]) as talk:
        assert (await talk.reply()).startswith("220 ")
        assert await talk.reply() == "421 4.4.2 Timeout, closing connection"
        assert await talk.closed()


async def test_small_talk_does_not_put_the_login_off_for_ever(folder: Path) -> None:
    async with listener(folder, login_timeout_seconds=0.3) as (server, _), await Talk.secured(server.ports[0]) as talk:
        for _ in range(3):
            assert (await talk.ask("NOOP")).startswith("250 ")
        assert (await talk.reply()).startswith("421 4.4.2 ")
        assert await talk.closed()


async def test_a_handshake_that_never_comes_is_ended(folder: Path) -> None:
    async with listener(folder, login_timeout_seconds=0.2, max_connections=1) as (server, _):  # noqa: SIM117
        # On 465 it occupies its place meanwhile: connections are counted before their handshake.
        async with await Talk.to(server.tls_ports[0]):
            await until(lambda: server.connections == 1)
            async with await Talk.to(server.ports[0]) as other:
                assert (await other.reply()).startswith("421 4.7.0 ")
                assert await other.closed()
            await until(lambda: server.connections == 0)


async def test_plain_text_on_the_tls_port_is_ended(folder: Path) -> None:
    async with listener(folder) as (server, _), await Talk.to(server.tls_ports[0]) as talk:
        await talk.send(b"EHLO client.test\r\n" * 20)
        await until(lambda: server.connections == 0)


async def test_content_that_drips_is_cut(folder: Path) -> None:
    slow = {"data_grace_seconds": 0.2, "data_min_bytes_a_second": 10_000}
    async with listener(folder, **slow) as (server, backend), await member(server) as talk:
        await to_data(talk)
        reply = asyncio.ensure_future(talk.reply())
        # The end may come while a drop is under way.
        with contextlib.suppress(ConnectionError):
            while not reply.done():
                await talk.send(b"x\r\n")
                await asyncio.sleep(0.02)
        assert await reply == "421 4.4.2 Timeout, closing connection"
        assert not backend.taken


async def test_content_that_stops_is_cut(folder: Path) -> None:
    slow = {"data_grace_seconds": 0.4, "command_timeout_seconds": 0.3, "data_min_bytes_a_second": 1}
    async with listener(folder, **slow) as (server, _), await member(server) as talk:
        await to_data(talk)
        await talk.send(b"x" * 100_000)
        assert (await talk.reply()).startswith("421 4.4.2 ")


async def test_a_commit_that_takes_long_is_not_the_clients_silence(folder: Path) -> None:
    async with listener(folder, command_timeout_seconds=0.15) as (server, backend), await member(server) as talk:
        backend.go.clear()
        await to_data(talk)
        await talk.send(HEAD + b"x\r\n.\r\n")
        reply = asyncio.ensure_future(talk.reply())
        await asyncio.sleep(0.4)
        assert not reply.done()
        backend.go.set()
        assert (await reply).startswith("250 2.0.0 ")


async def test_connections_of_one_address_are_bounded(folder: Path) -> None:
    async with listener(folder, max_connections_an_address=2) as (server, _):
        async with await Talk.to(server.ports[0]) as one, await Talk.to(server.ports[0]) as two:
            for talk in (one, two):
                assert (await talk.reply()).startswith("220 ")
            async with await Talk.to(server.ports[0]) as three:
                assert (await three.reply()).startswith("421 4.7.0 Too many requests")
                assert await three.closed()
        await until(lambda: server.connections == 0)
        async with await Talk.to(server.ports[0]) as talk:
            assert (await talk.reply()).startswith("220 ")


async def test_a_refused_connection_ends_without_trouble(folder: Path) -> None:
    loop = asyncio.get_running_loop()
    trouble: list[dict[str, Any]] = []
    loop.set_exception_handler(lambda _, context: trouble.append(context))
    async with listener(folder, max_connections=1) as (server, _), await Talk.to(server.ports[0]) as first:
        await first.reply()
        async with await Talk.to(server.ports[0]) as second:
            assert (await second.reply()).startswith("421 ")
            assert await second.closed()
        assert (await first.ask("NOOP")).startswith("250 ")
    assert not trouble


async def test_a_flood_of_small_talk_is_cut_whatever_it_is(folder: Path) -> None:
    async with listener(folder) as (server, _), await member(server) as talk:
        await talk.send(b"NOOP\r\n" * 3000)
        said = []
        while (reply := await talk.reply()) and len(said) < 3000:
            said.append(reply)
        assert len(said) <= 201
        assert said[-1].startswith("421 4.7.0 ")


# -- stopping -------------------------------------------------------------------------------------------------


async def test_stopping_tells_the_idle_and_lets_a_message_finish(folder: Path) -> None:
    async with listener(folder) as (server, backend):
        async with await member(server) as idle, await member(server) as half, await member(server) as busy:
            await half.ask("MAIL FROM:<a@example.test>")
            backend.go.clear()
            await to_data(busy)
            await busy.send(HEAD + b"x\r\n")
            stopping = asyncio.ensure_future(server.stop(5))
            for talk in (idle, half):
                assert await talk.reply() == "421 4.3.2 Service shutting down, try again in a moment"
                assert await talk.closed()
            await busy.send(b".\r\n")
            await backend.entered.wait()
            backend.go.set()
            assert (await busy.reply()).startswith("250 2.0.0 ")
            assert (await busy.reply()).startswith("421 4.3.2 ")
            assert await busy.closed()
            await stopping
        with pytest.raises(OSError):
            await Talk.to(server.ports[0])


async def test_stopping_does_not_wait_for_ever(folder: Path) -> None:
    async with listener(folder) as (server, backend), await member(server) as talk:
        await to_data(talk)
        await talk.send(HEAD)
        await server.stop(0.1)
        assert (await talk.reply()).startswith("421 4.3.2 ")
        assert not backend.taken


async def test_a_taken_port_is_an_error_and_leaves_nothing_listening(folder: Path) -> None:
    blocker = await asyncio.start_server(lambda r, w: w.close(), "127.0.0.1", 0)
    taken = blocker.sockets[0].getsockname()[1]
    config = make_config(folder, submission={"listen": ["127.0.0.1:0"], "listen_tls": [f"127.0.0.1:{taken}"]})
    backend: Any = Backend()
    server = SubmissionServer(
        config=config, directory=backend, policy=backend, intake=backend, refusals=backend,
        certificate=Certificate.of(config, Clock()),
    )
    with pytest.raises(OSError):
        await server.start()
    with pytest.raises(OSError):
        await Talk.to(server.ports[0])
    blocker.close()
    await blocker.wait_closed()


# -- TLS ------------------------------------------------------------------------------------------------------


async def test_tls_older_than_1_2_is_not_spoken(folder: Path) -> None:
    async with listener(folder) as (server, _):
        old = trusting()
        old.set_ciphers("ALL:@SECLEVEL=0")
        with pytest.warns(DeprecationWarning, match="TLSv1"):
            old.minimum_version = ssl.TLSVersion.TLSv1
        with pytest.warns(DeprecationWarning, match="TLSv1"):
            old.maximum_version = ssl.TLSVersion.TLSv1_1
        with pytest.raises((ssl.SSLError, ConnectionError)):
            await asyncio.open_connection("127.0.0.1", server.tls_ports[0], ssl=old)
        await until(lambda: server.connections == 0)


async def test_a_new_certificate_is_used_by_the_next_handshake_and_a_bad_one_never(tmp_path: Path) -> None:
    async with listener(tmp_path) as (server, _):
        certificate = server.certificate
        before = await peer_certificate(server)
        make_self_signed(certificate.cert_file, certificate.key_file, "new.test", Clock().now())
        assert certificate.refresh()
        after = await peer_certificate(server)
        assert after != before
        assert not certificate.refresh()
        certificate.cert_file.write_text("junk")
        with capture_logs() as logged:
            assert not certificate.refresh()
        assert [entry["event"] for entry in logged] == ["tls.not_reloaded"]
        assert await peer_certificate(server) == after


async def peer_certificate(server: SubmissionServer) -> bytes:
    async with await Talk.to(server.tls_ports[0], tls=True) as talk:
        assert (await talk.reply()).startswith("220 ")
        tls_object = talk.writer.get_extra_info("ssl_object")
        found: bytes = tls_object.getpeercert(binary_form=True)
        return found


def test_a_made_up_certificate_is_kept_until_it_is_old(tmp_path: Path) -> None:
    clock = HandClock()
    config = make_config(tmp_path, server={"hostname": "relay.test"})
    first = Certificate.of(config, clock)
    assert first.made_up
    assert first.key_file.stat().st_mode & 0o777 == 0o600
    text = first.cert_file.read_bytes()
    assert Certificate.of(config, clock).cert_file.read_bytes() == text
    clock.move(340 * DAY)
    assert Certificate.of(config, clock).cert_file.read_bytes() != text


@pytest.mark.parametrize(
    ("sections", "spoil", "says"),
    [
        ({"server": {"production": True}}, None, "must be set when server.production"),
        ({"tls": {"cert_file": "x.pem"}}, None, "belong together"),
        ({"tls": {"cert_file": "/none/c.pem", "key_file": "/none/k.pem"}}, None, "no such file"),
        ({}, "mode", "others can read"),
        ({}, "junk", "not a readable PEM certificate"),
        ({}, "other key", "not a readable PEM key"),
        ({}, "expired", "expired at"),
    ],
)
def test_a_certificate_that_cannot_be_used_is_named(
    tmp_path: Path, sections: dict[str, Any], spoil: str | None, says: str
) -> None:
    cert, key = tmp_path / "c.pem", tmp_path / "k.pem"
    make_self_signed(cert, key, "relay.test", Clock().now() - (400 * DAY if spoil == "expired" else 0))
    if spoil == "mode":
        key.chmod(0o644)
    elif spoil == "junk":
        cert.write_text("junk")
    elif spoil == "other key":
        make_self_signed(tmp_path / "other.pem", key, "relay.test", Clock().now())
    if spoil:
        sections = {"tls": {"cert_file": str(cert), "key_file": str(key)}}
    with pytest.raises(TlsError) as caught:
        Certificate.of(make_config(tmp_path, **sections), Clock())
    assert says in caught.value.lines[0]
    assert "PRIVATE" not in str(caught.value)


async def test_the_files_are_looked_at_again_and_again(tmp_path: Path) -> None:
    certificate = Certificate.of(make_config(tmp_path), Clock())
    before = certificate.context
    watching = asyncio.ensure_future(certificate.watch(0.01))
    make_self_signed(certificate.cert_file, certificate.key_file, "new.test", Clock().now())
    await until(lambda: certificate.context is not before)
    watching.cancel()
    await asyncio.gather(watching, return_exceptions=True)
