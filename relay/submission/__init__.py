"""Submission (RFC 6409): 587 with STARTTLS and 465 with TLS from the first octet. The SMTP door; it decides nothing.

The walk of a message, and the module of each step:

1. `server` accepts the connection, counts it (421 past a bound), and hands it the certificate for its handshake.
2. `conversation` reads command lines, keeps the budgets and time limits, and lets replies leave together. It is the
   fence around aiosmtpd, whose protocol class it builds on.
3. `session` knows the commands. `auth` takes AUTH's responses apart, the directory says whose they are; `parameters`
   takes MAIL and RCPT apart, the policy answers.
4. `data` reads the message up to CRLF.CRLF, bounded.
5. `session` calls the intake once. 250 is said when the message is on disk, and with its queue id.

A refusal is a `Verdict` whose words stand in `relay.replies`; an exception is a 451 with a reference.
"""

from relay.submission.server import SubmissionServer

__all__ = ["SubmissionServer"]
