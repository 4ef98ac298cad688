"""Opening a ledger, for the agent and for readers: a file of SQLite, or one on PostgreSQL."""
