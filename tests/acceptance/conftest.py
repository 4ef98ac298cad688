"""What the acceptance tests stand on; the servers are in `tests/conftest.py`."""

from __future__ import annotations

import itertools
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from backhaul.testing.servers import Hdfs, Moto, clients
from testbed import ElasticMQ, PostgreSQL, S3Proxy
from tests.acceptance.doctoring import Doctor
from tests.acceptance.installation import Installation
from tests.acceptance.proxy import Proxy

Install = Callable[..., Installation]
_numbers = itertools.count(1)
_clients: dict[tuple[Callable[[Any], Any], str, str], Any] = {}


def _client(make: Callable[[Any], Any], server: Any) -> Any:
    """One of boto3's for each server: making one takes a fifth of a second."""
    key = (make, server.endpoint, server.access_key)
    if key not in _clients:
        _clients[key] = make(server)
    return _clients[key]


@pytest.fixture(autouse=True)
def _signals_count() -> Iterator[None]:
    """As on a terminal: nohup ignores SIGHUP, a shell's `&` SIGINT, and a child does, too, then."""
    hangup = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    interrupt = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGHUP, hangup)
    signal.signal(signal.SIGINT, interrupt)


@pytest.fixture
def install(tmp_path: Path) -> Iterator[Install]:
    """`install(sqs, s3, hdfs=...)`: an installation on these servers, or on proxies before them."""
    made: list[Installation] = []

    def make(sqs: Any, s3: Any, hdfs: Hdfs | None = None, **more: Any) -> Installation:
        number = next(_numbers)
        one = Installation(
            name=f"acceptance-{number}",
            home=tmp_path / f"home-{number}",
            sqs=_client(clients.sqs_client, more.pop("sqs_direct", sqs)),
            s3=_client(clients.s3_client, more.pop("s3_direct", s3)),
            environment=clients.environment(sqs=sqs, s3=s3, hdfs=hdfs),
            **more,
        )
        one.home.mkdir()
        made.append(one)
        return one

    yield make
    for one in made:
        one.clean_up()


@pytest.fixture
def doctor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Doctor:
    """With the environment of this test."""
    return Doctor(tmp_path, monkeypatch)


@pytest.fixture
def local(install: Install, elasticmq: ElasticMQ, s3proxy: S3Proxy) -> Installation:
    """ElasticMQ, S3Proxy, and a local landing directory."""
    return install(elasticmq, s3proxy)


@pytest.fixture
def on_moto(install: Install, moto_server: Moto) -> Installation:
    """One moto for both SQS and S3: any key, versions."""
    return install(moto_server, moto_server)


@pytest.fixture
def s3_proxy(s3proxy: S3Proxy) -> Iterator[Proxy]:
    """In front of S3Proxy, honest until told otherwise."""
    with Proxy(s3proxy) as proxy:
        yield proxy


@pytest.fixture
def own_server(postgresql: PostgreSQL) -> Iterator[PostgreSQL]:
    """One that a test may stop; after `postgresql`, which skips where there is none."""
    del postgresql
    with PostgreSQL(settings={"fsync": "off"}) as server:
        yield server


@pytest.fixture
def moto_proxy(moto_server: Moto) -> Iterator[Proxy]:
    """In front of moto, honest until told otherwise."""
    with Proxy(moto_server) as proxy:
        yield proxy


@pytest.fixture
def sqs_proxy(elasticmq: ElasticMQ) -> Iterator[Proxy]:
    """In front of ElasticMQ, honest until told otherwise."""
    with Proxy(elasticmq) as proxy:
        yield proxy


@pytest.fixture
def behind_proxy(
    install: Install, elasticmq: ElasticMQ, s3proxy: S3Proxy, s3_proxy: Proxy
) -> Installation:
    """Backhaul reads S3 through `s3_proxy`; the test itself does not."""
    return install(elasticmq, s3_proxy, s3_direct=s3proxy)
