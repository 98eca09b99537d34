"""Mail clients as their users run them. Each checks the relay's certificate, signs in, and sends one message."""

from __future__ import annotations

import os
import smtplib
import ssl
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.interop.stage import Stage, find

HERE = Path(__file__).parent
# Eight-bit text, a line that begins with a dot, trailing blanks: what clients and relays get wrong.
BODY = "Grüße aus der Poststation.\r\n.dot at the start\r\n..two dots\r\ntrailing blanks   \r\n\r\nThe end.\r\n"


def letter(stage: Stage, name: str) -> bytes:
    """The message that a client is given, where it takes a whole one."""
    return (
        f"From: News <{stage.sender}>\r\nTo: {stage.recipient(name)}\r\nSubject: Interop {name}\r\n"
        f"Message-ID: <{name}@interop.test>\r\nDate: Sat, 21 Nov 2026 12:00:00 +0000\r\nMIME-Version: 1.0\r\n"
        f"Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n{BODY}"
    ).encode()


@dataclass(frozen=True, slots=True)
class Client:
    """One way to submit. needs: programs; node: packages of npm that it needs."""

    name: str
    needs: tuple[str, ...]
    send: Callable[[Stage, str], None]
    node: tuple[str, ...] = ()


def _run(command: list[str], *, text: bytes = b"", env: dict[str, str] | None = None, cwd: Path | None = None) -> None:
    try:
        done = subprocess.run(
            command, input=text, capture_output=True, timeout=20, check=False, env=os.environ | (env or {}), cwd=cwd
        )
    except subprocess.TimeoutExpired as e:
        raise AssertionError(f"{command[0]} did not end in time") from e
    assert done.returncode == 0, (done.stdout + done.stderr).decode(errors="replace")[-3000:]


def _swaks(*options: str, tls: bool = False) -> Callable[[Stage, str], None]:
    def send(stage: Stage, name: str) -> None:
        port = stage.tls if tls else stage.starttls
        _run([
            find("swaks") or "swaks", "--server", f"localhost:{port}", "--tls-verify", "--tls-ca-path", str(stage.ca),
            "--auth-user", stage.user, "--auth-password", stage.password, "--from", stage.sender,
            "--to", stage.recipient(name), "--data", "-", "--ehlo", "client.test", *options,
        ], text=letter(stage, name).replace(b"\r\n", b"\n"))  # fmt: skip

    return send


def _msmtp(*, tls: bool) -> Callable[[Stage, str], None]:
    def send(stage: Stage, name: str) -> None:
        rc = stage.folder / f"{name}.msmtprc"
        rc.write_text(
            f"account default\nhost localhost\nport {stage.tls if tls else stage.starttls}\nauth on\ntls on\n"
            f"tls_starttls {'off' if tls else 'on'}\ntls_trust_file {stage.ca}\nuser {stage.user}\n"
            f"password {stage.password}\nfrom {stage.sender}\n"
        )
        rc.chmod(0o600)
        text = letter(stage, name).replace(b"\r\n", b"\n")
        _run([find("msmtp") or "msmtp", "-C", str(rc), "--", stage.recipient(name)], text=text)

    return send


def _curl(*, tls: bool) -> Callable[[Stage, str], None]:
    def send(stage: Stage, name: str) -> None:
        url = f"smtps://localhost:{stage.tls}" if tls else f"smtp://localhost:{stage.starttls}"
        _run([
            find("curl") or "curl", "--silent", "--show-error", "--ssl-reqd", "--cacert", str(stage.ca),
            "--user", f"{stage.user}:{stage.password}", "--mail-from", stage.sender,
            "--mail-rcpt", stage.recipient(name), "--upload-file", "-", f"{url}/client.test",
        ], text=letter(stage, name))  # fmt: skip

    return send


def _smtplib(stage: Stage, name: str) -> None:
    trust = ssl.create_default_context(cafile=str(stage.ca))
    with smtplib.SMTP("localhost", stage.starttls, timeout=30) as smtp:
        smtp.starttls(context=trust)
        smtp.login(stage.user, stage.password)
        refused = smtp.sendmail(
            stage.sender, [stage.recipient(name)], letter(stage, name), mail_options=["BODY=8BITMIME"]
        )
    assert refused == {}


def _nodemailer(stage: Stage, name: str) -> None:
    facts = {
        "HOST": "localhost", "PORT": str(stage.starttls), "MAIL_USER": stage.user, "MAIL_PASSWORD": stage.password,
        "CA": str(stage.ca), "MAIL_FROM": stage.sender, "MAIL_TO": stage.recipient(name), "NAME": name, "BODY": BODY,
    }  # fmt: skip
    folder = stage.folder / "node"
    script = folder / "send.mjs"
    script.write_bytes((HERE / "send.mjs").read_bytes())
    _run([find("node") or "node", str(script)], env=facts, cwd=folder)


CLIENTS = [
    Client("swaks-plain", ("swaks",), _swaks("--tls", "--auth", "PLAIN")),
    Client("swaks-login", ("swaks",), _swaks("--tls", "--auth", "LOGIN")),
    Client("swaks-pipelined", ("swaks",), _swaks("--tls", "--auth", "PLAIN", "--pipeline")),
    Client("swaks-465", ("swaks",), _swaks("--tls-on-connect", "--auth", "PLAIN", tls=True)),
    Client("msmtp", ("msmtp",), _msmtp(tls=False)),
    Client("msmtp-465", ("msmtp",), _msmtp(tls=True)),
    Client("curl", ("curl",), _curl(tls=False)),
    Client("curl-465", ("curl",), _curl(tls=True)),
    Client("smtplib", (), _smtplib),
    Client("nodemailer", ("node", "npm"), _nodemailer, ("nodemailer",)),
]
