"""JSON to a message: the header fields, the parts, the bytes. Pure; a large one is composed in a thread.

Promises lines of CRLF and ASCII (but for an address whose local part is not), one field for each name, and nothing of
a value outside its own field. Date and Message-ID, like everything any message gets, are added by
`relay.message`; who may send it is left to policy.
"""

from __future__ import annotations

import base64
import binascii
import mimetypes
import re
import secrets
from collections.abc import Callable, Mapping, Sequence

from relay.base.content_type import content_type
from relay.base.names import BadName, single_mailbox
from relay.base.web.models import refuse_fields
from relay.message import SENDERS
from relay.replies import TOO_LARGE, UNSAFE_VALUE, Refused
from relay.sendapi import parts, plain
from relay.sendapi.headers import Named, custom, mailboxes, safe, unstructured
from relay.sendapi.models import Attachment, SendRequest
from relay.sendapi.parts import Part

# RFC 5322 §3.6.8 allows more; this is what mail programs handle.
_FIELD_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9_.-]{0,75})")
# What the relay or another field of the request writes. The rest is judged by `relay.message`, as for SMTP.
_RESERVED = frozenset({
    "from", "to", "cc", "bcc", "subject", "date", "message-id", "received", "return-path", "mime-version",
    "feedback-id", "idempotency-key",
})
_RESERVED_STARTS = ("dkim-", "domainkey-", "list-unsubscribe", "content-", "x-posthouse-", "x-atmos-")
_KIND = re.compile(r"[a-z0-9!#$&^_.+-]{1,80}/[a-z0-9!#$&^_.+-]{1,120}")  # RFC 6838 §4.2
_PARAMETER_MAX = 200
_CONTENT_ID = re.compile(r"[A-Za-z0-9.!#$%&'*+/=?^_`{|}~@-]{1,200}")
_BLANKS = str.maketrans("", "", " \t\r\n")


def boundary() -> str:
    """A fresh MIME boundary; "=_" stands in no quoted-printable and no base64 text (RFC 2045 §6.7)."""
    return f"=_{secrets.token_hex(16)}"


def compose(
    request: SendRequest,
    *,
    sender: Named,
    to: Sequence[Named],
    cc: Sequence[Named],
    reply_to: Sequence[Named],
    limit: int,
    new_boundary: Callable[[], str] = boundary,
) -> bytes:
    """The message of a request, with its mailboxes already read; at most about `limit` bytes.

    Raises Refused: UNSAFE_VALUE (a control in a value, a reserved or malformed header), INVALID_REQUEST (base64 or a
    content type that can't be read), TOO_LARGE.
    """
    fields = [
        mailboxes("From", [sender]),
        # RFC 5322 §3.4: an empty group where all who are named are blind copies.
        mailboxes("To", to) if to else (b"" if cc else b"To: undisclosed-recipients:;\r\n"),
        mailboxes("Cc", cc) if cc else b"",
        mailboxes("Reply-To", reply_to) if reply_to else b"",
        unstructured("Subject", safe("subject", request.subject)),
        *_custom(request.headers, has_reply_to=bool(reply_to)),
    ]
    size = len(request.text or "") + len(request.html or "") + sum(len(a.content) * 3 // 4 for a in request.attachments)
    if size > limit:
        raise Refused(TOO_LARGE, wanted=str(limit))
    return _body(request, new_boundary).message(b"".join(fields))


def _body(request: SendRequest, new_boundary: Callable[[], str]) -> Part:
    files = [(_is_related(a), _attachment(at, a)) for at, a in enumerate(request.attachments)]
    related = [part for inline, part in files if inline and request.html is not None]
    others = [part for inline, part in files if not (inline and request.html is not None)]
    if request.html is None:
        body = parts.text("plain", request.text or "")
    else:
        rich = parts.text("html", request.html)
        if related:
            # RFC 2387: the html with what it shows.
            rich = parts.multipart("related", [rich, *related], new_boundary(), [("type", "text/html")])
        words = plain.from_html(request.html) if request.text is None else request.text
        # RFC 2046 §5.1.4: the richest form comes last.
        body = parts.multipart("alternative", [parts.text("plain", words), rich], new_boundary())
    return parts.multipart("mixed", [body, *others], new_boundary()) if others else body


def _is_related(attachment: Attachment) -> bool:
    return attachment.content_id is not None and attachment.disposition != "attachment"


def _attachment(at: int, given: Attachment) -> Part:
    where = f"attachments.{at}"
    filename = safe(f"{where}.filename", given.filename)
    kind, parameters = _kind(where, given.content_type, filename)
    content_id = given.content_id
    if content_id is not None:
        content_id = safe(f"{where}.contentId", content_id).removeprefix("<").removesuffix(">")
        if not _CONTENT_ID.fullmatch(content_id):
            raise Refused(UNSAFE_VALUE, saw=f"{where}.contentId: not a Content-ID",
                          extra={"field": f"{where}.contentId"})
    try:
        content = base64.b64decode(given.content.translate(_BLANKS), validate=True)
    except (binascii.Error, ValueError):
        refuse_fields([(f"{where}.content", "not base64")])
    disposition = given.disposition or ("inline" if content_id is not None else "attachment")
    return parts.attachment(
        content, kind=kind, parameters=parameters, filename=filename, disposition=disposition, content_id=content_id
    )


def _kind(where: str, given: str | None, filename: str) -> tuple[str, list[tuple[str, str]]]:
    if given is None:
        # Only the table that comes with Python: the answer is the same on every machine.
        kind, encoding = mimetypes.MimeTypes().guess_type(f"file:{filename}", strict=True)
        given = kind if kind and not encoding else "application/octet-stream"
    where = f"{where}.contentType"
    found = content_type(safe(where, given))
    kind, parameters = found.type, list(found.parameters.items())
    fit = all("*" not in k and len(v) <= _PARAMETER_MAX and not set(v) & {'"', "\\"} for k, v in parameters)
    if not (_KIND.fullmatch(kind) and found.certain and found.whole and fit and given.isascii()):
        refuse_fields([(where, "not a content type such as application/pdf")])
    if kind.startswith(("multipart/", "message/")):
        # RFC 2046 §5.1, §5.2.1: these may not be base64, and what is inside would escape our bounds.
        refuse_fields([(where, f"{kind.partition('/')[0]} types can't be attached: use application/octet-stream")])
    return kind, parameters


def _custom(given: Mapping[str, str], *, has_reply_to: bool) -> list[bytes]:
    fields = []
    seen: set[str] = set()
    for name, value in given.items():
        safe("headers", name)
        lowered = name.lower()
        fault = ""
        if not _FIELD_NAME.fullmatch(name):
            fault = "not a header name"
        elif lowered in _RESERVED or lowered.startswith(_RESERVED_STARTS):
            fault = "reserved: the relay or another field of the request writes this header"
        elif lowered in seen or (lowered == "reply-to" and has_reply_to):
            fault = "stands twice"
        if fault:
            where = f"headers.{name[:80]}"
            raise Refused(UNSAFE_VALUE, saw=f"{where}: {fault}", extra={"field": where})
        seen.add(lowered)
        fields.append(_sender(name, value) or custom(name, safe(f"headers.{name}", value)))
    return fields


def _sender(name: str, value: str) -> bytes | None:
    """Sender or the like, in whatever letters; None for what isn't one, or not one mailbox: policy says so."""
    if name.lower() not in SENDERS:
        return None
    try:
        mailbox = single_mailbox(value.strip().encode(), name)
    except BadName:
        return None
    return mailboxes(name, [Named(mailbox.display, mailbox.address)])
