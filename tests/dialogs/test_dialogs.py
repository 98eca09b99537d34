r"""Runs every `*.dialog` of this folder against a real relay: database, directory, policy, intake, both ports.

A script reads like a transcript. Lines:

    # a remark
    GIVEN key=value …            the set-up: tls=none|secure|login|implicit (how far the talk has got; default
                                 login), allowance=N (recipients an hour), suppressed=ADDRESS, suspended=yes,
                                 suspend_network=yes (the key is limited to loopback), null_sender=yes (it may use it),
                                 section.key=VALUE (config),
                                 door=25 (the port for mail from outside), forward=MAILBOX (what example.test's mail
                                 is forwarded to; "none" for the switch without a mailbox)
    C: EHLO client.test          a command, CRLF added
    C(2): NOOP                   the same, twice
    RAW: MAIL FROM:<a@b>\r\nRSET\r\n   exactly these octets: \r \n \0 \t \\ \xHH are understood
    SEND 5000 x                  so many octets of the text, over and over
    S: 250 2.1.0 *               one reply (a glob over its lines, joined by " / ")
    TLS                          the handshake
    CLOSE                        the server has closed, and has said nothing more
    MESSAGES 2                   so many messages are in the queue now
    SUSPEND, REVOKE              what happens to the member, or to its key, meanwhile
    STATE disabled               what example.test becomes

S(3): reads the same reply three times. In C: and RAW: lines {key} is alice's API key and {b64key} its base64,
{plain} her AUTH PLAIN response ({PLAIN}, {did}: with the handle or DID in upper case; {wrong}: with a wrong key;
{bob_as_alice}: acting for bob; {as_bob}: with
bob's name and alice's key; {as:NAME}: with any name), {b64:text} any text in base64 (escapes as in RAW), {bare:text}
without padding. alice owns example.test; bob owns other.test.
{path}, {leave}: a return path and an address for leaving that this relay made, both of no message it knows.
"""

from __future__ import annotations

import asyncio
import fnmatch
import re
import shutil
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select

from relay.base.clock import Clock
from relay.base.config import Tier
from relay.base.resolver import Resolver
from relay.base.storage import Tx, migrate, suppressions, versions
from relay.base.storage.suppressions import Suppression
from relay.base.storage.tables import messages
from relay.base.tls import MADE_CERT, MADE_KEY, Certificate, make_self_signed
from relay.bounces import address as return_paths
from relay.inbound import InboundServer
from relay.submission import SubmissionServer
from relay.unsubscribe import address as leaving
from tests.kit.smtp import Talk, b64, plain
from tests.kit.storage import make_config
from tests.kit.world import MemberAt, World

HERE = Path(__file__).parent
SCRIPTS = sorted(HERE.glob("*.dialog"))
_ESCAPE = re.compile(r"\\(?:x([0-9a-fA-F]{2})|(.))")
_PLAIN = {"r": "\r", "n": "\n", "0": "\0", "t": "\t", "\\": "\\"}


@dataclass
class Stage:
    """A relay with its two ports, and alice."""

    world: World
    server: SubmissionServer | InboundServer
    alice: MemberAt
    domain_id: int


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty database with its tables, and a certificate, made once and copied."""
    folder = tmp_path_factory.mktemp("template")
    asyncio.run(migrate(make_config(folder)))
    make_self_signed(folder / MADE_CERT, folder / MADE_KEY, "localhost", time.time())
    return folder


def given(script: str) -> dict[str, str]:
    """The set-up that a script asks for."""
    found = {}
    for line in script.splitlines():
        if line.startswith("GIVEN "):
            found.update(pair.split("=", 1) for pair in line.removeprefix("GIVEN ").split())
    return found


@asynccontextmanager
async def staged(folder: Path, wanted: dict[str, str]) -> AsyncIterator[Stage]:
    """The relay of one script."""
    sections: dict[str, dict[str, Any]] = {
        "submission": {"listen": ["127.0.0.1:0"], "listen_tls": ["127.0.0.1:0"]},
        "server": {"hostname": "relay.test", "public_url": "https://relay.test"},
        "inbound": {"listen": ["127.0.0.1:0"], "authentication_seconds": 0.1},
    }
    for key, value in wanted.items():
        if "." in key and not key.startswith("forward"):
            section, _, name = key.partition(".")
            sections.setdefault(section, {})[name] = float(value) if "." in value else int(value)
    if "allowance" in wanted:
        n = int(wanted["allowance"])
        sections["warming"] = {"tiers": [Tier(name="few", per_hour=n, per_day=n)]}
    config = make_config(folder, **sections)
    world = await World.make(config, Clock())
    alice = await world.member("alice")
    domain_id = await world.domain(alice, tier="few" if "allowance" in wanted else "unlimited")
    await world.domain(await world.member("bob"), "other.test")
    await _conditions(world, alice, wanted)
    if to := wanted.get("forward"):
        options = {"replies": True, "forward_to": "" if to == "none" else to}
        await world.change("domains", domain_id, options=options)
        await world.directory.refresh()
    services: dict[str, Any] = {
        "config": config, "directory": world.directory, "intake": world.intake,
        "refusals": world.refusals, "certificate": Certificate.of(config, world.clock),
    }
    server = (
        InboundServer(
            storage=world.storage, vault=world.vault, clock=world.clock, resolver=Resolver(["127.0.0.1:1"]), **services
        )
        if wanted.get("door") == "25"
        else SubmissionServer(policy=world.policy, **services)
    )
    await server.start()
    try:
        yield Stage(world, server, alice, domain_id)
    finally:
        await server.stop(2)
        await world.close()


async def _conditions(world: World, alice: MemberAt, wanted: dict[str, str]) -> None:
    if address := wanted.get("suppressed"):
        row = Suppression(0, alice.id, address, address, "unsubscribe", "", world.clock.now())

        async def add(tx: Tx) -> None:
            await suppressions.add(tx, [row])
            await versions.bump(tx, versions.SUPPRESSIONS)

        await world.storage.write(add)
        await world.suppressions.refresh()
    if "suspended" in wanted:
        await world.change("members", alice.id, status="suspended", reason="complaint rate 1.2 %")
    if "null_sender" in wanted:
        await world.change("api_keys", alice.key_id, null_sender=True)
    if "suspend_network" in wanted:
        await world.change("api_keys", alice.key_id, networks=["127.0.0.0/8"])
    await world.directory.refresh()


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda p: p.stem)
async def test_dialog(path: Path, template: Path, tmp_path: Path) -> None:
    script = path.read_text(encoding="utf-8")
    wanted = given(script)
    folder = tmp_path / "data"
    shutil.copytree(template, folder)
    async with staged(folder, wanted) as stage:
        await Run(stage, wanted.get("tls", "login"), path.name).play(script)


class Run:
    """One script being played."""

    def __init__(self, stage: Stage, far: str, name: str) -> None:
        self.stage, self.far, self.name = stage, far, name

    async def begin(self) -> Talk:
        """Connect, and go as far as the set-up says."""
        ports, tls_ports = self.stage.server.ports, self.stage.server.tls_ports
        match self.far:
            case "secure":
                return await Talk.secured(ports[0])
            case "login":
                return await Talk.logged_in(ports[0], "alice", self.stage.alice.key)
            case "implicit":
                return await Talk.to(tls_ports[0], tls=True)
            case _:
                return await Talk.to(ports[0])

    async def play(self, script: str) -> None:
        async with await self.begin() as talk:
            for number, line in enumerate(script.splitlines(), 1):
                if line and not line.startswith(("#", "GIVEN ")):
                    await self.step(talk, line, f"{self.name}:{number}: {line}")

    async def step(self, talk: Talk, line: str, where: str) -> None:
        word, _, rest = line.partition(" ")
        if repeated := re.fullmatch(r"C\((\d+)\):", word):
            for _ in range(int(repeated.group(1))):
                await talk.send(self.filled(rest).encode() + b"\r\n")
        elif word == "C:":
            await talk.send(self.filled(rest).encode() + b"\r\n")
        elif word == "RAW:":
            await talk.send(unescaped(self.filled(rest)))
        elif word == "SEND":
            count, _, text = rest.partition(" ")
            unit = unescaped(text)
            await talk.send((unit * (int(count) // len(unit) + 1))[: int(count)])
        elif repeated := re.fullmatch(r"S\((\d+)\):", word):
            for _ in range(int(repeated.group(1))):
                await self.expect(talk, rest, where)
        elif word == "S:":
            await self.expect(talk, rest, where)
        elif word == "TLS":
            await talk.handshake()
        elif word == "CLOSE":
            assert await talk.closed(), where
        else:
            await self.world_step(word, rest, where)

    async def expect(self, talk: Talk, pattern: str, where: str) -> None:
        said = (await talk.reply()).replace("\n", " / ")
        assert fnmatch.fnmatchcase(said, pattern), f"{where}\n  but the server said: {said!r}"
        assert self.stage.alice.key.split("_", 2)[2] not in said, "a secret was echoed"

    async def world_step(self, word: str, rest: str, where: str) -> None:
        world, alice = self.stage.world, self.stage.alice
        if word == "MESSAGES":
            async with world.storage.read() as tx:
                found = await tx.scalar(select(func.count()).select_from(messages))
            assert found == int(rest), f"{where}: {found}"
        elif word == "SUSPEND":
            await world.change("members", alice.id, status="suspended", reason="by the operator")
            await world.directory.refresh()
        elif word == "STATE":
            await world.change("domains", self.stage.domain_id, state=rest)
            await world.directory.refresh()
        elif word == "REVOKE":
            await world.change("api_keys", alice.key_id, revoked_at=world.clock.now())
            await world.directory.refresh()
        else:
            raise AssertionError(f"not a line of a dialog: {where}")

    def filled(self, text: str) -> str:
        """The text with its {words} replaced."""
        key = self.stage.alice.key
        words = {
            "{key}": key, "{plain}": plain("alice", key), "{PLAIN}": plain("ALICE", key),
            "{did}": plain(self.stage.alice.did.upper(), key),
            "{wrong}": plain("alice", key[:-1] + ("B" if key[-1] == "A" else "A")),
            "{path}": return_paths.local_part(self.stage.world.vault, 7),
            "{leave}": leaving.local_part(self.stage.world.vault, "a" * 16, "bob@sink.test"),
            "{b64key}": b64(key), "{bob_as_alice}": plain("alice", key, "bob"), "{as_bob}": plain("bob", key),
        }
        for word, value in words.items():
            text = text.replace(word, value)
        made = {"b64": b64, "bare": lambda name: b64(name).rstrip("="), "as": lambda name: plain(name, key)}
        return re.sub(
            r"\{(b64|bare|as):([^}]*)\}", lambda found: made[found[1]](unescaped(found[2]).decode()), text
        )


def unescaped(text: str) -> bytes:
    """RAW text as octets."""
    out = bytearray()
    at = 0
    for found in _ESCAPE.finditer(text):
        out += text[at : found.start()].encode()
        out += bytes([int(found.group(1), 16)]) if found.group(1) else _PLAIN[found.group(2)].encode()
        at = found.end()
    return bytes(out + text[at:].encode())
