"""Submission (RFC 6409): 587 with STARTTLS and 465 with TLS from the first octet. It decides nothing.

Connections, command lines, time, budgets, TLS and the reading of DATA are `relay.smtpd`'s. Here:

1. `server` is the listener, with directory, policy and intake.
2. `session` asks them. `auth` takes AUTH's responses apart, the directory says whose they are; the policy answers MAIL
   and RCPT; the intake is called once. 250 is said when the message is on disk, and with its queue id.
"""

from relay.submission.session import SubmissionServer

__all__ = ["SubmissionServer"]
