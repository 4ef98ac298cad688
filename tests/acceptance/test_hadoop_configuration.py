"""Hadoop's configuration in the forms that clusters have it, read by the real process."""

from __future__ import annotations

import contextlib
import socket
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from backhaul.testing.servers import Hdfs, Moto
from testbed import ElasticMQ, S3Proxy
from tests.acceptance.conftest import Install
from tests.acceptance.installation import Installation
from tests.acceptance.landing import HdfsLanding
from tests.acceptance.proxy import Proxy

pytestmark = pytest.mark.integration

HDFS_PORT = 8020
XINCLUDE = 'xmlns:xi="http://www.w3.org/2001/XInclude"'
BED = "org.apache.hadoop.hdfs.server.namenode.ha.ConfiguredFailoverProxyProvider"


def prop(name: str, value: str, more: str = "") -> str:
    return f"<property><name>{name}</name><value>{value}</value>{more}</property>\n"


def site(conf: Path, name: str, body: str) -> None:
    conf.mkdir(exist_ok=True)
    text = f'<?xml version="1.0"?>\n<configuration {XINCLUDE}>\n{body}</configuration>\n'
    (conf / name).write_text(text)


@contextmanager
def relay(host: str, port: int, to: tuple[str, int]) -> Iterator[None]:
    """What connects to `host:port` speaks with `to`."""
    is_over = threading.Event()

    def pump(source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(1 << 16):
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)

    def carry(near: socket.socket) -> None:
        with near, socket.create_connection(to) as far:
            back = threading.Thread(target=pump, args=(far, near), daemon=True)
            back.start()
            pump(near, far)
            back.join()

    def serve(listening: socket.socket) -> None:
        while not is_over.is_set():
            with contextlib.suppress(TimeoutError):
                near, _ = listening.accept()
                threads.append(threading.Thread(target=carry, args=[near], daemon=True))
                threads[-1].start()

    threads: list[threading.Thread] = []
    with socket.create_server((host, port)) as listening:
        listening.settimeout(0.1)
        thread = threading.Thread(target=serve, args=[listening], daemon=True)
        thread.start()
        try:
            yield
        finally:
            is_over.set()
            for each in (thread, *threads):
                each.join()


# ---------------------------------------------------------------- where HDFS is

Write = Callable[[Path, str], None]


def by_include(conf: Path, address: str) -> None:
    site(conf, "core-site.xml", prop("fs.defaultFS", "hdfs://bed"))
    site(conf, "hdfs-site.xml", '<xi:include href="bed/mounts.xml"/>')
    site(
        conf / "bed",
        "mounts.xml",
        prop("dfs.ha.namenodes.bed", " nn1 ,\n nn2 ")
        + prop("dfs.namenode.rpc-address.bed.nn1", address)
        + prop("dfs.client.failover.proxy.provider.bed", BED)
        + '<include href="none.xml"><fallback/></include>',
    )


def by_variables(conf: Path, address: str) -> None:
    site(
        conf,
        "core-site.xml",
        prop("name", "${env.NAME_OF_BED:-bed}") + prop("fs.defaultFS", "hdfs://${name}"),
    )
    site(
        conf,
        "hdfs-site.xml",
        prop("address", f"{address.rpartition(':')[0]}:${{env.PORT_OF_BED}}")
        + prop("dfs.ha.namenodes.bed", "nn1")
        + prop("dfs.namenode.rpc-address.bed.nn1", "${address}"),
    )


def by_attributes(conf: Path, address: str) -> None:
    site(
        conf,
        "core-site.xml",
        f'<property name="fs.defaultFS" value="hdfs://{address}" final="true"/>',
    )
    site(conf, "hdfs-site.xml", prop("fs.defaultFS", "hdfs://127.0.0.1:1"))


def by_final(conf: Path, address: str) -> None:
    final = "<final>true</final>"
    site(
        conf,
        "core-site.xml",
        prop("fs.default.name", f"hdfs://{address}", final)
        + prop("fs.defaultFS", "hdfs://127.0.0.1:1"),
    )


def by_odd_text(conf: Path, address: str) -> None:
    body = f"<property><name> fs.defaultFS\n</name><value>\n hdfs://<![CDATA[{address}]]><!-- x -->"
    text = f'<?xml version="1.0" encoding="utf-16"?><configuration>{body}/\n</value></property>'
    conf.mkdir()
    (conf / "core-site.xml").write_bytes(f"{text}</configuration>".encode("utf-16"))


@pytest.mark.parametrize("write", [by_include, by_variables, by_attributes, by_final, by_odd_text])
def test_hdfs_is_found_as_hadoop_finds_it(
    install: Install,
    elasticmq: ElasticMQ,
    s3proxy: S3Proxy,
    hdfs: Hdfs,
    tmp_path: Path,
    write: Write,
) -> None:
    it = install(elasticmq, s3proxy, hdfs)
    it.landing = HdfsLanding(hdfs.uri, f"/landing/{it.name}", is_named=False)
    address = hdfs.uri.removeprefix("hdfs://")
    write(tmp_path / "conf", address)
    it.environment["HADOOP_CONF_DIR"] = str(tmp_path / "conf")
    it.environment["PORT_OF_BED"] = address.rpartition(":")[2]
    it.put("a.bin", b"content")
    it.ask_for("a.bin")
    ended = it.drained()
    assert it.landing.files() == {"a.bin": b"content"}, ended
    assert it.dead_letters() == []


def test_a_host_without_a_port_is_the_same_file_system_as_with_that_of_hdfs(
    install: Install, elasticmq: ElasticMQ, s3proxy: S3Proxy, hdfs: Hdfs, tmp_path: Path
) -> None:
    it = install(elasticmq, s3proxy, hdfs)
    it.landing = HdfsLanding(hdfs.uri, f"/landing/{it.name}", is_named=False)
    host, _, port = hdfs.uri.removeprefix("hdfs://").rpartition(":")
    alias = "127.0.80.20"
    site(tmp_path / "conf", "core-site.xml", prop("fs.defaultFS", f"hdfs://{alias}"))
    it.environment["HADOOP_CONF_DIR"] = str(tmp_path / "conf")
    it.put("a.bin", b"content")
    for filesystem in ("", f"hdfs://{alias}", f"hdfs://{alias}:{HDFS_PORT}"):
        it.leave(f"{it.bucket}/a.bin, {filesystem}{it.landing.path}")
    with relay(alias, HDFS_PORT, (host, int(port))):
        ended = it.drained()
        assert it.landing.files() == {"a.bin": b"content"}, ended
        assert it.dead_letters() == []
        assert len(ended.of("transfer done")) == 3
        ledger = next(it.home.rglob("ledger.db"))
        with closing(sqlite3.connect(ledger)) as connection:
            found = connection.execute("SELECT uri FROM destinations").fetchall()
        assert found == [(f"hdfs://{alias}:{HDFS_PORT}{it.landing.path}/a.bin",)]


# ---------------------------------------------------------------- what is refused at the start


@pytest.mark.parametrize(
    ("core", "hdfs_site", "code", "words"),
    [
        (
            prop("fs.defaultFS", "viewfs://bed"),
            "",
            "E_CFG_ROUTE",
            "the default file system viewfs://bed is not hdfs:// or file://",
        ),
        (
            prop("fs.defaultFS", "hdfs://${nn}"),
            "",
            "E_CFG_HADOOP_VARIABLE",
            "fs.defaultFS holds a variable that is not set: ${nn}",
        ),
        (
            prop("fs.defaultFS", "hdfs://bed"),
            prop("dfs.ha.namenodes.bed", "nn1")
            + prop("dfs.namenode.rpc-address.bed.nn1", "${nn1}"),
            "E_CFG_ROUTE",
            "dfs.namenode.rpc-address.bed.nn1 holds a variable that is not set: ${nn1}",
        ),
        (
            prop("fs.defaultFS", "hdfs://bed:8020"),
            prop("dfs.ha.namenodes.bed", "nn1"),
            "E_CFG_HADOOP_VALUE",
            "bed is a nameservice",
        ),
        ('<include href="none.xml"/>', "", "E_CFG_CORE_SITE", "core-site.xml, line 3"),
    ],
    ids=["viewfs", "variable", "variable of a nameservice", "port of a nameservice", "include"],
)
def test_what_cannot_be_honoured_is_refused_at_the_start_by_name(
    local: Installation, tmp_path: Path, core: str, hdfs_site: str, code: str, words: str
) -> None:
    site(tmp_path / "conf", "core-site.xml", core)
    site(tmp_path / "conf", "hdfs-site.xml", hdfs_site)
    local.environment["HADOOP_CONF_DIR"] = str(tmp_path / "conf")
    config = tmp_path / "backhaul.toml"
    config.write_text(
        f'[[route]]\nname = "r"\nsource = ["s3://{local.bucket}/"]\ndestination = ["/landing/"]\n'
    )
    config.chmod(0o600)
    ended = local.backhaul("run", local.queue, "us-east-1", "--drain", "--config", str(config))
    assert ended.code == 78, ended
    assert f"backhaul: {code}: " in ended.err
    assert words in ended.err
    assert "set HADOOP_CONF_DIR" not in ended.err, "it is set"


# ---------------------------------------------------------------- keys and endpoints of buckets


def keys(access: str, secret: str, bucket: str | None = None) -> str:
    start = "fs.s3a." if bucket is None else f"fs.s3a.bucket.{bucket}."
    return prop(f"{start}access.key", access) + prop(f"{start}secret.key", secret)


def without_aws_keys(it: Installation, conf: Path, core: str) -> None:
    """AWS's own chain finds nothing; Hadoop's configuration is this."""
    site(conf, "core-site.xml", core)
    it.environment["HADOOP_CONF_DIR"] = str(conf)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        del it.environment[name]


def signed_by(proxy: Proxy, bucket: str) -> set[str]:
    """Access keys of the requests for this bucket."""
    return {
        one.headers["authorization"].partition("Credential=")[2].partition("/")[0]
        for one in proxy.seen
        if one.path.split("/")[1] == bucket
    }


def test_each_bucket_is_listed_and_read_with_its_own_keys(
    install: Install, elasticmq: ElasticMQ, moto_server: Moto, tmp_path: Path
) -> None:
    with Proxy(moto_server) as proxy:
        it = install(elasticmq, proxy, s3_direct=moto_server)
        second = f"{it.bucket}-second"
        third = f"{it.bucket}-third"
        core = (
            keys("AKIABASE", "s")
            + keys("AKIASECOND", "${env.SECOND_SECRET}", second)
            # One of the two alone, as S3A has it: the other is that of all buckets.
            + prop(f"fs.s3a.bucket.{third}.access.key", "AKIATHIRD")
        )
        without_aws_keys(it, tmp_path / "conf", core)
        it.environment["SECOND_SECRET"] = "t"
        for bucket in (it.bucket, second, third):
            if bucket != it.bucket:
                it.s3.create_bucket(Bucket=bucket)
            for number in range(3):
                it.s3.put_object(Bucket=bucket, Key=f"d/{number}.bin", Body=bucket.encode())
            it.leave(f"{bucket}/d/, {it.landing.uri}/{bucket}")
        arguments = [f"s3://{bucket}/ -> {it.landing.uri}/" for bucket in (second, third)]
        ended = it.drained(*[part for text in arguments for part in ("--allow", text)])
        assert it.dead_letters() == [], ended
        assert len(it.landing.files()) == 9
        assert signed_by(proxy, second) == {"AKIASECOND"}
        assert signed_by(proxy, third) == {"AKIATHIRD"}
        assert signed_by(proxy, it.bucket) == {"AKIABASE"}
        assert len(proxy.object_gets()) == 9


def test_a_bucket_with_an_endpoint_of_its_own_is_read_there_by_a_server_that_checks_keys(
    install: Install, elasticmq: ElasticMQ, s3proxy: S3Proxy, tmp_path: Path
) -> None:
    it = install(elasticmq, s3proxy)
    own = f"fs.s3a.bucket.{it.bucket}."
    core = (
        keys("AKIABASE", "wrong")
        + keys(s3proxy.access_key, s3proxy.secret_key, it.bucket)
        + prop(f"{own}endpoint", s3proxy.endpoint.removeprefix("http://"))
        + prop(f"{own}connection.ssl.enabled", "false")
        + prop(f"{own}path.style.access", "true")
        + prop(f"{own}endpoint.region", "eu-west-3")
    )
    without_aws_keys(it, tmp_path / "conf", core)
    del it.environment["AWS_ENDPOINT_URL_S3"]
    it.put("d/a.bin", b"content")
    it.ask_for("d/")
    ended = it.drained()
    assert it.landing.files() == {"a.bin": b"content"}, ended
    assert it.dead_letters() == []


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (
            keys("AKIA", "${my.key}", "{bucket}"),
            "fs.s3a.bucket.{bucket}.secret.key holds a variable that is not set: ${my.key}",
        ),
        (
            prop("fs.s3a.bucket.{bucket}.endpoint", "http://minio.example.com"),
            "the endpoint of bucket {bucket} http://minio.example.com is not https",
        ),
        (
            prop("fs.s3a.bucket.{bucket}.endpoint", "ftp://minio.example.com"),
            "fs.s3a.bucket.{bucket}.endpoint is no endpoint of S3",
        ),
    ],
    ids=["variable", "plain http", "no endpoint"],
)
def test_a_bucket_s_settings_that_cannot_be_used_are_refused_at_the_start(
    local: Installation, tmp_path: Path, more: str, words: str
) -> None:
    core = keys("AKIABASE", "s") + more.replace("{bucket}", local.bucket)
    without_aws_keys(local, tmp_path / "conf", core)
    if "endpoint" in more:
        del local.environment["AWS_ENDPOINT_URL_S3"]
    ended = local.drain()
    assert ended.code == 78, ended
    assert words.replace("{bucket}", local.bucket) in ended.err, ended


@pytest.mark.parametrize(
    "core",
    [
        prop("hadoop.security.credential.provider.path", "jceks://hdfs/user/backhaul/s3.jceks"),
        prop("fs.s3a.aws.credentials.provider", "org.example.VaultProvider"),
        keys("AKIA", "${my.key}"),
    ],
    ids=["credential provider", "provider class", "variable"],
)
def test_keys_that_only_hadoop_finds_are_named_at_the_start(
    local: Installation, tmp_path: Path, core: str
) -> None:
    without_aws_keys(local, tmp_path / "conf", core)
    ended = local.drain()
    assert ended.code == 78, ended
    assert "E_AWS_NO_CREDENTIALS" in ended.err
    assert any(
        words in ended.err
        for words in (
            "hadoop.security.credential.provider.path names a credential provider",
            "fs.s3a.aws.credentials.provider names VaultProvider",
            "fs.s3a.secret.key holds a variable that is not set: ${my.key}",
        )
    ), ended
