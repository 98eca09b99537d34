"""What a remote answer is taken for: temporary unless it plainly is not."""

import pytest

from relay.outcome import Peer, Reply, concluded, from_failure, from_reply, printable


def reply(text: str) -> Reply:
    return Reply(int(text[:3]), (text[4:].encode(),))


@pytest.mark.parametrize(
    ("said", "stage", "kind", "scope"),
    [
        ("250 2.0.0 queued", "dot", "delivered", "recipient"),
        ("251 will forward", "dot", "delivered", "recipient"),
        ("250 ok", "data", "later", "host"),  # a 2xx to DATA: out of step
        ("354 go", "dot", "later", "host"),
        ("550 5.1.1 no such user", "rcpt", "never", "recipient"),
        ("450 4.2.0 greylisted", "rcpt", "later", "recipient"),
        ("552 too many recipients", "rcpt", "later", "recipient"),  # RFC 5321 §4.5.3.1.10
        ("552 5.5.3 too many", "rcpt", "later", "recipient"),
        ("552 5.2.2 mailbox full", "rcpt", "never", "recipient"),
        ("552 5.3.4 too big", "dot", "never", "message"),
        ("550 5.7.1 spam", "mail", "never", "message"),
        ("554 5.7.1 spam", "data", "never", "message"),
        ("554 5.7.1 spam", "dot", "never", "message"),
        ("554 no service here", "greeting", "later", "host"),
        ("521 no mail here", "greeting", "later", "host"),
        ("550 go away", "ehlo", "later", "host"),
        ("535 5.7.8 wrong password", "auth", "later", "host"),
        ("556 5.1.10 null", "rcpt", "never", "recipient"),
        ("421 4.3.2 closing", "dot", "later", "host"),
        ("421 4.3.2 closing", "rcpt", "later", "host"),
        ("503 5.5.1 sequence", "data", "later", "host"),
        ("550 4.7.1 which of the two", "rcpt", "later", "recipient"),
        ("199 what", "rcpt", "later", "host"),
        ("600 what", "dot", "later", "host"),
        ("999 what", "mail", "later", "host"),
    ],
)
def test_reply_is_judged(said: str, stage: str, kind: str, scope: str) -> None:
    outcome = from_reply(reply(said), stage)  # type: ignore[arg-type]
    assert (outcome.kind, outcome.scope, outcome.code) == (kind, scope, int(said[:3]))


def test_enhanced_code_is_kept_only_where_it_agrees() -> None:
    assert from_reply(reply("550 5.1.1 x"), "rcpt").enhanced == "5.1.1"
    assert from_reply(reply("450 5.1.1 x"), "rcpt").enhanced is None
    assert from_reply(reply("550 5.1 x"), "rcpt").enhanced is None
    assert from_reply(reply("550 5.1.1234 x"), "rcpt").enhanced is None
    assert from_reply(reply("550 6.1.1 x"), "rcpt").enhanced is None


def test_remote_words_are_verbatim_one_line_and_harmless() -> None:
    said = Reply(550, (b"5.1.1 first\x1b[2J", "zweite \u202e Zeile".encode(), b"bad \xff byte"))
    text = from_reply(said, "rcpt").text
    assert text == r"550 5.1.1 first\x1b[2J zweite \u202e Zeile bad \xff byte"
    assert len(printable(b"x" * 5000, 100)) == 100
    assert "\n" not in printable(b"a\nb\rc\x00")


def test_every_failure_is_temporary_and_names_the_host() -> None:
    outcome = from_failure("timeout", "rcpt", Peer("mx.test", "192.0.2.1", "TLSv1.3", False))
    assert (outcome.kind, outcome.scope, outcome.host, outcome.tls) == ("later", "host", "mx.test", "TLSv1.3")
    assert outcome.try_next_host
    assert outcome.enhanced is not None
    assert outcome.enhanced.startswith("4.")


def test_silence_after_the_dot_is_not_taken_to_the_next_host() -> None:
    assert not from_failure("closed", "dot", unanswered=True).try_next_host
    assert from_failure("closed", "dot").try_next_host  # amid the message
    assert from_failure("closed", "data").try_next_host
    assert from_reply(reply("421 4.3.2 closing"), "dot").try_next_host


def test_conclusion_keeps_what_it_is_told() -> None:
    outcome = concluded("never", "5.1.10", "takes no mail", "route", "destination", code=556)
    assert (outcome.kind, outcome.enhanced, outcome.code, outcome.try_next_host) == ("never", "5.1.10", 556, False)
