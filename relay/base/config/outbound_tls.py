"""The tables `[mta_sts]` and `[tls_reports]` of the settings: what recipients' domains ask of TLS, and telling them how
it went."""

from __future__ import annotations

from relay.base.config.kinds import Bytes, Count, Port, Seconds, Section, key


class MtaSts(Section):
    """MTA-STS (RFC 8461) when delivering: the policy that a recipient's domain publishes over HTTPS."""

    enabled: bool = key(True, "False neither asks for policies nor applies them.")
    port: Port = key(443, "Port of policy hosts; only tests change it.")
    timeout_seconds: Seconds = key(20.0, "Longest time for fetching a policy; the domain's mail waits for it.")
    max_policy_bytes: Bytes = key(65_536, "Largest policy (RFC 8461 §3.3: 64 KiB).")
    retry_seconds: Seconds = key(300.0, "A policy that could not be fetched is asked for again after so long.")
    refresh_hours: Seconds = key(24.0, "A policy that is in use is fetched again after so long, so that it never ends.")
    idle_days: Seconds = key(30.0, "One that no mail has used for so long is not.")
    refresh_batch: Count = key(50, "Policies fetched again in one turn.")
    max_policies: Count = key(100_000, "Policies kept in the database; a further domain's serves in memory only.")
    remembered: Count = key(10_000, "Domains whose policy, or having none, is remembered in memory, a process.")
    remembered_seconds: Seconds = key(300.0, "For how long that is remembered before the database is asked again.")


class TlsReports(Section):
    """TLS reports (RFC 8460) to domains that ask for them: one a day, of what TLS with their exchangers came to."""

    enabled: bool = key(True, "False counts nothing for others and sends no reports.")
    flush_seconds: Seconds = key(30.0, "Sessions are counted in memory and written down so often.")
    max_counts: Count = key(10_000, "Different counts in memory at once, a process; sessions beyond are only totalled.")
    max_domains: Count = key(10_000, "Domains a day that a report is written for.")
    max_failures: Count = key(100, "Kinds of failures listed in one report; what is more is only in its sum.")
    max_addresses: Count = key(4, "Addresses (rua) that one domain's report is sent to.")
    spread_seconds: Seconds = key(14_400.0, "Reports leave within so long after midnight UTC, not all at once.")
    retry_seconds: Seconds = key(1800.0, "Wait before a report that could not be handed over is tried again.")
    give_up_hours: Seconds = key(24.0, "After so long a report that nobody took is given up.")
    timeout_seconds: Seconds = key(30.0, "Longest time for posting a report over HTTPS.")
    batch: Count = key(50, "Reports sent in one turn.")
    keep_days: Seconds = key(30.0, "How long counts and what became of reports are kept.")
