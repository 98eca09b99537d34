"""Why a message is refused, without a word of what it says."""

from typing import Literal

Kind = Literal["malformed", "too_large", "loop"]


class BadMessage(Exception):
    """A message that is refused for good.

    `kind` chooses the reply, `line` is the 1-based line where the fault stands (None if it has no line),
    `fault` names it in plain words. At most a shortened, escaped field name of the message is in it.
    """

    def __init__(self, kind: Kind, line: int | None, fault: str) -> None:
        super().__init__(fault if line is None else f"line {line}: {fault}")
        self.kind = kind
        self.line = line
        self.fault = fault
