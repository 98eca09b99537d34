"""One SMTP conversation as a client, pipelined and bounded.

`limits` the bounds · `wire` bytes and replies · `opening` connect, EHLO, STARTTLS, AUTH · `content` the message as
it goes over the wire · `connection` MAIL, RCPT, DATA, one outcome a recipient. Callers use the names below.
"""

from relay.delivery.client.connection import Connection
from relay.delivery.client.limits import Credentials, Limits

__all__ = ["Connection", "Credentials", "Limits"]
