"""S3 Inventory: its reports, where they were delivered to."""
