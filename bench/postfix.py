"""Postfix with OpenDKIM as the peer: configured in a folder of its own, started as root, nothing in /etc touched.

The work is the same: STARTTLS, AUTH PLAIN (Cyrus, its own small database), RSA-2048 signing relaxed/relaxed with From
over-signed, the queue file synced before the 250, delivery to the sink. OpenDKIM makes one signature (RSA) where
this relay makes two. `tuned` adds what an operator would change for load; without it the values are Postfix's own.
"""

from __future__ import annotations

import asyncio
import os
import pwd
import shutil
import signal
from pathlib import Path

from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_der_private_key

from bench.meter import Group
from bench.tools import BenchError, Login, call, listening
from relay.base import keys
from tests.kit.ports import free_port

NEEDED = {"postfix": "postfix", "opendkim": "opendkim", "saslpasswd2": "sasl2-bin", "openssl": "openssl"}
DOMAIN, SELECTOR, USER = "example.test", "peer", "bench"
_STOP_SECONDS = 15.0

MAIN = """compatibility_level = 3.6
queue_directory = {folder}/queue
data_directory = {folder}/data
mail_owner = postfix
setgid_group = postdrop
maillog_file_prefixes = {folder}
maillog_file = {folder}/maillog
myhostname = mx.{domain}
mydomain = {domain}
mydestination =
local_recipient_maps =
alias_maps =
alias_database =
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
mynetworks = 127.0.0.1/32
relayhost = [127.0.0.1]:{sink}
smtpd_tls_security_level = encrypt
smtpd_tls_chain_files = {folder}/tls.pem
smtpd_sasl_auth_enable = yes
smtpd_sasl_local_domain = {domain}
cyrus_sasl_config_path = {folder}/sasl
smtpd_relay_restrictions = permit_sasl_authenticated, reject
"""
SIGNING = """smtpd_milters = unix:{folder}/milter/sock
milter_default_action = tempfail
"""
TUNED = """in_flow_delay = 0
initial_destination_concurrency = 20
default_destination_concurrency_limit = 20
smtp_connection_cache_destinations = 127.0.0.1
smtpd_client_event_limit_exceptions = static:all
default_process_limit = 40
"""
MASTER = """{port} inet n - n - - smtpd
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
tlsmgr unix - - n 1000? 1 tlsmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
verify unix - - n - 1 verify
flush unix n - n 1000? 0 flush
proxymap unix - - n - - proxymap
smtp unix - - n - - smtp
relay unix - - n - - smtp
showq unix n - n - - showq
error unix - - n - - error
retry unix - - n - - error
anvil unix - - n - 1 anvil
scache unix - - n - 1 scache
postlog unix-dgram n - n - 1 postlogd
"""
MILTER = """Syslog no
Mode s
Domain {domain}
Selector {selector}
KeyFile {folder}/milter/key.pem
RequireSafeKeys no
Canonicalization relaxed/relaxed
SignatureAlgorithm rsa-sha256
OversignHeaders From
UserID opendkim
UMask 000
Socket local:{folder}/milter/sock
"""


def missing() -> list[str]:
    """What keeps the peer from running here, one line each."""
    lines = [f"{program} is not installed (Debian: {package})" for program, package in NEEDED.items()
             if shutil.which(program, path=_path()) is None]
    if os.geteuid() != 0:
        lines.append("Postfix's master must be started by root")
    return lines


class Postfix:
    """Postfix in `folder` (which others can enter), delivering to the sink at `sink_port`. `signs`: with OpenDKIM."""

    def __init__(self, folder: Path, sink_port: int, *, tuned: bool, signs: bool = True) -> None:
        self.name = f"postfix{'' if signs else '-plain'}{'-tuned' if tuned else ''}"
        self.signs = signs
        self.group = Group(self.name)
        self.version = ""
        self._folder, self._sink, self._tuned = folder, sink_port, tuned
        self._port = free_port()
        self._password = os.urandom(18).hex()
        self._txt = ""
        self._milter: asyncio.subprocess.Process | None = None

    async def set_up(self) -> None:
        """Write configuration, keys and certificate. Raises BenchError."""
        f = self._folder
        for name in ("queue", "data", "sasl", "milter"):
            (f / name).mkdir(parents=True)
        for path in (f, f.parent):
            path.chmod(0o755)
        facts = {"folder": f, "domain": DOMAIN, "selector": SELECTOR, "sink": self._sink, "port": self._port}
        parts = MAIN, SIGNING if self.signs else "", TUNED if self._tuned else ""
        (f / "main.cf").write_text("".join(parts).format(**facts))
        (f / "master.cf").write_text(MASTER.format(**facts))
        (f / "opendkim.conf").write_text(MILTER.format(**facts))
        # The files that say which dynamic maps there are must stand beside main.cf.
        for name in ("dynamicmaps.cf", "postfix-files"):
            if (source := Path("/etc/postfix") / name).exists():
                shutil.copy(source, f / name)
        database = f / "sasl" / "users"
        (f / "sasl" / "smtpd.conf").write_text(
            f"pwcheck_method: auxprop\nauxprop_plugin: sasldb\nmech_list: PLAIN\nsasldb_path: {database}\n"
        )
        process = await asyncio.create_subprocess_exec(
            _find("saslpasswd2"), "-p", "-c", "-f", str(database), "-u", DOMAIN, USER,
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE,
        )
        _, said = await process.communicate(self._password.encode())
        if process.returncode:
            raise BenchError(f"saslpasswd2: {said.decode(errors='replace').strip()}")
        shutil.chown(database, "postfix", "postfix")
        shutil.chown(f / "data", "postfix")
        await call([
            "openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "30",
            "-subj", f"/CN=mx.{DOMAIN}", "-keyout", str(f / "tls.key"), "-out", str(f / "tls.crt"),
        ])  # fmt: skip
        (f / "tls.pem").write_bytes((f / "tls.key").read_bytes() + (f / "tls.crt").read_bytes())
        (f / "tls.pem").chmod(0o600)
        pair = keys.generate_rsa()
        self._txt = keys.dkim_txt(pair.algorithm, pair.public)
        self._write_key(pair.private)
        self.version = (await call([_find("postconf"), "-c", str(f), "-h", "mail_version"])).strip()

    def _write_key(self, private: bytes) -> None:
        pem = load_der_private_key(private, None).private_bytes(
            Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()
        )
        path = self._folder / "milter" / "key.pem"
        path.write_bytes(pem)
        path.chmod(0o600)
        user = pwd.getpwnam("opendkim")
        for each in (path, path.parent):
            os.chown(each, user.pw_uid, user.pw_gid)

    async def start(self) -> Login:
        """Start the milter, if it signs, then Postfix; both inside the group. Raises BenchError."""
        f = self._folder
        if self.signs:
            await self._start_milter(f)
        await call(self.group.enter([_find("postfix"), "-c", str(f), "start"]))
        self.group.root(self._master())
        await listening(self._port)
        return Login(self._port, f"{USER}@{DOMAIN}", self._password, f"sender@{DOMAIN}")

    async def _start_milter(self, f: Path) -> None:
        (f / "milter" / "sock").unlink(missing_ok=True)
        with (f / "opendkim.log").open("ab") as log:
            self._milter = await asyncio.create_subprocess_exec(
                *self.group.enter([_find("opendkim"), "-f", "-x", str(f / "opendkim.conf")]), stdout=log, stderr=log
            )
        self.group.root(self._milter.pid)
        for _ in range(200):
            if (f / "milter" / "sock").exists():
                break
            await asyncio.sleep(0.05)
        else:
            raise BenchError(f"opendkim did not start: {(f / 'opendkim.log').read_text(errors='replace')[-500:]}")

    async def stop(self) -> None:
        """Stop both; what is left of the group's processes is ended by id."""
        if (self._folder / "queue" / "pid" / "master.pid").exists():
            await call([_find("postfix"), "-c", str(self._folder), "stop"], ok=(0, 1))
        if self._milter is not None and self._milter.returncode is None:
            self._milter.terminate()
            await self._milter.wait()
        self._milter = None
        for number in (signal.SIGTERM, signal.SIGKILL):
            for _ in range(int(_STOP_SECONDS / 0.1)):
                left = self.group.pids()
                if not left:
                    return
                await asyncio.sleep(0.1)
            for pid in left:
                try:
                    os.kill(pid, number)
                except ProcessLookupError:
                    continue

    def keys(self) -> dict[str, str]:
        """The DNS names of the keys it signs with, and their TXT values."""
        return {f"{SELECTOR}._domainkey.{DOMAIN}": self._txt}

    def _master(self) -> int:
        return int((self._folder / "queue" / "pid" / "master.pid").read_text())


def _path() -> str:
    return os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"])


def _find(program: str) -> str:
    found = shutil.which(program, path=_path())
    if found is None:
        raise BenchError(f"{program} is not installed")
    return found
