"""What a member reads about its standing: the formula with its own numbers, and what is left."""

from __future__ import annotations

from relay.base.storage import standing as rows
from relay.base.storage.standing import Failure, slice_of
from tests.pages.site import Site


async def count(place: Site, member_id: int, **fields: int) -> None:
    """Numbers of the last slice, each bounce of another recipient, at three domains in turn."""
    at = slice_of(place.house.clock.now())
    failures = [
        Failure(member_id, "late" if i < fields.get("late", 0) else "refused", bytes([i] * 16), bytes([i % 3] * 8), at)
        for i in range(fields.get("bounced", 0) + fields.get("late", 0))
    ]
    await place.house.storage.write(lambda tx: rows.count(tx, {(member_id, at): fields}))
    await place.house.storage.write(lambda tx: rows.remember(tx, failures))


async def test_the_numbers_and_what_is_left_stand_on_the_page(place: Site) -> None:
    alice = await place.member("alice")
    visit = await place.signed_in()
    _, text, _ = await visit.get("/account")
    assert "Not enough has finished to judge by: 0 recipients." in text
    assert "50 more hard bounces, and nothing else, would stop your sending." in text

    await count(place, alice.id, delivered=475, bounced=20, late=5, excused=60)
    _, text, _ = await visit.get("/account")
    assert "25 of 495: 5.1 %" in text
    assert "(0.0505 + 0.0039 − 1.96·√(0.0000969 + 0.0000039)) / 1.0078 = 3.4 %; limit 5 %" in text
    assert "10 more hard bounces, and nothing else, would stop your sending." in text
    assert "60: the relay itself was blamed, so they count for nothing." in text
    assert "nobody is judged" in text
    assert "if the k are at 3 or more recipient domains of different owners" in text


async def test_a_suspended_member_reads_its_numbers_and_the_way_out(place: Site) -> None:
    alice = await place.member("alice")
    visit = await place.signed_in()
    await count(place, alice.id, delivered=460, bounced=40)
    await place.suspend(alice, "40 bounces of 500 finished recipients")
    await place.house.storage.write(
        lambda tx: rows.set_stage(tx, alice.id, "suspended", now=place.house.clock.now(), told=True)
    )
    _, text, _ = await visit.get("/account")
    assert 'href="/account#standing"' in text
    assert "The limit is reached." in text
    assert "Take every address that bounced as unknown out of your list" in text
