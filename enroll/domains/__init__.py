"""A domain's life: initializing → pending → verified ⇄ disabled, suspended, blocked, deleted.

`service` is what pages, APIs, the command line and the clock call; `model` the values they get, and how they are made
from rows (the options an owner may set are declared in `relay.base.domain_options`). `dkim_keys` makes DKIM pairs,
`rotation` moves them on. `checking` asks DNS once, `lifecycle` says what follows from it, and `checking` writes that.
`hosting` tells the DNS provider, `hosted` is the relay's own zone of members' records, `handoff` makes links to a
domain's records for whoever runs its DNS, `test_message` sends a test message, `forwarding` sets where replies go,
`mailboxes` notices when they don't arrive there, `admin` holds what only the operator may.

Promises that only proof in DNS makes a domain verified, that an unproved claim changes nothing for anybody else,
and that a state, its event and the mail about it commit together.
"""

from enroll.domains.admin import Operator
from enroll.domains.forwarding import Forwarding
from enroll.domains.handoff import DnsLink, Handoff
from enroll.domains.hosted import HostedZone, export
from enroll.domains.mailboxes import MailboxWatch
from enroll.domains.model import Domain, Form, KeyState, as_of
from enroll.domains.reports import Reports
from enroll.domains.service import Domains

__all__ = [
    "DnsLink", "Domain", "Domains", "Form", "Forwarding", "Handoff", "HostedZone", "KeyState", "MailboxWatch",
    "Operator", "Reports", "as_of", "export",
]
