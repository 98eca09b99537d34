"""A DMARC record, read as receivers read it (RFC 9989 §4.7, §4.8), with its faults named. Pure; finding the one that
applies is `dmarc`."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from relay.verify.record_fault import Fault

POLICIES = ("none", "quarantine", "reject")
# RFC 9989 §4.8: tag names in any case, the version's value exactly so, and nothing before it.
_VERSION = re.compile(r"[vV][ \t]*=[ \t]*DMARC1[ \t]*(?:;|\Z)")
_NEARLY = re.compile(r"\s*[\"'“”]*\s*v?\s*[=:]?\s*dmarc\s*\d*", re.IGNORECASE)
_KNOWN = ("adkim", "aspf", "fo", "np", "p", "pct", "psd", "rf", "ri", "rua", "ruf", "sp", "t", "v")
_WITHIN = re.compile(rf"[\s,](?P<tag>{'|'.join(_KNOWN)})\s*=", re.IGNORECASE)
_URI = re.compile(r"(?:mailto:[^\s,!@]+@[^\s,!@]+|https?://[^\s,!]+)(?:![0-9]+[kmgt]?)?", re.IGNORECASE)
_ONE_OF = {
    "p": POLICIES, "sp": POLICIES, "np": POLICIES, "psd": ("y", "n", "u"), "t": ("y", "n"), "adkim": ("r", "s"),
    "aspf": ("r", "s"),
}


@dataclass(frozen=True, slots=True)
class DmarcRecord:
    """What a record says. p, sp, np: "" where the tag is missing or is none that receivers know. reports: whether at
    least one address for reports can be read. faults: what is wrong with it, in order."""

    text: str
    p: str
    sp: str
    np: str
    psd: str
    testing: bool
    strict_dkim: bool
    strict_spf: bool
    reports: bool
    faults: tuple[Fault, ...]
    broken: bool

    @property
    def applies(self) -> bool:
        """Whether receivers go by it at all (RFC 9989 §4.10.1): one whose policy can't be read counts as p=none where
        it has an address for reports, and not at all where it has none."""
        return not self.broken or self.reports

    def policy(self, *, own: bool, exists: bool = True) -> str:
        """What it asks for mail of the domain itself (`own`), or of one below it that does or doesn't exist."""
        if self.broken:
            return "none"
        if own:
            return self.p
        return (self.np if not exists else "") or self.sp or self.p


def records(texts: Iterable[str]) -> list[str]:
    """Those TXT values that are DMARC records, by their version."""
    return [text for text in texts if _VERSION.match(text)]


def read(text: str) -> DmarcRecord:
    """The record. Never raises: what can't be read has its default (RFC 9989 §4.7), and stands in `faults`."""
    tags: dict[str, str] = {}
    faults: list[Fault] = []
    broken = False
    for part in text.split(";")[1:]:
        name, equals, value = part.partition("=")
        name, value = name.strip().lower(), value.strip()
        if not part.strip():
            continue
        if not equals:
            faults.append(Fault("bad_tag", "{at} doesn't have the form tag=value.", part.strip()))
        elif name in tags:
            faults.append(Fault("two_tags", "The tag {at} occurs twice.", f"{name}="))
        else:
            tags[name] = value
            if (fault := _fault(name, value)) is not None:
                faults.append(fault)
                broken = broken or name in ("p", "sp", "np")
    if "p" not in tags:
        broken = True
        rest = text.partition(";")[2].strip()
        says = "The record has no policy (p=) that receivers understand."
        faults.append(Fault("no_policy", says, fixed=f"v=DMARC1; p=none; {rest}" if rest else "v=DMARC1; p=none"))
    if not text.isascii():
        faults.append(Fault("not_ascii", "The record contains characters that are not ASCII."))

    def of(name: str) -> str:
        value = tags.get(name, "").lower()
        return value if value in _ONE_OF[name] else ""

    return DmarcRecord(
        text=text, p=of("p"), sp=of("sp"), np=of("np"), psd=of("psd") or "u", testing=of("t") == "y",
        strict_dkim=of("adkim") == "s", strict_spf=of("aspf") == "s",
        reports=any(_URI.fullmatch(uri.strip()) for uri in tags.get("rua", "").split(",")),
        faults=tuple(faults), broken=broken,
    )


def _fault(name: str, value: str) -> Fault | None:
    within = _WITHIN.search(value)
    if within is not None:
        before = value[: within.start() + 1]
        comma = before.rstrip().endswith(",")
        says = "There is a comma instead of a semicolon before {at}." if comma else "There is no semicolon before {at}."
        return Fault("comma" if comma else "missing_semicolon", says, f"{within['tag']}=")
    if name in _ONE_OF and value.lower() not in _ONE_OF[name]:
        if value.rstrip(",").lower() in _ONE_OF[name]:
            says = "There is a comma after {at}; in DMARC, tags are separated by semicolons."
            return Fault("comma", says, f"{name}={value.rstrip(',')}")
        says = f"{{at}} has a value that receivers don't understand; allowed are {', '.join(_ONE_OF[name])}."
        return Fault("bad_value", says, f"{name}={value}")
    if name in ("rua", "ruf"):
        for uri in value.split(","):
            if not _URI.fullmatch(uri.strip()):
                says = "{at} is not a report address: each begins with mailto:, and several are separated by commas."
                return Fault("bad_address", says, f"{name}={uri.strip()}")
    return None


def near_miss(texts: Iterable[str]) -> Fault | None:
    """Why the first of `texts` that was meant as a DMARC record is none; None where none was."""
    return next((fault for text in texts if (fault := _near(text)) is not None), None)


def _near(text: str) -> Fault | None:
    bare = re.sub(r'"\s*"', "", text.strip()).strip("\"'“”").strip()
    if _VERSION.match(text):
        return None
    if bare != text.strip() and _VERSION.match(bare):
        says = "The value contains quotation marks, which receivers take as part of it."
        return Fault("quoted", says, fixed=bare)
    if _VERSION.match(bare) and text[:1].isspace():
        return Fault("leading_blank", "There is a space before v=DMARC1, so receivers ignore the record.", fixed=bare)
    if "\\;" in bare and _VERSION.match(bare.replace("\\;", ";")):
        says = "The semicolons have backslashes before them, which receivers take as part of the value."
        return Fault("escaped", says, fixed=bare.replace("\\;", ";"))
    start = _NEARLY.match(bare)
    if start is None:
        tag = re.match(r"(?:p|sp|np|rua|ruf|pct|adkim|aspf|fo)\s*=", bare, re.IGNORECASE)
        if tag is not None and ("dmarc1" in bare.lower() or "p=" in bare.lower()):
            return Fault("wrong_first_tag", "The record begins with {at}; it has to begin with v=DMARC1.", tag[0])
        return None
    version = re.match(r"v\s*=\s*(?P<value>DMARC1)(?P<rest>.*)", bare, re.IGNORECASE | re.DOTALL)
    if version is None:
        says = "The record begins with {at}; it has to begin with v=DMARC1 and a semicolon."
        return Fault("wrong_first_tag", says, bare.split(";")[0][:40])
    if version["value"] != "DMARC1":
        fixed = f"v=DMARC1{version['rest']}"
        if records([fixed]):
            return Fault("wrong_case", "{at} has to be in capital letters: DMARC1.", version["value"], fixed)
    rest = version["rest"].lstrip()
    if rest.startswith(","):
        says = "There is a comma after v=DMARC1; in DMARC, tags are separated by semicolons."
        return Fault("comma", says, fixed=_separated(bare))
    if rest[:1] in (":", ".", "|", "/"):
        says = "There is {at} after v=DMARC1; in DMARC, tags are separated by semicolons."
        return Fault("missing_semicolon", says, rest[:1], _separated(bare))
    return Fault("missing_semicolon", "There is no semicolon after v=DMARC1.", fixed=_separated(bare))


def repaired(text: str) -> str:
    """`text` with what can be put right put right, for a line to enter: how its tags are separated and written, and the
    form of addresses. "" where something else is wrong with it, or its policy can't be told."""
    made = _separated(re.sub(r'"\s*"', "", text.strip()).strip("\"'“”").replace("\\;", ";").strip())
    found = read(made)
    return made if records([made]) and found.p and not found.faults else ""


def _separated(text: str) -> str:
    """The tags of `text` that can be told apart, v=DMARC1 first, a semicolon between each two."""
    # A colon, or nothing but a blank, in place of the equals sign.
    policies, letters = "|".join(POLICIES), "|".join(("p", "sp", "np", "adkim", "aspf", "pct", "t", "psd"))
    colons = re.compile(rf"(?<![\w=])({letters})\s*[: ]\s*(?=(?:{policies}|[rsyn]|\d+)\b)", re.IGNORECASE)
    marked = colons.sub(r"\1=", text)
    marked = re.sub(rf"(?:^|[\s;,:|]+)(?=(?:{'|'.join(_KNOWN)})\s*=)", ";", marked, flags=re.IGNORECASE)
    pairs: dict[str, str] = {}
    for part in marked.split(";"):
        name, equals, value = part.partition("=")
        name = name.strip().lower()
        if equals and name:
            value = value.strip().strip("\"'“”").rstrip(",;:.").strip()
            pairs.setdefault(name, _addresses(value) if name in ("rua", "ruf") else value)
    pairs.pop("v", None)
    return "; ".join(["v=DMARC1", *(f"{name}={value}" for name, value in pairs.items())])


def _addresses(value: str) -> str:
    """Addresses for reports, each with its mailto:, commas between them."""
    each = [uri for uri in re.split(r"[\s,]+", value) if uri]
    return ",".join(f"mailto:{uri}" if re.fullmatch(r"[^\s:/@]+@[^\s:/@]+", uri) else uri for uri in each)
