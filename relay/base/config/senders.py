"""Settings of senders: addresses that members prove by a code, and the names that they send under."""

from __future__ import annotations

from relay.base.config.kinds import Count, Section, key


class Senders(Section):
    """Sender addresses, and the API in Wix's shape."""

    wix: bool = key(True, "Serve the API in Wix's shape: senders, sending domains, email transmissions (docs/wix.md).")
    max_addresses: Count = key(100, "Sender addresses a member may have.")
    max_details: Count = key(100, "Sender details (a name with an address) a member may have.")
    max_data_bytes: Count = key(4096, "Most of a client's own data kept with one address, or one of the details.")
    code_minutes: Count = key(15, "How long a verification code is good.")
    code_tries: Count = key(5, "Wrong answers before a verification code is good for nothing.")
    codes_an_hour: Count = key(3, "Verification codes sent to one address in an hour, whoever asks.")
    codes_a_member: Count = key(20, "Verification codes that one member may have sent in an hour.")
    public_mailboxes: list[str] = key(
        [], "Mailbox providers besides the well-known ones, whose domains never become sending domains."
    )
