"""What leaves S3, and what that costs: bytes by purpose, prices in tiers. Values alone."""
