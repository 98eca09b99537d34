"""The relay's own letters: bytes that every reader reads alike, whatever stands in them."""

from __future__ import annotations

from email import message_from_bytes
from email.header import decode_header, make_header
from email.policy import compat32

from relay.base import names
from relay.message import Bounds, parse
from relay.notices import Notice, letter

US = "Posthouse <postmaster@relay.test>"
ANN = names.address("ann@example.org")


def test_a_letter_passes_the_gate_that_every_message_passes():
    raw = letter(US, ANN, Notice("Your domain", "Zeile eins – „ü“\n.\n" + "x" * 2000 + "\n"))
    parsed = parse(raw, Bounds())
    assert [f.name for f in parsed.fields] == [
        "from", "to", "subject", "auto-submitted", "mime-version", "content-type", "content-transfer-encoding",
    ]
    body = message_from_bytes(raw, policy=compat32).get_payload(decode=True).decode()
    assert body.splitlines()[0] == "Zeile eins – „ü“"
    assert max(len(line) for line in raw.split(b"\r\n")) <= 76


def test_no_value_begins_a_line_of_its_own():
    raw = letter(US, ANN, Notice("Hi\r\nBcc: evil@x.test", "text"), more={"X-A": "1\nX-B: 2"})
    names_found = [f.name for f in parse(raw, Bounds()).fields]
    assert "bcc" not in names_found
    assert "x-b" not in names_found


def test_controls_in_the_text_do_not_reach_the_reader():
    raw = letter(US, ANN, Notice("Hi", "found: \x1b[31mred\x00\r\nend"))
    body = message_from_bytes(raw, policy=compat32).get_payload(decode=True)
    assert b"\x1b" not in body
    assert b"\x00" not in body


def test_a_subject_in_any_script_reaches_the_reader():
    raw = letter(US, ANN, Notice("Prüfung – 試験 " + "ü" * 30, "text"))
    head = raw.split(b"\r\n\r\n")[0]
    assert head.isascii()
    found = message_from_bytes(raw, policy=compat32)["Subject"]
    assert str(make_header(decode_header(found))) == "Prüfung – 試験 " + "ü" * 30
    assert all(len(word) <= 75 for line in found.splitlines() for word in line.split(" "))
