"""Several agents on one ledger: who is there, and what one of them may do."""
