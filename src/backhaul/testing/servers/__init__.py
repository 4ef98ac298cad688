"""Real servers for `backhaul demo`, on this machine, without root and without containers.

Each is a context manager::

    with Hdfs() as hdfs:
        client = hdfs_native.Client(hdfs.uri)

PostgreSQL's programs are the machine's own, or Debian's, unpacked. HDFS's jars come through Maven
once (`prepare`); Java and Maven must be installed. All listen on 127.0.0.1 only, on free ports, and
die with the process that started them.
"""

from __future__ import annotations

from backhaul.testing.servers.errors import ServerFailed, ServerUnavailable
from backhaul.testing.servers.hdfs import Hdfs
from backhaul.testing.servers.jars import prepare
from backhaul.testing.servers.moto import Moto
from backhaul.testing.servers.postgres import PostgreSQL

__all__ = ["Hdfs", "Moto", "PostgreSQL", "ServerFailed", "ServerUnavailable", "prepare"]
