"""The table `[aggregate_reports]` of the settings: what receivers report about members' domains, DMARC and TLS."""

from __future__ import annotations

from relay.base.config.kinds import Bytes, Count, LocalPart, Section, key


class AggregateReports(Section):
    """Reports of receivers about a whole day's mail (DMARC, RFC 9990; TLS, RFC 8460), at an address of the relay."""

    enabled: bool = key(True, "False: there is no such address, and none is suggested.")
    local_part: LocalPart = key(
        "dmarc", "The address is this at dns.hosted_zone, or at dns.bounce_host where there is no such zone."
    )
    max_bytes: Bytes = key(10_485_760, "Largest report, unpacked (10 MiB).")
    max_ratio: Count = key(200, "A file that grows by more than this when it is unpacked is no report.")
    max_depth: Count = key(20, "Deepest nesting of its XML or JSON.")
    max_rows: Count = key(10_000, "Most rows of one report.")
    max_rows_a_day: Count = key(2_000, "Most rows kept of one domain and day; reports that bring more are cut short.")
