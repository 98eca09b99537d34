"""What may stand on a list: one entry, made of words that came from outside. Pure.

Promises that every text in an entry can be stored and shown on one line, and that the address is kept as it was
written beside its canonical form.
"""

from __future__ import annotations

import unicodedata

from relay.base import names
from relay.base.storage.suppressions import Suppression
from relay.suppression.rules import BULK

_ORIGINAL_MAX = 320
DETAIL_MAX = 500
_UNSHOWN = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})


def entry(
    member_id: int, address: str, reason: str, detail: str, at: float, categories: str = ""
) -> Suppression:
    """An entry for a member's list; `at` is Unix seconds. Raises names.BadName when `address` is none."""
    given = address.strip()
    found = names.address(given)
    original = given if len(given) <= _ORIGINAL_MAX else found.text
    kept = sorted(BULK.intersection(categories.split())) if reason == "unsubscribe" else []
    return Suppression(0, member_id, names.canonical(found), original, reason, one_line(detail), at, " ".join(kept))


def one_line(text: str) -> str:
    """A note as it is kept: one line, nothing that can't be seen, at most 500 characters."""
    flat = " ".join(text[: 4 * DETAIL_MAX].split())
    if not flat.isprintable():
        flat = "".join("?" if unicodedata.category(c) in _UNSHOWN else c for c in flat)
    return flat[:DETAIL_MAX]
