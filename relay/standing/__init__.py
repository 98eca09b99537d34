"""Standing: when a member's bounces or complaints stop its sending, and how it gets going again.

    arithmetic   counts in, a judgement out: shares, the lower bound, the stage, what is left (pure)
    blocklists   the relay's own addresses in DNS blocklists: asked, judged, and looked at once a day
    feed         events in, counts and sightings of the relay's own faults out (pure)
    failures     who failed, as keyed hashes (pure)
    conduct      what a domain may send a day after its first weeks, by what it did (pure, and a turn a day)
    watch        the duty: count, judge, change the stage, tell the member
    view         one member's standing, for pages and APIs
    texts        the sentences; the notices themselves stand in relay.notices

A stage is acted upon elsewhere: `suspended` is the member's status, which the directory and the accepting
transaction know; `slowed` is a lower tier in `relay.warming`. What is counted comes from the event feed, so the
transactions that settle mail write nothing for it. Signing in, pages and reading by API work at every stage.
"""

from relay.standing.arithmetic import GOOD, NOTICE, SLOWED, SUSPENDED, Counts, Judgement, Measure, judge
from relay.standing.blocklists import BlocklistWatch
from relay.standing.conduct import Tomorrow, outlook
from relay.standing.view import Shown, Standing, shown, standing_of
from relay.standing.watch import Watch

__all__ = [
    "GOOD", "NOTICE", "SLOWED", "SUSPENDED", "BlocklistWatch", "Counts", "Judgement", "Measure", "Shown", "Standing",
    "Tomorrow", "Watch", "judge", "outlook", "shown", "standing_of",
]
