"""Is what arrives really signed? A server that signs nothing is fast, and worth nothing.

Each kept message is checked by two verifiers that share no code with the signer: dkimpy's, and one that follows
RFC 6376 word by word.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence

from bench.tools import BenchError
from tests.kit.dkim_check import dkimpy_verifies, plainly_verifies

MOST = 20
_FIELD = re.compile(rb"(?im)^DKIM-Signature:((?:[^\r]|\r\n[ \t])*)\r$")


def check(messages: Sequence[bytes], keys: Mapping[str, str], wanted: Sequence[str]) -> dict[str, int]:
    """Good signatures by algorithm, and how many messages were looked at.

    Raises BenchError unless every message carries one good signature of each algorithm `wanted`.
    """
    messages = messages[:MOST]
    if not messages:
        raise BenchError("no message was kept to check its signatures")
    good: Counter[str] = Counter(messages=len(messages))
    for message in messages:
        head = message.partition(b"\r\n\r\n")[0] + b"\r\n"
        found: Counter[str] = Counter()
        for index, field in enumerate(_FIELD.findall(head)):
            algorithm = re.search(rb"a=\s*([a-z0-9-]+)", field)
            assert algorithm is not None
            if dkimpy_verifies(message, keys, index) and plainly_verifies(message, keys, index):
                found[algorithm[1].decode()] += 1
        if found != Counter(wanted):
            raise BenchError(f"a message that arrived has the good signatures {dict(found)}, not {list(wanted)}")
        good += found
    return dict(good)
