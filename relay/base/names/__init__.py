"""Names as people write them, turned into the one form the rest of the program compares.

`domains` knows domain names (A-labels, public suffixes, look-alikes), `addresses` knows mail addresses,
those of others and our own, and the key under which a suppression is found, `mailbox` reads a header
From so strictly that no two readers can disagree, `words` decodes encoded words, `identity` knows DIDs
and member handles.

Everything here is pure: text in, one canonical form out, or `BadName` with a reason that a person can
read. Whether a name exists, or whose it is, is left to the resolver and the directory.
"""

from relay.base.names.addresses import (
    NULL,
    Address,
    address,
    canonical,
    own_address,
    reverse_path,
    without_route,
)
from relay.base.names.domains import (
    BadName,
    confusable,
    domain,
    enrollable,
    foreign_domain,
    parents,
    prepare,
    registrable,
    same_organization,
    to_unicode,
)
from relay.base.names.encoded_words import decode_words, readings, shown_words
from relay.base.names.identity import did, handle
from relay.base.names.mailbox import Mailbox, single_mailbox

__all__ = [
    "NULL",
    "Address",
    "BadName",
    "Mailbox",
    "address",
    "canonical",
    "confusable",
    "decode_words",
    "did",
    "domain",
    "enrollable",
    "foreign_domain",
    "handle",
    "own_address",
    "parents",
    "prepare",
    "readings",
    "registrable",
    "reverse_path",
    "same_organization",
    "shown_words",
    "single_mailbox",
    "to_unicode",
    "without_route",
]
