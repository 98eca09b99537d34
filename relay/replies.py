"""What WE say: every reply of SMTP and HTTP, with its codes, its words and how to fix it.

One table gives SMTP and HTTP their words, `/help` its pages and `docs/replies.md` its rows. A decision is a
`Verdict` (a value); `Refused` carries one through code that can't return it. Nothing here decides.
What the remote side said is `relay.outcome`.
"""

from __future__ import annotations

from relay.verdict import Refused, Reply, Verdict, line, printable, smtp_lines

__all__ = ["TABLE", "Refused", "Reply", "Verdict", "document", "line", "printable", "smtp_lines"]

AUTH_FAILED = Reply(
    name="auth_failed", smtp=535, enhanced="5.7.8", http=401, code="AUTH_FAILED",
    text="Authentication failed: wrong handle or API key",
    meaning="The handle (or DID) and the API key do not belong together, or the key was revoked or has expired.",
    fix="Sign in at {account_url}, regenerate the key, and use it as the password (HTTP: Authorization: Bearer <API key>).",
    stages="AUTH",
)
AUTH_REQUIRED = Reply(
    name="auth_required", smtp=530, enhanced="5.7.0", http=400, code="AUTH_REQUIRED", text="Authentication required",
    meaning="No credentials came with the request.",
    fix="SMTP: log in with AUTH PLAIN or LOGIN after STARTTLS. HTTP: send Authorization: Bearer <API key>.",
    stages="MAIL",
)
TLS_REQUIRED = Reply(
    name="tls_required", smtp=538, enhanced="5.7.11", http=0, code="",
    text="Encryption required for authentication: STARTTLS first", meaning="Credentials are accepted only over TLS.",
    fix="Turn on STARTTLS in your client, or use port 465.", stages="AUTH",
)
STARTTLS_FIRST = Reply(
    name="starttls_first", smtp=530, enhanced="5.7.0", http=0, code="", text="Must issue a STARTTLS command first",
    meaning="Port 587 accepts nothing before TLS.", fix="Turn on STARTTLS in your client, or use port 465.",
    stages="MAIL",
)
INVALID_DID = Reply(
    "invalid_did", 0, "", 400, "INVALID_DID",
    "Not a valid did:plc or did:web",
    "The DID in the request is malformed.",
    "Leave the DID out, or send the one shown at {account_url}.",
)
TOO_MANY_FAILURES = Reply(
    name="too_many_failures", smtp=454, enhanced="4.7.0", http=429, code="TOO_MANY_FAILURES",
    text="Too many failed logins from here, try again {when}",
    meaning="This key is wrong, and there were too many failed logins from this address. A correct key is never delayed.",
    fix="Correct the credentials and try again at once; otherwise wait until the time given.", stages="AUTH",
)
AUTH_UNAVAILABLE = Reply(
    name="auth_unavailable", smtp=454, enhanced="4.7.0", http=503, code="TEMPORARILY_UNAVAILABLE",
    text="Temporary authentication failure", meaning="The relay could not check the credentials at the moment.",
    fix="Nothing to fix on your side: retry with exponential backoff.", stages="AUTH",
)
MEMBER_SUSPENDED = Reply(
    name="member_suspended", smtp=521, enhanced="5.7.1", http=403, code="MEMBER_SUSPENDED",
    text="Member suspended: {saw}",
    meaning="The membership is suspended, by the operator or by its bounce or complaint rate.",
    fix="Sign in at {account_url}, which shows the reason and how to resolve it.", stages="connect, AUTH, MAIL, DATA",
    policy=True,
)
DOMAIN_MISMATCH = Reply(
    name="domain_mismatch", smtp=550, enhanced="5.1.0", http=403, code="DOMAIN_MISMATCH",
    text="From address not allowed: domain {saw} is not one of {wanted}",
    meaning="The MAIL FROM domain is not an enrolled, verified, enabled domain of this member (and this key).",
    fix="Check that the From: address matches an enrolled domain; enroll it at {account_url}.", stages="MAIL",
    policy=True,
)
NULL_SENDER = Reply(
    name="null_sender", smtp=550, enhanced="5.1.0", http=403, code="DOMAIN_MISMATCH",
    text="Null sender not allowed to this API key: issue one with null_sender at {account_url}/keys",
    meaning="MAIL FROM:<> is for a mail server's bounces and automatic replies, and only for API keys with that option.",
    fix="Use a sender in an enrolled domain; for a mail server, issue an API key with null_sender at {account_url}/keys.",
    stages="MAIL", policy=True,
)
NOT_AUTOMATIC = Reply(
    name="not_automatic", smtp=550, enhanced="5.7.1", http=403, code="FROM_MISMATCH",
    text="Only bounces and automatic answers may have the null sender: neither multipart/report nor Auto-Submitted",
    meaning="The message has the null sender but is neither a report nor marked as automatic.",
    fix="Use a sender in an enrolled domain, or add Auto-Submitted: auto-replied (RFC 3834) if it is an automatic reply.",
    stages="DATA", policy=True,
)
DOMAIN_RESTS = Reply(
    name="domain_rests", smtp=550, enhanced="5.1.0", http=403, code="DOMAIN_MISMATCH",
    text="From address not allowed: {saw}",
    meaning="The MAIL FROM domain belongs to this member but can't send at the moment: it is not verified, has been paused by "
    "its owner or stopped by the operator, or this API key is not valid for it.",
    fix="Sign in at {account_url}: the domain's page says what is missing.", stages="MAIL, DATA", policy=True,
)
HEADER_RESTS = Reply(
    name="header_rests", smtp=550, enhanced="5.7.1", http=403, code="FROM_MISMATCH", text="Header not allowed: {saw}",
    meaning="The domain in From, or in another header that names a sender, belongs to this member but can't send at the "
    "moment: it is not verified, has been paused by its owner or stopped by the operator, or this API key is not valid for "
    "it.",
    fix="Sign in at {account_url}: the domain's page says what is missing.", stages="DATA", policy=True,
)
FROM_MISMATCH = Reply(
    name="from_mismatch", smtp=550, enhanced="5.7.1", http=403, code="FROM_MISMATCH",
    text="Header From not allowed: {saw}",
    meaning="The From header is not exactly one mailbox in an enrolled domain of this member.",
    fix="Send one From header with one mailbox in an enrolled, verified domain.", stages="DATA", policy=True,
)
SENDER_MISMATCH = Reply(
    name="sender_mismatch", smtp=550, enhanced="5.7.1", http=403, code="FROM_MISMATCH",
    text="Header not allowed: {saw}",
    meaning="A Sender, Resent-From or Resent-Sender header is not one mailbox in an enrolled domain of this member.",
    fix="Remove the header, or use a mailbox in an enrolled, verified domain.", stages="DATA", policy=True,
)
INVALID_RECIPIENT = Reply(
    name="invalid_recipient", smtp=501, enhanced="5.1.3", http=422, code="INVALID_RECIPIENT",
    text="Bad recipient address syntax: {saw}", meaning="The recipient address is malformed.",
    fix="Correct the address.", stages="RCPT",
)
NO_SUCH_ADDRESS = Reply(
    name="no_such_address", smtp=550, enhanced="5.1.1", http=0, code="", text="No such address here",
    meaning="Port 25 accepts only bounce reports to return paths, mail for the postmaster, and mail for domains with forwarding.",
    fix="Nothing to fix: the relay accepts no other mail.", stages="RCPT (port 25)",
)
ADDRESS_NOT_AVAILABLE = Reply(
    name="address_not_available", smtp=550, enhanced="5.1.1", http=0, code="", text="address not available",
    meaning="The domain sends through this relay, but its mail is not forwarded: forwarding is off or has no mailbox.",
    fix="Write to another address of the sender.", stages="RCPT (port 25)",
)
INVALID_SENDER = Reply(
    name="invalid_sender", smtp=501, enhanced="5.1.7", http=422, code="INVALID_REQUEST",
    text="Bad sender address syntax: {saw}", meaning="The sender address is malformed.", fix="Correct the address.",
    stages="MAIL",
)
SUPPRESSED = Reply(
    name="suppressed", smtp=550, enhanced="5.7.1", http=422, code="SUPPRESSED", text="Recipient suppressed: {saw}",
    meaning="The recipient is on the member's suppression list (unsubscribed, complained, or does not exist).",
    fix="Remove the recipient from your mailing list.", stages="RCPT", policy=True,
)
ONE_FORWARD = Reply(
    name="one_forward", smtp=452, enhanced="4.5.3", http=0, code="",
    text="One domain at a time: send this recipient a copy of its own",
    meaning="Mail to be forwarded for one domain can't share a transaction with mail that goes another way.",
    fix="Nothing to fix: a mail server sends the rest in another transaction by itself.", stages="RCPT (port 25)",
)
FORWARDS_LIMITED = Reply(
    name="forwards_limited", smtp=451, enhanced="4.7.1", http=0, code="",
    text="Too much mail to forward just now, try again {when}",
    meaning="The hourly limit of forwarded mail for this domain, or from this address, has been reached.",
    fix="Nothing to fix: a mail server retries by itself.", stages="RCPT, DATA (port 25)",
)
NO_OPERATOR = Reply(
    name="no_operator", smtp=550, enhanced="5.2.1", http=0, code="",
    text="Nobody reads mail for this address yet: the relay's operator has named no mailbox",
    meaning="Mail for postmaster@, abuse@ or fbl@ of the relay, whose operator_email is empty or leads back to the relay. "
    "Complaints about its mail (RFC 5965) are processed all the same.",
    fix="The operator has to set operator_email under [server].", stages="DATA (port 25)",
)
ROLE_MAIL_LIMITED = Reply(
    name="role_mail_limited", smtp=451, enhanced="4.7.1", http=0, code="",
    text="Too much mail for the operator just now, try again {when}",
    meaning="The hourly limit of mail passed on to the operator, in total or from this network, has been reached.",
    fix="Nothing to fix: a mail server retries by itself.", stages="DATA (port 25)",
)
TOO_MANY_RECIPIENTS = Reply(
    name="too_many_recipients", smtp=452, enhanced="4.5.3", http=422, code="TOO_MANY_RECIPIENTS",
    text="Too many recipients: at most {wanted} a message",
    meaning="The message has more recipients than one message may have.", fix="Send the rest in further messages.",
    stages="RCPT",
)
TIER_TOO_SMALL = Reply(
    name="tier_too_small", smtp=452, enhanced="4.5.3", http=422, code="TOO_MANY_RECIPIENTS",
    text='Too many recipients: warming tier "{tier}" takes at most {wanted} a message',
    meaning="The message has more recipients than the domain's warming tier allows in an hour, or in a day, so that it would "
    "never fit.",
    fix="Send the rest in further messages: an SMTP client does so by itself. Tiers rise with the domain's age.",
    stages="RCPT, DATA", policy=True,
)
RATE_LIMITED = Reply(
    name="rate_limited", smtp=451, enhanced="4.7.1", http=429, code="RATE_LIMITED",
    text='Warming tier "{tier}": {saw}, {wanted}',
    meaning="The warming tier of the sending domain is used up for this hour or this day.",
    fix="Back off and retry at the time given; keep the message queued on your side. Tiers rise with the domain's age.",
    stages="RCPT, DATA", policy=True,
)
QUEUE_FULL = Reply(
    name="queue_full", smtp=451, enhanced="4.4.2", http=503, code="QUEUE_FULL", text="Queue full, try again later",
    meaning="The relay's queue has reached its limit.", fix="Nothing to fix on your side. Retry with exponential backoff.",
    stages="DATA",
)
UNAVAILABLE = Reply(
    name="unavailable", smtp=451, enhanced="4.3.0", http=503, code="TEMPORARILY_UNAVAILABLE",
    text="Temporary failure, try again later",
    meaning="Storage or signing is unavailable at the moment; on port 25 also: the domain that forwards this mail is paused, "
    "suspended or being verified again.",
    fix="Nothing to fix on your side. Retry with exponential backoff.", stages="MAIL, RCPT, DATA",
)
DISK_FULL = Reply(
    name="disk_full", smtp=452, enhanced="4.3.1", http=507, code="INSUFFICIENT_STORAGE",
    text="Insufficient system storage", meaning="The relay's disk is full.",
    fix="Nothing to fix on your side. Retry later; the operator has been alerted.", stages="MAIL, DATA",
)
TOO_LARGE = Reply(
    name="too_large", smtp=552, enhanced="5.3.4", http=413, code="TOO_LARGE",
    text="Message too large: at most {wanted} bytes", meaning="The message is larger than the relay accepts.",
    fix="Send a smaller message, or a link instead of the attachment.", stages="MAIL SIZE=, DATA",
)
INVALID_MESSAGE = Reply(
    name="invalid_message", smtp=554, enhanced="5.6.0", http=422, code="INVALID_MESSAGE",
    text="Malformed message: {saw}",
    meaning="The message is malformed (bare CR or LF, NUL, header too large, a line over 998 octets, unparseable).",
    fix="Fix what the reply says: lines end in CRLF; long lines and binary content have to be encoded.", stages="DATA",
)
LOOP = Reply(
    name="loop", smtp=554, enhanced="5.4.6", http=422, code="LOOP", text="Mail loop: {saw}",
    meaning="The message has passed through too many hosts, or through this relay before.",
    fix="Find the forwarding rule that sends it in a circle.", stages="DATA",
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
    "A value that becomes a header contains a line break or another control character, or a header name is reserved.",
    "Correct the field named.",
)
IDEMPOTENCY_CONFLICT = Reply(
    "idempotency_conflict", 550, "5.6.0", 409, "IDEMPOTENCY_CONFLICT",
    "This Idempotency-Key was used with other content",
    "The same Idempotency-Key came with a different body within 24 hours; over SMTP, with a different message or sender.",
    "Use a new key for a new message.", stages="DATA",
)
IN_PROGRESS = Reply(
    "in_progress", 0, "", 409, "REQUEST_IN_PROGRESS",
    "A request with this Idempotency-Key is still running",
    "The first request with this Idempotency-Key has not finished.",
    "Wait for it, then repeat the request to read its answer.",
)
SCOPE_MISSING = Reply(
    name="scope_missing", smtp=535, enhanced="5.7.8", http=403, code="FORBIDDEN",
    text="This API key lacks the scope {wanted}", meaning="The key is valid, but not for this.",
    fix="Issue a key with that scope at {account_url}.", stages="AUTH",
)
NOT_FOUND = Reply(
    "not_found", 0, "", 404, "NOT_FOUND",
    "Not found",
    "It doesn't exist, or it belongs to somebody else.",
    "Check the id.",
)
NOT_POSSIBLE = Reply(
    "not_possible", 0, "", 409, "CONFLICT",
    "{saw}",
    "Its current state doesn't allow this.",
    "Check its state first.",
)
TOO_MANY_REQUESTS = Reply(
    name="too_many_requests", smtp=421, enhanced="4.7.0", http=429, code="TOO_MANY_REQUESTS",
    text="Too many requests, try again {when}", meaning="Too many requests or connections from this client.",
    fix="Slow down.", stages="connect", closes=True,
)
INTERNAL = Reply(
    name="internal", smtp=451, enhanced="4.3.0", http=500, code="INTERNAL_ERROR",
    text="Local error in processing (reference {reference})",
    meaning="An unexpected error in the relay; the operator's log has it under the reference.",
    fix="Retry with exponential backoff; give the operator the reference.", stages="any",
)

# Enrollment: accounts, sign-ins, domains, senders. No SMTP client hears these. `text` is what is said where nothing
# more is known.
INVALID_VALUE = Reply(
    "invalid_value", 0, "", 422, "INVALID_VALUE", "This value can't be used",
    "A field is well-formed, but its value can't be used: the sentence says why.", "Correct the field named.",
)
LABEL_TOO_LONG = Reply(
    "label_too_long", 0, "", 422, "LABEL_TOO_LONG", "A label of the name is longer than 63 octets",
    "Together with the domain, the prefix makes a label or name that is too long for DNS.", "Choose a shorter prefix.",
)
DID_UNUSABLE = Reply(
    "did_unusable", 0, "", 422, "INVALID_DID", "Not a valid did:plc or did:web",
    "The DID is malformed, or isn't the account's.", "Send a did:plc or did:web, or null for the relay's own.",
)
DID_NOT_PROVED = Reply(
    "did_not_proved", 0, "", 422, "DID_NOT_PROVED", "This DID is not proved to be yours",
    "A DID is taken when its document names a handle at a domain that the account has verified, and that handle names the DID.",
    "Publish both, then ask again.",
)
HANDLE_TAKEN = Reply(
    "handle_taken", 0, "", 409, "HANDLE_TAKEN", "The handle is taken", "Another account has this handle.", "Choose another one.",
)
SIGNUP_CLOSED = Reply(
    "signup_closed", 0, "", 403, "SIGNUP_CLOSED", "Sign-up is closed: ask the relay's operator for an account",
    "Only the operator can create accounts on this relay.", "Ask the operator for one.",
)
INVITE_INVALID = Reply(
    "invite_invalid", 0, "", 403, "INVITE_INVALID", "An invite is needed: this code is unknown, used or expired",
    "Signing up needs a valid invite code.", "Ask the operator for an invite.",
)
SIGN_IN_FAILED = Reply(
    "sign_in_failed", 0, "", 401, "AUTH_FAILED", "Sign-in failed: wrong handle or password",
    "The handle (or e-mail address) or the password is wrong.", "Correct them, or ask the operator for a link to set a new password.",
)
SECOND_FACTOR_REQUIRED = Reply(
    "second_factor_required", 0, "", 401, "SECOND_FACTOR_REQUIRED", "This account asks for a code of its second factor",
    "The password is right, and the account has a second factor: the sign-in needs its code too.",
    "Give the six digits that your device shows, or one of your recovery codes, together with the password.",
)
SECOND_FACTOR_WRONG = Reply(
    "second_factor_wrong", 0, "", 401, "SECOND_FACTOR_WRONG", "This code is wrong, or has been used",
    "The password is right; the code of the second factor is not the one of this moment, or was used before.",
    "Wait for the device's next code; check its clock. A recovery code works once. The operator can take the second factor away (`posthouse member reset-factor`).",
)
SECOND_FACTOR_MISSING = Reply(
    "second_factor_missing", 0, "", 403, "SECOND_FACTOR_MISSING", "This needs a second factor",
    "The relay's operator asks for a second factor, and this sign-in has proved none.",
    "Set one up at /account/second-factor; if there is one, sign out and in again with its code.",
)
SESSION_REQUIRED = Reply(
    "session_required", 0, "", 403, "SESSION_REQUIRED", "This needs a sign-in, not an API key",
    "Keys, sessions and the account itself can be changed only after signing in, so that a stolen key can't create another.",
    "Sign in (POST /v1/sessions) and send its token as Authorization: Bearer.",
)
OPERATOR_ONLY = Reply(
    "operator_only", 0, "", 403, "FORBIDDEN", "The operator's pages need the operator's role and a second factor",
    "Pages under /operator are for the relay's operator, signed in with a second factor.",
    "The operator gives the role (`posthouse member operator`); set a second factor up at /account/second-factor, or sign in again with its code.",
)
SESSION_ENDED = Reply(
    "session_ended", 0, "", 401, "SESSION_ENDED", "The sign-in has ended: sign in again",
    "The session token is unknown, or its session has ended.", "Sign in again.",
)
LINK_EXPIRED = Reply(
    "link_expired", 0, "", 410, "LINK_EXPIRED", "This link has been used, has expired, or is not complete",
    "A link to set a password works once and for a limited time; one to a domain's records until it ends or is revoked.", "Ask whoever gave it to you for a new one.",
)
CROSS_SITE = Reply(
    "cross_site", 0, "", 403, "CROSS_SITE", "This request comes from another site's page",
    "According to the browser, another site's page made the request.", "Use the relay's own pages.",
)
FORM_EXPIRED = Reply(
    "form_expired", 0, "", 403, "CSRF_FAILED",
    "This form has expired, or was not sent from our own page. Go back, reload the page and try again",
    "The form's token is missing or out of date.", "Reload the page and try again.",
)
UNSUPPORTED_MEDIA = Reply(
    "unsupported_media", 0, "", 415, "INVALID_REQUEST", "Unsupported Content-Type",
    "A form was sent with a different media type.", "Send application/x-www-form-urlencoded.",
)
METHOD_NOT_ALLOWED = Reply(
    "method_not_allowed", 0, "", 405, "METHOD_NOT_ALLOWED", "Method Not Allowed",
    "The path exists, but doesn't allow this method.", "Use one of those in the Allow header.",
)
KEY_LIMITED = Reply(
    "key_limited", 0, "", 403, "FORBIDDEN", "An API key limited to some domains can't be used here",
    "The key is valid, but limited to other domains than this call is about.", "Use a key that is not limited, or sign in.",
)
LIMIT_REACHED = Reply(
    "limit_reached", 0, "", 403, "LIMIT_REACHED", "Limit reached",
    "The account has reached its limit of domains, sender emails or sender details.", "Delete some, or ask the operator for more.",
)
ADDRESS_EXISTS = Reply(
    "address_exists", 0, "", 409, "ALREADY_EXISTS", "This address is among your sender emails already",
    "A sender email can be added only once.", "Use the existing one.",
)
DETAILS_EXIST = Reply(
    "details_exist", 0, "", 409, "ALREADY_EXISTS", "There are sender details for this already",
    "Sender details have this name and address already, or still use the address that is to be deleted.",
    "Change or delete those first.",
)
DEFAULT_SENDER = Reply(
    "default_sender", 0, "", 409, "DEFAULT_SENDER", "This is the default sender: mark another one as default first",
    "The default sender can't be deleted.", "Mark another one as default first.",
)
ADDRESS_NOT_VERIFIED = Reply(
    "address_not_verified", 0, "", 409, "NOT_VERIFIED",
    "This address is not verified: have a code sent to it and verify it, then try again",
    "Mail can be sent only from verified addresses.", "Have a code sent to it, and enter the code.",
)
ALREADY_VERIFIED = Reply(
    "already_verified", 0, "", 409, "ALREADY_VERIFIED", "This address is verified already",
    "A verified address needs no further code.", "There is nothing to do.",
)
CODE_INVALID = Reply(
    "code_invalid", 0, "", 422, "CODE_INVALID", "This is not the code that was last sent",
    "It is not the most recent code, or no code is outstanding.", "Enter the most recent code, or have a new one sent.",
)
CODE_EXPIRED = Reply(
    "code_expired", 0, "", 409, "CODE_EXPIRED", "This code has expired: have a new one sent",
    "A code is valid for some minutes.", "Have a new one sent.",
)
TOO_MANY_TRIES = Reply(
    "too_many_tries", 0, "", 429, "TOO_MANY_TRIES", "Too many tries",
    "The code was entered wrongly too often, or too many codes were sent within the hour.",
    "Have a new code sent, or wait until the time given.",
)
NO_SENDER = Reply(
    "no_sender", 0, "", 409, "NO_SENDER", "There are no sender details for this domain",
    "A sending domain exists only through its sender details.", "Verify a sender email and create sender details first.",
)
RECORDS_MISSING = Reply(
    "records_missing", 0, "", 409, "RECORDS_MISSING", "The records are not in DNS as they should be",
    "The sending domain was checked, and a record is missing or wrong.", "Publish the records as shown, then try again.",
)
DOMAIN_NOT_READY = Reply(
    "domain_not_ready", 0, "", 409, "DOMAIN_NOT_READY", "The sending domain is not ready",
    "Its records are still being generated, or no domain of the account can send yet.", "Try again in a minute, or authenticate the domain.",
)
TRANSMISSION_WAITS = Reply(
    "transmission_waits", 0, "", 409, "TRANSMISSION_WAITS", "Some of its recipients are still waiting",
    "The record of a transmission can be removed once all its messages are finished.", "Remove it later.",
)
HOSTED_ZONE_MISSING = Reply(
    "hosted_zone_missing", 0, "", 501, "HOSTED_ZONE_MISSING", "This relay has no zone for hosted records",
    "Sending domains are published as CNAMEs to the relay's own zone ([dns] hosted_zone), which is not configured.",
    "Enroll the domain at /enroll or by POST /v1/domains.",
)

NO_RECIPIENTS = Reply(
    name="no_recipients", smtp=554, enhanced="5.5.1", http=422, code="NOTHING_ACCEPTED", text="No valid recipients",
    meaning="Every recipient was refused individually, so nothing was sent. The reason is in the reply to each RCPT; over "
    "HTTP, in `rejected`.",
    fix="Correct the addresses, or take them off your list.", stages="DATA",
)

# The dialogue itself: replies that decide nothing.
OK_SENDER = Reply(
    name="ok_sender", smtp=250, enhanced="2.1.0", http=0, code="", text="Sender OK", meaning="", fix="",
    stages="MAIL",
)
OK_RECIPIENT = Reply(
    name="ok_recipient", smtp=250, enhanced="2.1.5", http=0, code="", text="Recipient OK", meaning="", fix="",
    stages="RCPT",
)
OK_QUEUED = Reply(
    name="ok_queued", smtp=250, enhanced="2.0.0", http=200, code="", text="Queued as {saw}", meaning="", fix="",
    stages="DATA",
)
OK_REPEATED = Reply(
    name="ok_repeated", smtp=250, enhanced="2.0.0", http=200, code="", text="Already queued as {saw}", meaning="",
    fix="", stages="DATA",
)
OK = Reply(
    name="ok", smtp=250, enhanced="2.0.0", http=200, code="", text="OK", meaning="", fix="", stages="RSET, NOOP",
)
OK_AUTH = Reply(
    name="ok_auth", smtp=235, enhanced="2.7.0", http=0, code="", text="Authentication successful", meaning="", fix="",
    stages="AUTH",
)
OK_TLS = Reply(
    name="ok_tls", smtp=220, enhanced="2.0.0", http=0, code="", text="Ready to start TLS", meaning="", fix="",
    stages="STARTTLS",
)
OK_BYE = Reply(
    name="ok_bye", smtp=221, enhanced="2.0.0", http=0, code="", text="Bye", meaning="", fix="", stages="QUIT",
)
OK_HELP = Reply(
    name="ok_help", smtp=214, enhanced="2.0.0", http=0, code="", text="{saw}", meaning="", fix="", stages="HELP",
)
OK_VRFY = Reply(
    name="ok_vrfy", smtp=252, enhanced="2.5.1", http=0, code="", text="Cannot VRFY, send some mail and see",
    meaning="", fix="", stages="VRFY",
)
GO_AHEAD = Reply(
    name="go_ahead", smtp=354, enhanced="", http=0, code="", text="End data with <CR><LF>.<CR><LF>", meaning="",
    fix="", stages="DATA",
)
BAD_COMMAND = Reply(
    name="bad_command", smtp=500, enhanced="5.5.1", http=0, code="", text="Command unrecognized", meaning="", fix="",
    stages="any",
)
BAD_LINE = Reply(
    name="bad_line", smtp=500, enhanced="5.5.2", http=0, code="", text="Line too long or not readable", meaning="",
    fix="", stages="any",
)
BAD_ARGUMENTS = Reply(
    name="bad_arguments", smtp=501, enhanced="5.5.4", http=0, code="", text="Syntax error: {saw}", meaning="", fix="",
    stages="any",
)
BAD_PARAMETER = Reply(
    name="bad_parameter", smtp=555, enhanced="5.5.4", http=0, code="", text="Parameter not recognized: {saw}",
    meaning="", fix="", stages="MAIL, RCPT",
)
BAD_SEQUENCE = Reply(
    name="bad_sequence", smtp=503, enhanced="5.5.1", http=0, code="", text="Bad sequence of commands: {saw}",
    meaning="", fix="", stages="any",
)
BAD_MECHANISM = Reply(
    name="bad_mechanism", smtp=504, enhanced="5.5.4", http=0, code="",
    text="Mechanism not offered: use PLAIN or LOGIN", meaning="", fix="", stages="AUTH",
)
AUTH_CANCELLED = Reply(
    name="auth_cancelled", smtp=501, enhanced="5.7.0", http=0, code="", text="Authentication cancelled", meaning="",
    fix="", stages="AUTH",
)
AUTH_BAD_ENCODING = Reply(
    name="auth_bad_encoding", smtp=501, enhanced="5.5.2", http=0, code="", text="Cannot decode the response",
    meaning="", fix="", stages="AUTH",
)
NOT_IMPLEMENTED = Reply(
    name="not_implemented", smtp=502, enhanced="5.5.1", http=0, code="", text="Command not implemented", meaning="",
    fix="", stages="any",
)
RECIPIENTS_LATER = Reply(
    name="recipients_later", smtp=451, enhanced="4.5.0", http=0, code="",
    text="No recipient was taken just now: try again later", meaning="", fix="", stages="DATA",
)
TOO_MANY_ERRORS = Reply(
    name="too_many_errors", smtp=421, enhanced="4.7.0", http=0, code="", text="Too many errors, closing", meaning="",
    fix="", stages="any", closes=True,
)
TOO_MANY_LOGINS = Reply(
    name="too_many_logins", smtp=421, enhanced="4.7.0", http=0, code="",
    text="Too many failed logins (wrong handle or API key), closing", meaning="", fix="", stages="AUTH", closes=True,
)
TOO_MANY_MESSAGES = Reply(
    name="too_many_messages", smtp=421, enhanced="4.7.0", http=0, code="",
    text="Enough messages on this connection, reconnect for more", meaning="", fix="", stages="MAIL", closes=True,
)
TIMEOUT = Reply(
    name="timeout", smtp=421, enhanced="4.4.2", http=0, code="", text="Timeout, closing connection", meaning="",
    fix="", stages="any", closes=True,
)
SHUTTING_DOWN = Reply(
    name="shutting_down", smtp=421, enhanced="4.3.2", http=503, code="TEMPORARILY_UNAVAILABLE",
    text="Service shutting down, try again in a moment", meaning="", fix="", stages="any", closes=True,
)
SMUGGLING = Reply(
    name="smuggling", smtp=521, enhanced="5.5.2", http=0, code="", text="Bare CR or LF in a command: closing",
    meaning="", fix="", stages="any", closes=True,
)

TABLE: tuple[Reply, ...] = tuple(v for v in list(globals().values()) if isinstance(v, Reply))
"""Every reply, in the order of this file."""


def document() -> str:
    """docs/replies.md: the whole table, for people."""
    out = [
        "# Replies",
        "",
        "Generated from `relay/replies.py`; do not edit. `python -m relay.replies > docs/replies.md` regenerates it.",
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
