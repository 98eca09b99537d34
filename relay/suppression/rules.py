"""What an entry stops: categories of mail, reasons, and the refusal that says so. Pure."""

from __future__ import annotations

from relay import replies
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
