"""The ledger as commands and the dashboard read it: read-only, in short transactions."""
