"""The node's Hadoop configuration: files, properties, file systems, S3A."""
