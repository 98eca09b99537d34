"""Others' clients submit over TLS, the zone stands in NSD, the mail arrives at smtp-sink, others verify its signatures.

What is missing on this machine skips the tests that need it; where CI=true the programs must be there. Node's
packages come from npm's registry, so their tests are skipped where that can't be reached, in CI too.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.interop import verifiers
from tests.interop.clients import BODY, CLIENTS, Client
from tests.interop.stage import DOMAIN, Stage, find, stage
from tests.interop.verifiers import ED25519, RSA

OPTIONAL = {"node", "npm"}
CLIENT_NAMES = [c.name for c in CLIENTS]


def need(*programs: str) -> None:
    """Skip without these programs; in CI, fail without those that CI installs."""
    missing = [p for p in programs if find(p) is None]
    if missing and os.environ.get("CI") == "true" and not OPTIONAL.issuperset(missing):
        pytest.fail(f"missing: {', '.join(missing)}")
    if missing:
        pytest.skip(f"missing: {', '.join(missing)}")


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    need("nsd", "smtp-sink")
    with stage(tmp_path_factory.mktemp("interop")) as running:
        yield running


@pytest.fixture(scope="module")
def node(world: Stage) -> Path:
    need("node", "npm")
    folder = world.folder / "node"
    if why := verifiers.npm_install(folder, verifiers.PACKAGES):
        pytest.skip(why)
    return folder


@pytest.fixture(scope="module")
def sent(world: Stage) -> bytes:
    """One message, submitted by a client that is always there."""
    client = next(c for c in CLIENTS if c.name == "smtplib")
    client.send(world, "verified")
    return world.arrived("verified")


@pytest.mark.parametrize("client", CLIENTS, ids=CLIENT_NAMES)
def test_a_client_submits_and_its_message_arrives_signed(
    client: Client, world: Stage, request: pytest.FixtureRequest
) -> None:
    need(*client.needs)
    if client.node:
        request.getfixturevalue("node")
    client.send(world, client.name)
    message = world.arrived(client.name)
    head, _, body = message.partition(b"\r\n\r\n")
    assert f"Subject: Interop {client.name}".encode() in head
    assert f"From: News <news@{DOMAIN}>".encode() in head
    assert verifiers.dkimpy(world, message) == {RSA: "pass", ED25519: "pass"}
    if not client.node:
        # What it was given is what arrives, octet by octet.
        assert body == BODY.encode()


def test_mail_dkim_verifies_the_rsa_signature(world: Stage, sent: bytes) -> None:
    need("perl")
    if subprocess.run(["perl", "-MMail::DKIM::Verifier", "-e", "1"], capture_output=True, check=False).returncode:
        if os.environ.get("CI") == "true":
            pytest.fail("missing: Mail::DKIM")
        pytest.skip("missing: Mail::DKIM")
    found = verifiers.mail_dkim(world, sent)
    assert found[RSA] == "pass"
    # Newer releases know Ed25519; an older one must not call it a bad signature.
    assert found[ED25519] == "pass" or "unsupported" in found[ED25519], found
    # The verifier can say no.
    assert verifiers.mail_dkim(world, sent.replace(b"The end.", b"The End."))[RSA].startswith("fail")


@pytest.mark.usefixtures("node")
def test_mailauth_verifies_both_signatures(world: Stage, sent: bytes) -> None:
    assert verifiers.mailauth(world, sent) == {RSA: "pass", ED25519: "pass"}
    spoiled = verifiers.mailauth(world, sent.replace(b"The end.", b"The End."))
    assert "pass" not in spoiled.values()
