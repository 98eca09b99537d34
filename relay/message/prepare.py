"""What leaves: the fields that stay, the ones we add, and the trace line (RFC 5321 §4.4)."""

import dataclasses
import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Literal

from relay.base import clock
from relay.base.names import BadName, Mailbox, shown_words, single_mailbox
from relay.message import rules
from relay.message.parse import BadMessage, Field, Parsed

# RFC 3848, RFC 6531 §4.3, and HTTP for what comes in by the API.
Protocol = Literal[
    "SMTP", "ESMTP", "ESMTPA", "ESMTPS", "ESMTPSA", "UTF8SMTP", "UTF8SMTPA", "UTF8SMTPS", "UTF8SMTPSA", "HTTP"
]

_FOLD_WIDTH = 78
_SHOWN_SUBJECT = 200
_READ_SUBJECT = 2000
_MESSAGE_ID = re.compile(r"<[!-;=?-~]{1,900}>")
_UNSAFE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_BY = re.compile(rb"(?:^|[\s)])by[ \t\r\n]+([^\s;()]+)", re.IGNORECASE)
_FROM_WORD = re.compile(r"[A-Za-z0-9.:_\[\]-]{1,255}")


@dataclass(frozen=True, slots=True)
class Trace:
    """How a message came to us, for its Received line.

    `hostname` is our own name. `helo` and `client_ip` are written only when `show_client`: a member's
    home address is nobody's business. `recipient` goes into the `for` clause; leave it None for a message
    to several, who would learn of each other.
    """

    hostname: str
    protocol: Protocol
    helo: str | None = None
    client_ip: str | None = None
    show_client: bool = False
    recipient: str | None = None


@dataclass(frozen=True, slots=True)
class Prepared:
    """A message ready to be signed: `received` is the line to prepend, `fields` and `body` are shared.

    `message_id` has its angle brackets; `subject` is decoded, free of controls and cut, for display only. `replaced`:
    the names of fields that could not leave as they were, and what stood in them, for display too. `own_id`: the
    Message-ID is the client's.
    """

    fields: list[Field]
    received: bytes
    body: bytes
    message_id: str
    subject: str | None
    replaced: dict[str, str] = dataclasses.field(default_factory=dict)
    own_id: bool = False

    def content(self) -> bytes:
        """The octets that all recipients share: fields, the empty line, body."""
        return b"".join([*(field.raw for field in self.fields), b"\r\n", self.body])


def prepare(
    parsed: Parsed,
    *,
    now: float,
    message_id_domain: str,
    queue_id: str,
    trace: Trace,
    ours: Collection[str] = (),
    feedback_id: str | None = None,
) -> Prepared:
    """Give what leaves for a parsed message. `now` is in Unix seconds.

    Taken out: Bcc, Resent-Bcc, Return-Path, Idempotency-Key, every X-Posthouse-* and X-Atmos-* field,
    Authentication-Results in the name of one of `ours` (in lower case), and Feedback-ID when one is given. Added at the
    end: Date and Message-ID when absent or not readable, Feedback-ID. All other fields, the tenant's own DKIM-Signature
    among them, and the body keep their octets. Raises ValueError when a value handed in could not stand in a header.
    """
    kept = [field for field in parsed.fields if not rules.is_dropped(field, ours, feedback_id is not None)]
    bad = [field for field in kept if field.name in ("date", "message-id") and rules.needs_another(field)]
    if bad:
        kept = [field for field in kept if field not in bad]
    names = {field.name for field in kept}
    if "date" not in names:
        # RFC 6409 §8.2: a submission server adds a Date that is missing,
        kept.append(_field("Date", clock.rfc5322(now)))
    if "message-id" not in names:
        # RFC 6409 §8.3: and a Message-ID. The queue id is unique here, the domain makes it so everywhere.
        kept.append(_field("Message-ID", f"<{queue_id}@{message_id_domain}>"))
    if feedback_id is not None:
        kept.append(_field("Feedback-ID", feedback_id))
    received = received_line(trace, queue_id=queue_id, now=now)
    replaced = {_name(field): _shown(field.value) for field in bad}
    own_id = "message-id" in names
    return Prepared(kept, received, parsed.body, _message_id(kept), _subject(kept), replaced, own_id)


def passed_on(parsed: Parsed, *, now: float, queue_id: str, trace: Trace) -> Prepared:
    """Give a message that only passes through: nothing is taken out or added but the trace line."""
    received = received_line(trace, queue_id=queue_id, now=now)
    return Prepared(list(parsed.fields), received, parsed.body, _message_id(parsed.fields), _subject(parsed.fields))


def received_line(trace: Trace, *, queue_id: str, now: float) -> bytes:
    """Write the Received field, folded at 78 columns, CRLF at its end. `now` is in Unix seconds."""
    # RFC 5321 §4.4 wants the client named; RFC 5322 §3.6.7 lets it be left out, which is what privacy
    # asks of a submission server when the client is a person's machine.
    clauses: list[str] = []
    if trace.show_client:
        clauses.append(f"from {_client(trace)}")
    clauses += [f"by {trace.hostname}", f"with {trace.protocol}", f"id {queue_id}"]
    if trace.recipient is not None and trace.recipient.isascii():
        clauses.append(f"for <{trace.recipient}>")
    clauses[-1] += ";"
    clauses.append(clock.rfc5322(now))
    if not all(map(header_safe, clauses)):
        raise ValueError("a control character in a trace value")
    return _folded("Received:", clauses).encode("ascii")


def category(parsed: Parsed) -> str | None:
    """The category the client asks for by X-Posthouse-Category (or X-Atmos-Category), in lower case.

    None when the field is absent, repeated, or not a plain word. Which words mean something is policy's.
    """
    for name in ("x-posthouse-category", "x-atmos-category"):
        if parsed.all(name):
            field = parsed.one(name)
            word = field.value.strip() if field else b""
            known = 0 < len(word) <= 64 and word.replace(b"-", b"").isalnum()
            return word.decode("ascii").lower() if known else None
    return None


def single_from(parsed: Parsed, *, foreign: bool = False) -> Mailbox:
    """The one mailbox of the one From field; BadName when there isn't exactly one that all read alike. `foreign`: of
    a stranger's message."""
    # RFC 5322 §3.6: exactly one From. With a second one, readers disagree which of them counts.
    found = parsed.all("from")
    if len(found) != 1:
        count = f"{len(found)} From fields" if found else "no From field"
        raise BadName(f"the message has {count}: there must be exactly one")
    return single_mailbox(found[0].value, foreign=foreign)


def check_own_loop(parsed: Parsed, hostname: str, *, limit: int = 4) -> None:
    """Raise BadMessage `loop` when more than `limit` trace fields say the message has been here.

    Counts Received fields written "by" `hostname` and X-Posthouse-Loop fields that name it.
    """
    own = hostname.lower().encode("ascii")
    passed = 0
    for field in parsed.fields:
        if field.name == "received":
            by = _BY.search(field.value)
            passed += by is not None and by.group(1).lower() == own
        elif field.name == "x-posthouse-loop":
            passed += field.value.strip().lower() == own
    if passed > limit:
        raise BadMessage("loop", None, f"the message has been through this server more than {limit} times")


def header_safe(text: str) -> bool:
    """True when text may become a header value: no CR, LF, NUL, other control, U+0085, U+2028, U+2029.

    Lone surrogates, which no encoding can write, count as unsafe too.
    """
    return _UNSAFE.search(text) is None


def _field(name: str, value: str) -> Field:
    if not header_safe(value):
        raise ValueError(f"a control character in the value for {name}")
    return Field(name.lower(), f"{name}: {value}\r\n".encode())


def _name(field: Field) -> str:
    """The name as it was written."""
    return field.raw[: len(field.name)].decode("ascii")


def _shown(value: bytes) -> str:
    """A value for display: on one line, free of controls, cut."""
    return _UNSAFE.sub("", value[:_READ_SUBJECT].decode("utf-8", "replace")).strip()[:_SHOWN_SUBJECT]


def _client(trace: Trace) -> str:
    # The greeting is the client's own word: what isn't a plain name or literal is not repeated.
    helo = trace.helo if trace.helo and _FROM_WORD.fullmatch(trace.helo) else "unknown"
    if not trace.client_ip or not _FROM_WORD.fullmatch(trace.client_ip):
        return helo
    # RFC 5321 §4.1.3: an IPv6 literal has its tag.
    literal = f"IPv6:{trace.client_ip}" if ":" in trace.client_ip else trace.client_ip
    return f"{helo} ([{literal}])"


def _folded(name: str, clauses: Iterable[str]) -> str:
    lines = [name]
    for clause in clauses:
        if len(lines[-1]) + 1 + len(clause) <= _FOLD_WIDTH:
            lines[-1] += f" {clause}"
        else:
            lines.append(f" {clause}")
    return "\r\n".join(lines) + "\r\n"


def _message_id(fields: list[Field]) -> str:
    value = next((field.value for field in fields if field.name == "message-id"), b"")
    found = _MESSAGE_ID.search(value[:_READ_SUBJECT].decode("utf-8", "replace"))
    return found.group() if found else _shown(value)


def _subject(fields: list[Field]) -> str | None:
    value = next((field.value for field in fields if field.name == "subject"), None)
    if value is None:
        return None
    text = value[:_READ_SUBJECT].replace(b"\r\n", b"").replace(b"\t", b" ").decode("utf-8", "replace").strip()
    return _UNSAFE.sub("�", shown_words(text))[:_SHOWN_SUBJECT]
