"""Writing a report to the sender: a delivery status notification (RFC 3464) in a multipart/report (RFC 6522).

Pure: facts in, octets out, US-ASCII throughout unless the original is enclosed whole and is 8-bit itself. Everything
that comes from outside (addresses, remote replies) is made safe for the line it stands in. When and where to a report
goes is `relay.delivery.dsn`.
"""

from __future__ import annotations

import base64
import re
import textwrap

from relay.base.clock import rfc5322
from relay.base.storage.mail import ReportedRecipient, ReportFacts
from relay.notices.notices import encoded, head
from relay.replies import printable

_ENHANCED = re.compile(r"[245]\.\d{1,3}\.\d{1,3}\Z")
_HEADERS_MAX = 65_536
_XTEXT = re.compile(r"\+([0-9A-F]{2})")
# RFC 6533 §3: what stands for itself in utf-8-addr-xtext.
_NOT_QCHAR = re.compile(r"[^!-*,-<>-\[\]-~]")

# Kind of news → subject, Action (RFC 3464 §2.3.3), class of Status.
_KINDS = {
    "failed": ("Undelivered", "failed", "5"),
    "delayed": ("Delayed", "delayed", "4"),
    "relayed": ("Relayed", "relayed", "2"),
    "arrived": ("Delivered", "delivered", "2"),
    "expanded": ("Delivered to a list", "expanded", "2"),
}


def compose(facts: ReportFacts, *, hostname: str, sender: str, to: str, now: float, whole_max: int) -> bytes:
    """The whole report, CRLF lines. `sender` is the header From, `to` a bare address; `now` is Unix
    seconds; a message of more than `whole_max` octets is never enclosed whole."""
    first = facts.recipients[0]
    boundary = f"=_{facts.queue_id}_{first.id}_{int(now)}"
    others = len(facts.recipients) - 1
    about = f"{_KINDS[facts.kind][0]}: mail to {_short(first.address)}" + (f" and {others} more" if others else "")
    more = {"Date": rfc5322(now), "Message-ID": f"<{facts.queue_id}.{first.id}.{facts.kind}@{hostname}>"}
    kind = f'Content-Type: multipart/report; report-type=delivery-status;\r\n boundary="{boundary}"\r\n\r\n'
    # RFC 3834 §3.1.7: a report is an automatic reply.
    top = head(sender, f"<{to}>", about, automatic="auto-replied", more=more) + kind.encode("ascii")
    parts = [
        _text(_for_people(facts)),
        b"Content-Type: message/delivery-status\r\n\r\n" + _status(facts, hostname).encode("ascii"),
        _original(facts, whole_max),
    ]
    mark = f"--{boundary}\r\n".encode("ascii")
    return top + b"".join(mark + part + b"\r\n" for part in parts) + mark[:-2] + b"--\r\n"


# -- for people ----------------------------------------------------------------------------------------------------


def _for_people(facts: ReportFacts) -> str:
    lines = [_news(facts), ""]
    for r in facts.recipients:
        lines.append(_shown(r.address))
        said = _shown(r.says) or "(no answer)"
        lines.append(f"    {_shown(r.host)} said: {said}" if r.host else f"    {said}")
        if facts.kind == "delayed" and not r.late:
            lines.append(f"    It is tried until {rfc5322(r.expires_at)}.")
    lines += ["", f"Subject: {_shown(facts.subject)}", f"Sent: {rfc5322(facts.received_at)}"]
    wrapped = [w for line in lines for w in (textwrap.wrap(line, 76, subsequent_indent="    ") or [""])]
    return "\r\n".join(wrapped) + "\r\n"


def _news(facts: ReportFacts) -> str:
    many = len(facts.recipients) > 1
    whom = "these recipients" if many else _short(_shown(facts.recipients[0].address))
    late = all(r.late for r in facts.recipients)
    match facts.kind:
        case "failed" if late:
            return f"Your message was taken by another server, which now reports that it did not reach {whom}."
        case "failed":
            return f"Your message could not be delivered to {whom}. It will not be tried again."
        case "delayed" if late:
            return (
                f"Your message was taken by another server, which reports that it has not delivered it to {whom} yet "
                "and tries on. You need not send it again."
            )
        case "delayed":
            return f"Your message has not been delivered to {whom} yet. You need not send it again: it is tried on."
        case "relayed":
            return (
                f"Your message was handed over for {whom}, to a server that sends no reports of success: "
                "nothing more will be heard of it unless it fails."
            )
        case "expanded":
            return f"Your message has arrived for {whom}, and went on to several addresses there."
        case _:
            return f"Your message has arrived in the mailbox of {whom}."


def _shown(text: str) -> str:
    """One line for people: what can't be printed shows as "?", everybody's letters stay."""
    return "".join(c if c.isprintable() else "?" for c in text)


def _text(text: str) -> bytes:
    if text.isascii():
        return b"Content-Type: text/plain; charset=us-ascii\r\n\r\n" + text.encode("ascii")
    return b"Content-Type: text/plain; charset=utf-8" + _base64(text.encode())


def _short(address: str) -> str:
    return address if len(address) <= 100 else address[:97] + "..."


# -- for programs --------------------------------------------------------------------------------------------------


def _status(facts: ReportFacts, hostname: str) -> str:
    # RFC 3464 §2.2: of the message; §2.3: of each recipient, an empty line before each.
    message = [f"Reporting-MTA: dns; {hostname}"]
    if facts.envid:
        message.append(f"Original-Envelope-Id: {printable(_from_xtext(facts.envid))}")
    message.append(f"Arrival-Date: {rfc5322(facts.received_at)}")
    groups = [message, *(_group(facts.kind, r) for r in facts.recipients)]
    return "\r\n\r\n".join("\r\n".join(group) for group in groups) + "\r\n"


def _group(kind: str, r: ReportedRecipient) -> list[str]:
    fields = []
    if r.orcpt and ";" in r.orcpt:
        fields.append(f"Original-Recipient: {_original_recipient(r.orcpt)}")
    fields += [f"Final-Recipient: {_typed(r.address)}", f"Action: {_KINDS[kind][1]}", f"Status: {status(kind, r)}"]
    if r.host:
        fields.append(f"Remote-MTA: dns; {printable(r.host)}")
    if r.code:
        fields.append(_folded(f"Diagnostic-Code: smtp; {printable(r.says)}"))
    elif r.late and r.says:
        # RFC 3464 §2.3.6: the type says whose words these are; a report that gives no SMTP code leaves it open.
        fields.append(_folded(f"Diagnostic-Code: x-unknown; {printable(r.says)}"))
    if not r.late:
        fields.append(f"Last-Attempt-Date: {rfc5322(r.at)}")
        if kind == "delayed":
            fields.append(f"Will-Retry-Until: {rfc5322(r.expires_at)}")
    return fields


def status(kind: str, r: ReportedRecipient) -> str:
    """The RFC 3463 status: the remote's own where its class fits, else the class with nothing known."""
    wanted = _KINDS[kind][2]
    if _ENHANCED.match(r.enhanced):
        if r.enhanced[0] == wanted:
            return r.enhanced
        if kind == "failed" and r.enhanced[0] == "4":
            # The other side gave up, and named what had kept it (RFC 3464 §2.3.4 wants no class); or we did.
            return r.enhanced if r.late else "5.4.7"  # RFC 3463 §3.5: delivery time expired
    if kind == "failed" and r.code and 400 <= r.code < 500:
        return "5.4.7"
    return f"{wanted}.0.0"


def _typed(address: str) -> str:
    """`rfc822; a@b`, or RFC 6533 §3: `utf-8; …` in the form that stays US-ASCII (utf-8-addr-xtext)."""
    if address.isascii():
        return f"rfc822; {printable(address)}"
    return "utf-8; " + _NOT_QCHAR.sub(lambda m: f"\\x{{{ord(m[0]):X}}}", address)


def _original_recipient(orcpt: str) -> str:
    kind, _, value = orcpt.partition(";")
    if kind.lower() != "utf-8":
        return f"{printable(kind)}; {printable(_from_xtext(value))}"
    # RFC 6533 §3: of this type only the letters are written otherwise, and only where they stand as they are.
    return f"{printable(kind)}; {printable(value)}" if value.isascii() else _typed(value)


def _from_xtext(text: str) -> str:
    # RFC 3461 §4: "+" and two hex digits stand for one octet
    return _XTEXT.sub(lambda m: chr(int(m[1], 16)), text)


def _folded(line: str) -> str:
    return "\r\n ".join(line[i : i + 900] for i in range(0, len(line), 900))


# -- what was sent -------------------------------------------------------------------------------------------------


def _original(facts: ReportFacts, whole_max: int) -> bytes:
    """The third part: the original's header; all of it where RET=FULL asks for that of a failed message that is not
    large (RFC 3461 §6.2); what the log kept of the header where the bytes are gone."""
    content = facts.content
    end = content.find(b"\r\n\r\n")
    header = content[: end + 2] if end >= 0 else content
    # RFC 8689 §4.2.2: of mail with REQUIRETLS the header alone.
    full = (facts.ret or "").upper() == "FULL" and facts.kind == "failed" and facts.tls_required is not True
    if full and 0 < len(content) <= whole_max:
        if not header.isascii():
            # RFC 6532 §3.7: message/global, unlike message/rfc822, may be encoded.
            return b"Content-Type: message/global" + _base64(content)
        eight = b"" if content.isascii() else b"\r\nContent-Transfer-Encoding: 8bit"
        return b"Content-Type: message/rfc822" + eight + b"\r\n\r\n" + content
    if not content:
        header = _kept(facts)
    if len(header) > _HEADERS_MAX:
        header = header[: header.rfind(b"\r\n", 0, _HEADERS_MAX) + 2]
    if header.isascii():
        return b"Content-Type: text/rfc822-headers\r\n\r\n" + header
    # RFC 6533 §6.3: a header with UTF-8 in it is message/global-headers.
    return b"Content-Type: message/global-headers" + _base64(header)


def _kept(facts: ReportFacts) -> bytes:
    sender = _shown(facts.header_from or facts.mail_from)
    return (
        f"From: <{sender}>\r\nSubject: {encoded(_shown(facts.subject))}\r\nMessage-ID: {_shown(facts.header_id)}\r\n"
        f"X-Posthouse-Message: {facts.queue_id}\r\n"
    ).encode()


def _base64(octets: bytes) -> bytes:
    encoded = base64.encodebytes(octets).replace(b"\n", b"\r\n")
    return b"\r\nContent-Transfer-Encoding: base64\r\n\r\n" + encoded
