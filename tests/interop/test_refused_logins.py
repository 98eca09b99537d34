"""A refused login as it reaches the programmer behind a client: the code and the reason, whatever the client tries."""

from __future__ import annotations

import asyncio
import os
import smtplib
import ssl
import subprocess
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from relay.base.clock import Clock
from relay.base.tls import MADE_CERT, Certificate
from relay.submission import SubmissionServer
from tests.interop import verifiers
from tests.interop.stage import find
from tests.interop.test_interop import need
from tests.kit.storage import make_config
from tests.kit.world import MemberAt, World

HERE = Path(__file__).parent
PHPMAILER = Path("/usr/share/php/libphp-phpmailer/autoload.php")
REASON = "complaint rate 1.2 %"


@dataclass(frozen=True, slots=True)
class Stage:
    """A relay's submission ports, and alice, who has a key."""

    world: World
    alice: MemberAt
    port: int
    tls: int
    ca: Path
    folder: Path


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[Stage]:
    config = make_config(
        tmp_path, submission={
            "listen": ["127.0.0.1:0"], "listen_tls": ["127.0.0.1:0"], "auth_failures_an_address": 4,
        }, server={"hostname": "localhost", "public_url": "https://relay.test"},
    )  # fmt: skip
    world = await World.make(config, Clock())
    alice = await world.member()
    await world.domain(alice)
    server = SubmissionServer(
        config=config, directory=world.directory, policy=world.policy, intake=world.intake, refusals=world.refusals,
        certificate=Certificate.of(config, world.clock),
    )
    await server.start()
    try:
        yield Stage(world, alice, server.ports[0], server.tls_ports[0], tmp_path / MADE_CERT, tmp_path)
    finally:
        await server.stop(2)
        await world.close()


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Path:
    need("node", "npm")
    folder = tmp_path_factory.mktemp("node")
    if why := verifiers.npm_install(folder, verifiers.PACKAGES[:1]):
        pytest.skip(why)
    return folder


def _smtplib(at: Stage, key: str, _: Path | None) -> str:
    try:
        with smtplib.SMTP("localhost", at.port, timeout=10) as smtp:
            smtp.starttls(context=ssl.create_default_context(cafile=str(at.ca)))
            smtp.login("alice", key)
    except smtplib.SMTPResponseException as e:
        return f"{e.smtp_code} {e.smtp_error!r}"
    return "sent"


def _smtplib_465(at: Stage, key: str, _: Path | None) -> str:
    context = ssl.create_default_context(cafile=str(at.ca))
    try:
        with smtplib.SMTP_SSL("localhost", at.tls, timeout=10, context=context) as smtp:
            smtp.login("alice", key)
    except smtplib.SMTPResponseException as e:
        return f"{e.smtp_code} {e.smtp_error!r}"
    return "sent"


def _run(*command: str, folder: Path | None = None, **environ: str) -> str:
    done = subprocess.run(
        command, capture_output=True, timeout=30, check=False, cwd=folder, env=os.environ | environ, text=True
    )
    return done.stdout + done.stderr


def _swaks(at: Stage, key: str, _: Path | None) -> str:
    said = _run(
        find("swaks") or "swaks", "--server", f"localhost:{at.port}", "--tls", "--auth-user", "alice",
        "--auth-password", key, "--from", "news@example.test", "--to", "bob@sink.test", "--quit-after", "AUTH",
    )  # fmt: skip
    return next((line for line in said.splitlines() if line.startswith(("<** ", "<~* "))), "sent")


def _curl(at: Stage, key: str, _: Path | None) -> str:
    # It shows the code in its log, and an error of its own for each kind of refusal.
    return _run(
        find("curl") or "curl", "--silent", "--verbose", "--ssl-reqd", "--cacert", str(at.ca), "--user", f"alice:{key}",
        "--mail-from", "news@example.test", "--mail-rcpt", "bob@sink.test", "--upload-file", "/dev/null",
        f"smtp://localhost:{at.port}/client.test",
    )  # fmt: skip


def _msmtp(at: Stage, key: str, _: Path | None) -> str:
    rc = at.folder / "msmtprc"
    rc.write_text(
        f"account default\nhost localhost\nport {at.port}\nauth on\ntls on\ntls_trust_file {at.ca}\nuser alice\n"
        f"password {key}\nfrom news@example.test\n"
    )
    rc.chmod(0o600)
    return _run(find("msmtp") or "msmtp", "-C", str(rc), "--", "bob@sink.test")


def _phpmailer(at: Stage, key: str, _: Path | None) -> str:
    if not PHPMAILER.exists():
        need("(PHPMailer)")
    return _run(
        find("php") or "php", str(HERE / "refused.php"), PHPMAILER=str(PHPMAILER), PORT=str(at.port), CA=str(at.ca),
        MAIL_USER="alice", MAIL_PASSWORD=key,
    )


def _nodemailer(at: Stage, key: str, node: Path | None) -> str:
    assert node is not None
    script = node / "refused.mjs"
    script.write_bytes((HERE / "refused.mjs").read_bytes())
    return _run(
        find("node") or "node", str(script), folder=node, PORT=str(at.port), CA=str(at.ca), MAIL_USER="alice",
        MAIL_PASSWORD=key,
    )


Client = Callable[[Stage, str, Path | None], str]
CLIENTS: dict[str, tuple[tuple[str, ...], Client]] = {
    "smtplib": ((), _smtplib), "smtplib-465": ((), _smtplib_465), "swaks": (("swaks",), _swaks),
    "curl": (("curl",), _curl), "msmtp": (("msmtp",), _msmtp), "phpmailer": (("php",), _phpmailer),
    "nodemailer": (("node", "npm"), _nodemailer),
}


@pytest.mark.parametrize("client", CLIENTS)
async def test_the_programmer_reads_why(client: str, stage: Stage, request: pytest.FixtureRequest) -> None:
    needs, program = CLIENTS[client]
    need(*needs)
    node = request.getfixturevalue("node") if client == "nodemailer" else None

    async def shown(key: str) -> str:
        return await asyncio.to_thread(program, stage, key, node)

    async def happens(table: str, row: int, **columns: object) -> None:
        await stage.world.change(table, row, **columns)
        await stage.world.directory.refresh()

    def say(said: str, *words: str) -> None:
        assert all(word in said for word in words), said

    wrong = f"ph_aaaaaaaaaaaa_{'x' * 43}"
    say(await shown(wrong), "535", "wrong handle or API key", "regenerate the key")
    for _ in range(4):
        stage.world.directory.login("alice", wrong, "127.0.0.1")
    say(await shown(wrong), "454", "Too many failed logins")
    assert "535" not in await shown(stage.alice.key)
    await happens("members", stage.alice.id, status="suspended", reason=REASON)
    say(await shown(stage.alice.key), "521", REASON)
    # The address belongs to nobody else: the greeting says it, before a word of the client's.
    await happens("api_keys", stage.alice.key_id, networks=["127.0.0.0/8"])
    say(await shown(stage.alice.key), "521", REASON)
