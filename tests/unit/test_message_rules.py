"""What the header of a message says of who wrote it: a person or a program."""

from __future__ import annotations

import pytest

from relay.message import is_automatic, parse


@pytest.mark.parametrize(("header", "automatic"), [
    ("Auto-Submitted: auto-replied", True), ("Auto-Submitted: auto-generated; by=cron", True),
    ("AUTO-SUBMITTED:\r\n Auto-Notified (a (nested) one) ; x=y", True),
    ("Auto-Submitted: (it is (quite \\) ) automatic) auto-replied", True),
    ("Auto-Submitted: No", False), ("Auto-Submitted: (auto-replied) no", False), ("Auto-Submitted: no (never)", False),
    ("Auto-Submitted: no; x=auto-replied", False), ("Auto-Submitted: (auto-replied)", False),
    ("Auto-Submitted: (auto-replied", False), ("Auto-Submitted: \"auto-replied\"", False), ("Auto-Submitted:", False),
    ("Auto-Submitted: no\r\nAuto-Submitted: auto-replied", False),
    ("Content-Type: Multipart/Report; report-type=delivery-status; boundary=b", True),
    ("Content-Type: (a report) multipart / report (of ours); boundary=b", True),
    ("Content-Type: multipart/report", True), ("Content-Type: multipart/reports; boundary=b", False),
    ("Content-Type: (multipart/report; ) multipart/mixed; boundary=b", False),
    ("Content-Type: text/plain; x=\"multipart/report\"", False), ("Subject: Away", False),
])  # fmt: skip
def test_what_a_program_wrote_is_known_whatever_comments_stand_in_it(header: str, automatic: bool) -> None:
    assert is_automatic(parse(f"From: a@b.test\r\n{header}\r\n\r\nx\r\n".encode())) is automatic
