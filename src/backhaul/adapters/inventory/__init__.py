"""S3 Inventory reports: their data files read, sorted on disk, and listed like a bucket."""
