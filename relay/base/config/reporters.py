"""Feedback loops that are known to report for other people's domains: an address, or a domain with all under it.

A provider's reports about its own domains need no entry: they come from its domain or its exchangers. These come from
elsewhere. Named is only what serves nothing else, so that no user of a provider can write in its name.
"""

KNOWN = (
    "arf.mail.yahoo.com",  # Yahoo's, also for AOL, Verizon and the other domains it runs
    "scomp@aol.net",  # AOL's former one
    "staff@hotmail.com",  # Microsoft's JMRP: outlook.com, hotmail.com, live.com, msn.com
    "senderscore.net",  # Validity (Return Path): Comcast, Cox, Fastmail, La Poste, Rackspace, Telenor, UOL and others
    "fbl@corp.mail.ru",  # VK's: mail.ru, bk.ru, list.ru, inbox.ru
    "signal-spam.fr",  # Signal Spam: Orange, SFR and other French providers
)
