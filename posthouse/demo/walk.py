"""The first walk: member → domain → records → proof → one message by SMTP, one by HTTP → delivered, signatures good.
Then, where asked for, the other courses that mail can take (`courses`).

Each step is done as an owner would do it, through the same ports; it raises `Stumble` with one clear sentence where
it can't go on.
"""

from __future__ import annotations

import asyncio
import re
import secrets
import smtplib
import ssl
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from email.message import EmailMessage
from email.policy import SMTP
from pathlib import Path
from typing import Any

from aiohttp import ClientError, ClientSession, ClientTimeout

from enroll.domains import Domain
from enroll.zone import Zones
from posthouse.demo.courses import Courses
from posthouse.demo.folder import DOMAIN, HOST, OWNER, Ports
from posthouse.demo.receiver import Receiver
from posthouse.serve import Node
from relay.base.clock import Clock
from relay.base.storage import operator_queries
from relay.base.tls import MADE_CERT
from relay.bounces import header
from relay.replies import Refused

HANDLE = "demo"
SENDER = f"hello@{DOMAIN}"
RECIPIENT = "you@sandbox.test"
# Room for trying things out: a new domain would have five recipients an hour.
TIER = "established"
_SIGNATURES = 2
# Bounces under the domain's own name, and mail for it forwarded to its owner.
_OPTIONS = {"return_path": True, "replies": True}
_CODE = re.compile(rb"^ {4}([A-Z2-7]{10})\r?$", re.MULTILINE)
_WEBHOOK = "the demo's receiver"


class Stumble(Exception):
    """A step could not be done; the text is for people."""


@dataclass
class Report:
    """What was done, for people and for --check."""

    ok: bool = False
    steps: list[dict[str, Any]] = field(default_factory=list)
    smtp: dict[str, Any] = field(default_factory=dict)
    http: dict[str, Any] = field(default_factory=dict)
    dkim: list[dict[str, Any]] = field(default_factory=list)
    courses: list[dict[str, Any]] = field(default_factory=list)
    error: str = ""

    def json(self) -> dict[str, Any]:
        """As --check prints it."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class DemoMember:
    """The demo's member, with the secrets that the hints show."""

    member_id: int
    handle: str
    did: str
    password: str
    api_key: str


class Walk:
    """One walk. `tell` gets each step's sentence as it is done; `receiver` listens for webhooks already."""

    def __init__(
        self, node: Node, zones: Zones, ports: Ports, tell: Callable[[str], None], receiver: Receiver
    ) -> None:
        self._node, self._zones, self._ports, self._tell = node, zones, ports, tell
        self._receiver = receiver
        self._clock = Clock()
        self.report = Report()
        self.account: DemoMember | None = None

    @property
    def certificate(self) -> Path:
        """The self-signed certificate, for clients that check it."""
        return self._node.config.server.data_dir / MADE_CERT

    async def all(self) -> None:
        """The first walk: every step up to two messages that have arrived. Raises Stumble."""
        async with self._step("a member and its API key"):
            self.account = await self._member()
        async with self._step(f"{DOMAIN} enrolled, its records published in the demo's own DNS"):
            domain = await self._enroll(self.account)
        async with self._step("the records found by asking DNS: the domain is verified"):
            await self._verify(domain)
        async with self._step(f"mail for {DOMAIN} goes to {OWNER}, which has said yes"):
            await self._forward(self.account)
        async with self._step("a webhook, posted to the demo's own receiver"):
            await self._listen(self.account)
        async with self._step("one message sent over SMTP (STARTTLS, AUTH)"):
            self.report.smtp = await self._send_smtp(self.account)
        async with self._step("one message sent over HTTP"):
            self.report.http = await self._send_http(self.account)
        async with self._step("both delivered"):
            await asyncio.gather(*(self._delivered(m) for m in (self.report.smtp, self.report.http)))
        async with self._step("both DKIM signatures of both messages verify"):
            await self._check_signatures()
        self.report.ok = True

    async def courses(self) -> None:
        """What else can happen to mail, each made to happen by a sandbox recipient. After `all`. Raises Stumble."""
        account = self.account
        assert account is not None
        self.report.ok = False
        url = f"http://{HOST}:{self._ports.http}"
        courses = Courses(
            self._node, self._receiver, url=url, member_id=account.member_id, api_key=account.api_key, sender=SENDER
        )
        async with self._step("bounce, late bounce, complaint, unsubscription, reply: each seen to its end"):
            found = await courses.all()
            self.report.courses = [one.json() for one in found]
            wrong = [f"{one.course}: {one.error}" for one in found if not one.ok]
            if wrong:
                raise Stumble("; ".join(wrong))
        self.report.ok = True

    def _step(self, name: str) -> _Step:
        return _Step(self, name)

    def done(self, name: str, ok: bool, seconds: float) -> None:
        """Note a step."""
        self.report.steps.append({"step": name, "ok": ok, "seconds": round(seconds, 3)})
        self._tell(f"{'ok  ' if ok else 'FAIL'} {name}  ({seconds:.2f} s)")

    def now(self) -> float:
        """Monotonic seconds."""
        return self._clock.monotonic()

    # -- the steps ---------------------------------------------------------------------------------------------

    async def _member(self) -> DemoMember:
        core = self._node.core
        accounts, password = core.enroll.accounts, secrets.token_urlsafe(9)
        try:
            member = await accounts.get(HANDLE)
        except Refused as e:
            if e.status != 404:
                raise Stumble(e.text) from None
            member = await accounts.create(HANDLE, OWNER, None, by_operator=True)
        await accounts.set_password(await accounts.password_link(member.id), password)
        # A folder that is used again has keys of earlier days; none of their texts is known any more.
        for key in await core.enroll.credentials.list(member.id):
            await core.enroll.credentials.revoke(member.id, key.id)
        text, _ = await core.enroll.credentials.issue(member.id, description="demo", default_category="transactional")
        return DemoMember(member.id, member.handle, member.did, password, text)

    async def _enroll(self, account: DemoMember) -> Domain:
        core = self._node.core
        known = [d for d in await core.domains.list(account.member_id) if d.name == DOMAIN]
        if known:
            domain = await core.domains.update(account.member_id, DOMAIN, _OPTIONS)
        else:
            domain = await core.domains.enroll(account.member_id, DOMAIN, _OPTIONS)
        for record in core.domains.records(domain):
            self._zones.replace(record.name, record.type, record.value)
        return domain

    async def _verify(self, domain: Domain) -> None:
        core = self._node.core
        found = await core.domains.check(domain.id, by="owner")
        if found.state != "verified":
            wrong = "; ".join(f"{f['name']}: {f['says']}" for f in found.findings if f.get("ok") is not True)
            raise Stumble(f"{DOMAIN} is {found.state}: {wrong or found.reason}")
        await core.operator.set_tier(DOMAIN, TIER)
        await core.directory.refresh()

    async def _forward(self, account: DemoMember) -> None:
        """The mailbox says yes by the code that was sent to it; on used data it has done so before."""
        services, mailbox = self._node.core.enroll.for_domains, self._node.mailbox
        assert mailbox is not None
        domain = await services.forwarding.set(account.member_id, DOMAIN, OWNER)
        if domain.options.forward_to != OWNER:
            kept = await mailbox.wait_for(
                lambda k: k.received.rcpt_to == (OWNER,) and _CODE.search(k.received.raw) is not None
            )
            code = _CODE.search(kept.received.raw)
            assert code is not None
            await services.forwarding.set(account.member_id, DOMAIN, OWNER, code[1].decode())
        await self._node.core.directory.refresh()

    async def _listen(self, account: DemoMember) -> None:
        """A webhook to the receiver; those of an earlier run on the same data go."""
        webhooks = self._node.core.enroll.webhooks
        for old in await webhooks.list(account.member_id):
            if old.description == _WEBHOOK:
                await webhooks.remove(account.member_id, old.id)
        self._receiver.secret, _ = await webhooks.add(account.member_id, self._receiver.url, description=_WEBHOOK)

    async def _send_smtp(self, account: DemoMember) -> dict[str, Any]:
        message = EmailMessage()
        message["From"], message["To"] = f"Demo <{SENDER}>", RECIPIENT
        message["Subject"] = f"Hello over SMTP {secrets.token_hex(4)}"
        message.set_content("This message came in over SMTP, was signed, queued and delivered.\n")

        def send() -> str:
            context = ssl.create_default_context(cafile=str(self.certificate))
            with smtplib.SMTP(HOST, self._ports.submission, timeout=20) as smtp:
                smtp.starttls(context=context)
                smtp.login(account.handle, account.api_key)
                smtp.ehlo_or_helo_if_needed()
                for code, text in (smtp.mail(SENDER), smtp.rcpt(RECIPIENT)):
                    if code != 250:
                        raise smtplib.SMTPResponseException(code, text)
                code, text = smtp.data(message.as_bytes(policy=SMTP))
                if code != 250:
                    raise smtplib.SMTPResponseException(code, text)
                return text.decode("ascii", "replace")

        try:
            reply = await asyncio.to_thread(send)
        except (smtplib.SMTPException, OSError) as e:
            raise Stumble(f"SMTP: {e}") from None
        return {"recipient": RECIPIENT, "subject": message["Subject"], "reply": f"250 {reply}"}

    async def _send_http(self, account: DemoMember) -> dict[str, Any]:
        subject = f"Hello over HTTP {secrets.token_hex(4)}"
        body = {
            "from": f"Demo <{SENDER}>", "to": RECIPIENT, "subject": subject,
            "text": "This message came in over HTTP, was signed, queued and delivered.\n",
        }
        url = f"http://{HOST}:{self._ports.http}/v1/send"
        try:
            async with (
                ClientSession(timeout=ClientTimeout(20)) as http,
                http.post(url, json=body, headers={"Authorization": f"Bearer {account.api_key}"}) as answer,
            ):
                said = await answer.json()
        except (ClientError, OSError, ValueError) as e:
            raise Stumble(f"HTTP: {type(e).__name__}") from None
        if answer.status != 200 or not said.get("accepted"):
            raise Stumble(f"HTTP {answer.status}: {said}")
        return {"recipient": RECIPIENT, "subject": subject, "status": answer.status, "answer": said}

    async def _delivered(self, sent: dict[str, Any]) -> None:
        """Until the exchanger has it, and the queue has written that down."""
        mailbox = self._node.mailbox
        assert mailbox is not None
        kept = await mailbox.wait_for(lambda k: k.header("subject") == sent["subject"])
        marked = header.read(self._node.core.vault, kept.header("x-posthouse-message"))
        assert marked is not None
        queue_id = marked[0]
        sent |= {"queue_id": queue_id, "sandbox": f"/sandbox/{kept.id}"}
        core = self._node.core
        while True:
            settled = self._node.settled
            async with core.storage.read() as tx:
                found = await operator_queries.find(tx, queue_ids=[queue_id], only_open=False)
            if found and found[0].state == "sent":
                sent["state"] = "sent"
                return
            await settled.wait()

    async def _check_signatures(self) -> None:
        mailbox = self._node.mailbox
        assert mailbox is not None
        for sent in (self.report.smtp, self.report.http):
            kept = mailbox.get(int(sent["sandbox"].rpartition("/")[2]))
            assert kept is not None
            found = await mailbox.authentication(kept)
            self.report.dkim += [{"message": sent["queue_id"], **asdict(s)} for s in found]
            good = {s.algorithm for s in found if s.result == "pass" and s.domain == DOMAIN}
            if len(found) != _SIGNATURES or good != {"rsa-sha256", "ed25519-sha256"}:
                said = "; ".join(f"{s.algorithm}: {s.result} {s.says}" for s in found) or "no signature"
                raise Stumble(f"{sent['queue_id']}: {said}")


class _Step:
    """Times one step and notes how it ended."""

    def __init__(self, walk: Walk, name: str) -> None:
        self._walk, self._name, self._began = walk, name, walk.now()

    async def __aenter__(self) -> None:
        self._began = self._walk.now()

    async def __aexit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._walk.done(self._name, kind is None, self._walk.now() - self._began)
