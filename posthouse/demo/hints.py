"""Lines to paste while the demo runs: the same message by five clients, what else can happen, and where to look."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

from posthouse.demo.courses import COURSES
from posthouse.demo.folder import DOMAIN, HOST, SANDBOX, Ports
from posthouse.demo.walk import RECIPIENT, SENDER, DemoMember


def lines(account: DemoMember, ports: Ports, certificate: Path) -> dict[str, str]:
    """Client → one shell line."""
    url = f"http://{HOST}:{ports.http}"
    cert, key, user = str(certificate), account.api_key, account.handle
    body = json.dumps({"from": SENDER, "to": RECIPIENT, "subject": "From curl", "text": "Hello"})
    python = (
        "import smtplib, ssl; "
        f"s = smtplib.SMTP({HOST!r}, {ports.submission}); "
        f"s.starttls(context=ssl.create_default_context(cafile={cert!r})); "
        f"s.login({user!r}, {key!r}); "
        f"print(s.sendmail({SENDER!r}, [{RECIPIENT!r}], "
        f"b'From: {SENDER}\\r\\nTo: {RECIPIENT}\\r\\nSubject: From Python\\r\\n\\r\\nHello\\r\\n') or 'sent')"
    )
    node_body = json.dumps({"from": SENDER, "to": RECIPIENT, "subject": "From Node", "text": "Hello"})
    node = (
        f"fetch({json.dumps(url + '/v1/send')}, {{method: 'POST', headers: {{Authorization: "
        f"{json.dumps('Bearer ' + key)}, 'Content-Type': 'application/json'}}, "
        f"body: JSON.stringify({node_body})}}).then(r => r.text()).then(console.log)"
    )
    text = f"From: {SENDER}\\r\\nTo: {RECIPIENT}\\r\\nSubject: From curl over SMTP\\r\\n\\r\\nHello\\r\\n"
    return {
        "swaks": (
            f"swaks --server {HOST}:{ports.submission} --tls --auth PLAIN --auth-user {user} --auth-password {key} "
            f"--from {SENDER} --to {RECIPIENT} --header 'Subject: From swaks'"
        ),
        "curl (HTTP API)": (
            f"curl -sS {url}/v1/send -H 'Authorization: Bearer {key}' -H 'Content-Type: application/json' "
            f"-d {shlex.quote(body)}"
        ),
        "curl (SMTP)": (
            f"printf {shlex.quote(text)} | curl -sS smtp://{HOST}:{ports.submission} --ssl-reqd "
            f"--cacert {shlex.quote(cert)} --user {user}:{key} --mail-from {SENDER} --mail-rcpt {RECIPIENT} -T -"
        ),
        "Python": f"python3 -c {shlex.quote(python)}",
        "Node": f"node -e {shlex.quote(node)}",
    }


def happenings(account: DemoMember, ports: Ports) -> dict[str, str]:
    """What happens → the shell line that makes it happen; the last one shows what happened to them all."""
    url = f"http://{HOST}:{ports.http}"
    key = f"-H 'Authorization: Bearer {account.api_key}'"
    out = {}
    for course in COURSES:
        body = {
            "from": SENDER, "to": f"{course.local}@{SANDBOX}", "subject": course.name, "text": "Hello",
            "category": course.category,
        }
        out[course.name] = (
            f"curl -sS {url}/v1/send {key} -H 'Content-Type: application/json' -d {shlex.quote(json.dumps(body))}"
        )
    out["what happened to them"] = f"curl -sS '{url}/v1/messages?limit={len(COURSES)}' {key}"
    return out


def text(account: DemoMember, ports: Ports, certificate: Path) -> str:
    """What stands on the terminal once everything works."""
    url = f"http://{HOST}:{ports.http}"
    out = [
        "",
        "The relay is up. Nothing leaves this machine: every domain's mail goes to the sandbox.",
        "",
        f"  Sandbox      {url}/sandbox",
        f"  Account      {url}/account   handle {account.handle}, password {account.password}",
        f"  API          {url}/openapi.json",
        f"  SMTP         {HOST}:{ports.submission} (STARTTLS), {HOST}:{ports.submission_tls} (TLS); "
        f"user {account.handle}, password: the API key",
        f"  API key      {account.api_key}",
        f"  DNS          dig @{HOST} -p {ports.dns} TXT _posthouse-challenge.{DOMAIN}",
        "",
        "Send one:",
    ]
    for client, line in lines(account, ports, certificate).items():
        out += ["", f"# {client}", line]
    out += [
        "",
        "Make something happen. Each event is posted to the demo's own webhook, which verifies the signature and",
        "prints it below. A second time the recipient is refused: it is suppressed; complain.2@… is another.",
    ]
    for happening, line in happenings(account, ports).items():
        out += ["", f"# {happening}", line]
    out += [
        "",
        "More recipients (docs/sandbox.md): defer+3@…, greylist+10s@…, slow+5s@…, tlsfail@…, delayed@…,",
        "prose-bounce@…, vacation@…; nobody@nowhere.invalid bounces because its domain doesn't exist.",
    ]
    return "\n".join([*out, "", "Press Ctrl-C to stop."])
