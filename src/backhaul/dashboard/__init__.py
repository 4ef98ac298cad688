"""The dashboard: web pages on one ledger, in a process of its own.

It reads the ledger and nothing else, so that neither a slow page nor an attack on it costs a
transfer anything. `run` starts it, `guard` decides who sees a page, `application` has the pages.
"""
