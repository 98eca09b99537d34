"""The collector while the program loads: a hundred thousand objects are made that stay, and looking at them again and
again on the way is a tenth of each start."""

from __future__ import annotations

import gc

_USUAL = gc.get_threshold()
_OBJECTS = 20_000
_SERVING = 5_000  # messages leave few cycles: looking every 700 objects is 1 % of the time


def begins() -> None:
    """Look seldom. A command keeps to that; it is over soon."""
    gc.set_threshold(_OBJECTS, *_USUAL[1:])


def is_over() -> None:
    """Look as usual from now on, but no more at what is there: it stays to the end."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(_SERVING, *_USUAL[1:])
