"""One conversation with a mail exchanger, well-behaved and otherwise, over real sockets."""

import asyncio
import ssl
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import trustme

from relay.delivery.client import Connection, Credentials, Limits, Target, Transaction
from relay.delivery.client.connection import has_bare_line_ends, stuffed
from relay.delivery.tls_policy import OPPORTUNISTIC, Contexts, TlsClient, TlsLevel, TlsPolicy
from relay.outcome import Outcome
from tests.kit.sink import DROP, SILENCE, Endless, Sink, Slow

QUICK = Limits(
    connect_seconds=2, greeting_seconds=0.2, tls_seconds=2, command_seconds=0.2, data_seconds=0.2,
    block_seconds=0.3, dot_seconds=0.2, quit_seconds=0.2, conversation_seconds=5,
)
HEAD, BODY = b"Received: by relay.test\r\nDKIM-Signature: v=1\r\n", b"From: a@a.test\r\n\r\nhello\r\n.dot\r\n..\r\n"


@pytest.fixture(scope="module")
def contexts(tmp_path_factory: pytest.TempPathFactory) -> tuple[Contexts, ssl.SSLContext, ssl.SSLContext]:
    """Our client's contexts; a server certificate it trusts; one it does not."""
    authority, stranger = trustme.CA(), trustme.CA()
    path: Path = tmp_path_factory.mktemp("ca") / "ca.pem"
    authority.cert_pem.write_to_path(str(path))
    good, bad = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("mx.test").configure_cert(good)
    stranger.issue_cert("mx.test").configure_cert(bad)
    return Contexts(ca_file=str(path)), good, bad


@pytest.fixture
async def sink() -> AsyncIterator[Sink]:
    async with Sink() as sink:
        yield sink


def tls(contexts: tuple[Contexts, Any, Any]) -> TlsClient:
    return TlsClient(contexts[0], monotonic=time.monotonic)


def target(sink: Sink, **more: Any) -> Target:
    return Target("mx.test", sink.host, sink.port, **({"helo": "relay.test"} | more))


async def call(
    sink: Sink, contexts: Any, policy: TlsPolicy = OPPORTUNISTIC, limits: Limits = QUICK, **more: Any
) -> Connection | Outcome:
    return await Connection.open(target(sink, policy=policy, **more), tls(contexts), limits)


async def one(
    sink: Sink, contexts: Any, to: tuple[str, ...] = ("x@b.test",), chunks: tuple[bytes, ...] = (HEAD, BODY),
    policy: TlsPolicy = OPPORTUNISTIC, limits: Limits = QUICK, **more: Any,
) -> list[Outcome]:
    """Open, deliver to one after the other, close; an outcome a recipient, also when opening failed."""
    connection = await call(sink, contexts, policy, limits)
    if isinstance(connection, Outcome):
        return [connection] * len(to)
    try:
        return [await connection.deliver(Transaction("b-1@a.test", one, chunks, **more)) for one in to]
    finally:
        await connection.close()


def kinds(outcomes: list[Outcome]) -> list[str]:
    return [outcome.kind for outcome in outcomes]


async def test_bytes_arrive_as_they_were_signed(sink: Sink, contexts: Any) -> None:
    long = b"x" * 5000 + "ü".encode() * 3000 + b"\r\n"
    [outcome] = await one(sink, contexts, chunks=(HEAD, BODY + long))
    [message] = sink.messages
    assert message.raw == HEAD + BODY + long
    assert (outcome.kind, outcome.code, outcome.enhanced, outcome.stage) == ("delivered", 250, "2.0.0", "dot")
    assert b"BODY=8BITMIME" in message.mail
    assert b"SIZE=%d" % len(message.raw) in message.mail
    assert sink.verbs() == ["EHLO", "MAIL", "RCPT", "DATA", "RSET", "QUIT"]


@pytest.mark.parametrize("block", [1, 2, 3, 4, 5, 7, 1000])
@pytest.mark.parametrize(
    "message", [b"", b".", b".\r\n", b"\r\n.\r\n", b"a\r\n.b\r\n..c\r\n.\r\n\r\n.", b".\r\n.\r\n.\r\n", b"a\r\n"]
)
def test_dots_are_stuffed_at_every_seam(message: bytes, block: int) -> None:
    sent = b"".join(stuffed((message[:3], message[3:]), block))
    assert sent.endswith(b"\r\n.\r\n") or sent == b".\r\n"
    lines = sent[: -len(b".\r\n")].split(b"\r\n")
    assert b"\r\n".join(line.removeprefix(b".") for line in lines) == (
        message if not message or message.endswith(b"\r\n") else message + b"\r\n"
    )
    assert b"." not in lines  # nothing before the end looks like the end


def test_bare_line_ends_are_seen() -> None:
    assert not has_bare_line_ends((HEAD, BODY))
    for bad in (b"a\n.\r\n", b"a\r.\r\n", b"\r\n.\n", b"a\r\r\n"):
        assert has_bare_line_ends((HEAD, bad))


async def test_smuggling_content_is_never_sent(sink: Sink, contexts: Any) -> None:
    [outcome] = await one(sink, contexts, chunks=(HEAD, b"a\n.\r\nMAIL FROM:<evil@evil.test>\r\n"))
    assert (outcome.kind, outcome.enhanced) == ("never", "5.6.0")
    assert "MAIL" not in sink.verbs()


@pytest.mark.parametrize(
    "bad", ["a@b.test>\r\nRCPT TO:<c@d.test", "a b@c.test", "a>b@c.test", "a\n@b.test", "", "a\x00@b", "\ud800@b.test"]
)
async def test_addresses_cannot_inject_commands(sink: Sink, contexts: Any, bad: str) -> None:
    outcomes = await one(sink, contexts, to=(bad, "good@b.test"))
    assert [(o.kind, o.enhanced) for o in outcomes] == [("never", "5.1.3"), ("delivered", "2.0.0")]
    assert sink.messages[0].rcpt_tos == ["good@b.test"]
    connection = await call(sink, contexts)
    assert isinstance(connection, Connection)
    if bad:
        outcome = await connection.deliver(Transaction(bad, "x@b.test", (BODY,)))
        assert (outcome.kind, outcome.enhanced) == ("never", "5.1.7")
    await connection.close()


@pytest.mark.parametrize("offers", [("PIPELINING", "8BITMIME"), ()])
async def test_three_recipients_three_fates(sink: Sink, contexts: Any, offers: tuple[str, ...]) -> None:
    sink.offers = offers
    sink.on("RCPT", "250 2.1.5 ok", "450 4.2.1 busy", "550 5.1.1 nobody")
    outcomes = await one(sink, contexts, to=("a@b.test", "b@b.test", "c@b.test"))
    assert kinds(outcomes) == ["delivered", "later", "never"]
    assert outcomes[2].text == "550 5.1.1 nobody"
    assert [message.rcpt_tos for message in sink.messages if message.raw] == [["a@b.test"]]


async def test_pipelined_commands_need_no_waiting(sink: Sink, contexts: Any) -> None:
    # With every answer held back until DATA was read, only a client that writes ahead gets through.
    sink.on("MAIL", b"")
    sink.on("RCPT", b"")
    sink.on("DATA", b"250 ok\r\n250 ok\r\n354 go\r\n")
    connection = await call(sink, contexts)
    assert isinstance(connection, Connection)
    delivery = asyncio.create_task(connection.deliver(Transaction("a@a.test", "x@b.test", (BODY,))))
    # The sink takes the answer's first bytes (250) for a refusal of DATA, so nothing is collected after it.
    outcome = await delivery
    assert outcome.stage == "dot"
    assert sink.verbs()[1:4] == ["MAIL", "RCPT", "DATA"]
    await connection.close()


async def test_no_recipient_taken_sends_no_content(sink: Sink, contexts: Any) -> None:
    sink.on("RCPT", "550 5.1.1 nobody", "250 ok")
    connection = await call(sink, contexts)
    assert isinstance(connection, Connection)
    first = await connection.deliver(Transaction("a@a.test", "x@b.test", (BODY,)))
    second = await connection.deliver(Transaction("a@a.test", "y@b.test", (BODY,)))
    await connection.close()
    assert (first.kind, second.kind) == ("never", "delivered")
    # RFC 2920 §3.1: the sink said 354 to DATA and got a lone dot.
    assert [message.raw for message in sink.messages] == [b"", BODY]
    assert sink.connections == 1


async def test_many_messages_one_connection(sink: Sink, contexts: Any) -> None:
    sink.on("DATA", "354 go", "451 4.3.0 not now", "354 go")
    connection = await call(sink, contexts)
    assert isinstance(connection, Connection)
    found = [(await connection.deliver(Transaction("a@a.test", f"{i}@b.test", (BODY,)))).kind for i in range(4)]
    await connection.close()
    assert found == ["delivered", "later", "delivered", "delivered"]
    # One behind each of three messages; and the refused DATA left a transaction open, put back before the next one.
    assert sink.verbs().count("RSET") == 4
    assert (sink.connections, connection.deliveries) == (1, 4)


STAGES = ["CONNECT", "EHLO", "MAIL", "RCPT", "DATA", "DOT"]
FAULTS: list[Any] = [
    DROP, SILENCE, "421 4.3.2 closing", "451 4.3.0 later", "999 what", b"not smtp at all\r\n",
    b"250 no line end", b"250-" + b"x" * 9000 + b"\r\n", Endless(b"250-more\r\n"), Endless(b"x" * 1000),
    Slow(b"250 " + b"x" * 400, 0.02),
]


@pytest.mark.parametrize("offers", [("PIPELINING",), ()], ids=["pipelined", "steps"])
@pytest.mark.parametrize("stage", STAGES)
async def test_whatever_goes_wrong_is_tried_again(contexts: Any, stage: str, offers: tuple[str, ...]) -> None:
    # Only the stage that goes wrong is pressed for time, so that a busy machine doesn't fail at another one.
    waits = {"CONNECT": "greeting", "DATA": "data", "DOT": "dot"}.get(stage, "command")
    limits = Limits(quit_seconds=0.1, conversation_seconds=0.6, **{f"{waits}_seconds": 0.1})

    async def fault(answer: Any) -> None:
        async with Sink(offers=offers) as sink:
            sink.on(stage, answer)
            async with asyncio.timeout(4):
                [outcome] = await one(sink, contexts, limits=limits)
            assert outcome.kind == "later", answer
            assert outcome.stage == {"CONNECT": "greeting"}.get(stage, stage.lower()), answer
            await sink.wait_closed()  # no socket is left behind

    await asyncio.gather(*(fault(answer) for answer in FAULTS))


@pytest.mark.parametrize("stage", ["MAIL", "RCPT", "DATA", "DOT"])
async def test_only_5xx_is_for_ever(sink: Sink, contexts: Any, stage: str) -> None:
    sink.on(stage, "550 5.7.1 no")
    [outcome] = await one(sink, contexts)
    assert (outcome.kind, outcome.stage, outcome.code) == ("never", stage.lower(), 550)


@pytest.mark.parametrize("said", ["554 no mail here", "521 nor here"])
async def test_an_unfriendly_greeting_is_about_this_host(sink: Sink, contexts: Any, said: str) -> None:
    sink.on("CONNECT", said)
    [outcome] = await one(sink, contexts)
    assert (outcome.kind, outcome.scope, outcome.try_next_host) == ("later", "host", True)


async def test_2xx_to_data_closes_without_content(sink: Sink, contexts: Any) -> None:
    sink.on("DATA", "250 sure")
    connection = await call(sink, contexts)
    assert isinstance(connection, Connection)
    outcome = await connection.deliver(Transaction("a@a.test", "x@b.test", (BODY,)))
    assert (outcome.kind, outcome.stage, connection.usable) == ("later", "data", False)
    assert sink.messages == []
    await connection.close()


async def test_an_answer_to_the_dot_before_the_dot_is_none(sink: Sink, contexts: Any) -> None:
    sink.on("DATA", b"354 go\r\n250 2.0.0 taken\r\n")
    [outcome] = await one(sink, contexts)
    assert (outcome.kind, outcome.stage) == ("later", "dot")


async def unsteady(*answers: bytes | None, pipelining: bool) -> tuple[asyncio.Server, int]:
    """A host that says one of `answers` a moment after DATA's 354 and before it has read the message, then the others
    to the dot and to all that follows; None: it hangs up."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 hi\r\n")
        said = list(answers)
        while line := await reader.readline():
            if line == b"DATA\r\n":
                writer.write(b"354 go\r\n")
                early = said.pop(0)
                if early:
                    await reader.readexactly(1)  # the message is under way, or here already
                    writer.write(early)
                await reader.readuntil(b"\r\n.\r\n")
                line = b"DOT"
            answer = said.pop(0) if line == b"DOT" or (line == b"RSET\r\n" and said) else b"250 2.0.0 ok\r\n"
            if answer is None:
                break
            writer.write(b"250-hi\r\n250 PIPELINING\r\n" if pipelining and line[:4] == b"EHLO" else answer)
        writer.close()

    server = await asyncio.start_server(talk, "127.0.0.1", 0)
    return server, server.sockets[0].getsockname()[1]


@pytest.mark.parametrize("pipelining", [True, False], ids=["pipelined", "steps"])
@pytest.mark.parametrize(
    ("answers", "kind", "unanswered"),
    [
        ((b"", b"250 2.0.0 ok\r\n"), "delivered", False),
        # "Taken" before the dot, and then what it means: nothing was taken.
        ((b"250 2.0.0 ok\r\n", b"451 4.3.0 disk full\r\n"), "later", True),
        ((b"250 2.0.0 ok\r\n", b"550 5.7.1 spam\r\n"), "later", True),
        ((b"", b"250 2.0.0 ok\r\n250 2.0.0 ok\r\n"), "later", True),
        # RFC 5321 wants RSET known; who doesn't know it, or closes, has answered the dot all the same.
        ((b"", b"250 2.0.0 ok\r\n", b"502 5.5.1 no such command\r\n"), "delivered", False),
        ((b"", b"250 2.0.0 ok\r\n", b"421 4.3.2 bye\r\n"), "delivered", False),
        ((b"", b"250 2.0.0 ok\r\n", b"451 4.7.0 not so fast\r\n"), "delivered", False),
        ((b"", b"250 2.0.0 ok\r\n", b"550 5.7.0 too many errors\r\n"), "delivered", False),
        ((b"", b"250 2.0.0 ok\r\n", b"354 what?\r\n"), "delivered", False),
        ((b"", b"250 2.0.0 ok\r\n", b"no reply at all\r\n"), "delivered", False),
        ((b"", b"250 2.0.0 ok\r\n", b""), "delivered", False),
        ((b"", b"451 4.3.0 full\r\n", b"451 4.7.0 not so fast\r\n"), "later", False),
        ((b"250 2.0.0 ok\r\n", b"503 5.5.1 no\r\n"), "later", True),
        ((b"250 2.0.0 ok\r\n", b"451 4.3.0 disk full\r\n", b"502 5.5.1 no such command\r\n"), "later", True),
        ((b"", b"250 2.0.0 ok\r\n", None), "delivered", False),
        ((b"", b"550 5.7.1 spam\r\n", None), "never", False),
        ((b"", None), "later", True),
    ],
)  # fmt: skip
async def test_only_an_answer_that_came_after_the_dot_is_one(
    contexts: Any, answers: tuple[bytes, ...], kind: str, unanswered: bool, pipelining: bool
) -> None:
    server, port = await unsteady(*answers, pipelining=pipelining)
    async with server:
        where, limits = Target("mx.test", "127.0.0.1", port, "relay.test"), Limits(reset_seconds=0.2)
        connection = await Connection.open(where, tls(contexts), limits)
        assert isinstance(connection, Connection)
        outcome = await connection.deliver(Transaction("a@a.test", "x@b.test", (BODY,)))
        assert (outcome.kind, outcome.unanswered, outcome.stage) == (kind, unanswered, "dot")
        assert not (outcome.unanswered and (connection.usable or outcome.try_next_host))
        await connection.close()


@pytest.mark.parametrize("offers", [("PIPELINING",), ()], ids=["pipelined", "steps"])
@pytest.mark.parametrize("stage", ["MAIL", "RCPT", "DATA", "DOT"])
async def test_a_reply_too_many_counts_for_nothing_on_a_used_connection_too(
    sink: Sink, contexts: Any, offers: tuple[str, ...], stage: str
) -> None:
    sink.offers = offers
    usual = {"DATA": "354 go"}.get(stage, "250 ok")
    sink.on(stage, usual, f"{usual}\r\n250 2.0.0 ok\r\n".encode(), usual)
    connection = await call(sink, contexts)
    assert isinstance(connection, Connection)
    found = [await connection.deliver(Transaction("a@a.test", "x@b.test", (BODY,))) for _ in range(2)]
    assert (kinds(found), connection.usable) == (["delivered", "later"], False)
    await connection.close()


@pytest.mark.parametrize("secure", [True, False], ids=["tls", "plain"])
async def test_a_host_that_takes_the_message_and_hangs_up_without_reading_on_has_it(
    contexts: Any, secure: bool
) -> None:
    async def brief(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 hi\r\n")
        while (line := await reader.readline()) != b"DATA\r\n":
            if line == b"STARTTLS\r\n":
                writer.write(b"220 go\r\n")
                await writer.start_tls(contexts[1])
                continue
            writer.write(b"250-hi\r\n250-STARTTLS\r\n250 PIPELINING\r\n" if line[:4] == b"EHLO" else b"250 ok\r\n")
        writer.write(b"354 go\r\n")
        await reader.readuntil(b"\r\n.\r\n")
        writer.write(b"250 2.0.0 taken\r\n")
        writer.close()

    policy = OPPORTUNISTIC if secure else TlsPolicy(TlsLevel.NONE)
    async with await asyncio.start_server(brief, "127.0.0.1", 0) as server:
        where = Target("mx.test", "127.0.0.1", server.sockets[0].getsockname()[1], "relay.test", policy=policy)
        for _ in range(20):
            connection = await Connection.open(where, tls(contexts), QUICK)
            assert isinstance(connection, Connection)
            outcome = await connection.deliver(Transaction("a@a.test", "x@b.test", (BODY,)))
            assert (outcome.kind, outcome.tls is not None) == ("delivered", secure)
            await connection.close()


async def test_a_host_that_hangs_up_amid_the_message_does_not_have_it(contexts: Any) -> None:
    async def unresponsive(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 hi\r\n")
        for answer in (b"250 hi\r\n", b"250 ok\r\n", b"250 ok\r\n", b"354 go\r\n"):
            await reader.readline()
            writer.write(answer)
        await reader.readexactly(10)
        writer.transport.abort()

    async with await asyncio.start_server(unresponsive, "127.0.0.1", 0, limit=1024) as server:
        port = server.sockets[0].getsockname()[1]
        connection = await Connection.open(
            Target("mx.test", "127.0.0.1", port, "relay.test"), tls(contexts), Limits(block_bytes=4096)
        )
        assert isinstance(connection, Connection)
        outcome = await connection.deliver(Transaction("a@a.test", "x@b.test", ((b"z" * 998 + b"\r\n") * 30000,)))
        assert (outcome.kind, outcome.unanswered, outcome.try_next_host) == ("later", False, True)
        await connection.close()


async def test_a_large_message_arrives_whole(sink: Sink, contexts: Any) -> None:
    chunks = (HEAD, (b"y" * 998 + b"\r\n") * 20000)
    async with asyncio.timeout(5):
        assert kinds(await one(sink, contexts, chunks=chunks, limits=Limits())) == ["delivered"]
    assert sink.messages[0].raw == b"".join(chunks)


async def test_an_unread_socket_ends_at_the_deadline(contexts: Any) -> None:
    async def unresponsive(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 hi\r\n")
        for answer in (b"250 hi\r\n", b"250 ok\r\n", b"250 ok\r\n", b"354 go\r\n"):
            await reader.readline()
            writer.write(answer)
        await gone.wait()
        writer.transport.abort()

    gone = asyncio.Event()
    server = await asyncio.start_server(unresponsive, "127.0.0.1", 0, limit=1024)
    port = server.sockets[0].getsockname()[1]
    connection = await Connection.open(Target("mx.test", "127.0.0.1", port, "relay.test"), tls(contexts), QUICK)
    assert isinstance(connection, Connection)
    outcome = await connection.deliver(Transaction("a@a.test", "x@b.test", ((b"z" * 998 + b"\r\n") * 30000,)))
    assert (outcome.kind, outcome.stage) == ("later", "dot")
    gone.set()
    server.close()
    await connection.close()
    await asyncio.sleep(0)


async def test_helo_is_enough(sink: Sink, contexts: Any) -> None:
    sink.on("EHLO", "502 5.5.1 never heard of it")
    assert kinds(await one(sink, contexts)) == ["delivered"]
    assert sink.verbs()[:2] == ["EHLO", "HELO"]


@pytest.mark.parametrize(
    ("offers", "chunks", "more", "enhanced"),
    [
        (("SIZE 10",), (BODY,), {}, "5.3.4"),
        (("SIZE 0",), (BODY,), {}, None),
        (("SIZE",), (BODY,), {}, None),
        ((), ("ü\r\n".encode(),), {}, "5.6.3"),
        (("8BITMIME",), ("ü\r\n".encode(),), {}, None),
        (("8BITMIME",), (BODY,), {"smtputf8": True}, "5.6.7"),
        (("8BITMIME", "SMTPUTF8"), (BODY,), {"smtputf8": True}, None),
    ],
)
async def test_what_the_server_cannot_take_is_not_sent(
    sink: Sink, contexts: Any, offers: tuple[str, ...], chunks: tuple[bytes, ...], more: dict[str, Any],
    enhanced: str | None,
) -> None:
    sink.offers = offers
    [outcome] = await one(sink, contexts, chunks=chunks, **more)
    assert (outcome.kind, outcome.enhanced) == (("never", enhanced) if enhanced else ("delivered", "2.0.0"))
    assert ("MAIL" in sink.verbs()) == (enhanced is None)


async def test_8bit_may_be_sent_anyway(sink: Sink, contexts: Any) -> None:
    sink.offers = ()
    assert kinds(await one(sink, contexts, chunks=("ü\r\n".encode(),), limits=Limits(send_8bit_anyway=True))) == [
        "delivered"
    ]


async def test_dsn_parameters_are_passed_on_only_where_understood(sink: Sink, contexts: Any) -> None:
    asked: dict[str, Any] = {
        "envid": "QQ314159", "ret": "hdrs", "notify": "SUCCESS,FAILURE", "orcpt": "rfc822;x@b.test",
    }
    await one(sink, contexts, **asked)
    assert b" RET=HDRS ENVID=QQ314159" in sink.messages[0].mail
    assert sink.messages[0].rcpts == [b"RCPT TO:<x@b.test> NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;x@b.test"]
    # What is none never reaches the wire.
    await one(sink, contexts, notify="NEVER\r\nRSET", orcpt="rfc822;a b")
    assert sink.messages[1].rcpts == [b"RCPT TO:<x@b.test>"]
    sink.offers = ("PIPELINING",)
    await one(sink, contexts, **asked)
    assert sink.messages[2].mail == b"MAIL FROM:<b-1@a.test>"


async def test_verified_tls(sink: Sink, contexts: Any) -> None:
    sink.tls = contexts[1]
    [outcome] = await one(sink, contexts)
    assert (outcome.kind, outcome.tls, outcome.tls_verified) == ("delivered", "TLSv1.3", True)
    assert sink.messages[0].tls == "TLSv1.3"
    assert sink.verbs()[:4] == ["EHLO", "STARTTLS", "EHLO", "MAIL"]


async def test_unverified_tls_is_recorded_and_remembered(sink: Sink, contexts: Any) -> None:
    sink.tls = contexts[2]
    client = tls(contexts)
    for connections in (2, 3):
        connection = await Connection.open(target(sink), client, QUICK)
        assert isinstance(connection, Connection)
        outcome = await connection.deliver(Transaction("a@a.test", "x@b.test", (BODY,)))
        await connection.close()
        assert (outcome.kind, outcome.tls, outcome.tls_verified) == ("delivered", "TLSv1.3", False)
        assert sink.connections == connections


@pytest.mark.parametrize("level", list(TlsLevel))
async def test_broken_tls_per_policy(sink: Sink, contexts: Any, level: TlsLevel) -> None:
    sink.tls, sink.broken_tls = contexts[1], b"this is no ServerHello"
    [outcome] = await one(sink, contexts, policy=TlsPolicy(level))
    assert outcome.kind == ("later" if level in (TlsLevel.REQUIRED, TlsLevel.VERIFIED) else "delivered")
    assert (outcome.tls, outcome.policy) == (None, level)
    await sink.wait_closed()


async def test_required_tls_never_goes_without(sink: Sink, contexts: Any) -> None:
    [outcome] = await one(sink, contexts, policy=TlsPolicy(TlsLevel.REQUIRED))
    assert (outcome.kind, outcome.stage, outcome.scope) == ("later", "starttls", "host")
    sink.tls = contexts[2]
    [outcome] = await one(sink, contexts, policy=TlsPolicy(TlsLevel.VERIFIED))
    assert (outcome.kind, outcome.enhanced) == ("later", "4.7.5")
    [outcome] = await one(sink, contexts, policy=TlsPolicy(TlsLevel.REQUIRED))
    assert (outcome.kind, outcome.tls_verified) == ("delivered", False)
    assert "MAIL" not in sink.verbs()[:-6]


async def test_refused_starttls_goes_on_in_the_clear(sink: Sink, contexts: Any) -> None:
    sink.tls = contexts[1]
    sink.on("STARTTLS", "454 4.7.0 not now")
    [outcome] = await one(sink, contexts)
    assert (outcome.kind, outcome.tls, sink.connections) == ("delivered", None, 1)


@pytest.mark.parametrize("offered_again", [True, False], ids=["offered again", "offered once"])
@pytest.mark.parametrize("offers", [("PIPELINING",), ()], ids=["pipelined", "steps"])
@pytest.mark.parametrize(
    ("stage", "said"),
    [
        ("MAIL", "530 5.7.0 Must issue a STARTTLS command first"),
        ("RCPT", "554 5.7.1 TLS required by policy"),
        ("RCPT", "550 5.1.1 nobody"),  # whatever it says: in the clear nobody can tell what a host would say
        ("DATA", "550 5.7.1 not like this"),
    ],
)
async def test_a_refusal_in_the_clear_of_a_host_that_offers_tls_is_about_our_tls(
    sink: Sink, contexts: Any, stage: str, said: str, offers: tuple[str, ...], offered_again: bool
) -> None:
    sink.tls, sink.broken_tls, sink.offers = contexts[1], b"\x15\x03\x01\x00\x02\x02\x28", offers
    if not offered_again:
        sink.on("EHLO", b"250-sink.test\r\n250 STARTTLS\r\n", "250 sink.test")
    sink.on(stage, said)
    [outcome] = await one(sink, contexts)
    assert (outcome.kind, outcome.our_tls, outcome.tls, outcome.enhanced) == ("later", True, None, "4.7.5")
    assert (outcome.text, outcome.stage, outcome.try_next_host) == (said, stage.lower(), True)


async def test_a_refusal_of_the_message_itself_is_one_in_the_clear_too(sink: Sink, contexts: Any) -> None:
    sink.tls, sink.broken_tls = contexts[1], b"\x15\x03\x01\x00\x02\x02\x28"
    sink.on("DOT", "554 5.7.1 spam")
    [outcome] = await one(sink, contexts)
    assert (outcome.kind, outcome.our_tls) == ("never", False)


async def test_a_refusal_for_want_of_tls_is_our_fault_where_none_is_offered(sink: Sink, contexts: Any) -> None:
    sink.on("MAIL", "530 5.7.0 Must issue a STARTTLS command first", "530 5.7.0 Authentication required")
    outcomes = [*await one(sink, contexts), *await one(sink, contexts)]
    assert [(o.kind, o.our_tls) for o in outcomes] == [("later", True), ("never", False)]


async def test_who_wants_no_tls_is_refused_for_other_reasons(sink: Sink, contexts: Any) -> None:
    sink.tls = contexts[1]
    sink.on("RCPT", "550 5.1.1 nobody")
    [outcome] = await one(sink, contexts, policy=TlsPolicy(TlsLevel.NONE))
    assert (outcome.kind, outcome.our_tls) == ("never", False)


@pytest.mark.parametrize("extra", [b"250 injected\r\n", b"250-half", b"\x16\x03"])
async def test_bytes_before_the_handshake_are_an_attack(sink: Sink, contexts: Any, extra: bytes) -> None:
    sink.tls = contexts[1]
    sink.on("STARTTLS", b"220 go\r\n" + extra)
    [outcome] = await one(sink, contexts)
    assert (outcome.kind, outcome.stage, outcome.enhanced) == ("later", "starttls", "4.7.5")
    assert "MAIL" not in sink.verbs()
    assert sink.connections == 1


@pytest.mark.parametrize("mechanisms", ["AUTH PLAIN LOGIN", "AUTH LOGIN"])
async def test_smarthost_login_over_implicit_tls(contexts: Any, mechanisms: str) -> None:
    async with Sink(offers=(mechanisms,), tls=contexts[1], implicit_tls=True) as sink:
        if mechanisms == "AUTH LOGIN":
            sink.on("AUTH", "334 VXNlcm5hbWU6")
        login = Credentials("user", "s3cret")
        connection = await call(sink, contexts, TlsPolicy(TlsLevel.VERIFIED), credentials=login, implicit_tls=True)
        assert isinstance(connection, Connection)
        assert (await connection.deliver(Transaction("a@a.test", "x@b.test", (BODY,)))).kind == "delivered"
        await connection.close()
        plain, login_lines = [b"AUTH PLAIN AHVzZXIAczNjcmV0"], [b"AUTH LOGIN", b"dXNlcg==", b"czNjcmV0"]
        expected = plain if "PLAIN" in mechanisms else login_lines
        assert sink.commands[1 : 1 + len(expected)] == expected
        assert "s3cret" not in repr(login)


async def test_password_is_never_sent_in_the_clear(sink: Sink, contexts: Any) -> None:
    sink.offers = ("AUTH PLAIN",)
    outcome = await call(sink, contexts, credentials=Credentials("user", "s3cret"))
    assert isinstance(outcome, Outcome)
    assert (outcome.kind, outcome.stage) == ("later", "auth")
    assert "AUTH" not in sink.verbs()


async def test_a_refused_login_is_not_the_recipients_fault(sink: Sink, contexts: Any) -> None:
    sink.offers, sink.tls = ("AUTH PLAIN",), contexts[1]
    sink.on("AUTH", "535 5.7.8 no")
    outcome = await call(sink, contexts, credentials=Credentials("user", "wrong"))
    assert isinstance(outcome, Outcome)
    assert (outcome.kind, outcome.stage, outcome.code) == ("later", "auth", 535)


async def test_nobody_listens(contexts: Any) -> None:
    async with Sink() as sink:
        pass
    [outcome] = await one(sink, contexts)
    assert (outcome.kind, outcome.stage, outcome.scope, outcome.enhanced) == ("later", "connect", "host", "4.4.1")


async def test_helo_name_is_one_word(sink: Sink, contexts: Any) -> None:
    with pytest.raises(ValueError):
        await Connection.open(target(sink, helo="a\r\nMAIL"), tls(contexts))


async def test_cancelled_delivery_closes(sink: Sink, contexts: Any) -> None:
    reached = asyncio.Event()
    sink.on("DOT", lambda line: reached.set() or SILENCE)  # type: ignore[func-returns-value]
    connection = await call(sink, contexts, limits=Limits())
    assert isinstance(connection, Connection)
    task = asyncio.create_task(connection.deliver(Transaction("a@a.test", "x@b.test", (BODY,))))
    await reached.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not connection.usable
    await sink.wait_closed()


async def test_a_connection_closed_while_idle_is_noticed(sink: Sink, contexts: Any) -> None:
    sink.on("DOT", b"250 2.0.0 taken\r\n421 4.4.2 idle too long\r\n")
    connection = await call(sink, contexts)
    assert isinstance(connection, Connection)
    outcome = await connection.deliver(Transaction("a@a.test", "x@b.test", (BODY,)))
    assert outcome.kind == "delivered"
    await connection.close()
    assert not connection.usable

