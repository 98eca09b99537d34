"""Whose fault it is, read out of whole reports: what stands around the reply, beside it, or within another message."""

from __future__ import annotations

import base64
import json

import pytest

from relay.bounces.parse import SUCCEEDED, parse
from relay.bounces.record import judge

BOB = "bob@far.example"
US = "b-1@sl.member.example"


def made_of(raw: str) -> tuple[str, str, bool]:
    """(action or kind, class, given up)."""
    report = parse(raw.encode())
    fate = report.fate_of(BOB)
    if fate is None:
        return report.kind, "-", False
    final, why = judge(fate, BOB)
    return fate.action, why.class_, final and why.address_fault and fate.action not in SUCCEEDED


def prose(text: str, sender: str = "Mail Delivery System <mailer-daemon@mx.relay.example>") -> str:
    return f"From: {sender}\nTo: {US}\nSubject: Mail delivery failed\nReturn-Path: <>\n\n{text}"


def notice(group: str, human: str = "Your message was not delivered.", kind: str = "text/plain", head: str = "") -> str:
    return (
        f"From: mailer-daemon@mx.relay.example\nTo: {US}\nSubject: Delivery Status Notification\n{head}"
        'MIME-Version: 1.0\nContent-Type: multipart/report; report-type=delivery-status; boundary="q"\n\n'
        f"--q\nContent-Type: {kind}\n\n{human}\n--q\nContent-Type: message/delivery-status\n\n"
        f"Reporting-MTA: dns; mx.relay.example\n\nFinal-Recipient: rfc822; {BOB}\n{group}\n--q--\n"
    )


EXIM = (
    "This message was created automatically by mail delivery software.\n\n"
    "A message that you sent could not be delivered:\n\n"
)
QMAIL = "Hi. This is the qmail-send program at relay.example.\nI'm afraid I wasn't able to deliver your message.\n\n"
POSTFIX = "This is the mail system at host relay.example.\n\nYour message could not be delivered.\n\n"


@pytest.mark.parametrize(
    ("report", "class_"),
    [
        (prose(f"{EXIM}  {BOB}\n    host mx.far.example [192.0.2.7]\n    SMTP error from remote mail server after MAIL "
               f"FROM:<{US}> SIZE=2000:\n    550 5.1.1 no such address\n"), "sender"),
        (prose(f"{EXIM}  {BOB}\n    SMTP error from remote mail server after pipelined MAIL FROM:<{US}>:\n"
               "    host mx.far.example [192.0.2.7]: 553 unknown user\n"), "sender"),
        (prose(f"{EXIM}  {BOB}\n    SMTP error from remote mail server after EHLO relay.example:\n"
               "    host mx.far.example [192.0.2.7]: 550 unknown host name\n"), "reputation"),
        (prose(f"{EXIM}  {BOB}\n    SMTP error from remote mail server after initial connection:\n"
               "    host mx.far.example [192.0.2.7]: 554 no such user\n"), "reputation"),
        (prose(f"{QMAIL}<{BOB}>:\nConnected to 192.0.2.7 but sender was rejected.\nRemote host said: 550 5.1.1 no "
          f"such user\n"),
         "sender"),
        (prose(f"{QMAIL}<{BOB}>:\nConnected to 192.0.2.7 but my name was rejected.\nRemote host said: 550 host not "
          f"found\n"),
         "reputation"),
        (prose(f"{QMAIL}<{BOB}>:\nConnected to 192.0.2.7 but greeting failed.\nRemote host said: 554 user unknown\n"),
         "reputation"),
        (prose(f"{POSTFIX}<{BOB}>: host mx.far.example[192.0.2.7] said: 550 5.1.1 unknown address (in\n"
               "    reply to MAIL FROM command)\n"), "sender"),
        (prose(f"{POSTFIX}<{BOB}>: host mx.far.example[192.0.2.7] said: 550 no such host (in reply to EHLO command)\n"),
         "reputation"),
        (prose(f"   ----- The following addresses had permanent fatal errors -----\n<{BOB}>\n\n   ----- Transcript "
          f"of session "
               f"follows -----\n... while talking to mx.far.example.:\n>>> MAIL From:<{US}>\n<<< 553 5.1.1 "
                 f"<{US}>... user unknown\n"
               "501 5.6.0 Data format error\n"), "sender"),
        (notice("Action: failed\nStatus: 5.1.1\nDiagnostic-Code: smtp; 550 unknown user",
                f"<{BOB}>: host mx[192.0.2.7] said: 550 unknown user (in reply to MAIL FROM command)"), "sender"),
        (notice("Action: failed\nStatus: 5.0.0\nDiagnostic-Code: smtp; 550 no such user",
                f"{BOB}\n host mx [192.0.2.7]\n SMTP error from remote mail server after MAIL FROM:<{US}>:\n 550 no "
                  f"such user"),
         "sender"),
    ],
)  # fmt: skip
def test_who_refused_before_rcpt_did_not_speak_of_the_recipient(report: str, class_: str) -> None:
    assert made_of(report) == ("failed", class_, False)


@pytest.mark.parametrize(
    "report",
    [
        prose(f"{EXIM}  {BOB}\n    SMTP error from remote mail server after RCPT TO:<{BOB}>:\n"
              "    host mx.far.example [192.0.2.7]: 550 5.1.1 no such user\n"),
        prose(f"{QMAIL}<{BOB}>:\n192.0.2.7 does not like recipient.\nRemote host said: 550 5.1.1 no such user\n"
              "Giving up on 192.0.2.7.\n"),
        prose(f"{POSTFIX}<{BOB}>: host mx.far.example[192.0.2.7] said: 550 5.1.1 <{BOB}>:\n    Recipient address "
          f"rejected: User "
              "unknown in virtual alias table (in reply to RCPT TO command)\n"),
        notice("Action: failed\nStatus: 5.1.0\nDiagnostic-Code: smtp; 5.1.0 - Unknown address error 550-'5.1.1 No "
          "such user'"),
        # Several recipients in one old transcript: each its own line, the other's is nobody else's.
        prose(f"   ----- The following addresses had permanent fatal errors -----\n<carol@far.example>\n<{BOB}>\n\n"
              "   ----- Transcript of session follows -----\n... while talking to mx.far.example.:\n"
              ">>> RCPT To:<carol@far.example>\n<<< 552 5.2.2 <carol@far.example>... Mailbox full\n"
              f">>> RCPT To:<{BOB}>\n<<< 550 5.1.1 <{BOB}>... User unknown\n550 5.1.1 <{BOB}>... User unknown\n"),
        prose(f"{POSTFIX}<carol@far.example>: host mx.far.example[192.0.2.7] said: 554 5.7.1 spam\n\n"
              f"<{BOB}>: host mx.far.example[192.0.2.7] said: 550 5.1.1 user unknown\n"),
        # The reason elsewhere: in the part for people, of whichever type, or behind the list.
        notice("Action: failed\nStatus: 5.0.0", "<p>We are sorry: there is no such mailbox here.</p>", "text/html"),
        notice("Action: failed\nStatus: 5.0.0\nDiagnostic-Code: smtp; 550 refused", f"<{BOB}>: no such user here"),
        prose(f"Your message could not be delivered to\n\n   {BOB}\n\nReason: the mailbox does not exist.\n"),
        # Without From, or with an empty one.
        f"To: {US}\nSubject: failure notice\n\n{QMAIL}<{BOB}>:\nSorry, no mailbox here by that name. (#5.1.1)\n",
        f"From: <>\nTo: {US}\nSubject: Undelivered Mail\n\n{POSTFIX}<{BOB}>: unknown user: \"bob\"\n",
        f"To: {US}\nSubject: Non remis\nAuto-Submitted: auto-replied\n\n{EXIM}  {BOB}\n    550 5.1.1 No such user\n",
        # A domain that takes no mail.
        prose(f"{QMAIL}<{BOB}>:\nSorry, I couldn't find any mail exchanger or IP address. (#5.4.4)\n"),
        prose(f"{EXIM}  {BOB}\n    an MX record of far.example says that there is no SMTP service\n"),
        notice("Action: failed\nStatus: 5.1.10\nDiagnostic-Code: x; domain far.example has a null MX"),
        notice("Action: failed\nStatus: 5.4.4\nDiagnostic-Code: x; far.example has neither MX nor address records"),
    ],
)  # fmt: skip
def test_who_is_gone_is_known(report: str) -> None:
    action, class_, given_up = made_of(report)
    assert (action, given_up) == ("failed", True), class_
    assert class_ in ("mailbox_unknown", "domain_unknown")


@pytest.mark.parametrize(
    ("report", "class_"),
    [
        (prose(f"   ----- The following addresses had permanent fatal errors -----\n<carol@far.example>\n<{BOB}>\n\n"
               "   ----- Transcript of session follows -----\n... while talking to mx.far.example.:\n"
               ">>> RCPT To:<carol@far.example>\n<<< 550 5.1.1 <carol@far.example>... User unknown\n"
               f">>> RCPT To:<{BOB}>\n<<< 552 5.2.2 <{BOB}>... Mailbox full\n552 5.2.2 <{BOB}>... Mailbox full\n"),
         "mailbox_full"),
        (prose(f"{POSTFIX}<{BOB}>: host mx.far.example[192.0.2.7] said: 554 5.7.1 Message refused as spam\n"
               "<carol@far.example>: host mx.far.example[192.0.2.7] said: 550 5.1.1 user unknown\n"), "content"),
        (prose(f"{QMAIL}<carol@far.example>:\nSorry, no mailbox here by that name. (#5.1.1)\n\n<{BOB}>:\n192.0.2.7 "
          f"does not like "
               "recipient.\nRemote host said: 552 5.2.2 quota exceeded\n"), "mailbox_full"),
        (notice("Action: failed\nStatus: 5.1.1\nDiagnostic-Code: smtp; 550 <bob@far.example>: Recipient address "
          "rejected: "
                "Please see http://www.spf.example/why"), "unknown"),
        (notice("Action: failed\nStatus: 5.1.0\nDiagnostic-Code: smtp; 5.1.0 - Unknown address error 554-'Message "
          "refused as "
                "spam'"), "content"),
        (notice("Action: failed\nStatus: 5.4.4\nDiagnostic-Code: x; Name service error for name=far.example "
          "type=MX: Host not "
                "found, try again"), "routing"),
        (notice("Action: failed\nStatus: 5.1.1\nDiagnostic-Code: smtp; 550 5.1.1 refused by the recipient's "
          "settings"), "policy"),
        (notice("Action: failed\nStatus: 5.0.0", "La liste n'existe pas ou vous n'êtes pas autorisé à y écrire."),
         "policy"),
        (notice("Action: failed\nStatus: 5.1.0\nDiagnostic-Code: smtp; 553 5.1.0 member.example does not exist"),
         "sender"),
    ],
)  # fmt: skip
def test_a_neighbours_line_or_a_frame_gives_nobody_up(report: str, class_: str) -> None:
    assert made_of(report) == ("failed", class_, False)


DSN = notice("Action: failed\nStatus: 5.1.1\nDiagnostic-Code: smtp; 550 5.1.1 user unknown")


@pytest.mark.parametrize(
    "report",
    [
        f"From: postmaster@gw.example\nTo: {US}\nSubject: Undeliverable mail\nContent-Type: message/rfc822\n\n{DSN}",
        f"From: postmaster@gw.example\nTo: {US}\nSubject: report\nContent-Type: multipart/mixed; boundary=o\n\n--o\n"
        f"Content-Type: text/plain\n\nA report came for you.\n--o\nContent-Type: message/rfc822\n\n{DSN}\n--o--\n",
        f"To: {US}\nContent-Type: multipart/mixed; boundary=o\n\n--o\nContent-Type: message/rfc822\n"
        f"Content-Transfer-Encoding: base64\n\n{base64.encodebytes(DSN.encode()).decode()}\n--o--\n",
        f"Return-Path: <>\nFrom: gateway <gw@gw.example>\nTo: {US}\nSubject: returned\nContent-Type: message/rfc822\n\n"
        + prose(f"{QMAIL}<{BOB}>:\nSorry, no mailbox here by that name. (#5.1.1)\n"),
    ],
)
def test_a_report_within_a_message_is_read_where_no_person_sends_it(report: str) -> None:
    assert made_of(report) == ("failed", "mailbox_unknown", True)
    person = report.replace("postmaster@gw.example", "Ann <ann@gw.example>").replace("Return-Path: <>\n", "")
    if "From: Ann" in person:
        assert made_of(person)[0] in ("other", "auto_reply")


REPORTS = {
    "notificationType": "Bounce", "mail": {"messageId": "0100-" + "x" * 300, "destination": [BOB]},
    "bounce": {"bounceType": "Permanent", "bounceSubType": "General", "bouncedRecipients": [
        {"emailAddress": BOB, "action": "failed", "status": "5.1.1", "diagnosticCode": "smtp; 550 5.1.1 user "
          "unknown"}]},
}  # fmt: skip


@pytest.mark.parametrize("width", [60, 76, 78, 200])
@pytest.mark.parametrize("seam", ["\n", "\n ", "\n\t", "!\n "], ids=["cut", "blank", "tab", "sendmail"])
@pytest.mark.parametrize("within", [False, True], ids=["bare", "sns"])
def test_a_notification_whose_long_line_was_folded_is_read(width: int, seam: str, within: bool) -> None:
    text = json.dumps({"Type": "Notification", "Message": json.dumps(REPORTS)} if within else REPORTS)
    text = seam.join(text[i : i + width] for i in range(0, len(text), width))
    head = f"From: no-reply@sns.example\nTo: {US}\nSubject: AWS Notification Message"
    report = f"{head}\n\n{text}\n\n--\nTo stop, click.\n"
    assert made_of(report) == ("failed", "mailbox_unknown", True)


def receipt(text: str, disposition: str, recipient: str = f"Final-Recipient: rfc822; {BOB}") -> str:
    return (
        f"From: Mail Delivery Subsystem <postmaster@far.example>\nTo: {US}\nSubject: Automatically rejected mail\n"
        "Auto-Submitted: auto-replied (rejected)\nMIME-Version: 1.0\n"
        'Content-Type: multipart/report; report-type=disposition-notification; boundary="d"\n\n'
        f"--d\nContent-Type: text/plain\n\n{text}\n--d\nContent-Type: message/disposition-notification\n\n"
        f"Reporting-UA: mx.far.example; Dovecot\n{recipient}\nDisposition: {disposition}\n--d--\n"
    )


AUTOMATIC = "automatic-action/MDN-sent-automatically; deleted"


@pytest.mark.parametrize(
    ("report", "made"),
    [
        (receipt(f"Your message to <{BOB}> was automatically rejected:\nQuota exceeded (mailbox for user is full)",
                 AUTOMATIC), ("failed", "mailbox_full", False)),
        (receipt(f"Your message to <{BOB}> was automatically rejected:\nMailbox doesn't exist: bob", AUTOMATIC),
         ("failed", "mailbox_unknown", True)),
        (receipt(f"The message for {BOB} was rejected: no such user", AUTOMATIC.lower()),
         ("failed", "mailbox_unknown", True)),
        (receipt(f"Your message to <{BOB}> was automatically rejected:\nI take no mail from strangers", AUTOMATIC),
         ("failed", "unknown", False)),
        (receipt(f"Ihre Nachricht an {BOB} wurde abgelehnt: Postfach voll", AUTOMATIC, ""),
         ("failed", "mailbox_full", False)),
        (receipt("The message was refused by the mail filtering program: message is spam", AUTOMATIC),
         ("failed", "content", False)),
        # A receipt: somebody, or an emptied mailbox.
        (receipt("Your message was displayed.", "manual-action/MDN-sent-manually; displayed"), ("auto_reply", "-",
         False)),
        (receipt("Your message was deleted without being read.", AUTOMATIC), ("auto_reply", "-", False)),
        (receipt("I have rejected your paper.", "manual-action/MDN-sent-manually; deleted"), ("auto_reply", "-",
         False)),
        (receipt("The message was displayed; that it was rejected says nobody.",
                 "automatic-action/MDN-sent-automatically; displayed"), ("auto_reply", "-", False)),
    ],
)  # fmt: skip
def test_a_refusal_in_the_shape_of_a_receipt_is_a_bounce(report: str, made: tuple[str, str, bool]) -> None:
    assert made_of(report) == made


@pytest.mark.parametrize(
    "said",
    [
        "given up after 92 hours", "Delivery was abandoned after 5 days.", "We stopped trying after 3 days.",
        "The server gave up after 92 hours", "Your message has been returned.", "It was given up on after 40 tries",
        "Zustellung nach 92 Stunden aufgegeben", "abandonné après 4 jours", "abandonado después de 92 horas",
        "попытки прекращены", "已放弃投递", "配送を断念しました",
    ],
)
def test_a_delay_that_has_ended_is_an_end(said: str) -> None:
    late = f"The message to {BOB} has been delayed: 451 4.4.1 connection timed out; {said}\n"
    assert made_of(notice("Action: delayed\nStatus: 4.4.1", late))[0] == "failed"
    # As long as a date says until when it is tried, it is tried.
    assert made_of(notice("Action: delayed\nStatus: 4.4.1\nWill-Retry-Until: Sun, 6 Dec 2026 00:00:00 +0000",
     late))[0] == "delayed"
    assert made_of(prose(late))[0] == "failed"


@pytest.mark.parametrize("said", ["it is tried for 5 days before it is given up", "if it can't be delivered by then "
  "it is returned"])
def test_a_delay_that_foretells_its_end_is_none(said: str) -> None:
    assert made_of(notice("Action: delayed\nStatus: 4.4.1",
     f"The message to {BOB} is delayed; {said}."))[0] == "delayed"
