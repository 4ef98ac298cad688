"""What keeps a ledger in order: its file is copied, checked, kept small; sums are added to."""
