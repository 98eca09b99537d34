"""What every SMTP port has in common: the conversation from its first octet to its last, and the listener under it.

`relay.submission` and `relay.inbound` derive a session and a server from these and say who may do what;
nothing here knows logins, policy, tokens or the queue. From the socket upwards, the module of each step:

1. `listener` accepts the connection, counts it (421 past a bound) and ends it when the server stops.
2. `connection` is the asyncio protocol: octets in by `reader`, octets out, the TLS handshake, hanging up.
3. `conversation` reads command lines (`grammar`), finds the command, keeps time and budgets.
4. `session` has the commands of SMTP. MAIL and RCPT are taken apart by `parameters`; what they mean is theirs.
5. `data` reads the message up to CRLF.CRLF, bounded; `bounds` say when it comes too slowly.

`bounds` holds the numbers. A refusal is a `Verdict` whose words stand in `relay.replies`, recorded by `relay.refusals`;
an exception is a 451 with a reference.
"""
