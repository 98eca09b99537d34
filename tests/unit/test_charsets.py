"""What a charset's label means, where no browser is needed to say so. `tests/pages/test_charsets.py` asks one."""

import pytest

from relay.base.charsets import LABELS, charset, look
from relay.tracking.template import view


@pytest.mark.parametrize(
    ("label", "octets", "text"),
    [
        ("UTF8", b"\xc3\xbc", "ü"),
        (" Latin1 ", b"\x92", "’"),
        ("latin-1", b"\x92", "’"),
        ("us-ascii", b"\x80", "€"),
        ("iso-8859-1", b"\x81", "\x81"),
        ("gb2312", b"\x80 \xa8\xbf \x81\x30\x81\x30", "€ ǹ \x80"),
        ("cp936", b"\xfd\x9b", "龥"),
        ("cp949", b"\x8c\x63", "똠"),
        ("cp950", b"\xf9\xd6", "碁"),
        ("big5", b"\xf9\xd6\x88\x56", "碁Ā"),
        ("cp437", b"\x81\xe1", "üß"),
        ("cp850", b"\x9b", "ø"),
        ("cp866", b"\x80", "А"),
        ("cp874", b"\x80\x81", "€\x81"),
        ("tis-620", b"\xca", "ส"),
        ("windows-31j", b"\xfb\xfc", "髙"),
        ("cp932", b"\x87\x40", "①"),
        ("shift_jis", b"\xfb\xfc", "髙"),
        ("euc-jp", b"\xad\xa1\x8e\xb1\x8f\xb0\xa1~", "①ｱ丂~"),
        ("iso2022jp", b"\x1b$B-!\x1b(Ba", "①a"),
        ("iso-2022-jp", b"\x1b(I1\x1b(J\\~\x1b(B\\~", "ｱ¥‾\\~"),
        ("iso-2022-jp", b"\x1b$@0l\x1b(J", "一"),
        ("iso-2022-jp-2", b"\x1b$B0l\x1b(B", "一"),
        ("iso-2022-kr", b"\x1b$)C\x0e0!\x0f", "가"),
        ("hz-gb-2312", b"~{VP~}", "中"),
        ("iso-8859-8-i", b"\xe0", "א"),
        ("unicode", b"a\0", "a"),
        ("utf-16", b"\xfe\xff\0a", "a"),
        ("utf-16be", b"\xff\xfea\0", "a"),
    ],
)
def test_a_label_means_what_readers_take_it_to_mean(label: str, octets: bytes, text: str) -> None:
    found = charset(label)
    assert found is not None
    assert found.read(octets) == text
    assert look(octets, label) == text


@pytest.mark.parametrize(
    "label",
    ["utf-7", "UTF_7", "u7", "unicode-1-1-utf-7", "x-unknown", "", "rot13", "base64", "zip", "idna", "punycode",
     "undefined", "unicode_escape", "raw_unicode_escape", "charmap", "mbcs", "aliases", "utf-8-sig", "iso-2022-cn",
     "replacement", "x-user-defined", "a" * 70, "utf-8\0", "..", "utf 8"],
)  # fmt: skip
def test_a_label_that_nobody_knows_names_no_charset(label: str) -> None:
    assert charset(label) is None
    assert view(b"<a href='x'>", label) is None
    assert look("grün".encode(), label) == "grün"


@pytest.mark.parametrize("label", sorted({*LABELS, "cp437", "iso-2022-kr", "hz", "cp037", "cp950", "johab"}))
def test_what_is_written_reads_back(label: str) -> None:
    found = charset(label)
    assert found is not None
    for text in ("Hello", "äöü€", "日本語", "привет", "한국어", "中文", "～−∥①"):
        try:
            octets = found.write(text)
        except UnicodeEncodeError:
            continue
        assert found.read(octets) == text


@pytest.mark.parametrize("label", sorted(LABELS))
def test_octets_that_are_no_text_are_refused_or_shown(label: str) -> None:
    found = charset(label)
    assert found is not None
    for octets in (b"\xff", b"\x80\xff", b"\x1b$B0", b"\x1b$B\x80\x80", b"\x8f\xa1", b"\x0e", b"\xa1", b"\xfc\xfc"):
        shown = found.read(octets, "replace")
        try:
            assert found.read(octets) == shown
        except UnicodeError:
            assert "\ufffd" in shown


def test_where_markup_can_not_be_part_of_another_character() -> None:
    for label in LABELS:
        found = charset(label)
        assert found is not None
        assert found.like_ascii is (found.name not in ("iso-2022-jp", "utf-16le", "utf-16be"))
    for label in ("hz", "iso-2022-kr", "johab", "cp037", "utf-32"):
        found = charset(label)
        assert found is not None
        assert not found.like_ascii
