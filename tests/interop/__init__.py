"""Programs that nobody here wrote: their clients submit, their DNS server holds the zone, their verifiers judge."""
