"""A catch-all mail exchanger for trying things out: it takes mail for any domain and answers as the address says.

`wishes` what an address asks for (`bounce+5.1.1@…`, `defer+3@…`, …) · `server` the SMTP side · `shelf` the last
messages, bounded. What is done with a kept message (a page, a complaint) is others' business.
"""

from relay.sandbox.server import Sandbox, SandboxSettings
from relay.sandbox.shelf import Received, Shelf
from relay.sandbox.wishes import Wish, wish

__all__ = ["Received", "Sandbox", "SandboxSettings", "Shelf", "Wish", "wish"]
