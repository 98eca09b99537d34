"""The second factor of a sign-in, as its owner and somebody who knows the password see it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pyotp
import pytest
from sqlalchemy import select

from enroll.errors import EnrollError
from posthouse.resealing import left, reseal
from relay.base.secrets import Vault
from relay.base.storage import Storage
from relay.base.storage.tables import recovery_codes, second_factors
from tests.kit.clock import HandClock
from tests.kit.storage import made, make_config
from tests.unit.test_accounts import HERE, PASSWORD, THERE, Env


@pytest.fixture
async def env(tmp_path: Path) -> AsyncIterator[Env]:
    config = make_config(tmp_path, server={"hostname": "relay.test"})
    await made(config)
    storage = await Storage.open(config)
    env = Env(storage, config)
    yield env
    env.passwords.close()
    await storage.close()


def _shows(secret: str, clock: HandClock, later: float = 0) -> str:
    return pyotp.TOTP(secret).at(int(clock.now() + later))


async def _signs_in(env: Env, code: str, address: str = HERE) -> str:
    """"ok", or the code of the refusal."""
    try:
        await env.accounts.prove("alice", PASSWORD, code, address)
    except EnrollError as e:
        return e.code
    return "ok"


async def _set_up(env: Env) -> tuple[int, str, list[str]]:
    """(member, secret, recovery codes), the code of this moment used."""
    member = await env.member()
    _, session = await env.sessions.open(member.id, HERE, "browser")
    factors = env.accounts.second_factor
    offer = factors.offer(member.id, member.handle)
    codes = await factors.begin(member.id, offer.token, _shows(offer.secret, env.clock), session.id)
    return member.id, offer.secret, codes


async def test_a_code_is_asked_once_one_is_set_up_and_each_works_once(env: Env) -> None:
    member = await env.member()
    assert await _signs_in(env, "") == "ok", "nobody is asked before"
    token, session = await env.sessions.open(member.id, HERE, "browser")
    other, _ = await env.sessions.open(member.id, THERE, "another browser")
    factors = env.accounts.second_factor
    offer = factors.offer(member.id, member.handle)
    said = parse_qs(urlsplit(offer.uri).query)
    assert (said["secret"], said["issuer"]) == ([offer.secret], ["relay.test"])
    with pytest.raises(EnrollError) as wrong:
        await factors.begin(member.id, offer.token, "000000", session.id)
    assert (wrong.value.status, wrong.value.field, await factors.state(member.id)) == (422, "code", None)
    codes = await factors.begin(member.id, offer.token, _shows(offer.secret, env.clock), session.id)
    assert len(set(codes)) == 10 == await factors.state(member.id)
    assert (await env.sessions.find(token)).second_factor_at == env.clock.now()  # type: ignore[union-attr]
    assert await env.sessions.find(other) is None, "a sign-in that proved no factor goes on"

    assert await _signs_in(env, "") == "SECOND_FACTOR_REQUIRED"
    assert await _signs_in(env, _shows(offer.secret, env.clock)) == "SECOND_FACTOR_WRONG", "the code of the set-up"
    env.clock.move(30)
    code = _shows(offer.secret, env.clock)
    assert await _signs_in(env, f"{code[:3]} {code[3:]}") == "ok"
    assert await _signs_in(env, code) == "SECOND_FACTOR_WRONG", "a code was taken twice"
    env.clock.move(60)
    assert await _signs_in(env, _shows(offer.secret, env.clock, 30)) == "ok", "a device's clock may be a step ahead"
    assert await _signs_in(env, _shows(offer.secret, env.clock)) == "SECOND_FACTOR_WRONG", "older than the last one"
    env.clock.move(120)
    assert await _signs_in(env, _shows(offer.secret, env.clock, -60)) == "SECOND_FACTOR_WRONG", "two steps behind"


async def test_without_the_device_a_recovery_code_or_the_operator_helps(env: Env) -> None:
    member_id, _, codes = await _set_up(env)
    assert await _signs_in(env, codes[0].upper()) == "ok"
    assert await _signs_in(env, codes[0]) == "SECOND_FACTOR_WRONG", "it works once"
    assert await _signs_in(env, codes[1].replace("-", "")) == "ok"
    assert await env.accounts.second_factor.state(member_id) == 8
    assert await env.accounts.reset_factor("alice")
    assert not await env.accounts.reset_factor("alice")
    assert await _signs_in(env, "") == "ok"


async def test_codes_can_be_guessed_no_more_often_than_passwords(env: Env) -> None:
    await _set_up(env)
    tries = env.config.enrollment.login_failures
    said = [await _signs_in(env, f"{n:06d}", THERE) for n in range(tries + 1)]
    assert said == ["SECOND_FACTOR_WRONG"] * tries + ["TOO_MANY_FAILURES"]


async def test_one_offer_is_one_members_and_for_half_an_hour(env: Env) -> None:
    member, bob = await env.member(), await env.member("bob")
    _, session = await env.sessions.open(bob.id, HERE, "browser")
    factors = env.accounts.second_factor
    offer = factors.offer(member.id, member.handle)
    for whose, token in ((bob.id, offer.token), (member.id, offer.token + "x"), (member.id, "")):
        with pytest.raises(EnrollError) as e:
            await factors.begin(whose, token, _shows(offer.secret, env.clock), session.id)
        assert e.value.status == 403
    assert factors.offer(member.id, member.handle, offer.token).secret == offer.secret


async def test_the_secret_is_sealed_goes_along_with_a_new_master_key_and_goes_with_the_account(env: Env) -> None:
    _, secret, codes = await _set_up(env)
    async with env.storage.read() as tx:
        [(sealed,)] = (await tx.execute(select(second_factors.c.secret))).all()
        hashes = [h for (h,) in await tx.execute(select(recovery_codes.c.code_hash))]
    assert secret.encode() not in sealed
    assert not set(codes) & set(hashes)
    newer = Vault(b"n" * 32, [env.vault])
    assert (await left(env.storage, newer, env.clock.now())).factors == 1
    assert await reseal(env.storage, newer, env.clock.now()) == (1, [])
    assert (await left(env.storage, newer, env.clock.now())).factors == 0
    env.vault = Vault(b"n" * 32)
    env.accounts = env.of(env.passwords)
    env.clock.move(30)
    assert await _signs_in(env, _shows(secret, env.clock)) == "ok"
    await env.accounts.delete("alice")
    async with env.storage.read() as tx:
        assert (await tx.execute(select(second_factors))).first() is None
        assert (await tx.execute(select(recovery_codes))).first() is None
