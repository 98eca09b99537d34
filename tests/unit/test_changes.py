"""What has to change in a zone for a record, and nothing else."""

from __future__ import annotations

import pytest

from enroll.records import BY_NAME, Change, DomainView, Left, RelayHosts, Standing, change, nsupdate, required

HOSTS = RelayHosts("spf.relay.test", "bounce.relay.test", "track.relay.test", "mx.relay.test")
KEY = "v=DKIM1; k=rsa; p=AAAA"
VIEW = DomainView("shop.test", "token", (("s", KEY, "v=DKIM1; k=ed25519; p=BBBB", "pending"),))
WANTED = {r.purpose: r for r in required(VIEW, HOSTS)}


def texts(*values: str) -> Standing:
    return Standing({"TXT": values})


def test_an_spf_record_is_merged_and_other_texts_stay() -> None:
    found = change(WANTED["spf"], texts("v=spf1 ip4:192.0.2.1 -all", "other=1"))
    assert isinstance(found, Change)
    assert found.remove == (("TXT", "v=spf1 ip4:192.0.2.1 -all"),)
    assert found.record.value == "v=spf1 ip4:192.0.2.1 include:spf.relay.test -all"
    assert change(found.record._replace(value=WANTED["spf"].value), texts(found.record.value, "other=1")) is None


@pytest.mark.parametrize("there", [("v=spf1 nonsense:x -all",), ("v=spf1 ip4:1.2.3.999 ~all",)])
def test_what_would_lose_a_word_is_left_to_a_person(there: tuple[str, ...]) -> None:
    assert isinstance(change(WANTED["spf"], texts(*there)), Left)


def test_a_policy_is_never_weakened_nor_chosen() -> None:
    assert change(WANTED["dmarc"], texts("v=DMARC1; p=reject")) is None
    assert isinstance(change(WANTED["dmarc"], texts("v=DMARC1; p=reject", "v=DMARC1; p=none")), Left)
    assert isinstance(change(WANTED["dmarc"], texts()), Change)


def test_a_token_is_added_beside_what_stands_there_and_a_selector_is_cleared() -> None:
    assert change(WANTED["ownership"], texts("another")) == Change(WANTED["ownership"])
    old = Standing({"CNAME": ("old.example.",), "TXT": ()})
    assert change(WANTED["dkim_rsa"], old) == Change(WANTED["dkim_rsa"], (("CNAME", "old.example."),))
    assert change(WANTED["dkim_rsa"], texts(KEY)) is None


def test_a_cname_goes_nowhere_beside_other_records() -> None:
    record = WANTED["dkim_rsa"]._replace(kind=BY_NAME["return_path"], type="CNAME", value="bounce.relay.test.")
    assert isinstance(change(record, Standing({"A": ("192.0.2.1",)})), Left)
    assert change(record, Standing({"CNAME": ("old.example.",)})) == Change(record, (("CNAME", "old.example."),))
    assert change(record, Standing({"CNAME": ("bounce.relay.test.",)})) is None


def test_the_lines_for_nsupdate_take_out_only_what_is_merged() -> None:
    record = WANTED["spf"]
    found = [change(record, texts("v=spf1 -all", "other=1")), Left(WANTED["dmarc"], "Choose\none.")]
    assert nsupdate(one for one in found if one is not None) == (
        'update delete shop.test. TXT "v=spf1 -all"\n'
        'update add shop.test. 3600 TXT "v=spf1 include:spf.relay.test -all"\n'
        "; _dmarc.shop.test. Choose\N{REPLACEMENT CHARACTER}one.\nsend\n"
    )
    assert nsupdate([]) == ""
