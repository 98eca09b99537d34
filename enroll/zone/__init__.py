"""The authoritative DNS server: hosted records for members, the demo's DNS, and the tests'.

`data` holds zones, `answer` turns a packet into a packet, `server` has the sockets,
`limiting` what one network is answered, `text` writes zone files.
This package and the resolver alone import dnspython.
"""

from enroll.zone.answer import Fault, Faults
from enroll.zone.data import Source, Zone, ZoneRecord, Zones
from enroll.zone.limiting import RateLimit
from enroll.zone.server import DnsServer
from enroll.zone.text import serial_of, zone_text

__all__ = [
    "DnsServer", "Fault", "Faults", "RateLimit", "Source", "Zone", "ZoneRecord", "Zones", "serial_of", "zone_text",
]
