"""Where the installed command begins, before anything that takes long to load.

Loading the program takes a second or two, in which nothing has been opened or made: a SIGTERM or SIGINT to `serve`
ends it as asked, with code 0, until the event loop takes the signals over.
"""

from __future__ import annotations

import os
import signal
import sys
from types import FrameType


def main() -> None:
    """The command line."""
    if "serve" in sys.argv[1:]:
        ends_as_asked()
    from posthouse.cli import main as run

    run()


def ends_as_asked() -> None:
    """Until an event loop takes the two signals over."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _end)


def _end(_number: int, _frame: FrameType | None) -> None:
    os._exit(0)
