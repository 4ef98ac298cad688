"""What was published at which path: rows of `published`, and the packed form of old ones."""
