"""Receipts: what a done transfer brought, signed, and checked again with S3 alone."""
