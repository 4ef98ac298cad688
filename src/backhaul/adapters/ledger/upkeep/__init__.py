"""What keeps a ledger in order: its file is copied, checked and kept small."""
