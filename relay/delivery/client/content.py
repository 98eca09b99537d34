"""Message bytes as they go over the wire: dot-stuffed blocks, ended by the dot.

Promises: linear time, no copy of the whole message, and that what the other side unstuffs is exactly what was
handed in. Leaves to others: everything the bytes say.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence


def stuffed(chunks: Sequence[bytes], block_bytes: int) -> Iterator[bytes]:
    """The message as blocks of about `block_bytes`, stuffed, ending with the terminating line.

    RFC 5321 §4.5.2: a line that begins with a period gets another one before it. A last line without its CRLF
    gets one, else the dot would not stand alone."""
    last = b"\r\n"  # the message begins at the start of a line
    whole = chunks if sum(map(len, chunks)) > block_bytes else (b"".join(chunks),)
    for chunk in whole:
        for start in range(0, len(chunk), block_bytes):
            piece = chunk if len(chunk) <= block_bytes else chunk[start : start + block_bytes]
            block = piece.replace(b"\r\n.", b"\r\n..")
            # A line may begin at the seam of two pieces.
            if last == b"\r\n" and piece.startswith(b"."):
                block = b"." + block
            elif last.endswith(b"\r") and piece.startswith(b"\n."):
                block = b"\n.." + block[2:]
            last = (last + piece)[-2:] if len(piece) < 2 else piece[-2:]
            if len(whole) == 1 and len(chunk) <= block_bytes:
                yield block + (b".\r\n" if last == b"\r\n" else b"\r\n.\r\n")
                return
            yield block
    yield b".\r\n" if last == b"\r\n" else b"\r\n.\r\n"


def has_bare_line_ends(chunks: Sequence[bytes]) -> bool:
    """True when a CR or LF stands alone, which another server may read as an end of data (RFC 5321 §2.3.8).

    A pair split between two chunks counts as bare: no room cuts a message there."""
    for chunk in chunks:
        pairs = chunk.count(b"\r\n")
        if chunk.count(b"\n") != pairs or chunk.count(b"\r") != pairs:
            return True
    return False
