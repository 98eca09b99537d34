"""Text can be read: every pair of text and ground in the style sheet has the contrast that WCAG 2.2 §1.4.3 asks for."""

from __future__ import annotations

import re

import pytest

from enroll.pages.static import FOLDER

CSS = (FOLDER / "posthouse.css").read_text(encoding="utf-8")
_ROOTS = re.findall(r":root \{(.*?)\n\s*\}", CSS, re.DOTALL)
PALETTES = [dict(re.findall(r"--([\w-]+): (#\w{6})", root)) for root in _ROOTS]
TEXT = (
    *((ink, ground) for ink in ("ink", "faint", "green", "bad") for ground in ("paper", "sheet", "code")),
    ("good", "good-bg"), ("warn", "warn-bg"), ("bad", "bad-bg"), ("green-ink", "green"),
    *((ink, ground) for ink in ("ink", "faint", "green") for ground in ("good-bg", "warn-bg", "bad-bg")),
)  # fmt: skip


def light(colour: str) -> float:
    """Relative luminance, 0 to 1."""
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    red, green, blue = (p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    dark, bright = sorted((light(one), light(other)))
    return (bright + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("palette", PALETTES, ids=["light", "dark"])
def test_text_stands_out_from_its_ground(palette: dict[str, str]) -> None:
    low = {pair: contrast(palette[pair[0]], palette[pair[1]]) for pair in TEXT}
    assert {pair: ratio for pair, ratio in low.items() if ratio < 4.5} == {}
    # §1.4.11: the edges of fields and buttons.
    assert min(contrast(palette["edge"], palette[ground]) for ground in ("paper", "sheet")) >= 3


def test_nothing_is_fetched_from_outside() -> None:
    for file in FOLDER.iterdir():
        found = re.findall(r"(?:url\(|@import|https?://)[^\s\"')]*", file.read_text(encoding="utf-8"))
        assert [f for f in found if f != "http://www.w3.org/2000/svg"] == []
