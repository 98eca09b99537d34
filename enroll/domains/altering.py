"""What becomes of an enrolled domain when its owner changes options: values of its row. Pure.

Promises that a proof which stands is kept: other records start a wait for themselves, never for the whole domain.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from enroll.domains.lifecycle import Features
from enroll.domains.model import features_of, lasting, noting
from relay.base.clock import DAY
from relay.base.config import Config
from relay.base.domain_options import Notes, Options, columns
from relay.base.storage.domains import Row

_LEFT_MOST = 20


def altering(
    row: Row, before: Options, after: Options, notes: Notes, *, now: float, config: Config
) -> tuple[dict[str, Any], bool]:
    """The columns of `row` that change with its options, and whether other records follow. `notes`: those of the row,
    with what is noted of the change itself."""
    soon = now + config.enrollment.recheck_pending_seconds
    if before.asks_for == after.asks_for:
        if row.state == "pending" and row.next_check_at is None:
            # The clock had given it up, and somebody is at work there again.
            return columns(after, replace(notes, pending_since=now)) | {"next_check_at": soon}, False
        return ({} if (after, notes) == (before, Notes.of(row)) else columns(after, notes)), False
    was = features_of(row, before, Notes.of(row))
    features = altered(before, after, was)
    notes = noting(replace(notes, regenerated=True), after, features)
    notes = leaving(notes, after, before, was, features, now=now, config=config)
    if row.state in ("pending", "verified"):
        # A domain that was proved once needs what no option asks for: that is missing as it was.
        missing = notes.missing if row.first_verified_at is not None else ()
        notes = replace(notes, pending_since=now, missing=missing)
    # Old findings answer no question any more.
    values: dict[str, Any] = columns(after, notes) | {
        "findings": lasting(row.findings), "checked_at": None,
        "return_path_ok": bool(features.path), "tracking_ok": features.tracking,
    }
    if row.state == "pending":
        values |= {"next_check_at": soon, "failing": 0, "reason": ""}
    elif row.state == "verified":
        values |= {"next_check_at": soon if row.next_check_at is None else min(soon, row.next_check_at)}
    return values, True


def altered(before: Options, after: Options, was: Features) -> Features:
    """The features of `after`, where `before` had those in `was`: what is proved goes on, what is new waits.

    A return path serves until the one in its place is seen; another tracking host or a new MX begins when it is.
    """
    old, new = before.asks_for, after.asks_for
    path = was.path if after.return_path else ""
    proved = {"return_path"} if path and path == after.custom_subdomain else set()
    awaits = (name for name, record in new.items() if old.get(name) != record or name in was.awaits)
    return Features(
        tuple(name for name in awaits if name not in proved), path,
        was.tracking and old.get("tracking") == new.get("tracking"),
    )


def leaving(
    notes: Notes, options: Options, before: Options, was: Features, features: Features, *, now: float, config: Config
) -> Notes:
    """`notes` with the hosts of `before` that `options` use no more in `left`, each as "purpose label until" (Unix
    seconds).

    Mail under way, scheduled mail too, bears its return path, and readers follow links for as long as those lead on:
    the relay's own zone answers for such a host until then. Of a domain that is not hosted, its owner does.
    """
    e = config.enrollment
    lasts = {
        "return_path": config.delivery.max_age_seconds + (config.http.max_schedule_days + e.retiring_days) * DAY,
        "tracking": config.tracking.links_days * DAY,
    }
    gone = {}
    if was.path and was.path != features.path:
        gone["return_path"] = was.path
    tracked = before.asks_for.get("tracking")
    if tracked and "tracking" not in was.awaits and options.asks_for.get("tracking") != tracked:
        gone["tracking"] = before.tracking_label
    kept = [one for one in notes.left if float(one.split(" ")[2]) > now]
    kept += [f"{purpose} {label} {now + lasts[purpose]:.0f}" for purpose, label in gone.items()]
    # The newest of each host, and no more of them than somebody has reason for.
    newest = {tuple(one.split(" ")[:2]): one for one in kept}
    return replace(notes, left=tuple(newest.values())[-_LEFT_MOST:])


def left(notes: Notes) -> list[tuple[str, str]]:
    """(purpose, label) of each host that is in use no more."""
    return [(purpose, label) for purpose, label, _ in (one.split(" ") for one in notes.left)]
