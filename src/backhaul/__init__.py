"""Backhaul: leave an SQS message, and an S3 path arrives in HDFS, proven and whole."""

__version__ = "0.1.0"
