"""Backhaul: leave an SQS message, and an S3 path arrives in HDFS, proven and whole."""

__version__ = "0.1.0"

# New objects before Python looks for garbage, in the agent and in its workers. Importing makes many
# and hardly any garbage: looked at as often as later, they were a tenth of the start.
GC_EVERY = 20_000
GC_EVERY_AT_START = 250_000
