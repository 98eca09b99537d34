"""A catch-all mail exchanger for trying things out: it takes mail for any domain and answers as the address says.

`scenarios` what an address asks for (`bounce+5.1.1@…`, `complain@…`, …) · `server` the SMTP side · `store` the last
messages, bounded · `responses` what comes back for one, a report, a complaint, a reply, … · `responder` sends that
home, and nowhere else. The page that shows what was kept is others' business.
"""

from relay.sandbox.responder import Responder
from relay.sandbox.scenarios import Scenario, scenario
from relay.sandbox.server import Sandbox, SandboxSettings
from relay.sandbox.store import Received, Store

__all__ = ["Received", "Responder", "Sandbox", "SandboxSettings", "Scenario", "Store", "scenario"]
