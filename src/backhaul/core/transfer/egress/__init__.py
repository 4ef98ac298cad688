"""What an attempt has read from S3: counted, and recorded in the ledger."""
