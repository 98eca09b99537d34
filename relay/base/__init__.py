"""The lowest layer, which every package stands on: nothing in it knows how mail passes through those above.

`config`, `clock`, `log`, `names`, `resolver`, `keys`, `secrets`, `tls`, `events`, `throttle`, `runtime`, `web` (the
HTTP frame) and `storage` (the only place where SQL is written).
"""
