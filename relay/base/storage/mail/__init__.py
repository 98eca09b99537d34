"""Messages, bodies, recipients, attempts: the queue's tables. Lists for people are `reports` beside this folder."""

from relay.base.storage.mail.accept import add, last_due, queued
from relay.base.storage.mail.claim import bytes_of, claim
from relay.base.storage.mail.purge import Place, Purged, mark, purge_bodies, purge_log, unmarked
from relay.base.storage.mail.repeats import First, firsts, lock_fingerprints, taken
from relay.base.storage.mail.reports import report_done, report_facts, reports_due
from relay.base.storage.mail.returned import (
    bounce_late,
    complained_of,
    owe_reports,
    record_late,
    returned,
    returned_for_update,
    success_reported,
)  # fmt: skip
from relay.base.storage.mail.settle import (
    catch_up,
    change,
    finish,
    give_back,
    next_due,
    owned,
    owners,
    park,
    renew,
    settle,
    unpark,
)  # fmt: skip
from relay.base.storage.mail.values import (
    Due,
    LateBounce,
    LateWord,
    NewMessage,
    NewRecipient,
    ReportedRecipient,
    ReportFacts,
    Returned,
    Settlement,
)  # fmt: skip

__all__ = [
    "Due", "First", "LateBounce", "LateWord", "NewMessage", "NewRecipient", "Place", "Purged", "ReportFacts",
    "ReportedRecipient", "Returned", "Settlement", "add", "bounce_late", "bytes_of", "catch_up", "change", "claim",
    "complained_of", "finish", "firsts", "give_back", "last_due", "lock_fingerprints", "mark", "next_due",
    "owe_reports", "owned", "owners", "park", "purge_bodies", "purge_log", "queued", "record_late", "renew",
    "report_done", "report_facts", "reports_due", "returned", "returned_for_update", "settle", "success_reported",
    "taken", "unmarked", "unpark",
]
