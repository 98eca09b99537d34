"""Records wanted and answers got make findings: found, not found with the mistake named, or could not be asked.

    observe (asks) → compare → one Finding a record

`findings` weighs the servers' answers, `judging` reads what stands at a name, `elsewhere` knows where a missing
record may have been put instead. All pure. Promises that trouble with DNS is never a "no" and that no fact is made
of silence; what a finding does to a domain's state is decided elsewhere.
"""

from enroll.dns_check.finding import Finding, Observation, Seen, compare, needs_probes
from enroll.dns_check.misplaced import probes
from enroll.dns_check.provider import provider

__all__ = ["Finding", "Observation", "Seen", "compare", "needs_probes", "probes", "provider"]
