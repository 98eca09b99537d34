"""DKIM verifiers of others. Each gives what it thinks of every signature: algorithm → its word for the result.

Which of them can judge what:
- Mail::DKIM (Perl; Debian 12 has 1.20230212): RSA; it calls Ed25519 an unsupported algorithm.
- mailauth (Node): RSA and Ed25519.
- dkimpy and the tests' own reading of RFC 6376: RSA and Ed25519 (see tests/kit/dkim_check.py).
"""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import dns.resolver

from tests.interop.stage import Stage, find
from tests.kit.dkim_check import dkimpy_verifies, plainly_verifies

HERE = Path(__file__).parent
PACKAGES = ["nodemailer@7", "mailauth@4"]
RSA, ED25519 = "rsa-sha256", "ed25519-sha256"


def mail_dkim(stage: Stage, message: bytes) -> dict[str, str]:
    """Mail::DKIM's results."""
    path = _file(stage, message)
    lines = _run(["perl", str(HERE / "verify.pl"), str(path), str(stage.dns)]).splitlines()
    return {algorithm: detail for algorithm, _, detail in (line.split("\t") for line in lines)}


def mailauth(stage: Stage, message: bytes) -> dict[str, str]:
    """mailauth's results."""
    path = _file(stage, message)
    folder = stage.folder / "node"
    script = folder / "verify.mjs"
    script.write_bytes((HERE / "verify.mjs").read_bytes())
    found = json.loads(_run([find("node") or "node", str(script), str(path), str(stage.dns)], cwd=folder))
    return {algorithm: result for algorithm, result, _ in found}


def dkimpy(stage: Stage, message: bytes) -> dict[str, str]:
    """dkimpy's results, where the plain reading of the RFC says the same."""
    resolver = dns.resolver.Resolver(configure=False)
    resolver.nameservers, resolver.port = ["127.0.0.1"], stage.dns
    head = re.sub(rb"\r\n[ \t]+", b" ", message.partition(b"\r\n\r\n")[0])
    found = {}
    for index, field in enumerate(re.findall(rb"(?im)^dkim-signature:(.*)$", head)):
        tags = dict(part.strip().split("=", 1) for part in field.decode().split(";"))
        name = f"{tags['s']}._domainkey.{tags['d']}"
        [record] = resolver.resolve(name, "TXT")
        table = {name: b"".join(record.strings).decode()}
        good = dkimpy_verifies(message, table, index) and plainly_verifies(message, table, index)
        found[tags["a"].strip()] = "pass" if good else "fail"
    return found


def npm_install(folder: Path, packages: list[str]) -> str:
    """Install packages into `folder`; why it didn't work, or "". Asks npm's registry."""
    folder.mkdir(exist_ok=True)
    (folder / "package.json").write_text('{"private": true}\n')
    try:
        done = subprocess.run(
            [find("npm") or "npm", "install", "--silent", "--no-audit", "--no-fund", "--ignore-scripts", *packages],
            cwd=folder, capture_output=True, timeout=120, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return "npm did not end in time"
    return "" if done.returncode == 0 else f"npm could not install {', '.join(packages)}"


def _file(stage: Stage, message: bytes) -> Path:
    path = stage.folder / "message.eml"
    path.write_bytes(message)
    return path


def _run(command: list[str], cwd: Path | None = None) -> str:
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
