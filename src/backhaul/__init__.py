"""Backhaul: leave an SQS message, and an S3 path arrives in HDFS, proven and whole."""

__version__ = "0.1.0"

# New objects before Python looks for garbage, in the agent and in its workers. A tenth of the
# start, else: importing makes many objects and hardly any garbage.
GC_EVERY = 20_000
