"""The authoritative DNS server: hosted records for members, the demo's DNS, and the tests'.

`data` holds zones and writes zone files, `answer` turns a packet into a packet, `server` has the sockets and bounds
what one network is answered.
This package and the resolver alone import dnspython.
"""

from enroll.zone.answer import Fault, Faults
from enroll.zone.data import Source, Zone, ZoneRecord, Zones, serial_of, zone_text
from enroll.zone.server import DnsServer, RateLimit

__all__ = [
    "DnsServer", "Fault", "Faults", "RateLimit", "Source", "Zone", "ZoneRecord", "Zones", "serial_of", "zone_text",
]
