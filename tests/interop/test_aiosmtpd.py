"""aiosmtpd as the recipients' exchanger: the delivery client holds its conversation with a server of other people's."""

import asyncio
import ssl
import time
from collections.abc import AsyncIterator

import pytest
import trustme
from aiosmtpd.smtp import SMTP, Envelope, Session

from relay.delivery.client import Connection, Limits, Target, Transaction
from relay.delivery.tls_policy import Contexts, TlsClient
from relay.outcome import Outcome

MESSAGE = b"From: a@a.test\r\nSubject: x\r\n\r\n.dot\r\n..\r\nj\xc3\xbcrgen\r\n"


class Exchanger:
    """aiosmtpd's handler: refuses nobody@, and keeps what came."""

    def __init__(self) -> None:
        self.came: list[tuple[str | None, list[str], bytes | str | None]] = []

    async def handle_RCPT(
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        if address.startswith("nobody@"):
            return "550 5.1.1 No such user"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        self.came.append((envelope.mail_from, list(envelope.rcpt_tos), envelope.content))
        return "250 Kept"


@pytest.fixture
async def exchanger() -> AsyncIterator[tuple[Exchanger, int]]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("mx.test").configure_cert(context)
    handler, loop = Exchanger(), asyncio.get_running_loop()
    server = await loop.create_server(
        lambda: SMTP(
            handler, hostname="mx.test", tls_context=context, enable_SMTPUTF8=True, data_size_limit=10_000, loop=loop
        ),
        "127.0.0.1", 0,
    )
    yield handler, server.sockets[0].getsockname()[1]
    server.close()
    await server.wait_closed()


async def deliver(
    port: int, *to: str, sender: str = "b-1@a.test", raw: bytes = MESSAGE, smtputf8: bool = False
) -> list[Outcome]:
    connection = await Connection.open(
        Target("mx.test", "127.0.0.1", port, "relay.test"), TlsClient(Contexts(), monotonic=time.monotonic),
        Limits(quit_seconds=0.5),
    )
    assert isinstance(connection, Connection)
    try:
        return [await connection.deliver(Transaction(sender, one, (raw,), smtputf8=smtputf8)) for one in to]
    finally:
        await connection.close()


async def test_a_message_arrives_over_tls_octet_for_octet(exchanger: tuple[Exchanger, int]) -> None:
    handler, port = exchanger
    [taken, refused] = await deliver(port, "ann@b.test", "nobody@b.test")
    assert (taken.kind, taken.tls, taken.text) == ("delivered", "TLSv1.3", "250 Kept")
    assert (refused.kind, refused.code, refused.enhanced) == ("never", 550, "5.1.1")
    assert handler.came == [("b-1@a.test", ["ann@b.test"], MESSAGE)]


async def test_a_null_sender_and_an_internationalized_address_are_understood(exchanger: tuple[Exchanger, int]) -> None:
    handler, port = exchanger
    assert [o.kind for o in await deliver(port, "jürgen@b.test", sender="", smtputf8=True)] == ["delivered"]
    assert handler.came[0][:2] == ("<>", ["jürgen@b.test"])  # aiosmtpd leaves the null sender its brackets


async def test_its_size_limit_is_heard(exchanger: tuple[Exchanger, int]) -> None:
    handler, port = exchanger
    [outcome] = await deliver(port, "ann@b.test", raw=b"Subject: x\r\n\r\n" + b"y\r\n" * 5000)
    assert outcome.kind == "never"
    assert handler.came == []
