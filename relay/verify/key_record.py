"""A DKIM key record, read and judged as receivers do (RFC 6376 §3.6.1, RFC 8301, RFC 8463), its fault named by tag.
Pure."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping
from dataclasses import dataclass

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_der_public_key

from relay.verify.record_fault import BadRecord, Fault

_BETWEEN_STRINGS = re.compile(r'"\s*"')
# RFC 6376 §3.2.
_WITHIN = re.compile(r"[\s,](?P<tag>[vhknpst])\s*=", re.IGNORECASE)
_TAG_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
# RFC 8301 §3.2: shorter RSA keys don't count.
MIN_RSA_BITS = 1024


@dataclass(frozen=True, slots=True)
class KeyRecord:
    """The tags of a record, by name, in order."""

    tags: Mapping[str, str]

    @property
    def key(self) -> str:
        """The base64 of p=, without blanks."""
        return self.tags.get("p", "")

    @property
    def strict(self) -> bool:
        """Whether an i= of a subdomain is forbidden (t=s)."""
        return "s" in _list(self.tags.get("t", ""))

    def fault(self, kind: str, hashed: str = "sha256") -> Fault | None:
        """Why no signature of `kind` (rsa or ed25519) with this hash can be checked by the key; None where one can."""
        t = self.tags
        if (merged := _merged(t)) is not None:
            return merged
        # RFC 6376 §3.6.1: v= must be DKIM1 and stand first; k= defaults to rsa, h= and s= to all.
        if t.get("v", "DKIM1") != "DKIM1":
            return Fault("bad_tag", "The record at the selector is not a key: {at} has to be v=DKIM1.", f"v={t['v']}")
        if "v" in t and next(iter(t)) != "v":
            says = "v=DKIM1 has to come first: the record begins with {at}."
            return Fault("wrong_first_tag", says, f"{next(iter(t))}=")
        # RFC 6376 §3.2: tag names are case-sensitive; of most, another case only means that they are not there.
        wrong = "P" if "p" not in t else "K" if "k" not in t and kind != "rsa" else ""
        if wrong in t:
            return Fault("wrong_case", f"Tag names are case-sensitive: {{at}} has to be {wrong.lower()}=.", f"{wrong}=")
        if "p" not in t:
            return Fault("no_key", "The record at the selector is not a key: it has no p=.")
        # An empty p= means that the key has been revoked.
        if not t["p"]:
            return Fault("revoked", "The record has an empty p=, which means that the key has been revoked.")
        if t.get("k", "rsa") != kind:
            said = f"k={t['k']}" if "k" in t else "no k="
            return Fault("bad_tag", f"The key has the wrong type: {{at}} has to be k={kind}.", said)
        if "h" in t and hashed not in _list(t["h"]):
            return Fault("bad_tag", f"The key doesn't allow the hash used: {{at}} leaves out {hashed}.", f"h={t['h']}")
        if "s" in t and not {"*", "email"} & set(_list(t["s"])):
            return Fault("bad_tag", "The key is not meant for mail: {at} has neither email nor *.", f"s={t['s']}")
        return None

    def public(self, kind: str) -> RSAPublicKey | Ed25519PublicKey:
        """The key itself. Raises BadRecord for one that can't be read or is too short."""
        try:
            octets = base64.b64decode(self.key)
            if kind == "ed25519":
                return Ed25519PublicKey.from_public_bytes(octets)
            key = load_der_public_key(octets)
        except (binascii.Error, ValueError):
            raise BadRecord("bad_key", "The key in p= can't be read.") from None
        if not isinstance(key, RSAPublicKey):
            raise BadRecord("bad_key", "The key in p= is of a different type than the record says.")
        if key.key_size < MIN_RSA_BITS:
            raise BadRecord("bad_key", "The key in p= is too short.")
        return key


def read_key(text: str) -> KeyRecord:
    """Read a key record into its tags, as forgiving as receivers are.

    Quotes of a pasted zone line, joined or apart, are taken off; white space around tags and everywhere within p= goes.
    Values are not judged. Raises BadRecord when the text is no tag list or names a tag twice (RFC 6376 §3.2).
    """
    bare = _BETWEEN_STRINGS.sub("", text).replace('"', "").strip()
    tags: dict[str, str] = {}
    parts = bare.removesuffix(";").split(";")
    for part in parts:
        name, equals, value = part.partition("=")
        name = name.strip()
        if not part.strip():
            trailing = not any(rest.strip() for rest in parts[parts.index(part) :])
            says = "The record ends with {at}, so its last tag is empty." if trailing else (
                "The record contains {at}, an empty tag."
            )
            raise BadRecord("empty_tag", says, ";;")
        if not equals or not _TAG_NAME.fullmatch(name):
            raise BadRecord("bad_tag", "{at} doesn't have the form tag=value.", part.strip())
        if name in tags:
            raise BadRecord("two_tags", "The tag {at} occurs twice.", f"{name}=")
        tags[name] = "".join(value.split()) if name == "p" else value.strip()
    return KeyRecord(tags)


def _merged(tags: Mapping[str, str]) -> Fault | None:
    """The fault of a tag whose value has the next tag in it, because no semicolon ends it."""
    for name in ("v", "h", "k", "s", *(() if "p" in tags else ("t",))):
        within = _WITHIN.search(tags.get(name, ""))
        if within is not None:
            comma = tags[name][: within.start() + 1].rstrip().endswith(",")
            lacks = "a comma instead of a" if comma else "no"
            says = f"The tags run together: there is {lacks} semicolon before {{at}}."
            return Fault("comma" if comma else "missing_semicolon", says, f"{within['tag']}=")
    return None


def _list(text: str) -> list[str]:
    return [part.strip() for part in text.split(":")]
