"""The ground floor that every room stands on: what it holds knows nothing of mail's walk through the rooms above.

`config`, `clock`, `log`, `names`, `resolver`, `keys`, `secrets`, `tls`, `events`, `throttle`, `runtime`, `web` (the
HTTP frame) and `storage` (the only place where SQL is written).
"""
