"""Postfix as the recipients' server: an instance of its own in a folder, on loopback, with unix users' mailboxes.

Set up as a host that finds out late: it takes mail for whomever (local_recipient_maps is empty) and reports
afterwards. What it sends goes to one port, ours. Needs root, as Postfix does.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.interop.stage import find, wait

# Unix users of every Debian: one whose mailbox is there, one whose mailbox is full.
USER, FULL = "games", "news"
LATER, AWAY = "later", "away"
_LIMIT = 30_000

MAIN = """compatibility_level = 3.6
queue_directory = {folder}/queue
data_directory = {folder}/data
command_directory = /usr/sbin
daemon_directory = {daemons}
mail_owner = postfix
setgid_group = postdrop
myhostname = mx.{domain}
myorigin = {domain}
mydestination = {domain}, {also}
mynetworks = 127.0.0.0/8
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
disable_dns_lookups = yes
smtp_host_lookup = native
relayhost = [127.0.0.1]:{reports_port}
local_recipient_maps =
alias_database =
alias_maps = texthash:{folder}/aliases
mail_spool_directory = {folder}/spool
message_size_limit = {limit}
mailbox_size_limit = {limit}
queue_minfree = 0
biff = no
delay_warning_time = 1s
queue_run_delay = 1s
minimal_backoff_time = 1s
maximal_backoff_time = 2s
maillog_file = {folder}/mail.log
maillog_file_prefixes = {folder}
"""
MASTER = """127.0.0.1:{port} inet n - n - - smtpd
pickup unix n - n 60 1 pickup
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
flush unix n - n 1000? 0 flush
proxymap unix - - n - - proxymap
smtp unix - - n - - smtp
showq unix n - n - - showq
error unix - - n - - error
retry unix - - n - - error
local unix - n n - - local
anvil unix - - n - 1 anvil
scache unix - - n - 1 scache
postlog unix-dgram n - n - 1 postlogd
"""
# A holiday note as people's programs write one (RFC 3834): to the return path, with a null sender.
NOTE = """import os, smtplib, sys
sys.stdin.buffer.read()
to = os.environ["SENDER"]
note = (
    f"From: Away <{away}@{domain}>\\r\\nTo: <{{to}}>\\r\\nSubject: Out of office\\r\\n"
    "Auto-Submitted: auto-replied\\r\\n\\r\\nI am away. 550 5.1.1 is what I say to my boss.\\r\\n"
)
with smtplib.SMTP("127.0.0.1", {port}, timeout=10) as smtp:
    smtp.sendmail("", [to], note)
"""


@dataclass(frozen=True, slots=True)
class Postfix:
    """A running instance."""

    folder: Path

    def mailbox(self, user: str) -> bytes:
        """What lies in a unix user's mailbox."""
        path = self.folder / "spool" / user
        return path.read_bytes() if path.exists() else b""

    def log(self) -> str:
        """Its log so far."""
        path = self.folder / "mail.log"
        return path.read_text("utf-8", "replace") if path.exists() else ""


@contextlib.contextmanager
def postfix(
    domain: str, also: str, port: int, reports_port: int, *, main: str = "", master: str = ""
) -> Iterator[Postfix]:
    """A Postfix that takes mail for `domain` on `port` until the block ends, and sends its own to `reports_port`.

    Mail for the postmaster of `also`, the sender's domain, goes into USER's mailbox too. `main` and `master` are added
    to its configuration."""
    # Its daemons run as other users: the folder must not lie within one that is root's alone.
    folder = Path(tempfile.mkdtemp(prefix="posthouse-postfix-"))
    folder.chmod(0o755)
    try:
        _lay_out(folder, domain, also, port, reports_port)
        for name, text in (("main.cf", main), ("master.cf", master)):
            with (folder / "etc" / name).open("a") as file:
                file.write(text)
        command = [find("postfix") or "postfix", "-c", str(folder / "etc")]
        made = subprocess.run([*command, "start"], capture_output=True, text=True, timeout=30, check=False)
        running = Postfix(folder)
        assert made.returncode == 0, made.stdout + made.stderr + running.log()
        try:
            wait(lambda: "daemon started" in running.log(), "Postfix does not start", folder / "mail.log")
            yield running
        finally:
            subprocess.run([*command, "stop"], capture_output=True, timeout=30, check=False)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _lay_out(folder: Path, domain: str, also: str, port: int, reports_port: int) -> None:
    facts = {
        "folder": folder, "domain": domain, "also": also, "port": port, "reports_port": reports_port, "limit": _LIMIT,
        "daemons": _daemons(), "away": AWAY,
    }
    for name in ("etc", "queue", "data", "spool"):
        (folder / name).mkdir()
    shutil.chown(folder / "data", "postfix")
    (folder / "spool").chmod(0o1777)
    (folder / "etc" / "main.cf").write_text(MAIN.format(**facts))
    (folder / "etc" / "master.cf").write_text(MASTER.format(**facts))
    (folder / "away.py").write_text(NOTE.format(**facts))
    # 75 is a program's word for "not now" (EX_TEMPFAIL).
    (folder / "aliases").write_text(
        f'{AWAY} "|/usr/bin/python3 {folder}/away.py"\n{LATER} "|exit 75"\npostmaster {USER}\n'
    )
    full = folder / "spool" / FULL
    full.write_bytes(b"From a@b Thu Jan  1 00:00:00 1970\n\n" + b"x" * 70 + b"\n" * (_LIMIT - 110))
    shutil.chown(full, FULL)
    os.chmod(full, 0o600)


def _daemons() -> str:
    return next((p for p in ("/usr/lib/postfix/sbin", "/usr/libexec/postfix") if Path(p).is_dir()), "")
