"""The one way into the queue, whatever the source: message → policy → signing → one transaction.

`submission` holds what listeners hand in and get back, `keyring` the loaded DKIM keys, `build` turns a message
into its final signed bytes (no transaction open), `forward` a stranger's into the copy for a member, `write` is the
transaction shared with others, `accept` puts them together, `preflight` makes every check without writing. When
`Intake.accept` returns `Accepted`, the message is on disk.
"""

from relay.intake.accept import Intake
from relay.intake.build import new_queue_id
from relay.intake.preflight import Check
from relay.intake.submission import Accepted, Built, Forward, Recipient, Submission

__all__ = ["Accepted", "Built", "Check", "Forward", "Intake", "Recipient", "Submission", "new_queue_id"]
