"""Suppression files, ours and other relays': what is taken, with which reason, and what is refused on which line."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from sqlalchemy import insert

from relay.base.config import Config
from relay.base.names import BadName
from relay.base.storage import Storage, Tx, suppressions
from relay.base.storage.tables import members
from relay.retention import Retention
from relay.suppression import Imported, Lists, New, Suppression
from relay.suppression.export import cell, uncell
from tests.kit.clock import HandClock

NOW = datetime(2030, 5, 1, tzinfo=UTC).timestamp()
Entries = list[tuple[str, str, str, str]]


async def taken(lists: Lists, text: str, otherwise: str = "import") -> tuple[Entries, Imported]:
    """(address, reason, day, detail) of the entries that a file makes, and what is said of it."""
    done = await lists.take_in(1, text.encode(), otherwise)
    found = await lists.page(1, limit=1000)
    shown = [
        (s.original, s.reason, datetime.fromtimestamp(s.created_at, UTC).strftime("%Y-%m-%d"), s.detail)
        for s in found
    ]
    return shown, done


@pytest.fixture
def lists(storage: Storage, config: Config) -> Lists:
    few = config.suppression.model_copy(update={"import_rows": 3, "shown_refusals": 2})
    return Lists(storage, config.model_copy(update={"suppression": few}), HandClock(NOW))


MAILGUN_DAY = "Tue, 07 Jan 2025 19:25:45 UTC"
FILES = {
    "sendgrid bounces csv": (
        "status,reason,email,created\n"
        "5.1.1,550 5.1.1 The email account that you tried to reach does not exist,gone@a.test,1443651125\n"
        '4.7.1,"421 4.7.1 too many messages",busy@a.test,1443651125\n'
        ",550 blocked using zen.spamhaus.org,listed@a.test,1443651125\n",
        [("gone@a.test", "hard_bounce", "2015-09-30",
          "550 5.1.1 The email account that you tried to reach does not exist")],
        [(3, "temporary"), (4, "temporary")], {"sendgrid": 1},
    ),
    "mailchimp audience": (
        "Email Address,First Name,OPTIN_TIME,UNSUB_TIME,UNSUB_REASON_OTHER,CLEAN_TIME,LEID,EUID\n"
        "left@a.test,A,2020-01-01 00:00:00,2021-02-03 10:11:12,too often,,1,x\n"
        "gone@a.test,B,2020-01-01 00:00:00,,,2021-02-04 10:11:12,2,y\n"
        "reader@a.test,C,2020-01-01 00:00:00,,,,3,z\n",
        [("left@a.test", "unsubscribe", "2021-02-03", "too often"), ("gone@a.test", "hard_bounce", "2021-02-04", "")],
        [(4, "subscribed")], {"mailchimp": 2},
    ),
    "brevo contacts json": (
        '{"contacts": [\n'
        '{"email": "out@a.test", "emailBlacklisted": true, "createdAt": "2017-05-02T16:40:31Z", "listIds": [1]},\n'
        '{"email": "in@a.test", "emailBlacklisted": false, "createdAt": "2017-05-02T16:40:31Z", "listIds": [1]}]}',
        [("out@a.test", "manual", "2017-05-02", "")], [(3, "emailblacklisted: no")], {"brevo": 1},
    ),
    "brevo blocked json": (
        '{"contacts": [\n'
        '{"email": "u@a.test", "reason": {"code": "unsubscribedViaEmail"}, "blockedAt": "2017-05-01T12:30:00Z"},\n'
        '{"email": "b@a.test", "reason": {"code": "hardBounce"}, "blockedAt": "2017-05-01T12:30:00Z"},\n'
        '{"email": "s@a.test", "reason": {"code": "contactFlaggedAsSpam"}, "blockedAt": "2017-05-01T12:30:00Z"}]}',
        [("u@a.test", "unsubscribe", "2017-05-01", ""), ("b@a.test", "hard_bounce", "2017-05-01", ""),
         ("s@a.test", "complaint", "2017-05-01", "")],
        [], {"brevo": 3},
    ),
    "mailjet list": (
        "Email,IsUnsubscribed,CreatedAt\nout@a.test,true,2024-01-01T00:00:00Z\nin@a.test,false,2024-01-01T00:00:00Z\n",
        [("out@a.test", "unsubscribe", "2024-01-01", "")], [(3, "isunsubscribed: no")], {"list": 1},
    ),
    "columns that ask yes or no": (
        "email,status,opt_out,bounced,complained,created\na@a.test,VIP,1,0,0,2024-01-01\nb@a.test,,0,1,1,2024-01-01\n"
        "c@a.test,,0,0,0,2024-01-01\nd@a.test,by phone,,,,2024-01-01\n",
        [("a@a.test", "unsubscribe", "2024-01-01", ""), ("b@a.test", "complaint", "2024-01-01", ""),
         ("d@a.test", "import", "2024-01-01", "by phone")],
        [(4, "no reason")], {"list": 3},
    ),
    "a reason named as Postmark does, and no more": (
        "Email,Suppression Reason,Suppressed At\na@a.test,UNSUBSCRIBE,2024-01-01\n"
        "b@a.test,USER_SUPPRESSED,2024-01-01\n",
        [("a@a.test", "unsubscribe", "2024-01-01", ""), ("b@a.test", "manual", "2024-01-01", "")], [], {"list": 2},
    ),
    "sendgrid bounces json": (
        '[\n{"created": 1443651125, "email": "gone@a.test", "reason": "550 5.1.1 unknown", "status": "5.1.1"}\n]',
        [("gone@a.test", "hard_bounce", "2015-09-30", "550 5.1.1 unknown")], [], {"sendgrid": 1},
    ),
    "sendgrid invalid emails": (
        "reason,email,created\nMail domain mentioned in email address is unknown,x@b.test,1449953655\n",
        [("x@b.test", "hard_bounce", "2015-12-12", "Mail domain mentioned in email address is unknown")],
        [], {"sendgrid": 1},
    ),
    "sendgrid spam reports": (
        '[{"created": 1443651141, "email": "angry@a.test", "ip": "10.63.202.100"}]',
        [("angry@a.test", "complaint", "2015-09-30", "spam report")], [], {"sendgrid": 1},
    ),
    "sendgrid group unsubscribes": (
        '{"suppressions": [{"email": "left@a.test", "group_id": 1, "group_name": "Weekly News",'
        ' "created_at": 1410986704}]}',
        [("left@a.test", "unsubscribe", "2014-09-17", "group: Weekly News")], [], {"sendgrid": 1},
    ),
    "mailgun bounces json": (
        json.dumps({"items": [{"address": "alice@a.test", "code": "550", "error": "No such mailbox",
                               "created_at": "Fri, 21 Oct 2011 11:02:55 UTC"}],
                    "paging": {"next": "https://api.mailgun.net/v3/x/bounces?page=next&address=alice@a.test"}},
                   indent=1),
        [("alice@a.test", "hard_bounce", "2011-10-21", "550 No such mailbox")], [], {"mailgun": 1},
    ),
    "mailgun bounces csv": (
        f'address,code,error,created_at\nalice@a.test,550,"No such, mailbox","{MAILGUN_DAY}"\n',
        [("alice@a.test", "hard_bounce", "2025-01-07", "550 No such, mailbox")], [], {"mailgun": 1},
    ),
    "mailgun unsubscribes": (
        json.dumps({"items": [
            {"address": "a@a.test", "tags": ["*"], "created_at": MAILGUN_DAY},
            {"address": "b@a.test", "tags": ["news"], "created_at": "Mon, 01 Jan 0001 00:00:00 UTC"},
            {"address": "c@a.test", "tags": [], "created_at": MAILGUN_DAY},
        ]}),
        [("a@a.test", "unsubscribe", "2025-01-07", ""), ("b@a.test", "unsubscribe", "2030-05-01", "tags: news"),
         ("c@a.test", "unsubscribe", "2025-01-07", "")], [], {"mailgun": 3},
    ),
    "mailgun complaints": (
        f'address,created_at\nangry@a.test,"{MAILGUN_DAY}"\n',
        [("angry@a.test", "complaint", "2025-01-07", "")], [], {"mailgun": 1},
    ),
    "ses list": (
        json.dumps({"SuppressedDestinationSummaries": [
            {"EmailAddress": "a@a.test", "Reason": "BOUNCE", "LastUpdateTime": "2020-04-10T21:03:05.137Z"},
            {"EmailAddress": "b@a.test", "Reason": "COMPLAINT", "LastUpdateTime": 1586552585.137},
        ], "NextToken": "abc"}),
        [("a@a.test", "hard_bounce", "2020-04-10", ""), ("b@a.test", "complaint", "2020-04-10", "")],
        [], {"amazon-ses": 2},
    ),
    "ses csv": (
        "EmailAddress,Reason,LastUpdateTime\na@a.test,BOUNCE,2020-04-10T21:03:05Z\n",
        [("a@a.test", "hard_bounce", "2020-04-10", "")], [], {"amazon-ses": 1},
    ),
    "ses json lines": (
        '{"emailAddress": "a@a.test", "reason": "BOUNCE"}\n{"emailAddress": "b@a.test", "reason": "COMPLAINT"}\n',
        [("a@a.test", "hard_bounce", "2030-05-01", ""), ("b@a.test", "complaint", "2030-05-01", "")],
        [], {"amazon-ses": 2},
    ),
    "ses without a head": (
        "a@a.test,BOUNCE\nb@a.test, COMPLAINT\n",
        [("a@a.test", "hard_bounce", "2030-05-01", ""), ("b@a.test", "complaint", "2030-05-01", "")], [], {"list": 2},
    ),
    "postmark dump": (
        json.dumps({"Suppressions": [
            {"EmailAddress": f"{n}@a.test", "SuppressionReason": reason, "Origin": who,
             "CreatedAt": "2019-12-17T08:58:33-05:00"}
            for n, (reason, who) in enumerate([("ManualSuppression", "Recipient"), ("HardBounce", "Recipient"),
                                               ("SpamComplaint", "Recipient"), ("ManualSuppression", "Customer")])
        ]}),
        [("0@a.test", "unsubscribe", "2019-12-17", ""), ("1@a.test", "hard_bounce", "2019-12-17", ""),
         ("2@a.test", "complaint", "2019-12-17", ""), ("3@a.test", "manual", "2019-12-17", "")], [], {"postmark": 4},
    ),
    "plain list with mistakes": (
        "\ufeffa@a.test\r\n\r\nnot an address@\r\nb@a.test\r\nA+tag@A.test\r\nc@\r\n@d.test\r\n",
        [("a@a.test", "import", "2030-05-01", ""), ("b@a.test", "import", "2030-05-01", "")],
        [(3, ""), (6, "")], {"list": 3},
    ),
    "semicolons": (
        "Email Address;Reason;Date\na@a.test;unsubscribed;2024-02-01 10:00:00\nb@a.test;soft bounce;\n",
        [("a@a.test", "unsubscribe", "2024-02-01", "")], [(3, "temporary")], {"list": 1},
    ),
    "a status in words": (
        "email,status\na@a.test,unsubscribed\nb@a.test,Complained\nc@a.test,cleaned\nd@a.test,5.1.1\ne@a.test,4.2.2\n"
        "f@a.test,gone fishing\n",
        [("a@a.test", "unsubscribe", "2030-05-01", ""), ("b@a.test", "complaint", "2030-05-01", ""),
         ("c@a.test", "hard_bounce", "2030-05-01", ""), ("d@a.test", "hard_bounce", "2030-05-01", ""),
         ("f@a.test", "import", "2030-05-01", "gone fishing")],
        [(6, "temporary")], {"list": 4, "sendgrid": 1},
    ),
    "people who are mailed": (
        "uuid,email,name,attributes,status,created_at\nx,a@a.test,Ann,{},enabled,2024-01-01\n"
        "x,b@a.test,Bob,{},blocklisted,2024-01-01\nx,c@a.test,Cy,{},Subscribed,2024-01-01\n",
        [("b@a.test", "manual", "2024-01-01", "")], [(2, "“enabled”"), (4, "“Subscribed”")], {"list": 1},
    ),
    # One column that some service's export has too makes none of these lists that export.
    "a list with the address somebody signed up from": (
        "email,ip,created\na@a.test,192.0.2.1,2024-01-01\n",
        [("a@a.test", "import", "2024-01-01", "")], [], {"list": 1},
    ),
    "a list with tags": (
        "address,name,tags,created_at\na@a.test,Ann,vip,2024-01-01\n",
        [("a@a.test", "import", "2024-01-01", "")], [], {"list": 1},
    ),
    "a list with groups": (
        "email,group_name,reason\na@a.test,Customers,bounced\n",
        [("a@a.test", "hard_bounce", "2030-05-01", "")], [], {"list": 1},
    ),
    "a list with codes": (
        "email,code,error\na@a.test,SUMMER,\nb@a.test,SUMMER,unsubscribed by phone\n",
        [("a@a.test", "import", "2030-05-01", ""), ("b@a.test", "import", "2030-05-01", "unsubscribed by phone")],
        [], {"list": 2},
    ),
    "a list with reasons of its own": (
        "email,reason,created\na@a.test,asked us by phone,1449953655\n",
        [("a@a.test", "import", "2015-12-12", "asked us by phone")], [], {"list": 1},
    ),
    "a list of names": (
        "email address,reason\nAnn <a@a.test>,unsubscribed\n\"Bob, Jr. <b@a.test>\",complaint\n",
        [("a@a.test", "unsubscribe", "2030-05-01", ""), ("b@a.test", "complaint", "2030-05-01", "")], [], {"list": 2},
    ),
    "names before addresses, without a head": (
        "Ann,a@a.test,unsubscribed\nBob,b@a.test,\n",
        [("a@a.test", "unsubscribe", "2030-05-01", ""), ("b@a.test", "import", "2030-05-01", "")], [], {"list": 2},
    ),
    "a spreadsheet's line of its own": (
        "\ufeffsep=|\r\nemail|reason\r\na@a.test|bounce\r\nnobody|bounce\r\n",
        [("a@a.test", "hard_bounce", "2030-05-01", "")], [(4, "")], {"list": 1},
    ),
}


@pytest.mark.parametrize("config", ["sqlite"], indirect=True)
@pytest.mark.parametrize("case", FILES)
async def test_what_other_relays_export_is_recognised(lists: Lists, case: str) -> None:
    text, entries, refused, origins = FILES[case]
    found, done = await taken(lists, text)
    assert found == entries
    assert [line for line, _ in done.refused] == [line for line, _ in refused]
    assert all(word in why for (_, why), (_, word) in zip(done.refused, refused, strict=True))
    assert dict(done.origins) == origins
    assert done.read == done.added + done.known + done.refusals
    again = await lists.take_in(1, text.encode())
    assert (again.added, again.known) == (0, done.added + done.known)


@pytest.mark.parametrize("config", ["sqlite"], indirect=True)
@pytest.mark.parametrize(
    ("text", "line", "word"),
    [
        ("a@a.test\n" * 2 + 'address\n"b@a.test', 3, ""), ('[{"email": "a@a.test"},\n{"email": ]', 2, "JSON"),
        ('{"items": [\n{"address": "a@a.test"}', 2, "is incomplete"), ("name,phone\nx,1\n", 1, "address"),
        ("[" * 100_000, 1, "JSON"), ('[{"email": ' + "[" * 100_000, 1, "JSON"), ("[1, 2]", 1, "neither"),
        ('[{"email": "\\ud800@a.test"}]', 1, ""), ('[{"email": "a@a.test", "created": 1' + "0" * 5000 + "}]", 1, ""),
        ('"' + "x" * 200_000, 1, "quotation"), ("\0\n", 1, ""),
    ],
)
async def test_a_file_that_breaks_off_is_named_where_it_does(lists: Lists, text: str, line: int, word: str) -> None:
    _, done = await taken(lists, text)
    assert done.refusals >= 1
    assert done.refused[0][0] == line
    assert word in done.refused[0][1]


@pytest.mark.parametrize("config", ["sqlite"], indirect=True)
async def test_what_comes_before_the_break_stays_and_all_refusals_are_counted(lists: Lists) -> None:
    found, done = await taken(lists, "\n".join(["address", *(f"p{i}@a.test" for i in range(10)), *["bad"] * 5]))
    assert len(found) == 10
    assert (done.added, done.refusals, len(done.refused)) == (10, 5, 2)
    done = await lists.take_in(1, b"address\nx@a.test\n\xff\xfe\n")
    assert (done.added, done.refused[0][0]) == (0, 3)
    assert "UTF-8" in done.refused[0][1]


@pytest.mark.parametrize("config", ["sqlite"], indirect=True)
async def test_the_caller_says_why_where_the_file_does_not(lists: Lists) -> None:
    found, done = await taken(lists, "email,created\na@a.test,1443651125\n", "unsubscribe")
    assert found == [("a@a.test", "unsubscribe", "2015-09-30", "")]
    assert done.guessed == 1
    # What is known of a reason isn't guessed; words that nobody knows are, and stay as the note.
    _, done = await taken(lists, "email,status\nb@a.test,complained\nc@a.test,enabled\nd@a.test,left us\n")
    assert (done.guessed, done.added, done.refusals) == (1, 2, 1)


async def test_a_full_list_takes_what_it_has_and_what_recipients_say_themselves(
    storage: Storage, config: Config
) -> None:
    few = config.suppression.model_copy(update={"max_entries": 3, "import_rows": 2})
    lists = Lists(storage, config.model_copy(update={"suppression": few}), HandClock(NOW))
    done = await lists.take_in(1, b"address\na@a.test\nb@a.test\nc@a.test\nA@a.test\nd@a.test\ne@a.test\n")
    assert (done.added, done.known, done.refusals) == (3, 1, 2)
    assert done.refused[0] == (6, "the list is full: 3 addresses at most (suppression.max_entries)")
    with pytest.raises(BadName, match="the list is full"):
        await lists.add(1, "f@a.test", "manual")
    assert (await lists.add(1, "A@A.test", "complaint")).reason == "import"
    took = await lists.put_many(1, [New("b@a.test"), New("g@a.test"), New("nobody")])
    assert [(t.entry is not None, t.fault[:16]) for t in took] == [
        (True, ""), (False, "the list is full"), (False, "the address has ")
    ]
    assert await lists.add(2, "f@a.test", "manual")
    bounced = Suppression(0, 1, "h@a.test", "h@a.test", "hard_bounce", "", NOW)
    await storage.write(lambda tx: suppressions.add(tx, [bounced]))
    assert len(await lists.page(1)) == 4
    await lists.remove(1, "a@a.test")
    await lists.remove(1, "b@a.test")
    assert await lists.add(1, "f@a.test", "manual")


async def test_a_list_ends_with_its_member(storage: Storage, config: Config) -> None:
    def member(handle: str, status: str) -> Any:
        return insert(members).values(handle=handle, did=f"did:{handle}", status=status, created_at=NOW)

    async def make(tx: Tx) -> list[int]:
        made = [await tx.execute(member(h, s)) for h, s in (("ann", "active"), ("bob", "deleted"), ("cy", "suspended"))]
        return [m.inserted_primary_key[0] for m in made]

    ids = await storage.write(make)
    lists = Lists(storage, config, HandClock(NOW))
    for i in ids:
        await lists.take_in(i, b"a@a.test\nb@a.test\nc@a.test\n")
    few = config.retention.model_copy(update={"purge_rows": 2})
    retention = Retention(storage, config.model_copy(update={"retention": few}), HandClock(NOW), "me")
    assert (await retention.once())["suppressions"] == 3
    assert [len(await lists.page(i)) for i in ids] == [3, 0, 3]
    assert "suppressions" not in await retention.once()


@pytest.mark.parametrize("form", ["csv", "json"])
async def test_an_export_read_back_is_the_same_list(storage: Storage, lists: Lists, form: str) -> None:
    nasty = [
        New("=cmd|x@a.test", "manual", "=HYPERLINK(\"http://x\",\"y\")"), New("'o@a.test", "manual", "'quoted"),
        New("Bob+News@BÜCHER.example", "complaint", "+1, \"two\"; three"), New("-a@a.test", "hard_bounce", "@SUM(1)"),
        New("''=b@a.test", "import", "grün — 漢字"), New("left@a.test", "unsubscribe", "page", "broadcast"),
        New('"a b"@a.test', "manual", ""), New("#hash@a.test", "manual", "line\nbreak\x00\x1b[31m"),
    ]
    assert all(t.new for t in await lists.put_many(1, nasty))
    text = "".join([part async for part in lists.written(1, form)])
    if form == "csv":
        assert not [c for line in text.splitlines() for c in line.split(",") if c[:1] in ("=", "+", "-", "@")]
    done = await lists.take_in(2, text.encode())
    assert (done.added, done.refusals, dict(done.origins)) == (len(nasty), 0, {"posthouse": len(nasty)})
    mine, theirs = await lists.page(1), await lists.page(2)
    same = [(s.canonical, s.original, s.reason, s.detail, s.created_at, s.categories) for s in mine]
    assert same == [(s.canonical, s.original, s.reason, s.detail, s.created_at, s.categories) for s in theirs]
    assert "".join([part async for part in lists.written(2, form)]) == text
    assert all(uncell(cell(t)) == t for t in ("", "'", "''", "'=", "=", "'''+", "a", "'a"))


async def test_a_list_is_searched_from_either_end_and_never_shows_another_members(lists: Lists) -> None:
    for i, reason in enumerate(("manual", "complaint", "manual", "unsubscribe")):
        await lists.put(1, New(f"Person_{i}@A.test", reason))
    await lists.put(2, New("person_9@a.test"))
    ids = [s.id for s in await lists.page(1)]
    assert [s.id for s in await lists.page(1, before=2**62, limit=2)] == ids[:1:-1]
    assert [s.id for s in await lists.page(1, before=ids[2])] == ids[1::-1]
    assert [s.id for s in await lists.page(1, after=ids[1])] == ids[2:]
    assert [s.id for s in await lists.page(1, reason="manual")] == [ids[0], ids[2]]
    assert [s.id for s in await lists.page(1, search="PERSON_2")] == [ids[2]]
    # What means something in a pattern means itself.
    assert await lists.page(1, search="person%3") == []
    assert await lists.page(1, search="personX3") == []
    found = await lists.look_up(1, "person_1+any@a.test")
    assert found is not None
    assert found.reason == "complaint"
    assert await lists.listed(1, ["PERSON_0@a.test", "person_9@a.test", "no address"]) == {"PERSON_0@a.test"}
    # A graver reason replaces an unsubscribe and nothing milder replaces that.
    assert (await lists.put(1, New("person_3@a.test", "complaint")))[0].reason == "complaint"
    assert (await lists.put(1, New("person_3@a.test", "unsubscribe")))[1] is False
    assert await lists.remove(1, "PERSON_3@a.test")
    assert not await lists.remove(1, "person_9@a.test")
