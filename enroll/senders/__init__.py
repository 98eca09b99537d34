"""Senders: addresses that a member has proved to be its own, the names it sends under, and the domains behind them.

`Addresses` adds and proves addresses (by a code sent there, or by a domain that the member has proved); `Details`
joins a name and a proved address, and keeps one default; `SendingDomains` is the domains of those addresses, which
enroll themselves when the first details for them are made. `mailboxes` knows the public mailbox providers.
`OnlySender` shows all that as the one sender of old. `transmissions` are what is sent under them.

Promises that an address is proved by nothing but its mailbox or its domain, that codes are counted across all
members and processes, and that none of it lets anybody send: that is decided by the domain's own proof. How it looks
from outside is left to `enroll.api.wix` and the pages.
"""

from enroll.senders.addresses import Addresses
from enroll.senders.details import Details
from enroll.senders.model import Sender, SenderEmail
from enroll.senders.only import OnlySender
from enroll.senders.sending import SendingDomains

__all__ = ["Addresses", "Details", "OnlySender", "Sender", "SenderEmail", "SendingDomains"]
