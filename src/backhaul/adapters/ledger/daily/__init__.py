"""Sums by day of what left S3 and of what ended: written beside what the sums are of."""
