"""The operator's hand on a running relay: services for the command line and for the pages under /operator.

    sites         receiving sites: what is known, pausing, resuming, the queue by site
    queue         waiting mail by a filter: found, counted, acted upon
    explanation   everything about one message
    incidents     faults of the relay itself
    pages/        /operator

Members, domains and invites have services of their own in `enroll`, which both use.
"""
