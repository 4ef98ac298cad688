"""ElasticMQ: SQS, in memory. Strict about receipt handles, has redrive to a dead-letter queue.

Unlike SQS it takes any visibility timeout (43 201 s, -1 s, more than 12 h in total), answers an
empty receive with ``"Messages": []`` and not without the word, and gives the client's address as
SenderId.
"""

from __future__ import annotations

from backhaul.testing.servers.base import HttpServer, fetch
from backhaul.testing.servers.jars import JVM_OPTIONS, jars, java
from backhaul.testing.servers.process import ServerProcess

START_TIMEOUT_S = 60.0

# `node-address` is what queue URLs are made of. `strict` are SQS's limits of names, bodies (1 MiB),
# batches (10) and waits (20 s).
_CONFIGURATION = """\
include classpath("application.conf")
node-address {{ protocol = http, host = "127.0.0.1", port = {port}, context-path = "" }}
rest-sqs {{
  enabled = true, bind-hostname = "127.0.0.1", bind-port = {port}, sqs-limits = strict
}}
rest-stats {{ enabled = false }}
queues-storage {{ enabled = false }}
messages-storage {{ enabled = false }}
"""


def answers(endpoint: str) -> bool:
    """Whether ElasticMQ at this URL lists its queues."""
    answer = fetch(f"{endpoint}/?Action=ListQueues")
    return answer is not None and b"ListQueuesResponse" in answer[1]


class ElasticMQ(HttpServer):
    """ElasticMQ 1.7.1. Any access key is accepted, any region; queues are gone when it ends."""

    name = "elasticmq"

    def _prepare(self) -> None:
        java()
        jars("elasticmq")

    def _start(self) -> None:
        (port,) = self._ports
        configuration = self.directory / "elasticmq.conf"
        configuration.write_text(_CONFIGURATION.format(port=port), encoding="utf-8")
        self._process = ServerProcess(self.name, self.log_path, detached=self._detached)
        self._process.start(
            [
                str(java()),
                *(*JVM_OPTIONS, "-Xmx256m", f"-Djava.io.tmpdir={self.directory}"),
                f"-Dconfig.file={configuration}",
                *("-cp", f"{jars('elasticmq')}/*", "org.elasticmq.server.Main"),
            ]
        )
        self._process.wait_until(
            lambda: answers(self.endpoint), port=port, timeout_s=START_TIMEOUT_S
        )
