"""Reading what comes back: octets → a `Report`. Pure; whatever the octets, an answer and never an exception.

Asked in this order, the first that fits decides:

1. `feedback`: a complaint (RFC 5965), or a receipt that somebody has read it (RFC 8098), which says nothing here.
2. `status`: a delivery status notification (RFC 3464), also one that is broken.
3. `notification`: what a sending service tells in JSON.
4. `automatic`: an answer nobody wrote: a vacation note, a ticket number, a challenge.
5. `prose`: a bounce for people only, in the forms that mail systems write (qmail, Exim, sendmail, Exchange, Yahoo …).

6. `enclosed`: a report that a mail system sends on, where the message around it says nothing itself.

What a report means for a recipient is decided by `relay.bounces.record`; which addresses it names decides nothing.
"""

from __future__ import annotations

from relay.bounces.classify import classify
from relay.bounces.parse import automatic, enclosed, feedback, notification, prose, status
from relay.bounces.parse.entity import SUCCEEDED, Entity, Fate, Report, read

__all__ = ["SUCCEEDED", "Fate", "Report", "parse"]


def parse(message: bytes | Entity) -> Report:
    """What this message says: octets of any quality (only the first MiB is read), or what `read` made of them."""
    entity = message if isinstance(message, Entity) else read(message)
    found: Report | None = None
    for reader in (feedback.read, status.read, notification.read, automatic.read, prose.read):
        found = reader(entity)
        if found is not None:
            break
    if enclosed.holds(entity) and (found is None or (found.kind == "bounce" and not _definite(found))):
        found = enclosed.read(entity) or found
    return found or Report("other")


def _definite(report: Report) -> bool:
    """Whether it says of any recipient why."""
    return any(f.status or classify("", f.diagnostic).class_ != "unknown" for f in report.fates)
