"""Writing a report to the sender: a delivery status notification (RFC 3464) in a multipart/report (RFC 6522).

Pure: facts in, octets out. Everything that comes from outside (addresses, remote replies) is made safe for the
line it stands in. When and where to a report goes is `relay.delivery.reports`.
"""

from __future__ import annotations

import re
import textwrap

from relay.base.clock import rfc5322
from relay.base.storage.mail import ReportFacts
from relay.replies import printable

_ENHANCED = re.compile(r"[245]\.\d{1,3}\.\d{1,3}\Z")
_HEADERS_MAX = 65_536
_FULL_MAX = 1_048_576
_XTEXT = re.compile(r"\+([0-9A-F]{2})")


def compose(facts: ReportFacts, *, hostname: str, sender: str, to: str, now: float) -> bytes:
    """The whole report, CRLF lines. `sender` and `to` are bare addresses; `now` is Unix seconds."""
    boundary = f"=_{facts.queue_id}_{facts.recipient_id}_{int(now)}"
    failed = facts.kind == "failed"
    word = "Undelivered" if failed else "Delayed"
    original = _original(facts)
    head = (
        f"From: Mail delivery <{sender}>\r\nTo: <{to}>\r\nSubject: {word}: mail to {_short(facts.address)}\r\n"
        f"Date: {rfc5322(now)}\r\nMessage-ID: <{facts.queue_id}.{facts.recipient_id}.{facts.kind}@{hostname}>\r\n"
        # RFC 3834 §3.1.7: nothing answers automatically to this.
        "Auto-Submitted: auto-replied\r\nMIME-Version: 1.0\r\n"
        f'Content-Type: multipart/report; report-type=delivery-status;\r\n boundary="{boundary}"\r\n\r\n'
    )
    parts = [
        "Content-Type: text/plain; charset=us-ascii\r\n\r\n" + _for_people(facts, failed),
        "Content-Type: message/delivery-status\r\n\r\n" + _status(facts, hostname, failed),
    ]
    mark = f"--{boundary}\r\n"
    out = head + "".join(f"{mark}{part}\r\n" for part in parts) + mark
    return out.encode("ascii") + original + f"\r\n--{boundary}--\r\n".encode("ascii")


def _for_people(facts: ReportFacts, failed: bool) -> str:
    what = (
        f"Your message could not be delivered to {_short(facts.address)}. It will not be tried again."
        if failed
        else f"Your message to {_short(facts.address)} has not been delivered yet. You need not send it again: "
        f"it is tried until {rfc5322(facts.expires_at)}."
    )
    said = printable(facts.says) or "(no answer)"
    host = f"{printable(facts.host)} said" if facts.host else "The reason"
    sent = [f"Subject: {printable(facts.subject)}", f"Sent: {rfc5322(facts.received_at)}"]
    lines = [what, "", f"{host}:", f"    {said}", "", *sent]
    wrapped = [w for line in lines for w in (textwrap.wrap(line, 76, subsequent_indent="    ") or [""])]
    return "\r\n".join(wrapped) + "\r\n"


def _status(facts: ReportFacts, hostname: str, failed: bool) -> str:
    # RFC 3464 §2.2 (per message), §2.3 (per recipient)
    message = [f"Reporting-MTA: dns; {hostname}"]
    if facts.envid:
        message.append(f"Original-Envelope-Id: {printable(_from_xtext(facts.envid))}")
    message.append(f"Arrival-Date: {rfc5322(facts.received_at)}")
    recipient = []
    if facts.orcpt and ";" in facts.orcpt:
        kind, _, value = facts.orcpt.partition(";")
        recipient.append(f"Original-Recipient: {printable(kind)}; {printable(_from_xtext(value))}")
    final = "rfc822" if facts.address.isascii() else "utf-8"
    recipient += [
        f"Final-Recipient: {final}; {printable(facts.address)}",
        f"Action: {'failed' if failed else 'delayed'}",
        f"Status: {status(facts)}",
    ]
    if facts.host:
        recipient.append(f"Remote-MTA: dns; {printable(facts.host)}")
    if facts.code:
        recipient.append(_folded(f"Diagnostic-Code: smtp; {printable(facts.says)}"))
    recipient.append(f"Last-Attempt-Date: {rfc5322(facts.tried_at)}")
    if not failed:
        recipient.append(f"Will-Retry-Until: {rfc5322(facts.expires_at)}")
    return "\r\n".join(message) + "\r\n\r\n" + "\r\n".join(recipient) + "\r\n"


def status(facts: ReportFacts) -> str:
    """The RFC 3463 status: the remote's own where its class fits, else the class with nothing known."""
    wanted = "5" if facts.kind == "failed" else "4"
    if _ENHANCED.match(facts.enhanced):
        if facts.enhanced[0] == wanted:
            return facts.enhanced
        if facts.kind == "failed" and facts.enhanced[0] == "4":
            return "5.4.7"  # RFC 3463 §3.5: delivery time expired
    if facts.kind == "failed" and facts.code and 400 <= facts.code < 500:
        return "5.4.7"
    return f"{wanted}.0.0"


def _original(facts: ReportFacts) -> bytes:
    """The third part: the original's header, or all of it where RET=FULL asks and it is not large (RFC 3461 §4.3)."""
    content = facts.content
    end = content.find(b"\r\n\r\n")
    header = content[: end + 2] if end >= 0 else content
    header = header[: header.rfind(b"\r\n", 0, _HEADERS_MAX) + 2] if len(header) > _HEADERS_MAX else header
    if (facts.ret or "").upper() == "FULL" and facts.kind == "failed" and len(content) <= _FULL_MAX:
        kind = b"message/rfc822" if content.isascii() else b"message/global"
        return b"Content-Type: " + kind + _eight(content) + b"\r\n\r\n" + content
    # RFC 6533 §3: a header with UTF-8 in it is message/global-headers.
    kind = b"text/rfc822-headers" if header.isascii() else b"message/global-headers"
    return b"Content-Type: " + kind + _eight(header) + b"\r\n\r\n" + header


def _eight(octets: bytes) -> bytes:
    return b"" if octets.isascii() else b"\r\nContent-Transfer-Encoding: 8bit"


def _from_xtext(text: str) -> str:
    # RFC 3461 §4: "+" and two hex digits stand for one octet
    return _XTEXT.sub(lambda m: chr(int(m[1], 16)), text)


def _short(address: str) -> str:
    text = printable(address)
    return text if len(text) <= 100 else text[:97] + "..."


def _folded(line: str) -> str:
    return "\r\n ".join(line[i : i + 900] for i in range(0, len(line), 900))
