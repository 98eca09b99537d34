"""The bounds of a conversation, and the login at a smarthost."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Limits:
    """How long and how much. Seconds and octets; configuration feeds them.

    The waits are RFC 5321 §4.5.3.2's; `conversation_seconds` bounds opening, and again each delivery, as a
    whole, so that a host which answers one byte at a time can't hold a worker."""

    connect_seconds: float = 30.0
    greeting_seconds: float = 300.0
    tls_seconds: float = 60.0
    command_seconds: float = 300.0
    data_seconds: float = 120.0
    block_seconds: float = 180.0
    dot_seconds: float = 600.0
    quit_seconds: float = 2.0
    reset_seconds: float = 5.0
    conversation_seconds: float = 1200.0
    # RFC 5321 §4.5.3.1.5 promises no more than 512; real ones are longer.
    reply_line_bytes: int = 2048
    reply_lines: int = 100
    reply_bytes: int = 65536
    # Written at once; between two blocks the client waits for the other side to read.
    block_bytes: int = 262144
    address_bytes: int = 512
    # RFC 6152 §3 forbids 8-bit content to a server that does not offer 8BITMIME, and a signed message can't be
    # re-encoded. True sends it anyway, as some relays do.
    send_8bit_anyway: bool = False


DEFAULTS = Limits()


@dataclass(frozen=True, slots=True)
class Credentials:
    """A login at a smarthost, used over TLS only unless `without_tls`."""

    user: str
    password: str = field(repr=False)
    without_tls: bool = False
