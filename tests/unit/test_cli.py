"""The command line as an operator and a script meet it: what is printed, and the exit code."""

from __future__ import annotations

import asyncio
import functools
import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import typer.main
from sqlalchemy import select, update
from typer.testing import CliRunner, Result

from enroll.api.native.domain_views import DomainView, RecordView
from posthouse.cli import app, manual
from posthouse.cli.mail import _lines
from posthouse.cli.shell import CONFIG, FAILED, NOT_FOUND, OK, REFUSED, USAGE
from relay.base.clock import Clock, utc_day
from relay.base.config import example
from relay.base.events import Event
from relay.base.storage import Storage, events, incidents, mail, outbound_tls, sites
from relay.base.storage.migrate import REVISION
from relay.base.storage.tables import recipients
from relay.intake import Accepted
from tests.kit.plain_log import plain_log
from tests.kit.storage import make_config
from tests.kit.world import World

ROOT = Path(__file__).resolve().parent.parent.parent
Run = Callable[..., Result]
get_command = functools.cache(typer.main.get_command)


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """`run("member", "list")`: the command on a database of its own."""
    file = tmp_path / "posthouse.toml"
    file.write_text(f'[server]\ndata_dir = "{tmp_path}/data"\n')
    for name in list(os.environ):
        if name.startswith("POSTHOUSE_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("POSTHOUSE_CONFIG", str(file))
    # The commands are the same at each call; making them anew takes longer than most of them run.
    monkeypatch.setattr("typer.testing._get_command", get_command)

    def call(*words: str, code: int = OK, **more: Any) -> Result:
        result = CliRunner().invoke(app, list(words), **more)
        plain_log()
        assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
        assert result.exit_code == code, result.output
        return result

    return call


def reported(result: Result) -> Any:
    return json.loads(result.stdout)


def test_help_names_every_command_and_the_exit_codes(run: Run) -> None:
    text = run("--help").stdout
    for name in (
        "demo", "serve", "check-config", "migrate", "doctor", "backup", "restore", "member", "invite", "key",
        "domain", "queue", "explain", "suppression", "events", "send", "Exit codes",
    ):
        assert name in text
    assert "posthouse" in run("--version").stdout
    assert run("nonsense", code=USAGE).stderr


def test_a_member_is_made_with_everything_it_needs(run: Run) -> None:
    made = reported(run("member", "add", "alice", "--email", "alice@home.test", "--json"))
    assert made["handle"] == "alice"
    assert made["did"].startswith("did:web:")
    assert made["apiKey"].startswith("ph_")
    assert made["passwordLink"].startswith("http://127.0.0.1:8080/account/set-password?token=")
    shown = reported(run("--json", "member", "show", "alice"))
    assert shown["email"] == "alice@home.test"
    (key,) = shown["keys"]
    assert key["publicId"] in made["apiKey"]
    assert made["apiKey"] not in run("member", "show", "alice").stdout
    assert "alice" in run("member", "list").stdout


def test_refusals_have_one_line_and_a_code_of_their_own(run: Run) -> None:
    run("member", "add", "alice")
    again = run("member", "add", "alice", code=REFUSED)
    assert again.stderr == "posthouse: The handle alice is taken (handle)\n"
    assert reported(run("member", "add", "alice", "--json", code=REFUSED))["code"] == "HANDLE_TAKEN"
    assert run("member", "show", "nobody", code=NOT_FOUND).stderr.count("\n") == 1
    assert reported(run("domain", "show", "none.test", "--json", code=NOT_FOUND))["code"] == "NOT_FOUND"
    run("member", "delete", "alice", "--json", code=REFUSED)
    run("member", "delete", "alice", code=REFUSED, input="n\n")
    run("member", "delete", "alice", "--yes")
    run("queue", "drop", "--yes", code=USAGE)
    run("explain", "nosuchmessage", code=NOT_FOUND)


def test_a_life_of_a_member(run: Run) -> None:
    run("member", "add", "alice", "--no-key")
    assert "no longer" not in run("member", "suspend", "alice", "--reason", "too many bounces").stdout
    assert reported(run("member", "list", "--status", "suspended", "--json"))[0]["reason"] == "too many bounces"
    run("member", "release", "alice")
    key = reported(run("key", "new", "alice", "--scope", "send", "--network", "192.0.2.0/24", "--json"))
    assert (key["scopes"], key["nullSender"]) == (["send"], False)
    assert reported(run("key", "new", "alice", "--null-sender", "--json"))["nullSender"] is True
    assert "null sender" in run("key", "list", "alice").stdout
    assert reported(run("key", "new", "alice", "--smtp-user", "printer", "--json"))["smtpUser"] == "printer"
    assert "printer" in run("key", "list", "alice").stdout
    run("key", "new", "alice", "--network", "nonsense", code=REFUSED)
    assert key["publicId"] in run("key", "list", "alice").stdout
    assert reported(run("key", "revoke", f"ph_{key['publicId']}_…", "--json"))["state"] == "revoked"
    assert reported(run("invite", "--note", "for Bob", "--json"))["code"].startswith("phi_")


def test_a_note_about_a_member_and_the_audit_log(run: Run) -> None:
    run("member", "add", "alice", "--no-key")
    run("member", "note", "alice", "a friend of Bob")
    assert reported(run("member", "note", "alice", "--json")) == {"handle": "alice", "note": "a friend of Bob"}
    run("member", "note", "alice", "")
    assert "No note." in run("member", "note", "alice").stdout
    assert "alice" in run("member", "list", "--search", "LIC").stdout
    assert reported(run("member", "list", "--search", "bob", "--json")) == []
    assert reported(run("audit", "--json")) == []


def test_an_upgrade_is_tried_finished_and_taken_back(run: Run) -> None:
    run("member", "add", "alice", "--no-key")
    tried = reported(run("upgrade", "--check", "--json"))
    assert (tried["schema"], tried["decided"], tried["differences"]) == (REVISION, 0, [])
    assert tried["copied"] == tried["whole"] > 3
    assert "--back" in run("upgrade", "--check").stdout
    before = reported(run("upgrade", "--back", "--json"))["schema"]
    assert before < REVISION
    assert reported(run("upgrade", "--check", "--json"))["schema"] == before
    run("migrate")
    assert reported(run("upgrade", "--check", "--json"))["schema"] == REVISION
    run("upgrade", "--finish")
    assert reported(run("member", "list", "--json"))[0]["handle"] == "alice"
    run("upgrade", code=USAGE)
    run("upgrade", "--finish", "--back", code=USAGE)


def test_invites_are_listed_and_revoked(run: Run) -> None:
    assert "No invites." in run("invite", "list").stdout
    run("invite", "--note", "for Bob")
    [invite] = reported(run("invite", "list", "--json"))
    assert (invite["state"], invite["note"], invite["usedBy"]) == ("open", "for Bob", None)
    assert reported(run("invite", "revoke", str(invite["id"]), "--json"))["state"] == "revoked"
    assert reported(run("invite", "--json", "list")) == []
    run("invite", "revoke", str(invite["id"]), code=NOT_FOUND)


def test_what_is_not_there_is_not_asked_about(run: Run) -> None:
    for words in (("member", "delete", "nobody"), ("domain", "delete", "no.test"), ("queue", "drop", "nosuchmessage")):
        assert "?" not in run(*words, code=NOT_FOUND).output, words
    run("member", "add", "alice", "--no-key")
    run("domain", "add", "alice", "one.test")
    # No answer comes: nothing is changed.
    assert "Delete alice with all its keys and its 1 domains?" in run("member", "delete", "alice", code=1).output
    assert "Delete one.test of alice" in run("domain", "delete", "one.test", code=1).output
    assert reported(run("member", "show", "alice", "--json"))["status"] == "active"
    assert "is deleted" in run("member", "delete", "alice", "--yes").output
    assert "?" not in run("member", "delete", "alice", code=REFUSED).output


def test_a_member_may_enroll_more_domains_or_fewer(run: Run) -> None:
    run("member", "add", "alice", "--no-key")
    assert reported(run("member", "limit", "alice", "1", "--json")) == {"handle": "alice", "maxDomains": 1}
    run("domain", "add", "alice", "one.test")
    assert "At most 1 domains" in run("domain", "add", "alice", "two.test", code=REFUSED).output
    assert "as many" not in run("member", "limit", "alice", "2").stdout
    run("domain", "add", "alice", "two.test")
    run("member", "limit", "alice", "-1", code=USAGE)
    run("member", "limit", "nobody", "3", code=NOT_FOUND)
    assert reported(run("member", "limit", "alice", "--json"))["maxDomains"] is None
    run("domain", "add", "alice", "three.test")


def test_domains_and_their_records(run: Run) -> None:
    run("member", "add", "alice", "--no-key")
    added = reported(run("domain", "add", "alice", "Shop.Example", "--json"))
    assert (added["name"], added["state"]) == ("shop.example", "pending")
    assert {r["purpose"] for r in added["records"]} >= {"ownership", "dkim_rsa", "dkim_ed25519"}
    assert reported(run("domain", "records", "shop.example", "--format", "json")) == added["records"]
    zone = run("domain", "records", "shop.example", "--format", "zone").stdout
    assert "_posthouse-challenge.shop.example. " in zone
    assert "ownership" in run("domain", "records", "shop.example").stdout.lower() or "_posthouse-challenge" in zone
    run("domain", "records", "shop.example", "--format", "xml", code=USAGE)
    assert run("domain", "add", "alice", "co.uk", code=REFUSED).stderr
    assert reported(run("domain", "tier", "shop.example", "unlimited", "--json"))["tier"] == "unlimited"
    assert reported(run("domain", "tier", "shop.example", "age", "--json"))["tier"] is None
    run("domain", "tier", "shop.example", "golden", code=REFUSED)
    link = reported(run("domain", "link", "shop.example", "--json"))
    assert "/dns/" in link["url"]
    assert reported(run("domain", "link", "shop.example", "--list", "--json"))["links"] == [link]
    run("domain", "link", "shop.example", "--revoke", str(link["id"]))
    run("domain", "link", "shop.example", "--revoke", str(link["id"]), code=NOT_FOUND)
    asked = reported(run("domain", "forward", "shop.example", "owner@box.example", "--json"))
    assert (asked["forwardTo"], asked["pending"]) == ("", "owner@box.example")
    run("domain", "forward", "shop.example", "--code", "AAAAAAAAAA", code=REFUSED)
    run("domain", "forward", "shop.example", "x@box.example", "--clear", code=USAGE)
    assert reported(run("domain", "replies", "shop.example", "on", "--json"))["replies"] is True
    assert "posthouse domain forward shop.example MAILBOX" in run("domain", "replies", "shop.example", "on").stdout
    assert reported(run("domain", "forward", "shop.example", "--clear", "--json"))["pending"] is None
    run("domain", "replies", "shop.example", "maybe", code=USAGE)
    assert "shop.example" in run("domain", "list", "alice").stdout
    run("domain", "delete", "shop.example", "--yes")
    assert reported(run("domain", "list", "--json")) == []


def test_suppressions(run: Run, tmp_path: Path) -> None:
    run("member", "add", "alice", "--no-key")
    run("suppression", "add", "alice", "Bob@Sink.test")
    file = tmp_path / "in.csv"
    file.write_text("address,why\ncarol@sink.test,x\nnot an address\n=cmd@sink.test\n")
    imported = reported(run("suppression", "import", "alice", str(file), "--json", code=FAILED))
    assert imported["added"] == 2
    assert [b["line"] for b in imported["bad"]] == [3]
    lines = run("suppression", "export", "alice").stdout.splitlines()
    assert lines[0] == "address,reason,since,detail,categories"
    assert lines[1].startswith("Bob@Sink.test,manual,")
    # A spreadsheet must not run what somebody put into an address.
    assert lines[3].startswith("'=cmd@sink.test,import,")
    assert reported(run("suppression", "show", "alice", "BOB+x@sink.test", "--json"))["reason"] == "manual"
    run("suppression", "show", "alice", "nobody@sink.test", code=NOT_FOUND)
    # What was exported goes in again and is the same.
    saved = run("suppression", "export", "alice", "--format", "json").stdout
    file.write_text(saved)
    for address in ("bob@sink.test", "carol@sink.test"):
        run("suppression", "remove", "alice", address)
    again = reported(run("suppression", "import", "alice", str(file), "--json"))
    assert (again["added"], again["known"], again["origins"]) == (2, 1, {"posthouse": 3})
    back = run("suppression", "export", "alice", "--format", "json").stdout
    assert sorted(json.loads(back), key=str) == sorted(json.loads(saved), key=str)
    run("suppression", "remove", "alice", "bob@sink.test")
    run("suppression", "remove", "alice", "bob@sink.test", code=NOT_FOUND)
    assert len(reported(run("suppression", "list", "alice", "--json"))) == 2


def queued(tmp_path: Path) -> list[str]:
    """Two messages in the queue, one with a reply that tries to steer a terminal; their queue ids."""

    async def make() -> list[str]:
        world = await World.make(make_config(tmp_path / "data"), Clock())
        try:
            member = await world.member()
            await world.domain(member)
            taken = [await world.submit(member, to) for to in ("one@sink.test", "two@other.test")]
            assert all(isinstance(t, Accepted) for t in taken)
            return [t.queue_id for t in taken]
        finally:
            await world.close()

    return asyncio.run(make())


def read_by_many(tmp_path: Path, number: int) -> None:
    """Twenty-nine clicks and a complaint of one recipient."""

    async def do() -> None:
        storage = await Storage.open(make_config(tmp_path / "data"))
        try:
            async with storage.read() as tx:
                row = (await tx.execute(select(recipients).where(recipients.c.id == number))).one()
            data = [("clicked", {"url": "https://shop.test/"})] * 29 + [("complained", {"feedback": "abuse"})]
            made = [Event(t, row.member_id, 9.0, row.domain_id, row.message_id, number, d) for t, d in data]
            await storage.write(lambda tx: events.append(tx, made))
        finally:
            await storage.close()

    asyncio.run(do())


def test_the_queue_and_what_explain_says(run: Run, tmp_path: Path) -> None:
    first, second = queued(tmp_path)
    assert [q["id"] for q in reported(run("queue", "list", "--json"))] == [first, second]
    (only,) = reported(run("queue", "list", "--to", "other.test", "--member", "alice", "--json"))
    assert only["recipient"] == "two@other.test"
    assert reported(run("queue", "list", "--error", "greylisted", "--json")) == []

    assert reported(run("queue", "hold", first, "--json"))["recipients"]
    assert "when released" in run("queue", "list").stdout
    story = run("explain", first).stdout
    for words in ("Who sent it: alice, over SMTP", "example.test was a verified domain", "To one@sink.test", "held",
                  "posthouse queue release"):
        assert words in story
    run("queue", "release", "--domain", "example.test")
    run("queue", "retry", first)
    facts = reported(run("explain", second, "--json"))
    assert facts["recipients"][0]["attempts"] == []
    assert facts["timeline"][0]["type"] == "accepted"
    assert reported(run("explain", facts["messageIdHeader"], "--json"))["id"] == second
    assert reported(run("explain", str(facts["recipients"][0]["recipientId"]), "--json"))["id"] == second

    assert reported(run("queue", "drop", second, "--yes", "--json"))["recipients"] == [only["recipientId"]]
    assert reported(run("queue", "show", second, "--json"))[0]["status"] == "cancelled"
    assert "dropped by the operator" in run("explain", second).stdout
    run("queue", "retry", second, code=NOT_FOUND)
    read_by_many(tmp_path, only["recipientId"])
    story = run("explain", second).stdout
    assert "complained (abuse), nobody vouched for it" in story
    assert story.count("followed a link: https://shop.test/") == 20
    assert "and 9 more opens and clicks" in story
    timeline = reported(run("explain", second, "--json"))["timeline"]
    after = [e for e in timeline if e["type"] in ("clicked", "complained")]
    assert [e["type"] for e in after] == ["clicked"] * 29 + ["complained"]
    types = [json.loads(line)["type"] for line in run("events", "--member", "alice", "--json").stdout.splitlines()]
    assert [t for t in types if t != "clicked"] == ["accepted", "accepted", "cancelled", "complained"]


def test_times_in_events_are_times() -> None:
    line = _lines(Event("deferred", 1, 0.0, data={"attempt": 1, "nextAt": 1790000000.25}, id=7), "alice")
    assert line.endswith("attempt=1  nextAt=2026-09-21T14:13:20Z")


def test_the_configuration(run: Run, tmp_path: Path) -> None:
    assert run("check-config", "--no-ports").stdout == "The configuration is fine.\n"
    bad = tmp_path / "bad.toml"
    bad.write_text('[server]\nhostnam = "x"\n[submission]\nmax_recipients = "many"\n')
    result = run("check-config", "--config", str(bad), code=CONFIG)
    assert len(result.stderr.splitlines()) == 2
    assert "posthouse: server.hostnam: unknown key" in result.stderr
    assert reported(run("--config", str(bad), "--json", "member", "list", code=CONFIG))["code"] == "CONFIG"
    assert "no such file" in run("migrate", "-c", str(tmp_path / "none.toml"), code=CONFIG).stderr
    full = tmp_path / "example.toml"
    full.write_text(example())
    run("check-config", "--no-ports", "-c", str(full))


def test_migrate_backup_restore(run: Run, tmp_path: Path) -> None:
    assert reported(run("migrate", "--json")) == {"changed": True}
    assert reported(run("migrate", "--json")) == {"changed": False}
    run("member", "add", "alice", "--no-key")
    words = tmp_path / "words"
    words.write_text("short\n")
    run("backup", str(tmp_path / "b"), "--passphrase-file", str(words), code=FAILED)
    words.write_text("long enough a passphrase\n")
    made = reported(run("backup", str(tmp_path / "b"), "--passphrase-file", str(words), "--json"))
    assert made["withMasterKey"]
    assert made["rows"]["members"] == 2
    assert "Keep a copy of" in run("backup", str(tmp_path / "c")).stdout
    run("backup", str(tmp_path / "c"), code=FAILED)
    run("restore", str(tmp_path / "none"), code=USAGE)
    other = tmp_path / "other.toml"
    other.write_text(f'[server]\ndata_dir = "{tmp_path}/other"\n')
    run("restore", str(tmp_path / "b"), "--passphrase-file", str(words), "-c", str(other))
    assert [m["handle"] for m in reported(run("member", "list", "--json", "-c", str(other)))] == ["alice"]


def test_an_incident_is_listed_shown_and_closed(run: Run, tmp_path: Path) -> None:
    run("migrate")
    assert "None." in run("incident", "list").stdout

    async def happen() -> None:
        storage = await Storage.open(make_config(tmp_path / "data"))
        example = {"at": 0.0, "host": "mx.example.net", "recipient": "bob@example.net", "reply": "550 5.7.1 listed"}
        await storage.write(
            lambda tx: incidents.join(tx, "reputation", seen_at=0.0, count=7, examples=[example], keep=5)
        )
        await storage.close()

    asyncio.run(happen())
    [one] = reported(run("incident", "list", "--json"))
    assert (one["kind"], one["count"], one["state"]) == ("reputation", 7, "open")
    assert "mx.example.net" in run("incident", "show", "1").stdout
    assert "posthouse incident show 1" in run("doctor", "--only", "incidents").stdout
    run("incident", "close", "1")
    run("incident", "close", "1", code=REFUSED)
    run("incident", "show", "2", code=NOT_FOUND)
    assert reported(run("incident", "list", "--json")) == []
    assert "no other host blames this relay" in run("doctor", "--only", "incidents").stdout


def test_a_site_is_shown_paused_and_resumed_and_explain_says_what_waits_for_it(run: Run, tmp_path: Path) -> None:
    first, _ = queued(tmp_path)
    assert "No site is in trouble." in run("site", "list").stdout
    names = {s["site"]: s for s in reported(run("site", "list", "--all", "--json"))}
    assert (names["google"]["lanes"], names["google"]["source"], names["google"]["state"]) == (20, "default", "ok")
    now, far = time.time(), "mx.sink.test"
    number = reported(run("queue", "show", first, "--json"))[0]["recipientId"]

    async def happen() -> None:
        storage = await Storage.open(make_config(tmp_path / "data"))
        limits = sites.Limits(300.0, 600.0, 10.0, 0.1, 0.05, 100.0)
        given = sites.Sign(far, 20, None, 0.0, "421 4.7.0 no more", far)
        await storage.write(lambda tx: sites.sign(tx, given, limits, now))
        await storage.write(lambda tx: sites.seen(tx, {"sink.test": far}, now))
        await storage.write(lambda tx: tx.execute(update(recipients).values(lease_owner="me", lease_until=now + 9)))
        await storage.write(lambda tx: mail.park(tx, "me", [(number, now + 900, far)]))
        await storage.close()

    asyncio.run(happen())
    [one] = reported(run("site", "list", "--json"))
    assert (one["site"], one["state"], one["lanes"], one["rate"], one["source"]) == (far, "paused", 10, 10.0, "learnt")
    shown = reported(run("site", "show", "sink.test", "--json"))
    assert (shown["site"], shown["domains"], shown["reply"]) == (far, ["sink.test"], "421 4.7.0 no more")
    assert "waits: mx.sink.test is paused" in run("queue", "list").stdout
    story = run("explain", first).stdout
    assert f"waits: {far} is paused until" in story
    assert f"{far} said 421 4.7.0 no more" in story
    assert "1 paused, 0 slowed" in run("doctor", "--only", "sites").stdout
    run("site", "pause", "sink.test")
    assert f"posthouse site resume {far}" in run("explain", first).stdout
    assert f"paused by the operator: {far}" in run("doctor", "--only", "sites").stdout
    assert reported(run("site", "resume", far, "--json"))["recipients"] == 1
    run("site", "resume", "google", code=REFUSED)
    run("site", "show", "no such name", code=NOT_FOUND)


def test_the_doctor_says_what_mends_it(run: Run) -> None:
    found = reported(run("doctor", "--only", "database", "--json", code=FAILED))
    assert found["ok"] is False
    assert found["findings"][0]["fix"].startswith("posthouse migrate")
    run("migrate")
    assert run("doctor", "--only", "database").stdout.startswith("ok   database: intact")
    assert "port 25 out" in run("doctor", "--only", "pulse", code=USAGE).stderr


def test_a_database_of_a_newer_program_is_left_alone(run: Run, tmp_path: Path) -> None:
    import sqlite3

    run("migrate")
    with sqlite3.connect(tmp_path / "data" / "posthouse.db") as db:
        db.execute("UPDATE alembic_version SET version_num = 'r9999'")
    db.close()
    assert "upgrade Posthouse" in run("member", "list", code=CONFIG).stderr


def test_the_master_key_changes_step_by_step(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run("member", "add", "alice")
    assert "no previous master key" in run("master-key", "reseal", code=FAILED).stderr
    made = reported(run("master-key", "new", "next.key", "--json"))
    assert Path(made["file"]).stat().st_mode & 0o777 == 0o600
    assert "is there already" in run("master-key", "new", "next.key", code=CONFIG).stderr
    before = reported(run("master-key", "show", "--json"))
    monkeypatch.setenv("POSTHOUSE_SECRETS__MASTER_KEY_FILE", "next.key")
    monkeypatch.setenv("POSTHOUSE_SECRETS__PREVIOUS_KEY_FILES", '["master.key"]')
    shown = reported(run("master-key", "show", "--json"))
    assert (shown["keyId"], shown["previousKeyIds"]) == (made["keyId"], [before["keyId"]])
    assert shown["apiKeys"] == 1
    assert "1 API keys have not been used since" in run("master-key", "reseal").stdout
    monkeypatch.setenv("POSTHOUSE_SECRETS__PREVIOUS_KEY_FILES", '["gone.key"]')
    assert "gone.key" in run("master-key", "show", code=CONFIG).stderr
    assert "secrets.previous_key_files" in run("check-config", code=CONFIG).output


def test_an_exported_zone_is_not_replaced_by_an_older_one(run: Run, tmp_path: Path) -> None:
    (tmp_path / "posthouse.toml").write_text(
        f'[server]\ndata_dir = "{tmp_path}/data"\nhostname = "relay.org"\n[dns]\nhosted_zone = "hosted.relay.org"\n'
        'hosted_servers = ["ns.relay.net"]\n'
    )
    file = tmp_path / "zone"
    run("member", "add", "alice", "--email", "alice@home.test")
    run("zone", "export", "--output", str(file))
    kept = file.read_text()
    run("zone", "export", "--output", str(file))
    shutil.move(tmp_path / "data", tmp_path / "away")
    said = run("zone", "export", "--output", str(file), code=REFUSED).stderr
    assert "is database.url right?" in said
    assert file.read_text() == kept
    assert [one.name for one in tmp_path.iterdir() if one.name.startswith("tmp")] == []
    run("zone", "export", "--output", str(file), "--force")
    assert file.read_text() != kept


def test_tls_with_others_and_of_our_own(run: Run, tmp_path: Path) -> None:
    async def happen() -> None:
        world = await World.make(make_config(tmp_path / "data"), Clock())
        day = utc_day(world.clock.now())
        await world.storage.write(lambda tx: outbound_tls.count(tx, {}, {(day, "mta-sts", "certificate-expired"): 3}))
        await world.storage.write(lambda tx: outbound_tls.owe_reports(tx, [(day, "b.test", 5.0, "one")], 10))
        await world.close()

    asyncio.run(happen())
    [total] = reported(run("tls", "totals", "--json"))
    assert (total["policy"], total["result"], total["sessions"]) == ("mta-sts", "certificate-expired", 3)
    assert "certificate-expired" in run("tls", "totals").stdout
    [report] = reported(run("tls", "reports", "--json"))
    assert (report["domain"], report["state"], report["nextAt"]) == ("b.test", "waiting", "1970-01-01T00:00:05Z")
    assert reported(run("tls", "reports", "--domain", "c.test", "--json")) == []
    assert "b.test" in run("tls", "reports").stdout
    file = tmp_path / "posthouse.toml"
    file.write_text(file.read_text() + '[dns]\nresolvers = ["127.0.0.1:1"]\n')
    assert "no answer about b.test" in run("tls", "policy", "b.test", code=REFUSED).output
    run("tls", "policy", "not a name", code=REFUSED)
    lines = {line["name"]: line["value"] for line in reported(run("zone", "tls", "--json"))}
    assert lines["_mta-sts.bounce.localhost"].startswith("v=STSv1; id=")
    assert "mx: localhost" in lines["https://mta-sts.localhost/.well-known/mta-sts.txt"]


def test_the_manual_page_is_the_truth_and_renders(tmp_path: Path) -> None:
    page = ROOT / "docs" / "posthouse.1"
    made = "docs/posthouse.1 is generated: python -m posthouse.cli.manual > docs/posthouse.1"
    assert page.read_text("utf-8") == manual.document(), made
    if shutil.which("man") is None:
        pytest.skip("man is not installed")
    seen = subprocess.run(
        ["man", "--warnings", "-l", str(page)], capture_output=True, text=True, check=True,
        env=os.environ | {"MANWIDTH": "80"},
    )
    assert seen.stderr == ""
    for words in ("domain set DOMAIN NAME=VALUE", "EXIT STATUS", "--passphrase-file PATH"):
        assert words in seen.stdout


def test_a_shell_completes_commands_and_options() -> None:
    def complete(line: str) -> list[str]:
        words = line.split(" ")
        env = os.environ | {
            "_POSTHOUSE_COMPLETE": "complete_bash", "COMP_WORDS": line, "COMP_CWORD": str(len(words) - 1)
        }
        said = subprocess.run(
            [sys.executable, "-c", "from posthouse.entry import main; main()"], env=env, capture_output=True, text=True,
            check=True,
        )
        return said.stdout.split()

    assert complete("posthouse dom") == ["domain"]
    assert "rotate" in complete("posthouse domain ro")


def test_what_programs_get_of_a_domain_is_what_the_api_gives(run: Run) -> None:
    run("member", "add", "alice")
    shown = reported(run("domain", "add", "alice", "one.test", "--json"))
    names = set(DomainView.model_json_schema(by_alias=True)["properties"])
    assert names <= set(reported(run("domain", "show", "one.test", "--json")))
    assert set(RecordView.model_json_schema(by_alias=True)["properties"]) == set(shown["records"][0])
    for words in (["member", "list"], ["key", "list", "alice"], ["domain", "list"]):
        result = run(*words, "--json")
        assert not re.search(r'"[a-z]+_[a-z_]+": ', result.stdout), words
