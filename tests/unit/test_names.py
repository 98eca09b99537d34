"""Names: one form for one thing, and a reason for each refusal."""

import pytest

from relay.base import names
from relay.base.names import Address, BadName


@pytest.mark.parametrize(
    "text",
    [
        "bücher.example",
        "BÜCHER.example",
        "xn--bcher-kva.example",
        "XN--BCHER-KVA.Example.",
        "bücher。example",  # the ideographic full stop
        "bücher．example.",  # the full-width one
        "bu\u0308cher.example",  # decomposed
    ],
)
def test_spellings_of_one_domain_are_one_domain(text: str) -> None:
    assert names.domain(text) == "xn--bcher-kva.example"


def test_a_domain_is_shown_in_its_own_letters() -> None:
    assert names.to_unicode("xn--bcher-kva.example") == "bücher.example"
    assert names.to_unicode("xn--0.example") == "xn--0.example"


@pytest.mark.parametrize(
    "text",
    [
        "",
        ".",
        "..",
        "a..b",
        ".a.test",
        "-a.test",
        "a-.test",
        "a b.test",
        "a\x00.test",
        "a\r\n.test",
        "a_b.test",
        "*.a.test",
        "127.0.0.1",
        "::1",
        "[127.0.0.1]",
        "[IPv6:::1]",
        "a.1",
        "１２７.0.0.1",
        "xn--0.test",
        "xn--a-ecp.test.xn--",
        "a@b.test",
        "a/b.test",
        f"{'a' * 64}.test",
        ".".join(["abcdefg"] * 32),
        "ü" * 2000,
    ],
)
def test_what_is_not_a_domain_is_refused_with_a_reason(text: str) -> None:
    with pytest.raises(BadName) as refused:
        names.domain(text)
    assert refused.value.reason


def test_the_longest_domain_still_passes() -> None:
    longest = ".".join(["a" * 63, "b" * 63, "c" * 63, "d" * 61])
    assert len(longest) == 253
    assert names.domain(longest + ".") == longest
    with pytest.raises(BadName, match="longer than 253"):
        names.domain(longest + "d")


@pytest.mark.parametrize("text", ["demo.test", "mail.demo.test", "BÜCHER.example", "example.co.uk", "ann.github.io"])
def test_a_registrable_domain_may_be_enrolled(text: str) -> None:
    assert names.enrollable(text) == names.domain(text)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("co.uk", "public suffix"),
        ("github.io", "public suffix"),
        ("公司.cn", "public suffix"),
        ("test", "single label"),
        ("localhost", "localhost"),
        ("a.localhost", "localhost"),
        ("192.0.2.1", "IP address"),
        ("[192.0.2.1]", "IP address"),
        ("2001:db8::1", "IP address"),
        ("[IPv6:2001:db8::1]", "IP address"),
        ("*.example.com", "wildcard"),
        ("https://example.com/shop", "give only its name"),
        ("https://bücher.example/", "give only its name"),
        ("ann@example.com", "what follows the @"),
        ("_dmarc.example.com", "underscore"),
        ("printer.local", "special use"),
        (".".join(["a" * 63] * 5), "longer than 253"),
    ],
)
def test_what_nobody_owns_can_not_be_enrolled(text: str, why: str) -> None:
    with pytest.raises(BadName) as refused:
        names.enrollable(text)
    assert why in refused.value.reason


def test_special_names_may_be_allowed() -> None:
    assert names.enrollable("mail.corp.internal", allow_special=True) == "mail.corp.internal"


def test_parents_end_at_the_registrable_domain() -> None:
    assert names.parents("a.b.example.co.uk") == ("b.example.co.uk", "example.co.uk")
    assert names.parents("example.co.uk") == ()
    assert names.parents("co.uk") == ()
    assert names.registrable("x.ann.github.io") == "ann.github.io"
    assert names.registrable("github.io") is None


@pytest.mark.parametrize("text", ["pаypal.example", "xn--pypal-4ve.example", "аррӏе.example"])
def test_names_that_look_like_others_are_flagged(text: str) -> None:
    assert names.confusable(text)


@pytest.mark.parametrize(
    "text", ["paypal.example", "bücher.example", "пример.example", "東京タワー.example", "한국.example"]
)
def test_names_of_one_script_are_not_flagged(text: str) -> None:
    assert names.confusable(text) is None


@pytest.mark.parametrize(
    ("text", "local", "domain"),
    [
        ("ann@Demo.TEST", "ann", "demo.test"),
        ("ann.lee+tag@demo.test.", "ann.lee+tag", "demo.test"),
        ("!#$&'*+-/=?^_`{|}~@demo.test", "!#$&'*+-/=?^_`{|}~", "demo.test"),
        ('"ann lee"@demo.test', '"ann lee"', "demo.test"),
        ('"ann"@demo.test', "ann", "demo.test"),
        ('"a\\"b"@demo.test', '"a\\"b"', "demo.test"),
        ("100%@demo.test", "100%", "demo.test"),
        ("jörg@bücher.example", "jörg", "xn--bcher-kva.example"),
        (f"{'a' * 64}@demo.test", "a" * 64, "demo.test"),
    ],
)
def test_an_address_is_read_by_the_grammar(text: str, local: str, domain: str) -> None:
    found = names.address(text)
    assert (found.local, found.domain) == (local, domain)
    assert names.address(found.text) == found


@pytest.mark.parametrize(
    "text",
    [
        "",
        "@",
        "ann",
        "ann@",
        "@demo.test",
        "ann@@demo.test",
        "ann@b@demo.test",
        ".ann@demo.test",
        "ann.@demo.test",
        "a..b@demo.test",
        "ann @demo.test",
        " ann@demo.test",
        "ann@demo.test ",
        "ann@demo.test>",
        "<ann@demo.test",
        "<ann@demo.test>",
        "ann@[127.0.0.1]",
        "ann@[IPv6:::1]",
        "ann@127.0.0.1",
        "@relay.test:ann@demo.test",
        "ann(comment)@demo.test",
        "ann@demo.test(comment)",
        "a\x00b@demo.test",
        "a\tb@demo.test",
        "ann@demo.test\r\nRCPT TO:<x@y.test>",
        "a\x7f@demo.test",
        '"ann@demo.test',
        'ann"@demo.test',
        '"a"b"@demo.test',
        '"a\r\nb"@demo.test',
        '"a\\"@demo.test',
        "ann＠evil@demo.test",
        "a\u202eb@demo.test",
        "a\u200db@demo.test",
        "a\u3000b@demo.test",
        "a\u0085b@demo.test",
        "a\ud800b@demo.test",
        f"{'a' * 65}@demo.test",
        f"{'ü' * 33}@demo.test",
        f"{'a' * 64}@{'.'.join(['b' * 63] * 3)}.test",
    ],
)
def test_what_is_not_one_address_is_refused(text: str) -> None:
    with pytest.raises(BadName) as refused:
        names.address(text)
    assert refused.value.reason.isprintable()


@pytest.mark.parametrize(
    "text",
    ["a%b@demo.test", "a!b@demo.test", '"a@b"@demo.test', '"a%b"@demo.test', "b.test!a%c@demo.test", "ü%b@demo.test"],
)
def test_routed_addresses_are_named_as_such(text: str) -> None:
    with pytest.raises(BadName, match="routed address"):
        names.address(text)


def test_other_letters_need_smtputf8() -> None:
    assert names.address("jörg@demo.test").smtputf8
    assert not names.address("ann@bücher.example").smtputf8
    for text in ("jörg@demo.test", "ann@bücher.example"):
        with pytest.raises(BadName, match="SMTPUTF8"):
            names.address(text, smtputf8=False)


@pytest.mark.parametrize(
    "text",
    [
        "jörg.lee@bücher.example",
        "Jörg.Lee@xn--bcher-kva.example",
        "JÖRG.LEE@BÜCHER.example.",
        "jo\u0308rg.lee+news@bücher。example",
        "jörg.lee+a+b@bücher.example",
    ],
)
def test_one_mailbox_has_one_suppression_key(text: str) -> None:
    assert names.canonical(text) == "jörg.lee@xn--bcher-kva.example"


def test_quotes_do_not_evade_a_suppression() -> None:
    assert names.canonical('"Ann+x"@demo.test') == names.canonical(Address("ann", "demo.test")) == "ann@demo.test"
    assert names.canonical('"a\\nn"@demo.test') == "ann@demo.test"
    assert names.canonical("+x@demo.test") == "+x@demo.test"


@pytest.mark.parametrize(
    ("value", "display", "address"),
    [
        (b" ann@demo.test\r\n", "", "ann@demo.test"),
        (b" Ann <ann@Demo.Test>\r\n", "Ann", "ann@demo.test"),
        (b"<ann@demo.test>", "", "ann@demo.test"),
        (b' "Lee, Ann" <ann@demo.test>', "Lee, Ann", "ann@demo.test"),
        (b" Ann B. Lee\r\n <ann@demo.test>\r\n", "Ann B. Lee", "ann@demo.test"),
        (b" =?utf-8?Q?J=C3=B6rg_Lee?= <j@demo.test>", "Jörg Lee", "j@demo.test"),
        (b" =?utf-8?B?SsO2?= =?utf-8?B?cmc=?= <j@demo.test>", "Jörg", "j@demo.test"),
        (" Jörg <jörg@bücher.example>".encode(), "Jörg", "jörg@xn--bcher-kva.example"),
        (b' "Ann@demo.test" <ann@demo.test>', "Ann@demo.test", "ann@demo.test"),
        (b' "Ann \\"Bee\\" Lee" <ann@demo.test>', 'Ann "Bee" Lee', "ann@demo.test"),
    ],
)
def test_a_plain_from_is_read(value: bytes, display: str, address: str) -> None:
    found = names.single_mailbox(value)
    assert (found.display, found.address.text) == (display, address)


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b" ",
        b" ann",
        b" ann@demo.test, bob@demo.test",
        b" Ann <ann@demo.test>, Bob <bob@evil.test>",
        b" ann@demo.test <bob@evil.test>",
        b" ann@demo.test <ann@demo.test>",
        b' "bob@evil.test" <ann@demo.test>',
        b' "ann@demo.test" <bob@evil.test>',
        b" Team: ann@demo.test;",
        b" Team: Ann <ann@demo.test>;",
        b" ann@demo.test (bob@evil.test)",
        b" (c) ann@demo.test",
        b" Ann (c) <ann@demo.test>",
        b" Ann <ann@demo.test> (c)",
        b" Ann <ann@demo.test> <bob@evil.test>",
        b" Ann <bob@evil.test <ann@demo.test>",
        b" Ann <<ann@demo.test>>",
        b' "Ann <bob@evil.test>" <ann@demo.test>',
        b' "Ann <bob>" <ann@demo.test>',
        b" Ann <ann@demo.test",
        b" Ann ann@demo.test>",
        b" Ann <>",
        b" Ann < ann@demo.test >",
        b" Ann <@relay.test:ann@demo.test>",
        b" Ann <ann@[127.0.0.1]>",
        b' Ann <"ann"@demo.test>',
        b' "Ann <ann@demo.test>',
        b' "Ann"Bob <ann@demo.test>',
        b" Lee, Ann <ann@demo.test>",
        b" =?utf-8?B?Ym9iQGV2aWwudGVzdA==?= <ann@demo.test>",
        b" =?utf-8?Q?bob=40evil.test?= <ann@demo.test>",
        b' "=?utf-8?Q?bob=40evil.test?=" <ann@demo.test>',
        b" =?utf-8?Q?bob=EF=BC=A0evil.test?= <ann@demo.test>",
        b" =?utf-8?Q?a=0D=0ABcc=3A_x?= <ann@demo.test>",
        b" =?utf-8?Q?a=00?= <ann@demo.test>",
        b" =?utf-8?Q?a=E2=80=AEb?= <ann@demo.test>",
        b" =?utf-8?Q?=3Cbob=3E?= <ann@demo.test>",
        b" =?utf-7?Q?bob+AEA-evil.test?= <ann@demo.test>",
        b" =?utf-8?Q?a <ann@demo.test>",
        b" =?utf-8?Q?ann=40demo.test?=",
        b" Ann <=?utf-8?Q?ann?=@demo.test>",
        " bob＠evil.test <ann@demo.test>".encode(),
        " ann＠demo.test".encode(),
        " ann@demo。test".encode(),
        " ann@ｄemo.test".encode(),
        b" ann@demo.test.",
        b" Ann \xff <ann@demo.test>",
        b" Ann\x00 <ann@demo.test>",
        b" Ann <ann@demo.test>\r\n \r\n",
        b" \r\n \r\n ann@demo.test",
        b" Ann\r\nBcc: x@y.test",
        b" Ann\rLee <ann@demo.test>",
        b" a%b@demo.test",
        b" " + b"a" * 3000 + b" <ann@demo.test>",
    ],
)
def test_a_from_that_two_readers_may_read_differently_is_refused(value: bytes) -> None:
    with pytest.raises(BadName) as refused:
        names.single_mailbox(value)
    assert "evil" not in refused.value.reason


@pytest.mark.parametrize(
    ("text", "form"),
    [
        ("did:plc:ewvi7nxzyoun6zhxrhs64oiz", "did:plc:ewvi7nxzyoun6zhxrhs64oiz"),
        (" DID:PLC:EWVI7NXZYOUN6ZHXRHS64OIZ ", "did:plc:ewvi7nxzyoun6zhxrhs64oiz"),
        ("did:web:Example.com", "did:web:example.com"),
        ("did:web:localhost%3a8080:m:Alice", "did:web:localhost%3A8080:m:alice"),
    ],
)
def test_a_did_has_one_form(text: str, form: str) -> None:
    assert names.did(text) == form
    assert names.did(form) == form


@pytest.mark.parametrize(
    "text",
    ["", "did:plc:short", "did:plc:" + "1" * 24, "did:web:", "did:web:a..b", "did:web:a.test:", "did:web:a.test:b/c",
     "did:web:a.test%3A0", "did:web:a.test%3A99999", "did:key:z6Mk", "alice", "did:web:" + "a" * 600],
)  # fmt: skip
def test_what_is_no_did_is_refused(text: str) -> None:
    with pytest.raises(BadName):
        names.did(text)


def test_handles() -> None:
    assert names.handle(" Alice ") == "alice"
    assert names.handle("shop.Example") == "shop.example"
    assert names.handle("Bücher.example") == "xn--bcher-kva.example"
    for text in ("", "a", "ａ", "-ab", "ab-", "a..b", "a b", "a_b", "a@b", "a" * 254):
        with pytest.raises(BadName):
            names.handle(text)
