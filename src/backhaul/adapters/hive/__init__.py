"""Hive and Impala: partitions are registered through their own shells, beeline and impala-shell."""
