"""Records published once as CNAMEs: the switch on a domain's page, and what the page then shows."""

from __future__ import annotations

import pytest

from tests.pages.site import Site

ZONE = {"dns": {"hosted_zone": "hosted.relay.test"}}


@pytest.mark.parametrize("place", [ZONE], indirect=True)
async def test_the_page_offers_both_forms_and_a_switch_between_them(place: Site) -> None:
    alice = await place.member("alice")
    domain = await place.env.domains.enroll(alice.id, "example.test")
    visit = await place.signed_in()
    page = f"/account/domains/{domain.id}"
    alias = f"_posthouse-challenge.{domain.uuid}.hosted.relay.test."
    _, text, _ = await visit.get(page)
    assert "Publish CNAMEs once" in text
    assert f"posthouse-domain-verification={domain.ownership_token}" in text
    assert alias in text, "the other form stands beside"
    await visit.send(page, f"{page}/options", {"hosted": "on"})
    chosen = await place.env.domains.get(alice.id, domain.id)
    assert (chosen.options.hosted, chosen.state) == (True, "pending")
    _, text, _ = await visit.get(page)
    assert alias in text
    assert domain.ownership_token not in text
    for stem in chosen.notes.stems:
        assert f"{stem}e._domainkey.{domain.uuid}.hosted.relay.test." in text, "two places for keys"
    _, text, _ = await visit.get(f"{page}/zone")
    assert f"_posthouse-challenge.example.test. 3600 IN CNAME {alias}" in text
    await visit.send(page, f"{page}/options", {})
    assert not (await place.env.domains.get(alice.id, domain.id)).options.hosted


async def test_a_relay_without_such_a_zone_says_nothing_of_it(place: Site) -> None:
    alice = await place.member("alice")
    domain = await place.env.domains.enroll(alice.id, "example.test")
    visit = await place.signed_in()
    _, text, _ = await visit.get(f"/account/domains/{domain.id}")
    assert "CNAME" not in text
