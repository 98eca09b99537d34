"""Names: one form for one thing, and a reason for each refusal."""

import base64
from collections.abc import Callable
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.base import names
from relay.base.names import Address, BadName

Reader = Callable[[str], Address | None]


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
        ("ann.lee+tag@demo.test", "ann.lee+tag", "demo.test"),
        ("!#$&'*+-/=?^_`{|}~@demo.test", "!#$&'*+-/=?^_`{|}~", "demo.test"),
        ('"ann lee"@demo.test', '"ann lee"', "demo.test"),
        ('"ann"@demo.test', "ann", "demo.test"),
        ('"a\\"b"@demo.test', '"a\\"b"', "demo.test"),
        ("100%@demo.test", "100%", "demo.test"),
        ("jörg@bücher.example", "jörg", "xn--bcher-kva.example"),
        (f"{'a' * 64}@demo.test", "a" * 64, "demo.test"),
    ],
)
@pytest.mark.parametrize("read", [names.address, names.own_address, names.reverse_path])
def test_an_address_is_read_by_the_grammar(text: str, local: str, domain: str, read: Reader) -> None:
    found = read(text)
    assert found is not None
    assert (found.local, found.domain) == (local, domain)
    assert read(found.text) == found


# Real mail, and where RFC 5321 §4.1.2 is stricter: automatic forwards, SRS, VERP, mobile providers, DNS.
FOREIGN = [
    "gmailuser+caf_=website_00000000-b5c5-4e14-8294-f5ebd6083faa=demo.test@gmail.com",
    "SRS0=HHH+=TT=a-long-domain-of-its-own.example=a-rather-long-name-of-somebody@forwarder.example",
    "bounces+12345678-abcd-bob.with.a.long.name=subdomain.of.somebody.example@em1234.sender.example",
    f"{'a' * 65}@demo.test",
    f"{'a' * 244}@demo.test",
    f"{'ü' * 122}@demo.test",
    "taro..0511@docomo.ne.jp",
    "taro.@docomo.ne.jp",
    ".taro@docomo.ne.jp",
    "..@docomo.ne.jp",
    "jö..rg@demo.test",
    "a_b@sand_box.test",
    "a@_dmarc.demo.test",
    "a@-x-.demo.test",
    "a@xn--i-7iq.demo.test",
    '"jörg lee"@demo.test',
]


@pytest.mark.parametrize("text", FOREIGN)
def test_addresses_of_others_are_taken_as_real_mail_has_them(text: str) -> None:
    found = names.address(text)
    assert found.text == text
    assert not found.plain or "_" in found.domain or "-" in found.domain
    assert names.reverse_path(text) == names.address(found.text) == found
    with pytest.raises(BadName):
        names.own_address(text)
    # In a header it is quoted where dots stand oddly, and is the same mailbox when read again.
    assert names.canonical(found.header) == names.canonical(found)


@given(
    st.text(st.sampled_from('aZ0.+-_%!"\\ @<>,:ü\u3002'), max_size=12),
    st.text(st.sampled_from("aZ-_.ü0\u3002"), max_size=8),
)
def test_whatever_is_kept_can_be_read_again(local: str, host: str) -> None:
    """What either reader gives is written the same for ever, and has one key for comparing, however it is dressed."""
    for read in (names.own_address, names.address, names.reverse_path):
        try:
            found = read(f"{local}@{host}.test")
        except BadName:
            continue
        assert found is not None
        assert names.reverse_path(found.text) == found
        if read is not names.reverse_path:
            assert names.address(found.text) == found
            assert names.canonical(found) == names.canonical(found.text) == names.canonical(found.header)


def test_dots_in_a_row_are_one_mailbox_with_and_without_quotes() -> None:
    plain, quoted = names.address("John..Doe+x@Docomo.ne.jp"), names.address('"john..doe"@docomo.ne.jp')
    assert names.canonical(plain) == names.canonical(quoted) == "john..doe@docomo.ne.jp"
    # Each goes out as it came.
    assert (plain.text, quoted.text) == ("John..Doe+x@docomo.ne.jp", '"john..doe"@docomo.ne.jp')
    assert (plain.header, quoted.header) == ('"John..Doe+x"@docomo.ne.jp', '"john..doe"@docomo.ne.jp')
    assert names.address("ann.lee@demo.test").header == "ann.lee@demo.test"


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("root@[192.0.2.1]", "root@[192.0.2.1]"),
        ("root@[IPv6:2001:db8::1]", "root@[IPv6:2001:db8::1]"),
        ("root@192.0.2.1", "root@192.0.2.1"),
        ("bob%far.test@gateway.test", "bob%far.test@gateway.test"),
        ("far.test!bob@gateway.test", "far.test!bob@gateway.test"),
        ('"CN=Bob Lee/O=Far"@gateway.test', '"CN=Bob Lee/O=Far"@gateway.test'),
        ('"bob@inside"@gateway.test', '"bob@inside"@gateway.test'),
        ("root@localhost", "root@localhost"),
        # RFC 5321 §4.1.2: a source route must be taken, and should be ignored.
        ("@far.test:bob@x.test", "bob@x.test"), ("@a.test,@b.test:bob@x.test", "bob@x.test"),
        *((nobody, None) for nobody in ("", "MAILER-DAEMON", "#@[]", "root", "@", "bob@", "bob@[]", '"Mail Daemon"')),
    ],
)
def test_a_stranger_may_be_called_what_it_likes(text: str, kept: str | None) -> None:
    found = names.reverse_path(text)
    assert (found.text if found is not None else None) == kept


@pytest.mark.parametrize(
    "text",
    [
        "a b@far.test", "a\x00b@far.test", "a\tb", "mailer daemon", "a\x01", "a\u2028", "<bob>", "bob@far.test>",
        "a<b@far.test", "bob@[far.test]", "bob@[192.0.2.1", "bob@[2001:db8::1]", "bob@[IPv6:192.0.2.1]",
        "bob@far.test.", "bob@far..test", "bob@far test", "@far.test", "bob@999.0.2.1",
        f"{'a' * 246}@far.test", "bob,x@far.test", '"a\u3000b"@far.test',
    ],
)  # fmt: skip
def test_what_is_no_path_is_refused_also_of_a_stranger(text: str) -> None:
    with pytest.raises(BadName) as refused:
        names.reverse_path(text)
    assert refused.value.reason.isprintable()
    with pytest.raises(BadName):
        names.address(text)


def test_a_path_has_256_octets_with_its_brackets() -> None:
    for local in ("a" * 244, "ü" * 122):
        assert names.address(f"{local}@demo.test")
        for read in (names.address, names.reverse_path):
            with pytest.raises(BadName, match="longer than 254 octets"):
                read(f"a{local}@demo.test")


@pytest.mark.parametrize(
    ("text", "form"),
    [
        ("Sand_Box.TEST", "sand_box.test"), ("bücher.example", "xn--bcher-kva.example"),
        ("BÜCHER。a_b.example", "xn--bcher-kva.a_b.example"), ("XN--BCHER-KVA.example", "xn--bcher-kva.example"),
    ],
)
def test_a_domain_of_others_has_one_form(text: str, form: str) -> None:
    assert names.foreign_domain(text) == names.foreign_domain(form) == form


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
        f"{'a' * 64}@{'.'.join(['b' * 63] * 3)}.test",
    ],
)
@pytest.mark.parametrize("read", [names.address, names.own_address])
def test_what_is_not_one_address_is_refused(text: str, read: Reader) -> None:
    with pytest.raises(BadName) as refused:
        read(text)
    assert refused.value.reason.isprintable()


@pytest.mark.parametrize(
    "text",
    ["a%b@demo.test", "a!b@demo.test", '"a@b"@demo.test', '"a%b"@demo.test', "b.test!a%c@demo.test", "ü%b@demo.test"],
)
@pytest.mark.parametrize("read", [names.address, names.own_address])
def test_routed_addresses_are_named_as_such(text: str, read: Reader) -> None:
    with pytest.raises(BadName, match="routed address"):
        read(text)


@pytest.mark.parametrize("text", ["ann@demo.test.", "jörg@bücher。example。", "jörg@bücher.example."])
def test_no_dot_stands_behind_a_domain_of_others(text: str) -> None:
    with pytest.raises(BadName, match="ends in a dot"):
        names.address(text)
    assert names.own_address(text).text in ("ann@demo.test", "jörg@xn--bcher-kva.example")


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
        "JÖRG.LEE@BÜCHER.example",
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
        (b' "Jane Doe (@jdoe)" <ann@demo.test>', "Jane Doe (@jdoe)", "ann@demo.test"),
        (b' "@jane.bsky.social" <ann@demo.test>', "@jane.bsky.social", "ann@demo.test"),
        (b' "Ann @ Shop.example" <ann@demo.test>', "Ann @ Shop.example", "ann@demo.test"),
        (b' "Sales@Acme Inc." <ann@demo.test>', "Sales@Acme Inc.", "ann@demo.test"),
        (b' "Me@Home, 5 p.m." <ann@demo.test>', "Me@Home, 5 p.m.", "ann@demo.test"),
        (b" =?utf-8?Q?J=C3=B6rg_=28=40joerg=29?= <ann@demo.test>", "Jörg (@joerg)", "ann@demo.test"),
        (b' "Ann (ann@demo.test)" <ann@demo.test>', "Ann (ann@demo.test)", "ann@demo.test"),
        (b' "\'Ann@Demo.test\'" <ann@demo.test>', "'Ann@Demo.test'", "ann@demo.test"),
        (b' "Write to ann@demo.test." <ann@demo.test>', "Write to ann@demo.test.", "ann@demo.test"),
        (b' "o\'neil@demo.test" <o\'neil@demo.test>', "o'neil@demo.test", "o'neil@demo.test"),
        (' "ann@bücher.example" <ann@xn--bcher-kva.example>'.encode(), "ann@bücher.example",
         "ann@xn--bcher-kva.example"),
        (b" root@demo.test (Cron Daemon)", "Cron Daemon", "root@demo.test"),
        (b" root@demo.test\r\n (Cron (the daemon), Inc.)\r\n", "Cron (the daemon), Inc.", "root@demo.test"),
        (b" root@demo.test (=?utf-8?Q?J=C3=B6rg?=)", "Jörg", "root@demo.test"),
        (b" root@demo.test ()", "", "root@demo.test"),
        (b" Ann <ann@demo.test> (on the road)", "Ann", "ann@demo.test"),
        (b" <ann@demo.test> (Ann)", "Ann", "ann@demo.test"),
        (b" =?UTF-8?Q?Jane Doe?= <ann@demo.test>", "=?UTF-8?Q?Jane Doe?=", "ann@demo.test"),
        (b" =?utf-8?Q?a <ann@demo.test>", "=?utf-8?Q?a", "ann@demo.test"),
        (b" =?UTF-8?B?5pel5pw=?= =?UTF-8?B?rA==?= <ann@demo.test>", "日本", "ann@demo.test"),
        (b" =?UTF-8?B?5pel5pys?= <ann@demo.test>", "日本", "ann@demo.test"),
        (b" =?UTF-8?B?SsO2cmc?= <ann@demo.test>", "Jörg", "ann@demo.test"),
        (b" =?shift_jis?B?7uCLtA==?= <ann@demo.test>", "髙橋", "ann@demo.test"),
        (b" =?iso-2022-jp?B?GyRCLSEbKEI=?= <ann@demo.test>", "①", "ann@demo.test"),
        (b" =?ks_c_5601-1987?B?jGM=?= <ann@demo.test>", "똠", "ann@demo.test"),
        (b" =?iso-8859-1?B?Qm9iknMgU2hvcA==?= <ann@demo.test>", "Bob’s Shop", "ann@demo.test"),
        (b" =?windows-874?B?ysfRyrTV?= <ann@demo.test>", "สวัสดี", "ann@demo.test"),
        (b" =?utf8?B?YWJj?= <ann@demo.test>", "abc", "ann@demo.test"),
        (b" =?iso-8859-1*en?Q?caf=E9?= <ann@demo.test>", "café", "ann@demo.test"),
        (b" =?cp437?Q?=81ber?= <ann@demo.test>", "über", "ann@demo.test"),
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
        b" =?unicode-1-1-utf-7?Q?bob?= <ann@demo.test>",
        b" =?rot13?Q?obo=40rivy.grfg?= <ann@demo.test>",
        b" =?x-unknown?Q?bob?= <ann@demo.test>",
        b" =?utf-8?Q?bob=FF?= <ann@demo.test>",
        b" =?iso-8859-1?Q?bob=81?= <ann@demo.test>",
        b" =?UTF-8?Q?bob=40evil.test via us?= <ann@demo.test>",
        b' "=?UTF-8?Q?bob=40evil.test via us?=" <ann@demo.test>',
        b" =?UTF-8?B?Ym9i QGV2aWwudGVzdA==?= <ann@demo.test>",
        b" =?UTF-8?Q?bob=40?= =?UTF-8?B?ZXZpbC50ZXN0?= <ann@demo.test>",
        b" =?gb2312?B?Ym9igQ==?= =?gb2312?B?QGV2aWwudGVzdA==?= <ann@demo.test>",
        b" =?iso-2022-jp?B?GyRCLSE=?= =?iso-2022-jp?Q?bob=1B=28B=40evil.test?= <ann@demo.test>",
        b' "bob@evil.test via List" <ann@demo.test>',
        b' "Ann (bob@evil.test)" <ann@demo.test>',
        b' "mailto:bob@evil.test" <ann@demo.test>',
        b' "bob@evil.test/ann@demo.test" <ann@demo.test>',
        b' "ann@demo.test@evil.test" <ann@demo.test>',
        b' "bob@[192.0.2.7]" <ann@demo.test>',
        ' "bob@evil\uff0etest" <ann@demo.test>'.encode(),
        ' "bob@evil\u3002test" <ann@demo.test>'.encode(),
        ' "bob@\u200bevil.test" <ann@demo.test>'.encode(),
        ' "bob\ufe6bevil.test" <ann@demo.test>'.encode(),
        b" ann@demo.test (@bob)",
        b" ann@demo.test (<bob>)",
        b" ann@demo.test (=?utf-8?Q?=40bob?=)",
        " ann@demo.test (bob＠home)".encode(),
        b" ann@demo.test (a) (b)",
        b" (a) ann@demo.test",
        b" ann@demo.test(a)",
        b" ann@demo.test a)",
        b" ann@demo.test (a",
        b" ann@demo.test (a\\) (b)",
        b" ann(a)@demo.test (b)",
        b" ann@demo.test, bob@evil.test (b)",
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
    with pytest.raises(BadName, match=r"^From\b"):
        names.single_mailbox(value)


def test_the_refusal_names_the_part_that_it_means() -> None:
    with pytest.raises(BadName, match=r"^From has a display name that holds another address, bob@evil\.test: "):
        names.single_mailbox(b' "Ann (via bob@evil.test, again)" <ann@demo.test>')
    with pytest.raises(BadName, match=r"^Sender has an @ within the comment"):
        names.single_mailbox(b" ann@demo.test (@ann)", "Sender")


SPELLED = ["utf-8", "us-ascii", "gb2312", "shift_jis", "iso-2022-jp", "utf-16be", "cp037", "iso-2022-kr", "hz-gb-2312"]


@given(
    st.sampled_from(SPELLED), st.sampled_from(["", "Ann ", "(", "x:"]), st.sampled_from(["", ")", ", again", "/us"]),
    st.lists(st.integers(0, 40), max_size=4), st.lists(st.booleans(), min_size=6, max_size=6), st.booleans(),
)
def test_no_spelling_hides_another_address(
    label: str, before: str, after: str, cuts: list[int], quoted: list[bool], loose: bool
) -> None:
    """In any charset, cut into words at any place, each written one way or the other, with blanks in it or not."""
    octets = f"{before}bob@evil.test{after}".encode(label)
    ends = [*sorted(cuts), len(octets)]
    pieces = [octets[start:end] for start, end in pairwise([0, *ends]) if octets[start:end]]
    words = []
    for piece, q in zip(pieces, quoted, strict=False):
        content = "".join(f"={o:02X}" for o in piece) if q else base64.b64encode(piece).decode()
        words.append(f"=?{label}?{'q' if q else 'b'}?{content}{' ' * (loose and not q)}?=")
    with pytest.raises(BadName):
        names.single_mailbox(f' {" ".join(words)} <ann@demo.test>'.encode())


@pytest.mark.parametrize("label", ["utf-16", "utf-16le", "utf-16be", "ucs-2", "UTF-16BE"])
@pytest.mark.parametrize("order", ["utf-16-le", "utf-16-be"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_utf_16_is_read_in_both_orders(label: str, order: str, mark: str) -> None:
    def sender(name: str) -> bytes:
        return b" =?%s?b?%s?= <ann@demo.test>" % (label.encode(), base64.b64encode((mark + name).encode(order)))

    with pytest.raises(BadName, match="holds another address, bob@evil"):
        names.single_mailbox(sender("bob@evil.test"))
    agree = mark or (order == "utf-16-be") == (label.lower() == "utf-16be")
    if agree:
        assert names.single_mailbox(sender("Ann (@ann), München")).display == "Ann (@ann), München"


@given(st.text(st.characters(min_codepoint=32, exclude_characters="@<>＠﹫＜＞﹤﹥", exclude_categories=("C", "Z"))))
def test_any_visible_name_may_stand_before_an_address(name: str) -> None:
    escaped = name.replace("\\", "\\\\").replace('"', '\\"')
    if names.readings(name) != (name,) or not name:
        return
    assert names.single_mailbox(f' "{escaped}" <ann@demo.test>'.encode()).display == name


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
