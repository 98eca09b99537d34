"""Which DNS records the owner of a domain must publish, and why each.

`kinds` has a class for each kind of record, `record` the value and its forms (zone file, dig command), `spf_line`
merges the relay into an SPF record that stands there, `changes` says what has to change in a zone. A domain, its keys
and the relay's names go in, records come out. Whether they are published is asked and weighed in `dns_check`.
"""

from enroll.records.changes import Change, Left, Standing, change, nsupdate
from enroll.records.kinds import BY_NAME, FEATURES, KINDS, Kind, foreign_alias, hosted, match_alias, required
from enroll.records.record import (
    MISSING,
    DomainView,
    Mistake,
    Record,
    RelayHosts,
    dig_command,
    line,
    printable,
    quoted,
    shown,
    zone_file,
)

__all__ = [
    "BY_NAME", "FEATURES", "KINDS", "MISSING", "Change", "DomainView", "Kind", "Left", "Mistake", "Record",
    "RelayHosts", "Standing", "change", "dig_command", "foreign_alias", "hosted", "line", "match_alias", "nsupdate",
    "printable", "quoted", "required", "shown", "zone_file",
]
