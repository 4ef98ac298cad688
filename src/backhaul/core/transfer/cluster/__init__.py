"""DistCp on YARN: whether it carries a transfer, and what one attempt does with its application."""
