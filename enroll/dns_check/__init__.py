"""Records wanted and answers got make findings: found, not found with the mistake named, or could not be asked.

    query (asks) → compare → one Finding a record

It knows records and no domain. `finding` weighs the servers' answers, `match` judges what stands at a name, by the
record's own kind, `misplaced` knows where a missing record may have been put instead, `provider` who runs the DNS.
Promises that trouble with DNS is never a "no" and that no fact is made of silence; what a finding does to a domain's
state is decided elsewhere.
"""

from enroll.dns_check.finding import Finding, Observation, compare
from enroll.dns_check.match import Seen, probes
from enroll.dns_check.provider import entered, form_of
from enroll.dns_check.query import observe

__all__ = ["Finding", "Observation", "Seen", "compare", "entered", "form_of", "observe", "probes"]
