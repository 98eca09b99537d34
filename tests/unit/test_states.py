"""A domain's states: what a look at DNS may change, and what it never may."""

from __future__ import annotations

import itertools

import pytest

from enroll.domains.lifecycle import Move, Rhythm, next_look, next_state, proved
from relay.base import events

STATES = ("initializing", "pending", "verified", "disabled", "suspended", "blocked", "deleted")


def test_all_required_records_must_match():
    assert proved([True, True, True]) is True


def test_one_absent_record_is_a_fact_even_beside_one_that_could_not_be_asked():
    assert proved([True, False, None]) is False


def test_a_record_that_could_not_be_asked_proves_nothing_and_disproves_nothing():
    assert proved([True, None]) is None


def test_no_findings_prove_nothing():
    assert proved([]) is None


def test_a_proved_domain_is_verified_and_its_owner_hears_of_it_from_the_clock_only():
    seen = next_state("pending", True, by="owner", failing=0)
    assert (seen.state, seen.event, seen.notice) == ("verified", events.DOMAIN_VERIFIED, None)
    found = next_state("pending", True, by="clock", failing=0)
    assert (found.state, found.event, found.notice) == ("verified", events.DOMAIN_VERIFIED, "verified")


def test_where_the_operator_approves_a_proved_domain_waits_for_him():
    move = next_state("pending", True, by="owner", failing=0, needs_approval=True)
    assert move.state == "blocked"
    assert "approval" in move.reason
    assert move.event is None


@pytest.mark.parametrize("by", ["owner", "clock"])
@pytest.mark.parametrize("proof", [False, None])
def test_an_unproved_domain_stays_pending(proof, by):
    assert next_state("pending", proof, by=by, failing=0) == Move("pending", 0)


def test_the_owners_own_look_takes_a_verified_domain_back_at_once():
    move = next_state("verified", False, by="owner", failing=0)
    assert (move.state, move.event, move.notice) == ("pending", events.DOMAIN_LOST, None)


def test_the_clock_warns_at_the_first_failure_and_takes_back_at_the_third():
    first = next_state("verified", False, by="clock", failing=0)
    assert first == Move("verified", 1, "", events.DOMAIN_FAILING, "failing")
    second = next_state("verified", False, by="clock", failing=first.failing)
    assert second == Move("verified", 2)
    third = next_state("verified", False, by="clock", failing=second.failing)
    assert (third.state, third.event, third.notice) == ("pending", events.DOMAIN_LOST, "lost")


def test_a_look_right_after_a_failed_one_is_no_second_look():
    assert next_state("verified", False, by="clock", failing=2, counts=False) == Move("verified", 2)


def test_one_good_look_forgives_the_failed_ones():
    assert next_state("verified", True, by="clock", failing=2) == Move("verified", 0)


@pytest.mark.parametrize(("state", "by"), list(itertools.product(STATES, ("owner", "clock"))))
def test_what_could_not_be_asked_never_changes_a_state(state, by):
    move = next_state(state, None, by=by, failing=2, reason="kept")
    assert (move.state, move.event, move.notice) == (state, None, None)
    assert move.failing == (2 if state != "pending" else move.failing)


@pytest.mark.parametrize("state", ["initializing", "disabled", "suspended", "blocked", "deleted"])
@pytest.mark.parametrize("proof", [True, False, None])
@pytest.mark.parametrize("by", ["owner", "clock"])
def test_a_look_moves_pending_and_verified_only(state, proof, by):
    assert next_state(state, proof, by=by, failing=1, reason="kept") == Move(state, 1, "kept")


def test_looks_at_a_pending_domain_grow_apart_to_an_hour_and_end_after_thirty_days():
    rhythm, now, waited, waits = Rhythm(), 0.0, None, []
    while True:
        at = next_look("pending", by="clock", proof=False, now=now, waited=waited, pending_since=0.0, rhythm=rhythm)
        if at is None:
            break
        waited = at - now
        waits.append(waited)
        now = at
    assert waits[:6] == [300, 600, 1200, 2400, 3600, 3600]
    assert set(waits[5:]) == {3600}
    assert 30 * 86400 - 3600 < now <= 30 * 86400


def test_the_owners_look_starts_the_rhythm_anew():
    at = next_look("pending", by="owner", proof=False, now=50.0, waited=3600, pending_since=0.0, rhythm=Rhythm())
    assert at == 350


def test_a_verified_domain_is_looked_at_daily_and_sooner_when_it_could_not_be_asked():
    def look(proof):
        return next_look("verified", by="clock", proof=proof, now=0.0, waited=None, pending_since=0.0, rhythm=Rhythm())

    assert look(True) == look(False) == 86400
    assert look(None) == 3600


@pytest.mark.parametrize("state", ["disabled", "suspended", "blocked", "deleted"])
def test_the_clock_leaves_other_states_alone(state):
    assert next_look(
        state, by="clock", proof=True, now=0.0, waited=None, pending_since=0.0, rhythm=Rhythm()
    ) is None
