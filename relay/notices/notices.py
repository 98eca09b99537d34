"""`Notices`: mail of the relay's own to one address, through the one way into the queue.

Promises that a notice and the change it tells of commit together: `prepare` writes and signs the message with no
transaction open and returns what joins the change's transaction, so a notice is neither lost nor sent twice. When
the relay can't take mail just now, `prepare` refuses and the change waits.

`letter` and `head` are the one builder of such mail's octets.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Awaitable, Callable, Mapping
from typing import Literal

import structlog

from relay import replies
from relay.base import names
from relay.base.clock import rfc5322
from relay.base.config import Config
from relay.base.names import Address
from relay.base.secrets import random_id
from relay.base.storage import Tx
from relay.intake import Intake, Recipient, Submission
from relay.notices.texts import Notice
from relay.replies import Refused, Verdict

log = structlog.get_logger("notices")
Automatic = Literal["auto-generated", "auto-replied"]
_WORD_OCTETS = 45  # an encoded word has at most 75 characters (RFC 2047 §2)
_LINE_MAX = 700


def sender(config: Config, shown: str = "Posthouse") -> str:
    """The header From of the relay's own mail."""
    return f"{shown} <{config.notice_from}>"


def head(
    from_: str, to: str, subject: str, *, automatic: Automatic | None, more: Mapping[str, str] | None = None
) -> bytes:
    """The header up to MIME-Version; the caller adds the Content fields and the empty line.

    from_, to: as a header has them; `to` may hold UTF-8 (RFC 6532), which goes only where SMTPUTF8 is offered. In all
    values what isn't printable becomes `?`, so that none can begin a line of its own.
    """
    fields = {"From": _line(from_), "To": _line(to), "Subject": encoded(_line(subject))}
    fields |= {name: _line(value) for name, value in (more or {}).items()}
    if automatic is not None:
        # RFC 3834 §5: nothing answers automatically to this.
        fields["Auto-Submitted"] = automatic
    fields["MIME-Version"] = "1.0"
    lines = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    return lines.encode("ascii" if to.isascii() else "utf-8", "replace")


def letter(
    from_: str, to: Address, notice: Notice, *, more: Mapping[str, str] | None = None,
    automatic: Automatic | None = "auto-generated",
) -> bytes:
    """A short message in plain text, CRLF lines, without Date and Message-ID (the intake adds them)."""
    # RFC 2045 §6.7: also keeps lines under 76 characters.
    body = binascii.b2a_qp(_readable(notice.text).encode(), istext=True).replace(b"\n", b"\r\n")
    return (
        head(from_, to.header, notice.subject, automatic=automatic, more=more)
        + b"Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n" + body
    )


def enclosing(enclosed: bytes, from_: str, to: Address, notice: Notice, *, now: float) -> bytes:
    """A message with a few words in US-ASCII and another message, as it came, enclosed."""
    boundary = f"=_{random_id(12)}"
    text = notice.text.replace("\n", "\r\n")
    # As octets in base64: what came may break every rule of a message, and must not break ours.
    whole = base64.encodebytes(enclosed).replace(b"\n", b"\r\n")
    return (
        head(from_, f"<{to.header}>", notice.subject, automatic="auto-generated", more={"Date": rfc5322(now)})
        + (
            f'Content-Type: multipart/mixed; boundary="{boundary}"\r\n\r\n'
            f"--{boundary}\r\nContent-Type: text/plain; charset=us-ascii\r\n\r\n{text}\r\n--{boundary}\r\n"
            'Content-Type: application/octet-stream; name="message.eml"\r\nContent-Transfer-Encoding: base64\r\n'
            'Content-Disposition: attachment; filename="message.eml"\r\n\r\n'
        ).encode("ascii", "replace")
        + whole + f"\r\n--{boundary}--\r\n".encode("ascii")
    )


def encoded(text: str) -> str:
    """A header field's value: as it is, or in encoded words (RFC 2047 §2), one on a line."""
    if text.isascii():
        return text
    words: list[str] = []
    part = b""
    for char in text:
        if len(part) + len(char.encode()) > _WORD_OCTETS:
            words.append(_word(part))
            part = b""
        part += char.encode()
    return "\r\n ".join([*words, _word(part)])


def _word(part: bytes) -> str:
    return f"=?utf-8?B?{binascii.b2a_base64(part, newline=False).decode()}?="


def _line(value: str) -> str:
    # RFC 5322 §2.1.1: ours are short; a name of 253 octets still fits.
    return "".join(c if c.isprintable() else "?" for c in value)[:_LINE_MAX]


def _readable(text: str) -> str:
    return "".join(c if c == "\n" or c.isprintable() else "?" for c in text.rstrip()) + "\n"


Join = Callable[[Tx], Awaitable[None]]
"""Writes the prepared notice within the caller's transaction. Raises NoticeLater."""


class NoticeLater(Refused):
    """The relay can't take the notice just now; what it tells of waits with it."""

    def __init__(self) -> None:
        super().__init__(replies.UNAVAILABLE)


class Notices:
    """Writes in the relay's own name, with a null sender."""

    def __init__(self, intake: Intake, config: Config) -> None:
        self._intake, self._config = intake, config

    async def prepare(self, to: str, notice: Notice, *, about: str) -> Join:
        """The notice for the address `to`. `about`: for the log. Raises NoticeLater.

        Without a usable address nothing is written, and the log says so.
        """
        try:
            recipient = names.address(to)
        except names.BadName:
            log.warning("notice.unaddressed", about=about, subject=notice.subject)
            return _nothing
        built = await self._intake.prepare(own(recipient, letter(sender(self._config), recipient, notice)))
        if isinstance(built, Verdict):
            if built.reply.temporary:
                log.warning("notice.delayed", about=about, rule=built.reply.name)
                raise NoticeLater
            log.error("notice.refused", about=about, rule=built.reply.name, saw=built.saw)
            return _nothing

        async def join(tx: Tx) -> None:
            if isinstance(await self._intake.write(tx, built), Verdict):
                raise NoticeLater

        return join


def own(to: Address, raw: bytes, *, require_tls: bool = False) -> Submission:
    """A message of the relay's own. RFC 5321 §4.5.5: what a program writes about mail has a null sender, so that it
    makes no loops and can't come back as a report."""
    return Submission(
        login=None, domain=None, door="own", mail_from=None, recipients=[Recipient(to)], raw=raw,
        category="transactional", smtputf8=to.smtputf8, require_tls=require_tls,
    )


async def _nothing(tx: Tx) -> None:
    """No notice to write."""
