"""What the ledger needs of a database, whichever it is; `sqlite` provides it."""
