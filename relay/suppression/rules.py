"""An entry, made of words that came from outside, and what it stops: categories of mail, reasons, the refusal. Pure."""

from __future__ import annotations

import unicodedata

from relay import replies
from relay.base import names
from relay.base.clock import iso
from relay.base.storage.suppressions import Suppression
from relay.replies import Verdict

USER_INITIATED = frozenset({"login-link", "password-reset", "mfa-otp", "verification"})
TRANSACTIONAL = USER_INITIATED | {"transactional"}
BULK = frozenset({"bulk", "broadcast"})
CATEGORIES = TRANSACTIONAL | BULK
REASONS = {
    "unsubscribe": "unsubscribed",
    "complaint": "reported your mail as spam",
    "hard_bounce": "the address does not exist",
    "manual": "added by hand",
    "import": "from an imported list",
}
"""Every reason, and what it means in words."""


def applies(found: Suppression, category: str) -> bool:
    """Whether an entry stops mail of this category."""
    if found.reason == "unsubscribe" and category in USER_INITIATED:
        return False
    return not found.categories or category in found.categories.split()


def stops(found: Suppression, door: str, category: str, usual: str) -> bool:
    """Whether an entry stops this message. By SMTP the header that names its `category` may only make the key's
    `usual` one stricter, so there only that one opens the way past an unsubscribe."""
    if applies(found, category):
        return True
    return door == "smtp" and usual not in USER_INITIATED and applies(found, "bulk")


def in_words(found: Suppression) -> str:
    """What the sender of waiting mail is told of an entry."""
    what = REASONS.get(found.reason, found.reason)
    return f"on the suppression list since {iso(found.created_at)} ({found.reason}): {what}"


def refusal(found: Suppression) -> Verdict:
    """The loud refusal of a suppressed recipient: since when and why."""
    since = iso(found.created_at)
    extra = {"reason": found.reason, "since": since, "recipient": found.original}
    saw = f"{found.reason} since {since}"
    if found.categories:
        extra["categories"] = found.categories.split()  # type: ignore[assignment]
        saw = f"{found.reason} ({', '.join(found.categories.split())}) since {since}"
    return Verdict(replies.SUPPRESSED, saw=saw, extra=extra, member_id=found.member_id)


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
