"""The one way into the queue, whatever the source: message → policy → signing → one transaction.

`submission` holds what listeners hand in and get back, `keyring` the loaded DKIM keys, `build` turns a message
into its final signed bytes (no transaction open), `forward` a stranger's into the copy for a member, `repeats` knows a
message that comes again, `write` is the transaction shared with others, `accept` puts them together, `preflight` makes
every check without writing, `receivers` those of the rules that large receivers publish. When `Intake.accept` returns
`Accepted`, the message is on disk.
"""

from relay.intake.accept import Intake
from relay.intake.build import new_queue_id
from relay.intake.preflight import Check, Receivers
from relay.intake.receivers import RECEIVERS, Receiver
from relay.intake.submission import Accepted, Built, Forward, Recipient, Submission

__all__ = [
    "RECEIVERS", "Accepted", "Built", "Check", "Forward", "Intake", "Receiver", "Receivers", "Recipient", "Submission",
    "new_queue_id",
]
