"""`posthouse demo`: the whole relay on one machine, with no root, no internet and no real domain.

`folder` the ports, the configuration and a small DNS of its own, with a mail exchanger for everybody ·
`walk` the first walk: member, domain, records, proof, two messages, their signatures · `courses` what else can become
of mail · `receiver` a webhook's other end · `hints` lines to paste · `program` all of it in order, until Ctrl-C, or
once with --check. Everything is the real relay's; only the world around it is small.
"""

from posthouse.demo.program import run

__all__ = ["run"]
