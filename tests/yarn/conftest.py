"""YARN for the tests of this directory, which run inside a network namespace of their own.

`tests/acceptance/test_on_yarn.py` starts them there; by hand:

    python -m testbed.netns python -m pytest tests/yarn
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from backhaul.testing.servers import Hdfs, Moto
from testbed import ElasticMQ, netns
from testbed.yarn import Yarn
from tests.acceptance.conftest import Install, install
from tests.acceptance.landing import HdfsLanding
from tests.acceptance.proxy import Proxy
from tests.yarn.cluster import PLANTED, Site

__all__ = ["install"]

collect_ignore_glob = [] if netns.is_inside() else ["test_*.py"]


@pytest.fixture(scope="session")
def yarn(hdfs: Hdfs, moto_server: Moto) -> Iterator[Yarn]:
    with Yarn(hdfs=hdfs, s3=moto_server) as running:
        yield running


@pytest.fixture
def sqs_proxy(elasticmq: ElasticMQ) -> Iterator[Proxy]:
    with Proxy(elasticmq) as proxy:
        yield proxy


@pytest.fixture
def site(
    install: Install,
    sqs_proxy: Proxy,
    elasticmq: ElasticMQ,
    moto_server: Moto,
    hdfs: Hdfs,
    yarn: Yarn,
    tmp_path: Path,
) -> Site:
    """An installation whose configuration knows YARN and asks for DistCp."""
    it = install(sqs_proxy, moto_server, hdfs, sqs_direct=elasticmq)
    # A key that can be looked for; moto takes any.
    conf = Path(shutil.copytree(yarn.conf_dir, tmp_path / "conf"))
    core = (conf / "core-site.xml").read_text(encoding="utf-8")
    key = "<name>fs.s3a.secret.key</name><value>"
    assert key in core
    core = core.replace(f"{key}{moto_server.secret_key}", f"{key}{PLANTED}")
    (conf / "core-site.xml").write_text(core, encoding="utf-8")
    it.environment |= {
        "HADOOP_CONF_DIR": str(conf),
        "PATH": f"{yarn.bin_dir}:{it.environment['PATH']}",
    }
    it.landing = HdfsLanding(hdfs.uri, f"/{it.name}")
    return Site(it=it, yarn=yarn, sqs_proxy=sqs_proxy, config=tmp_path / "backhaul.toml")
