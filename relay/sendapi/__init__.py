"""The HTTP door: POST /v1/send and its family, and what a member may ask about its messages.

A request walks down this list:
  door           who is calling: API key, DID, scope; what it asks is refused in the words of both doors
  shapes         what it answers, typed; the description is made from them
  idempotency    a repeated request gets the first answer again
  models         the body, strict
  mailboxes      the addresses in it
  send           sender and recipients through policy, then one call of intake; batch and raw use the same
  compose        headers, parts, plain: the message's bytes
  preflight      every gate asked, nothing sent
  status         messages, cancel, retry, events
  member         the member's own standing
  openapi        all of it, as a schema

Decides nothing that SMTP would decide differently: the verdicts are policy's and intake's.
"""

from relay.sendapi.authenticate import SendServices
from relay.sendapi.openapi import TAGS, openapi_paths
from relay.sendapi.routes import routes

__all__ = ["TAGS", "SendServices", "openapi_paths", "routes"]
