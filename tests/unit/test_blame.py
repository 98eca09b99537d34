"""Whose fault a refusal is: nobody is given up whose address is not at fault, and who is gone is known.

`tests/data/blame.tsv` says of a sentence, by the kind of riddle it is, whether the recipient is given up for it.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from relay.diagnosis import classify

ROWS = [
    line.split("\t")
    for line in (Path(__file__).parents[1] / "data" / "blame.tsv").read_text("utf-8").splitlines()[1:]
]
BOB = "bob@far.example"


@pytest.mark.parametrize("recipient", ["", BOB], ids=["alone", "known"])
@pytest.mark.parametrize(("kind", "verdict", "text"), ROWS, ids=[row[2][:60] for row in ROWS])
def test_a_sentence_gives_up_who_is_gone_and_nobody_else(kind: str, verdict: str, text: str, recipient: str) -> None:
    found = classify("", text, permanent=True, recipient=recipient)
    assert found.address_fault is (verdict == "drop"), (kind, found)
