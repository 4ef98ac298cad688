"""One HDFS as a target: bytes, names, checksums and policies."""
