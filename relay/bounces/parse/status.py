"""Delivery status notifications (RFC 3464), and what is left of them where the sender's program writes them badly.

The machine's part is found by its type, or by its field names where it stands under a wrong type or in the text of
a mail system's message. Leaves reasons to `relay.bounces.classify`; asks it only
whether a diagnostic says anything at all.
"""

from __future__ import annotations

import re
from dataclasses import replace

from relay.bounces.classify import classify, staged
from relay.bounces.parse.automatic import is_forwarded, is_system, looks_returned
from relay.bounces.parse.entity import (
    SUBJECT,
    SUCCEEDED,
    Action,
    Entity,
    Fate,
    Report,
    decode_words,
    decoded,
    leaves,
    read_fields,
    without_markup,
)
from relay.bounces.parse.lateness import gave_up

_STATUS = re.compile(r"(?<![\d.])([245])\.(\d{1,3})\.(\d{1,3})(?![\d.])")
_TYPES = ("message/delivery-status", "message/global-delivery-status")
_GIVEAWAY = re.compile(rb"^[ \t>]{0,4}(?:final|original)-recipient[ \t]{0,4}:", re.IGNORECASE | re.MULTILINE)
_OF_RECIPIENT = ("final-recipient", "original-recipient", "action", "status")
_FIELDS = re.compile(rb"([A-Za-z][A-Za-z0-9-]{1,60})[ \t]{0,4}:")
_GROUPS_MAX = 200
_LINES_MAX = 20_000
_DIAGNOSTIC_MAX = 1000
_WORDS_MAX = 2000
# RFC 3464 §2.3.3, and the words that programs write instead.
_ACTIONS: dict[str, Action] = {
    "failed": "failed", "failure": "failed", "fail": "failed", "undeliverable": "failed", "bounced": "failed",
    "error": "failed", "rejected": "failed",
    "delayed": "delayed", "delay": "delayed", "deferred": "delayed", "warning": "delayed", "transient": "delayed",
    "delivered": "delivered", "relayed": "relayed", "expanded": "expanded", "success": "delivered",
}  # fmt: skip


def read(entity: Entity) -> Report | None:
    """A report with at least one recipient whose fate it names, else None."""
    if is_forwarded(entity):
        return None
    found = list(leaves(entity))
    declared = entity.parameters.get("report-type", "").lower() == "delivery-status"
    fates: list[Fate] = []
    machine: list[Entity] = []
    for part in found:
        if part.type in _TYPES:
            machine.append(part)
            fates += _fates(decoded(part), strict=False)
        if len(fates) >= _GROUPS_MAX:
            break
    if not fates and (declared or is_system(entity) or looks_returned(entity)):
        for part in found:
            if part.type.startswith("message/rfc822") or part in machine:
                continue
            octets = decoded(part)
            begin = _GIVEAWAY.search(octets)
            if begin is not None:
                machine.append(part)
                fates += _fates(octets, strict=True)
                break
    if not fates:
        return None
    human = _for_people(found, machine)
    failed = entity.get("x-failed-recipients")
    if len(fates) == 1 and not fates[0].final and "@" in failed and "," not in failed:
        fates = [replace(fates[0], final=_address(failed))]
    words = human if len(fates) == 1 else ""
    fates = [_with_words(f, words or _about(f, human)) for f in fates[:_GROUPS_MAX]]
    return Report("bounce", "dsn", tuple(_ended(f, words, entity) for f in fates))


def _for_people(found: list[Entity], machine: list[Entity]) -> str:
    """What a notification without Diagnostic-Code knows stands in its text for people, in whichever part has one."""
    texts = [p for p in found if p.type in ("text/plain", "text/html") and p not in machine]
    for part in sorted(texts, key=lambda p: p.type == "text/html"):
        text = part.text()[: 4 * _WORDS_MAX]
        text = without_markup(text) if part.type == "text/html" else text
        if text.strip():
            return SUBJECT.sub("", text[:_WORDS_MAX])
    return ""


def _ended(fate: Fate, words: str, entity: Entity) -> Fate:
    """A delay is none where the text says that nobody tries any more, and no date says how long they will."""
    if fate.action != "delayed" or fate.will_retry:
        return fate
    # Of several recipients the subject may mean another.
    subject = entity.words("subject")[:500] if words else ""
    return replace(fate, action="failed") if gave_up(subject, f"{fate.diagnostic}\n{words}") else fate


def _groups(octets: bytes) -> list[dict[str, list[str]]]:
    """Groups of fields (RFC 3464 §2.1), also where empty lines between them are missing or too many."""
    groups: list[dict[str, list[str]]] = []
    lines: list[bytes] = []
    names: set[str] = set()
    gap = False

    def close() -> None:
        if lines:
            groups.append(read_fields(b"\n".join(lines)))
        lines.clear()
        names.clear()

    for line in octets.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n", _LINES_MAX):
        if not line.strip():
            gap = True
            continue
        found = _FIELDS.match(line)
        name = found[1].decode("ascii").lower() if found is not None else ""
        if name in _OF_RECIPIENT or (gap and name):
            complete = bool({"final-recipient", "original-recipient"} & names and {"action", "status"} & names)
            again = name in names and name in _OF_RECIPIENT
            another = complete and name in ("final-recipient", "original-recipient")
            if again or (gap and (another or not names & set(_OF_RECIPIENT))):
                close()
                if len(groups) >= _GROUPS_MAX:
                    return groups
        elif gap and not name:
            # Prose behind a gap belongs to no field.
            close()
        gap = False
        lines.append(line)
        if name:
            names.add(name)
    close()
    return groups


def _fates(octets: bytes, strict: bool) -> list[Fate]:
    """The fates in a machine's part; `strict` asks for a recipient field in each, as amid prose."""
    found = []
    host = ""
    for fields in _groups(octets.strip()):
        host = host or _typed(_first(fields, "reporting-mta"))[:253]
        if not any(name in fields for name in _OF_RECIPIENT):
            continue
        final, original = _address(_first(fields, "final-recipient")), _address(_first(fields, "original-recipient"))
        if strict and not final and not original:
            continue
        action = _ACTIONS.get(_word(_first(fields, "action")), "")
        code = _STATUS.search(_first(fields, "status"))
        status = code[0] if code else ""
        diagnostic = _diagnostic(fields)
        if not action and not status and not diagnostic:
            continue
        inner = next((m[0] for m in _STATUS.finditer(diagnostic) if m[1] != "2"), "")
        # RFC 3464 §2.3.4: gateways write x.0.0, or nothing, where the diagnostic knows better.
        if inner and (not status or status.endswith(".0.0")):
            status = inner
        # RFC 3464 §2.3.4: without a readable Action the class of Status tells it, and 5 alone is final.
        by_class: dict[str, Action] = {"2": "delivered", "4": "delayed", "5": "failed"}
        # CommuniGate names the account alone as final.
        final = original if "@" not in final and "@" in original else final
        action = action or by_class.get(status[:1], "")
        # RFC 3464 §2.3.9: until then it is tried on.
        found.append(Fate(action, status, diagnostic, final, original, host, will_retry="will-retry-until" in fields))
    return found


def _diagnostic(fields: dict[str, list[str]]) -> str:
    values = [_typed(decode_words(v)) for v in fields.get("diagnostic-code", [])]
    # Exchange 5.5 wrote its numbers into a field of its own.
    values += [decode_words(v) for v in fields.get("x-supplementary-info", [])[:1]]
    return " ".join(dict.fromkeys(v for v in values[:4] if v))[:_DIAGNOSTIC_MAX]


def _with_words(fate: Fate, words: str) -> Fate:
    """`fate` with what stands for people beside it, where its own diagnostic says nothing."""
    if not words or fate.action in SUCCEEDED:
        return fate
    fate = replace(fate, stage=staged(words))
    if fate.diagnostic and classify(fate.status, fate.diagnostic).class_ != "unknown":
        return fate
    whole = " ".join(f"{fate.diagnostic} {words}".split())[:_DIAGNOSTIC_MAX]
    inner = next((m[0] for m in _STATUS.finditer(words) if m[1] != "2"), "")
    vague = not fate.status or fate.status.endswith(".0.0")
    status = inner if inner and vague and (not fate.status or inner[0] == fate.status[0]) else fate.status
    return replace(fate, status=status, diagnostic=whole)


def _about(fate: Fate, words: str) -> str:
    """The lines of a text for people that begin where it names this recipient."""
    address = (fate.original or fate.final).lower()
    at = words.lower().find(address) if address else -1
    return words[at : at + 600].split("\n\n", 1)[0] if at >= 0 else ""


def _first(fields: dict[str, list[str]], name: str) -> str:
    return fields.get(name, [""])[0]


def _word(value: str) -> str:
    found = re.match(r"\s*([A-Za-z]{1,20})", value)
    return found[1].lower() if found else ""


def _typed(value: str) -> str:
    # RFC 3464 §2.3.6: `smtp; 550 …`
    kind, semicolon, rest = value.partition(";")
    return rest.strip() if semicolon and re.fullmatch(r"[\w.-]{1,30}", kind.strip()) else value.strip()


def _address(value: str) -> str:
    """`rfc822; <a@b>`, `utf-8; a@b`, `a@b (comment)`, `X400; …` → the address as far as there is one."""
    text = _typed(decode_words(value)).strip()
    found = _MAILBOX.search(text[:500])
    return (found[0] if found is not None else text.strip("<> ;"))[:320]


_LETTER = r"[^\s<>()\[\],;:\"@]"
_MAILBOX = re.compile(rf"(?:\"[^\"@]{{1,254}}\"|(?<!{_LETTER}){_LETTER}{{1,254}})@{_LETTER}{{1,255}}")
