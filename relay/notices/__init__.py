"""Mail of the relay's own: what it writes to members, to those who confirm an address, and to the operator.

    texts      every subject and every body, by what it tells of (pure)
    message    subject and body → octets: one builder, one sender, one set of headers (pure; reports to senders use it)
    notices    `Notices`: to one address, through the intake, within the caller's transaction

Who is told what, and when, is the business of whoever knows it: domains, senders, webhooks, standing, inbound.
"""

from relay.notices import texts
from relay.notices.notices import Join, NoticeLater, Notices, letter, own
from relay.notices.texts import About, Notice

__all__ = ["About", "Join", "Notice", "NoticeLater", "Notices", "letter", "own", "texts"]
