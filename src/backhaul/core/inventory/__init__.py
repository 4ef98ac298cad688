"""S3 Inventory in place of a listing: its manifest and the rows of its data files, checked."""
