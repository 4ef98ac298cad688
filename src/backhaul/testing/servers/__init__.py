"""Real servers on this machine, without root and without containers.

For the tests, `./dev testbed` and `backhaul demo --hdfs`. Each is a context manager::

    with Hdfs() as hdfs:
        client = hdfs_native.Client(hdfs.uri)

Jars come through Maven once (`prepare`); Java and Maven must be installed. All listen on 127.0.0.1
only, on free ports, and die with the process that started them.
"""

from __future__ import annotations

from backhaul.testing.servers.elasticmq import ElasticMQ
from backhaul.testing.servers.errors import ServerFailed, ServerUnavailable
from backhaul.testing.servers.hdfs import Hdfs
from backhaul.testing.servers.hdfs_pair import HdfsPair
from backhaul.testing.servers.jars import prepare
from backhaul.testing.servers.kdc import Kdc
from backhaul.testing.servers.kms import Kms
from backhaul.testing.servers.moto import Moto
from backhaul.testing.servers.s3proxy import S3Proxy

__all__ = [
    "ElasticMQ",
    "Hdfs",
    "HdfsPair",
    "Kdc",
    "Kms",
    "Moto",
    "S3Proxy",
    "ServerFailed",
    "ServerUnavailable",
    "prepare",
]
