"""What the last host in line said, out of all that others wrote around it; and at which command it said so.

A refusal passes through several hands, and each puts its own words in front: "host mx said:", "Unknown address error",
"Recipient address rejected:". Those words are frames, and what stands in them decides. A host that refuses at EHLO or
MAIL has not heard of the recipient yet.

Promises: pure, linear in the text. A reply that goes on over several lines is one reply, and what follows by itself in
a transcript is none that stands in a frame. Leaves to its package: what the words mean.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

Stage = Literal["", "helo", "mail", "rcpt", "data", "dot"]

# A reply with words or a status behind its code.
_REPLY = re.compile(r"[45]\d\d(?=[\s\-:,'\"\[(]{1,6}(?:#?[45]\.\d{1,3}\.\d{1,3}|[<('\"\[]{0,3}[^\W\d]))")
_OPENS = frozenset(" \t\r\n:;<>([,'\"")
# What stands right before a reply that somebody passes on.
_PASSED_ON = re.compile(
    r"(?:[:('\"\[>]\s{0,3}['\"(\[]{0,3}|(?:\b(?:said|says|replied|responded|response|reply|answer|answered|returned|"
    r"returns|was|is|error|reason|because|code|antwortete|antwort|répondu|respondió|respuesta|risposto|risposta|"
    r"respondeu|resposta|ответил|ответ)|smtp;|[-=]>)\W{0,6})$",
    re.IGNORECASE,
)
_LINK, _WORD = re.compile(r"https?://\S+"), re.compile(r"[^\W\d_]{2}")
_IS_GONE = re.compile(r"invalid|unknown", re.IGNORECASE)
_BEFORE = 24
# Postfix's "… (in reply to RCPT TO command)", and what others add.
_BEHIND = ("(in reply to ", "(in response to ", "(state ")
# Words that only say that the recipient is refused; the reason stands behind the colon.
_FRAME = re.compile(
    r"(?<!sender )(?<!from )(?<!sender's )(?:\b(?:recipient|rcpt to|rcpt|address|to address|mailbox|user|"
    r"recipient's address|"
    r"destination|empfänger(?:adresse)?|adresse du destinataire|destinataire|destinatario|destinatário|ontvanger|"
    r"odbiorca|"
    r"получатель|адрес получателя)\s(?:address |mailbox |was |is |has been |command |wurde |adres )?"
    r"(?:rejected|refused|denied|not accepted|unavailable|abgelehnt|zurückgewiesen|refusée?|rejetée?|rechazad[oa]|"
    r"rifiutat[oa]|recusad[oa]|rejeitad[oa]|geweigerd|odrzucon\w|отклон[её]н\w?|отвергнут\w?)|"
    r"(?:rejected|invalid|bad|refused|undeliverable) (?:recipient|rcpt|to address)(?: address)?|"
    r"(?:delivery|verification|recipient verification|callout|lookup) (?:failed|failure)|undeliverable(?: address)?)"
    r"\s{0,2}(?::|：|\s[-–—]\s)\s{0,3}(?=\S{0,3}[^\W\d]{2}|\S{0,2}[\u3040-\u9fff\uac00-\ud7a3])",
    re.IGNORECASE,
)  # fmt: skip

_FRAMES = (
    "reject", "refus", "denied", "accepted", "unavailable", "fail", "undeliverable", "invalid rec", "bad rec",
    "abgelehnt",
    "zurück", "rejet", "rechaz", "rifiut", "recus", "rejeit", "geweigerd", "odrzuc", "отклон", "отверг",
)  # fmt: skip

_VERB = (
    r"(?:(?P<mail{n}>mail[ -]?from|mail command|mail cmd|sender command)|(?P<rcpt{n}>rcpt(?:[ -]to)?)|"
    r"(?P<helo{n}>[eh][he]lo|lhlo|(?:initial )?(?:server )?greeting)|"
    r"(?P<dot{n}>end of data|data block|end[ -]of[ -](?:data|message)|message (?:body|content)|final dot)|"
    r"(?P<data{n}>data))\b"
)
_FILL = (
    r"(?:(?:the|our|an?|your|end|of|pipelined|sending|initial|smtp|to|auf|den|die|das|à|la|le|el|al|alla|ao|il|o|op|na|"
    r"på|на|de|commande|comando|befehl|commando|komend\w|команд\w)\W{1,3}){0,5}"
)
_REFUSED = r"(?:rejected|refused|failed|denied|not accepted|abgelehnt|refusée?|rechazad|rifiutat)"
_STAGED = re.compile(
    r"(?:\b(?:repl(?:y|ies|ied)|respon[sd]\w{0,4}|answer|antwort|r[ée]ponse|respuesta|risposta|resposta|antwoord|svar|"
    r"odpowied\w|ответ)\W{1,3}" + _FILL + _VERB.format(n=1) + r"|"
    r"\b(?:after|during|at|while sending|sending|performing|receiving|command|verb|befehl|"
    r"(?:rejected|refused|failed|denied|error)(?: by| at| in| on| during| after| with)?)\W{1,3}"
    + _FILL + _VERB.format(n=2) + r"|"
    + _VERB.format(n=3) + r"\W{1,4}(?:<[^<>]{0,320}>\W{0,3})?"
    r"(?:(?:command|stage|phase|handshake|check|was|has been|is|address)\W{1,3}){0,3}" + _REFUSED + r"|"
    r"(?:>>>|-->|=>)\s?" + _VERB.format(n=4) + r"|"
    r"(?P<mail5>but sender was rejected|not like (?:the )?sender)|(?P<rcpt5>not like (?:the )?recipient)|"
    r"(?P<helo5>but greeting failed|my name was rejected|refused to talk to|after initial connection|\bat connect\b)|"
    r"(?P<dot5>failed after i sent))",
)  # fmt: skip
_HINTS = (
    "mail from", "mail-from", "mail command", "rcpt", "ehlo", "helo", "lhlo", "greeting", "connect", "banner",
    "not like",
    "sender was rej", "my name was", "after i sent", "refused to talk", " data", "of-data", "final dot", "mailfrom",
)  # fmt: skip
_AROUND = 100
_LATER = re.compile(r"\(?(?:in )?(?:repl|respon|antwort|r[ée]ponse|respuesta|risposta|resposta|ответ)", re.I)


@dataclass(frozen=True, slots=True)
class Heard:
    """The innermost reply: its words, without frames, and the stage. `passed_on`: others' words stood around it;
    `framed`: some that only say that the recipient is refused were taken out of it.

    `coded`: it is a reply with a code of its own, so a status that it lacks is somebody else's guess."""

    text: str
    stage: Stage
    passed_on: bool
    framed: bool
    coded: bool


def innermost(text: str) -> Heard:
    """What the last host in line said. A text without a reply in it is taken as it is."""
    first, at = -1, -1
    for found in _REPLY.finditer(text):
        begin = found.start()
        # 503 is of the order of commands, never of the mail.
        if found[0] == "503" or (begin and text[begin - 1] not in _OPENS):
            continue
        first = begin if first < 0 else first
        if begin and _PASSED_ON.search(text[max(0, begin - _BEFORE) : begin]):
            at = begin
    low = text.lower()
    stage = _stage(low, max(at, first, 0))
    ends = [end for mark in _BEHIND if (end := low.find(mark, max(at, 0))) > 0]
    end = min(ends, default=len(text))
    inner = text[max(at, 0) : end] if len(low) == len(text) else text[max(at, 0) :]
    framed = None
    if (":" in inner or " - " in inner or not inner.isascii()) and any(word in low for word in _FRAMES):
        framed = _FRAME.search(inner)
        if framed is not None and _IS_GONE.search(framed[0]) and not _WORD.search(_LINK.sub("", inner[framed.end() :])):
            framed = None  # a page's address is no reason: what stands before it is
    if framed is not None:
        # The noun stays: "Unknown" behind it says that the recipient is.
        inner = f"{inner[: framed.start()]} recipient {inner[framed.end() :]}"
    return Heard(inner, stage, at > 0, framed is not None, first >= 0)


def staged(text: str) -> Stage:
    """The command that a refusal answered, told by the words around it; "" where they don't say."""
    return _stage(text.lower(), len(text))


def _stage(low: str, at: int) -> Stage:
    hints = [hint for hint in _HINTS if hint in low]
    if not hints:
        return ""
    best: Stage = ""
    begin = max(0, min(low.find(hint) for hint in hints) - _AROUND)
    end = max(low.rfind(hint) for hint in hints) + _AROUND
    for found in _STAGED.finditer(low, begin, end):
        stage: Stage = (found.lastgroup or "")[:-1]  # type: ignore[assignment]
        if found.start() <= at or not best:
            best = stage
        elif _LATER.match(found[0]):
            # Postfix names the command behind the reply.
            return stage
    return best
