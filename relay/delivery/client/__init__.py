"""One SMTP conversation as a client, pipelined and bounded.

`limits` the bounds · `transport` bytes and replies · `opening` connect, EHLO, STARTTLS, AUTH · `content` the message
as it goes over the wire · `connection` MAIL, RCPT, DATA, one recipient a transaction. Callers use the names below.
"""

from relay.delivery.client.connection import Connection, Transaction
from relay.delivery.client.limits import Credentials, Limits
from relay.delivery.client.opening import Target

__all__ = ["Connection", "Credentials", "Limits", "Target", "Transaction"]
