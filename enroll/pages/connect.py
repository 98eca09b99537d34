"""How to connect: the settings, and lines that work when pasted, for swaks, curl and Python."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from ipaddress import ip_address

from relay.base.config import Config

KEY = "YOUR_API_KEY"
SENDER_DOMAIN = "your-domain.example"


@dataclass(frozen=True, slots=True)
class Settings:
    """What a mail program asks for, and the ready lines. `self_signed`: clients must be told to trust the relay."""

    host: str
    port: int | None
    tls_port: int | None
    user: str
    key: str
    sender: str
    self_signed: bool
    lines: tuple[tuple[str, str, str], ...]


def settings(config: Config, handle: str, domain: str | None, key: str = KEY) -> Settings:
    """The settings of a member; `domain` is one that may send, `key` the key if it was just made."""
    host = _host(config)
    port, tls_port = _port(config.submission.listen), _port(config.submission.listen_tls)
    sender = f"hello@{domain or SENDER_DOMAIN}"
    lines = (
        ("swaks", "SMTP with swaks", _swaks(host, port or tls_port, port is None, handle, key, sender)),
        ("curl-smtp", "SMTP with curl", _curl_smtp(host, port, tls_port, handle, key, sender)),
        ("curl-http", "HTTP with curl", _curl_http(config.server.public_url, key, sender)),
        ("python", "Python", _python(host, port, tls_port, handle, key, sender)),
    )
    return Settings(host, port, tls_port, handle, key, sender, not config.tls.cert_file, lines)


def _host(config: Config) -> str:
    """The relay's name; the address itself where it listens on loopback only, as while trying things out."""
    listens = [a.rpartition(":")[0].strip("[]") for a in (*config.submission.listen, *config.submission.listen_tls)]
    try:
        only_here = all(ip_address(a).is_loopback for a in listens)
    except ValueError:
        only_here = False
    return listens[0] if listens and only_here else config.server.hostname


def _port(addresses: list[str]) -> int | None:
    for address in addresses:
        port = address.rpartition(":")[2]
        if port.isdigit() and port != "0":
            return int(port)
    return None


def _swaks(host: str, port: int | None, implicit: bool, user: str, key: str, sender: str) -> str:
    tls = "--tls-on-connect" if implicit else "--tls"
    return (
        f"swaks --server {host} --port {port or 587} {tls} --auth PLAIN \\\n"
        f"  --auth-user {shlex.quote(user)} --auth-password {shlex.quote(key)} \\\n"
        f"  --from {shlex.quote(sender)} --to you@example.org"
    )


def _curl_smtp(host: str, port: int | None, tls_port: int | None, user: str, key: str, sender: str) -> str:
    url = f"smtp://{host}:{port}" if port else f"smtps://{host}:{tls_port or 465}"
    return (
        f"printf 'From: {sender}\\r\\nTo: you@example.org\\r\\nSubject: Hello\\r\\n\\r\\nHello.\\r\\n' |\n"
        f"curl --ssl-reqd {url} --user {shlex.quote(f'{user}:{key}')} \\\n"
        f"  --mail-from {shlex.quote(sender)} --mail-rcpt you@example.org --upload-file -"
    )


def _curl_http(public_url: str, key: str, sender: str) -> str:
    return (
        f"curl {public_url}/v1/send -H {shlex.quote(f'Authorization: Bearer {key}')} \\\n"
        "  -H 'Content-Type: application/json' \\\n"
        f"  -d '{{\"from\": \"{sender}\", \"to\": \"you@example.org\", \"subject\": \"Hello\", \"text\": \"Hello.\"}}'"
    )


def _python(host: str, port: int | None, tls_port: int | None, user: str, key: str, sender: str) -> str:
    opened = (
        f"with smtplib.SMTP({host!r}, {port}) as relay:\n    relay.starttls(context=ssl.create_default_context())\n"
        if port else
        f"with smtplib.SMTP_SSL({host!r}, {tls_port or 465}, context=ssl.create_default_context()) as relay:\n"
    )
    return (
        "import smtplib, ssl\nfrom email.message import EmailMessage\n\n"
        "letter = EmailMessage()\n"
        f"letter['From'], letter['To'], letter['Subject'] = {sender!r}, 'you@example.org', 'Hello'\n"
        "letter.set_content('Hello.')\n\n"
        f"{opened}"
        f"    relay.login({user!r}, {key!r})\n"
        "    relay.send_message(letter)"
    )
