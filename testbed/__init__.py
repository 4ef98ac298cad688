"""Real servers that only tests, benchmarks and `./dev testbed` need; not in the wheel.

The ones that the demo needs, HDFS, PostgreSQL and the local S3 and SQS server, are in
`backhaul.testing.servers`, and so is what all of them share. Each is a context manager::

    with ElasticMQ() as sqs, S3Proxy() as s3, Hdfs() as hdfs:
        ...

Jars come through Maven once (`python -m testbed prepare`); Java and Maven must be installed. All
servers listen on 127.0.0.1 only, or in a network namespace of their own.
"""

from __future__ import annotations

from backhaul.testing.servers.postgres import PostgreSQL
from testbed.elasticmq import ElasticMQ
from testbed.hdfs_pair import HdfsPair
from testbed.hive import Hive
from testbed.kdc import Kdc
from testbed.kms import Kms
from testbed.postgres import PgBouncer
from testbed.prometheus import Prometheus
from testbed.s3proxy import S3Proxy

__all__ = [
    "ElasticMQ",
    "HdfsPair",
    "Hive",
    "Kdc",
    "Kms",
    "PgBouncer",
    "PostgreSQL",
    "Prometheus",
    "S3Proxy",
]
