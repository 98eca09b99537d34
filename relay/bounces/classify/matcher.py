"""Looking a text up in the tables of phrases: what does it say, the first class with a phrase in it.

Promises: time linear in the text; plain substring search, no backtracking. Addresses and host names are taken out
first, so that a host called spamfilter or a mailbox called quota decides nothing. Leaves the numbers to its package,
the phrases and how they are written to `phrases` and `languages`.

Of a thousand phrases a text can hold only those whose words it holds; an index by the first letters of their words
names them, so that few are searched for. Where there is none, `grammar` has the last word.
"""

from __future__ import annotations

import functools
import re
import unicodedata
from collections import Counter

from relay.bounces.classify import grammar, languages, phrases

_GAP = 60
_TRIES = 4
_LETTERS = 3
_KEPT = 64  # answers: one report asks the same several times, and a wave of reports says the same
_BLANKED = ",:;()<>[]{}\"!?#|/\\=-_*\t\r\n\u00a0\u3000。、：，"
# Letters with accents as those without: `größe` is found in `grosse`, `não` in `nao`, in phrase and text alike.
_FOLDED = {
    chr(n): base
    for n in range(0xC0, 0x180)
    if chr(n).isalpha() and (base := unicodedata.normalize("NFD", chr(n))[0]).isascii()
} | {"ß": "ss", "ø": "o", "ł": "l", "æ": "ae", "œ": "oe", "đ": "d", "ı": "i"}
_FOLDS = str.maketrans(_FOLDED)
_BLANKS = str.maketrans(dict.fromkeys(_BLANKED, " ") | {"\u2019": "'", "`": "'"} | _FOLDED)
_BETWEEN = re.compile(r" [45]\d\d ")
_HOST = re.compile(r"[\w-]{1,63}(?:\.[\w-]{1,63}){1,10}")
_ADDRESSES = re.compile(r"<?[^\s<>@]{1,254}@[^\s<>@]{1,253}>?|https?://\S{1,300}|[\w-]{1,63}(?:\.[\w-]{1,63}){2,10}")

_Row = tuple[str, bool, str, tuple[str, ...]]


def _compiled() -> tuple[_Row, ...]:
    others = dict(languages.TABLE)
    rows: list[_Row] = []
    for class_, listed in phrases.TABLE:
        for phrase in (*listed, *others.pop(class_, ())):
            first, *gaps = phrase.removeprefix("~").translate(_FOLDS).split("…")
            rows.append((class_, phrase.startswith("~"), first, tuple(gaps)))
    return tuple(rows)


def _begins(piece: str) -> list[str]:
    """The beginnings of words that a text with `piece` in it must hold: those behind a blank, complete or long."""
    found = []
    for at, word in enumerate(piece.split()):
        if at == 0 and not piece.startswith(" "):
            continue
        complete = not piece.endswith(word) or piece.endswith(" ")
        if complete or len(word) >= _LETTERS:
            found.append(word[:_LETTERS])
    return found


def _indexed(rows: tuple[_Row, ...]) -> tuple[dict[str, tuple[int, ...]], dict[str, tuple[int, ...]]]:
    """Rows by the rarest beginning of a word they need, and the others by their first piece."""
    needs = [[] if raw else [b for piece in (first, *gaps) for b in _begins(piece)] for _, raw, first, gaps in rows]
    often = Counter(b for begins in needs for b in set(begins))
    keyed: dict[str, list[int]] = {}
    loose: dict[str, list[int]] = {}
    for number, begins in enumerate(needs):
        if begins:
            keyed.setdefault(min(begins, key=lambda b: often[b]), []).append(number)
        elif not rows[number][1]:
            loose.setdefault(rows[number][2], []).append(number)
    return {k: tuple(v) for k, v in keyed.items()}, {k: tuple(v) for k, v in loose.items()}


_ROWS = _compiled()
_KEYED, _LOOSE = _indexed(_ROWS)
_ASCII = tuple((first, numbers) for first, numbers in _LOOSE.items() if first.isascii())
_OTHERS = tuple((first, numbers) for first, numbers in _LOOSE.items() if not first.isascii())
_AS_THEY_CAME = tuple((row[2], number) for number, row in enumerate(_ROWS) if row[1])


@functools.lru_cache(maxsize=_KEPT)
def said(text: str, *, weak: bool = True) -> str:
    """The class whose phrase stands in `text`, or "". With `weak` False, loose phrases are passed over."""
    raw = text.lower()
    plain = normal(raw)
    numbers = [number for first, number in _AS_THEY_CAME if first in raw]
    for begin in {word[:_LETTERS] for word in plain.split()}:
        numbers += _KEYED.get(begin, ())
    for first, more in _ASCII if plain.isascii() else (*_ASCII, *_OTHERS):
        if first in plain:
            numbers += more
    for number in sorted(numbers):
        class_, as_it_came, first, gaps = _ROWS[number]
        if not as_it_came:
            at = plain.find(first)
            if at < 0 or (gaps and not _follows(plain, at, first, gaps)):
                continue
        if not class_.startswith("weak:"):
            return class_
        if weak:
            return class_[5:]
    return grammar.said(_ADDRESSES.sub(" ", raw).translate(_FOLDS)) if weak else ""


def _follows(text: str, at: int, first: str, others: tuple[str, ...]) -> bool:
    """Whether `others` stand behind `first`, each within a gap of the one before; a few places are tried."""
    for _ in range(_TRIES):
        end = at + len(first)
        for other in others:
            found = text.find(other, end, end + _GAP + len(other))
            if found < 0:
                break
            end = found + len(other)
        else:
            # What begins in front of a reply and ends in it was said by two.
            if _BETWEEN.search(text, at, end) is None:
                return True
        at = text.find(first, at + 1)
        if at < 0:
            return False
    return False


@functools.lru_cache(maxsize=_KEPT)
def normal(text: str) -> str:
    """A text in lower case as phrases are looked up in it: words between single blanks, with blanks at both ends; `*`
    for an address, nothing for the name or address of a host."""
    words = []
    for word in text.split():
        if "@" in word:
            words.append("<")  # made a blank and then a star below
        elif "." in word and "://" not in word:
            words.append(_HOST.sub(_named, word[:200]) if len(word) > 3 else word)
        elif "://" not in word:
            words.append(word)
    kept = ["*" if w == "<" else w.translate(_BLANKS).replace(".", " ") for w in words]
    return f" {' '.join(' '.join(kept).split())} "


def _named(found: re.Match[str]) -> str:
    # `end.Begin`, two sentences without a blank, keeps its words; `mx.far.example` and `5.1.1` go.
    pieces = found[0].split(".")
    return " ".join(pieces) if len(pieces) == 2 and min(map(len, pieces)) > 3 else " "
