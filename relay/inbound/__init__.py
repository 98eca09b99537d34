"""Port 25: what comes back. Reports on our return paths, and mail for the roles of our own domains; nothing else.

The walk of a message, and the module of each step:

1. `server` listens; counting, TLS, time limits, budgets and the reading of DATA are `relay.smtpd`'s. There is no login
   here, and nobody's mail is relayed.
2. `session` answers MAIL and RCPT. A recipient is a return path of ours that is still open, or postmaster@, abuse@ or
   fbl@ of a domain of ours; every other one is refused in the session, all with the same words.
3. `dispatch` takes the message: loops are refused; a report is read (`relay.bounces.parse`), who may vouch for it is
   asked (`vouching`), and it is applied (`relay.bounces.record`); role mail is passed on to the operator through the
   intake.

250 is said when what the report changes is on disk. Nothing that comes in here ever makes a DSN.
"""

from relay.inbound.session import InboundServer

__all__ = ["InboundServer"]
