"""What several threads have packed is one gzip file, in order; what fails is heard of."""

from __future__ import annotations

import gzip
import io
import os
import random
from pathlib import Path

import pytest

from posthouse.backup import PIECE, Packer


@pytest.mark.parametrize("size", [0, 1, PIECE, 7 * PIECE + 13])
@pytest.mark.parametrize("threads", [1, 3])
def test_what_is_packed_by_threads_is_one_file_in_order(size: int, threads: int) -> None:
    content = random.Random(size).randbytes(size // 2) + b"a" * (size - size // 2)
    out = io.BytesIO()
    with Packer(out, threads) as packer:
        for at in range(0, size, 300_001):
            packer.write(content[at : at + 300_001])
    assert gzip.decompress(out.getvalue()) == content
    assert len(out.getvalue()) < size * 0.6 + 100


def test_a_full_disk_is_heard_of(tmp_path: Path) -> None:
    if not os.path.exists("/dev/full"):
        pytest.skip("no /dev/full here")
    with pytest.raises(OSError, match="No space"), open("/dev/full", "wb", buffering=0) as out, Packer(out) as packer:
        packer.write(os.urandom(3 * PIECE))


def test_what_was_given_up_is_not_ended_like_a_whole() -> None:
    out = io.BytesIO()
    packer = Packer(out)
    packer.write(b"half")
    packer.__exit__(KeyError, KeyError(), None)
    assert out.getvalue() == b""
