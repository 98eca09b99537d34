"""What other hosts send back about delivered mail: reports in the forms that a relay meets, made for one return path.

Pure. The shares are those of a list with old addresses in it: mostly Postfix and Exchange, some prose, some delays,
some people on holiday, few complaints. The words are this project's own, in each program's shape and size.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

_DATE = "Tue, 03 Nov 2026 09:12:44 +0000"
_SIGNATURE = "\r\n\t".join(["bGludGVycmVzdGluZyBvY3RldHMgb2YgYSBzaWduYXR1cmUgdGhhdCBub2JvZHkgdmVyaWZpZXM"] * 5)
_PROSE = "Your message is attached below, so that you know which one it was. Nobody needs to do anything. " * 2


@dataclass(frozen=True, slots=True)
class Form:
    """One form. `changes`: what it makes of its recipient ("" for nothing, else the event)."""

    name: str
    make: Callable[[int, str, str], str]
    changes: str


def original(number: int, path: str, to: str) -> str:
    """The header of the message that is reported about, as it stands in reports: signed twice, some hops."""
    return (
        f"Return-Path: <{path}>\r\n"
        f"Received: from mx.relay.test (mx.relay.test [192.0.2.25])\r\n\tby mx.far.test with ESMTPS id 4Xy{number}\r\n"
        f"\tfor <{to}>; {_DATE}\r\n"
        f"DKIM-Signature: v=1; a=rsa-sha256; c=relaxed/relaxed; d=example.test; s=ph1r;\r\n"
        f"\th=From:From:To:Subject:Date:Message-ID; bh=47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=;\r\n"
        f"\tb={_SIGNATURE}\r\n"
        f"DKIM-Signature: v=1; a=ed25519-sha256; c=relaxed/relaxed; d=example.test; s=ph1e;\r\n"
        f"\th=From:From:To:Subject:Date:Message-ID; bh=47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=;\r\n"
        f"\tb=bGludGVycmVzdGluZyBvY3RldHMgb2YgYSBzaWduYXR1cmUgdGhhdCBub2JvZHkgdmVyaWZpZXM=\r\n"
        f"From: The Sender <sender@example.test>\r\nTo: A Reader <{to}>\r\nSubject: Order {number} is on its way\r\n"
        f"Date: {_DATE}\r\nMessage-ID: <{number}@client.example.test>\r\nMIME-Version: 1.0\r\n"
        "Content-Type: text/plain; charset=us-ascii\r\n"
    )


def _parts(kind: str, boundary: str, parts: list[tuple[str, str]]) -> str:
    """A multipart/report of (Content-Type and more fields, body)."""
    written = "".join(f"--{boundary}\r\nContent-Type: {fields}\r\n\r\n{body}\r\n" for fields, body in parts)
    return (
        f'MIME-Version: 1.0\r\nContent-Type: multipart/report; report-type={kind};\r\n\tboundary="{boundary}"\r\n\r\n'
        f"This is a report in several parts.\r\n\r\n{written}--{boundary}--\r\n"
    )


def _postfix(number: int, path: str, to: str, *, delayed: bool = False) -> str:
    action, status = ("delayed", "4.4.1") if delayed else ("failed", "5.1.1")
    reply = (
        "connect to store.far.test[192.0.2.9]:25: Connection timed out" if delayed
        else f"550 5.1.1 <{to}>: Recipient address\r\n    rejected: User unknown in virtual mailbox table"
    )
    words = (
        "This is the mail system at host mx.far.test.\r\n\r\n"
        + ("####################################################################\r\n"
           "# THIS IS A WARNING ONLY.  YOU DO NOT NEED TO RESEND YOUR MESSAGE. #\r\n"
           "####################################################################\r\n\r\n" if delayed else "")
        + f"{_PROSE}\r\n\r\n                   The mail system\r\n\r\n"
        + f"<{to}>: host store.far.test[192.0.2.9] said:\r\n    {reply}\r\n"
    )
    machine = (
        f"Reporting-MTA: dns; mx.far.test\r\nX-Postfix-Queue-ID: 4Xy{number}\r\n"
        f"X-Postfix-Sender: rfc822; {path}\r\nArrival-Date: {_DATE}\r\n\r\n"
        f"Final-Recipient: rfc822; {to}\r\nOriginal-Recipient: rfc822;{to}\r\nAction: {action}\r\nStatus: {status}\r\n"
        f"Remote-MTA: dns; store.far.test\r\nDiagnostic-Code: smtp; {reply}\r\n"
    )
    subject = "Delayed Mail (still being retried)" if delayed else "Undelivered Mail Returned to Sender"
    return (
        f"Received: by mx.far.test (Postfix)\r\n\tid 4Xz{number}; {_DATE}\r\nDate: {_DATE}\r\n"
        f"From: MAILER-DAEMON@mx.far.test (Mail Delivery System)\r\nSubject: {subject}\r\nTo: {path}\r\n"
        f"Auto-Submitted: auto-replied\r\nMessage-Id: <{number}.4Xz@mx.far.test>\r\n"
        + _parts("delivery-status", f"4Xz{number}.1762161164/mx.far.test", [
            ("text/plain; charset=us-ascii\r\nContent-Description: Notification", words),
            ("message/delivery-status\r\nContent-Description: Delivery report", machine),
            ("text/rfc822-headers\r\nContent-Description: Undelivered Message Headers", original(number, path, to)),
        ])
    )


def _delay(number: int, path: str, to: str) -> str:
    return _postfix(number, path, to, delayed=True)


def _exchange(number: int, path: str, to: str) -> str:
    rows = "".join(
        f"<tr><td style=3D\"padding:{row}px\">Received-from-server</td><td>EX{row}.far.test</td></tr>=\r\n"
        for row in range(40)
    )
    page = (
        '<html><head><meta http-equiv=3D"Content-Type" content=3D"text/html; charset=3D=\r\nutf-8"></head><body>'
        f"<p>Your message to <b>{to}</b> couldn't be delivered.</p><p>{_PROSE}</p><table>=\r\n"
        f"{rows}</table></body></html>"
    )
    words = (
        f"Delivery has failed to these recipients or groups:\r\n\r\n{to}\r\n"
        f"The email address you entered couldn't be found. {_PROSE}\r\n"
    )
    machine = (
        f"Reporting-MTA: dns;EX1.far.test\r\nReceived-From-MTA: dns;mx.relay.test\r\nArrival-Date: {_DATE}\r\n\r\n"
        f"Final-Recipient: rfc822;{to}\r\nAction: failed\r\nStatus: 5.1.10\r\nDiagnostic-Code: smtp;550 5.1.10 "
        f"RESOLVER.ADR.RecipientNotFound; Recipient {to} not found by SMTP address lookup\r\n"
    )
    hops = "".join(
        f"Received: from EX{hop}.far.test (2001:db8::{hop}) by EX{hop + 1}.far.test\r\n\t(2001:db8::{hop + 1}) with "
        f"Microsoft SMTP Server (version=TLS1_2,\r\n\tcipher=TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384)\r\n"
        f"\tid 15.20.{number}; {_DATE}\r\n"
        for hop in range(3)
    )
    return (
        f'{hops}MIME-Version: 1.0\r\nFrom: "Microsoft Outlook" <MicrosoftExchange329e71ec88ae@far.test>\r\n'
        f"To: {path}\r\n"
        f"Date: {_DATE}\r\nMessage-ID: <{number}@EX1.far.test>\r\nX-MS-Exchange-Message-Is-Ndr:\r\n"
        f"X-Auto-Response-Suppress: All\r\nSubject: Undeliverable: Order {number} is on its way\r\n"
        "Auto-Submitted: auto-replied\r\n"
        + _parts("delivery-status", f"{number}-4c6d-bb2a-EX1.far.test", [
            (f'multipart/alternative; differences=Content-Type;\r\n\tboundary="inner{number}"',
             f"--inner{number}\r\nContent-Type: text/plain; charset=us-ascii\r\n\r\n{words}\r\n--inner{number}\r\n"
             f"Content-Type: text/html; charset=utf-8\r\n"
             f"Content-Transfer-Encoding: quoted-printable\r\n\r\n{page}\r\n--inner{number}--\r\n"),
            ("message/delivery-status", machine),
            ("message/rfc822", f"{original(number, path, to)}\r\n" + "What was written in the message.\r\n" * 60),
        ])
    )


def _qmail(number: int, path: str, to: str) -> str:
    return (
        f"Received: (qmail {number} invoked for bounce); 3 Nov 2026 09:12:40 -0000\r\nDate: {_DATE}\r\n"
        f"From: MAILER-DAEMON@mx.far.test\r\nTo: {path}\r\nSubject: failure notice\r\n\r\n"
        "Hi. This is the qmail-send program at mx.far.test.\r\n"
        "I'm afraid I wasn't able to deliver your message to the following addresses.\r\n"
        f"This is a permanent error; I've given up. Sorry it didn't work out.\r\n\r\n<{to}>:\r\n"
        "Sorry, no mailbox here by that name. (#5.1.1)\r\n\r\n--- Below this line is a copy of the message.\r\n\r\n"
        f"{original(number, path, to)}\r\n" + "What was written in the message.\r\n" * 60
    )


def _complaint(number: int, path: str, to: str) -> str:
    machine = (
        "Feedback-Type: abuse\r\nUser-Agent: FarLoop/1.0\r\nVersion: 1\r\n"
        f"Original-Mail-From: <{path}>\r\nOriginal-Rcpt-To: <{to}>\r\nArrival-Date: {_DATE}\r\n"
        "Source-IP: 192.0.2.25\r\n"
    )
    return (
        f"From: <abusedesk@far.test>\r\nTo: {path}\r\nDate: {_DATE}\r\nSubject: FW: Order {number} is on its way\r\n"
        + _parts("feedback-report", f"part1_{number}.boundary", [
            ("text/plain; charset=us-ascii", "This is an email abuse report for a message received from 192.0.2.25."),
            ("message/feedback-report", machine),
            ("message/rfc822\r\nContent-Disposition: inline",
             f"{original(number, path, to)}\r\n" + "What was written in the message.\r\n" * 60),
        ])
    )


def _holiday(number: int, path: str, to: str) -> str:
    return (
        f"Received: from store.far.test by mx.far.test with ESMTP id {number}; {_DATE}\r\n"
        f"Date: {_DATE}\r\nFrom: A Reader <{to}>\r\n"
        f"To: {path}\r\nSubject: Out of office: Order {number} is on its way\r\nAuto-Submitted: auto-replied\r\n"
        f"In-Reply-To: <{number}@client.example.test>\r\nMIME-Version: 1.0\r\n"
        "Content-Type: text/plain; charset=utf-8\r\n\r\n"
        "I am away until Monday. In urgent cases ask my colleagues.\r\n"
    )


POSTFIX, EXCHANGE = Form("postfix", _postfix, "bounced"), Form("exchange", _exchange, "bounced")
QMAIL, DELAY = Form("qmail", _qmail, "bounced"), Form("delay", _delay, "deferred")
COMPLAINT, HOLIDAY = Form("complaint", _complaint, "complained"), Form("holiday", _holiday, "")
# Twenty in this order, over and over.
MIX = (
    POSTFIX, EXCHANGE, POSTFIX, HOLIDAY, POSTFIX, QMAIL, POSTFIX, EXCHANGE, POSTFIX, DELAY,
    POSTFIX, EXCHANGE, HOLIDAY, POSTFIX, QMAIL, EXCHANGE, POSTFIX, DELAY, POSTFIX, COMPLAINT,
)


def form(number: int) -> Form:
    """The form of the report with this number."""
    return MIX[number % len(MIX)]


def stuffed(form: Form, number: int, path: str, to: str) -> bytes:
    """A report about `to` on the return path `path`, ready for the wire: dots stuffed (RFC 5321 §4.5.2), ended."""
    return form.make(number, path, to).replace("\r\n.", "\r\n..").encode("ascii") + b".\r\n"
