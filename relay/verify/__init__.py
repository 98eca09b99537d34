"""Who a message that arrived is really from: DKIM, SPF and DMARC, and the field that says what was found.

`signatures` checks DKIM (RFC 6376 §6), `spf` the sending host (RFC 7208), `dmarc` holds both against the header From
(RFC 9989). `key_record`, `spf_record` and `dmarc_record` read what domains publish, for arriving mail and for members'
own records alike, and name a fault in it. `results` writes Authentication-Results (RFC 8601), `reverse` finds a
client's own name. DNS is asked through the resolver that is handed in. Promises bounded work, a result for every
question, never an exception. Acting on a result is the caller's.
"""

from relay.verify.dmarc import Discovery, Dmarc, dmarc, walk
from relay.verify.key_record import read_key
from relay.verify.record_fault import BadRecord, Fault
from relay.verify.results import results_field
from relay.verify.reverse import address_of, confirmed, numbered
from relay.verify.signatures import AsksTxt, Signature, Verdict, signatures
from relay.verify.spf import AsksRecords, Spf, spf, spf_fault

__all__ = [
    "AsksRecords", "AsksTxt", "BadRecord", "Discovery", "Dmarc", "Fault", "Signature", "Spf", "Verdict", "address_of",
    "confirmed", "dmarc", "numbered", "read_key", "results_field", "signatures", "spf", "spf_fault", "walk",
]
