"""Events posted to members' own addresses.

1. `dispatch` finds, as the one process that has the duty, endpoints that have not seen the newest events, and takes
   these into the log of deliveries.
2. `payload` writes each one down and signs it by the Standard Webhooks rule; while a secret is being rotated, with
   both.
3. `post` makes the request, by the guarded client (`relay.base.http_client`): only to public addresses, checked at
   the connection itself; no redirects; bounded.
4. `dispatch` settles: delivered, again later, or given up; an endpoint that goes on refusing is an alarm to its
   owner, and after some days it is disabled.

An event is posted at least once, with an id that stays the same (`webhook-id`); the order is that of the feed as
long as all goes well. Making, listing, rotating and replaying endpoints is enrollment's business.
"""

from relay.webhooks.dispatch import Dispatcher
from relay.webhooks.post import Poster

__all__ = ["Dispatcher", "Poster"]
