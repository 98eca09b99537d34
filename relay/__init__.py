"""The relay: a submitted message walks down this list.

1. `submission` is SMTP on 587 and 465, on the `smtpd` that it shares with `inbound`; `sendapi` is HTTP. They
   read, they ask, they answer in the words of `replies`, and decide nothing.
2. `directory` knows logins, members, verified domains and their keys, from a snapshot at most a second old.
3. `policy` decides about sender, recipient and header From; SMTP and HTTP ask the same questions. It asks `suppression`
   (whom a member no longer mails) and `warming` (what a domain may send by its age). `refusals` keeps what was turned
   down, for the page /r/<id>.
4. `intake` is the one way into the queue. It has the message checked and completed (`message`), given its unsubscribe
   lines (`unsubscribe`) and its signatures (`signing`), and writes all of it in one transaction shared with others:
   when that is on disk, the answer is 250 or 200.
5. `queue` is a recipient's life: claimed under a lease, settled after each try, retried by the schedule.
6. `delivery` carries: worker, route, connections, one conversation. `outcome` alone says what a remote answer means.
7. `bounces` makes return paths and writes reports to senders; `delivery.dsn` posts them through `intake`. What
   other hosts send back later comes in by `inbound` (port 25), is read by `bounces.parse` and applied by
   `bounces.record`; `bounces.classify` is the one table of why mail fails.

8. `notices` is all mail of the relay's own: texts, one builder, and the way into the queue through `intake`.

Beside the walk: `monitor` (health and metrics), `retention` (clean-up), `sandbox` (a mail exchanger for trying things
out), `verify` (DKIM of what arrives there).

`base` is the ground floor: configuration, clock, names, DNS, keys and secrets, log, the HTTP frame, and `storage`, the
only place where SQL is written. The relay never imports `enroll`: they meet in table rows.
"""
