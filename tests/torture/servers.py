"""The servers of all rounds: ElasticMQ, S3Proxy and HDFS, each behind a TCP proxy."""

from __future__ import annotations

import contextlib
import json
import shutil
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

from backhaul.testing.servers import Hdfs, clients
from backhaul.testing.servers.base import HttpServer
from testbed import ElasticMQ, S3Proxy
from tests.acceptance.installation import REGION, Installation, eventually
from tests.acceptance.landing import landing_on
from tests.acceptance.proxy import Proxy
from tests.torture.tcp import TcpProxy

SETTINGS = {
    # Faults come thick here: a healthy message must not die of them.
    "BACKHAUL_AGENT__MAX_ATTEMPTS": "40",
    "BACKHAUL_AGENT__BACKOFF_CAP_S": "0.5",
    "BACKHAUL_AGENT__STALL_TIMEOUT_S": "4",
    "BACKHAUL_AGENT__VISIBILITY_TIMEOUT_S": "60",
}


class Address:
    """An HTTP server as its clients see it through a TCP proxy."""

    def __init__(self, server: HttpServer | Proxy, tcp: TcpProxy) -> None:
        self.endpoint = f"http://127.0.0.1:{tcp.port}"
        self.access_key, self.secret_key = server.access_key, server.secret_key


class Servers:
    """Use it as a context manager.

    Attributes:
        sqs: Before ElasticMQ; `s3`: before S3Proxy; `namenode`: before the NameNode's RPC port.
        recorder: Behind `sqs`, knows the receipt handles that agents were given.
    """

    def __init__(
        self,
        elasticmq: ElasticMQ | None = None,
        s3proxy: S3Proxy | None = None,
        hdfs: Hdfs | None = None,
    ) -> None:
        """Servers that run already are used and left running; others are started here."""
        self.elasticmq = elasticmq or ElasticMQ()
        self.s3proxy = s3proxy or S3Proxy()
        self.hdfs = hdfs or Hdfs()
        self._own = [
            server
            for server, given in (
                (self.elasticmq, elasticmq),
                (self.s3proxy, s3proxy),
                (self.hdfs, hdfs),
            )
            if given is None
        ]
        self.directory = Path(tempfile.mkdtemp(prefix="backhaul-torture-"))
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> Self:
        enter = self._stack.enter_context
        self._stack.callback(shutil.rmtree, self.directory, ignore_errors=True)
        try:
            for server in self._own:
                enter(server)
            self.recorder = enter(Proxy(self.elasticmq))
            self.sqs = enter(TcpProxy(urlsplit(self.recorder.endpoint).port or 0))
            self.s3 = enter(TcpProxy(self.s3proxy.ports[0]))
            self.namenode = enter(TcpProxy(self.hdfs.ports[0]))
            self.conf_dir = self._behind_proxy()
            # Once: reading the descriptions of both services takes longer than a start of an agent.
            self._sqs_client = clients.sqs_client(self.elasticmq)
            self._s3_client = clients.s3_client(self.s3proxy)
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stack.close()

    def _behind_proxy(self) -> Path:
        """Hadoop's configuration, with the NameNode where its proxy listens."""
        conf_dir = self.directory / "conf"
        shutil.copytree(self.hdfs.conf_dir, conf_dir)
        core = conf_dir / "core-site.xml"
        text = core.read_text("utf-8").replace(
            self.hdfs.uri, f"hdfs://127.0.0.1:{self.namenode.port}"
        )
        core.write_text(text, "utf-8")
        return conf_dir

    def be_honest(self) -> None:
        """Every connection passes again."""
        for tcp in (self.sqs, self.s3, self.namenode):
            tcp.be_honest()

    # ------------------------------------------------------------ for a round

    def install(self, name: str) -> Installation:
        """Queue, dead-letter queue, bucket and HOME of one round."""
        home = self.directory / name
        home.mkdir()
        sqs, s3 = Address(self.recorder, self.sqs), Address(self.s3proxy, self.s3)
        environment = clients.environment(sqs=sqs, s3=s3, hdfs=self.hdfs)  # type: ignore[arg-type]
        made = Installation(
            name=name,
            home=home,
            sqs=self._sqs_client,
            s3=self._s3_client,
            environment={
                **environment,
                "AWS_REGION": REGION,
                "HADOOP_CONF_DIR": str(self.conf_dir),
            },
            max_receive_count=1000,
            is_warm=False,  # what is killed here is a whole process, from its start
        )
        made.environment |= SETTINGS
        made.landing = landing_on(self.hdfs.uri, name)
        return made

    def forget(self) -> None:
        """The receipt handles of the round before."""
        eventually(self.recorder.no_poll_is_open, within_s=60, what="polls of the dead have ended")
        self.recorder.forget()

    def show_again(self, it: Installation, *, is_any_alive: bool = False) -> None:
        """End the wait for the visibility timeouts of what agents hold, or held that are gone."""
        if not is_any_alive:  # one that lives polls all the time
            eventually(
                self.recorder.no_poll_is_open, within_s=30, what="polls of the dead have ended"
            )
        for _, body in self.recorder.of("ReceiveMessage"):
            with contextlib.suppress(ValueError):
                for one in json.loads(body).get("Messages", []):
                    # Deleted meanwhile, or an older handle: both are no matter.
                    with contextlib.suppress(it.sqs.exceptions.ClientError):
                        it.sqs.change_message_visibility(
                            QueueUrl=it.queue_url,
                            ReceiptHandle=one["ReceiptHandle"],
                            VisibilityTimeout=0,
                        )
