"""Sends, sends raw, lists and pages with the client that openapi-python-client made; run where that is installed."""

import os
import sys
from io import BytesIO

sys.path.insert(0, os.environ["CLIENT"])

from relay_client import AuthenticatedClient
from relay_client.api.messages_and_events import get_v1_messages, get_v1_messages_id
from relay_client.api.sending import post_v1_send, post_v1_send_raw
from relay_client.models import SendRequest
from relay_client.types import File

client = AuthenticatedClient(base_url=os.environ["URL"], token=os.environ["KEY"])
request = SendRequest(subject="Made", to=["ben@sink.test"], from_="a@example.test", text="Good morning.")
sent = post_v1_send.sync_detailed(client=client, body=request)
assert sent.status_code == 200, sent.content
assert "ratelimit" in sent.headers
[one] = sent.parsed.accepted
letter = b"From: a@example.test\r\nTo: ben@sink.test\r\nSubject: Raw\r\n\r\nGood morning.\r\n"
raw = post_v1_send_raw.sync_detailed(
    client=client, body=File(payload=BytesIO(letter)), from_="a@example.test", to=["ben@sink.test"]
)
assert raw.status_code == 200, raw.content
found, cursor = [], None
while True:
    more = {} if cursor is None else {"cursor": cursor}
    page = get_v1_messages.sync(client=client, limit=1, **more)
    found += page.messages
    cursor = page.cursor
    if cursor is None:
        break
assert [row.subject for row in found] == ["Raw", "Made"], found
assert found[1].recipient_id == one.recipient_id
message = get_v1_messages_id.sync(client=client, id=sent.parsed.id)
assert message.recipients[0].recipient_id == one.recipient_id
wrong = SendRequest(subject="x", to=["b@sink.test"], from_="a@other.test", text="y")
refused = post_v1_send.sync(client=client, body=wrong)
assert refused.code == "DOMAIN_MISMATCH", refused
