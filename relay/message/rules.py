"""What a submitted header may hold: one list for SMTP and HTTP. What is refused, what is taken out, what is replaced.

A field is refused where receivers would refuse the message for it, or where it would let a member speak for somebody
else; it is taken out where only we may write it. All else stays, ARC seals, other people's signatures and trace fields
among them: mail servers stand behind the relay, and pass on what came to them.
"""

import re
from collections.abc import Collection, Iterator

from relay.base.names import Mailbox, single_mailbox
from relay.message.mime import BadMessage
from relay.message.parse import Field, Parsed

# RFC 5322 §3.6: fields that stand at most once. From has a rule of its own (`single_from`).
_ONCE = {
    name.lower(): name
    for name in (
        "Date", "Sender", "Reply-To", "To", "Cc", "Bcc", "Message-ID", "In-Reply-To", "References", "Subject",
    )
}  # fmt: skip
# RFC 5322 §3.6.2, §3.6.6: who put the message on its way, beside From. A block of Resent fields may come again.
SENDERS = {name.lower(): name for name in ("Sender", "Resent-From", "Resent-Sender")}
# Blind copies stay blind; a return path is the last server's to write (RFC 5321 §4.4); an idempotency key is between
# the client and us.
IDEMPOTENCY_KEY = "idempotency-key"
_DROPPED = frozenset({"bcc", "resent-bcc", "return-path", IDEMPOTENCY_KEY})
_SERVER_OWNED = ("x-posthouse-", "x-atmos-")
_RESULTS = "authentication-results"
_MAX_BEGINNING = 2000

_REPORT = re.compile(r"\s*multipart\s*/\s*report\s*(?:;|\Z)", re.IGNORECASE)
# RFC 5322 §3.2.1, §3.2.2, §3.2.4: within a comment, quotation marks mean nothing. A string without an end is all the
# rest, so that none is looked for twice.
_IN_COMMENT = re.compile(r"\\.|[()]|[^\\()]+|\\", re.DOTALL)
_OUTSIDE = re.compile(r'"(?:[^"\\]|\\.)*+\\?"?|[()]|[^"()]+', re.DOTALL)
_WORD = re.compile(r"\s*([A-Za-z][A-Za-z0-9-]*)\s*(?:;|\Z)")
# RFC 5322 §3.6.4, with any visible ASCII where it has atoms: threads hang on what mail programs write there.
_MESSAGE_ID = re.compile(rb"\s*<[!-;=?A-~]+@[!-;=?A-~]+>\s*(?:\([ -'*-~]*\)\s*)?")
# RFC 5322 §3.3 and §4.3 as freely as mail programs read them, and the form of C's asctime.
_MONTH = rb"(?:jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)[a-z]{0,6}"
_DATE = re.compile(
    rb"\b\d{1,2}[\s-]{1,9}" + _MONTH + rb"[\s-]{1,9}\d{2,4}\s{1,9}\d{1,2}:\d\d"
    rb"|\b" + _MONTH + rb"\s{1,9}\d{1,2}\s{1,9}\d{1,2}:\d\d(?::\d\d)?\s{1,9}\d{4}\b",
    re.IGNORECASE,
)


def check_once(parsed: Parsed) -> None:
    """Raise BadMessage where a field that RFC 5322 §3.6 allows once stands twice, with its name and line."""
    seen: set[str] = set()
    for at, field in enumerate(parsed.fields):
        if field.name in seen:
            line = 1 + sum(before.raw.count(b"\n") for before in parsed.fields[:at])
            raise BadMessage("malformed", line, f"a second {_ONCE[field.name]} field: there may be only one")
        if field.name in _ONCE:
            seen.add(field.name)


def senders(parsed: Parsed) -> Iterator[tuple[str, Mailbox]]:
    """Every Sender, Resent-From and Resent-Sender: (field's name, its one mailbox). Raises BadName for one that isn't
    read alike by everybody, as From."""
    for field in parsed.fields:
        if field.name in SENDERS:
            name = SENDERS[field.name]
            yield name, single_mailbox(field.value, name)


def is_dropped(field: Field, ours: Collection[str], feedback: bool) -> bool:
    """Whether the field must not leave. `ours`: our names in lower case; `feedback`: we write a Feedback-ID."""
    name = field.name
    return (
        name in _DROPPED
        or name.startswith(_SERVER_OWNED)
        or (feedback and name == "feedback-id")
        or (name == _RESULTS and speaks_for(field.value, ours))
    )


def needs_another(field: Field) -> bool:
    """Whether a Message-ID or Date must be replaced: there is nothing in it, or nothing that can be read.

    RFC 6409 §8.2, §8.3: a submission server corrects the one and replaces the other.
    """
    if field.name == "message-id":
        return _MESSAGE_ID.fullmatch(field.value) is None
    if field.name == "date":
        return _DATE.search(field.value) is None
    return False


def is_automatic(parsed: Parsed) -> bool:
    """Whether a program wrote it: a report (RFC 6522 §3), or Auto-Submitted other than `no` (RFC 3834 §5)."""
    kind, sent = parsed.one("content-type"), parsed.one("auto-submitted")
    if kind is not None and _REPORT.match(_without_comments(kind.value)):
        return True
    word = _WORD.match(_without_comments(sent.value)) if sent is not None else None
    return word is not None and word[1].lower() != "no"


def tls_required(parsed: Parsed, *, demanded: bool) -> bool | None:
    """What a message asks of TLS on its way (RFC 8689): True for REQUIRETLS, which wins (§4.1); False for one field
    `TLS-Required: No` (§5); None for neither."""
    if demanded:
        return True
    field = parsed.one("tls-required")
    return False if field is not None and field.value.strip().lower() == b"no" else None


def speaks_for(value: bytes, ours: Collection[str]) -> bool:
    """True for an Authentication-Results value that claims to be by one of `ours` (names in lower case), or by nobody
    that can be read.

    RFC 8601 §5: only we may speak in our name; such a field that comes from outside is taken out.
    """
    return _authserv_id(value) in (None, *ours)


def _without_comments(value: bytes) -> str:
    """The beginning of a structured value, with a blank for each comment, which nest (RFC 5322 §3.2.2); quoted strings
    stay."""
    text, kept, depth, at = value[:_MAX_BEGINNING].decode("latin-1"), [], 0, 0
    while at < len(text):
        found = (_IN_COMMENT if depth else _OUTSIDE).match(text, at)
        assert found is not None  # each takes any character
        piece, at = found[0], found.end()
        if piece == "(":
            depth += 1
            kept.append(" ")
        elif depth:
            depth -= piece == ")"
        else:
            kept.append(piece)
    return "".join(kept)


def _authserv_id(value: bytes) -> str | None:
    found = re.match(r'\s*(?:"((?:[^"\\]|\\.)*)"|([^\s;()"]+))', _without_comments(value), re.DOTALL)
    if found is None:
        return None
    name = found[2] if found[1] is None else re.sub(r"\\(.)", r"\1", found[1], flags=re.DOTALL)
    return name.rstrip(".").lower()
