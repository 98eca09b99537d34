"""Sending by HTTP: POST /v1/send and its family.

A request walks down this list:
  calls          what there is to call, declared: route and description are made from it
  authenticate   who is calling: API key, DID, scope; refusals in the words of SMTP
  idempotency    a repeated request gets the first answer again
  models         the body, strict, and what is answered; raw: the query beside a finished message
  mailboxes      the addresses in it
  send           sender and recipients through policy, then one call of intake; batch and raw use the same
  compose        headers, parts, plain: the message's bytes
  copies         one letter to several people, each by itself

Decides nothing that SMTP would decide differently: the verdicts are policy's and intake's. What became of messages is
`enroll.api.native`.
"""

from relay.sendapi.authenticate import Caller, SendServices, login_by_key
from relay.sendapi.calls import TAGS, Sending, schemas, send_routes
from relay.sendapi.copies import Copies, Letter, Posted
from relay.sendapi.headers import Named

__all__ = [
    "TAGS", "Caller", "Copies", "Letter", "Named", "Posted", "SendServices", "Sending", "login_by_key", "schemas",
    "send_routes",
]
