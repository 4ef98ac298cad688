"""What `reconcile` leaves in the ledger: messages it sent, and what it found last."""
