"""The doctor: examines a relay and its surroundings; each finding says what was seen and what fixes it.

`host` looks at the machine (disk, clock, versions, files), `certificates` at TLS, `state` at database, queue and
workers, `network` at DNS and the way out, `hosted` at the zone of members' records. The same findings are printed by
`posthouse doctor` and served to the operator at /healthz?full. An examination that can't be made says so and stops no
other. Nothing is changed.
"""

from posthouse.doctor.examine import EXAMINATIONS, examine
from posthouse.doctor.finding import FAIL, OK, WARN, Finding, Limits

__all__ = ["EXAMINATIONS", "FAIL", "OK", "WARN", "Finding", "Limits", "examine"]
