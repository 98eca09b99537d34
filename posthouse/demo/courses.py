"""The courses that mail can take after it was accepted, each walked for real: a bounce at once, a late one, a
complaint, an unsubscription, a reply that is forwarded.

One message to the sandbox recipient that asks for it; then what a member would notice is waited for: the event at
the webhook, verified, the message's state over the API, the entry on the suppression list. All at the same time.
"""

from __future__ import annotations

import asyncio
import json
import re
import secrets
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from aiohttp import ClientError, ClientSession, ClientTimeout

from posthouse.demo.folder import OWNER, SANDBOX
from posthouse.demo.receiver import Receiver
from posthouse.serve import Node
from relay.base import names
from relay.base.events import BOUNCED, COMPLAINED, SENT, UNSUBSCRIBED
from relay.base.storage import suppressions

_SECONDS = 20


@dataclass(frozen=True, slots=True)
class Course:
    """`local` asks the sandbox; then come `event`, `state`, and `suppression` as the reason on the list."""

    name: str
    local: str
    event: str
    state: str
    suppression: str
    category: str = "transactional"
    # A report that came after the other side had taken the message.
    late: bool = False
    # Somebody answers; event and state are those of the answer's copy, on its way to the member's mailbox.
    replied: bool = False


COURSES = (
    Course("hard bounce", "bounce+5.1.1", BOUNCED, "bounced", "hard_bounce"),
    Course("late bounce", "late-bounce+5.1.1", BOUNCED, "bounced", "hard_bounce", late=True),
    Course("complaint", "complain", COMPLAINED, "sent", "complaint"),
    Course("one-click unsubscribe", "unsubscribe", UNSUBSCRIBED, "sent", "unsubscribe", category="bulk"),
    Course("reply", "reply", SENT, "sent", "", replied=True),
)
_QUEUE_ID = re.compile(r"\bid ([a-z2-7]{16})\b")


@dataclass(slots=True)
class Walked:
    """What was seen of one course, as --check prints it; empty is "not seen"."""

    course: str
    recipient: str
    ok: bool = False
    queue_id: str = ""
    # The queue id of the reply's copy.
    forwarded_id: str = ""
    event: str = ""
    webhook_verified: bool = False
    state: str = ""
    suppression: str = ""
    error: str = ""

    def json(self) -> dict[str, Any]:
        """As --check prints it."""
        return asdict(self)


class Courses:
    """Walks courses for one member. `url` is the relay's, `sender` an address in a verified domain."""

    def __init__(
        self, node: Node, receiver: Receiver, *, url: str, member_id: int, api_key: str, sender: str
    ) -> None:
        self._node, self._receiver, self._url, self._member_id = node, receiver, url, member_id
        self._key, self._sender = api_key, sender

    async def all(self, courses: Sequence[Course] = COURSES, *, seconds: float = _SECONDS) -> list[Walked]:
        """Every course, side by side, within `seconds`; what was not seen by then is named in `error`."""
        headers = {"Authorization": f"Bearer {self._key}"}
        async with ClientSession(self._url, headers=headers, timeout=ClientTimeout(seconds)) as http:
            return list(await asyncio.gather(*(self._one(http, course, seconds) for course in courses)))

    async def _one(self, http: ClientSession, course: Course, seconds: float) -> Walked:
        # An address that was never written to: whatever an earlier walk put on the list doesn't stand in the way.
        kind, plus, detail = course.local.partition("+")
        walked = Walked(course.name, f"{kind}.{secrets.token_hex(4)}{plus}{detail}@{SANDBOX}")
        try:
            async with asyncio.timeout(seconds):
                await self._walk(http, course, walked)
        except TimeoutError:
            seen = f"seen so far: state {walked.state or 'unknown'}, event {walked.event or 'none'}"
            walked.error = f"not done within {seconds:g} s; {seen}"
        except (ClientError, OSError, ValueError) as e:
            walked.error = f"HTTP: {type(e).__name__}"
        walked.ok = not walked.error
        return walked

    async def _walk(self, http: ClientSession, course: Course, walked: Walked) -> None:
        subject = f"A {course.name}, please ({secrets.token_hex(4)})"
        body = {
            "from": self._sender, "to": walked.recipient, "subject": subject,
            "text": "Sent to a sandbox recipient that makes this happen.\n", "category": course.category,
        }
        async with http.post("/v1/send", json=body) as answer:
            said = await answer.json()
        if answer.status != 200 or not said.get("accepted"):
            walked.error = f"HTTP {answer.status}: {json.dumps(said)[:300]}"
            return
        walked.queue_id = str(said["id"])
        canonical = names.canonical(names.address(walked.recipient))
        if course.replied:
            walked.forwarded_id = await self._forwarded(f"Re: {subject}")
        about, watched = {walked.recipient, canonical}, walked.forwarded_id or walked.queue_id
        posted = await self._receiver.wait_for(
            lambda p: p.type == course.event
            and (p.event["data"].get("queueId") == watched if course.replied else p.recipient in about)
        )
        walked.event, walked.webhook_verified = posted.type, True
        if bool(posted.event["data"].get("late")) != course.late:
            walked.error = f"the bounce came {'in the session' if course.late else 'late'}"
            return
        async with self._node.core.storage.read() as tx:
            found = await suppressions.find(tx, [(self._member_id, canonical)])
        entry = found.get((self._member_id, canonical))
        walked.suppression = entry.reason if entry else ""
        if walked.suppression != course.suppression:
            walked.error = f"on the suppression list as {walked.suppression or 'nothing'}, not {course.suppression}"
            return
        while True:
            settled = self._node.settled
            async with http.get(f"/v1/messages/{watched}") as answer:
                detail = await answer.json()
            walked.state = str(detail["recipients"][0]["status"])
            if walked.state == course.state:
                return
            await settled.wait()

    async def _forwarded(self, subject: str) -> str:
        """The queue id of the copy with this subject that has reached the member's mailbox, by its Received line."""
        mailbox = self._node.mailbox
        assert mailbox is not None
        kept = await mailbox.wait_for(lambda k: k.received.rcpt_to == (OWNER,) and k.header("subject") == subject)
        found = _QUEUE_ID.search(kept.header("received"))
        return found[1] if found else ""
