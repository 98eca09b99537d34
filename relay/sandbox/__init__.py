"""A catch-all mail exchanger for trying things out: it takes mail for any domain and answers as the address says.

`wishes` what an address asks for (`bounce+5.1.1@…`, `complain@…`, …) · `server` the SMTP side · `shelf` the last
messages, bounded · `answers` what comes back for one, a report, a complaint, a reply, … · `answering` sends that home,
and nowhere else. The page that shows what was kept is others' business.
"""

from relay.sandbox.responder import Answering
from relay.sandbox.scenarios import Wish, wish
from relay.sandbox.server import Sandbox, SandboxSettings
from relay.sandbox.store import Received, Shelf

__all__ = ["Answering", "Received", "Sandbox", "SandboxSettings", "Shelf", "Wish", "wish"]
