"""Who writes a ledger that several processes share."""
