"""A fault in a record that somebody published: what a reader of SPF, DMARC or DKIM keys can name. Values only."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Fault:
    """code: a machine's word. says: a whole sentence in our own words, in which `{at}` stands for `at`, the part of the
    record at fault, which is somebody else's text. fixed: the record without this fault, where that can be told."""

    code: str
    says: str
    at: str = ""
    fixed: str = ""

    @property
    def brief(self) -> str:
        """The sentence as far as it is ours alone, for a remark: what stands before its colon."""
        text = self.says.partition(":")[0].rstrip(".")
        return text[0].lower() + text[1:]


class BadRecord(ValueError):
    """The record breaks its grammar; `fault` says how."""

    def __init__(self, code: str, says: str, at: str = "") -> None:
        super().__init__(code)
        self.fault = Fault(code, says, at)
