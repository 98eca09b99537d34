"""Every call in Octeth's shape, as its own client makes it: the case folders beside this file, asked as curl asks.

`<call>/<case>/request` is a line for the shell, with `https://example.com` for the relay and `your-api-key` for a key;
`answer.json` what comes back, status and body, to the type of each value (a text or a name that begins with `~` is a
pattern); `world.json`, where it stands, what the relay and the world look like before; `before` lines whose answers
don't matter.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import shlex
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import pytest_asyncio
from aiohttp import ClientSession
from structlog.testing import capture_logs
from yarl import URL

from enroll.api.octeth import events as octeth_events
from enroll.domains import Domains
from relay.base.storage import operator_queries
from relay.directory import Login
from relay.replies import Verdict
from tests.octeth.town import PASSWORD, Town, town

HERE = Path(__file__).parent
CASES = sorted(str(p.parent.relative_to(HERE)) for p in HERE.glob("*/*/request"))
needs_curl = pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
pytestmark = [needs_curl, pytest.mark.asyncio(loop_scope="module")]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def place(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Town]:
    async with town(tmp_path_factory.mktemp("octeth")) as made:
        yield made


@pytest.mark.parametrize("case", CASES)
async def test_a_client_gets_the_documented_answer(place: Town, case: str) -> None:
    folder = HERE / case
    world = folder / "world.json"
    port = await place.lay_out(json.loads(world.read_text("utf-8")) if world.exists() else {})
    try:
        if (folder / "before").exists():
            for command in (folder / "before").read_text("utf-8").split("\n\n"):
                await curl(place, port, command)
        line = (folder / "request").read_text("utf-8")
        # A process for each would be most of the time: the documented requests are made by curl itself.
        status, headers, body = await curl(place, port, line, itself=folder.name == "as_documented")
    finally:
        await place.clear()
    wanted = json.loads((folder / "answer.json").read_text("utf-8"))
    assert differences(wanted["body"], body) == [], body
    assert status == wanted["status"]
    assert differences(wanted.get("headers", {}), {n: headers[n] for n in wanted.get("headers", {})}) == []


async def test_every_call_has_its_cases(place: Town) -> None:
    assert {case.split("/")[0] for case in CASES} == {
        "list", "get", "create", "update", "delete", "verify", "dns", "sendtest", "dnshost", "all", "login",
        "email", "browse", "stats", "check", "import", "remove", "adddomain", "getdomain", "getdomains", "updatedomain",
        "verifydomain", "deletedomain", "cleardomainqueue", "addapi", "getapis", "deleteapi", "replaceapi", "addsmtp",
        "getsmtps", "deletesmtp", "resetsmtppassword", "getevents", "exportevents", "events", "relaycheck",
    }


async def test_the_test_message_says_where_it_comes_from_and_no_credential_is_logged(place: Town) -> None:
    port = await place.lay_out({})
    request = (HERE / "sendtest" / "as_documented" / "request").read_text("utf-8")
    with capture_logs() as lines:
        _, _, body = await curl(place, port, request)
        await curl(place, port, 'curl "https://example.com/api/v1/user.senderdomains?APIKey=your-api-key"')
    raw = place.way.sink.messages[-1].raw
    assert f"Message-ID: <{body['MessageID']}@example.com>".encode() in raw
    for words in (b"From: test@example.com", b"Return path: ", b"Tracking: "):
        assert words in raw
    logged = str(lines)
    assert "/api/v1/user.senderdomains" in logged
    assert place.secrets["your-api-key"].split("_", 2)[2] not in logged


async def test_thirty_pending_domains_take_two_calls(place: Town) -> None:
    thirty = range(12, 42)
    port = await place.lay_out({"limit": 30, "domains": [
        {"id": i, "name": f"d{i}.example.com", "state": "pending", "published": i % 2 == 0} for i in thirty
    ]})  # fmt: skip
    seen: set[int] = set()
    for count, more in ((25, True), (5 + 12, False), (15, False)):
        _, _, body = await curl(
            place, port,
            "curl -X POST https://example.com/api/v1/user.senderdomain.verify -d APIKey=your-api-key -d verifyall=true",
        )
        assert (body["Verified"] + body["Failed"], body["Truncated"]) == (count, more)
        assert {d["DomainID"] for d in body["Domains"] if d["IsVerified"]} == {
            d["DomainID"] for d in body["Domains"] if d["DomainID"] % 2 == 0
        }
        seen |= {d["DomainID"] for d in body["Domains"]}
    assert seen == set(thirty), "those that were looked at just before are answered from that look"


async def test_what_is_not_offered_or_not_foreseen_has_the_same_shape(
    place: Town, monkeypatch: pytest.MonkeyPatch
) -> None:
    port = await place.lay_out({})
    for line, allow in (
        ("curl -X PUT https://example.com/api/v1/user.senderdomain", "DELETE,GET,HEAD,PATCH,POST"),
        ("curl https://example.com/api/v1/user.senderdomain.verify", "POST"),
        ("curl -X DELETE https://example.com/api.php", "GET,HEAD,POST"),
    ):
        status, headers, body = await curl(place, port, line)
        assert (status, headers["allow"], body["Errors"][0]["Code"]) == (405, allow, 405)
    status, _, body = await curl(place, port, "curl https://example.com/api/v1/user.senderdomain.nothing")
    assert (status, body["Errors"][0]["Code"]) == (404, 404)
    assert set((await curl(place, port, "curl https://example.com/v1/nothing"))[2]) == {"error", "code", "detail"}

    async def broken(*_: Any, **__: Any) -> None:
        raise RuntimeError("the words of an exception")

    monkeypatch.setattr(Domains, "overview", broken)
    with capture_logs() as lines:
        status, headers, body = await curl(
            place, port, "curl https://example.com/api/v1/user.senderdomains?APIKey=your-api-key"
        )
    [reference] = [line["reference"] for line in lines if line["event"] == "unforeseen"]
    [error] = body["Errors"]
    assert (status, error["Code"], "retry-after" in headers) == (500, 500, True)
    assert reference in error["Message"]
    assert "words" not in error["Message"]


async def test_credentials_of_a_domain_do_what_they_are_for(place: Town) -> None:
    port = await place.lay_out({})
    directory = place.way.world.directory

    async def call(command: str, key: str = "narrow-api-key", **more: Any) -> Any:
        said = " ".join(f"-d {name}={value}" for name, value in more.items())
        line = f"curl https://example.com/api.php -d Command=emailgateway.{command} -d APIKey={key} {said}"
        return (await curl(place, port, line))[2]

    # What a key makes can do no more than the key itself.
    made = (await call("addapi", DomainID=12, Description="Shop"))["APIKey"]
    login = directory.login("alice", made["APIKey"], "127.0.0.1", scope="read")
    assert isinstance(login, Login)
    assert (login.domains, login.scopes) == ({"example.com"}, {"send", "read"})
    assert isinstance(directory.login("alice", made["APIKey"], "192.0.2.1"), Verdict)
    smtp = (await call("addsmtp", "your-api-key", DomainID=12))["SMTP"]
    login = directory.login(smtp["SMTPUsername"], smtp["SMTPPassword"], "192.0.2.1")
    assert isinstance(login, Login)
    assert (login.domains, login.scopes) == ({"example.com"}, {"send"})
    # Another password ends conversations that were begun with the old one; the name stays.
    again = (await call("resetsmtppassword", "your-api-key", SMTPID=smtp["SMTPID"]))["SMTP"]
    assert again["SMTPUsername"] == smtp["SMTPUsername"]
    assert directory.recheck(login) is not None
    assert isinstance(directory.login(smtp["SMTPUsername"], smtp["SMTPPassword"], "192.0.2.1"), Verdict)
    assert isinstance(directory.login(smtp["SMTPUsername"], again["SMTPPassword"], "192.0.2.1"), Login)
    other = (await call("replaceapi", DomainID=12, Description="Shop"))["APIKey"]
    assert isinstance(directory.login(None, made["APIKey"], "127.0.0.1"), Verdict)
    assert isinstance(directory.login(None, other["APIKey"], "127.0.0.1"), Login)
    await call("deletesmtp", SMTPID=smtp["SMTPID"])
    assert isinstance(directory.login(smtp["SMTPUsername"], again["SMTPPassword"], "192.0.2.1"), Verdict)
    await call("deleteapi", APIKeyID=other["APIKeyID"])
    assert isinstance(directory.login(None, other["APIKey"], "127.0.0.1"), Verdict)


@pytest.mark.parametrize(
    "line",
    [
        "curl https://example.com/api/v1/emailgateway.cleardomainqueue -d APIKey=your-api-key -d DomainID=12",
        "curl -X DELETE https://example.com/v1/domains/example.com/queue -H 'Authorization: Bearer your-api-key'",
    ],
)
async def test_a_domains_queue_is_cleared_and_no_others(place: Town, line: str) -> None:
    port = await place.lay_out({"domains": [{}, {"id": 13, "name": "new.example"}]})
    letter = (HERE / "email" / "later" / "request").read_text("utf-8")
    for text in (letter, letter.replace("anna@example.com", "anna@new.example")):
        assert "MessageID" in (await curl(place, port, text))[2]
    status, _, body = await curl(place, port, line)
    assert (status, body) in [(200, {"Success": True, "ErrorCode": 0}), (200, {"cancelled": 1, "left": 0})]

    async with place.way.world.storage.read() as tx:
        waits = await operator_queries.find(tx)
        ended = await operator_queries.find(tx, domain="example.com", only_open=False)
    assert [one.domain for one in waits] == ["new.example"]
    assert ended[-1].state == "cancelled"
    await place.clear()


@pytest.mark.skipif(shutil.which("php") is None, reason="php is not installed")
async def test_programs_in_php_read_what_is_refused_and_what_is_not(place: Town) -> None:
    port = await place.lay_out({})
    said = await _php(place, port)
    message = said.pop("sent")
    assert re.fullmatch(r"[0-9a-f-]{36}", message)
    no_domain = [2, "Sender domain not found"]
    assert said == {
        "wrong login": [3, "Invalid login information"], "user": 1, "domains": [["12", "example.com", "Enabled"]],
        "gateway": ["example.com"], "no such domain": no_domain, "nor here": no_domain,
        "no key": [0, "Authentication failed"], "suppressed": 2,
        "list": {"carl@example.net": "User", "dora@example.net": "User"}, "refused": 14,
        "events": [["accepted", "ben@sink.test"]], "public events": [1, "ben@sink.test"],
    }
    # With statuses as HTTP means them, such programs hear nothing of what is refused.
    other = await _php(place, place.ports["http"])
    refused = ("wrong login", "no such domain", "nor here", "no key", "refused")
    assert {name: other[name] for name in refused} == dict.fromkeys(refused)


async def _php(place: Town, port: int) -> Any:
    """What the program in PHP came to."""
    env = {"BASE": f"http://127.0.0.1:{port}", "KEY": place.secrets["your-api-key"], "PASSWORD": PASSWORD}
    php = await asyncio.create_subprocess_exec(
        "php", str(HERE / "client.php"), env={**os.environ, **env}, stdout=asyncio.subprocess.PIPE
    )
    out, _ = await php.communicate()
    return json.loads(out)


async def test_an_export_ends_at_ten_thousand(place: Town, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(octeth_events, "_MOST_EXPORTED", 4)
    monkeypatch.setattr(octeth_events, "_CHUNK", 2)
    happened = [{"type": "sent", "at": f"2026-05-22T10:00:0{n}", "to": f"b{n}@example.net"} for n in range(5)]
    port = await place.lay_out({"events": happened})
    line = "curl https://example.com/api.php -d Command=emailgateway.exportevents -d APIKey=your-api-key"
    _, headers, text = await curl(place, port, line)
    assert [row.split(",")[4] for row in text.splitlines()[1:]] == [f"b{n}@example.net" for n in (4, 3, 2, 1)]
    named = ("total", "truncated", "limit")
    assert [headers[f"x-octeth-export-{name}"] for name in named] == ["5", "1", "4"]


async def curl(
    place: Town, port: int, command: str, *, itself: bool = False
) -> tuple[int, dict[str, str], Any]:
    """(status, headers by lower-case name, the JSON or the text) of one line: run by the shell, or where it can be told
    what curl would ask and it needn't be asked by that, by this process."""
    command = command.strip().replace("https://example.com/", f"http://127.0.0.1:{port}/")
    for name, secret in place.secrets.items():
        command = re.sub(rf"(?<![a-z-]){name}", secret, command)
    if not itself and (asked := read_as_curl(command)) is not None:
        return await asked_here(*asked)
    shell = await asyncio.create_subprocess_exec(
        "bash", "-c", f"{command} -sSi --max-time 30", stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    out, err = await shell.communicate()
    assert shell.returncode == 0, err.decode()
    head, _, body = out.decode().replace("\r\n", "\n").partition("\n\n")
    first, *lines = head.split("\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    is_json = headers["content-type"].startswith("application/json")
    return int(first.split(" ")[1]), headers, json.loads(body) if is_json else body


Asked = tuple[str, str, dict[str, str], str | None]


def read_as_curl(command: str) -> Asked | None:
    """(method, URL, headers, body) of what curl would ask for, told by such a line; None where it says more than is
    read here."""
    if "$" in command or "|" in command:
        return None
    program, *words = shlex.split(command)
    said: dict[str, list[str]] = {name: [] for name in ("-X", "-H", "-d", "--data-urlencode", "url")}
    query = False
    for word in (left := iter(words)):
        if word == "-G":
            query = True
        elif word in said:
            said[word].append(next(left))
        elif word.startswith("-"):
            return None
        elif word.strip():
            said["url"].append(word)
    if program != "curl" or len(said["url"]) != 1 or (said["-d"] and said["--data-urlencode"]):
        return None
    pairs = (one.partition("=") for one in said["--data-urlencode"])
    data = [*said["-d"], *(f"{name}={quote(value, safe='')}" for name, _, value in pairs)]
    headers = {name: value.strip() for name, _, value in (one.partition(":") for one in said["-H"])}
    url, body = said["url"][0], "&".join(data) if data else None
    if query:
        return (said["-X"] or ["GET"])[0], f"{url}?{body}" if body else url, headers, None
    if body is not None and not any(name.lower() == "content-type" for name in headers):
        headers["Content-Type"] = "application/x-www-form-urlencoded"
    return (said["-X"] or ["GET" if body is None else "POST"])[0], url, headers, body


async def asked_here(
    method: str, url: str, headers: dict[str, str], body: str | None
) -> tuple[int, dict[str, str], Any]:
    """The same, asked by this process."""
    async with (
        ClientSession(skip_auto_headers=["Content-Type"]) as http,
        http.request(method, URL(url, encoded=True), headers=headers, data=body) as answer,
    ):
        text = (await answer.text("utf-8")).replace("\r\n", "\n")
        found = {name.lower(): value for name, value in answer.headers.items()}
        return answer.status, found, json.loads(text) if answer.content_type == "application/json" else text


def differences(wanted: Any, got: Any, where: str = "") -> list[str]:
    """Where two JSON values differ, in value or in type."""
    if isinstance(wanted, str) and wanted.startswith("~"):
        return [] if isinstance(got, str) and re.fullmatch(wanted[1:], got) else [f"{where}: {got!r} is not {wanted}"]
    if type(wanted) is not type(got):
        return [f"{where}: {got!r} is not {wanted!r}"]
    if isinstance(wanted, dict):
        named = {name: _named(name, got) for name in wanted}
        faults = [f"{where}.{name}: only on one side" for name in sorted(set(named.values()) ^ got.keys())]
        return faults + [
            fault for name, its in named.items() if its in got
            for fault in differences(wanted[name], got[its], f"{where}.{its}")
        ]
    if isinstance(wanted, list):
        if len(wanted) != len(got):
            return [f"{where}: {len(got)} in place of {len(wanted)}"]
        return [f for i, one in enumerate(wanted) for f in differences(one, got[i], f"{where}[{i}]")]
    return [] if wanted == got else [f"{where}: {got!r} is not {wanted!r}"]


def _named(name: str, got: dict[str, Any]) -> str:
    """The name in `got` that a name, or a pattern of one, stands for."""
    return next((n for n in got if name.startswith("~") and re.fullmatch(name[1:], n)), name)
