"""Bounces without a machine-readable part: the sentences with which mail systems begin them, and what follows.

The sender must be a mail system, or the subject one of theirs; then a sentence near the top, or an address with a
reply code beside it, makes it a bounce; whether it is final already is told by `lateness`. Each recipient that the
text names gets the words that stand behind its name.
"""

from __future__ import annotations

import re
from dataclasses import replace

from relay.bounces.classify import classify, staged
from relay.bounces.parse.automatic import is_answer, is_forwarded, is_system, looks_returned, person
from relay.bounces.parse.entity import SUBJECT, Action, Entity, Fate, Report, leaves, without_markup
from relay.bounces.parse.entity import read as read_entity
from relay.bounces.parse.lateness import gave_up, is_late, speaks_of_delay

_TOP = 6000
_REASON = 1500
_REPLY = 600
_LINE_MAX = 200
_FATES_MAX = 100

_I = re.IGNORECASE | re.MULTILINE
# Sentences of failure, and one name for each system that writes them; searched in one pass.
_SHAPES: tuple[tuple[str, str], ...] = (
    ("qmail", r"^[ \t]{0,20}hi\. this is the .{0,60}|"
              r"^i'm afraid i wasn't able to deliver|^i wasn't able to deliver"),
    ("exim", r"^this message was created automatically by (?:the )?mail|"
             r"^a message (?:that )?you (?:have )?sent (?:could not|has not|to)|^a message sent by"),
    ("postfix", r"^this is the (?:postfix program|mail system) at host|^.{0,3}i'm sorry to have to inform you"),
    ("sendmail", r"^[ \t]{0,20}-{3,80} ?(?:the following addresses (?:had|have)|"
                 r"transcript of session follows|non-deliver)"),
    ("exchange", r"^.{0,20}your message did(?: not|n't) reach (?:some|all)|"
                 r"^the following recipient\(?s?\)? (?:could not|cannot|can't) be reached|"
                 r"^delivery has failed to these recipients|^your message (?:to .{0,80} )?couldn't be delivered|"
                 r"^your message wasn't delivered|^delivery to these recipients|^.{0,60}did not reach the following"),
    ("gmail", r"^delivery to the following recipients? failed|^(?:\*\* )?(?:address not found|message (?:blocked|not))|"
              r"^your message wasn't delivered to|^the response (?:from the remote server )?was"),
    ("yahoo", r"^[ \t]{0,20}message from[ \t]{1,8}\S{1,300}[ \t]{0,8}$|"
              r"^sorry,? we (?:were|are) unable to deliver|^unable to deliver message to"),
    ("lotus", r"^your (?:message|document):?\s*$|^was not delivered to:"),
    ("other",
     r"^.{0,80}(?:"
     r"the following (?:message|mail|recipient|address|user|e-?mail|destination).{0,80}(?:could not|cannot|couldn't|"
     r"failed|undeliver|not delivered|unknown|rejected|problem|error|did not|not (?:be )?(?:deliver|reach))|"
     r"(?:message|mail|e-?mail|letter) .{0,80}(?:could not|was not|cannot|can not|wasn't|couldn't|can't|has not|not) "
     r"(?:be |been )?(?:successfully )?(?:deliver|sent|process|accept|reach)|"
     r"(?:could not|unable to|cannot|can't|couldn't|failed to|impossible to) (?:be )?(?:deliver|send|forward|reach)|"
     r"(?:message|mail|e-?mail) .{0,60}(?:has been|was|were|is being|is) (?:rejected|returned|refused|blocked|"
     r"bounced)|"
     r"delivery .{0,60}(?:failed|failure|unsuccessful|not possible|impossible|error)|deliver(?:y|ing) .{0,20}fail|"
     r"undeliver(?:able|ed)|non-?deliver|returned (?:mail|to sender)|not delivered|"
     r"failed (?:address|recipient|delivery)|"
     r"(?:user|recipient|address|mailbox|account).{0,60}"
     r"(?:unknown|not found|does(?: not|n't) exist|invalid|disabled|full)|"
     r"(?:unknown|invalid|no such) (?:user|recipient|address|mailbox|host|domain)|account is .{0,20}limited|"
     r"each of the following|rejected by .{0,40}(?:mail|server)|error (?:was |has )?(?:occurred|encountered)|"
     r"there was an error|trouble deliver|error deliver|attempted to be delivered|could not be reached|"
     r"message status|remote (?:host|server|mail).{0,30}(?:said|respon|rejected)|problem(?:s)? (?:deliver|with)|"
     r"(?:konnte|konnten|kann|können) nicht .{0,60}(?:zugestellt|übermittelt|gesendet|versendet|ausgeliefert)|"
     r"nicht zugestellt|nicht zustellbar|unzustellbar|zustellung .{0,60}(?:fehlgeschlagen|nicht|gescheitert)|"
     r"n'a (?:pas )?(?:pu|été) .{0,60}|échec|échoué|impossible de|non remis|"
     r"no se (?:ha )?(?:pudo|puede|podido|entreg)|"
     r"no (?:ha|pudo|puede) .{0,20}entreg|não (?:foi|pôde|pode|é) .{0,30}|impossibile|non (?:è stato|può|è)|"
     r"niet (?:worden |te )?(?:be(?:zorgd|stel)|afgeleverd)|kunde inte|nie (?:można|został|mogła)|не (?:был|"
     r"удал|мож).{0,40}|"
     r"недостав|失敗|できません|届けられ|送信できな|不明|无法|失败|退回|投递|拒收"
     r")"),
)  # fmt: skip
_ANY = re.compile("|".join(f"(?P<{name}>{sentence})" for name, sentence in _SHAPES), _I)
# Where the quoted original begins: nothing behind it speaks of the bounce.
_COPY = re.compile(
    r"^(?:[-=*_|> ]{0,40}.{0,60}(?:"
    r"(?:copy of|below this line|text of|header of|headers of|body of|start of|begin of|beginning of|attached is)"
    r" .{0,40}(?:message|mail|header|original)|"
    r"(?:original|returned|unsent|undelivered|rejected|failed|your) (?:message|mail|e-?mail|text|letter)"
    r"(?:'s)?(?: text| headers?| body)? "
    r"(?:follow|below|begins|is (?:below|attached|following)|starts?|attached)|"
    r"message headers? (?:follow|below)|header follows)"
    r".{0,80}|[-=* ]{2,80}.{0,10}(?:original|returned|forwarded|unsent|ursprüngliche|message|body|"
    r"header).{0,40}[-=* ]{2,80}|"
    r"return-path: .{0,300}|received: (?:from|by|\(qmail) .{0,300}|content-type: message/.{0,60})$",
    _I,
)
_BLANK = re.compile(r"\n[ \t]{0,200}\n[\s]{1,6000}")
_STATUS = re.compile(r"(?<![\d.])([45])\.(\d{1,3})\.(\d{1,3})(?![\d.])")
_CODE = re.compile(r"(?:^|[\s:;<>(\[#'\"])([45])\d\d(?=[\s\-:;,)\]'\"#]|$)", re.MULTILINE)
_REPLIED = re.compile(
    r"(?:^|[\s:;<>(\[#'\"])(?:[45]\d\d[ -]{1,2}#?(?:[45]\.\d{1,3}\.\d{1,3}|[^\W\d])|#?[45]\.\d{1,3}\.\d{1,3}\b)"
)
_BARE = re.compile(r"(?:[45]\d\d )?#?[45]\.\d{1,3}\.\d{1,3}\W{0,3}(?:[)\]>]|$)")
_WORD = re.compile(r"[^\W\d]{3}|[\u3040-\u9fff]")
_LOOSE_ENDS = " :;,.<>()[]#'\"-*|"
_REPORTED = frozenset({"mailbox_unknown", "domain_unknown", "mailbox_full", "mailbox_disabled", "expired", "too_large"})
# Exim's and Postfix's note behind an address that an alias led to.
_ALIAS = re.compile(r"^[\s>]{0,20}\((?:generated|expanded) from:? [^()]{1,300}\)")
_MENTIONS_MAX = 5
_ENCLOSED = ("message/", "text/rfc822-headers")
# Words that take the blame from the address, wherever they stand.
_BLAMED = frozenset({"reputation", "rate", "greylisted", "authentication", "sender", "content"})
_LETTER = r"[^\s<>()\[\]:;,\"'=@/|*：；，、（）「」【】]"
_ADDRESS = re.compile(rf"(?<!{_LETTER}){_LETTER}{{1,254}}@[^\W_](?:[\w-]{{0,62}})(?:\.[\w-]{{1,63}}){{1,8}}")
# An address that a report is about: alone on its line, before a colon or bracket, or behind a word for recipient.
_BEFORE = re.compile(
    r"(?:^[\s>*•·-]{0,20}<?|"
    r"(?:recipients?|address(?:es)?|users?|mailbox|account|to|destination|rcpt to|an|à|para|adresse|"
    r"empfänger|destinataire|destinatario|получател\w{0,3}|宛先|addressee|for)\W{0,12}|(?:smtp|rfc822|"
    r"mailto)[:;]\s?<?)$",
    re.IGNORECASE,
)
# What is said of a person, not of a mailbox: a note that an administrator wrote for somebody who has gone.
_OF_PERSON = re.compile(
    r"\bi have (?:left|moved|changed jobs|retired)\b|\bi (?:no longer|don't) work\b|\bi am no longer\b|"
    r"\b(?:has|have) (?:now )?(?:resigned|retired|left (?:(?:the|our|this) (?:company|firm|organi[sz]ation|business|"
    r"team|school|university|institut\w{0,5}|office)|us\b|(?-i:[A-Z])))|"
    r"\b(?:is|are) no longer (?:with|working|employed|part of|a member of)\b|"
    r"\b(?:no longer|not any ?more|already does not|doesn't|does not) works?\b|\bno longer employed\b|"
    r"\b(?:former|ex-?)[ -]?(?:employee|colleague)|out of (?:the )?office|on (?:vacation|holiday|maternity|parental)|"
    r"\b(?:ist|bin|arbeitet) nicht (?:mehr|länger) (?:in|im|bei|für|unser|als|tätig|hier)|aus dem unternehmen|"
    r"ausgeschieden|hat (?:uns|unser\w{0,3}|das|die) .{0,30}verlassen|im urlaub|außer haus|"
    r"a quitté (?:la|l'|notre|nos)|ne (?:fait|travaille|sera) plus (?:partie|chez|pour|dans|parmi|ici)|en congé|"
    r"(?:ya no|no) (?:trabaj|forma parte|labora)|de vacaciones|dejado (?:la|de|nuestra)|"
    r"não (?:trabalha|faz parte|integra)|de férias|non (?:lavora|fa) più|ha lasciato|in ferie|"
    r"(?:niet (?:meer|langer)) (?:werkzaam|in dienst)|werkt niet (?:meer|langer)|uit dienst|"
    r"nie (?:pracuje|jest już)|zakończył\w{0,3}|již .{0,20}nepracuje|slutat|arbetar inte|sluttet|"
    r"больше не работа|уволил|в отпуске|退職|退社|異動|已离职|离职|已離職|퇴사|퇴직",
    _I,
)
# Where else to write to: a note's last sentence.
_INSTEAD = re.compile(
    r"\b(?:please|kindly|you can|bitte|merci d|veuillez|por favor|si prega|gelieve|proszę|пожалуйста)\b.{0,120}@", _I
)
_NOBODY = re.compile(
    r"(?:mailer-?daemon|postmaster|abuse|help-?desk|support|hostmaster|webmaster|noreply|no-reply)@", re.IGNORECASE
)


def read(entity: Entity) -> Report | None:
    """A bounce in words, or None."""
    if is_forwarded(entity):
        return None
    failed = "x-failed-recipients" in entity.fields  # Exim's field, and Gmail's
    system = failed or is_system(entity)
    returned = looks_returned(entity)
    # RFC 5321 §4.5.5: what a null path sends is a report, or an answer that nobody wrote.
    null = entity.get("return-path").strip() == "<>"
    if not system and not returned and not null:
        return None
    parts = list(leaves(entity))
    top = _top(parts)
    name, begin = _shape(top)
    plain = False
    if not system and not returned and not (name and _ADDRESS.search(top) and _REPLIED.search(top)):
        return None
    subject = entity.words("subject")[:500]
    late = is_late(subject, top)
    if not name:
        # No sentence we know: a mail system that names an address beside a reply code is still a bounce.
        # Freely worded: a null path, a recipient, and a reason that only bounces have.
        reported = classify("", top).class_ in _REPORTED or speaks_of_delay(top)
        plain = (null or late) and system and reported and bool(_loose(top, _ours(entity)))
        if not ((system and returned) or failed or (system and _REPLIED.search(top)) or plain):
            return None
        if not failed and not _REPLIED.search(top) and not _ADDRESS.search(top):
            return Report("bounce", "empty", (Fate(""),)) if returned and system else None
        name, begin = "failed-recipients" if failed else "unnamed", 0
    else:
        empty = not system and not _ADDRESS.search(top) and not _CODE.search(top)
        if empty or (name == "other" and not null and not failed and _only_lures(entity, parts, top)):
            return None
    if name in ("other", "unnamed") and not failed and not _REPLIED.search(top) and _is_note(entity, top):
        return Report("auto_reply", "person")
    action: Action = "delayed" if late else "failed"
    if name in ("unnamed", "failed-recipients"):
        action = action if action == "delayed" or plain or (system and returned) else ""
    ours = _ours(entity)
    named = _ADDRESS.findall(entity.get("x-failed-recipients")[:4000])
    fates = _fates(top, begin, action, named, ours, parts)
    waiting = tuple(map(_not_yet, fates))
    if waiting != fates and not gave_up(subject, top):
        fates = waiting
    return Report("bounce", "delay" if action == "delayed" else name, fates, writer=person(entity))


def _not_yet(fate: Fate) -> Fate:
    """A failure of which nothing but class 4 is told, and no end, is a delay whatever the sentence above it says."""
    reported = {m[1] for m in _CODE.finditer(fate.diagnostic)} | {m[1] for m in _STATUS.finditer(fate.diagnostic)}
    if fate.action == "failed" and (reported | set(fate.status[:1])) == {"4"}:
        return replace(fate, action="delayed")
    return fate


def _is_note(entity: Entity, top: str) -> bool:
    """True of what somebody wrote of a person, also where a mail system's name stands above it."""
    if _OF_PERSON.search(top):
        return True
    answered = entity.get("auto-submitted").lower().startswith("auto-replied")
    return answered and is_answer(entity) and _INSTEAD.search(top) is not None


def _only_lures(entity: Entity, parts: list[Entity], top: str) -> bool:
    """True of "your mail could not be delivered, click here": a link, but no address, no reply, no message enclosed."""
    if b"://" not in entity.body or "auto-submitted" in entity.fields or _REPLIED.search(top) or _CODE.search(top):
        return False
    return not _loose(top, _ours(entity)) and not any(p.type.startswith(_ENCLOSED) for p in parts)


def _ours(entity: Entity) -> set[str]:
    return {a.lower() for field in ("to", "from", "reply-to") for a in _ADDRESS.findall(entity.get(field)[:2000])}


def _top(parts: list[Entity]) -> str:
    """The text for people up to where it quotes the message: plain text before HTML, and blank parts passed over."""
    # A multipart here is one whose boundary nobody can find.
    for wanted in ("text/plain", "text/html", "text/", "multipart/"):
        for part in parts:
            if not part.type.startswith(wanted) or "rfc822" in part.type:
                continue
            text = part.text()
            top = text[: 4 * _TOP]
            if part.type == "text/html" or "<html" in top[:500].lower() or "<body" in top[:500].lower():
                top = without_markup(top)
            # Without the blank lines by the thousand that would let patterns run on.
            top = _BLANK.sub("\n\n", top[:_TOP].replace("\u2019", "'"))
            if not top.strip():
                continue
            top = SUBJECT.sub("", top)
            copy = _COPY.search(top, 40) if len(top) > 40 else None
            return top if copy is None else top[: copy.start()]
    return ""


def _shape(top: str) -> tuple[str, int]:
    loose = ("", 0)
    for found in _ANY.finditer(top):
        if found.lastgroup != "other":
            return found.lastgroup or "", found.start()
        # Such sentences stand anywhere; what comes before them may be the reason.
        loose = ("other", 0)
    return loose


def _fates(
    top: str, begin: int, action: Action, named: list[str], ours: set[str], parts: list[Entity]
) -> tuple[Fate, ...]:
    wanted = list(dict.fromkeys(a.lower().rstrip(".") for a in named)) or _recipients(top, begin, ours)
    if not wanted and not _loose(top, ours):
        wanted = _of_original(parts, ours)
    elif not wanted:
        wanted = _loose(top, ours)[:1]
    if len(wanted) < 2:
        fate = _fate(top[begin:], action, wanted[0] if wanted else "")
        if begin and not fate.status and classify("", fate.diagnostic).class_ == "unknown":
            # Some quote the dialogue first and say what it means behind it.
            fate = _fate(top, action, fate.final)
        return (fate,)
    said: dict[str, list[str]] = {address: [] for address in wanted[:_FATES_MAX]}
    marks = [(m.start(), m.end(), m[0].lower().rstrip(".")) for m in _ADDRESS.finditer(top)]
    marks = [m for m in marks if m[2] in said]
    nexts = [*marks[1:], (len(top), 0, "")]
    for (start, end, address), (following, _, other) in zip(marks, nexts, strict=False):
        # What stands before another's address in its line is about that one.
        until = max(end, top.rfind("\n", 0, following) + 1) if other and other != address else following
        said[address].append(_before(top, start, end) or top[end:until])
    fates = []
    later = ""
    for address in reversed(said):
        words = "\n".join(said[address])
        # Several addresses in a row, then the reason of them all.
        words = words if re.search(r"[^\W\d]{3}", words) else later
        later = words
        fates.append(_fate(words or top[begin:], action, address))
    return tuple(reversed(fates))


def _recipients(top: str, begin: int, ours: set[str]) -> list[str]:
    found: dict[str, None] = {}
    for match in _ADDRESS.finditer(top):
        address = match[0].lower().rstrip(".")
        if address in ours or _NOBODY.match(address) or len(found) >= _FATES_MAX:
            continue
        line = top[max(top.rfind("\n", 0, match.start()) + 1, match.start() - 60) : match.start()]
        if _BEFORE.search(line):
            found[address] = None
    return list(found)


def _loose(top: str, ours: set[str]) -> list[str]:
    every = (m[0].lower().rstrip(".") for m in _ADDRESS.finditer(top))
    return [a for a in every if a not in ours and not _NOBODY.match(a)]


def _of_original(parts: list[Entity], ours: set[str]) -> list[str]:
    """The recipient in the enclosed message's To, where the text names none."""
    for part in parts:
        if part.type in ("message/rfc822", "text/rfc822-headers", "message/rfc822-headers", "message/global"):
            inside = read_entity(part.body.lstrip(b"\r\n")[:65_536], part.depth + 1)
            found = [a.lower() for a in _ADDRESS.findall(inside.get("to")[:2000])]
            return found if len(found) == 1 else []
    return []


def _fate(text: str, action: Action, address: str) -> Fate:
    """The words behind the sentence, and what their codes say where the sentence left it open."""
    words = " ".join(text.split())[:_REASON]
    codes = [m[0] for m in _STATUS.finditer(words)]
    status = next((c for c in codes if c[0] == "5"), codes[0] if codes else "")
    classes = {m[1] for m in _CODE.finditer(words)} | {c[0] for c in codes}
    if action != "delayed":
        if classes == {"4"}:
            action = action or "delayed"
        elif "5" in classes:
            action = "failed"
    said = _behind(text, status, address) or _said(words, status, address)
    return Fate(action, status, said, address, stage=staged(words))


def _known(text: str) -> bool:
    return classify("", text).class_ != "unknown"


def _behind(text: str, status: str, address: str) -> str:
    """The reason that stands behind the address which begins its line, up to an empty line; "" where none does."""
    at = text.lower().find(address) if address else -1
    if at < 0:
        return ""
    if text[text.rfind("\n", 0, at) + 1 : at].strip(" \t<>*\"'"):
        words = _before(text, at, at + len(address)).strip(_LOOSE_ENDS)
    else:
        reason = _ALIAS.sub("", text[at + len(address) :][:_REASON]).lstrip(_LOOSE_ENDS + "\n").partition("\n\n")[0]
        words = " ".join(reason.split())[:_REPLY]
        words = words if _WORD.search(words) and not _REPLIED.search(words) and _known(words) else ""
    return "" if not words or classify(status, text[:_REASON]).class_ in _BLAMED else words.rstrip(" <([")


def _before(text: str, start: int, end: int) -> str:
    """The reason in front of the address that ends its line, as IMail writes: "Unknown user: bob@far.example"."""
    before = text[text.rfind("\n", 0, start) + 1 : start][-_LINE_MAX:]
    if ":" not in before or _WORD.search(text[end : end + _LINE_MAX].partition("\n")[0]):
        return ""
    return before if not _REPLIED.search(before) and _known(before) else ""


def _said(words: str, status: str, address: str) -> str:
    """What the other side said: the reply in `words`, else the sentence behind the address, else all of them.

    Nothing is cut away that would change what they mean.
    """
    replied = _REPLIED.search(words)
    if replied is not None:
        reply = words[replied.start() :].lstrip(_LOOSE_ENDS)[:_REPLY]
        # qmail and others put the bare number behind their sentence: "no mailbox here by that name. (#5.1.1)".
        if not _BARE.match(reply) and classify(status, reply).class_ != "unknown":
            return reply
    whole, lower, at = classify(status, words), words.lower(), len(words)
    for _ in range(_MENTIONS_MAX if address else 0):
        at = lower.rfind(address, 0, at)
        if at < 0:
            break
        sentence = words[at + len(address) :].lstrip(_LOOSE_ENDS)
        if _WORD.search(sentence) and classify(status, sentence) == whole:
            return sentence if "(" in sentence else sentence.rstrip(")")
    return words.lstrip(_LOOSE_ENDS).rstrip(" <([") if _WORD.search(words) else words
