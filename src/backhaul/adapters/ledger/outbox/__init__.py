"""Replies in the ledger: written with what they are about, and then delivered from here."""
