"""What becomes of an enrolled domain when its owner changes options: values of its row. Pure.

Promises that a proof which stands is kept: other records start a wait for themselves, never for the whole domain.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from enroll.domains.model import Options, affects_dns, features_of, marked, published
from enroll.domains.states import Features
from relay.base.storage.domains import Row


def altering(
    row: Row, before: Options, after: Options, *, now: float, soon_seconds: float
) -> tuple[dict[str, Any], bool]:
    """The columns of `row` that change with its options, and whether other records follow. `soon_seconds`: when they
    are looked for."""
    soon = now + soon_seconds
    if not affects_dns(before, after):
        if row.state == "pending" and row.next_check_at is None:
            # The clock had given it up, and somebody is at work there again.
            return {"options": replace(after, pending_since=now).stored(), "next_check_at": soon}, False
        return ({} if after == before else {"options": after.stored()}), False
    options, features = altered(before, replace(after, regenerated=True), features_of(row, before))
    if row.state in ("pending", "verified"):
        options = replace(options, pending_since=now, missing=())
    # Old findings answer no question any more.
    values: dict[str, Any] = {
        "options": options.stored(), "findings": None, "checked_at": None, "return_path_ok": bool(features.path),
        "tracking_ok": features.tracking,
    }
    if row.state == "pending":
        values |= {"next_check_at": soon, "failing": 0, "reason": ""}
    elif row.state == "verified":
        values |= {"next_check_at": soon if row.next_check_at is None else min(soon, row.next_check_at)}
    return values, True


def altered(before: Options, after: Options, was: Features) -> tuple[Options, Features]:
    """`after` and its features, where `before` had those in `was`: what is proved goes on, what is new waits.

    A return path serves until the one in its place is seen; another tracking host or a new MX begins when it is.
    """
    old, new = published(before), published(after)
    path = was.path if after.return_path else ""
    proved = {"return_path"} if path and path == after.custom_subdomain else set()
    awaits = (name for name, record in new.items() if old.get(name) != record or name in before.awaits)
    features = Features(
        tuple(name for name in awaits if name not in proved), path,
        was.tracking and old.get("tracking") == new.get("tracking"),
    )
    return marked(after, features), features
