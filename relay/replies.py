"""What WE say: every reply of both doors, with its codes, its words and how to mend it.

One table gives SMTP and HTTP their words, `/help` its pages and `docs/replies.md` its rows. A decision is a
`Verdict` (a value); `Refused` carries one through code that can't return it. Nothing here decides.
What the remote side said is `relay.outcome`.
"""

from __future__ import annotations

from relay.verdict import Refused, Reply, Verdict, line, printable, smtp_lines

__all__ = ["TABLE", "Refused", "Reply", "Verdict", "document", "line", "printable", "smtp_lines"]

AUTH_FAILED = Reply(
    "auth_failed", 535, "5.7.8", 401, "AUTH_FAILED", "Authentication failed: wrong handle or API key",
    "The handle (or DID) and the API key do not belong together, or the key was revoked or has expired.",
    "Sign in at {account_url}, regenerate the key, and use it as the password (HTTP: Authorization: Bearer <API key>).",
    "AUTH",
)
AUTH_REQUIRED = Reply(
    "auth_required", 530, "5.7.0", 400, "AUTH_REQUIRED", "Authentication required",
    "No credentials came with the request.",
    "SMTP: log in with AUTH PLAIN or LOGIN after STARTTLS. HTTP: send Authorization: Bearer <API key>.", "MAIL",
)
TLS_REQUIRED = Reply(
    "tls_required", 538, "5.7.11", 0, "", "Encryption required for authentication: STARTTLS first",
    "Credentials are only taken over TLS.",
    "Switch STARTTLS on in your client, or use port 465.", "AUTH",
)
STARTTLS_FIRST = Reply(
    "starttls_first", 530, "5.7.0", 0, "", "Must issue a STARTTLS command first",
    "Port 587 serves nothing before TLS.",
    "Switch STARTTLS on in your client, or use port 465.", "MAIL",
)
INVALID_DID = Reply(
    "invalid_did", 0, "", 400, "INVALID_DID",
    "Not a valid did:plc or did:web",
    "The DID that came with the request can't be read.",
    "Leave the DID out, or send the one shown at {account_url}.",
)
TOO_MANY_FAILURES = Reply(
    "too_many_failures", 454, "4.7.0", 429, "TOO_MANY_FAILURES", "Too many failed logins from here, try again {when}",
    "This key is wrong, and so were too many others from this address. A right key is never kept waiting.",
    "Correct the credentials and try again at once; with wrong ones, wait for the time named.", "AUTH",
)
AUTH_UNAVAILABLE = Reply(
    "auth_unavailable", 454, "4.7.0", 503, "TEMPORARILY_UNAVAILABLE", "Temporary authentication failure",
    "The relay could not look the credentials up just now.",
    "Nothing to mend on your side: retry with exponential backoff.", "AUTH",
)
MEMBER_SUSPENDED = Reply(
    "member_suspended", 521, "5.7.1", 403, "MEMBER_SUSPENDED", "Member suspended: {saw}",
    "The membership is suspended, by the operator or by its bounce or complaint rate.",
    "Sign in at {account_url}: it shows the reason and the way out.",
    "connect, AUTH, MAIL, DATA", policy=True,
)
DOMAIN_MISMATCH = Reply(
    "domain_mismatch", 550, "5.1.0", 403, "DOMAIN_MISMATCH",
    "From address not allowed: domain {saw} is not one of {wanted}",
    "The MAIL FROM domain is not an enrolled, verified, enabled domain of this member (and this key).",
    "Check that the From: address matches an enrolled domain; enroll it at {account_url}.", "MAIL", policy=True,
)
NULL_SENDER = Reply(
    "null_sender", 550, "5.1.0", 403, "DOMAIN_MISMATCH",
    "Null sender not allowed to this API key: issue one with null_sender at {account_url}/keys",
    "MAIL FROM:<> is for the bounces and automatic answers of a mail server, and only for API keys with that option.",
    "Give a sender in an enrolled domain; for a mail server issue an API key with null_sender at {account_url}/keys.",
    "MAIL", policy=True,
)
NOT_AUTOMATIC = Reply(
    "not_automatic", 550, "5.7.1", 403, "FROM_MISMATCH",
    "Only bounces and automatic answers may have the null sender: neither multipart/report nor Auto-Submitted",
    "The message came with the null sender and is neither a report nor marked as sent by a program.",
    "Give a sender in an enrolled domain, or say Auto-Submitted: auto-replied (RFC 3834) if it is an automatic answer.",
    "DATA", policy=True,
)
DOMAIN_RESTS = Reply(
    "domain_rests", 550, "5.1.0", 403, "DOMAIN_MISMATCH", "From address not allowed: {saw}",
    "The MAIL FROM domain is this member's, but may not send just now: it is not verified, is paused by its owner or "
    "stopped by the operator, or this API key is not for it.",
    "Sign in at {account_url}: the page of the domain says what it waits for.", "MAIL, DATA", policy=True,
)
HEADER_RESTS = Reply(
    "header_rests", 550, "5.7.1", 403, "FROM_MISMATCH", "Header not allowed: {saw}",
    "The domain in the From header, or in another one that names a sender, is this member's, but may not send just "
    "now: it is not verified, is paused by its owner or stopped by the operator, or this API key is not for it.",
    "Sign in at {account_url}: the page of the domain says what it waits for.", "DATA", policy=True,
)
FROM_MISMATCH = Reply(
    "from_mismatch", 550, "5.7.1", 403, "FROM_MISMATCH", "Header From not allowed: {saw}",
    "The From header is not exactly one mailbox in an enrolled domain of this member.",
    "Send one From header with one mailbox in an enrolled, verified domain.", "DATA", policy=True,
)
SENDER_MISMATCH = Reply(
    "sender_mismatch", 550, "5.7.1", 403, "FROM_MISMATCH", "Header not allowed: {saw}",
    "A Sender, Resent-From or Resent-Sender header is not one mailbox in an enrolled domain of this member.",
    "Take the header out, or name a mailbox in an enrolled, verified domain.", "DATA", policy=True,
)
INVALID_RECIPIENT = Reply(
    "invalid_recipient", 501, "5.1.3", 422, "INVALID_RECIPIENT", "Bad recipient address syntax: {saw}",
    "The recipient address is malformed.",
    "Correct the address.", "RCPT",
)
NO_SUCH_ADDRESS = Reply(
    "no_such_address", 550, "5.1.1", 0, "", "No such address here",
    "Port 25 takes reports on return paths, mail for its postmaster and for domains that forward it: this is neither.",
    "Nothing to mend: the relay takes no other mail.", "RCPT (port 25)",
)
ADDRESS_NOT_AVAILABLE = Reply(
    "address_not_available", 550, "5.1.1", 0, "", "address not available",
    "The domain sends through this relay, but has no mail forwarded: it is switched off, or names no mailbox.",
    "Write to another address of the sender.", "RCPT (port 25)",
)
INVALID_SENDER = Reply(
    "invalid_sender", 501, "5.1.7", 422, "INVALID_REQUEST", "Bad sender address syntax: {saw}",
    "The sender address is malformed.",
    "Correct the address.", "MAIL",
)
SUPPRESSED = Reply(
    "suppressed", 550, "5.7.1", 422, "SUPPRESSED", "Recipient suppressed: {saw}",
    "The recipient is on the member's suppression list (unsubscribed, complained, or does not exist).",
    "Remove the recipient from your list.", "RCPT", policy=True,
)
ONE_FORWARD = Reply(
    "one_forward", 452, "4.5.3", 0, "", "One domain at a time: send this recipient a copy of its own",
    "Mail that is forwarded for one domain, and what has another way to go, can't share a message.",
    "Nothing to mend: a mail server sends the rest in a further message by itself.", "RCPT (port 25)",
)
FORWARDS_LIMITED = Reply(
    "forwards_limited", 451, "4.7.1", 0, "", "Too much mail to forward just now, try again {when}",
    "As much mail as may be was forwarded for this domain, or from this address, within the last hour.",
    "Nothing to mend: a mail server tries again by itself.", "RCPT, DATA (port 25)",
)
NO_OPERATOR = Reply(
    "no_operator", 550, "5.2.1", 0, "",
    "Nobody reads mail for this address yet: the relay's operator has named no mailbox",
    "Mail for postmaster@, abuse@ or fbl@ of the relay, whose operator_email is empty or leads back to the relay. "
    "Complaints about its mail (RFC 5965) are counted all the same.",
    "The operator sets operator_email under [server].", "DATA (port 25)",
)
ROLE_MAIL_LIMITED = Reply(
    "role_mail_limited", 451, "4.7.1", 0, "", "Too much mail for the operator just now, try again {when}",
    "As much mail as may be was passed on to the relay's operator within the last hour, in all or from this network.",
    "Nothing to mend: a mail server tries again by itself.", "DATA (port 25)",
)
TOO_MANY_RECIPIENTS = Reply(
    "too_many_recipients", 452, "4.5.3", 422, "TOO_MANY_RECIPIENTS", "Too many recipients: at most {wanted} a message",
    "The message names more recipients than one message may have.",
    "Send the rest in further messages.", "RCPT",
)
TIER_TOO_SMALL = Reply(
    "tier_too_small", 452, "4.5.3", 422, "TOO_MANY_RECIPIENTS",
    'Too many recipients: warming tier "{tier}" takes at most {wanted} a message',
    "The message names more recipients than the warming tier of its domain lets out in an hour, or in a day: as one "
    "message it never fits.",
    "Send the rest in further messages: an SMTP client does so by itself. Tiers rise with the domain's age.",
    "RCPT, DATA", policy=True,
)
RATE_LIMITED = Reply(
    "rate_limited", 451, "4.7.1", 429, "RATE_LIMITED", 'Warming tier "{tier}": {saw}, {wanted}',
    "The warming tier of the sending domain is used up for this hour or this day.",
    "Back off and retry at the time named; the message is not lost at your side. Tiers rise with the domain's age.",
    "RCPT, DATA", policy=True,
)
QUEUE_FULL = Reply(
    "queue_full", 451, "4.4.2", 503, "QUEUE_FULL", "Queue full, try again later",
    "The relay holds as many messages as it may.",
    "Server-side. Retry with exponential backoff.", "DATA",
)
UNAVAILABLE = Reply(
    "unavailable", 451, "4.3.0", 503, "TEMPORARILY_UNAVAILABLE", "Temporary failure, try again later",
    "Storage or signing is not possible just now; on port 25 also: the domain that forwards this mail is paused, "
    "suspended or being proved again.",
    "Server-side. Retry with exponential backoff.", "MAIL, RCPT, DATA",
)
DISK_FULL = Reply(
    "disk_full", 452, "4.3.1", 507, "INSUFFICIENT_STORAGE", "Insufficient system storage",
    "The relay's disk is full.",
    "Server-side. Retry later; the operator has been alarmed.", "MAIL, DATA",
)
TOO_LARGE = Reply(
    "too_large", 552, "5.3.4", 413, "TOO_LARGE",
    "Message too large: at most {wanted} bytes",
    "The message is larger than the relay takes.",
    "Send a smaller message, or a link instead of the attachment.", "MAIL SIZE=, DATA",
)
INVALID_MESSAGE = Reply(
    "invalid_message", 554, "5.6.0", 422, "INVALID_MESSAGE",
    "Malformed message: {saw}",
    "The message breaks the format (bare CR or LF, NUL, header too large, a line over 998 octets, not parseable).",
    "Mend what is named: lines end in CRLF; longer or binary content is encoded.", "DATA",
)
LOOP = Reply(
    "loop", 554, "5.4.6", 422, "LOOP",
    "Mail loop: {saw}",
    "The message has passed through too many hosts, or through this relay before.",
    "Find the forward that sends it round.", "DATA",
)
INVALID_REQUEST = Reply(
    "invalid_request", 0, "", 400, "INVALID_REQUEST",
    "{saw}",
    "The request is malformed, has an unknown field, or a value of the wrong type.",
    "Correct the field named.",
)
UNSAFE_VALUE = Reply(
    "unsafe_value", 0, "", 422, "INVALID_MESSAGE",
    "{saw}",
    "A value that becomes a header holds a line end or another control character, or names a reserved header.",
    "Correct the field named.",
)
IDEMPOTENCY_CONFLICT = Reply(
    "idempotency_conflict", 0, "", 409, "IDEMPOTENCY_CONFLICT",
    "This Idempotency-Key was used with another request body",
    "The same Idempotency-Key came with a different body within 24 hours.",
    "Use a new key for a new message.",
)
IN_PROGRESS = Reply(
    "in_progress", 0, "", 409, "REQUEST_IN_PROGRESS",
    "A request with this Idempotency-Key is still running",
    "The first request with this Idempotency-Key has not finished.",
    "Wait for it, then repeat the request to read its answer.",
)
SCOPE_MISSING = Reply(
    "scope_missing", 535, "5.7.8", 403, "FORBIDDEN",
    "This API key lacks the scope {wanted}",
    "The key is good, but not for this.",
    "Issue a key with that scope at {account_url}.", "AUTH",
)
NOT_FOUND = Reply(
    "not_found", 0, "", 404, "NOT_FOUND",
    "Not found",
    "There is no such thing, or it belongs to somebody else.",
    "Check the id.",
)
NOT_POSSIBLE = Reply(
    "not_possible", 0, "", 409, "CONFLICT",
    "{saw}",
    "The thing is in a state in which this can't be done.",
    "Look at its state first.",
)
TOO_MANY_REQUESTS = Reply(
    "too_many_requests", 421, "4.7.0", 429, "TOO_MANY_REQUESTS",
    "Too many requests, try again {when}",
    "Too many requests or connections from here.",
    "Slow down.", "connect", closes=True,
)
INTERNAL = Reply(
    "internal", 451, "4.3.0", 500, "INTERNAL_ERROR",
    "Local error in processing (reference {reference})",
    "Something unforeseen happened in the relay; it is in the operator's log under the reference.",
    "Retry with exponential backoff; give the operator the reference.", "any",
)

NO_RECIPIENTS = Reply(
    "no_recipients", 554, "5.5.1", 422, "NOTHING_ACCEPTED", "No valid recipients",
    "Every recipient was refused by itself, so nothing was sent. SMTP has said why at each RCPT; over HTTP `rejected` "
    "does.",
    "Correct the addresses, or take them off your list.", "DATA",
)

# The dialogue itself: replies that decide nothing.
OK_SENDER = Reply("ok_sender", 250, "2.1.0", 0, "", "Sender OK", "", "", "MAIL")
OK_RECIPIENT = Reply("ok_recipient", 250, "2.1.5", 0, "", "Recipient OK", "", "", "RCPT")
OK_QUEUED = Reply("ok_queued", 250, "2.0.0", 200, "", "Queued as {saw}", "", "", "DATA")
OK = Reply("ok", 250, "2.0.0", 200, "", "OK", "", "", "RSET, NOOP")
OK_AUTH = Reply("ok_auth", 235, "2.7.0", 0, "", "Authentication successful", "", "", "AUTH")
OK_TLS = Reply("ok_tls", 220, "2.0.0", 0, "", "Ready to start TLS", "", "", "STARTTLS")
OK_BYE = Reply("ok_bye", 221, "2.0.0", 0, "", "Bye", "", "", "QUIT")
OK_HELP = Reply("ok_help", 214, "2.0.0", 0, "", "{saw}", "", "", "HELP")
OK_VRFY = Reply("ok_vrfy", 252, "2.5.1", 0, "", "Cannot VRFY, send some mail and see", "", "", "VRFY")
GO_AHEAD = Reply("go_ahead", 354, "", 0, "", "End data with <CR><LF>.<CR><LF>", "", "", "DATA")
BAD_COMMAND = Reply("bad_command", 500, "5.5.1", 0, "", "Command unrecognized", "", "", "any")
BAD_LINE = Reply("bad_line", 500, "5.5.2", 0, "", "Line too long or not readable", "", "", "any")
BAD_ARGUMENTS = Reply("bad_arguments", 501, "5.5.4", 0, "", "Syntax error: {saw}", "", "", "any")
BAD_PARAMETER = Reply("bad_parameter", 555, "5.5.4", 0, "", "Parameter not recognized: {saw}", "", "", "MAIL, RCPT")
BAD_SEQUENCE = Reply("bad_sequence", 503, "5.5.1", 0, "", "Bad sequence of commands: {saw}", "", "", "any")
BAD_MECHANISM = Reply("bad_mechanism", 504, "5.5.4", 0, "", "Mechanism not offered: use PLAIN or LOGIN", "", "", "AUTH")
AUTH_CANCELLED = Reply("auth_cancelled", 501, "5.7.0", 0, "", "Authentication cancelled", "", "", "AUTH")
AUTH_BAD_ENCODING = Reply("auth_bad_encoding", 501, "5.5.2", 0, "", "Cannot decode the response", "", "", "AUTH")
NOT_IMPLEMENTED = Reply("not_implemented", 502, "5.5.1", 0, "", "Command not implemented", "", "", "any")
RECIPIENTS_LATER = Reply(
    "recipients_later", 451, "4.5.0", 0, "", "No recipient was taken just now: try again later", "", "", "DATA"
)
TOO_MANY_ERRORS = Reply("too_many_errors", 421, "4.7.0", 0, "", "Too many errors, closing", "", "", "any", closes=True)
TOO_MANY_LOGINS = Reply(
    "too_many_logins", 421, "4.7.0", 0, "", "Too many failed logins (wrong handle or API key), closing", "", "", "AUTH",
    closes=True,
)
TOO_MANY_MESSAGES = Reply(
    "too_many_messages", 421, "4.7.0", 0, "", "Enough messages on this connection, reconnect for more", "", "", "MAIL",
    closes=True,
)
TIMEOUT = Reply("timeout", 421, "4.4.2", 0, "", "Timeout, closing connection", "", "", "any", closes=True)
SHUTTING_DOWN = Reply(
    "shutting_down", 421, "4.3.2", 503, "TEMPORARILY_UNAVAILABLE", "Service shutting down, try again in a moment",
    "", "", "any", closes=True,
)
SMUGGLING = Reply("smuggling", 521, "5.5.2", 0, "", "Bare CR or LF in a command: closing", "", "", "any", closes=True)

TABLE: tuple[Reply, ...] = tuple(v for v in list(globals().values()) if isinstance(v, Reply))
"""Every reply, in the order of this file."""


def document() -> str:
    """docs/replies.md: the whole table, for people."""
    out = [
        "# Replies",
        "",
        "Made from `relay/replies.py`; do not edit. `python -m relay.replies > docs/replies.md` writes it again.",
        "",
        "## Refusals",
        "",
        "| SMTP | stage | HTTP | JSON code | text | meaning | what to do |",
        "|---|---|---|---|---|---|---|",
    ]
    refusals = [r for r in TABLE if r.meaning]
    for r in refusals:
        smtp = f"`{r.smtp} {r.enhanced}`" if r.smtp else "–"
        http = f"{r.http} `{r.code}`" if r.http else "–"
        cells = (smtp, r.stages or "–", http.partition(" ")[0], http.partition(" ")[2] or "–", r.text, r.meaning, r.fix)
        out.append("| " + " | ".join(c.replace("|", "\\|") for c in cells) + " |")
    out += ["", "## The SMTP dialogue", "", "| reply | stage | text |", "|---|---|---|"]
    out += [f"| `{f'{r.smtp} {r.enhanced}'.strip()}` | {r.stages} | {r.text} |" for r in TABLE if not r.meaning]
    return "\n".join(out) + "\n"


if __name__ == "__main__":
    print(document(), end="")
