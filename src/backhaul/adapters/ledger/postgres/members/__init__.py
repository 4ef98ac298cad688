"""The processes that write one ledger: each sees the others by their beats."""
