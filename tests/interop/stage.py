"""The stage: this relay between NSD, which serves the member's zone, and Postfix's smtp-sink, which takes its mail.

Set up as an operator would: through the command line, with the zone that `posthouse domain records --format zone`
writes. Everything listens on 127.0.0.1 in a folder of its own and ends with the block.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from typer.testing import CliRunner

from posthouse.cli import app
from tests.kit.plain_log import plain_log
from tests.kit.ports import free_port

HANDLE, DOMAIN, SINK_DOMAIN = "interop", "interop.test", "sink.test"
_COMMAND = [sys.executable, "-c", "from posthouse.cli import main; main()"]
_ROOT = Path(__file__).resolve().parents[2]
_SECONDS = 20.0

CONFIG = """roles = ["submission", "http", "delivery", "recheck"]
[server]
hostname = "localhost"
data_dir = "{folder}/data"
public_url = "http://127.0.0.1:{http}"
shutdown_seconds = 5.0
[submission]
listen = ["127.0.0.1:{starttls}"]
listen_tls = ["127.0.0.1:{tls}"]
[http]
listen = ["127.0.0.1:{http}"]
[dns]
resolvers = ["127.0.0.1:{dns}"]
authoritative_port = {dns}
[[warming.tiers]]
name = "wide"
per_hour = 1000
per_day = 1000
[delivery]
port = {sink}
allow_private_networks = true
ipv6 = false
"""
NSD = """server:
  ip-address: 127.0.0.1@{dns}
  server-count: 1
  username: ""
  chroot: ""
  zonesdir: "{folder}"
  pidfile: "{folder}/nsd.pid"
  xfrdfile: "{folder}/xfrd.state"
  zonelistfile: "{folder}/zone.list"
  database: ""
remote-control:
  control-enable: no
zone:
  name: "{domain}"
  zonefile: "{domain}.zone"
zone:
  name: "{sink_domain}"
  zonefile: "{sink_domain}.zone"
"""
HEAD = """{origin}. 60 IN SOA ns.{origin}. hostmaster.{origin}. 1 3600 600 604800 60
{origin}. 60 IN NS ns.{origin}.
ns.{origin}. 60 IN A 127.0.0.1
"""


@dataclass(frozen=True, slots=True)
class Stage:
    """What a client must know, and where mail arrives. ca: the relay's certificate, for clients that check it."""

    folder: Path
    starttls: int
    tls: int
    dns: int
    user: str
    password: str
    ca: Path
    mailbox: Path

    @property
    def sender(self) -> str:
        """An address in the member's domain."""
        return f"news@{DOMAIN}"

    def recipient(self, name: str) -> str:
        """An address at the sink."""
        return f"{name}@{SINK_DOMAIN}"

    def arrived(self, name: str) -> bytes:
        """The message that came for `recipient(name)`, as it was sent to the sink. AssertionError after a while."""
        wanted = f"<{self.recipient(name)}>".encode()
        found: list[bytes] = []

        def look() -> bool:
            for path in self.mailbox.iterdir():
                data = path.read_bytes()
                head, shown, rest = data.partition(b"(smtp-sink)")
                # The sink writes what it was told, then a Received of its own, then the message; a file of which
                # the end is missing is still being written.
                if shown and b"X-Rcpt-Args: " + wanted in head and data.endswith(b"\n"):
                    found.append(_message(rest))
                    return True
            return False

        wait(look, f"no message for {name} at the sink")
        return found[0]


def _message(rest: bytes) -> bytes:
    """What follows the sink's own Received field, with the line ends of the wire."""
    lines = rest.split(b"\n")[1:]
    while lines and lines[0][:1] in (b" ", b"\t"):
        lines.pop(0)
    return b"\r\n".join(line.rstrip(b"\r") for line in lines).rstrip(b"\r\n") + b"\r\n"


def find(program: str) -> str | None:
    """Where a program is, also in the folders of the system's own."""
    return shutil.which(program, path=os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin"]))


@contextlib.contextmanager
def stage(folder: Path) -> Iterator[Stage]:
    """Everything running, a member with a verified domain, until the block ends."""
    ports = {name: free_port() for name in ("starttls", "tls", "http", "dns", "sink")}
    facts: dict[str, Any] = {"folder": folder, "domain": DOMAIN, "sink_domain": SINK_DOMAIN, **ports}
    (folder / "data").mkdir()
    config = folder / "posthouse.toml"
    config.write_text(CONFIG.format(**facts))
    key = ask(config, "member", "add", HANDLE, "--email", f"{HANDLE}@{SINK_DOMAIN}")["apiKey"]
    ask(config, "domain", "add", HANDLE, DOMAIN)
    (folder / f"{DOMAIN}.zone").write_text(
        HEAD.format(origin=DOMAIN) + said(config, "domain", "records", DOMAIN, "--format", "zone")
    )
    (folder / f"{SINK_DOMAIN}.zone").write_text(
        HEAD.format(origin=SINK_DOMAIN) + f"{SINK_DOMAIN}. 60 IN MX 10 mx.{SINK_DOMAIN}.\n"
        f"mx.{SINK_DOMAIN}. 60 IN A 127.0.0.1\n"
    )
    (folder / "nsd.conf").write_text(NSD.format(**facts))
    arrived = folder / "arrivals"
    arrived.mkdir()
    with contextlib.ExitStack() as stack:
        stack.enter_context(_running(folder, "nsd", [find("nsd") or "nsd", "-d", "-c", str(folder / "nsd.conf")]))
        wait(lambda: _open(ports["dns"]), "NSD does not answer", folder / "nsd.log")
        found = ask(config, "domain", "check", DOMAIN)
        assert found["state"] == "verified", found
        # Started by root it must have somebody to become; it writes before that, in a folder that is root's.
        become = ["-u", "root"] if os.geteuid() == 0 else []
        sink = [find("smtp-sink") or "smtp-sink", *become, "-d", f"{arrived}/%M.", f"127.0.0.1:{ports['sink']}", "100"]
        stack.enter_context(_running(folder, "sink", sink))
        wait(lambda: _open(ports["sink"]), "smtp-sink does not listen", folder / "sink.log")
        stack.enter_context(_running(folder, "relay", [*_COMMAND, "--config", str(config), "serve"]))
        wait(lambda: _open(ports["starttls"]), "the relay does not listen", folder / "relay.log")
        yield Stage(
            folder, ports["starttls"], ports["tls"], ports["dns"], HANDLE, key,
            folder / "data" / "selfsigned-cert.pem", arrived,
        )  # fmt: skip


def ask(config: Path, *command: str) -> Any:
    """A command's answer for programs."""
    return json.loads(said(config, "--json", *command))


def said(config: Path, *command: str) -> str:
    """What a command of ours writes; AssertionError when it fails. It runs in this process, which has loaded it all."""
    done = CliRunner().invoke(app, ["--config", str(config), *command])
    plain_log()
    assert done.exit_code == 0, f"posthouse {' '.join(command)}: {done.output}"
    return done.stdout


def wait(until: Callable[[], bool], otherwise: str, log: Path | None = None) -> None:
    """Until something outside has happened. AssertionError with the end of `log` when it doesn't."""
    end = time.monotonic() + _SECONDS
    while not until():
        if time.monotonic() > end:
            raise AssertionError(otherwise + (f": {log.read_text()[-2000:]}" if log else ""))
        time.sleep(0.05)


@contextlib.contextmanager
def _running(folder: Path, name: str, command: list[str]) -> Iterator[None]:
    with (folder / f"{name}.log").open("wb") as log:
        process = subprocess.Popen(command, cwd=_ROOT, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    try:
        yield
    finally:
        process.terminate()
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _open(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), 2):
            return True
    except OSError:
        return False
