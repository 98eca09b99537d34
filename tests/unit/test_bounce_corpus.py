"""Reports as the mail systems of the world write them, each in its own shape, and what can happen to them on the way.

`tests/data/reports/table.tsv` says of each file what a reader makes of it: the kind of report and, for the recipient
bob@far.example, action, class, the address named, status, and whether the address is no longer mailed.
"""

from __future__ import annotations

import json
import random
import re
import time
from pathlib import Path

import pytest

from relay.bounces.classify import classify
from relay.bounces.parse import SUCCEEDED, Report, parse
from relay.bounces.record import judge

FOLDER = Path(__file__).parents[1] / "data" / "reports"
ROWS = [line.split("\t") for line in (FOLDER / "table.tsv").read_text().splitlines()[1:]]
SAMPLES = {row[0]: (FOLDER / f"{row[0]}.eml").read_bytes() for row in ROWS}
BOB = "bob@far.example"
COMPLAINTS = ("abuse", "fraud", "virus", "other")


def made_of(report: Report) -> tuple[str, ...]:
    """A report as a row of the table."""
    fate = report.fate_of(BOB)
    if fate is None:
        complaint = report.kind == "complaint" and report.feedback in COMPLAINTS
        return (report.kind, "-", "-", "-", "-", str(int(complaint)))
    final, why = judge(fate)
    suppresses = final and why.address_fault and fate.action not in SUCCEEDED
    class_ = "-" if fate.action in SUCCEEDED else why.class_
    return (report.kind, fate.action or "-", class_, fate.final or "-", fate.status or "-", str(int(suppresses)))


@pytest.mark.parametrize("ends", [b"\n", b"\r\n"], ids=["lf", "crlf"])
def test_a_report_is_read_for_what_it_is(ends: bytes) -> None:
    read = {}
    for name, raw in SAMPLES.items():
        # Mixed line ends are that sample's own trouble.
        read[name] = parse(raw if name == "mixed-ends" else raw.replace(b"\n", ends))
    wrong = {row[0]: read[row[0]] for row in ROWS if made_of(read[row[0]]) != tuple(row[1:])}
    assert wrong == {}
    assert len(read) == len(ROWS) > 400


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("qmail-unknown", "Sorry, no mailbox here by that name. (#5.1.1)"),
        ("qmail-host", "Sorry, I couldn't find any host named far.example. (#5.1.2)"),
        ("qmail-remote", "550 5.1.1 <bob@far.example> unknown recipient Giving up on 192.0.2.7."),
        ("exim-domain", "all relevant MX records point to non-existent hosts"),
        ("exim-unknown", "550 5.1.1 No such user"),
        ("postfix-text-only", 'unknown user: "bob"'),
        ("mcafee", "User unknown"),
        ("yahoo-deferred", "No MX or A records for far.example"),
        ("jp-words", "宛先不明のため届けられませんでした。"),
    ],
)
def test_what_people_are_shown_is_the_sentence_that_says_why(name: str, says: str) -> None:
    fate = parse(SAMPLES[name]).fate_of(BOB)
    assert fate is not None
    assert " ".join(fate.diagnostic.split()) == says


def test_every_sample_stands_in_the_table() -> None:
    assert {p.stem for p in FOLDER.glob("*.eml")} == set(SAMPLES)


@pytest.mark.parametrize("kind", ["auto_reply", "other"])
def test_what_is_no_report_stays_none_when_it_is_cut_anywhere(kind: str) -> None:
    # A lure that bears a mail system's name is known by its link alone.
    for name in (row[0] for row in ROWS if row[1] == kind and "spam" not in row[0]):
        # Behind its header a note stays a note; before, nobody could tell. An administrator's is known by its words.
        if parse(SAMPLES[name]).shape == "person":
            continue
        head, _, _ = SAMPLES[name].partition(b"\n\n")
        for at in range(len(head) + 2, len(SAMPLES[name]), 97):
            assert parse(SAMPLES[name][:at]).kind not in ("bounce", "complaint"), (name, at)


def test_spoiled_on_the_way_a_report_is_still_read_without_an_exception() -> None:
    chance = random.Random(5965)
    for name, raw in SAMPLES.items():
        lines = raw.split(b"\n")
        spoiled = [b"\n".join(lines[:at]) for at in range(0, len(lines), 23)]
        for _ in range(2):
            some = list(lines)
            at = chance.randrange(len(some))
            match chance.randrange(5):
                case 0:
                    del some[at : at + chance.randrange(1, 6)]
                case 1:
                    some[at:at] = some[: chance.randrange(len(some))]
                case 2:
                    some[at] = bytes(chance.randrange(256) for _ in range(40))
                case 3:
                    some = [re.sub(rb"charset=[\w-]+", b"charset=utf-16", line) for line in some]
                case _:
                    chance.shuffle(some)
            spoiled.append(b"\n".join(some))
        for octets in spoiled:
            report = parse(octets)
            report.fate_of(BOB)
            for fate in report.fates:
                judge(fate)
            assert isinstance(report, Report), name


@pytest.mark.parametrize("charset", ["utf-7", "idna", "punycode", "unicode_escape", "zlib", "x" * 999, "utf-16"])
def test_no_charset_is_a_program(charset: str) -> None:
    raw = SAMPLES["exim-unknown"].replace(b"\n\n", f"\nContent-Type: text/plain; charset={charset}\n\n".encode(), 1)
    assert parse(raw).kind == "bounce"


def _nested(levels: int) -> bytes:
    heads = b"".join(b"Content-Type: multipart/mixed; boundary=b%d\r\n\r\n--b%d\r\n" % (n, n) for n in range(levels))
    return b"From: mailer-daemon@far.example\r\n" + heads + b"\r\nend"


@pytest.mark.parametrize(
    "raw",
    [
        b"From: mailer-daemon@x\r\nSubject: failure notice\r\n\r\n" + b"<bob@far.example>: 550 no\r\n" * 1_000_000,
        b"Content-Type: multipart/report; boundary=x\r\n\r\n" + b"--x\r\n\r\ntext\r\n" * 10_000,
        b"Content-Type: multipart/report; boundary=x\r\n\r\n" + b"--xy\r\n" * 100_000,
        _nested(5_000),
        b"From: mailer-daemon@x\r\n\r\n" + b"a@" * 400_000,
        b"From: mailer-daemon@x\r\n\r\nthe following address " + b"a" * 800_000,
        b"From: mailer-daemon@x\r\nContent-Type: text/html\r\n\r\n<html>" + b"<br <p &lt;" * 80_000,
        b"From: mailer-daemon@x\r\nSubject: " + b"=?utf-8?q?" * 100_000 + b"\r\n\r\nfailed",
        b"From: mailer-daemon@x\r\n\r\n" + b"Final-Recipient: rfc822;a@b\r\nAction: failed\r\n" * 20_000,
        b"From: mailer-daemon@x\r\n\r\n" + b"----- " * 150_000,
        b"From: mailer-daemon@x\r\nSubject: failure notice\r\n\r\nx" + b"\r\n" * 400_000,
        b"From: mailer-daemon@x\r\nSubject: failure notice\r\n\r\nx" + b" \t\n" * 300_000,
        b"Content-Type: message/delivery-status\r\n\r\nFinal-Recipient: a@b\r\nDiagnostic-Code: " + b"user " * 200_000,
    ],
    ids=["25-mb", "parts", "lookalikes", "depth", "ats", "word", "html", "encoded", "groups", "dashes", "lines",
        "blanks", "diagnostic"],
)
def test_hostile_reports_cost_no_more_than_their_octets(raw: bytes) -> None:
    began = time.process_time()
    for fate in parse(raw).fates:
        judge(fate)
    # Linear reading of the first MiB takes a fraction of a second; what grows with the square takes minutes.
    assert time.process_time() - began < 5


@pytest.mark.parametrize(
    ("status", "text", "class_", "suppresses"),
    [
        # The number says the address, the words say the host: nobody's address pays for that.
        ("5.1.1", "550 5.1.1 rejected: your IP 192.0.2.1 is listed on a blacklist", "reputation", False),
        ("5.1.1", "550 5.1.1 sender address rejected: user unknown", "sender", False),
        ("5.1.1", "550 5.1.1 <spam@unknown-user.spamhaus.example>: no", "reputation", False),
        # Names of hosts and mailboxes are no words.
        ("", "550 host spamfilter.far.example said: user unknown", "mailbox_unknown", True),
        ("", "550 <quota@far.example>: No such user here", "mailbox_unknown", True),
        ("5.7.1", "550 5.7.1 <bob@far.example>: Recipient address rejected: by policy", "policy", False),
        ("5.7.1", "554 5.7.1 <bob@far.example>: Recipient address rejected: User unknown", "mailbox_unknown", True),
        ("5.5.1", "500 5.5.1 Command not recognized", "protocol", False),
        ("", "554 delivery error: This account has been disabled or discontinued", "mailbox_disabled", False),
        ("5.1.1", "550 5.1.1 account disabled", "mailbox_disabled", True),
        ("5.2.1", "550 5.2.1 mailbox disabled", "mailbox_disabled", False),
        ("", "550 account temporarily disabled", "mailbox_disabled", False),
        ("", "550 #5.1.0 Address rejected.", "mailbox_unknown", True),
        ("", "550 relay not permitted", "policy", False),
        ("", "553 sorry, that domain isn't in my list of allowed rcpthosts (#5.7.1)", "policy", False),
        ("", "550 Sender verification failed: no such user", "sender", False),
        ("4.4.3", "Name service error for name=far.example: Host not found, try again", "routing", False),
        ("5.1.6", "551 5.1.6 The recipient has moved", "moved", True),
        ("5.0.0", "550 4.1.1 try later, unverified address", "mailbox_unknown", False),
        ("5.1.1", "450 4.1.1 User unknown in table", "mailbox_unknown", False),
        ("5.4.7", "550 5.4.7 Delivery expired", "expired", False),
        ("", "552 Requested mail action aborted: exceeded storage allocation", "mailbox_full", False),
        ("", "550 boîte pleine", "mailbox_full", False),
        ("", "550 такой пользователь не найден", "mailbox_unknown", True),
    ],
)
def test_words_and_numbers_that_contradict(status: str, text: str, class_: str, suppresses: bool) -> None:
    found = classify(status, text)
    assert (found.class_, found.address_fault) == (class_, suppresses)


def test_the_sentences_of_the_worlds_hosts_say_their_class() -> None:
    lines = (FOLDER.parent / "phrases.tsv").read_text("utf-8").splitlines()[1:]
    wanted = {text: class_ for class_, text in (line.split("\t") for line in lines)}
    assert {text: classify("", f"550 {text}").class_ for text in wanted} == wanted


@pytest.mark.parametrize(
    "text",
    [
        # What may be said of a server, an error or a sender gives up nobody's address, in any language.
        "550 unbekannter Fehler", "550 erreur inconnue", "550 error desconocido", "550 сервер не найден",
        "550 找不到服务器", "550 서버를 찾을 수 없습니다", "550 onbekende fout", "550 発信サーバーが不明です",
        "550 Absenderadresse existiert nicht", "550 expéditeur refusé: adresse inexistante",
        "550 el remitente no existe", "550 发件人地址不存在", "550 отправитель не существует",
        "550 IP-Adresse gesperrt", "550 IP заблокирован",
        # Nor what may be, or is said of somebody else.
        "550 not accepted, check the address if it is not valid", "550 your account is not registered here",
        "550 user not allowed to send from this host", "550 the sender is not a known user",
        "550 something went wrong while looking at the recipient",
        "550 this account is inactive", "550 user's mailbox blocked your address", "550 Client host name not found",
        "550 HELO host does not exist", "550 No such domain for sender",
        "550 MAIL FROM address news@member.example does not exist",
        # The number alone says the address; what stands beside it says that it is not for good, or ours.
        "550 5.1.1 Your IP address is not permitted to send to this server",
        "550 5.1.1 mailbox temporarily unavailable", "550 5.1.1 temporarily rejected, try again later",
        "550 5.1.1 mail from 192.0.2.10 not accepted", "550 5.1.1 Access denied to 192.0.2.10",
        "550 5.1.1 news@member.example is not a valid sender",
    ],
)  # fmt: skip
def test_a_riddle_gives_up_no_address(text: str) -> None:
    assert not classify("", text).address_fault


@pytest.mark.parametrize(
    "text",
    [
        "550 5.1.1 <temporary@contemporary.example>: Recipient address rejected: User unknown",
        "550 5.1.1 User unknown. Mail From: <news@member.example>", "550 5.1.1 user unknown, check your address book",
        "550 5.1.1 <bob@far.example>: user unknown; host mx.far.example[192.0.2.7]",
    ],
)  # fmt: skip
def test_an_address_that_is_gone_is_given_up_whatever_stands_around_it(text: str) -> None:
    assert classify("", text).address_fault


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("qm-nomb", "Sorry, no mailbox here by that name. (#5.1.1)"),
        ("opensmtpd-exp", "Envelope expired"),
        ("imail-2", "Unknown user"),
        ("ses-json", "550 5.1.1 user unknown"),
        ("zh-qq", "退信原因：收件人的邮箱容量已满，无法接收邮件。"),
    ],
)
def test_what_a_report_says_is_the_sentence_about_the_recipient(name: str, said: str) -> None:
    fate = parse(SAMPLES[name]).fate_of(BOB)
    assert fate is not None
    assert said in fate.diagnostic


@pytest.mark.parametrize(
    ("shown", "row"),
    [
        ({"notificationType": "Bounce", "bounce": {"bounceType": "Permanent", "bounceSubType": "NoEmail",
          "bouncedRecipients": [{"emailAddress": BOB}]}}, ("bounce", "failed", "mailbox_unknown", BOB, "5.1.1", "1")),
        ({"eventType": "Bounce", "bounce": {"bounceType": "Transient", "bounceSubType": "MailboxFull",
          "bouncedRecipients": [{"emailAddress": BOB}]}}, ("bounce", "failed", "mailbox_full", BOB, "4.2.2", "0")),
        ({"eventType": "Bounce", "bounce": {"bounceType": "Transient", "bounceSubType": "NoEmail",
          "bouncedRecipients": [{"emailAddress": BOB}]}}, ("bounce", "failed", "mailbox_unknown", BOB, "4.1.1", "0")),
        ({"notificationType": "Delivery", "delivery": {"recipients": [BOB], "smtpResponse": "250 ok"}},
         ("bounce", "delivered", "-", BOB, "-", "0")),
        ({"eventType": "DeliveryDelay", "deliveryDelay": {"delayedRecipients": [{"emailAddress": BOB}]}},
         ("bounce", "delayed", "unknown", BOB, "-", "0")),
        ({"Type": "Notification", "Message": json.dumps({"notificationType": "Complaint", "complaint": {}})},
         ("complaint", "-", "-", "-", "-", "1")),
        ({"eventType": "Open", "open": {}}, ("other", "-", "-", "-", "-", "0")),
        ({"notificationType": "Bounce", "bounce": [], "x": "[" * 5_000}, ("other", "-", "-", "-", "-", "0")),
        ({"notificationType": ["Bounce"], "bounce": {"bouncedRecipients": "x"}}, ("other", "-", "-", "-", "-", "0")),
    ],
)  # fmt: skip
def test_a_notification_in_json_is_read_like_a_report(shown: dict[str, object], row: tuple[str, ...]) -> None:
    raw = b"From: no-reply@sns.example\nSubject: Notification\n\n" + json.dumps(shown).encode()
    assert made_of(parse(raw)) == row
    for at in range(50, len(raw), 7):
        assert parse(raw[:at] + b"[" * 50_000).kind in (row[0], "other")
