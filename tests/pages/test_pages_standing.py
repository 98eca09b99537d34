"""What a member reads about its standing: the formula with its own numbers, and what is left."""

from __future__ import annotations

from relay.base.clock import utc_day
from relay.base.storage import standing as rows
from relay.base.storage import stats
from relay.base.storage.standing import Failure, slice_of
from tests.pages.site import Site


async def count(place: Site, member_id: int, **fields: int) -> None:
    """Numbers of the last slice, each bounce of another recipient, at three domains in turn."""
    at = slice_of(place.env.clock.now())
    failures = [
        Failure(member_id, "late" if i < fields.get("late", 0) else "refused", bytes([i] * 16), bytes([i % 3] * 8), at)
        for i in range(fields.get("bounced", 0) + fields.get("late", 0))
    ]
    await place.env.storage.write(lambda tx: rows.count(tx, {(member_id, at): fields}))
    await place.env.storage.write(lambda tx: rows.remember(tx, failures))


async def test_the_numbers_and_what_is_left_stand_on_the_page(place: Site) -> None:
    alice = await place.member("alice")
    visit = await place.signed_in()
    _, text, _ = await visit.get("/account")
    assert "Too few deliveries to judge: 0 recipients" in text
    assert "50 more hard bounces without further deliveries would suspend you." in text

    await count(place, alice.id, delivered=475, bounced=20, late=5, excused=60)
    _, text, _ = await visit.get("/account")
    assert "25 of 495: 5.1 %" in text
    assert "(0.0505 + 0.0039 − 1.96·√(0.0000969 + 0.0000039)) / 1.0078 = 3.4 %; limit 5 %" in text
    assert "10 more hard bounces without further deliveries would suspend you." in text
    assert "60: the relay itself was blamed, so they are not counted." in text
    assert "Nobody is judged" in text
    assert "if the k are at 3 or more recipient domains of different owners" in text


async def test_a_suspended_member_reads_its_numbers_and_the_way_out(place: Site) -> None:
    alice = await place.member("alice")
    visit = await place.signed_in()
    await count(place, alice.id, delivered=460, bounced=40)
    await place.suspend(alice, "40 bounces of 500 finished recipients")
    await place.env.storage.write(
        lambda tx: rows.set_stage(tx, alice.id, "suspended", now=place.env.clock.now(), notified=True)
    )
    _, text, _ = await visit.get("/account")
    assert 'href="/account#standing"' in text
    assert "The limit is reached." in text
    assert "Remove every address that bounced as unknown from your list" in text


async def test_a_domains_figures_add_up_and_say_why_they_differ_from_the_standing(place: Site) -> None:
    alice = await place.member("alice")
    await place.env.verified(alice, "example.test")
    (domain,) = await place.env.domains.list(alice.id)
    today = utc_day(place.env.clock.now())

    async def shown(**counted: int) -> str:
        await place.env.storage.write(lambda tx: stats.count(tx, {(domain.id, today, alice.id): counted}))
        return (await visit.get(f"/account/domains/{domain.id}"))[1]

    visit = await place.signed_in()
    text = await shown(accepted=300, delivered=297, bounced=1)
    for name, share in (("delivered", "99.0 %"), ("bounced", "0.3 %"), ("neither", "0.7 %")):
        assert f"<dt>{name}</dt><dd>{share}</dd>" in text
    assert "latest: 99.0 % delivered, 0.3 % bounced" in text
    assert "The relay acts by your standing" not in text
    text = await shown(bounced=30, delivered=-28)
    assert "<small>poor</small>" in text
    assert "It is “good” now." in text
    await place.env.storage.write(
        lambda tx: rows.set_stage(tx, alice.id, "slowed", now=place.env.clock.now(), notified=True)
    )
    assert "The relay acts by your standing" not in (await visit.get(f"/account/domains/{domain.id}"))[1]
