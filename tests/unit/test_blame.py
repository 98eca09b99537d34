"""Whose fault a refusal is: nobody is given up whose address is not at fault, and who is gone is known.

`tests/data/blame.tsv` says of a sentence, by the kind of riddle it is, whether the recipient is given up for it.
"""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from relay.bounces.classify import classify

ROWS = [
    line.split("\t")
    for line in (Path(__file__).parents[1] / "data" / "blame.tsv").read_text("utf-8").splitlines()[1:]
]
BOB = "bob@far.example"


@pytest.mark.parametrize("recipient", ["", BOB], ids=["alone", "known"])
def test_a_sentence_gives_up_who_is_gone_and_nobody_else(recipient: str) -> None:
    found = {text: classify("", text, permanent=True, recipient=recipient) for _, _, text in ROWS}
    assert [row for row in ROWS if found[row[2]].address_fault is not (row[1] == "drop")] == []
    assert len(found) == len(ROWS) > 550


@pytest.mark.parametrize(
    "piece",
    ["user ", "not exist or ", "or not exist ", "mail from ", "recipient rejected ", "a.example ", "550 x ",
     "said: 550 a ", "the recipient's ", "domain a.example is ", "<a@b.example> ", "rejected at the ", "reply to the ",
     "不存在或", "host dns ",
     " (", "address: ", "mx ", "recipient accepts mail only from ", "settings of the "],
)  # fmt: skip
def test_a_hostile_text_costs_no_more_than_its_octets(piece: str) -> None:
    text = piece * (100_000 // len(piece))
    began = time.process_time()
    classify("5.1.1", f"550 user unknown {text}", permanent=True, recipient=BOB)
    classify("", f"{text} 550 5.1.1 user unknown", permanent=True)
    # The first 4,000 characters are looked at; what grows with their square takes seconds.
    assert time.process_time() - began < 0.5
