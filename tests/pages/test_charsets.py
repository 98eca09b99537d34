"""Our reader of charsets beside a browser's: every label, every octet, every pair of octets."""

from __future__ import annotations

from typing import Any

from relay.base.charsets import LABELS, charset
from tests.pages.conftest import IN_BROWSER

pytestmark = IN_BROWSER

# Where Python's codecs have other characters than the standard's tables, or none. Four octets of Shift_JIS that nobody
# assigned; GB 18030 as of 2005, which moved these out of the private area; HKSCS as of 2008, which added to 2004.
DIFFER = {
    "shift_jis": "a0 fd-ff",
    "gb18030": "a3a0 a6d9-a6df a6ec-a6ed a6f3 a8bc fe59 fe61 fe66-fe67 fe6d fe7e fe90 fea0",
    "big5": "877a-87df 8862 8864 88a3 88a5 8e69 8e6f 8e7e 8eab 8eb4 8ecd 8ed0 8f57 8f69 8f6e 8fcb-8fcc 8ffe 906d 907a "
            "90dc 90f1 91bf 9244 92af-92b2 92c8 92d1 9447 94ca 95d9 9644 96ed 96fc 9b76 9b78 9b7b 9bc6 9bde 9bec 9bf6 "
            "9c42 9c53 9c62 9c68 9c6b 9c77 9cbc-9cbd 9cd0 9d57 9d5a 9dc4 9ea9 9eef 9efd 9f60 9f66 9fcb 9fd8 a063 a077 "
            "a0d5 a0df a0e4 a145 a14e a1c2 a1e3 a1f2-a1f3 a241-a242 a244 a246-a247 a3c0-a3e1 c6cf c6d3 c6d5 c6d7 "
            "c6de-c6df fa5f fa66 fabd fac5 fad5 fb48 fbb8 fbf3 fbf9 fc4f fc6c fcb9 fce2 fcf1 fdb7-fdb8 fdbb fdf1 fe52 "
            "fe6f feaa fedd",
    "jis x 0212": "a2b7",
}  # fmt: skip
DIFFER["gbk"] = DIFFER["gb18030"]

READ = """
([label, before, after, firsts, seconds]) => {
  const out = [];
  for (const a of firsts) for (const b of seconds) {
    const octets = [...before, a, ...(b < 0 ? [] : [b]), ...after];
    try { out.push(new TextDecoder(label, {fatal: true, ignoreBOM: true}).decode(new Uint8Array(octets))) }
    catch { out.push(null) }
  }
  return out;
}
"""
HIGH, ALL = list(range(0x80, 0x100)), list(range(256))


async def differences(
    page: Any, label: str, firsts: list[int], seconds: list[int], before: bytes = b"", after: bytes = b""
) -> set[str]:
    """The octets, in hexadecimal, that we read otherwise than the browser."""
    theirs = await page.evaluate(READ, [label, list(before), list(after), firsts, seconds])
    found = charset(label)
    assert found is not None
    apart = set()
    for at, text in enumerate(theirs):
        first, second = firsts[at // len(seconds)], seconds[at % len(seconds)]
        octets = bytes([first] if second < 0 else [first, second])
        try:
            ours = found.read(before + octets + after)
        except UnicodeError:
            ours = None
        if ours != text:
            apart.add(octets.hex())
    return apart


def listed(name: str) -> set[str]:
    out: set[str] = set()
    for word in DIFFER.get(name, "").split():
        first, _, last = word.partition("-")
        out.update(f"{n:x}" for n in range(int(first, 16), int(last or first, 16) + 1))
    return out


async def test_every_label_is_the_browsers(browser: Any) -> None:
    page = await browser.new_page()
    theirs = await page.evaluate("labels => labels.map(l => new TextDecoder(l).encoding)", list(LABELS))
    assert theirs == list(LABELS.values())


async def test_every_octet_reads_as_in_the_browser(browser: Any) -> None:
    page = await browser.new_page()
    for name in sorted(set(LABELS.values())):
        wanted = {octets for octets in listed(name) if len(octets) == 2}
        assert await differences(page, name, ALL, [-1]) == wanted, name


async def test_every_pair_reads_as_in_the_browser(browser: Any) -> None:
    page = await browser.new_page()
    for name in ("gbk", "big5", "euc-jp", "shift_jis", "euc-kr"):
        known = listed(name)
        single = {octets for octets in known if len(octets) == 2}
        found = await differences(page, name, HIGH, ALL)
        # An octet that is read otherwise makes every pair differ that it begins, or ends behind one by itself.
        found = {pair for pair in found if not {pair[:2], pair[2:]} & single}
        assert found - known == set(), name
        # 877E and 87A1 have no pairs between them.
        assert {pair for pair in known if len(pair) == 4} - found <= {f"87{n:x}" for n in range(0x7F, 0xA1)}, name


async def test_every_pair_of_iso_2022_jp_and_jis_x_0212_reads_as_in_the_browser(browser: Any) -> None:
    page = await browser.new_page()
    low, high = list(range(0x21, 0x7F)), list(range(0xA1, 0xFF))
    assert await differences(page, "iso-2022-jp", low, low, b"\x1b$B", b"\x1b(B") == set()
    assert await differences(page, "iso-2022-jp", low, [-1], b"\x1b(I", b"\x1b(B") == set()
    assert await differences(page, "iso-2022-jp", low, [-1], b"\x1b(J", b"\x1b(B") == set()
    assert await differences(page, "euc-jp", high, high, b"\x8f") == listed("jis x 0212")
