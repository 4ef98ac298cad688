"""What proves a transfer by DistCp, and where its keys are not to be seen; on real YARN."""

from __future__ import annotations

import random
import re
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from backhaul.testing.servers import Hdfs
from backhaul.testing.servers.hdfs_files import site_xml
from testbed import ElasticMQ, S3Proxy
from testbed.yarn import Yarn
from testbed.yarn_files import s3a_site
from tests.acceptance.conftest import Install
from tests.acceptance.landing import HdfsLanding
from tests.acceptance.proxy import Proxy
from tests.yarn.cluster import Site, fill

pytestmark = [pytest.mark.integration, pytest.mark.hdfs, pytest.mark.yarn]

FILES = {f"part-{n:03}": random.Random(n).randbytes(5000 + n) for n in range(12)} | {"empty": b""}


def chatty(site: Site) -> Path:
    """A `hadoop` that prints what many an installation's prints, and `yarn` beside it."""
    path = site.config.parent / "chatty" / "hadoop"
    path.parent.mkdir()
    path.write_text(
        "#!/bin/sh\n"
        'echo "WARNING: HADOOP_PREFIX has been replaced by HADOOP_HOME"\n'
        'echo "SLF4J: Class path contains multiple bindings." >&2\n'
        'echo "java.lang.NoClassDefFoundError: of some plug-in" >&2\n'
        'echo "Submitted application application_1_0001"\n'
        f'exec "{site.yarn.bin_dir / "hadoop"}" "$@"\n'
    )
    path.chmod(0o755)
    (path.parent / "yarn").symlink_to(site.yarn.bin_dir / "yarn")
    return path


@pytest.mark.timeout(300)
def test_crc32_objects_are_proven_with_no_byte_read_again_whatever_hadoop_prints(
    site: Site,
) -> None:
    fill(site, "p/", FILES, algorithm="CRC32")
    site.configure(distcp=f'hadoop = "{chatty(site)}"')
    site.yarn.start_history()
    try:
        ended = site.copy("p/", "d")
    finally:
        site.yarn.stop_history()
    assert ended.code == 0, ended
    assert site.files("d") == FILES
    phases = re.findall(r"^p: (\w+),", ended.out, re.MULTILINE)
    assert "listing" in phases, ended
    assert re.search(r", http://\S+/application_\d+_\d+", ended.out), str(ended)
    (transfer_id,) = site.transfer_ids
    lines = [line for line in site.it.evidence(transfer_id) if line["kind"] == "object"]
    told = {
        (line["proof"], line["target_algorithm"], line["asked"], line["crc32c"])
        for line in lines
        if line["size"]
    }
    assert told == {("direct", "CRC32", "datanode", None)}
    assert {line["bytes_read"] for line in lines} == {0}
    (job,) = site.it.show(transfer_id)["jobs"]
    size_bytes = sum(map(len, FILES.values()))
    assert job["counters"] == f"COPY 13, SKIP 0, FAIL 0, BYTESCOPIED {size_bytes}"
    assert "otherwise than planned" not in ended.err
    shown = site.it.backhaul("show", transfer_id)
    assert f"{job['application_id']} succeeded, maps" in shown.out
    assert job["counters"] in shown.out
    assert job["tracking_url"] in shown.out
    # The published files are known by that sum from now on, asked for or read.
    for how in ([], ["--read"]):
        verified = site.it.backhaul("verify", transfer_id, "--config", str(site.config), *how)
        assert verified.code == 0, verified
    again = site.copy("p/", "d")
    assert again.code == 0, again
    assert len(site.applications()) == 1, "nothing was left to copy"


@pytest.mark.timeout(300)
def test_a_credential_provider_serves_the_cluster_and_nobody_sees_a_key(
    install: Install,
    sqs_proxy: Proxy,
    elasticmq: ElasticMQ,
    s3proxy: S3Proxy,
    hdfs: Hdfs,
    yarn: Yarn,
    tmp_path: Path,
) -> None:
    """S3Proxy refuses a wrong key; the only place that has it for Hadoop is the provider."""
    it = install(sqs_proxy, s3proxy, hdfs, sqs_direct=elasticmq)
    it.landing = HdfsLanding(hdfs.uri, f"/{it.name}")
    provider = f"jceks://{hdfs.uri.replace('://', '@', 1)}/keys-{it.name}.jceks"
    core = s3a_site(s3proxy.endpoint, "", "")
    core = {name: value for name, value in core.items() if not name.endswith("key")}
    core |= {
        "fs.defaultFS": hdfs.uri,
        "hadoop.tmp.dir": str(tmp_path / "scratch"),
        "hadoop.security.credential.provider.path": provider,
    }
    conf = tmp_path / "conf"
    conf.mkdir()
    for path in yarn.conf_dir.iterdir():
        (conf / path.name).write_bytes(path.read_bytes())
    (conf / "core-site.xml").write_text(site_xml(core), encoding="utf-8")
    environment = it.environment | {
        "HADOOP_CONF_DIR": str(conf),
        "PATH": f"{yarn.bin_dir}:{it.environment['PATH']}",
    }
    for name, value in (("access", s3proxy.access_key), ("secret", s3proxy.secret_key)):
        subprocess.run(
            [
                *(str(yarn.bin_dir / "hadoop"), "credential", "create", f"fs.s3a.{name}.key"),
                *("-value", value, "-provider", provider),  # without a terminal it cannot ask
            ],
            env=environment,
            check=True,
            capture_output=True,
        )
    it.environment |= environment
    site = Site(it=it, yarn=yarn, sqs_proxy=sqs_proxy, config=tmp_path / "backhaul.toml")
    fill(site, "p/", FILES)
    site.configure()
    site.it.ask_for("p/", "d")
    with watched(s3proxy.secret_key) as seen:
        site.drained()
    site.check_end("d", FILES)
    assert seen["looks"] > 0
    assert seen["argv"] == 0, "the secret stood on a command line"
    shown = site.job_configurations()
    assert shown
    assert not any(s3proxy.secret_key.encode() in one for one in shown)
    scripts = [one.read_bytes() for one in yarn.directory.rglob("launch_container.sh")]
    assert not any(s3proxy.secret_key.encode() in one for one in scripts)
    proofs = {line["proof"] for each in site.transfer_ids for line in it.evidence(each)}
    assert proofs <= {"direct", None}


@contextmanager
def watched(secret: str) -> Iterator[dict[str, int]]:
    """Look at the command lines of all processes, again and again, for this text."""
    seen = {"looks": 0, "argv": 0}
    stop = threading.Event()

    def look() -> None:
        while not stop.wait(0.05):
            for process in psutil.process_iter(["cmdline"]):
                words = process.info["cmdline"] or []
                # Of Hadoop's processes alone: it is a word that others may have as a key, too.
                if any("org.apache.hadoop" in word for word in words):
                    seen["looks"] += 1
                    seen["argv"] += any(secret in word for word in words)

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield seen
    finally:
        stop.set()
        thread.join()
