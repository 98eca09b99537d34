"""What receivers report about a day's mail of a domain: DMARC aggregate reports (RFC 9990) and TLS reports (RFC 8460).

`read` takes a file apart, packed or not, XML or JSON: pure, bounded, and nothing in it is ever resolved or fetched.
`record` keeps what it says, by day, where it is about a domain of a member. What it means is told by the domain's page
and API. A report changes nothing else: anybody can write one.
"""

from relay.aggregate.read import BadReport, Bounds, DmarcReport, TlsReport, read
from relay.aggregate.record import AggregateRecords, Reported

__all__ = ["AggregateRecords", "BadReport", "Bounds", "DmarcReport", "Reported", "TlsReport", "read"]
