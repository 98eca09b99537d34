"""What comes back for a message that the sandbox took: the message, the request, or why there is none. Pure.

Plays the other mail systems of the world, each with its own habit: a server that gives up late, one that bounces in
words, a vacation program, a provider with a complaint button, a reader who unsubscribes or answers. Promises that
nothing which came becomes a header line of ours but printable text and well-formed addresses, and that nothing loops:
no answer to a null sender, to an automatic answer, or to an answer of the sandbox itself; and none of ours but a
reader's mail has a sender of its own. Sending is `responder`'s.
"""

from __future__ import annotations

import re
import textwrap
from dataclasses import dataclass
from urllib.parse import parse_qs, unquote, urlsplit

from relay.base import names
from relay.base.clock import rfc5322
from relay.base.secrets import random_id
from relay.bounces.parse.entity import read_fields
from relay.replies import printable
from relay.sandbox.scenarios import Scenario, basic_code
from relay.sandbox.store import Received

MARK = "X-Sandbox-Answer"
ONE_CLICK = "List-Unsubscribe=One-Click"
_HEADER_MAX = 65_536
_QUOTED_MAX = 2000
_ID = re.compile(r"<[!-;=?-~]{1,900}>")
_LINK = re.compile(r"<\s*([^<>\s]{1,4000})\s*>")
_MAILBOX = re.compile(r"<([^<>]{1,400})>")
_WORDS = {
    "5.1.1": "No such user here", "5.1.2": "No such domain", "5.2.1": "The mailbox is disabled",
    "5.2.2": "The mailbox is full", "4.2.2": "The mailbox is full", "5.3.4": "The message is too large",
    "4.4.1": "No answer from the next host", "5.4.7": "Delivery time expired", "5.7.1": "Refused by policy",
}


@dataclass(frozen=True, slots=True)
class Mail:
    """A message to send: envelope, octets with CRLF line ends, and what it is, for people."""

    mail_from: str
    to: str
    raw: bytes
    says: str

    @property
    def smtputf8(self) -> bool:
        """Whether it needs SMTPUTF8 (RFC 6531): non-ASCII in an address or in the header."""
        return not (self.mail_from.isascii() and self.raw.partition(b"\r\n\r\n")[0].isascii())


@dataclass(frozen=True, slots=True)
class Press:
    """A one-click request to make (RFC 8058 §3.2): POST `ONE_CLICK` there."""

    url: str
    says: str = "one-click unsubscribe"


@dataclass(frozen=True, slots=True)
class Silence:
    """Nothing comes back; `says` why, for people."""

    says: str


class _Original:
    """The message that came, as far as answers need it."""

    def __init__(self, received: Received) -> None:
        head = received.raw.partition(b"\r\n\r\n")[0]
        cut = head if len(head) <= _HEADER_MAX else head[: max(0, head.rfind(b"\r\n", 0, _HEADER_MAX))]
        self.head = cut + b"\r\n"
        self.fields = read_fields(cut)

    def get(self, name: str) -> str:
        found = self.fields.get(name)
        return found[0] if found else ""

    @property
    def subject(self) -> str:
        # Encoded words stay encoded: they are printable as they came.
        return printable(self.get("subject"))[:200]

    def thread(self) -> str:
        """RFC 5322 §3.6.4: In-Reply-To and References of an answer, or nothing where there is no Message-ID."""
        found = _ID.search(self.get("message-id"))
        if found is None:
            return ""
        earlier = [m for m in _ID.findall(self.get("references"))[-5:] if len(m) < 200]
        threaded = "\r\n ".join([*earlier, found[0]])
        return f"In-Reply-To: {found[0]}\r\nReferences: {threaded}\r\n"


def answer(received: Received, recipient: str, asked: Scenario, *, host: str, now: float) -> Mail | Press | Silence:
    """What `recipient` of this message sends back. `host` is the sandbox's name, `now` Unix seconds."""
    original = _Original(received)
    automatic = original.get("auto-submitted").lower().partition(";")[0].strip()
    # RFC 5321 §4.5.5, RFC 3834 §2: nothing answers to a null sender, and no program to another one's answer.
    if not received.mail_from:
        return Silence("the message has a null sender")
    if MARK.lower() in original.fields or automatic in ("auto-replied", "auto-notified"):
        return Silence("the message is an answer itself")
    try:
        back, me = names.address(received.mail_from).text, names.address(recipient).text
    except names.BadName:
        return Silence("the envelope can't be answered")
    writer = _Writer(original, received, me, back, asked, host, now)
    match asked.kind:
        case "late-bounce":
            return writer.status("failed")
        case "delayed":
            return writer.status("delayed")
        case "prose-bounce":
            return writer.prose()
        case "complain":
            return writer.complaint(back)
        case "complain-fbl":
            return writer.complaint(f"fbl@{back.rpartition('@')[2]}")
        case "unsubscribe":
            return _press(original)
        case "unsubscribe-mailto":
            return writer.unsubscribe()
    if automatic not in ("", "no"):
        return Silence("the message was written by a program")
    return _to_a_person(writer, asked)


def _to_a_person(writer: _Writer, asked: Scenario) -> Mail | Silence:
    match asked.kind:
        case "vacation":
            return writer.vacation()
        case "reply":
            return writer.reply()
    return Silence("the address asks for nothing")


def _press(original: _Original) -> Press | Silence:
    # RFC 8058 §3.1: both fields, one of each.
    if len(original.fields.get("list-unsubscribe-post", [])) != 1:
        return Silence("the message has no List-Unsubscribe-Post")
    if original.get("list-unsubscribe-post").replace(" ", "").lower() != ONE_CLICK.lower():
        return Silence("its List-Unsubscribe-Post is not List-Unsubscribe=One-Click")
    for link in _LINK.findall(original.get("list-unsubscribe")):
        if link.lower().startswith(("https://", "http://")):
            return Press(link)
    return Silence("its List-Unsubscribe has no web link")


@dataclass(frozen=True, slots=True)
class _Writer:
    original: _Original
    received: Received
    me: str
    back: str
    asked: Scenario
    host: str
    now: float

    # -- mail systems ------------------------------------------------------------------------------------------

    def status(self, action: str) -> Mail:
        """A delivery status notification (RFC 3464 §2), as a server sends it that took the mail first."""
        failed, status = action == "failed", self.asked.status
        text = (
            f"Your message was taken for {printable(self.me)}, but "
            + ("could not be put into the mailbox. This is final." if failed else "is still waiting. Do nothing.")
        )
        kind, address_type = "delivery-status", "rfc822"
        if not self.me.isascii():
            # RFC 6533 §3: an address that isn't ASCII.
            kind, address_type = "global-delivery-status", "utf-8"
        report = (
            f"Reporting-MTA: dns; {self.host}\r\nArrival-Date: {rfc5322(self.received.at)}\r\n\r\n"
            f"Final-Recipient: {address_type}; {self.me}\r\nAction: {action}\r\nStatus: {status}\r\n"
            f"Diagnostic-Code: smtp; {self._reason()}\r\nLast-Attempt-Date: {rfc5322(self.now)}\r\n"
        )
        if not failed:
            report += f"Will-Retry-Until: {rfc5322(self.now + 86_400)}\r\n"
        parts = [_text(text), _part(f"message/{kind}", report.encode()), self._header()]
        raw = _multipart(
            self._system("Undelivered mail" if failed else "Delayed mail"), "report; report-type=delivery-status", parts
        )
        return Mail("", self.back, raw, f"delivery status notification: {action} {status}")

    def prose(self) -> Mail:
        """A bounce that no program is meant to read: sentences, and the old message below them."""
        text = (
            f"Delivery has failed. The message below could not be delivered to\r\n\r\n    {printable(self.me)}\r\n\r\n"
            f"The reason given was:\r\n\r\n    {self._reason()}\r\n\r\n"
            "------ This is a copy of your message's headers ------\r\n\r\n"
        )
        head = self._system("Returned mail: see below") + "MIME-Version: 1.0\r\n"
        kind = f"Content-Type: text/plain; charset=utf-8\r\n{_eight(self.original.head)}\r\n"
        raw = (head + kind + text).encode() + self.original.head
        return Mail("", self.back, raw, f"bounce in words only: {self.asked.status}")

    def complaint(self, to: str) -> Mail:
        """An abuse report (RFC 5965 §3), as providers send it when the reader presses "spam"."""
        report = (
            "Feedback-Type: abuse\r\nUser-Agent: Posthouse-Sandbox/1\r\nVersion: 1\r\n"
            f"Original-Mail-From: <{self.back}>\r\nArrival-Date: {rfc5322(self.received.at)}\r\n"
            f"Source-IP: {printable(self.received.peer)}\r\nReporting-MTA: dns; {self.host}\r\n"
        )
        parts = [
            _text("A reader pressed the button that says this is unwanted."),
            _part("message/feedback-report", report.encode()), self._header(f"Return-Path: <{self.back}>\r\n".encode()),
        ]
        head = self._head(f"Feedback loop <fbl@{self.host}>", to, f"Complaint: {self.original.subject}")
        return Mail("", to, _multipart(head, "report; report-type=feedback-report", parts), f"complaint to {to}")

    # -- people and their programs -----------------------------------------------------------------------------

    def vacation(self) -> Mail:
        """RFC 3834 §3: an automatic answer, to the return path, with a null sender."""
        head = self._head(f"<{self.me}>", self.back, f"Out of office: {self.original.subject}")
        raw = head + self.original.thread() + _plain("I am away and back next week.\r\n")
        return Mail("", self.back, raw.encode(), "vacation note")

    def reply(self) -> Mail | Silence:
        """A person's answer to Reply-To, else From (RFC 5322 §3.6.2)."""
        to = _mailbox(self.original.get("reply-to") or self.original.get("from"))
        if to is None or to == self.me:
            return Silence("nobody to answer: no readable mailbox in Reply-To or From")
        subject = self.original.subject
        subject = subject if subject.lower().startswith("re:") else f"Re: {subject}"
        quoted = textwrap.indent(self._body(), "> ").replace("\n", "\r\n")
        head = self._head(f"<{self.me}>", to, subject, automatic="")
        raw = head + self.original.thread() + _plain(f"Thank you, that has arrived.\r\n\r\n{quoted}\r\n")
        return Mail(self.me, to, raw.encode(), f"reply to {to}")

    def unsubscribe(self) -> Mail | Silence:
        """The message that the mailto: of List-Unsubscribe asks for (RFC 2369 §3.2, RFC 6068 §2)."""
        for link in _LINK.findall(self.original.get("list-unsubscribe")):
            if not link.lower().startswith("mailto:"):
                continue
            parts = urlsplit(link)
            try:
                to = names.address(unquote(parts.path)).text
            except names.BadName:
                continue
            asked = {k.lower(): v[0] for k, v in parse_qs(parts.query, max_num_fields=10).items()}
            head = self._head(f"<{self.me}>", to, printable(asked.get("subject", "unsubscribe"))[:200], automatic="")
            body = "\r\n".join(printable(line) for line in asked.get("body", "unsubscribe")[:_QUOTED_MAX].splitlines())
            return Mail(self.me, to, (head + _plain(body + "\r\n")).encode(), f"unsubscribe to {to}")
        return Silence("its List-Unsubscribe has no usable mailto:")

    # -- pieces ------------------------------------------------------------------------------------------------

    def _reason(self) -> str:
        words = _WORDS.get(self.asked.status, "Refused")
        return f"{basic_code(self.asked.status)} {self.asked.status} {words} (sandbox)"

    def _system(self, subject: str) -> str:
        return self._head(f"Mail Delivery System <mailer-daemon@{self.host}>", self.back, subject)

    def _head(self, sender: str, to: str, subject: str, *, automatic: str = "auto-replied") -> str:
        """The fields every answer has, without the MIME ones. RFC 3834 §5: `automatic` is empty for a person."""
        return (
            f"From: {sender}\r\nTo: <{to}>\r\nSubject: {subject}\r\nDate: {rfc5322(self.now)}\r\n"
            f"Message-ID: <{random_id(16)}@{self.host}>\r\n{MARK}: {self.asked.kind}\r\n"
            + (f"Auto-Submitted: {automatic}\r\n" if automatic else "")
        )

    def _header(self, first: bytes = b"") -> bytes:
        """The old message's header as a part (RFC 6522 §4; RFC 6533 §3 where it isn't ASCII)."""
        head = first + self.original.head
        return _part("text/rfc822-headers" if head.isascii() else "message/global-headers", head)

    def _body(self) -> str:
        """The first lines of the old body, as far as they can be shown."""
        text = self.received.raw.partition(b"\r\n\r\n")[2][:_QUOTED_MAX].decode("ascii", "replace")
        return "\n".join(printable(line.replace("\t", " ")) for line in text.splitlines()[:20])


def _mailbox(field: str) -> str | None:
    """The one address of a field with one mailbox, else None."""
    found = _MAILBOX.search(field)
    try:
        return names.address(found[1] if found else field.strip()).text
    except names.BadName:
        return None


def _plain(text: str) -> str:
    return f"MIME-Version: 1.0\r\nContent-Type: text/plain; charset=us-ascii\r\n\r\n{_printable_lines(text)}"


def _printable_lines(text: str) -> str:
    return "\r\n".join(printable(line) for line in text.split("\r\n"))


def _text(text: str) -> bytes:
    return _part("text/plain; charset=us-ascii", ("\r\n".join(textwrap.wrap(text, 76)) + "\r\n").encode("ascii"))


def _part(kind: str, content: bytes) -> bytes:
    return f"Content-Type: {kind}\r\n{_eight(content)}\r\n".encode("ascii") + content


def _eight(content: bytes) -> str:
    return "" if content.isascii() else "Content-Transfer-Encoding: 8bit\r\n"


def _multipart(head: str, kind: str, parts: list[bytes]) -> bytes:
    """`head`, then the parts behind a boundary that occurs nowhere in them."""
    boundary = f"=_{random_id(16)}"
    # RFC 2045 §6.4: what holds 8-bit parts is 8-bit itself.
    eight = "" if all(p.isascii() for p in parts) else "Content-Transfer-Encoding: 8bit\r\n"
    mark = f"--{boundary}".encode("ascii")
    fields = f'{head}MIME-Version: 1.0\r\nContent-Type: multipart/{kind};\r\n boundary="{boundary}"\r\n{eight}\r\n'
    return fields.encode() + b"".join(mark + b"\r\n" + part + b"\r\n" for part in parts) + mark + b"--\r\n"
