"""What DistCp copies has the attributes that the native engine gives, which are those of `-put`."""

from __future__ import annotations

from pathlib import Path

import pytest

from backhaul.testing.servers import Hdfs
from tests.acceptance.attributes import WebHdfs
from tests.yarn.cluster import Site, fill

pytestmark = [pytest.mark.integration, pytest.mark.hdfs, pytest.mark.yarn]

FILES = {"a": b"a", "empty": b"", "sub/b": b"b" * 70_000, "sub/deep/c": b"c", "new/e": b"e"}
CLIENT = {
    "core-site.xml": {"fs.permissions.umask-mode": "027"},
    "hdfs-site.xml": {"dfs.replication": "2", "dfs.blocksize": "2097152"},
}


@pytest.mark.timeout(900)  # six copies, three of them by YARN; 100 s on an idle machine
def test_both_engines_give_the_same_attributes_in_both_publish_modes(
    site: Site, hdfs: Hdfs
) -> None:
    fill(site, "p/", FILES)
    _set(Path(site.it.environment["HADOOP_CONF_DIR"]))
    web = WebHdfs(hdfs)
    for engine in ("native", "distcp"):
        base = f"{site.landing.path}/{engine}"
        web.mkdir(base, group="finance")
        web.mkdir(f"{base}/there/sub", group="audit")
        web.mkdir(f"{base}/there", group="team", mode="770")
        web.default_acl(f"{base}/there", "group::rwx", "user:bob:rwx", "other::---")
        web.storage_policy(f"{base}/there/sub", "ALL_SSD")
        site.configure(route=f'engine = "{engine}"')
        for below in ("there", "there/tree", "plain"):
            ended = site.copy("p/", f"{engine}/{below}")
            assert ended.code == 0, ended
            assert "repaired staging" not in ended.err, ended

    native, distcp = (web.below(f"{site.landing.path}/{engine}") for engine in ("native", "distcp"))
    assert distcp == native
    assert len(site.applications()) == 3
    assert (native["plain/a"].mode, native["plain/a"].replication) == ("640", 2)
    assert (native["there/a"].mode, native["there/a"].group) == ("660", "team")
    assert native["there/sub/b"].group == "audit"
    assert native["there/tree/sub/b"].block_bytes == 2 << 20


def _set(conf: Path) -> None:
    for name, properties in CLIENT.items():
        more = "".join(
            f"<property><name>{key}</name><value>{value}</value></property>"
            for key, value in properties.items()
        )
        text = (conf / name).read_text(encoding="utf-8")
        new = text.replace("</configuration>", f"{more}</configuration>")
        (conf / name).write_text(new, encoding="utf-8")
