"""One question to one server: UDP first, TCP when the answer does not fit, nothing but the answer believed.

Promises a parsed reply to the very question asked, or `Failed` with a word for why, within the time given and
never more than one DNS message of memory. The UDP socket is connected, so the kernel drops packets from
elsewhere and a closed port shows at once (dnspython's own sockets are not connected and would wait it out).
What the reply means is left to the caller.
"""

import asyncio
import contextlib
import struct
from typing import Any

import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdatatype

# RFC 9715 §3: 1232 octets pass unfragmented nearly everywhere.
EDNS_PAYLOAD = 1232


class Failed(Exception):
    """No usable reply. `reason` is one of our own words: timeout, refused connection, malformed reply …"""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class _Datagrams(asyncio.DatagramProtocol):
    """Waits for the one datagram that answers the question; anything else is counted and dropped."""

    def __init__(self, question: dns.message.Message, max_strays: int) -> None:
        self.reply: asyncio.Future[dns.message.Message] = asyncio.get_running_loop().create_future()
        self._question = question
        self._strays_left = max_strays

    def datagram_received(self, data: bytes, addr: tuple[str | Any, int]) -> None:
        if self.reply.done():
            return
        try:
            reply = _parse(data, self._question)
        except Failed as failed:
            # RFC 5452 §9.1: a reply whose id or question does not match is not ours; wait for the true one,
            # but not for ever, so that a flood costs bounded work.
            self._strays_left -= 1
            if self._strays_left < 0:
                self.reply.set_exception(failed)
            return
        self.reply.set_result(reply)

    def error_received(self, exc: Exception) -> None:
        if not self.reply.done():
            self.reply.set_exception(Failed("connection refused"))

    def connection_lost(self, exc: Exception | None) -> None:
        self.reply.cancel()


async def exchange(
    name: dns.name.Name,
    rdtype: dns.rdatatype.RdataType,
    ip: str,
    port: int,
    *,
    timeout_seconds: float,
    recursive: bool,
    tcp: bool = False,
    max_strays: int = 50,
) -> dns.message.Message:
    """Ask `ip` for `name` and `rdtype`; the whole of it, TCP included, ends within `timeout_seconds`.

    recursive: set RD, for a resolver. tcp: ask over TCP at once. Raises Failed.
    """
    try:
        async with asyncio.timeout(timeout_seconds):
            if tcp:
                return await _ask_tcp(_question(name, rdtype, recursive, edns=True), ip, port)
            reply = await _ask(_question(name, rdtype, recursive, edns=True), ip, port, max_strays)
            # RFC 6891 §7: a server that knows no EDNS says FORMERR; ask once more without.
            if reply.rcode() in (dns.rcode.FORMERR, dns.rcode.NOTIMP) and reply.edns < 0:
                reply = await _ask(_question(name, rdtype, recursive, edns=False), ip, port, max_strays)
            return reply
    except TimeoutError:
        raise Failed("timeout") from None
    except OSError:
        raise Failed("connection refused") from None
    except asyncio.IncompleteReadError:
        raise Failed("connection closed") from None


def _question(
    name: dns.name.Name, rdtype: dns.rdatatype.RdataType, recursive: bool, *, edns: bool
) -> dns.message.Message:
    question = dns.message.make_query(name, rdtype, use_edns=0 if edns else False, payload=EDNS_PAYLOAD)
    # RFC 6840 §5.7: AD in a question asks a validating resolver to tell whether it validated.
    question.flags = dns.flags.Flag(dns.flags.RD | dns.flags.AD if recursive else 0)
    return question


async def _ask(question: dns.message.Message, ip: str, port: int, max_strays: int) -> dns.message.Message:
    loop = asyncio.get_running_loop()
    transport, protocol = await loop.create_datagram_endpoint(
        lambda: _Datagrams(question, max_strays), remote_addr=(ip, port)
    )
    try:
        transport.sendto(question.to_wire())
        reply = await protocol.reply
    finally:
        transport.close()
    # RFC 7766 §5: a truncated answer is asked for again over TCP, and not used.
    return await _ask_tcp(question, ip, port) if reply.flags & dns.flags.TC else reply


async def _ask_tcp(question: dns.message.Message, ip: str, port: int) -> dns.message.Message:
    reader, writer = await asyncio.open_connection(ip, port)
    try:
        wire = question.to_wire()
        # RFC 1035 §4.2.2: two octets of length before each message, so 65,535 octets bound a reply.
        writer.write(struct.pack("!H", len(wire)) + wire)
        (length,) = struct.unpack("!H", await reader.readexactly(2))
        reply = _parse(await reader.readexactly(length), question)
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()
    if reply.flags & dns.flags.TC:
        raise Failed("truncated reply over TCP")
    return reply


def _parse(wire: bytes, question: dns.message.Message) -> dns.message.Message:
    if len(wire) < 12 or wire[:2] != struct.pack("!H", question.id):
        raise Failed("malformed reply")
    try:
        # A truncated packet may end anywhere: its flags are all that is used of it.
        reply = dns.message.from_wire(wire, continue_on_error=False, ignore_trailing=True)
    except Exception:
        # Whatever a hostile packet makes the parser raise, the packet is what is wrong.
        if wire[2] & 0x02:
            reply = dns.message.Message(question.id)
            reply.flags = dns.flags.Flag(dns.flags.QR | dns.flags.TC)
            return reply
        raise Failed("malformed reply") from None
    if not reply.flags & dns.flags.QR or reply.opcode() != question.opcode():
        raise Failed("malformed reply")
    # Some servers leave the question out when they refuse; then the id and the connected socket must do.
    if reply.question != question.question and (reply.question or reply.rcode() == dns.rcode.NOERROR):
        raise Failed("reply to another question")
    return reply
