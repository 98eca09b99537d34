"""Schema revisions, oldest first in `versions/`. Expand first; contract a release later."""
