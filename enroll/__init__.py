"""Letting people and their domains in: a domain walks down this list.

1. `api` is JSON under /v1, `pages` is HTML for people; both call the same services. `app` puts their routes
   together, `services` what they stand on.
2. `sessions` knows who asks: an API key, or a sign-in. `accounts`, `passwords` and `api_keys` are people, their
   passwords and their API keys.
3. `domains` is a domain's life: enrolled, proved, verified, paused, lost, deleted, with its DKIM pairs.
4. `records` says what the owner must publish and why, a class for each kind. `dns_check` asks DNS and names the
   mistake, `domains.lifecycle` says what follows, `domains.checking` writes it in one transaction with the event and
   the mail about it. `dns_check.provider` recognises who runs the DNS.
5. `recheck` is the clock that looks again, so that a record that goes away is noticed.
6. `stats` makes figures of the daily counters; `errors` is the one shape of a refusal.

Beside the walk: `zone`, the authoritative DNS server of the role dns and of the demo.

`enroll` stands on `relay` and enters it by few modules, which docs/house.md names. What the relay knows of all this it
reads from the tables, at the next MAIL FROM.
"""
