"""Who a message that arrived is really from: DKIM, SPF and DMARC, and the field that says what was found.

`signatures` checks DKIM (RFC 6376 §6), `spf` the sending host (RFC 7208), `dmarc` holds both against the header From
(RFC 7489), `results` writes Authentication-Results and knows forged ones (RFC 8601), `reverse` finds a client's own
name. DNS is asked through the resolver
that is handed in. Promises bounded work, a result for every question, never an exception. Acting on a result is the
caller's.
"""

from relay.verify.dmarc import Dmarc, aligned, dmarc
from relay.verify.results import results_field
from relay.verify.reverse import address_of, confirmed, numbered
from relay.verify.signatures import AsksTxt, Signature, Verdict, signatures
from relay.verify.spf import AsksRecords, Spf, spf

__all__ = [
    "AsksRecords", "AsksTxt", "Dmarc", "Signature", "Spf", "Verdict", "address_of", "aligned", "confirmed", "dmarc",
    "numbered", "results_field", "signatures", "spf",
]
