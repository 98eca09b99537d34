"""Sending back what sandbox addresses ask for: mail over MX and SMTP, unsubscribing over HTTP.

Promises that nothing goes anywhere but home: to an exchanger that is this relay by name, or to loopback; to the
relay's own public URL, or to loopback. Bounded in number a minute, in what waits, in tries and in time; what fails is
said on the page and in the log and harms nobody. What is sent is decided in `responses`.
"""

from __future__ import annotations

import asyncio
import ipaddress
import random
import re
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, replace
from urllib.parse import urlsplit

import structlog

from relay.base.clock import Clock
from relay.base.config import Config
from relay.base.http_client import HttpBounds, HttpClient
from relay.base.netguard import EVERYWHERE
from relay.base.resolver import Resolver
from relay.base.throttle import Throttle
from relay.delivery.client import Limits, Transaction
from relay.delivery.pool import Pool, PoolSettings
from relay.delivery.route import Host, Route, RouteSettings, route
from relay.delivery.tls_policy import Contexts
from relay.outcome import Outcome, from_failure
from relay.replies import printable
from relay.sandbox.responses import ONE_CLICK, Mail, Press, Silence, answer
from relay.sandbox.scenarios import ANSWERED, Scenario, scenario
from relay.sandbox.store import Received
from relay.verify import signatures

log = structlog.get_logger()

_MINUTE = 60.0
_COVERED = frozenset({b"from", b"list-unsubscribe", b"list-unsubscribe-post"})
_SIGNED = re.compile(rb"[;:]\s*h\s*=([^;]*)")


@dataclass(frozen=True, slots=True)
class _Job:
    number: int
    received: Received
    recipient: str
    asked: Scenario
    due: float


class Responder:
    """The senders. `start` them, `consider` each message taken, `close` at the end."""

    def __init__(
        self, config: Config, resolver: Resolver, clock: Clock, *, host: str, port: Callable[[], int],
        rng: random.Random | None = None,
    ) -> None:
        """`host` is the sandbox's name; `port` says where our own exchangers listen, asked anew each time."""
        s = config.sandbox
        self._config, self._resolver, self._clock = config, resolver, clock
        self._host, self._port, self._rng = host, port, rng or random.Random()
        self._own = config.own_hosts
        limits = Limits(
            connect_seconds=s.answer_timeout_seconds, greeting_seconds=s.answer_timeout_seconds,
            command_seconds=s.answer_timeout_seconds, conversation_seconds=s.answer_timeout_seconds,
        )
        # No connection is kept: those who answer are many, and each has little to say.
        settings = PoolSettings(helo=host, connections_an_address=s.answers_at_once, max_idle=0)
        self._pool = Pool(settings, Contexts(), monotonic=clock.monotonic, limits=limits)
        self._rate = Throttle(s.answers_a_minute, _MINUTE, max_keys=1)
        self._jobs: asyncio.Queue[_Job] = asyncio.Queue(s.answers_waiting)
        self._said: OrderedDict[int, list[str]] = OrderedDict()
        self._tasks: list[asyncio.Task[None]] = []
        self._http: HttpClient | None = None

    def start(self) -> None:
        """Begin to send."""
        w = self._config.webhooks
        # Where a link may lead is decided here, and more narrowly than the client would.
        bounds = HttpBounds(w.timeout_seconds, w.max_answer_bytes, ports=w.ports, private=True)
        self._http = HttpClient(bounds, self._resolver, self._clock.monotonic)
        loop = asyncio.get_running_loop()
        self._tasks = [
            loop.create_task(self._run(), name="sandbox.answers") for _ in range(self._config.sandbox.answers_at_once)
        ]

    async def close(self) -> None:
        """End; what waits is dropped."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks = []
        await self._pool.close()
        if self._http is not None:
            await self._http.close()

    def consider(self, number: int, received: Received) -> None:
        """Take note of what the recipients of this message (with its number in the store) ask for."""
        s = self._config.sandbox
        now = self._clock.monotonic()
        for recipient in received.rcpt_to:
            asked = scenario(recipient)
            if asked.kind not in ANSWERED:
                continue
            if self._rate.wait("", now) > 0:
                self._say(number, asked.kind, f"not sent: more than {s.answers_a_minute} a minute were asked for")
                continue
            try:
                self._jobs.put_nowait(_Job(number, received, recipient, asked, now + s.answer_seconds))
            except asyncio.QueueFull:
                self._say(number, asked.kind, f"not sent: {s.answers_waiting} others wait already")
            else:
                self._rate.count("", now)

    def said(self, number: int) -> list[str]:
        """What came of the message with this number, a sentence for each recipient that asked for something."""
        return list(self._said.get(number, ()))

    async def idle(self) -> None:
        """Until nothing waits and nothing is under way."""
        await self._jobs.join()

    async def _run(self) -> None:
        while True:
            job = await self._jobs.get()
            try:
                await asyncio.sleep(max(0.0, job.due - self._clock.monotonic()))
                self._say(job.number, job.asked.kind, await self._answer(job))
            except Exception:
                log.exception("sandbox.answer_failed", kind=job.asked.kind)
                self._say(job.number, job.asked.kind, "not sent: something failed here, and stands in the log")
            finally:
                self._jobs.task_done()

    def _say(self, number: int, kind: str, says: str) -> None:
        log.info("sandbox.answered", number=number, kind=kind, says=says)
        self._said.setdefault(number, []).append(says)
        while len(self._said) > self._config.sandbox.keep_messages:
            self._said.popitem(last=False)

    async def _answer(self, job: _Job) -> str:
        found = answer(job.received, job.recipient, job.asked, host=self._host, now=self._clock.now())
        match found:
            case Silence(says):
                return f"nothing: {says}"
            case Press():
                return f"{found.says}: {await self._press(found, job.received.raw)}"
            case Mail():
                return f"{found.says}: {await self._send(found)}"

    # -- mail --------------------------------------------------------------------------------------------------

    async def _send(self, mail: Mail) -> str:
        """Hand it in; a host that says "later" is asked again, a few times."""
        s = self._config.sandbox
        for left in reversed(range(s.answer_tries)):
            outcome = await self._once(mail)
            if isinstance(outcome, str):
                return f"not sent: {outcome}"
            if outcome.kind != "later" or not left:
                return printable(f"{outcome.host} said {outcome.text}" if outcome.code else outcome.text)
            await asyncio.sleep(s.answer_seconds)
        raise AssertionError("unreachable")

    async def _once(self, mail: Mail) -> Outcome | str:
        settings = RouteSettings(port=self._port(), private_networks=EVERYWHERE, ipv6=self._config.delivery.ipv6)
        found = await route(mail.to.rpartition("@")[2], resolver=self._resolver, settings=settings, rng=self._rng)
        if isinstance(found, Outcome):
            return found
        hosts = tuple(host for host in map(self._at_home, found.hosts) if host.ips)
        if not hosts:
            return "the exchanger of that domain is neither this relay nor on this machine"
        envelope = Transaction(mail.mail_from, mail.to, [mail.raw], smtputf8=mail.smtputf8)
        outcome = await self._pool.deliver(Route(found.destination, hosts), envelope)
        return outcome or from_failure("unreachable", "connect")

    def _at_home(self, host: Host) -> Host:
        """The host with those of its addresses that lead home."""
        if host.name in self._own:
            return host
        return replace(host, ips=tuple(ip for ip in host.ips if ipaddress.ip_address(ip).is_loopback))

    # -- one click ---------------------------------------------------------------------------------------------

    async def _press(self, press: Press, raw: bytes) -> str:
        if not self._home(press.url):
            return "not sent: the link leads neither to this relay nor to this machine"
        # RFC 8058 §4: without a valid signature over both fields no receiver shows the button.
        if not await self._covered(raw):
            return "not sent: no valid DKIM signature covers List-Unsubscribe and List-Unsubscribe-Post"
        assert self._http is not None
        headers = {"Content-Type": "application/x-www-form-urlencoded", "User-Agent": "Posthouse-Sandbox"}
        answered = await self._http.request("POST", press.url, headers, ONE_CLICK.encode())
        return f"the server said {answered.status}" if answered.status is not None else f"not sent: {answered.says}"

    def _home(self, url: str) -> bool:
        try:
            there, here = urlsplit(url), urlsplit(self._config.server.public_url)
            if (there.scheme, there.hostname, there.port) == (here.scheme, here.hostname, here.port):
                return True
            name = (there.hostname or "").rstrip(".")
            return name == "localhost" or ipaddress.ip_address(name).is_loopback
        except ValueError:
            return False

    async def _covered(self, raw: bytes) -> bool:
        head = raw.partition(b"\r\n\r\n")[0].replace(b"\r\n ", b" ").replace(b"\r\n\t", b" ").lower()
        fields = [line for line in head.split(b"\r\n") if line.startswith(b"dkim-signature:")]
        results = await signatures(raw, self._resolver)
        good = [_SIGNED.search(f) for f, result in zip(fields, results, strict=False) if result.result == "pass"]
        return any(found and {name.strip() for name in found[1].split(b":")} >= _COVERED for found in good)
