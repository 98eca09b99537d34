"""Whom a member no longer mails, and why.

    rules      one entry, made of words that came from outside, what it stops, and the refusal that says so
    lists      what people do with a list: look up, add, remove, import, export
    snapshot   the answer that policy gets without a query
    reading    a file of any of the known forms → its records, one by one
    origins    a record of another relay's → why that address is not mailed
    export     a list as a file

Promises that an entry counts in the next accepting transaction, and that whatever writes of one address spells it,
one entry stands for it. Leaves to others: who may ask (enrollment's authenticator), and taking addresses off by
themselves (`relay.unsubscribe`, `relay.bounces.record`, `relay.queue`).
"""

from relay.base.storage.suppressions import Suppression
from relay.suppression.export import FORMATS
from relay.suppression.lists import Imported, Lists, New, Taken
from relay.suppression.rules import (
    BULK,
    CATEGORIES,
    DETAIL_MAX,
    REASONS,
    TRANSACTIONAL,
    USER_INITIATED,
    applies,
    in_words,
    refusal,
    stops,
)
from relay.suppression.snapshot import Suppressions

__all__ = [
    "BULK", "CATEGORIES", "DETAIL_MAX", "FORMATS", "REASONS", "TRANSACTIONAL", "USER_INITIATED", "Imported", "Lists",
    "New", "Suppression", "Suppressions", "Taken", "applies", "in_words", "refusal", "stops",
]
