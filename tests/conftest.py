"""Real servers for tests, each started once per session and only when a test asks for it.

Shared by all tests of the session: use queues, buckets and directories of your own names, and for
a test that kills or suspends a server, start one of your own (``with Hdfs() as hdfs:``).
"""

import gc
import itertools
import os
from collections.abc import Callable, Generator, Iterator
from typing import TYPE_CHECKING, Any, TypeVar

import pytest
from sqlalchemy.dialects import registry

from backhaul.testing.servers import Hdfs, Moto, ServerUnavailable, clients
from backhaul.testing.servers.base import Server
from testbed import ElasticMQ, Hive, Kdc, Kms, PgBouncer, PostgreSQL, S3Proxy
from testbed.federation import Federation
from testbed.hdfs_kerberos import HdfsKerberos

if TYPE_CHECKING:
    from mypy_boto3_s3.client import S3Client
    from mypy_boto3_sqs.client import SQSClient

registry.register("sqlite", "tests.statements", "Dialect")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what is marked `long`, unless an expression of marks names it."""
    if "long" in config.option.markexpr:
        return
    left_out = [item for item in items if item.get_closest_marker("long")]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Thousands of tests are made and stay: half of the time would go into searching them.

    Nor does any later search for garbage go through them.
    """
    gc.disable()
    try:
        return (yield)
    finally:
        gc.enable()
        gc.freeze()


@pytest.hookimpl(optionalhook=True)  # without xdist there is no such hook
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> object | None:
    """Of `--dist loadfile`: files that share a costly server run where it was started."""
    if config.getvalue("dist") != "loadfile":
        return None
    from tests.together import TogetherScheduling

    return TogetherScheduling(config, log)


AnyServer = TypeVar("AnyServer", bound=Server)


def _running(server: AnyServer) -> Iterator[AnyServer]:
    try:
        server.start()
    except ServerUnavailable as exc:
        if os.environ.get("CI"):
            pytest.fail(f"needed in CI: {exc}", pytrace=False)
        pytest.skip(str(exc))
    yield server
    server.stop()


@pytest.fixture(scope="session")
def elasticmq() -> Iterator[ElasticMQ]:
    yield from _running(ElasticMQ())


@pytest.fixture(scope="session")
def moto_server() -> Iterator[Moto]:
    yield from _running(Moto())


@pytest.fixture(scope="session")
def s3proxy() -> Iterator[S3Proxy]:
    yield from _running(S3Proxy())


@pytest.fixture(scope="session")
def hdfs() -> Iterator[Hdfs]:
    yield from _running(Hdfs())


@pytest.fixture(scope="session")
def federation() -> Iterator[Federation]:
    """A daemon may be killed, by a test that starts it again."""
    yield from _running(Federation())


@pytest.fixture(scope="session")
def kdc() -> Iterator[Kdc]:
    yield from _running(Kdc())


@pytest.fixture(scope="session")
def secure_hdfs(kdc: Kdc) -> Iterator[Hdfs]:
    """HDFS with Kerberos. The agent's `backhaul` may act for alice and for nobody else."""
    proxy = {"hadoop.proxyuser.backhaul.users": "alice", "hadoop.proxyuser.backhaul.hosts": "*"}
    yield from _running(Hdfs(security=HdfsKerberos(kdc), core=proxy))


@pytest.fixture(scope="session")
def kms() -> Iterator[Kms]:
    """Its key `zone-key` is everybody's, except mallory's."""
    for server in _running(Kms(refused="mallory")):
        server.create_key("zone-key")
        yield server


@pytest.fixture(scope="session")
def wide_hdfs(kms: Kms) -> Iterator[Hdfs]:
    """Five DataNodes; erasure coding in `/ec` and `/xor`, encryption in `/zone`, none in `/plain`.

    A DataNode may be killed, by a test that starts it again.
    """
    for cluster in _running(
        Hdfs(datanodes=5, core={"hadoop.security.key.provider.path": kms.provider})
    ):
        cluster.command("dfs", "-mkdir", "/ec", "/xor", "/zone", "/plain")
        for path, policy in (("/ec", "RS-3-2-1024k"), ("/xor", "XOR-2-1-1024k")):
            cluster.command("ec", "-enablePolicy", "-policy", policy)
            cluster.command("ec", "-setPolicy", "-path", path, "-policy", policy)
        cluster.command("crypto", "-createZone", "-keyName", "zone-key", "-path", "/zone")
        yield cluster


@pytest.fixture(scope="session")
def hive() -> Iterator[Hive]:
    """Its database `lake` is there; use tables of your own names."""
    for server in _running(Hive()):
        server.execute("CREATE DATABASE lake;")
        yield server


@pytest.fixture(scope="session")
def postgresql() -> Iterator[PostgreSQL]:
    """No test cuts the power, so nothing is synced."""
    yield from _running(PostgreSQL(settings={"fsync": "off"}))


@pytest.fixture(scope="session")
def pgbouncer(postgresql: PostgreSQL) -> Iterator[PgBouncer]:
    yield from _running(PgBouncer(postgresql))


_database_numbers = itertools.count(1)


@pytest.fixture
def postgres_database(postgresql: PostgreSQL) -> Iterator[str]:
    """The name of an empty one: see `url` of `postgresql` and of `pgbouncer`."""
    name = f"test{next(_database_numbers)}"
    postgresql.create_database(name)
    yield name
    postgresql.drop_database(name)


@pytest.fixture(scope="session")
def sqs_elasticmq(elasticmq: ElasticMQ) -> "SQSClient":
    return clients.sqs_client(elasticmq)


@pytest.fixture(scope="session")
def sqs_moto(moto_server: Moto) -> "SQSClient":
    return clients.sqs_client(moto_server)


@pytest.fixture(scope="session")
def s3_s3proxy(s3proxy: S3Proxy) -> "S3Client":
    return clients.s3_client(s3proxy)


@pytest.fixture(scope="session")
def s3_moto(moto_server: Moto) -> "S3Client":
    return clients.s3_client(moto_server)


@pytest.fixture(scope="session")
def aws_env() -> Callable[..., dict[str, str]]:
    """``aws_env(sqs=elasticmq, s3=s3proxy, hdfs=hdfs)``: whole environment for a child process."""
    return clients.environment
