"""What the ledger needs of a database, whichever it is; `sqlite` and `postgres` provide it."""
