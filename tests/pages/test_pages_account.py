"""What members do on the pages: accounts, keys, sign-ins, domains; everything without a script."""

from __future__ import annotations

import html
import re

import pytest

from enroll.records import dig_command
from relay import replies
from relay.directory import Login
from relay.replies import Verdict
from tests.pages.site import NASTY, PASSWORD, Site


async def test_an_invite_makes_an_account_and_enrolls_a_domain_up_to_verified(place: Site) -> None:
    code = await place.env.services.accounts.make_invite("for carol")
    visit = place.visit()
    new = {"handle": "Carol", "email": "carol@mail.test", "password": PASSWORD, "invite": code}
    status, text, _ = await visit.send("/enroll", "/enroll/account", new | {"password": "short"})
    assert status == 422
    assert "A password has at least 10 characters." in text
    assert f'value="{code}"' in text
    status, _, response = await visit.send("/enroll", "/enroll/account", new)
    assert (status, response.headers["Location"]) == (303, "/enroll?done=welcome")
    assert "Your account is ready" in (await visit.get("/enroll?done=welcome"))[1]

    status, text, _ = await visit.send("/enroll", "/enroll/domain", {"name": "co.uk"})
    assert status == 422
    assert "enrolled" in text
    status, _, response = await visit.send("/enroll", "/enroll/domain", {"name": "Example.TEST."})
    page = response.headers["Location"]
    assert status == 303
    member = await place.env.services.accounts.get("carol")
    (domain,) = await place.env.domains.list(member.id)
    _, text, _ = await visit.get(page)
    for record in place.env.domains.records(domain):
        assert html.escape(record.value, quote=False).replace('"', "&#34;") in text
        assert record.name in text
        assert html.escape(dig_command(record), quote=False) in text
    status, text, response = await visit.get(f"{page}/zone")
    assert response.headers["Content-Disposition"] == 'attachment; filename="example.test.zone"'
    assert "_posthouse-challenge.example.test." in text

    status, _, _ = await visit.send(page, f"{page}/verify")
    assert status == 303
    _, text, _ = await visit.get(f"{page}?done=checked")
    assert "Required records found: 0 of 3" in text
    assert "Domain ownership verification failed" in text
    place.env.publish(domain)
    place.env.clock.move(61)
    await visit.send(page, f"{page}/verify")
    _, text, _ = await visit.get(page)
    assert "Required records found: 3 of 3" in text
    assert "Checked <time" in text
    assert "0 of 5 used this hour" in text
    _, text, _ = await visit.get("/account")
    assert 'class="badge verified"' in text


async def test_the_script_gets_the_findings_alone(place: Site) -> None:
    alice = await place.member("alice")
    domain = await place.env.domains.enroll(alice.id, "example.test")
    visit = await place.signed_in()
    page = f"/account/domains/{domain.id}"
    csrf = re.search(r'name="csrf" value="([^"]+)"', (await visit.get(page))[1])[1]  # type: ignore[index]
    status, text, response = await visit.post(f"{page}/verify", [("csrf", csrf)], X_Fragment="findings")
    assert status == 200
    assert "<html" not in text
    assert 'data-state="pending"' in text
    assert response.headers["Cache-Control"] == "no-store"


@pytest.mark.parametrize("place", [{"enrollment": {"signup": "closed"}}], indirect=True)
async def test_a_closed_relay_offers_no_form(place: Site) -> None:
    _, text, _ = await place.visit().get("/enroll")
    assert "created by its operator" in text.lower()
    assert "/enroll/account" not in text


async def test_a_key_is_shown_once_and_works_until_it_is_revoked(place: Site) -> None:
    alice = await place.member("alice")
    await place.env.verified(alice, "example.test")
    visit = await place.signed_in()
    asked = {
        "description": NASTY, "scopes": ["send"], "domains": ["example.test"], "networks": "192.0.2.0/24 2001:db8::/32",
        "default_category": "transactional", "null_sender": "yes", "expires": "2999-12-31",
        "smtpUser": "the-shop",
    }
    status, text, response = await visit.send("/account/keys", "/account/keys", asked)
    assert status == 200
    assert response.headers["Cache-Control"] == "no-store"
    shown = re.search(r"ph_[a-z0-9]+_[A-Za-z0-9_-]+", text)
    assert shown is not None
    key = shown[0]
    assert NASTY not in text
    assert html.escape(NASTY, quote=False)[:30] in text
    assert "the-shop" in text
    login = place.env.world.directory.login("the-shop", key, "192.0.2.7")
    assert isinstance(login, Login)
    assert (login.scopes, login.domains, login.default_category, login.null_sender) == (
        frozenset({"send"}), frozenset({"example.test"}), "transactional", True,
    )
    _, text, _ = await visit.get("/account/keys")
    assert "Null sender" in text
    assert key not in text
    assert "_".join(key.split("_")[:2]) in text
    status, text, _ = await visit.send("/account/keys", f"/account/keys/{login.key_id}/regenerate")
    second = re.search(r"ph_[a-z0-9]+_[A-Za-z0-9_-]+", text)
    assert status == 200
    assert second is not None
    assert second[0] != key
    assert isinstance(place.env.world.directory.login("alice", key, "192.0.2.7"), Verdict)
    login = place.env.world.directory.login("alice", second[0], "192.0.2.7")
    assert isinstance(login, Login)
    status, _, response = await visit.send("/account/keys", f"/account/keys/{login.key_id}/revoke")
    assert (status, response.headers["Location"]) == (303, "/account/keys?done=revoked")
    assert isinstance(place.env.world.directory.login("alice", second[0], "192.0.2.7"), Verdict)


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"scopes": []}, "one or more of"),
        ({"scopes": ["send"], "networks": "not-a-network"}, "a network is written like"),
        ({"scopes": ["send"], "domains": ["stranger.test"]}, "not a domain you have enrolled"),
        ({"scopes": ["send"], "expires": "tomorrow"}, "write the date like"),
        ({"scopes": ["send"], "expires": "2001-01-01"}, "the time is in the past"),
        ({"scopes": ["send"], "description": "x" * 300}, "at most 255 characters"),
    ],
)
async def test_a_wrong_limit_of_a_key_is_named(place: Site, fields: dict[str, object], says: str) -> None:
    await place.member("alice")
    visit = await place.signed_in()
    status, text, _ = await visit.send("/account/keys", "/account/keys", fields)
    assert status == 422
    assert says in html.unescape(text).lower() or says in html.unescape(text)
    assert 'class="notice bad" role="alert"' in text


async def test_a_set_password_link_works_once(place: Site) -> None:
    member = await place.account("alice")
    link = await place.env.services.accounts.password_link(member.id)
    visit = place.visit()
    page = f"/account/set-password?token={link}"
    new = {"token": link, "password": "a new long password", "again": "a new long password"}
    status, text, _ = await visit.send(page, "/account/set-password", new | {"again": "another"})
    assert status == 422
    assert "not the same" in text
    status, _, response = await visit.send(page, "/account/set-password", new)
    assert (status, response.headers["Location"]) == (303, "/account?done=password")
    await visit.sign_in("alice", "a new long password")
    status, text, _ = await place.visit().get(page)
    assert status == 410
    assert "Ask the operator" in text


async def test_changing_the_password_ends_the_other_sign_ins(place: Site) -> None:
    await place.member("alice")
    here, there = await place.signed_in(), await place.signed_in()
    fields = {"old": "wrong", "new": "a new long password", "again": "a new long password"}
    status, text, _ = await here.send("/account/settings", "/account/settings/password", fields)
    assert status == 401
    assert "a new long password" not in text
    status, _, _ = await here.send("/account/settings", "/account/settings/password", fields | {"old": PASSWORD})
    assert status == 303
    assert (await here.get("/account/settings"))[0] == 200
    assert (await there.get("/account/settings"))[0] == 303


async def test_sign_ins_are_listed_and_ended(place: Site) -> None:
    alice = await place.member("alice")
    visit, other = await place.signed_in(), place.visit()
    other.client.headers["User-Agent"] = NASTY
    await other.sign_in()
    _, text, _ = await visit.get("/account/settings")
    assert "(this one)" in text
    assert "<script>window" not in text
    assert "&lt;script&gt;window" in text
    theirs = max(s.id for s in await place.env.services.sessions.list(alice.id))
    status, _, _ = await visit.send("/account/settings", f"/account/sessions/{theirs}/end")
    assert status == 303
    assert (await other.get("/account/keys"))[0] == 303
    await other.sign_in()
    await visit.send("/account/settings", "/account/sessions/end-others")
    assert (await other.get("/account/keys"))[0] == 303
    assert (await visit.get("/account/keys"))[0] == 200


async def test_a_did_of_ones_own(place: Site) -> None:
    await place.member("alice")
    visit = await place.signed_in()
    status, text, _ = await visit.send("/account/settings", "/account/settings/did", {"did": NASTY})
    assert status == 422
    assert "<script>window" not in text
    _, own, _ = await visit.get("/account")
    given = re.search(r"did:web:[^<\"]+", own)
    assert given
    status, text, _ = await visit.send("/account/settings", "/account/settings/did", {"did": "did:web:h.test:m:zoe"})
    assert status in (422, 503), "not proved"
    assert "did:web:h.test:m:zoe" in text, "it stands in its field still"
    assert (await visit.send("/account/settings", "/account/settings/did", {"did": ""}))[0] == 303
    assert given[0] in (await visit.get("/account"))[1]


async def test_a_suspended_member_reads_why_and_can_end_keys_but_not_enroll(place: Site) -> None:
    alice = await place.member("alice")
    visit = await place.signed_in()
    await place.suspend(alice, f"Bounces: 14 % {NASTY}")
    _, text, _ = await visit.get("/account")
    assert "Your account is suspended" in text
    assert "Bounces: 14 %" in text
    assert "<script>window" not in text
    status, text, _ = await visit.send("/enroll", "/enroll/domain", {"name": "example.test"})
    assert status == 403
    assert "suspended" in text
    status, _, _ = await visit.send("/account/keys", f"/account/keys/{alice.key_id}/revoke")
    assert status == 303


async def test_a_domain_is_paused_resumed_changed_tried_and_deleted(place: Site) -> None:
    alice = await place.member("alice")
    domain = await place.env.verified(alice, "example.test")
    visit = await place.signed_in()
    page = f"/account/domains/{domain.id}"

    async def state() -> str:
        return (await place.env.domains.get(alice.id, domain.id)).state

    await visit.send(page, f"{page}/pause")
    assert await state() == "disabled"
    assert "You have paused it" in (await visit.get(page))[1]
    await visit.send(page, f"{page}/resume")
    assert await state() == "verified"

    status, text, _ = await visit.send(page, f"{page}/test", {"to": "no address"})
    assert status == 422
    assert 'value="no address"' in text
    status, _, response = await visit.send(page, f"{page}/test", {"to": "someone@sink.test"})
    assert status == 303
    assert "someone@sink.test" in (await visit.get(response.headers["Location"]))[1]

    status, _, _ = await visit.send(page, f"{page}/rotate")
    assert status == 303
    assert "waiting for its records" in (await visit.get(page))[1]

    status, text, _ = await visit.send(page, f"{page}/options", {"return_path": "on", "custom_subdomain": "-x-"})
    assert status == 422
    assert "1 to 32 letters" in text
    await visit.send(page, f"{page}/options", {"return_path": "on", "custom_subdomain": "bounce"})
    assert await state() == "verified"
    text = (await visit.get(page))[1]
    assert "bounce.example.test" in text
    assert "Sending continues meanwhile" in text
    # The form for a new one, of this one: it is shown as it is.
    status, _, response = await visit.send("/enroll", "/enroll/domain", {"name": "EXAMPLE.test"})
    assert (status, response.headers["Location"]) == (303, f"{page}?done=known")
    assert "it stays as it was" in (await visit.get(f"{page}?done=known"))[1]

    status, text, _ = await visit.send(page, f"{page}/delete", {"confirm": "other.test"})
    assert status == 422
    assert await state() == "verified"
    status, _, _ = await visit.send(page, f"{page}/delete", {"confirm": "example.test"})
    assert status == 303
    assert (await visit.get(page))[0] == 404


async def test_a_refused_test_message_says_why_and_what_to_do(place: Site) -> None:
    alice = await place.member("alice")
    domain = await place.env.verified(alice, "example.test")
    visit = await place.signed_in()
    page = f"/account/domains/{domain.id}"
    for _ in range(5):
        assert (await visit.send(page, f"{page}/test", {"to": "someone@sink.test"}))[0] == 303
    status, text, _ = await visit.send(page, f"{page}/test", {"to": "someone@sink.test"})
    assert status == 429
    assert "5 of 5 this hour" in text
    assert "next slot" in text
    assert "The next slot opens at" in text


async def test_a_mailbox_for_replies_is_confirmed_with_the_code_it_was_sent(place: Site) -> None:
    alice = await place.member("alice")
    domain = await place.env.verified(alice, "example.test")
    visit = await place.signed_in()
    page = f"/account/domains/{domain.id}"
    status, _, _ = await visit.send(page, f"{page}/forward", {"forward_to": "box@other.test"})
    assert status == 303
    assert "Code that was sent to" in (await visit.get(page))[1]
    status, text, _ = await visit.send(page, f"{page}/forward", {"code": "WRONGCODE1"})
    assert status == 422
    assert "not the code" in text
    (mail,) = await place.env.mail_to("box@other.test")
    code = re.search(rb"^    ([A-Z2-7]{10})\r$", mail, re.MULTILINE)
    assert code is not None
    await visit.send(page, f"{page}/forward", {"code": code[1].decode()})
    assert (await place.env.domains.get(alice.id, domain.id)).options.forward_to == "box@other.test"
    assert "Reply forwarding" in (await visit.get(page))[1]
    await visit.send(page, f"{page}/options", {"replies": "on"})
    text = (await visit.get(page))[1]
    assert "Replies (MX)" in text
    assert "Forwarded mail, and whether it arrived" in text
    await visit.send(page, f"{page}/forward", {"forward_to": ""})
    assert "mail for the domain is refused" in (await visit.get(page))[1]
    assert "No mailbox is set" in (await visit.get("/help"))[1]
    status, text, _ = await visit.send(page, f"{page}/forward", {"forward_to": "me@example.test"})
    assert status == 422
    assert "would loop" in text


async def test_a_letter_that_cannot_be_taken_now_is_said_beside_the_form(
    place: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    alice = await place.member("alice")
    domain = await place.env.verified(alice, "example.test")
    visit = await place.signed_in()
    page = f"/account/domains/{domain.id}"

    async def full(submission: object) -> Verdict:
        return Verdict(replies.UNAVAILABLE)

    monkeypatch.setattr(place.env.world.intake, "prepare", full)
    for at, path, fields in (
        ("/account/senders", "/account/senders", {"address": "box@other.test"}),
        (page, f"{page}/forward", {"forward_to": "box@other.test"}),
    ):
        status, text, _ = await visit.send(at, path, fields)
        assert status == 503
        assert 'role="alert"' in text, path
        assert f'action="{path}"' in text


@pytest.mark.parametrize("place", [{"submission": {"listen": ["0.0.0.0:587"]}}], indirect=True)
async def test_the_connection_lines_name_a_verified_domain(place: Site) -> None:
    alice = await place.member("alice")
    visit = await place.signed_in()
    _, text, _ = await visit.get("/account/connect")
    assert "None of your domains is verified" in text
    await place.env.verified(alice, "example.test")
    _, text, _ = await visit.get("/account/connect")
    said = html.unescape(text)
    assert "swaks --server localhost --port 587 --tls" in said
    assert "--auth-user alice" in said
    assert "hello@example.test" in said
